//! The meaning of records: steps of a session, before their order is known.

use std::sync::Arc;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId, ToolCall, ToolResult, author::SessionStart,
};

/// The supplier of the steps of log records.
pub(super) const LOGS: &str = "logs";
/// The supplier of the steps of spans.
pub(super) const TRACES: &str = "traces";

/// One thing that happened in a session.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) action: Action,
    /// The key of the event in all records that contain it; `None` if this is the only record.
    pub(super) key: Option<Fingerprint>,
}

#[derive(Debug)]
pub(super) enum Action {
    Event(EventKind),
    /// The end of a turn that no open call can prolong.
    EndTurn,
    /// The end of a response. It is the end of the turn, unless something follows.
    EndResponse,
    /// A call begins. Its result will contain the arguments.
    ExpectResult(Box<str>),
    /// An attempt failed, and may be repeated.
    FailedAttempt(Box<str>),
}

/// The session of steps.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) session: SessionId,
    pub(super) agent: Option<AgentId>,
    /// The start of the session, if these are its first steps.
    pub(super) start: Start,
    /// The signal that supplies the steps.
    pub(super) supplier: &'static str,
}

/// What a record says about the start of its session. The places of all records of a request exist
/// at once, so they share the texts of their resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Start {
    pub(super) version: Option<Arc<str>>,
    pub(super) model: Option<Arc<str>>,
}

/// The longest text of a [`Start`], in bytes. The start of each session has a copy.
const MAX_TEXT: usize = 256;

/// Returns a text of a resource, cut.
pub(super) fn shared(text: &str) -> Arc<str> {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].into()
}

impl Start {
    pub(super) fn event(&self) -> EventKind {
        EventKind::SessionStart(SessionStart {
            version: self.version.as_deref().map(Box::from),
            model: self.model.as_deref().map(Box::from),
            ..SessionStart::default()
        })
    }
}

impl Step {
    pub(super) fn new(at: Timestamp, kind: EventKind) -> Self {
        Self { at, action: Action::Event(kind), key: None }
    }

    pub(super) fn of(at: Timestamp, action: Action) -> Self {
        Self { at, action, key: None }
    }

    pub(super) fn with_key(self, key: Fingerprint) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Makes the steps of a call whose record was written when it ended.
    pub(super) fn finished_call(
        (start, end): (Timestamp, Timestamp),
        call: ToolCall,
        result: ToolResult,
    ) -> [Self; 2] {
        [Self::new(start, EventKind::ToolCall(call)), Self::new(end, EventKind::ToolResult(result))]
    }
}
