use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, fmt::friendly::SpanParser};
use watchkeeper_core::{
    AgentId, Event, EventKind, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, SessionStart, Tokens, WaitingFor},
};

use crate::{SESSION, offset};

/// The most rounds that one line may ask for.
const MAX_ROUNDS: u32 = 100_000;

/// Events, and time that passes between them.
///
/// In writing, each line is an offset from the start, or from the line before
/// with a `+`, and an event:
///
/// ```text
/// 0s    session_start cwd=/work model=gpt-5 label.team=payments
/// 0s    prompt fix the build
/// 5s    synthetic a prompt made by the harness
/// 8s    thinking about it
/// 9s    message on my way
/// 9s    delta a piece of a message
/// 10s   usage id=m1 model=gpt-5 input=1000 output=20 cache_read=9000
/// 10s   call Bash {"command": "make"}
/// 12s   result fail exit 2 no rule to make target
/// 13s   call #c9 Read @response-3 README.md
/// 14s   result #c9 ok
/// 15s   wait permission
/// 20s   resume permission
/// 21s   error retry=1 overloaded
/// 30s   compaction before=150000 after=9000
/// 31s   handoff reviewer
/// 32s   agent a1: agent_start
/// 33s   session s2: agent a1: message hello
/// 40s   repeat 4 every 5s: call Bash make ;; result fail no rule
/// 70s   turn_end
/// 80s   session_end done
/// +5m   advance
/// advance 10m
/// ```
///
/// A `result` without an id answers the latest call of its agent that has no
/// answer; one without text says that the output is unknown. It is `ok`, or
/// else `fail`, `declined`, `sibling`, `interrupted` or `timeout`. Text that
/// begins with a quotation mark is a JSON string, so any text can be written.
/// A line that begins with `#` is a comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    steps: Vec<Step>,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Something happens.
    Event(Event),
    /// Time passes, and nothing happens until then.
    Advance(Timestamp),
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    line: usize,
    message: String,
}

impl Trace {
    /// Its steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Its events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> + '_ {
        self.steps.iter().filter_map(|it| match it {
            Step::Event(event) => Some(event),
            Step::Advance(_) => None,
        })
    }
}

impl From<Vec<Event>> for Trace {
    fn from(events: Vec<Event>) -> Self {
        Self { steps: events.into_iter().map(Step::Event).collect() }
    }
}

impl TraceError {
    /// The line that is no event, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong with the line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for TraceError {}

impl FromStr for Trace {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        let mut reader = Reader::default();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                reader.line(text).map_err(|message| TraceError { line, message })?;
            }
        }
        Ok(Self { steps: reader.steps })
    }
}

/// Reads a trace, line by line. Its errors say what is wrong with the line.
struct Reader {
    steps: Vec<Step>,
    now: Timestamp,
    n_calls: usize,
    /// The calls without an answer, by session and agent.
    pending: BTreeMap<(SessionId, Option<AgentId>), Vec<Box<str>>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { steps: Vec::new(), now: Timestamp::UNIX_EPOCH, n_calls: 0, pending: BTreeMap::new() }
    }
}

impl Reader {
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
            .ok_or("a repeat has the form `repeat 4 every 5s: EVENT ;; EVENT`")?;
        let (n, every) = head
            .split_once(" every ")
            .ok_or_else(|| format!("`{head}` should be a number and a time, as in `4 every 5s`"))?;
        let n_rounds: u32 = number("repeat", n.trim())?;
        if MAX_ROUNDS < n_rounds {
            return Err(format!("{n_rounds} rounds are too many"));
        }
        let every = duration(every.trim())?;
        for round in 0..n_rounds {
            for event in events.split(" ;; ") {
                self.event(Words(event.trim()))?;
            }
            if round + 1 < n_rounds {
                self.now = self.now.checked_add(every).map_err(|_| "it goes on for too long")?;
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
        let who = || (session.clone(), agent.cloned());
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
                self.pending.entry(who()).or_default().push(id.clone());
                let mut call = ToolCall::new(id, tool.as_str(), arguments);
                call.response = response;
                EventKind::ToolCall(call)
            }
            "result" => {
                let pending = self.pending.entry(who()).or_default();
                let id = match words.marked('#')? {
                    Some(id) => {
                        pending.retain(|it| *it != id);
                        id
                    }
                    None => pending
                        .pop()
                        .ok_or("no call waits for this `result`; name one: `result #ID`")?,
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
            "agent_start" => EventKind::AgentStart,
            "agent_end" => EventKind::AgentEnd,
            "session_end" => EventKind::SessionEnd {
                reason: if words.0.is_empty() { None } else { Some(words.text()?) },
            },
            _ => {
                return Err(format!(
                    "`{word}` is no event; there are session_start, prompt, synthetic, message, \
                     delta, thinking, usage, call, result, wait, resume, turn_end, error, \
                     compaction, handoff, agent_start, agent_end and session_end"
                ));
            }
        })
    }
}

