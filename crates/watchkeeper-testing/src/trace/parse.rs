//! Parses the text of a trace.

use std::{collections::BTreeMap, str::FromStr};

use jiff::{SignedDuration, Timestamp, fmt::friendly::SpanParser};
use watchkeeper_core::{
    AgentId, Event, EventKind, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, SessionStart, Tokens, WaitingFor},
};

use super::{SESSION, Step, Trace, TraceError};

/// The largest number of rounds of one line.
const MAX_ROUNDS: u32 = 100_000;

impl FromStr for Trace {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        let mut parser = Parser::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                parser.line(text).map_err(|message| TraceError { line, message })?;
            }
        }
        Ok(Self { steps: parser.steps })
    }
}

/// Parses a trace, line by line. An error describes the problem of one line.
struct Parser {
    steps: Vec<Step>,
    now: Timestamp,
    n_calls: usize,
    /// The ids of calls without a result, by session and agent.
    pending: BTreeMap<(SessionId, Option<AgentId>), Vec<Box<str>>>,
}

impl Default for Parser {
    fn default() -> Self {
        Self { steps: Vec::new(), now: Timestamp::UNIX_EPOCH, n_calls: 0, pending: BTreeMap::new() }
    }
}

impl Parser {
    fn line(&mut self, text: &str) -> Result<(), String> {
        let mut words = Words(text);
        let first = words.next()?;
        let is_advance = first == "advance";
        let from = match first.strip_prefix('+') {
            Some(_) => self.now,
            None if is_advance => self.now,
            None => Timestamp::UNIX_EPOCH,
        };
        let span = if is_advance { words.next()? } else { first };
        self.now = from
            .checked_add(duration(span.strip_prefix('+').unwrap_or(&span))?)
            .map_err(|_| format!("`{span}` is too long"))?;
        if is_advance || words.0 == "advance" {
            self.steps.push(Step::Advance(self.now));
            return Ok(());
        }
        let Some(rest) = words.0.strip_prefix("repeat ") else { return self.event(words) };
        let (head, events) = rest
            .split_once(": ")
            .ok_or("`repeat` has the form `repeat 4 every 5s: EVENT ;; EVENT`")?;
        let (n, every) = head
            .split_once(" every ")
            .ok_or_else(|| format!("`{head}` is not a number and a period, as in `4 every 5s`"))?;
        let n_rounds: u32 = number("repeat", n.trim())?;
        if MAX_ROUNDS < n_rounds {
            return Err(format!("{n_rounds} rounds are too many; use at most {MAX_ROUNDS}"));
        }
        let every = duration(every.trim())?;
        for round in 0..n_rounds {
            for event in events.split(" ;; ") {
                self.event(Words(event.trim()))?;
            }
            if round + 1 < n_rounds {
                self.now = self.now.checked_add(every).map_err(|_| "the rounds last too long")?;
            }
        }
        Ok(())
    }

    fn event(&mut self, mut words: Words<'_>) -> Result<(), String> {
        let mut session = SessionId::from(SESSION);
        let mut agent = None;
        if let Some(id) = words.named("session ")? {
            session = id.as_str().into();
        }
        if let Some(id) = words.named("agent ")? {
            agent = Some(AgentId::from(id.as_str()));
        }
        let word = words.next()?;
        let kind = self.kind(&word, words, (&session, agent.as_ref()))?;
        self.steps.push(Step::Event(Event { at: self.now, session, agent, origin: None, kind }));
        Ok(())
    }

