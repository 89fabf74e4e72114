#![doc = include_str!("../README.md")]

mod counters;
mod streak;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Call, Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption,
    Level, Period, Severity, Subscription, ToolClass,
};

use crate::streak::Streak;

/// Finds agents that make the same tool call again and again.
#[derive(Clone, Debug)]
pub struct RepeatToolCall {
    options: Arc<RepeatToolCallOptions>,
    streak: Option<Streak>,
}

/// The options of `kind = "repeat-tool-call"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatToolCallOptions {
    /// What makes two calls the same.
    #[serde(default)]
    #[schemars(with = "Vec<Part>")]
    same: Same,
    /// How long after the call before a repeat still counts; without it,
    /// however long.
    within: Option<Period>,
    /// Which classes of tools count; without it, all. A call of another class
    /// ends what was repeated.
    classes: Option<Vec<ToolClass>>,
}

/// A part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The name of the tool.
    Tool,
    /// What the tool was given.
    Arguments,
    /// What the tool answered, numbers, ids and times aside.
    Result,
}

/// Which parts make two calls the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Part>")]
struct Same {
    tool: bool,
    arguments: bool,
    result: bool,
}

impl Same {
    const NOTHING: Self = Self { tool: false, arguments: false, result: false };
}

impl Default for Same {
    fn default() -> Self {
        Self { tool: true, arguments: true, result: true }
    }
}

impl From<Vec<Part>> for Same {
    fn from(parts: Vec<Part>) -> Self {
        let has = |it| parts.contains(&it);
        Self { tool: has(Part::Tool), arguments: has(Part::Arguments), result: has(Part::Result) }
    }
}

watchkeeper_core::register!(RepeatToolCall);

impl DetectorKind for RepeatToolCall {
    const KIND: &'static str = "repeat-tool-call";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(3, Severity::Low),
        Level::new(4, Severity::Medium),
        Level::new(8, Severity::High),
    ];
    const LIMIT: u64 = 4;
    type Options = RepeatToolCallOptions;

    fn new(options: RepeatToolCallOptions) -> Result<Self, InvalidOption> {
        if options.same == Same::NOTHING {
            let reason = r#"name at least one of "tool", "arguments" and "result""#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.same.arguments && !options.same.tool {
            let reason = r#""arguments" mean nothing without their "tool"; name both"#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(InvalidOption::new("classes", "name at least one, or leave it out"));
        }
        Ok(Self { options: Arc::new(options), streak: None })
    }
}

impl Detector for RepeatToolCall {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let Self { options, streak } = self;
        match &event.kind {
            EventKind::ToolCall(call) if !options.reads_answers() => {
                if let Some(made) = cx.made() {
                    Streak::called(streak, made, Some(call), options, cx);
                }
            }
            EventKind::ToolResult(result) => Streak::answered(streak, result, options, cx),
            EventKind::Prompt { synthetic: false, .. } => {
                Streak::end(streak, options, cx, "a person spoke");
            }
            EventKind::TurnEnd if !options.same.arguments => Streak::rest(streak),
            _ => {}
        }
    }

    fn subscription(&self) -> Subscription {
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const RESULTS: EventSet = EventSet::of(&["tool_result"]);
        const PROMPTS: EventSet = EventSet::of(&["prompt"]);
        const TURN_ENDS: EventSet = EventSet::of(&["turn_end"]);
        let same = &self.options.same;
        let needs_results = self.options.reads_answers();
        let mut events = PROMPTS.or(RESULTS);
        if same.arguments || !needs_results {
            events = events.or(CALLS);
        }
        if !same.arguments {
            events = events.or(TURN_ENDS);
        }
        Subscription::to(events).starting_with(if needs_results { RESULTS } else { CALLS })
    }

    fn is_idle(&self) -> bool {
        self.streak.is_none()
    }
}

impl RepeatToolCallOptions {
    fn counts(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|it| it.contains(&class))
    }

    /// Whether a call is read as it is answered: where arguments may differ, one
    /// that is not says nothing.
    fn reads_answers(&self) -> bool {
        self.same.result && !self.same.arguments
    }

    /// What two calls that count as the same have in common.
    fn key(&self, call: &Call) -> Brief {
        let key = if self.same.arguments {
            call.fingerprint
        } else if self.same.tool {
            Fingerprint::of(&*call.tool)
        } else {
            Fingerprint::NONE
        };
        key.brief()
    }
}

type Brief = std::num::NonZeroU32;
