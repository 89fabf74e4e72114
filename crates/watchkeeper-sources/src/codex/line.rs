//! The members of a line that are used.

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{Quota, author::Tokens};

use crate::{
    content::{Content, join},
    json::{Located, Number, Present, RawText, Text, Values, object},
};

/// The longest time in which a limit applies, in minutes: a century.
const MAX_MINUTES: i64 = 100 * 366 * 24 * 60;

object! {
    /// A line.
    pub(super) struct Line<'a> {
        b"timestamp" => timestamp: Text<'a>,
        b"type" => kind: Text<'a>,
        b"payload" => payload: Located<'a, Payload<'a>>,
    }
}

object! {
    /// The payloads of all types of lines.
    pub(super) struct Payload<'a> {
        b"type" => kind: Text<'a>,
        b"id" => id: Text<'a>,
        b"call_id" => call_id: Text<'a>,
        // Members of a session.
        b"session_id" => session_id: Text<'a>,
        b"source" => source: SessionSource<'a>,
        b"forked_from_id" => forked_from: Text<'a>,
        b"cwd" => cwd: Text<'a>,
        b"cli_version" => version: Text<'a>,
        b"model" => model: Text<'a>,
        // Members of messages.
        b"role" => role: Text<'a>,
        b"message" => message: Text<'a>,
        b"summary" => summary: Content<'a>,
        b"content" => content: Content<'a>,
        // Members of calls and results.
        b"name" => name: Text<'a>,
        b"namespace" => namespace: Text<'a>,
        b"arguments" | b"input" | b"action" => arguments: RawText<'a>,
        b"output" => output: Content<'a>,
        b"status" => status: Text<'a>,
        b"success" => success: bool,
        b"exit_code" => exit_code: Number<'a>,
        b"result" => result: McpResult,
        // Members of usage.
        b"response_id" => response_id: Text<'a>,
        b"usage" => usage: Usage,
        b"thread_token_usage" => thread_usage: Usage,
        b"info" => info: UsageInfo,
        b"rate_limits" => rate_limits: RateLimits<'a>,
        b"error" => error: TurnError<'a>,
        /// A completed item.
        b"item" => item: Box<Payload<'a>>,
    }
}

/// The thread that spawned this one: `{"subagent": {"thread_spawn": {…}}}`.
type SessionSource<'a> = Values<'a, Values<'a, ThreadSpawn<'a>>>;

object! {
    pub(super) struct ThreadSpawn<'a> {
        b"parent_thread_id" => parent: Text<'a>,
    }
}

object! {
    /// The result of a tool of an MCP server.
    pub(super) struct McpResult {
        b"Err" => err: Present,
        b"Ok" => output: McpOutput,
    }
}

object! {
    pub(super) struct McpOutput {
        b"isError" => is_error: bool,
    }
}

object! {
    pub(super) struct TurnError<'a> {
        b"message" => message: Text<'a>,
    }
}

object! {
    /// The limits of the account.
    pub(super) struct RateLimits<'a> {
        b"primary" => primary: RateLimit<'a>,
        b"secondary" => secondary: RateLimit<'a>,
    }
}

object! {
    pub(super) struct RateLimit<'a> {
        b"used_percent" => used_percent: Number<'a>,
        b"window_minutes" => window_minutes: u64,
        b"resets_at" => resets_at: u64,
    }
}

object! {
    /// The usage of a thread.
    pub(super) struct UsageInfo {
        b"last_token_usage" => latest: Usage,
        b"total_token_usage" => total: Usage,
    }
}

object! {
    /// Usage in tokens. The input contains the tokens read from and written to the cache.
    pub(super) struct Usage {
        b"input_tokens" => input: u64,
        b"cached_input_tokens" => cache_read: u64,
        b"cache_write_input_tokens" => cache_write: u64,
        b"output_tokens" => output: u64,
        b"reasoning_output_tokens" => reasoning: u64,
    }
}

impl Usage {
    pub(super) fn tokens(&self) -> Tokens {
        let (cache_read, cache_write) =
            (self.cache_read.unwrap_or(0), self.cache_write.unwrap_or(0));
        let input = self.input.unwrap_or(0);
        Tokens {
            input: input.saturating_sub(cache_read).saturating_sub(cache_write),
            cache_read,
            cache_write,
            output: self.output.unwrap_or(0),
            reasoning: self.reasoning.unwrap_or(0),
            cache_write_1h: 0,
        }
    }
}

impl<'a> RateLimits<'a> {
    /// Returns the limits with their names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &RateLimit<'a>)> {
        let named = [("primary", &self.primary), ("secondary", &self.secondary)];
        named.into_iter().filter_map(|(name, limit)| Some((name, limit.as_ref()?)))
    }
}

impl RateLimit<'_> {
    /// Returns the quota with this name; `None` if the used part is unknown.
    pub(super) fn quota(&self, name: &str) -> Option<Quota> {
        let minutes = self.window_minutes.and_then(|minutes| i64::try_from(minutes).ok());
        let resets_at = self.resets_at.and_then(|second| i64::try_from(second).ok());
        Some(Quota {
            name: name.into(),
            used_percent: self
                .used_percent?
                .parse()
                .filter(|n: &f64| n.is_finite() && 0.0 <= *n)?,
            window: minutes.map(|minutes| SignedDuration::from_mins(minutes.min(MAX_MINUTES))),
            resets_at: resets_at.and_then(|second| Timestamp::from_second(second).ok()),
        })
    }
}

impl McpResult {
    pub(super) fn is_error(&self) -> bool {
        self.err.is_some() || self.output.as_ref().is_some_and(|it| it.is_error == Some(true))
    }
}

impl<'a> Payload<'a> {
    /// Returns the type of the payload.
    pub(super) fn kind(&self) -> &'a [u8] {
        self.kind.map(Text::raw).unwrap_or_default()
    }

    /// Returns the thread that spawned this one.
    pub(super) fn parent(&self) -> Option<Text<'a>> {
        let spawns = self.source.iter().flat_map(|source| &source.0);
        spawns.flat_map(|(_, spawn)| &spawn.0).find_map(|(_, spawn)| spawn.parent)
    }

    /// Returns the text of a message or a reasoning item.
    pub(super) fn text(&self) -> Box<str> {
        let contents = [&self.summary, &self.content];
        let texts = contents.into_iter().flatten().flat_map(|content| &content.texts);
        join(&texts.copied().collect::<Vec<_>>())
    }
}
