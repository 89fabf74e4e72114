//! The members of a record.

use watchkeeper_core::author::Tokens;

use super::parts::Parts;
use crate::json::{Elements, Located, Present, RawText, Text, object};

object! {
    /// The beginning of a file.
    pub(super) struct Head<'a> {
        b"sessionId" => session: Present,
        b"projectHash" => project: Present,
        b"kind" => kind: Text<'a>,
        b"messages" => messages: Vec<MessageHead<'a>>,
    }
}

object! {
    pub(super) struct MessageHead<'a> {
        b"id" => id: Present,
        b"type" => kind: Text<'a>,
        b"timestamp" => timestamp: Present,
    }
}

object! {
    /// A line that is no message: the session, changes of it, or a message to return to.
    pub(super) struct Record<'a> {
        b"sessionId" => session: Text<'a>,
        b"startTime" => started_at: Text<'a>,
        b"kind" => kind: Text<'a>,
        b"directories" => folders: Vec<Text<'a>>,
        /// Versions that rewrite the file can write it as one line.
        b"messages" => messages: Vec<Message<'a>>,
        b"$set" => changes: Changes<'a>,
        b"$rewindTo" => rewind: Present,
    }
}

object! {
    /// Changes of the session.
    pub(super) struct Changes<'a> {
        b"messages" => messages: Vec<Message<'a>>,
    }
}

object! {
    /// A message.
    pub(super) struct Message<'a> {
        b"id" => id: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"type" => kind: Text<'a>,
        b"content" => content: Parts<'a>,
        b"thoughts" => thoughts: Elements<Thought<'a>>,
        b"tokens" => usage: Usage,
        b"model" => model: Text<'a>,
        b"toolCalls" => calls: Vec<Located<'a, Call<'a>>>,
    }
}

object! {
    pub(super) struct Thought<'a> {
        b"subject" => subject: Text<'a>,
        b"description" => description: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
    }
}

object! {
    /// Usage in tokens. The input contains the cached tokens, and the output excludes the
    /// thoughts.
    pub(super) struct Usage {
        b"input" => input: u64,
        b"cached" => cached: u64,
        b"output" => output: u64,
        b"thoughts" => thoughts: u64,
        b"tool" => tool: u64,
    }
}

object! {
    /// A tool call. The time is that of its latest status.
    pub(super) struct Call<'a> {
        b"id" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"args" => arguments: RawText<'a>,
        b"status" => status: Text<'a>,
        b"timestamp" => timestamp: Text<'a>,
        b"result" => result: Parts<'a>,
        /// The session of the sub-agent that was called.
        b"agentId" => agent: Text<'a>,
    }
}

impl Head<'_> {
    /// Returns whether a file with this beginning is a session.
    pub(super) fn is_of_session(&self) -> bool {
        const KINDS: &[&str] = &["error", "gemini", "info", "user", "warning"];
        let is_message = |message: &MessageHead<'_>| {
            let is_known = message.kind.is_some_and(|kind| KINDS.iter().any(|it| kind.is(it)));
            is_known && message.id.is_some() && message.timestamp.is_some()
        };
        let is_of_agent =
            self.kind.is_some_and(|kind| ["main", "subagent"].iter().any(|it| kind.is(it)));
        // Other programs sort the members by name, which moves the ids to the end.
        let has_messages = || self.messages.iter().flatten().any(is_message);
        self.session.is_some() && self.project.is_some() || is_of_agent && has_messages()
    }
}

impl Usage {
    pub(super) fn tokens(&self) -> Tokens {
        let cache_read = self.cached.unwrap_or(0);
        let reasoning = self.thoughts.unwrap_or(0);
        let input = self.input.unwrap_or(0).saturating_sub(cache_read);
        Tokens {
            input: input.saturating_add(self.tool.unwrap_or(0)),
            cache_read,
            output: self.output.unwrap_or(0).saturating_add(reasoning),
            reasoning,
            ..Tokens::default()
        }
    }
}
