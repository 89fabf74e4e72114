#![doc = include_str!("../README.md")]

mod counters;
mod messages;
mod repeated_calls;
mod streak;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Call, Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption,
    Level, Period, Severity, Subscription, ToolClass,
};

use crate::repeated_calls::RepeatedCalls;

/// Finds agents that repeat a tool call and get the same result.
#[derive(Clone, Debug)]
pub struct RepeatToolCall {
    options: Arc<RepeatToolCallOptions>,
    calls: RepeatedCalls,
}

/// The options of `kind = "repeat-tool-call"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatToolCallOptions {
    /// The parts in which two calls must agree to be the same.
    #[serde(default)]
    #[schemars(with = "Vec<Part>")]
    same: Same,
    /// Longest time between two calls. Defaults to no limit.
    within: Option<Period>,
    /// Classes of tools that count. Defaults to all. A call of another class
    /// ends the repetition.
    classes: Option<Vec<ToolClass>>,
}

/// A part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The name of the tool.
    Tool,
    /// The arguments of the call.
    Arguments,
    /// The result of the call, ignoring numbers, ids and times.
    Result,
}

/// The parts in which two calls must agree to be the same.
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
        let has = |part| parts.contains(&part);
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
            let reason = r#""arguments" requires "tool"; name both"#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(InvalidOption::new("classes", "name at least one, or remove the option"));
        }
        Ok(Self { options: Arc::new(options), calls: RepeatedCalls::default() })
    }
}

impl Detector for RepeatToolCall {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let Self { options, calls } = self;
        match &event.kind {
            EventKind::ToolCall(event) if !options.counts_at_result() => {
                if let Some(call) = cx.new_call() {
                    calls.add_call(call, Some(event), options, cx);
                }
            }
            EventKind::ToolResult(result) => calls.add_result(result, options, cx),
            EventKind::Prompt { synthetic: false, .. } => {
                calls.end(options, cx, "a person sent a prompt");
            }
            EventKind::TurnEnd if !options.same.arguments => calls.end_turn(),
            _ => {}
        }
    }

    fn subscription(&self) -> Subscription {
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const RESULTS: EventSet = EventSet::of(&["tool_result"]);
        const PROMPTS: EventSet = EventSet::of(&["prompt"]);
        const TURN_ENDS: EventSet = EventSet::of(&["turn_end"]);
        let same = &self.options.same;
        let counts_at_result = self.options.counts_at_result();
        let mut events = PROMPTS.or(RESULTS);
        if same.arguments || !counts_at_result {
            events = events.or(CALLS);
        }
        if !same.arguments {
            events = events.or(TURN_ENDS);
        }
        Subscription::to(events).starting_with(if counts_at_result { RESULTS } else { CALLS })
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }
}

impl RepeatToolCallOptions {
    fn includes(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
    }

    /// Returns true if a call is counted when its result arrives. If arguments
    /// may differ, a call without a result is no evidence.
    fn counts_at_result(&self) -> bool {
        self.same.result && !self.same.arguments
    }

    /// Returns the compared parts of a call that are known when it is made.
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

/// The short form of a fingerprint.
type Brief = std::num::NonZeroU32;
