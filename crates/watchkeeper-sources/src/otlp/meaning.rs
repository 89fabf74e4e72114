//! What the records of several clients have in common.

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{AgentId, EventKind, Fingerprint, SessionId, ToolCall};

use super::{
    record::{Attributes, Span},
    step::{Action, Step},
};

/// The meaning of a span.
#[derive(Debug)]
pub(super) struct Meaning {
    /// The session that the span names.
    pub(super) session: Option<SessionId>,
    pub(super) agent: Option<AgentId>,
    pub(super) steps: Vec<Step>,
    /// The reason why the span was skipped, if it was.
    pub(super) skipped: Option<&'static str>,
    key: Fingerprint,
    start: Timestamp,
    end: Option<Timestamp>,
}

impl Meaning {
    /// Creates the meaning of a span without any events.
    pub(super) fn of(span: &Span<'_>) -> Self {
        let (start, end) = (span.start, span.end);
        let (session, agent, steps, skipped) = (None, None, Vec::new(), None);
        Self { session, agent, steps, skipped, key: span.key(), start, end }
    }

    pub(super) fn at_start(&mut self, kind: EventKind) {
        let key = self.key.and(Fingerprint::of(kind.name()));
        self.steps.push(Step::new(self.start, kind).with_key(key));
    }

    /// Adds an event at the end of the span, if the span has ended.
    pub(super) fn at_end(&mut self, kind: EventKind) {
        self.ends(Action::Event(kind));
    }

    /// Adds an action at the end of the span, if the span has ended.
    pub(super) fn ends(&mut self, action: Action) {
        let name = match &action {
            Action::Event(kind) => kind.name(),
            Action::EndTurn => "end_turn",
            Action::EndResponse => "end_response",
            Action::ExpectResult(_) => "expect_result",
            Action::FailedAttempt(_) => "failed_attempt",
        };
        let key = self.key.and(Fingerprint::of(name));
        self.steps.extend(self.end.map(|end| Step::of(end, action).with_key(key)));
    }
}

/// Returns the start of an operation that ended at `end`.
pub(super) fn started_at(end: Timestamp, attributes: &Attributes<'_>) -> Timestamp {
    let millis = attributes.count("duration_ms").and_then(|millis| i64::try_from(millis).ok());
    end.saturating_sub(SignedDuration::from_millis(millis.unwrap_or(0))).unwrap_or(end)
}

/// Returns a text that a client may leave out.
pub(super) fn written(text: Option<&str>) -> &str {
    text.filter(|text| !matches!(*text, "<REDACTED>" | "[REDACTED]")).unwrap_or_default()
}

/// Distinguishes a call with unknown arguments from all others: two such calls need not be
/// equal.
pub(super) fn with_unknown_arguments(mut call: ToolCall) -> ToolCall {
    call.fingerprint = Fingerprint::of(&*call.id).and(call.fingerprint);
    call
}

/// Returns the message of a span that has failed.
pub(super) fn error_message(span: &Span<'_>) -> Box<str> {
    let attributes = &span.attributes;
    let named = || attributes.first_text(&["error", "error.message", "error.type"]);
    let message = span.exception.as_deref().or(span.status_message.as_deref()).or_else(named);
    message.unwrap_or("unknown error").into()
}