fn usage(mut words: Words<'_>) -> Result<ModelCall, String> {
    let mut call = ModelCall::default();
    words.pairs(|key, value| {
        let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
            &mut call.tokens;
        let tokens = match key {
            "id" => {
                call.id = Some(value.into());
                return Ok(());
            }
            "model" => {
                call.model = Some(value.into());
                return Ok(());
            }
            "cost" => {
                call.cost_usd = Some(number(key, value)?);
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
                             cache_write_1h or cost";
                return unknown(key, known);
            }
        };
        *tokens = number(key, value)?;
        Ok(())
    })?;
    Ok(call)
}

fn result(id: Box<str>, mut words: Words<'_>) -> Result<ToolResult, String> {
    let (first, rest) = words.0.split_once(' ').unwrap_or((words.0, ""));
    let (is_status, ok, cause) = match first {
        "ok" => (true, true, None),
        "fail" => (true, false, None),
        "declined" => (true, false, Some(Cause::Declined)),
        "sibling" => (true, false, Some(Cause::Sibling)),
        "interrupted" => (true, false, Some(Cause::Interrupted)),
        "timeout" => (true, false, Some(Cause::Timeout)),
        _ => (false, true, None),
    };
    if is_status {
        words.0 = rest.trim_start();
    }
    let mut exit_code = None;
    if let Some(rest) = words.0.strip_prefix("exit ") {
        words.0 = rest.trim_start();
        exit_code = Some(number("exit", &words.next()?)?);
    }
    let output = if words.0.is_empty() { None } else { Some(words.text()?) };
    let mut res = ToolResult::new(id, ok, output);
    res.cause = cause;
    res.exit_code = exit_code;
    Ok(res)
}

