//! Models that send nothing while a response is expected.

use watchkeeper_core::{
    Context, Fingerprint, Report, Timestamp,
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
    pub(crate) fn observe(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        let latest = cx.agent().activity().map(Activity::at);
        if let Some(since_at) = self.reported_since.take_if(|at| Some(*at) != latest) {
            let elapsed = duration(since(since_at, cx));
            cx.resolve(Fingerprint::NONE, || {
                let message = format!("the wait for the model ended after {}", Elapsed(elapsed));
                Report::new(message).with("elapsed_seconds", elapsed.as_secs())
            });
        }
        self.request_wake_up(rules, cx);
    }

    pub(crate) fn wake(&mut self, rules: &Rules, cx: &mut Context<'_>) {
        if let Some(activity) = activity_before_wait(cx).cloned() {
            let (at, is_mid_response) = (activity.at(), activity.is_within_response());
            let limit = limit(is_mid_response, rules);
            let elapsed = since(at, cx);
            let percent = percent(elapsed, limit);
            if cx.next_level(0).is_some_and(|lowest| lowest <= percent) {
                self.reported_since = Some(at);
                cx.report(Fingerprint::NONE, percent, || {
                    let condition = if is_mid_response {
                        "the model has sent nothing more of its response"
                    } else {
                        "the model has sent nothing"
                    };
                    report(condition, elapsed, percent, limit).since(Some(activity.evidence()))
                });
            }
        }
        self.request_wake_up(rules, cx);
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
