use std::sync::Arc;

use jiff::Timestamp;

use crate::{AgentId, Fingerprint, SessionId, Severity};

/// An action of a detector while it handled an event or wake-up.
///
/// The engine records entries for the session that it
/// [`explain`](crate::Engine::explain)s, or for [all](crate::Engine::explain_all).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplanationEntry {
    /// The time of the event or wake-up.
    pub at: Timestamp,
    /// The name of the detector in the policy.
    pub detector: Arc<str>,
    /// The session; for a stream that sessions share, the one with the latest event.
    pub session: SessionId,
    /// The value of [`Per`](crate::embed::Per), for a stream that sessions share.
    pub group: Option<Box<str>>,
    /// The sub-agent, for a detector whose stream is one agent.
    pub agent: Option<AgentId>,
    /// Whether the detector handled a wake-up.
    pub is_wakeup: bool,
    /// The action.
    pub what: ExplanationDetail,
}

/// An action of a detector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExplanationDetail {
    /// It reported that a condition holds.
    Reported {
        /// The subject of the condition.
        subject: Fingerprint,
        /// The measure.
        measure: u64,
        /// Whether the measure only selects a level; see
        /// [`Report::unmeasured`](crate::Report::unmeasured).
        is_unmeasured: bool,
        /// The message, also if no finding was emitted: one line, safe for a
        /// terminal.
        message: String,
        /// The outcome.
        outcome: Outcome,
    },
    /// It reported that a condition has ended.
    Ended {
        /// The subject of the condition.
        subject: Fingerprint,
        /// The message, in one line as above.
        message: String,
        /// Whether a finding was open and is resolved. Another condition may keep the
        /// finding open.
        was_open: bool,
    },
    /// It added text: see [`Context::note`](crate::Context::note).
    Comment(String),
    /// It requested another wake-up than before.
    Rescheduled {
        /// The earlier request.
        from: Option<Timestamp>,
        /// The new request.
        to: Option<Timestamp>,
    },
    /// It panicked and was turned off.
    Panicked,
}

/// The outcome of a measure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The measure is below every level of the policy.
    Below,
    /// A finding was opened.
    Opened(Severity),
    /// A finding was emitted for a higher severity.
    Escalated(Severity),
    /// A finding was emitted that replaces the open finding of another detector.
    Replaced {
        /// The severity of the finding.
        severity: Severity,
        /// The name of the other detector.
        detector: Arc<str>,
    },
    /// The measure counts for a finding of this severity that is open.
    Counted(Severity),
    /// The measure reaches a level, and the open finding of another condition suppresses
    /// the finding.
    Inhibited {
        /// The severity of the highest level that the condition has reached.
        severity: Severity,
        /// The name of the detector of the open finding.
        by: Arc<str>,
    },
}

/// The sessions that the engine explains, and the entries since they were last taken.
#[derive(Default)]
pub(super) struct Explanation {
    pub(super) explained: Explained,
    pub(super) entries: Vec<ExplanationEntry>,
}

/// The sessions that the engine explains.
#[derive(Default)]
pub(super) enum Explained {
    #[default]
    None,
    One(SessionId),
    All,
}

impl Explained {
    pub(super) fn contains(&self, session: &SessionId) -> bool {
        match self {
            Self::None => false,
            Self::One(id) => id == session,
            Self::All => true,
        }
    }
}
