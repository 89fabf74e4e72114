#![doc = include_str!("../README.md")]

mod delegations;
mod elapsed;
mod options;
mod pending_calls;
mod silent_model;
#[cfg(test)]
mod tests;
mod work_timer;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventSet, InvalidOption, Level, Severity, Subscription,
    Unit,
};

pub use crate::options::{Of, TimeoutOptions};
use crate::{
    delegations::Delegations, options::Rules, pending_calls::PendingCalls,
    silent_model::SilentModel, work_timer::WorkTimer,
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
        if options.times_longest.is_some() && options.of != Of::Delegation {
            let reason = r#"`times_longest` applies only to `of = "delegation"`; remove it"#;
            return Err(InvalidOption::new("times_longest", reason));
        }
        if options.times_longest == Some(0) {
            let reason = "a multiple of 0 allows nothing; use 1 or more";
            return Err(InvalidOption::new("times_longest", reason));
        }
        let state = match options.of {
            Of::Tool => State::PendingCalls(PendingCalls::default()),
            Of::Model => State::SilentModel(SilentModel::default()),
            Of::Delegation => State::Delegations(Delegations::default()),
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
    Delegations(Delegations),
}

impl Detector for Timeout {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::WorkTimer(timer) => timer.observe(event, &self.rules, cx),
            State::SilentModel(model) => model.observe(event, &self.rules, cx),
            State::PendingCalls(calls) => calls.observe(&self.rules, cx),
            State::Delegations(delegations) => delegations.observe(event, &self.rules, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::WorkTimer(timer) => timer.wake(&self.rules, cx),
            State::SilentModel(model) => model.wake(&self.rules, cx),
            State::PendingCalls(calls) => calls.wake(&self.rules, cx),
            State::Delegations(delegations) => delegations.wake(&self.rules, cx),
        }
    }

    fn subscription(&self) -> Subscription {
        match self.rules.of {
            Of::Session | Of::Lifetime | Of::Idle => {
                Subscription::default().per_session().without_exceptions()
            }
            Of::Turn => Subscription::default().without_exceptions(),
            Of::Model => Subscription::default().timer_only().without_exceptions(),
            Of::Tool => Subscription::default().timer_only(),
            Of::Delegation => Subscription::default().per_session().starting_with(EventSet::WAITS),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.state {
            State::WorkTimer(timer) => timer.is_idle(),
            State::SilentModel(model) => model.is_idle(),
            State::PendingCalls(calls) => calls.is_idle(),
            State::Delegations(delegations) => delegations.is_idle(),
        }
    }
}
