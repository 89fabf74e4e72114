//! Sessions that wait for another agent which sends nothing.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, SignedDuration, ToolClass,
    author::{Call, Elapsed, percent},
    quote,
};

use crate::{
    elapsed::{Nanos, duration, report, since, time_to_next_level, wake_at_next_level},
    options::Rules,
};

/// The number of finished delegations from which on the longest one is a measure.
const LEAST_FINISHED: u32 = 2;
/// A delegation that returns earlier has only started an agent in the background.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);

/// The delegations of the main agent of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delegations {
    known: Option<Box<Known>>,
}

/// The facts of a session that has delegated work.
#[derive(Clone, Debug, Default)]
struct Known {
    n_finished: u32,
    longest: Nanos,
    /// True while a finding may be open.
    is_reported: bool,
}

impl Delegations {
    pub(crate) fn observe(&mut self, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let is_delegation = |call: Option<&Call>| call.is_some_and(delegates);
        if self.known.is_none() && !is_delegation(cx.new_call()) {
            return;
        }
        let known = self.known.get_or_insert_default();
        let was_reported = std::mem::take(&mut known.is_reported);
        if was_reported {
            known.resolve(cx);
        }
        if event.agent.is_some() {
            // The wake-up for the finding may have been the last one.
            if was_reported && let Some(limit) = known.limit(rules) {
                wake_at_next_level(0, limit, cx);
            }
            return;
        }
        if let (EventKind::ToolResult(result), Some(call)) = (&event.kind, cx.call())
            && result.ok
            && delegates(call)
        {
            let took = cx.time_since(call.at);
            if SHORTEST <= took {
                known.n_finished = known.n_finished.saturating_add(1);
                known.longest = known.longest.max(since(call.at, cx));
            }
        }
        let limit = known.limit(rules).filter(|_| cx.pending().any(delegates));
        match limit {
            Some(limit) => wake_at_next_level(0, limit, cx),
            None => cx.cancel_wake(),
        }
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let Some(known) = &mut self.known else { return };
        let Some(limit) = known.limit(rules) else { return };
        let Some(call) = cx.pending().find(|call| delegates(call)).cloned() else { return };
        let session = cx.session();
        // An agent with events of its own has timers of its own.
        let is_alone = session.open_turns == 1 && session.waiting_agents == 0;
        let silence = if is_alone { since(session.last_event_at(), cx) } else { 0 };
        let measure = percent(silence, limit);
        if cx.next_level(0).is_some_and(|lowest| lowest <= measure) {
            known.is_reported = true;
        }
        cx.report(Fingerprint::NONE, measure, || {
            let (tool, state) = (quote(&call.tool), call.state());
            let detail = match known.n_finished {
                0 => String::new(),
                n => {
                    let longest = Elapsed(duration(known.longest));
                    format!("; {n} earlier delegations took at most {longest}")
                }
            };
            let condition = format!("{tool} has sent nothing");
            report(&condition, silence, measure, limit, &detail)
                .with("tool", tool.trim_matches('`'))
                .with("state", state.kind.name())
                .since(state.proof)
        });
        match time_to_next_level(silence, limit, cx) {
            Some(nanos) => cx.wake_after(duration(nanos)),
            None => cx.cancel_wake(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.known.is_none()
    }
}

impl Known {
    /// Returns the longest allowed silence; `None` while too few delegations have finished.
    fn limit(&self, rules: &Rules) -> Option<Nanos> {
        match rules.times_longest {
            None => Some(rules.max),
            Some(_) if self.n_finished < LEAST_FINISHED => None,
            Some(times) => Some(self.longest.saturating_mul(times).max(rules.max)),
        }
    }

    fn resolve(&self, cx: &mut Context<'_>) {
        let returned = cx.call().filter(|call| delegates(call));
        let returned = returned.map(|call| (quote(&call.tool), cx.time_since(call.at)));
        cx.resolve(Fingerprint::NONE, || match returned {
            Some((tool, took)) => Report::new(format!("{tool} returned after {}", Elapsed(took)))
                .with("elapsed_seconds", took.as_secs()),
            None => Report::new("the session continues".to_owned()),
        });
    }
}

fn delegates(call: &Call) -> bool {
    call.class == ToolClass::Delegate
}
