#![doc = include_str!("../README.md")]

mod elapsed;
mod options;
mod pending_calls;
mod silent_model;
#[cfg(test)]
mod tests;
mod work_timer;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, InvalidOption, Level, Severity, Subscription, Unit,
};

pub use crate::options::{Of, TimeoutOptions};
use crate::{
    options::Rules, pending_calls::PendingCalls, silent_model::SilentModel, work_timer::WorkTimer,
};

/// Finds sessions, turns, tool calls and models that take too long.
#[derive(Clone, Debug)]
pub struct Timeout {
    rules: Arc<Rules>,
    state: State,
}

watchkeeper_core::register!(Timeout);

impl DetectorKind for Timeout {
    const KIND: &'static str = "timeout";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "timeout";
    const UNIT: Unit = Unit::Percent;
    const LEVELS: &'static [Level] = &[
        Level::new(75, Severity::Medium),
        Level::new(90, Severity::Medium),
        Level::new(100, Severity::High),
    ];
    type Options = TimeoutOptions;

    fn new(options: TimeoutOptions) -> Result<Self, InvalidOption> {
        if options.delegates && options.of != Of::Tool {
            let reason = r#"`delegates` applies only to `of = "tool"`; remove it"#;
            return Err(InvalidOption::new("delegates", reason));
        }
        let state = match options.of {
            Of::Tool => State::PendingCalls(PendingCalls::default()),
            Of::Model => State::SilentModel(SilentModel::default()),
            _ => State::WorkTimer(Box::default()),
        };
        Ok(Self { rules: Arc::new(Rules::new(&options)), state })
    }
}

#[derive(Clone, Debug)]
enum State {
    /// Boxed, because the smaller variants exist once for every agent.
    WorkTimer(Box<WorkTimer>),
    SilentModel(SilentModel),
    PendingCalls(PendingCalls),
}

impl Detector for Timeout {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::WorkTimer(timer) => timer.observe(event, &self.rules, cx),
            State::SilentModel(model) => model.observe(event, &self.rules, cx),
            State::PendingCalls(calls) => calls.observe(&self.rules, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::WorkTimer(timer) => timer.wake(&self.rules, cx),
            State::SilentModel(model) => model.wake(&self.rules, cx),
            State::PendingCalls(calls) => calls.wake(&self.rules, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        match self.rules.of {
            Of::Session | Of::Idle => Subscription::default().per_session().without_exceptions(),
            Of::Turn => Subscription::default().without_exceptions(),
            Of::Model => Subscription::default().timer_only().without_exceptions(),
            Of::Tool => Subscription::default().timer_only(),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::WorkTimer(timer) => timer.is_idle(),
            State::SilentModel(model) => model.is_idle(),
            State::PendingCalls(calls) => calls.is_idle(),
        }
    }
}
