//! Models that send nothing while a response is expected.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, Timestamp,
    author::{Activity, Elapsed, percent},
};

use crate::{
    elapsed::{Nanos, duration, report, since, wake_at_next_level},
    options::Rules,
};

/// The state of one agent's wait for its model. The time of the latest activity
/// comes from the engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct SilentModel {
    /// The start of the wait that was reported.
    reported_since: Option<Timestamp>,
    /// True while the limit is doubled because a response has started. Any
    /// event may end this, so the detector is not idle meanwhile.
    is_mid_response: bool,
}

impl SilentModel {
    pub(crate) fn observe(&mut self, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let latest = cx.agent().activity().map(Activity::at);
        if let Some(since_at) = self.reported_since.take_if(|at| Some(*at) != latest) {
            self.resolve(since_at, event, rules, cx);
        } else if self.reported_since.is_some()
            && let EventKind::Error { retry: Some(_), .. } = event.kind
        {
            self.report(rules, cx);
        }
        self.request_wake_up(rules, cx);
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        self.report(rules, cx);
        self.request_wake_up(rules, cx);
    }

    fn report(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let Some(activity) = activity_before_wait(cx).cloned() else { return };
        let (at, is_mid_response) = (activity.at(), activity.is_within_response());
        let limit = limit(is_mid_response, rules);
        let elapsed = since(at, cx);
        let share = percent(elapsed, limit);
        if cx.next_level(0).is_none_or(|lowest| share < lowest) {
            return;
        }
        self.reported_since = Some(at);
        let n_failed = activity.n_failed_attempts();
        let measure = if MAX_FAILED_ATTEMPTS <= n_failed { share.max(100) } else { share };
        cx.report(Fingerprint::NONE, measure, || {
            let condition = if is_mid_response {
                "the model has sent nothing more of its response"
            } else {
                "the model has sent nothing"
            };
            let detail = match n_failed {
                0 => String::new(),
                1 => "; 1 attempt failed".to_owned(),
                n => format!("; {n} attempts failed"),
            };
            let report = report(condition, elapsed, share, limit, &detail);
            report.since(Some(activity.evidence()))
        });
    }

    /// Resolves the finding. If the turn was lost, reports the full limit before: no
    /// response came.
    fn resolve(&self, since_at: Timestamp, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
        let waited = since(since_at, cx);
        let elapsed = Elapsed(duration(waited));
        let is_lost =
            matches!(event.kind, EventKind::TurnEnd | EventKind::Error { retry: None, .. });
        if is_lost {
            let place = cx.evidence();
            cx.report(Fingerprint::NONE, percent(waited, rules.max).max(100), || {
                Report::new(format!("the turn ended after {elapsed} without a response"))
                    .with("elapsed_seconds", duration(waited).as_secs())
                    .since(place)
            });
        }
        let client_limit = cx.session().source.and_then(client_limit);
        cx.resolve(Fingerprint::NONE, || {
            let message = match client_limit {
                Some(limit) if !is_lost && limit <= waited && waited < limit + SLACK => format!(
                    "no response for {elapsed}; the client gave the stream up after {} and \
                     tried again",
                    Elapsed(duration(limit))
                ),
                _ => format!("the wait for the model ended after {elapsed}"),
            };
            Report::new(message).with("elapsed_seconds", duration(waited).as_secs())
        });
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.reported_since.is_none() && !self.is_mid_response
    }

    fn request_wake_up(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let activity = activity_before_wait(cx);
        self.is_mid_response = activity.is_some_and(Activity::is_within_response);
        match activity.map(|activity| since(activity.at(), cx)) {
            Some(elapsed) => wake_at_next_level(elapsed, limit(self.is_mid_response, rules), cx),
            None => cx.cancel_wake(),
        }
    }
}

/// The number of failed attempts from which a silence counts as a full limit.
const MAX_FAILED_ATTEMPTS: u8 = 2;
/// The time within which a client that gave a stream up gets a response.
const SLACK: Nanos = 60_000_000_000;

/// Returns the time after which a client gives up a stream without data and sends the
/// request again, as measured with the client.
fn client_limit(source: &str) -> Option<Nanos> {
    matches!(source, "codex" | "opencode").then_some(300_000_000_000)
}

/// Returns the agent's latest activity if a response of the model is expected.
fn activity_before_wait<'a>(cx: &'a Context<'_>) -> Option<&'a Activity> {
    let agent = cx.agent();
    agent.activity().filter(|_| agent.awaits_response())
}

/// Returns the longest allowed wait. A response that has started may take
/// twice as long: some agents record a long change only when it is complete.
fn limit(is_mid_response: bool, rules: &Rules) -> Nanos {
    if is_mid_response { rules.max.saturating_mul(2) } else { rules.max }
}
