#![doc = include_str!("../README.md")]

mod causes;
mod commands;
mod compactions;
mod denials;
mod error_counts;
mod error_line;
mod error_place;
mod failure;
mod failures;
mod options;
mod pace;
mod prompts;
mod reasons;
mod retries;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventSet, InvalidOption, Level, Severity, Subscription,
};

pub use crate::options::{ErrorLoopOptions, Of};
use crate::{
    compactions::Compactions, denials::Denials, failures::Failures, prompts::RepeatedPrompts,
    retries::Retries, turns::FailedTurns,
};

/// Finds agents that fail repeatedly.
#[derive(Clone, Debug)]
pub struct ErrorLoop {
    options: Arc<ErrorLoopOptions>,
    state: State,
}

watchkeeper_core::register!(ErrorLoop);

impl DetectorKind for ErrorLoop {
    const KIND: &'static str = "error-loop";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(3, Severity::Low),
        Level::new(5, Severity::Medium),
        Level::new(9, Severity::High),
    ];
    const LIMIT: u64 = 5;
    type Options = ErrorLoopOptions;

    fn new(options: ErrorLoopOptions) -> Result<Self, InvalidOption> {
        if options.within.is_some() && options.of != Of::Retry {
            let reason = r#"`within` applies only to `of = "retry"`; remove it"#;
            return Err(InvalidOption::new("within", reason));
        }
        let state = match options.of {
            Of::Failure | Of::Error => State::Failures(Failures::default()),
            Of::Retry => State::Retries(Retries::default()),
            Of::Compaction => State::Compactions(Compactions::default()),
            Of::Turn => State::Turns(FailedTurns::default()),
            Of::Prompt => State::Prompts(RepeatedPrompts::default()),
            Of::Denial => State::Denials(Denials::default()),
        };
        Ok(Self { options: Arc::new(options), state })
    }
}

/// The current failures. Most streams have none.
#[derive(Clone, Debug)]
enum State {
    Failures(Failures),
    Retries(Retries),
    Compactions(Compactions),
    Turns(FailedTurns),
    Prompts(RepeatedPrompts),
    Denials(Denials),
}

impl Detector for ErrorLoop {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Failures(failures) => failures.observe(&event.kind, self.options.of, cx),
            State::Retries(retries) => retries.observe(&event.kind, self.options.within(), cx),
            State::Compactions(compactions) => compactions.observe(&event.kind, cx),
            State::Turns(turns) => turns.observe(event, cx),
            State::Prompts(prompts) => prompts.observe(&event.kind, cx),
            State::Denials(denials) => denials.observe(&event.kind, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if let State::Retries(retries) = &mut self.state {
            retries.wake(self.options.within(), cx);
        }
    }

    fn subscription(&self) -> Subscription {
        const RESULTS: EventSet = EventSet::of(&["prompt", "tool_result"]);
        const ERRORS: EventSet = EventSet::of(&["error"]);
        const COMPACTIONS: EventSet = EventSet::of(&["compaction"]);
        const PROGRESS: EventSet = EventSet::of(&["message", "prompt", "tool_result"]);
        const PROMPTS: EventSet = EventSet::of(&["prompt"]);
        const TURNS: EventSet = EventSet::of(&[
            "error",
            "prompt",
            "message",
            "model_call",
            "tool_result",
            "session_start",
            "agent_start",
            "session_end",
        ]);
        const FAILED_TURNS: EventSet = EventSet::of(&["error", "session_end"]);
        match self.state {
            State::Failures(_) | State::Denials(_) => {
                Subscription::to(RESULTS).starting_with(match self.options.of {
                    Of::Error => EventSet::FAILED_RESULTS.or(EventSet::REPORTING_RESULTS),
                    _ => EventSet::FAILED_RESULTS,
                })
            }
            State::Retries(_) => Subscription::to(ERRORS),
            State::Compactions(_) => {
                Subscription::to(COMPACTIONS.or(PROGRESS)).starting_with(COMPACTIONS)
            }
            State::Turns(_) => Subscription::to(TURNS).starting_with(FAILED_TURNS),
            State::Prompts(_) => Subscription::to(RESULTS).starting_with(PROMPTS),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::Failures(failures) => failures.is_empty(),
            State::Retries(retries) => retries.is_empty(),
            State::Compactions(compactions) => compactions.is_empty(),
            State::Turns(turns) => turns.is_empty(),
            State::Prompts(prompts) => prompts.is_empty(),
            State::Denials(denials) => denials.is_empty(),
        }
    }
}
