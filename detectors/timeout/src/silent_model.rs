//! Models that send nothing while a response is expected.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, Timestamp,
    author::{Activity, Elapsed, StateKind, percent},
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
    /// The longest reported wait in seconds after which the model responded; zero if there
    /// is none. The model is known to think for this time.
    thinks_secs: u32,
    /// True while the limit is doubled because a response has started. Any
    /// event may end this, so the detector is not idle meanwhile.
    is_mid_response: bool,
    /// True if an attempt failed during the reported wait.
    has_failed: bool,
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
        let Some(activity) = activity_before_wait(cx) else { return };
        let (at, n_failed) = (activity.at(), activity.n_failed_attempts());
        let limit = self.limit(activity.is_within_response(), rules);
        let elapsed = since(at, cx);
        let share = percent(elapsed, limit);
        if cx.next_level(0).is_none_or(|lowest| share < lowest) {
            return;
        }
        self.reported_since = Some(at);
        self.has_failed |= n_failed != 0;
        let measure = if MAX_FAILED_ATTEMPTS <= n_failed { share.max(100) } else { share };
        let state = cx.agent().state();
        let client_limit = cx.session().source.and_then(client_limit);
        cx.report(Fingerprint::NONE, measure, || {
            let condition = match state.kind {
                StateKind::Working => "the model has sent nothing more of its response",
                _ => "the model has sent nothing",
            };
            let detail = match (n_failed, client_limit) {
                (0, Some(limit)) if elapsed < limit => {
                    format!("; the client tries again after {}", Elapsed(duration(limit)))
                }
                (0, _) => String::new(),
                (1, _) => "; 1 attempt failed".to_owned(),
                (n, _) => format!("; {n} attempts failed"),
            };
            report(condition, elapsed, share, limit, &detail)
                .with("state", state.kind.name())
                .since(state.proof)
        });
    }

    /// Resolves the finding. If the turn was lost, reports the full limit before: no
    /// response came.
    fn resolve(&mut self, since_at: Timestamp, event: &Event, rules: &Rules, cx: &mut Context<'_>) {
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
        let client_limit =
            cx.session().source.and_then(client_limit).filter(|limit| {
                !is_lost && *limit <= waited && waited < limit.saturating_add(SLACK)
            });
        let is_response = matches!(
            event.kind,
            EventKind::Thinking { .. }
                | EventKind::Message { .. }
                | EventKind::ToolCall(_)
                | EventKind::ModelCall(_)
        );
        let has_failed = std::mem::take(&mut self.has_failed);
        if is_response && client_limit.is_none() && !has_failed && !self.is_mid_response {
            let secs = u32::try_from(duration(waited).as_secs()).unwrap_or(u32::MAX);
            self.thinks_secs = self.thinks_secs.max(secs);
        }
        cx.resolve(Fingerprint::NONE, || {
            let message = match client_limit {
                Some(limit) => format!(
                    "no response for {elapsed}; the client gave the stream up after {} and \
                     tried again",
                    Elapsed(duration(limit))
                ),
                None => format!("the wait for the model ended after {elapsed}"),
            };
            Report::new(message).with("elapsed_seconds", duration(waited).as_secs())
        });
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.reported_since.is_none() && !self.is_mid_response && self.thinks_secs == 0
    }

    fn request_wake_up(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let activity = activity_before_wait(cx);
        self.is_mid_response = activity.is_some_and(Activity::is_within_response);
        match activity.map(|activity| since(activity.at(), cx)) {
            Some(elapsed) => {
                wake_at_next_level(elapsed, self.limit(self.is_mid_response, rules), cx);
            }
            None => cx.cancel_wake(),
        }
    }

    /// Returns the longest allowed wait. A model that has thought for minutes may think for
    /// half as long again, up to twice the limit of the policy. A response that has started
    /// may take twice as long: some agents record a long change only when it is complete.
    fn limit(&self, is_mid_response: bool, rules: &Rules) -> Nanos {
        let most = rules.max.saturating_mul(2);
        let known = u64::from(self.thinks_secs).saturating_mul(NANOS_PER_SEC / 2 * 3);
        let max = known.clamp(rules.max, most);
        if is_mid_response { max.max(most) } else { max }
    }
}

const NANOS_PER_SEC: Nanos = 1_000_000_000;
/// The number of failed attempts from which a silence counts as a full limit.
const MAX_FAILED_ATTEMPTS: u8 = 2;
/// The time within which a client that gave a stream up gets a response.
const SLACK: Nanos = 60 * NANOS_PER_SEC;

/// Returns the time after which a client gives up a stream without data and sends the
/// request again, as measured with the clients.
fn client_limit(source: &str) -> Option<Nanos> {
    let has_limit = matches!(source, "claude-code" | "codex" | "gemini-cli" | "opencode");
    has_limit.then_some(300 * NANOS_PER_SEC)
}

/// Returns the agent's latest activity if a response of the model is expected.
fn activity_before_wait<'a>(cx: &'a Context<'_>) -> Option<&'a Activity> {
    let agent = cx.agent();
    agent.activity().filter(|_| agent.awaits_response())
}
