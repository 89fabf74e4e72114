//! The members of a line.

use watchkeeper_core::author::Tokens;

use crate::{
    content::Content,
    json::{RawText, Text, Values, object},
};

object! {
    pub(super) struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"id" => id: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"agentId" => agent: Text<'a>,
        b"data" => data: Data<'a>,
    }
}

object! {
    /// The content of any event.
    pub(super) struct Data<'a> {
        b"sessionId" => session: Text<'a>,
        b"copilotVersion" => version: Text<'a>,
        b"context" => context: Context<'a>,
        b"selectedModel" | b"newModel" | b"model" => model: Text<'a>,
        b"content" => content: Text<'a>,
        /// The author of a prompt, if no person wrote it.
        b"source" => source: Text<'a>,
        b"messageId" => message: Text<'a>,
        b"reasoningText" => reasoning: Text<'a>,
        b"outputTokens" => output_tokens: u64,
        b"toolRequests" => requests: Vec<Request<'a>>,
        b"parentToolCallId" => parent: Text<'a>,
        b"toolCallId" => call: Text<'a>,
        b"toolName" => tool: Text<'a>,
        b"arguments" => arguments: RawText<'a>,
        b"success" => success: bool,
        b"result" => result: CallResult<'a>,
        b"error" => error: CallError<'a>,
        b"requestId" => request: Text<'a>,
        b"permissionRequest" => permission: PermissionRequest<'a>,
        b"message" => text: Text<'a>,
        b"shutdownType" => shutdown: Text<'a>,
        b"modelMetrics" => metrics: Values<'a, ModelMetrics>,
        b"preCompactionTokens" => before_tokens: u64,
        b"postCompactionTokens" => after_tokens: u64,
    }
}

object! {
    pub(super) struct Context<'a> {
        b"cwd" => cwd: Text<'a>,
    }
}

object! {
    /// A call in a message.
    pub(super) struct Request<'a> {
        b"toolCallId" => call: Text<'a>,
        b"name" => tool: Text<'a>,
        b"arguments" => arguments: RawText<'a>,
    }
}

object! {
    /// The result of a call, or the answer to a request for permission.
    pub(super) struct CallResult<'a> {
        b"content" => content: Content<'a>,
        b"kind" => kind: Text<'a>,
    }
}

object! {
    pub(super) struct CallError<'a> {
        b"message" => message: Text<'a>,
    }
}

object! {
    pub(super) struct PermissionRequest<'a> {
        b"toolCallId" => call: Text<'a>,
    }
}

object! {
    pub(super) struct ModelMetrics {
        b"usage" => usage: Usage,
    }
}

object! {
    /// Usage in tokens. The input contains the tokens read from and written to the cache.
    pub(super) struct Usage {
        b"inputTokens" => input: u64,
        b"outputTokens" => output: u64,
        b"cacheReadTokens" => cache_read: u64,
        b"cacheWriteTokens" => cache_write: u64,
        b"reasoningTokens" => reasoning: u64,
    }
}

impl Line<'_> {
    /// Returns whether a file with a line of this beginning is a session.
    pub(super) fn is_of_session(&self) -> bool {
        const GROUPS: &[&[u8]] = &[b"assistant.", b"session.", b"tool.execution_", b"user.message"];
        let (Some(kind), Some(data)) = (self.kind, &self.data) else { return false };
        if kind.is("session.start") {
            return data.session.is_some() || data.version.is_some();
        }
        let is_known = GROUPS.iter().any(|group| kind.raw().starts_with(group));
        is_known && self.id.is_some() && self.timestamp.is_some()
    }
}

impl Usage {
    pub(super) fn tokens(&self) -> Tokens {
        let cache_read = self.cache_read.unwrap_or(0);
        let cache_write = self.cache_write.unwrap_or(0);
        let input = self.input.unwrap_or(0);
        Tokens {
            input: input.saturating_sub(cache_read).saturating_sub(cache_write),
            cache_read,
            cache_write,
            output: self.output.unwrap_or(0),
            reasoning: self.reasoning.unwrap_or(0),
            ..Tokens::default()
        }
    }
}
