//! Calls of tools that are pending.

use std::sync::Arc;

use watchkeeper_core::{
    Call, Context, Elapsed, Fingerprint, Report, Timestamp, ToolClass, percent, quote,
};

use crate::{
    Rules,
    elapsed::{Nanos, duration, report, since, time_to_next_level},
};

/// What is to be remembered of the calls of an agent that are pending. Else it
/// goes by what the engine knows of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    /// The calls that were reported and have no result yet; `None` if there are
    /// none.
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    late: Option<Box<Vec<LateCall>>>,
}

#[derive(Clone, Debug)]
struct LateCall {
    id: Fingerprint,
    tool: Arc<str>,
    at: Timestamp,
    percent: u64,
}

impl Calls {
    pub(crate) fn observe(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if self.late.is_some() {
            self.resolve_answered(cx);
        }
        wait(rules, cx);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.late.is_none()
    }

    /// Resolves what was found of calls that are pending no more.
    fn resolve_answered(&mut self, cx: &mut Context<'_>) {
        let Some(late) = self.late.take() else { return };
        let answered = cx.call().map(|it| it.id);
        let (late, done): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|it| cx.pending().any(|call| call.id == it.id));
        self.late = (!late.is_empty()).then(|| Box::new(late));
        for it in done {
            let elapsed = cx.time_since(it.at);
            cx.resolve(it.id, || {
                let (tool, took) = (quote(&it.tool), Elapsed(elapsed));
                let message = if answered == Some(it.id) {
                    format!("{tool} answered after {took}")
                } else {
                    format!("{tool} was given up after {took}")
                };
                Report::new(message).with("elapsed_seconds", elapsed.as_secs())
            });
        }
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let timed: Vec<_> =
            timed(rules, cx).map(|(call, elapsed)| (call.clone(), elapsed)).collect();
        for (call, elapsed) in timed {
            let percent = percent(elapsed, rules.max);
            let mut late = self.late.iter_mut().flat_map(|it| it.iter_mut());
            let known = late.find(|it| it.id == call.id);
            let before = known.as_ref().map_or(0, |it| it.percent);
            if cx.next_level(before).is_none_or(|it| percent < it) {
                continue;
            }
            match known {
                Some(it) => it.percent = percent,
                None => self.late.get_or_insert_default().push(LateCall {
                    id: call.id,
                    tool: call.tool.clone(),
                    at: call.at,
                    percent,
                }),
            }
            cx.report(call.id, percent, || {
                let tool = quote(&call.tool);
                report(&format!("{tool} has been running"), elapsed, percent, rules.max)
                    .with("tool", tool.trim_matches('`'))
                    .since(Some(call.evidence()))
            });
        }
        wait(rules, cx);
    }
}

fn wait(rules: &Rules, cx: &mut Context<'_>) {
    let left = timed(rules, cx).filter_map(|(_, it)| time_to_next_level(it, rules.max, cx)).min();
    match left {
        Some(it) => cx.wake_after(duration(it)),
        None => cx.cancel_wake(),
    }
}

/// The calls that are timed, and for how long they have been running at most:
/// leave to make them may have been given late.
fn timed<'a>(
    rules: &'a Rules,
    cx: &'a Context<'_>,
) -> impl Iterator<Item = (&'a Call, Nanos)> + 'a {
    let agent = cx.agent();
    let since_resumed = agent.resumed_at.map_or(Nanos::MAX, |it| since(it.into(), cx));
    let runs = !agent.waits_for_person();
    let timed = cx.pending().filter(move |it| runs && is_timed(it.class, rules));
    timed.map(move |it| (it, since(it.at, cx).min(since_resumed)))
}

/// Whether calls of a class are timed: a person takes the time that a person
/// takes, and another agent is timed by itself.
fn is_timed(class: ToolClass, rules: &Rules) -> bool {
    match class {
        ToolClass::Ask => false,
        ToolClass::Delegate => rules.delegates,
        _ => true,
    }
}
