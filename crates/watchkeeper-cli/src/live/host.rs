use watchkeeper_core::{
    Finding, Severity,
    clock::{Clock as _, SystemClock},
    embed::Queue,
};
use watchkeeper_policy::Policy;
use watchkeeper_sources::{FollowReport, Update};

use crate::watch_state::WatchState;

/// The command that runs a live monitor.
pub(crate) trait Host {
    /// Takes a change of a file that is no event.
    fn on_update(&mut self, _: &Update) {}

    /// Takes the counts once everything that is recorded already is read: of files and of
    /// sessions.
    fn on_start(&mut self, _: &FollowReport, _: usize) {}

    /// Loads the policy again. Returns the policy if it is valid and has changed, or a finding
    /// about the change that is not used. `has_state` is whether the monitor stores its
    /// deliveries.
    fn next_policy(&mut self, _has_state: bool) -> Option<Result<NextPolicy, Finding>> {
        None
    }

    /// Takes the finding about a changed policy that is used now.
    fn on_reload(&mut self, _: &Finding) {}

    /// Takes the reason why a changed policy is not used. Returns a finding about it.
    fn refuse_policy(&mut self, reason: &str) -> Finding {
        Finding::about_monitor(SystemClock.now(), "policy", Severity::Medium, reason)
    }
}

/// A changed policy.
pub(crate) struct NextPolicy {
    pub(crate) policy: Policy,
    /// The queues that receive every finding.
    pub(crate) observers: Vec<Queue>,
    /// State for a monitor that had none.
    pub(crate) state: Option<WatchState>,
    /// The differences from the policy so far.
    pub(crate) finding: Finding,
}
