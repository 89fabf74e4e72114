#![doc = include_str!("../README.md")]

mod blocks;
mod hash;
mod messages;
mod repetitions;
mod segments;
mod spans;
#[cfg(test)]
mod tests;
mod text_kind;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventSet, InvalidOption, Level, Severity, Subscription,
};

use crate::{messages::RepeatedMessages, spans::RepeatedSpans};

/// Finds agents that repeat a message, or a span within a message.
#[derive(Clone, Debug)]
pub struct RepeatText {
    state: State,
}

/// The options of `kind = "repeat-text"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatTextOptions {
    /// The text that is counted.
    of: Of,
}

/// A text that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Equal messages in a row, or equal thoughts in a row.
    Message,
    /// A span that repeats within a message or within thoughts.
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
            Of::Message => State::Messages(RepeatedMessages::default()),
            Of::Span => State::Spans(RepeatedSpans::default()),
        };
        Ok(Self { state })
    }
}

#[derive(Clone, Debug)]
enum State {
    Messages(RepeatedMessages),
    Spans(RepeatedSpans),
}

impl Detector for RepeatText {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Messages(messages) => messages.observe(&event.kind, cx),
            State::Spans(spans) => spans.observe(&event.kind, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        /// Excludes results and waits, which may arrive in the middle of a
        /// streamed message.
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
            State::Messages(messages) => messages.is_empty(),
            State::Spans(spans) => spans.is_idle(),
        }
    }
}
