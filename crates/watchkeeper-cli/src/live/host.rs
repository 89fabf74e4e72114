use watchkeeper_core::embed::Queue;
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

    /// Loads the policy again. `has_state` is whether the monitor stores its deliveries.
    fn next_policy(&mut self, _has_state: bool) -> NextPolicy {
        NextPolicy::Unchanged
    }

    /// Takes the message about a changed policy that is used now.
    fn on_reload(&mut self, _message: &str) {}

    /// Takes the reason why a changed policy is not used.
    fn on_refusal(&mut self, _: &Refusal) {}
}

/// A command that prints nothing and keeps its policy.
pub(crate) struct Quiet;

impl Host for Quiet {}

/// The policy, loaded again.
pub(crate) enum NextPolicy {
    Unchanged,
    Changed(Box<ChangedPolicy>),
    Refused(Refusal),
}

/// A changed policy.
pub(crate) struct ChangedPolicy {
    pub(crate) policy: Policy,
    /// The queues that receive every finding; `None` for those so far.
    pub(crate) observers: Option<Vec<Queue>>,
    /// State for a monitor that had none.
    pub(crate) state: Option<WatchState>,
    /// The differences from the policy so far.
    pub(crate) changes: String,
}

/// The reason why a changed policy is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The first problem, in one line.
    pub(crate) summary: String,
    /// All problems, for people.
    pub(crate) details: String,
    /// The same policy may be used later, without a change of its files.
    pub(crate) is_temporary: bool,
}
