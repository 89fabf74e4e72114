#![doc = include_str!("../README.md")]

mod counters;
mod messages;
mod options;
mod repeated_calls;
mod streak;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, InvalidOption, Level, Severity,
    Subscription,
};

pub use crate::options::{Part, RepeatToolCallOptions};
use crate::{options::Same, repeated_calls::RepeatedCalls};

/// Finds agents that repeat a tool call and get the same result.
#[derive(Clone, Debug)]
pub struct RepeatToolCall {
    options: Arc<RepeatToolCallOptions>,
    calls: RepeatedCalls,
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
                    calls.add_call(call, options.key(call), Some(event), options, cx);
                }
            }
            EventKind::ToolResult(result) => calls.add_result(result, options, cx),
            EventKind::Prompt { .. } => calls.observe_prompt(options, cx),
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
