//! The events of the parts and the ends of responses.

use watchkeeper_core::{EventKind, ModelCall, author::Tokens};

use super::message::{Failure, Info, Part};
use crate::json::Text;

pub(super) const COMPACTION: EventKind =
    EventKind::Compaction { before_tokens: None, after_tokens: None };

/// The content of a part that is not a call.
pub(super) enum Content {
    /// What the model wrote, at the end of the part.
    Spoken(EventKind),
    /// What opencode noted, at the start of the part.
    Noted(EventKind),
    /// Nothing that counts.
    Empty,
}

impl Part<'_> {
    /// Returns the content; `None` if the type of the part is unknown.
    pub(super) fn content(&self) -> Option<Content> {
        let text = || self.text.map(Text::boxed).unwrap_or_default();
        Some(match self.kind.map(Text::raw).unwrap_or_default() {
            b"text" => {
                let text = text();
                if text.trim().is_empty() {
                    return Some(Content::Empty);
                }
                Content::Spoken(EventKind::Message { text, delta: false })
            }
            b"reasoning" => Content::Spoken(EventKind::Thinking { text: text() }),
            b"retry" => {
                let attempt = self.attempt.and_then(|attempt| u32::try_from(attempt).ok());
                let message = self.error.as_ref().map(Failure::message);
                let message = message.unwrap_or_default();
                let retry = Some(attempt.unwrap_or(0));
                Content::Noted(EventKind::Error { message, retry })
            }
            b"compaction" => Content::Noted(COMPACTION),
            b"agent" | b"file" | b"patch" | b"snapshot" | b"step-finish" | b"step-start"
            | b"subtask" => Content::Empty,
            _ => return None,
        })
    }
}

impl Info<'_> {
    /// Returns the error of a response, or the end of its turn.
    pub(super) fn ending(&self) -> Option<EventKind> {
        let finish = self.finish.map(Text::raw);
        let has_finished = finish.is_some_and(|it| !matches!(it, b"tool-calls" | b"unknown"));
        if let Some(error) = &self.error {
            let was_stopped = error.name.is_some_and(|name| name.is("MessageAbortedError"));
            let message = error.message();
            return Some(if was_stopped {
                EventKind::TurnEnd
            } else {
                EventKind::Error { message, retry: None }
            });
        }
        (has_finished && self.is_summary != Some(true)).then_some(EventKind::TurnEnd)
    }
}

/// Returns the response of a model; `None` if its usage is zero or not yet written.
pub(super) fn model_call(
    id: &str,
    model: Option<Box<str>>,
    tokens: Tokens,
    cost_usd: f64,
) -> Option<EventKind> {
    if tokens.total() == 0 && cost_usd <= 0.0 {
        return None;
    }
    Some(EventKind::ModelCall(ModelCall {
        id: Some(id.into()),
        model,
        tokens,
        cost_usd: Some(cost_usd).filter(|cost_usd| 0.0 < *cost_usd),
        ..ModelCall::default()
    }))
}
