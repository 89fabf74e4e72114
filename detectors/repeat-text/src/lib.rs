#![doc = include_str!("../README.md")]

mod chants;
mod hash;
mod rounds;
mod sayings;
mod segments;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, InvalidOption, Level, Severity,
    Subscription,
};

use crate::{
    chants::{IsChanting, Reading, read_whole},
    sayings::{Sayings, What},
};

/// Finds agents that say the same again and again.
#[derive(Clone, Debug)]
pub struct RepeatText {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Since the latest tool call and prompt of a person.
    Messages(Sayings),
    Chants(Chants),
}

#[derive(Clone, Debug, Default)]
struct Chants {
    /// What comes in parts, for as long as it does.
    coming: Option<What>,
    /// What was read of it.
    reading: Reading,
    is_chanting: IsChanting,
}

/// The options of `kind = "repeat-text"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatTextOptions {
    /// What is counted.
    of: Of,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Messages, or thoughts, that are the same, in a row.
    Message,
    /// What repeats within a message, or within thoughts.
    Span,
}

watchkeeper_core::register!(RepeatText);

impl DetectorKind for RepeatText {
    const KIND: &'static str = "repeat-text";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] =
        &[Level::new(3, Severity::Medium), Level::new(10, Severity::High)];
    type Options = RepeatTextOptions;

    fn new(options: RepeatTextOptions) -> Result<Self, InvalidOption> {
        let state = match options.of {
            Of::Message => State::Messages(Sayings::default()),
            Of::Span => State::Chants(Chants::default()),
        };
        Ok(Self { state })
    }
}

impl Detector for RepeatText {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Messages(sayings) => sayings.observe(&event.kind, cx),
            State::Chants(chants) => chants.observe(&event.kind, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        /// Results and waiting arrive while the agent writes.
        const MESSAGES: EventSet = EventSet::of(&[
            "session_start",
            "prompt",
            "message",
            "thinking",
            "model_call",
            "tool_call",
            "turn_end",
            "error",
            "compaction",
            "handoff",
            "agent_start",
            "agent_end",
            "session_end",
        ]);
        const TEXT: EventSet = EventSet::of(&["message", "thinking"]);
        Subscription::to(MESSAGES).starting_with(TEXT)
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Messages(it) => it.is_empty(),
            State::Chants(it) => it.coming.is_none() && it.is_chanting == IsChanting::default(),
        }
    }
}

impl Sayings {
    fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Message { text, delta: true } => {
                self.say_part(text, cx);
                return;
            }
            EventKind::ToolCall(_) => return self.forget(cx, "a tool was called"),
            EventKind::Prompt { synthetic: false, .. } => return self.forget(cx, "a person spoke"),
            // These come while the agent speaks.
            EventKind::ToolResult(_) | EventKind::Waiting(_) | EventKind::Resumed(_) => return,
            _ => {}
        }
        self.end_parts(cx);
        match event {
            EventKind::Message { text, .. } => {
                self.say(What::Message, text, cx);
            }
            // Many agents write down that they thought, and not what.
            EventKind::Thinking { text } if !text.trim_ascii().is_empty() => {
                self.say(What::Thought, text, cx);
            }
            _ => {}
        }
    }

    fn forget(&mut self, cx: &mut Context<'_>, why: &str) {
        *self = Self::default();
        What::Message.end(cx, why);
        What::Thought.end(cx, why);
    }
}

impl Chants {
    fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Message { text, delta: true } => self.read(What::Message, text, cx),
            EventKind::Message { text, delta: false } => {
                self.stop();
                read_whole(text, &mut self.is_chanting, cx);
            }
            EventKind::Thinking { text } => self.read(What::Thought, text, cx),
            // The next thought is one of another answer.
            EventKind::ModelCall(_) if self.coming == Some(What::Thought) => self.stop(),
            EventKind::ToolCall(_) => self.finish(cx, "a tool was called"),
            EventKind::Prompt { synthetic: false, .. } => self.finish(cx, "a person spoke"),
            EventKind::TurnEnd | EventKind::AgentEnd | EventKind::SessionEnd { .. } => {
                self.finish(cx, "the agent rests");
            }
            EventKind::Prompt { .. }
            | EventKind::Handoff { .. }
            | EventKind::Compaction { .. }
            | EventKind::Error { .. }
            | EventKind::SessionStart(_) => self.stop(),
            // These come while the agent speaks.
            _ => {}
        }
    }

    fn read(&mut self, what: What, text: &str, cx: &mut Context<'_>) {
        if self.coming != Some(what) {
            self.stop();
            self.coming = Some(what);
        }
        self.reading.read(text, &mut self.is_chanting, cx);
    }

    fn finish(&mut self, cx: &mut Context<'_>, why: &str) {
        self.stop();
        self.is_chanting.end(cx, why);
    }

    fn stop(&mut self) {
        self.coming = None;
        self.reading.clear();
    }
}

#[cfg(test)]
mod tests;
