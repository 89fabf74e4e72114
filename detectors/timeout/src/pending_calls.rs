//! The duration of pending tool calls.

use watchkeeper_core::{
    Context, Fingerprint, Report, SignedDuration, Timestamp, ToolClass,
    author::{Call, Elapsed, StateKind, percent},
    quote,
};

use crate::{
    elapsed::{Nanos, duration, report, since, time_to_next_level},
    options::Rules,
};

/// The late calls of one agent. All other facts about pending calls come from
/// the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingCalls {
    /// Reported calls without a result; `None` if there are none.
    #[expect(clippy::box_collection, reason = "most streams have none")]
    late: Option<Box<Vec<LateCall>>>,
}

#[derive(Clone, Debug)]
struct LateCall {
    id: Fingerprint,
    name: String,
    at: Timestamp,
    /// The latest reported measure.
    percent: u64,
}

impl PendingCalls {
    pub(crate) fn observe(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if self.late.is_some() {
            self.resolve_completed(cx);
        }
        request_wake_up(rules, cx);
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let timed: Vec<_> =
            timed_calls(rules, cx).map(|(call, elapsed)| (call.clone(), elapsed)).collect();
        for (call, elapsed) in timed {
            let percent = percent(elapsed, rules.max);
            let mut late = self.late.iter_mut().flat_map(|calls| calls.iter_mut());
            let reported = late.find(|late| late.id == call.id);
            let previous = reported.as_ref().map_or(0, |late| late.percent);
            if cx.next_level(previous).is_none_or(|level| percent < level) {
                continue;
            }
            match reported {
                Some(late) => late.percent = percent,
                None => self.late.get_or_insert_default().push(LateCall {
                    id: call.id,
                    name: name(&call),
                    at: call.at,
                    percent,
                }),
            }
            cx.report(call.id, percent, || {
                let (name, state) = (name(&call), call.state());
                let (condition, detail) = match state.kind {
                    StateKind::RunningTool => (format!("{name} has been running"), String::new()),
                    _ => (
                        "no result".to_owned(),
                        format!(": {name} is running or waits for permission"),
                    ),
                };
                report(&condition, elapsed, percent, rules.max, &detail)
                    .with("tool", quote(&call.tool).trim_matches('`'))
                    .with("state", state.kind.name())
                    .since(state.proof)
            });
        }
        request_wake_up(rules, cx);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.late.is_none()
    }

    /// Resolves the findings about calls that are no longer pending.
    fn resolve_completed(&mut self, cx: &mut Context<'_>) {
        let Some(late) = self.late.take() else { return };
        let returned = cx.call();
        let (late, completed): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|late| cx.pending().any(|call| call.id == late.id));
        self.late = (!late.is_empty()).then(|| Box::new(late));
        for call in completed {
            let elapsed = cx.time_since(call.at);
            cx.resolve(call.id, || {
                let (name, took) = (&call.name, Elapsed(elapsed));
                let returned = returned.filter(|returned| returned.id == call.id);
                let message = match returned {
                    Some(returned) => match time_limit_exceeded(returned, elapsed) {
                        Some(limit) => format!(
                            "{name} returned after {took}; its own time limit is {}, so a person \
                             was asked for permission",
                            Elapsed(limit)
                        ),
                        None => format!("{name} returned after {took}"),
                    },
                    None => format!("{name} was abandoned after {took}"),
                };
                Report::new(message).with("elapsed_seconds", elapsed.as_secs())
            });
        }
    }
}

/// Returns the tool of a call and its command, quoted.
fn name(call: &Call) -> String {
    let tool = quote(&call.tool);
    call.command().map_or_else(|| tool.clone(), |command| format!("{tool} {}", quote(command)))
}

/// Returns the call's own time limit if the call lasted much longer: the tool would have
/// ended the command, so the command started later.
fn time_limit_exceeded(call: &Call, elapsed: SignedDuration) -> Option<SignedDuration> {
    let limit = call.max_duration()?;
    (limit.saturating_mul(2) < elapsed && !call.is_running).then_some(limit)
}

fn request_wake_up(rules: &Rules, cx: &mut Context<'_>) {
    let next = timed_calls(rules, cx)
        .filter_map(|(_, elapsed)| time_to_next_level(elapsed, rules.max, cx))
        .min();
    match next {
        Some(nanos) => cx.wake_after(duration(nanos)),
        None => cx.cancel_wake(),
    }
}

/// Returns the pending calls that are timed, each with the longest time that
/// the tool may have been running: permission may have been granted after the
/// call.
fn timed_calls<'a>(
    rules: &'a Rules,
    cx: &'a Context<'_>,
) -> impl Iterator<Item = (&'a Call, Nanos)> + 'a {
    let agent = cx.agent();
    let since_resumed = agent.resumed_at().map_or(Nanos::MAX, |at| since(at, cx));
    let is_running = !agent.waits_for_person();
    let timed = cx.pending().filter(move |call| is_running && is_timed(call.class, rules));
    timed.map(move |call| (call, since(call.at, cx).min(since_resumed)))
}

/// Returns true if calls of a class are timed. The time a person needs is not
/// limited, and another agent has timers of its own.
fn is_timed(class: ToolClass, rules: &Rules) -> bool {
    match class {
        ToolClass::Ask => false,
        ToolClass::Delegate => rules.delegates,
        _ => true,
    }
}
