use std::sync::Arc;

use jiff::Timestamp;

use super::{NamedDetector, Shared, StreamScope};
use crate::{AgentId, Fingerprint, SessionId, Severity};

/// What a detector did as an event was handled, or a wake-up: for people who ask
/// why it found something, or why it did not.
///
/// Notes are taken of a session that the engine was asked to
/// [`explain`](crate::Engine::explain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplanationEntry {
    /// When.
    pub at: Timestamp,
    /// The name of the detector in the policy.
    pub detector: Arc<str>,
    /// The sub-agent, for a detector that sees one agent at a time.
    pub agent: Option<AgentId>,
    /// It was woken: no event made it do this.
    pub is_wakeup: bool,
    /// What it did.
    pub what: ExplanationDetail,
}

/// What a detector did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExplanationDetail {
    /// It said that a condition holds.
    Reported {
        /// Which of its conditions.
        subject: Fingerprint,
        /// How far it has come.
        measure: u64,
        /// What it says of it, also where no finding is made: one line, safe for a
        /// terminal.
        message: String,
        /// What came of it.
        outcome: Outcome,
    },
    /// It said that a condition has ended, if there was one.
    Ended {
        /// Which of its conditions.
        subject: Fingerprint,
        /// What it says of it, in a line as above.
        message: String,
        /// A finding was open, and is resolved.
        was_open: bool,
    },
    /// It said something for those who ask why: see
    /// [`Context::note`](crate::Context::note).
    Noted(String),
    /// It wants to be woken at another time than before.
    Rescheduled {
        /// When it would have been woken.
        from: Option<Timestamp>,
        /// When it will be.
        to: Option<Timestamp>,
    },
    /// It panicked, and is off.
    Panicked,
}

/// What came of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it is below every level of the policy.
    Below,
    /// A finding was opened.
    Opened(Severity),
    /// A finding that was open has reached a higher severity.
    Escalated(Severity),
    /// A finding that is open counts it in silence.
    Counted(Severity),
    /// It reaches a level, and is left to a detector that says more about it.
    Inhibited(Severity),
}

/// The session that is explained, and what is to be told of it.
pub(super) struct Explained {
    pub(super) session: SessionId,
    pub(super) notes: Vec<ExplanationEntry>,
}

impl Shared {
    /// Whether notes are taken of what happens here.
    pub(super) fn explains(&self, stream_scope: &StreamScope<'_>) -> bool {
        self.scratch.explained.as_ref().is_some_and(|it| it.session == stream_scope.session.id)
    }
}

impl Explained {
    pub(super) fn note(
        &mut self,
        named: &NamedDetector,
        at: Timestamp,
        is_wakeup: bool,
        stream_scope: &StreamScope<'_>,
        noted: impl IntoIterator<Item = ExplanationDetail>,
    ) {
        let agent = named.agent_of(stream_scope);
        self.notes.extend(noted.into_iter().map(|what| ExplanationEntry {
            at,
            detector: named.id.clone(),
            agent: agent.cloned(),
            is_wakeup,
            what,
        }));
    }
}
