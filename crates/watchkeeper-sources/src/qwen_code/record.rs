//! The members of a record.

use watchkeeper_core::author::Tokens;

use crate::{
    gemini_cli::Parts,
    json::{Present, Text, object},
};

object! {
    /// The beginning of a record.
    pub(super) struct Head<'a> {
        b"uuid" => id: Present,
        b"sessionId" => session: Present,
        b"type" => kind: Text<'a>,
        b"message" => message: MessageHead,
        b"systemPayload" => payload: Present,
    }
}

object! {
    pub(super) struct MessageHead {
        b"parts" => parts: Present,
    }
}

object! {
    pub(super) struct Record<'a> {
        b"uuid" => id: Text<'a>,
        b"sessionId" => session: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"type" => kind: Text<'a>,
        b"subtype" => subtype: Text<'a>,
        b"cwd" => cwd: Text<'a>,
        b"version" => version: Text<'a>,
        b"agentId" => agent: Text<'a>,
        b"model" => model: Text<'a>,
        b"message" => message: Message<'a>,
        b"usageMetadata" => usage: Usage,
        b"toolCallResult" => result: CallResult<'a>,
        b"systemPayload" => payload: Payload<'a>,
        b"forkedFrom" => origin: Origin<'a>,
    }
}

object! {
    pub(super) struct Message<'a> {
        b"parts" => parts: Parts<'a>,
    }
}

object! {
    /// The record of which this one is a copy.
    pub(super) struct Origin<'a> {
        b"sessionId" => session: Text<'a>,
    }
}

object! {
    pub(super) struct CallResult<'a> {
        b"status" => status: Text<'a>,
    }
}

object! {
    pub(super) struct Payload<'a> {
        b"info" => info: CompressionInfo,
        b"uiEvent" => event: UiEvent<'a>,
    }
}

object! {
    pub(super) struct CompressionInfo {
        b"originalTokenCount" => before: u64,
        b"newTokenCount" => after: u64,
    }
}

object! {
    /// An event of the client's own telemetry.
    pub(super) struct UiEvent<'a> {
        b"event.name" => name: Text<'a>,
        b"error_message" | b"error.message" | b"error" => message: Text<'a>,
    }
}

object! {
    /// Usage in tokens. The input contains the cached tokens.
    pub(super) struct Usage {
        b"promptTokenCount" => input: u64,
        b"candidatesTokenCount" => output: u64,
        b"cachedContentTokenCount" => cached: u64,
        b"thoughtsTokenCount" => thoughts: u64,
        b"totalTokenCount" => total: u64,
    }
}

impl Head<'_> {
    /// Returns whether a file with a record of this beginning is a session.
    pub(super) fn is_of_session(&self) -> bool {
        const KINDS: &[&str] = &["assistant", "system", "tool_result", "user"];
        let is_known = self.kind.is_some_and(|kind| KINDS.iter().any(|it| kind.is(it)));
        let has_parts = self.message.as_ref().is_some_and(|message| message.parts.is_some());
        is_known
            && self.id.is_some()
            && self.session.is_some()
            && (has_parts || self.payload.is_some())
    }
}

impl<'a> Record<'a> {
    pub(super) fn parts(&self) -> Option<&Parts<'a>> {
        self.message.as_ref()?.parts.as_ref()
    }

    /// Returns the session from which this one was forked.
    pub(super) fn origin(&self) -> Option<Text<'a>> {
        self.origin.as_ref()?.session
    }
}

impl UiEvent<'_> {
    /// Returns whether a request to the model failed.
    pub(super) fn is_error(&self) -> bool {
        self.name.is_some_and(|name| name.raw().ends_with(b".api_error"))
    }
}

impl Usage {
    pub(super) fn tokens(&self) -> Tokens {
        let input = self.input.unwrap_or(0);
        let cache_read = self.cached.unwrap_or(0);
        let (output, reasoning) = (self.output.unwrap_or(0), self.thoughts.unwrap_or(0));
        // The output includes the thoughts or not, depending on the provider.
        let sum = input.saturating_add(output);
        let has_separate_thoughts = self.total == Some(sum.saturating_add(reasoning));
        let separate = if has_separate_thoughts { reasoning } else { 0 };
        Tokens {
            input: input.saturating_sub(cache_read),
            cache_read,
            output: output.saturating_add(separate),
            reasoning,
            ..Tokens::default()
        }
    }
}
