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
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    Period, Severity, ToolClass,
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
    #[serde(default = "everything")]
    same: Vec<Part>,
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

fn everything() -> Vec<Part> {
    vec![Part::Tool, Part::Arguments, Part::Result]
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
        if options.same.is_empty() {
            let reason = r#"name at least one of "tool", "arguments" and "result""#;
            return Err(InvalidOption::new("same", reason));
        }
        if options.compares(Part::Arguments) && !options.compares(Part::Tool) {
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
            EventKind::Prompt { synthetic: false, .. } => {
                Streak::end(streak, options, cx, "a person spoke");
            }
            EventKind::ToolCall(call) => Streak::called(streak, call, options, cx),
            EventKind::ToolResult(result) => Streak::answered(streak, result, options, cx),
            EventKind::TurnEnd => Streak::rest(streak, options),
            _ => {}
        }
    }

    fn reads(&self) -> EventSet {
        const READS: EventSet = EventSet::of(&["prompt", "tool_call", "tool_result", "turn_end"]);
        READS
    }

    fn begins_with(&self) -> EventSet {
        const CALLS: EventSet = EventSet::of(&["tool_call", "tool_result"]);
        CALLS
    }

    fn at_rest(&self) -> bool {
        self.streak.is_none()
    }
}

impl RepeatToolCallOptions {
    fn compares(&self, part: Part) -> bool {
        self.same.contains(&part)
    }

    fn counts(&self, class: ToolClass) -> bool {
        self.classes.as_ref().is_none_or(|it| it.contains(&class))
    }

    /// What two calls that count as the same have in common.
    fn key(&self, tool: &str, call: Fingerprint) -> Fingerprint {
        match (self.compares(Part::Tool), self.compares(Part::Arguments)) {
            (_, true) => call,
            (true, false) => Fingerprint::of(tool),
            (false, false) => Fingerprint::NONE,
        }
    }
}

/// A fingerprint in 32 bits, enough to tell one from the one before; never
/// that of nothing.
fn brief(fingerprint: Fingerprint) -> Brief {
    let [low, high] = [fingerprint.get() & 0xffff_ffff, fingerprint.get() >> 32];
    u32::try_from(low ^ high).ok().and_then(Brief::new).unwrap_or(Brief::MAX)
}

type Brief = std::num::NonZeroU32;