    fn kind(
        &mut self,
        word: &str,
        mut words: Words<'_>,
        (session, agent): (&SessionId, Option<&AgentId>),
    ) -> Result<EventKind, String> {
        let stream = || (session.clone(), agent.cloned());
        Ok(match word {
            "session_start" => {
                let mut start = SessionStart::default();
                words.pairs(|key, value| {
                    match key {
                        "cwd" => start.cwd = Some(value.into()),
                        "model" => start.model = Some(value.into()),
                        "version" => start.version = Some(value.into()),
                        "parent" => start.parent = Some(value.into()),
                        _ => match key.strip_prefix("label.") {
                            Some(label) => start.labels.push((label.into(), value.into())),
                            None => {
                                return unknown(key, "cwd, model, version, parent or label.NAME");
                            }
                        },
                    }
                    Ok(())
                })?;
                EventKind::SessionStart(start)
            }
            "prompt" | "synthetic" => {
                EventKind::Prompt { text: words.text()?, synthetic: word == "synthetic" }
            }
            "message" | "delta" => {
                EventKind::Message { text: words.text()?, delta: word == "delta" }
            }
            "thinking" => EventKind::Thinking { text: words.text()? },
            "usage" => EventKind::ModelCall(usage(words)?),
            "call" => {
                self.n_calls += 1;
                let id = words.marked('#')?.unwrap_or_else(|| format!("c{}", self.n_calls).into());
                let tool = words.next()?;
                let response = words.marked('@')?;
                let arguments =
                    if words.0.is_empty() { Json::default() } else { Json::parse_or_text(words.0) };
                self.pending.entry(stream()).or_default().push(id.clone());
                let mut call = ToolCall::new(id, tool.as_str(), arguments);
                call.response = response;
                EventKind::ToolCall(call)
            }
            "result" => {
                let pending = self.pending.entry(stream()).or_default();
                let id = match words.marked('#')? {
                    Some(id) => {
                        pending.retain(|pending_id| *pending_id != id);
                        id
                    }
                    None => {
                        pending.pop().ok_or("no call is pending; name the call: `result #ID`")?
                    }
                };
                EventKind::ToolResult(result(id, words)?)
            }
            "wait" => EventKind::Waiting(waiting_for(words)?),
            "resume" => EventKind::Resumed(waiting_for(words)?),
            "turn_end" => EventKind::TurnEnd,
            "error" => {
                let retry = match words.0.strip_prefix("retry=") {
                    None => None,
                    Some(rest) => {
                        words.0 = rest;
                        Some(number("retry", &words.next()?)?)
                    }
                };
                EventKind::Error { message: words.text()?, retry }
            }
            "compaction" => {
                let (mut before_tokens, mut after_tokens) = (None, None);
                words.pairs(|key, value| {
                    match key {
                        "before" => before_tokens = Some(number(key, value)?),
                        "after" => after_tokens = Some(number(key, value)?),
                        _ => return unknown(key, "before or after"),
                    }
                    Ok(())
                })?;
                EventKind::Compaction { before_tokens, after_tokens }
            }
            "handoff" => EventKind::Handoff { to: words.text()? },
            "agent_start" => agent_start(words)?,
            "agent_end" => EventKind::AgentEnd,
            "session_end" => EventKind::SessionEnd {
                reason: if words.0.is_empty() { None } else { Some(words.text()?) },
            },
            _ => {
                return Err(format!(
                    "unknown event `{word}`; use session_start, prompt, synthetic, message, \
                     delta, thinking, usage, call, result, wait, resume, turn_end, error, \
                     compaction, handoff, agent_start, agent_end or session_end"
                ));
            }
        })
    }
}

fn agent_start(mut words: Words<'_>) -> Result<EventKind, String> {
    let mut parent = None;
    words.pairs(|key, value| match key {
        "parent" => {
            parent = Some(value.into());
            Ok(())
        }
        _ => unknown(key, "parent"),
    })?;
    Ok(EventKind::AgentStart { parent })
}

fn usage(mut words: Words<'_>) -> Result<ModelCall, String> {
    let mut call = ModelCall::default();
    words.pairs(|key, value| {
        let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
            &mut call.tokens;
        // The names of NDJSON are accepted as well, such as `input_tokens`.
        let tokens = match key.strip_suffix("_tokens").unwrap_or(key) {
            "id" => {
                call.id = Some(value.into());
                return Ok(());
            }
            "model" => {
                call.model = Some(value.into());
                return Ok(());
            }
            "cost" | "cost_usd" => {
                call.cost_usd = Some(number(key, value)?);
                return Ok(());
            }
            "context" => {
                call.context_tokens = Some(number(key, value)?);
                return Ok(());
            }
            "input" => input,
            "output" => output,
            "cache_read" => cache_read,
            "cache_write" => cache_write,
            "reasoning" => reasoning,
            "cache_write_1h" => cache_write_1h,
            _ => {
                let known = "id, model, input, output, cache_read, cache_write, reasoning, \
                             cache_write_1h, cost or context";
                return unknown(key, known);
            }
        };
        *tokens = number(key, value)?;
        Ok(())
    })?;
    Ok(call)
}

