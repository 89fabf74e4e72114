//! The members of an export that are used.

use watchkeeper_core::author::Tokens;

use crate::json::{Elements, Located, Millis, RawText, Text, object};

object! {
    /// An export, without its messages.
    pub(super) struct Export<'a> {
        b"info" => session: Session<'a>,
    }
}

object! {
    pub(super) struct Session<'a> {
        b"id" => id: Text<'a>,
        b"parentID" => parent: Text<'a>,
        b"directory" => directory: Text<'a>,
        b"version" => version: Text<'a>,
        b"time" => time: Times,
    }
}

object! {
    /// A prompt, or a response of the model.
    pub(super) struct Message<'a> {
        b"info" => info: Info<'a>,
        b"parts" => parts: Elements<Located<'a, Part<'a>>>,
    }
}

object! {
    /// The members of a message without its parts.
    pub(super) struct Info<'a> {
        b"id" => id: Text<'a>,
        b"role" => role: Text<'a>,
        b"time" => time: Times,
        b"summary" => is_summary: bool,
        // Members of a response.
        b"modelID" => model: Text<'a>,
        b"finish" => finish: Text<'a>,
        b"tokens" => usage: Usage,
        b"cost" => cost_usd: f64,
        b"error" => error: Failure<'a>,
    }
}

object! {
    /// The times of a session, a message, a part or a call.
    pub(super) struct Times {
        b"start" | b"created" => start: Millis,
        b"end" | b"completed" => end: Millis,
        b"updated" => updated: Millis,
    }
}

object! {
    /// A part of a message, with the members of all types.
    pub(super) struct Part<'a> {
        b"id" => id: Text<'a>,
        b"messageID" => message: Text<'a>,
        b"type" => kind: Text<'a>,
        b"text" | b"prompt" => text: Text<'a>,
        b"synthetic" => is_synthetic: bool,
        b"time" => time: Times,
        // Members of a call.
        b"callID" => call: Text<'a>,
        b"tool" => tool: Text<'a>,
        b"state" => state: CallState<'a>,
        // Members of a step.
        b"reason" => reason: Text<'a>,
        b"tokens" => usage: Usage,
        b"cost" => cost_usd: f64,
        // Members of another attempt.
        b"attempt" => attempt: u64,
        b"error" => error: Failure<'a>,
    }
}

object! {
    /// The state of a call.
    pub(super) struct CallState<'a> {
        b"status" => status: Text<'a>,
        b"input" => input: RawText<'a>,
        b"output" => output: Located<'a, Text<'a>>,
        b"error" => error: Located<'a, Text<'a>>,
        b"time" => time: Times,
        b"metadata" => metadata: CallMetadata<'a>,
    }
}

object! {
    pub(super) struct CallMetadata<'a> {
        b"exit" => exit_code: i32,
        /// The session of the sub-agent that was called.
        b"sessionId" => session: Text<'a>,
    }
}

object! {
    /// The arguments of `apply_patch`.
    pub(super) struct PatchArguments<'a> {
        b"patchText" => patch: Text<'a>,
    }
}

object! {
    pub(super) struct Usage {
        b"total" => total: u64,
        b"input" => input: u64,
        b"output" => output: u64,
        b"reasoning" => reasoning: u64,
        b"cache" => cache: CacheUsage,
    }
}

object! {
    pub(super) struct CacheUsage {
        b"read" => read: u64,
        b"write" => write: u64,
    }
}

object! {
    /// The reason why a response failed.
    pub(super) struct Failure<'a> {
        b"name" => name: Text<'a>,
        b"data" => data: FailureData<'a>,
    }
}

object! {
    pub(super) struct FailureData<'a> {
        b"message" => message: Text<'a>,
    }
}

/// Returns whether an id is the id of a session.
pub(super) fn is_session(id: Text<'_>) -> bool {
    id.raw().starts_with(b"ses_")
}

impl Session<'_> {
    /// Returns the session that called this one as a sub-agent.
    pub(super) fn parent(&self) -> Option<Text<'_>> {
        self.parent.filter(|id| is_session(*id))
    }
}

impl Part<'_> {
    /// Returns whether the part is of the type `kind`.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|own| own.is(kind))
    }

    /// Returns whether opencode wrote the part in a person's place.
    pub(super) fn is_synthetic(&self) -> bool {
        self.is_synthetic == Some(true)
    }
}

impl<'a> CallState<'a> {
    /// Returns whether the call succeeded, or `None` if it has not ended.
    pub(super) fn has_completed(&self) -> Option<bool> {
        match self.status?.raw() {
            b"completed" => Some(true),
            b"error" => Some(false),
            _ => None,
        }
    }

    /// Returns the output of a call that has ended, or its error message.
    pub(super) fn result(&self) -> Option<Located<'a, Text<'a>>> {
        if self.has_completed()? { self.output } else { self.error.or(self.output) }
    }
}

impl Usage {
    pub(super) fn tokens(&self) -> Tokens {
        let cache = self.cache.as_ref();
        let tokens = Tokens {
            input: self.input.unwrap_or(0),
            cache_read: cache.and_then(|cache| cache.read).unwrap_or(0),
            cache_write: cache.and_then(|cache| cache.write).unwrap_or(0),
            output: self.output.unwrap_or(0),
            reasoning: self.reasoning.unwrap_or(0),
            cache_write_1h: 0,
        };
        // The output includes the reasoning or not, depending on the version.
        if self.total == Some(tokens.total().saturating_add(tokens.reasoning)) {
            return Tokens { output: tokens.output.saturating_add(tokens.reasoning), ..tokens };
        }
        tokens
    }
}

impl Failure<'_> {
    /// Returns the message of the error, or else its name.
    pub(super) fn message(&self) -> Box<str> {
        let message = self.data.as_ref().and_then(|data| data.message);
        message.or(self.name).map(Text::boxed).unwrap_or_default()
    }
}