fn waiting_for(words: Words<'_>) -> Result<WaitingFor, String> {
    match words.0 {
        "permission" => Ok(WaitingFor::Permission),
        "person" => Ok(WaitingFor::Person),
        it => Err(format!("`{it}` is nothing to wait for; use permission or person")),
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    SpanParser::new()
        .parse_duration(text)
        .map_err(|_| format!("`{text}` is no time; write it like `30s`, `5m` or `1h30m`"))
}

fn number<T: FromStr>(key: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number for `{key}`"))
}

fn unknown<T>(key: &str, known: &str) -> Result<T, String> {
    Err(format!("`{key}` is unknown; use {known}"))
}

/// What is left of a line.
#[derive(Clone, Copy)]
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// Takes a word, or a JSON string. Never gives an empty word back.
    fn next(&mut self) -> Result<String, String> {
        if let Some(text) = self.json_string()? {
            return Ok(text);
        }
        let end = self.0.find(char::is_whitespace).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.trim_start();
        if word.is_empty() {
            return Err("it ends too early".to_owned());
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
            return Err(format!("{} is no JSON string", self.0));
        };
        self.0 = self.0[values.byte_offset()..].trim_start();
        Ok(Some(text))
    }

    /// Takes all that is left.
    fn text(&mut self) -> Result<Box<str>, String> {
        match self.json_string()? {
            Some(_) if !self.0.is_empty() => {
                Err(format!("`{}` stands behind a JSON string that should be all", self.0))
            }
            Some(text) => Ok(text.into()),
            None => Ok(std::mem::take(&mut self.0).into()),
        }
    }

    /// Takes an id behind its mark, if one is next.
    fn marked(&mut self, mark: char) -> Result<Option<Box<str>>, String> {
        let Some(rest) = self.0.strip_prefix(mark) else { return Ok(None) };
        self.0 = rest;
        self.next().map(|it| Some(it.into()))
    }

    /// Takes `NAME:` behind a keyword, if that is next.
    fn named(&mut self, keyword: &str) -> Result<Option<String>, String> {
        let Some(rest) = self.0.strip_prefix(keyword) else { return Ok(None) };
        self.0 = rest;
        if let Some(name) = self.json_string()? {
            let rest =
                self.0.strip_prefix(':').ok_or_else(|| format!("`:` should follow {name:?}"))?;
            self.0 = rest.trim_start();
            return Ok(Some(name));
        }
        let word = self.next()?;
        let name = word.strip_suffix(':').ok_or_else(|| format!("`:` should follow `{word}`"))?;
        Ok(Some(name.to_owned()))
    }

    /// Takes every `KEY=VALUE` that is left.
    fn pairs(
        &mut self,
        mut take: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        while !self.0.is_empty() {
            let (key, rest) = self
                .0
                .split_once('=')
                .ok_or_else(|| format!("`{}` should have the form KEY=VALUE", self.0))?;
            let key: &'a str = key;
            self.0 = rest;
            let value = self.next()?;
            take(key, &value)?;
        }
        Ok(())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Advance(at) => writeln!(f, "{} advance", offset(*at))?,
                Step::Event(event) => {
                    write!(f, "{}", offset(event.at))?;
                    if event.session.as_str() != SESSION {
                        write!(f, " session {}:", quoted(event.session.as_str()))?;
                    }
                    if let Some(agent) = &event.agent {
                        write!(f, " agent {}:", quoted(agent.as_str()))?;
                    }
                    write_kind(&event.kind, f)?;
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}

fn write_kind(kind: &EventKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        EventKind::SessionStart(start) => {
            f.write_str(" session_start")?;
            write_pair("cwd", start.cwd.as_deref(), f)?;
            write_pair("model", start.model.as_deref(), f)?;
            write_pair("version", start.version.as_deref(), f)?;
            write_pair("parent", start.parent.as_ref().map(SessionId::as_str), f)?;
            for (key, value) in &start.labels {
                write_pair(&format!("label.{key}"), Some(value), f)?;
            }
            Ok(())
        }
        EventKind::Prompt { text, synthetic: true } => write!(f, " synthetic {}", json(text)),
        EventKind::Prompt { text, synthetic: false } => write!(f, " prompt {}", json(text)),
        EventKind::Message { text, delta: true } => write!(f, " delta {}", json(text)),
        EventKind::Message { text, delta: false } => write!(f, " message {}", json(text)),
        EventKind::Thinking { text } => write!(f, " thinking {}", json(text)),
        EventKind::ModelCall(ModelCall { id, model, tokens, cost_usd, .. }) => {
            let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
                tokens;
            write!(f, " usage input={input} output={output} cache_read={cache_read}")?;
            write!(f, " cache_write={cache_write} reasoning={reasoning}")?;
            if *cache_write_1h != 0 {
                write!(f, " cache_write_1h={cache_write_1h}")?;
            }
            write_pair("id", id.as_deref(), f)?;
            write_pair("model", model.as_deref(), f)?;
            cost_usd.map_or(Ok(()), |it| write!(f, " cost={it}"))
        }
        EventKind::ToolCall(call) => {
            write!(f, " call #{} {}", quoted(&call.id), quoted(&call.tool))?;
            if let Some(response) = &call.response {
                write!(f, " @{}", quoted(response))?;
            }
            match call.arguments.as_str() {
                "null" => Ok(()),
                // JSON may have line breaks between its tokens.
                text if text.contains(['\n', '\r']) => write!(f, " {}", call.arguments.to_value()),
                text => write!(f, " {text}"),
            }
        }
        EventKind::ToolResult(result) => {
            let status = match (result.ok, result.cause) {
                (true, _) => "ok",
                (false, Some(Cause::Declined)) => "declined",
                (false, Some(Cause::Sibling)) => "sibling",
                (false, Some(Cause::Interrupted)) => "interrupted",
                (false, Some(Cause::Timeout)) => "timeout",
                (false, _) => "fail",
            };
            write!(f, " result #{} {status}", quoted(&result.id))?;
            if let Some(code) = result.exit_code {
                write!(f, " exit {code}")?;
            }
            result.output.as_deref().map_or(Ok(()), |it| write!(f, " {}", json(it)))
        }
        EventKind::Waiting(what) => write!(f, " wait {}", waited_for(*what)),
        EventKind::Resumed(what) => write!(f, " resume {}", waited_for(*what)),
        EventKind::Error { message, retry } => {
            f.write_str(" error ")?;
            if let Some(retry) = retry {
                write!(f, "retry={retry} ")?;
            }
            write!(f, "{}", json(message))
        }
        EventKind::Compaction { before_tokens, after_tokens } => {
            f.write_str(" compaction")?;
            before_tokens.map_or(Ok(()), |it| write!(f, " before={it}"))?;
            after_tokens.map_or(Ok(()), |it| write!(f, " after={it}"))
        }
        EventKind::Handoff { to } => write!(f, " handoff {}", json(to)),
        EventKind::SessionEnd { reason: Some(reason) } => {
            write!(f, " session_end {}", json(reason))
        }
        other => write!(f, " {}", other.name()),
    }
}

fn write_pair(key: &str, value: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.map_or(Ok(()), |it| write!(f, " {key}={}", quoted(it)))
}

const fn waited_for(what: WaitingFor) -> &'static str {
    match what {
        WaitingFor::Permission => "permission",
        WaitingFor::Person => "person",
    }
}

