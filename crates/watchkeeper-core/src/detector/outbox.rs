use super::report::Report;
use crate::{Fingerprint, compact::PackedTimestamp};

/// The requests of one detector while it handles one event or wake-up.
///
/// The [`Context`](super::Context) fills it, and the engine empties it: measures
/// become episodes and findings, and wake-up requests become timers.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In the order in which the detector made them.
    pub(crate) actions: Vec<Action>,
    /// The latest request; `None` if the detector made none.
    pub(crate) wakeup: Option<WakeupRequest>,
    /// The ids of pending calls that [`Context::pending`](super::Context::pending)
    /// skips.
    pub(crate) hidden_calls: Vec<Fingerprint>,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// A condition holds.
    Measure {
        subject: Fingerprint,
        measure: u64,
        /// `None` if the measure reaches no level that is new for its subject and not
        /// inhibited, and the session is not explained.
        report: Option<Report>,
    },
    /// A condition has ended.
    Resolve { subject: Fingerprint, report: Report },
    /// Text for an explanation.
    Note(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeupRequest {
    At(PackedTimestamp),
    Cancel,
}

impl Outbox {
    pub(crate) fn clear(&mut self) {
        self.actions.clear();
        self.hidden_calls.clear();
        self.wakeup = None;
    }

    /// Returns whether an earlier action ends the condition.
    pub(super) fn resolves(&self, of: Fingerprint) -> bool {
        let mut actions = self.actions.iter();
        actions.any(|action| matches!(action, Action::Resolve { subject, .. } if *subject == of))
    }

    /// Returns whether the latest action about a condition leaves it open; `None` if
    /// there is no such action.
    pub(super) fn is_open(&self, of: Fingerprint) -> Option<bool> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Measure { subject, .. } if *subject == of => Some(true),
            Action::Resolve { subject, .. } if *subject == of => Some(false),
            _ => None,
        })
    }
}
