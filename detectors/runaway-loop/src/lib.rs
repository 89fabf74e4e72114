#![doc = include_str!("../README.md")]

mod call_cycles;
mod count;
mod cycle;
mod cycle_length;
mod cycles;
mod handoffs;
mod latest_results;
mod measurements;
mod messages;
mod no_progress;
mod open_findings;
mod options;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, InvalidOption, Level, Purpose,
    Severity, Subscription, ToolCall, ToolClass, author::Scope,
};

use crate::{call_cycles::CallCycles, handoffs::Handoffs, no_progress::NoProgress};
pub use crate::{
    cycle_length::CycleLength,
    options::{Of, Progress, RunawayLoopOptions},
};

/// Finds agents that repeat a sequence of calls, or work without progress.
#[derive(Clone, Debug)]
pub struct RunawayLoop {
    options: Arc<RunawayLoopOptions>,
    state: State,
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
                "`max_period` {} is less than `min_period` {}; increase it",
                options.max_period.get(),
                options.min_period.get()
            );
            return Err(InvalidOption::new("max_period", reason));
        }
        if options.progress != Progress::Change && options.of != Of::Step {
            let reason = r#"`progress` applies only to `of = "step"`; remove it"#;
            return Err(InvalidOption::new("progress", reason));
        }
        let state = match options.of {
            Of::Cycle => State::Calls(CallCycles::default()),
            Of::Step => State::NoProgress(NoProgress::default()),
            Of::Handoff => State::Handoffs(Handoffs::default()),
        };
        Ok(Self { options: Arc::new(options), state })
    }
}

#[derive(Clone, Debug)]
enum State {
    Calls(CallCycles),
    NoProgress(NoProgress),
    Handoffs(Handoffs),
}

/// Returns true unless a call waits, or lets time pass.
fn is_step(call: &ToolCall) -> bool {
    call.class != ToolClass::Wait && call.purpose != Purpose::Wait
}

impl Detector for RunawayLoop {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Calls(calls) => match &event.kind {
                EventKind::Prompt { .. } => {
                    if let Some(reason) = cx.agent().start().reason() {
                        calls.resolve_all(cx, reason);
                        calls.clear();
                    }
                }
                EventKind::ToolCall(event) if is_step(event) => {
                    if let Some(call) = cx.new_call() {
                        calls.add_call(call, event.change, &self.options, cx);
                    }
                }
                EventKind::Compaction { .. } => calls.add_compaction(),
                EventKind::ToolResult(result) => calls.add_result(result, &self.options, cx),
                _ => {}
            },
            State::NoProgress(no_progress) => no_progress.observe(event, self.options.progress, cx),
            State::Handoffs(handoffs) => handoffs.observe(event, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        const ENDS: EventSet = EventSet::of(&["prompt", "tool_result"]);
        const CALLS: EventSet = EventSet::of(&["tool_call"]);
        const STEPS: EventSet = EventSet::of(&["model_call"]);
        const HANDOFFS: EventSet = EventSet::of(&["handoff"]);
        const COMPACTIONS: EventSet = EventSet::of(&["compaction"]);
        let (counted, ends, scope) = match self.options.of {
            Of::Cycle => (CALLS, ENDS.or(COMPACTIONS), Scope::Agent),
            Of::Step => (STEPS, ENDS, Scope::Session),
            Of::Handoff => (HANDOFFS, ENDS, Scope::Session),
        };
        Subscription::to(ends.or(counted)).starting_with(counted).scope(scope)
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Calls(calls) => calls.is_empty(),
            State::NoProgress(no_progress) => no_progress.is_empty(),
            State::Handoffs(handoffs) => handoffs.is_empty(),
        }
    }
}
