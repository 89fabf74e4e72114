#![doc = include_str!("../README.md")]

mod calls;
mod elapsed;
mod silence;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, InvalidOption, Level, Period, Severity, Subscription,
    Unit,
};

use crate::{calls::Calls, elapsed::Nanos, silence::Silence, watch::Watch};

/// Finds what takes too long: sessions, turns, tools, models, or anything.
#[derive(Clone, Debug)]
pub struct Timeout {
    rules: Arc<Rules>,
    state: State,
}

/// The options of `kind = "timeout"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutOptions {
    /// What may take too long.
    of: Of,
    /// How long it may take.
    max: Period,
    /// With `of = "tool"`: whether tools that give work to another agent are
    /// timed, too.
    #[serde(default)]
    delegates: bool,
}

/// What may take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The work of a session: the time in which any of its agents has a turn
    /// open.
    Session,
    /// One turn: from a prompt until the agent rests.
    Turn,
    /// One call of a tool: until its result.
    Tool,
    /// The model's answer: the time in which an agent has a turn open, no call
    /// pending, and says nothing.
    Model,
    /// The next event: the time in which a turn is open and nothing happens in
    /// any agent of the session.
    Idle,
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
            return Err(InvalidOption::new("delegates", r#"only `of = "tool"` has it"#));
        }
        let state = match options.of {
            Of::Tool => State::Calls(Calls::default()),
            Of::Model => State::Silence(Silence::default()),
            _ => State::Watch(Box::default()),
        };
        Ok(Self { rules: Arc::new(Rules::new(&options)), state })
    }
}

/// What the options say, ready to reckon with.
#[derive(Debug)]
struct Rules {
    of: Of,
    max: Nanos,
    delegates: bool,
}

impl Rules {
    fn new(options: &TimeoutOptions) -> Self {
        let TimeoutOptions { of, max, delegates } = *options;
        Self { of, max: u64::try_from(max.get().as_nanos()).unwrap_or(u64::MAX), delegates }
    }
}

#[derive(Clone, Debug)]
enum State {
    /// In a box, as the others need less room, and of those there are very many.
    Watch(Box<Watch>),
    Silence(Silence),
    Calls(Calls),
}

impl Detector for Timeout {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Watch(watch) => watch.observe(event, &self.rules, cx),
            State::Silence(silence) => silence.observe(&self.rules, cx),
            State::Calls(calls) => calls.observe(&self.rules, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::Watch(watch) => watch.wake(&self.rules, cx),
            State::Silence(silence) => silence.wake(&self.rules, cx),
            State::Calls(calls) => calls.wake(&self.rules, cx),
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
            State::Watch(it) => it.is_idle(),
            State::Silence(it) => it.is_idle(),
            State::Calls(it) => it.is_idle(),
        }
    }
}
