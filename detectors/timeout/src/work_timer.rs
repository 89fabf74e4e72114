//! The duration of sessions, of turns, and of sessions without events, each
//! measured with one stopwatch.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, Timestamp,
    author::{Elapsed, Place, StateKind, percent},
};

use crate::{
    elapsed::{Nanos, duration, report, since, wake_at_next_level},
    options::{Of, Rules},
};

/// A stopwatch that runs while the session, or the turn, is working.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkTimer {
    stopwatch: Stopwatch,
    /// With `of = "turn"`: the start of the turn.
    turn: Option<Timestamp>,
    /// The first event of the measured time, as evidence.
    started_by: Option<Place>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stopwatch {
    /// The time measured before the latest start.
    measured: Nanos,
    /// The latest start; `None` while stopped.
    running_since: Option<Timestamp>,
}

impl WorkTimer {
    pub(crate) fn observe(&mut self, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let (session, agent) = (cx.session(), cx.agent());
        let turn = agent.turn();
        let is_working = 0 < session.open_turns && session.waiting_agents == 0;
        let (restarts, runs) = match rules.of {
            Of::Turn => (turn != self.turn, turn.is_some() && !agent.waits_for_person()),
            Of::Idle => (true, is_working),
            of => {
                let is_end = matches!(event.kind, EventKind::SessionEnd { .. });
                let is_end = is_end && event.agent.is_none();
                (is_end, if of == Of::Lifetime { !is_end } else { is_working })
            }
        };
        if restarts {
            self.resolve(rules, cx);
            self.stopwatch = Stopwatch::default();
            self.turn = if rules.of == Of::Turn { turn } else { None };
        }
        match (self.stopwatch.running_since.is_some(), runs) {
            (false, true) => {
                self.stopwatch.start(cx);
                if restarts || self.started_by.is_none() {
                    self.started_by = cx.place();
                }
                wake_at_next_level(self.stopwatch.measured, rules.max, cx);
            }
            (was_running, false) => {
                if was_running {
                    self.stopwatch.stop(cx);
                }
                if restarts {
                    self.started_by = None;
                }
                cx.cancel_wake();
            }
            (true, true) => {}
        }
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if self.stopwatch.running_since.is_none() {
            return;
        }
        let elapsed = self.stopwatch.elapsed(cx);
        let percent = percent(elapsed, rules.max);
        // In a stream of a session, the main agent.
        let state = cx.agent().state().kind;
        let detail = match state_text(state) {
            Some(text) if !matches!(rules.of, Of::Session | Of::Lifetime) => {
                format!("; the agent {text}")
            }
            _ => String::new(),
        };
        cx.report(Fingerprint::NONE, percent, || {
            let condition = match rules.of {
                Of::Turn => "the turn has been open",
                Of::Idle => "nothing has happened",
                Of::Lifetime => "the session has been open",
                _ => "the session has been working",
            };
            let first = self.started_by.as_ref().map(Place::evidence);
            let state = state.name();
            report(condition, elapsed, percent, rules.max, &detail)
                .with("state", state)
                .since(first)
        });
        wake_at_next_level(elapsed, rules.max, cx);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.stopwatch == Stopwatch::default() && self.turn.is_none() && self.started_by.is_none()
    }

    fn resolve(&self, rules: &Rules, cx: &mut Context<'_>) {
        let elapsed = duration(self.stopwatch.elapsed(cx));
        cx.resolve(Fingerprint::NONE, || {
            let took = Elapsed(elapsed);
            let message = match rules.of {
                Of::Turn => format!("the turn ended after {took} of work"),
                Of::Idle => format!("an event arrived after {took}"),
                Of::Lifetime => format!("the session ended after {took}"),
                _ => format!("the session ended after {took} of work"),
            };
            Report::new(message).with("elapsed_seconds", elapsed.as_secs())
        });
    }
}

/// Returns the activity of an agent that is working, as the end of a sentence.
const fn state_text(state: StateKind) -> Option<&'static str> {
    Some(match state {
        StateKind::Working => "is writing a response",
        StateKind::WaitingForModel => "waits for the model",
        StateKind::RunningTool => "runs a tool",
        StateKind::CallPending => "waits for the result of a call",
        StateKind::Retrying => "tries again after an error",
        _ => return None,
    })
}

impl Stopwatch {
    fn start(&mut self, cx: &Context<'_>) {
        self.running_since = Some(cx.now());
    }

    fn stop(&mut self, cx: &Context<'_>) {
        *self = Self { measured: self.elapsed(cx), running_since: None };
    }

    fn elapsed(self, cx: &Context<'_>) -> Nanos {
        self.measured.saturating_add(self.running_since.map_or(0, |at| since(at, cx)))
    }
}
