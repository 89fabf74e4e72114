#![doc = include_str!("../README.md")]

mod cycle;
mod cycle_length;
mod fruitless;
mod rounds;
mod step;
#[cfg(test)]
mod tests;
mod trail;
mod words;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, InvalidOption, Level, Scope,
    Severity, Subscription, ToolClass,
};

pub use crate::cycle_length::CycleLength;
use crate::{
    cycle::{Cycle, Cycles},
    fruitless::Fruitless,
    rounds::Rounds,
};

/// Finds agents that go round in circles.
#[derive(Clone, Debug)]
pub struct RunawayLoop {
    options: Arc<RunawayLoopOptions>,
    state: State,
}

/// The options of `kind = "runaway-loop"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunawayLoopOptions {
    /// What is counted.
    #[serde(default)]
    of: Of,
    /// The shortest cycle that counts, in calls. Of one call in a row
    /// `repeat-tool-call` tells.
    #[serde(default = "two")]
    min_period: CycleLength,
    /// The longest cycle that counts, in calls.
    #[serde(default = "longest")]
    max_period: CycleLength,
    /// Whether a call that gets the same answer again and again counts, too,
    /// though there is no order in it: two times count as a round.
    #[serde(default = "yes")]
    recurring: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Rounds of a cycle of calls that got the same answers.
    #[default]
    Cycle,
    /// Answers of the model without progress.
    Step,
    /// Handoffs between agents without progress.
    Handoff,
}

const fn two() -> CycleLength {
    CycleLength::TWO
}

const fn longest() -> CycleLength {
    CycleLength::LONGEST
}

const fn yes() -> bool {
    true
}

watchkeeper_core::register!(RunawayLoop);

impl DetectorKind for RunawayLoop {
    const KIND: &'static str = "runaway-loop";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(2, Severity::Low),
        Level::new(3, Severity::Medium),
        Level::new(6, Severity::High),
    ];
    const LIMIT: u64 = 3;
    type Options = RunawayLoopOptions;

    fn new(options: RunawayLoopOptions) -> Result<Self, InvalidOption> {
        if options.max_period < options.min_period {
            let reason = format!(
                "no cycle is both {} or longer and {} or shorter",
                options.min_period.get(),
                options.max_period.get()
            );
            return Err(InvalidOption::new("max_period", reason));
        }
        let state = match options.of {
            Of::Cycle => State::Cycle(Rounds::default()),
            Of::Step | Of::Handoff => State::Fruitless(Fruitless::default()),
        };
        Ok(Self { options: Arc::new(options), state })
    }
}

#[derive(Clone, Debug)]
enum State {
    Cycle(Rounds),
    Fruitless(Fruitless),
}

impl Detector for RunawayLoop {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Cycle(rounds) => match &event.kind {
                EventKind::Prompt { synthetic: false, .. } => {
                    rounds.end(cx, "a person spoke");
                    rounds.clear();
                }
                EventKind::ToolCall(call) if call.class != ToolClass::Wait => {
                    if let Some(made) = cx.made() {
                        rounds.called(made, &self.options, cx);
                    }
                }
                EventKind::ToolResult(result) => rounds.answered(result, &self.options, cx),
                _ => {}
            },
            State::Fruitless(fruitless) => fruitless.observe(event, self.options.of, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        const ENDS: EventSet = EventSet::of(&["prompt", "tool_result"]);
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const STEPS: EventSet = EventSet::of(&["model_call"]);
        const HANDOFFS: EventSet = EventSet::of(&["handoff"]);
        let (counted, scope) = match self.options.of {
            Of::Cycle => (CALLS, Scope::Agent),
            Of::Step => (STEPS, Scope::Session),
            Of::Handoff => (HANDOFFS, Scope::Session),
        };
        Subscription::to(ENDS.or(counted)).starting_with(counted).scope(scope)
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Cycle(rounds) => rounds.is_new(),
            State::Fruitless(fruitless) => fruitless.is_new(),
        }
    }
}

impl RunawayLoopOptions {
    fn find(&self, cycles: &Cycles) -> Option<Cycle> {
        cycles.find(self.min_period.get(), self.max_period.get())
    }
}