fn result(id: Box<str>, mut words: Words<'_>) -> Result<ToolResult, String> {
    let intercepted = words.0.strip_prefix("intercepted ");
    words.0 = intercepted.map_or(words.0, str::trim_start);
    let (first, rest) = words.0.split_once(' ').unwrap_or((words.0, ""));
    if intercepted.is_some() && !matches!(first, "ok" | "fail") {
        return unknown(first, "ok or fail after `intercepted`");
    }
    let (is_status, ok, cause) = match first {
        "ok" => (true, true, None),
        "fail" => (true, false, None),
        "declined" => (true, false, Some(Cause::Declined)),
        "blocked" => (true, false, Some(Cause::Blocked)),
        "sibling" => (true, false, Some(Cause::Sibling)),
        "interrupted" => (true, false, Some(Cause::Interrupted)),
        "timeout" => (true, false, Some(Cause::Timeout)),
        _ => (false, true, None),
    };
    let cause = cause.or(intercepted.map(|_| Cause::Intercepted));
    if is_status {
        words.0 = rest.trim_start();
    }
    let mut exit_code = None;
    if let Some(rest) = words.0.strip_prefix("exit ") {
        words.0 = rest.trim_start();
        exit_code = Some(number("exit", &words.next()?)?);
    }
    let output = if words.0.is_empty() { None } else { Some(words.text()?) };
    let mut result = ToolResult::new(id, ok, output);
    result.cause = cause;
    result.exit_code = exit_code;
    Ok(result)
}

fn waiting_for(words: Words<'_>) -> Result<WaitingFor, String> {
    match words.0 {
        "permission" => Ok(WaitingFor::Permission),
        "person" => Ok(WaitingFor::Person),
        other => unknown(other, "permission or person"),
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    SpanParser::new()
        .parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration such as `30s`, `5m` or `1h30m`"))
}

fn number<T: FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number for `{key}`"))
}

fn unknown<T>(key: &str, known: &str) -> Result<T, String> {
    Err(format!("unknown `{key}`; use {known}"))
}

/// The part of a line that is not parsed yet.
#[derive(Clone, Copy)]
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// Takes a JSON string or a word, which is never empty.
    fn next(&mut self) -> Result<String, String> {
        if let Some(text) = self.json_string()? {
            return Ok(text);
        }
        let end = self.0.find(char::is_whitespace).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        if word.is_empty() {
            return Err("the line ends too early".to_owned());
        }
        Ok(word.to_owned())
    }

    /// Takes a JSON string, if one is next.
    fn json_string(&mut self) -> Result<Option<String>, String> {
        if !self.0.starts_with('"') {
            return Ok(None);
        }
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<String>();
        let Some(Ok(text)) = values.next() else {
            return Err(format!("`{}` is not a JSON string", self.0));
        };
        self.0 = self.0[values.byte_offset()..].trim_start();
        Ok(Some(text))
    }

    /// Takes the text that remains.
    fn text(&mut self) -> Result<Box<str>, String> {
        match self.json_string()? {
            Some(_) if !self.0.is_empty() => {
                Err(format!("unexpected `{}` after a JSON string", self.0))
            }
            Some(text) => Ok(text.into()),
            None => Ok(std::mem::take(&mut self.0).into()),
        }
    }

    /// Takes an id with this mark in front, if one is next.
    fn marked(&mut self, mark: char) -> Result<Option<Box<str>>, String> {
        let Some(rest) = self.0.strip_prefix(mark) else { return Ok(None) };
        self.0 = rest;
        self.next().map(|id| Some(id.into()))
    }

    /// Takes a keyword and `NAME:`, if they are next.
    fn named(&mut self, keyword: &str) -> Result<Option<String>, String> {
        let Some(rest) = self.0.strip_prefix(keyword) else { return Ok(None) };
        self.0 = rest;
        if let Some(name) = self.json_string()? {
            let rest =
                self.0.strip_prefix(':').ok_or_else(|| format!("expected `:` after {name:?}"))?;
            self.0 = rest.trim_start();
            return Ok(Some(name));
        }
        let word = self.next()?;
        let name = word.strip_suffix(':').ok_or_else(|| format!("expected `:` after `{word}`"))?;
        Ok(Some(name.to_owned()))
    }

    /// Takes every `KEY=VALUE` that remains.
    fn pairs(
        &mut self,
        mut take: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        while !self.0.is_empty() {
            let (key, rest) = self
                .0
                .split_once('=')
                .ok_or_else(|| format!("`{}` is not of the form KEY=VALUE", self.0))?;
            let key: &'a str = key;
            self.0 = rest;
            let value = self.next()?;
            take(key, &value)?;
        }
        Ok(())
    }
}
