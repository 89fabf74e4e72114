#![doc = include_str!("../README.md")]

mod depth;
mod options;
mod report;
mod running;
mod starts;
#[cfg(test)]
mod tests;
mod window;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventSet, InvalidOption, Level, Severity, Subscription,
    author::Period,
};

pub use crate::options::{FanOutOptions, Of};
use crate::{depth::Depth, running::Running, starts::Starts};

/// Finds sessions that start many sub-agents, or nest them deeply.
#[derive(Clone, Debug)]
pub struct FanOut(Measured);

#[derive(Clone, Debug)]
enum Measured {
    Starts { starts: Starts, window: Option<Period> },
    Depth(Depth),
    Running(Running),
    Unfinished(Running),
}

watchkeeper_core::register!(FanOut);

impl DetectorKind for FanOut {
    const KIND: &'static str = "fan-out";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(50, Severity::Low),
        Level::new(100, Severity::Medium),
        Level::new(250, Severity::High),
    ];
    const LIMIT: u64 = 100;
    type Options = FanOutOptions;

    fn new(options: FanOutOptions) -> Result<Self, InvalidOption> {
        let FanOutOptions { of, window } = options;
        if window.is_some() && of != Of::Start {
            let reason = r#"a window applies only to `of = "start"`; remove it"#;
            return Err(InvalidOption::new("window", reason));
        }
        Ok(Self(match of {
            Of::Start => Measured::Starts { starts: Starts::default(), window },
            Of::Depth => Measured::Depth(Depth::default()),
            Of::Running => Measured::Running(Running::default()),
            Of::Unfinished => Measured::Unfinished(Running::default()),
        }))
    }
}

impl Detector for FanOut {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let is_main = event.agent.is_none();
        match &mut self.0 {
            Measured::Starts { starts, window } => starts.observe(&event.kind, *window, cx),
            Measured::Depth(depth) => depth.observe(&event.kind, is_main, cx),
            Measured::Running(running) => running.observe(&event.kind, cx),
            Measured::Unfinished(running) => running.observe_unfinished(&event.kind, is_main, cx),
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        if let Measured::Starts { starts, window } = &mut self.0 {
            starts.wake(*window, cx);
        }
    }

    fn subscription(&self) -> Subscription {
        const STARTS: EventSet = EventSet::of(&["agent_start"]);
        const PROMPTS: EventSet = EventSet::of(&["prompt"]);
        const TURN_ENDS: EventSet = EventSet::of(&["turn_end"]);
        const ENDS: EventSet =
            EventSet::of(&["turn_end", "agent_end", "error", "handoff", "session_end"]);
        let (starts, ends) = match &self.0 {
            Measured::Starts { .. } => (STARTS, STARTS),
            Measured::Depth(_) => (STARTS, PROMPTS),
            Measured::Running(_) => (STARTS, ENDS),
            Measured::Unfinished(_) => (TURN_ENDS, ENDS.or(PROMPTS)),
        };
        Subscription::to(starts.or(ends)).starting_with(starts).per_session().without_exceptions()
    }

    fn is_idle(&self) -> bool {
        match &self.0 {
            Measured::Starts { starts, .. } => starts.is_empty(),
            Measured::Depth(depth) => depth.is_empty(),
            Measured::Running(running) | Measured::Unfinished(running) => running.is_empty(),
        }
    }
}
