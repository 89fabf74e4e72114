//! Sessions and turns, and sessions in which nothing happens: what is timed by
//! one stopwatch.

use watchkeeper_core::{
    Context, Elapsed, Event, EventKind, Fingerprint, PackedTimestamp, Place, Report, percent,
};

use crate::{
    Of, Rules,
    elapsed::{Nanos, duration, report, since, wake_at_next_level},
};

/// A stopwatch, and what it is started and stopped by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    clock: Clock,
    /// With `of = "turn"`: when the turn began.
    turn: Option<PackedTimestamp>,
    /// Where what it counts began.
    since: Option<Place>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clock {
    /// What it showed when it was last stopped.
    shown: Nanos,
    /// Since when it runs.
    since: Option<PackedTimestamp>,
}

impl Watch {
    pub(crate) fn observe(&mut self, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let (session, agent) = (cx.session(), cx.agent());
        let turn = agent.turn;
        let works = 0 < session.open_turns && session.waiting_agents == 0;
        let (begins, runs) = match rules.of {
            Of::Turn => (turn != self.turn, turn.is_some() && !agent.waits_for_person()),
            Of::Idle => (true, works),
            _ => {
                let ends = matches!(event.kind, EventKind::SessionEnd { .. });
                (ends && event.agent.is_none(), works)
            }
        };
        if begins {
            self.end(rules, cx);
            self.clock = Clock::default();
            self.turn = if rules.of == Of::Turn { turn } else { None };
        }
        match (self.clock.since.is_some(), runs) {
            (false, true) => {
                self.clock.start(cx);
                if begins || self.since.is_none() {
                    cx.keep_place(&mut self.since);
                }
                wake_at_next_level(self.clock.shown, rules.max, cx);
            }
            (was_running, false) => {
                if was_running {
                    self.clock.stop(cx);
                }
                if begins {
                    self.since = None;
                }
                cx.cancel_wake();
            }
            (true, true) => {}
        }
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if self.clock.since.is_none() {
            return;
        }
        let elapsed = self.clock.elapsed(cx);
        let percent = percent(elapsed, rules.max);
        cx.report(Fingerprint::NONE, percent, || {
            let lasts = match rules.of {
                Of::Turn => "the turn has been open",
                Of::Idle => "nothing has happened",
                _ => "the session has been at work",
            };
            let since = self.since.as_ref().map(Place::evidence);
            report(lasts, elapsed, percent, rules.max).since(since)
        });
        wake_at_next_level(elapsed, rules.max, cx);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.clock == Clock::default() && self.turn.is_none() && self.since.is_none()
    }

    fn end(&self, rules: &Rules, cx: &mut Context<'_>) {
        let elapsed = duration(self.clock.elapsed(cx));
        cx.resolve(Fingerprint::NONE, || {
            let took = Elapsed(elapsed);
            let message = match rules.of {
                Of::Turn => format!("the turn ended after {took} of work"),
                Of::Idle => format!("something happened after {took}"),
                _ => format!("the session ended after {took} of work"),
            };
            Report::new(message).with("elapsed_seconds", elapsed.as_secs())
        });
    }
}

impl Clock {
    fn start(&mut self, cx: &Context<'_>) {
        self.since = Some(cx.now().into());
    }

    fn stop(&mut self, cx: &Context<'_>) {
        *self = Self { shown: self.elapsed(cx), since: None };
    }

    fn elapsed(self, cx: &Context<'_>) -> Nanos {
        self.shown.saturating_add(self.since.map_or(0, |it| since(it.into(), cx)))
    }
}