/// A word as it is, and anything else as a JSON string.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { json(text) }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(all(test, feature = "laws"))]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::Trace;
    use crate::events;

    fn error(text: &str) -> String {
        text.parse::<Trace>().expect_err("it should be refused").to_string()
    }

    #[test]
    fn mistakes_are_shown_with_line_and_word() {
        assert_snapshot!(error("0s prompt hello\n\n5 call bash ls"), @"line 3: `5` is no time; write it like `30s`, `5m` or `1h30m`");
        assert_snapshot!(error("0s turn-end"), @"line 1: `turn-end` is no event; there are session_start, prompt, synthetic, message, delta, thinking, usage, call, result, wait, resume, turn_end, error, compaction, handoff, agent_start, agent_end and session_end");
        assert_snapshot!(error("0s call bash ls\n1s result ok\n2s result ok"), @"line 3: no call waits for this `result`; name one: `result #ID`");
        assert_snapshot!(error("0s usage inptu=1"), @"line 1: `inptu` is unknown; use id, model, input, output, cache_read, cache_write, reasoning, cache_write_1h or cost");
        assert_snapshot!(error("0s usage input=many"), @"line 1: `many` is no number for `input`");
        assert_snapshot!(error("0s repeat 3: call bash ls"), @"line 1: `3` should be a number and a time, as in `4 every 5s`");
        assert_snapshot!(error("0s agent a1 message hi"), @"line 1: `:` should follow `a1`");
        assert_snapshot!(error("0s wait godot"), @"line 1: `godot` is nothing to wait for; use permission or person");
        assert_snapshot!(error("0s call"), @"line 1: it ends too early");
    }

    #[test]
    fn what_is_short_to_write_is_long_to_read() {
        let trace: Trace = "
            # Two rounds, and another agent between them.
            1m    repeat 2 every 5s: call Bash make ;; result fail exit 2 no rule
            +1s   session s2: agent a1: call #x Read @r1 {\"path\": \"a b\"}
            +1s   session s2: agent a1: result
            advance 1h
        "
        .parse()
        .expect("every line is an event");
        assert_snapshot!(trace, @r#"
        1m call #c1 Bash "make"
        1m result #c1 fail exit 2 "no rule"
        1m5s call #c2 Bash "make"
        1m5s result #c2 fail exit 2 "no rule"
        1m6s session s2: agent a1: call #x Read @r1 {"path": "a b"}
        1m7s session s2: agent a1: result #x ok
        1h1m7s advance
        "#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(events in events()) {
            let trace = Trace::from(events);
            let written = trace.to_string();
            prop_assert_eq!(written.parse::<Trace>(), Ok(trace), "{}", written);
        }
    }
}
