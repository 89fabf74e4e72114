//! opencode: what `opencode export <session>` prints.
//!
//! An export is one JSON object: `{"info": {…}, "messages": [{"info": {…},
//! "parts": […]}, …]}`. A message of the assistant is one answer of the model,
//! with the calls it made and what became of them.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, Cause, EventKind, EventSink, Fingerprint, Json, ModelCall, SessionId, SessionStart,
    Source, SourceKind, Tokens, ToolCall, ToolClass, ToolResult, register_source,
};

use crate::{
    document::{Document, LineCounter, Part as DocumentPart, Wanted, compact},
    json::{Malformed, Reader, Text, decode, keep},
    tool_names::ToolNames,
};

/// Reads the sessions that opencode exports.
#[derive(Debug)]
pub struct Opencode {
    document: Document,
    thread: Thread,
}

/// The session that an export is of.
#[derive(Debug)]
struct Thread {
    session: SessionId,
    /// The sub-agent whose export this is.
    agent: Option<AgentId>,
    has_started: bool,
    start: SessionStart,
    /// How many messages were read.
    n_messages: u64,
    latest: Option<Timestamp>,
    tools: ToolNames,
}

static WANTED: Wanted = Wanted { lists: &["messages"], members: &["info"], is_loose: false };

register_source!(Opencode);

impl SourceKind for Opencode {
    const KIND: &'static str = "opencode";
    const DOCS: &'static str = include_str!("../docs/opencode.md");
    const FILES: &'static [&'static str] = &["*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let mut info = Info::default();
        // The head may be cut, and what was read of it still tells.
        let _: Result<bool, Malformed> = Reader::new(head).object(|reader, key| match key {
            b"info" => info.read(reader),
            _ => reader.pass(),
        });
        info.id.is_some_and(is_session)
    }

    fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
        Self {
            document: Document::new(&WANTED),
            thread: Thread {
                session: SessionId::from(stem.as_ref()),
                agent: None,
                has_started: false,
                start: SessionStart::default(),
                n_messages: 0,
                latest: None,
                tools: ToolNames::default(),
            },
        }
    }
}

fn is_session(id: Text<'_>) -> bool {
    id.raw().starts_with(b"ses_")
}

/// What is said of a session or of a message, as far as it is wanted.
#[derive(Default)]
struct Info<'a> {
    id: Option<Text<'a>>,
    created: Option<Timestamp>,
    completed: Option<Timestamp>,
    // Of a session.
    parent: Option<Text<'a>>,
    directory: Option<Text<'a>>,
    version: Option<Text<'a>>,
    // Of a message.
    role: Option<Text<'a>>,
    model: Option<Text<'a>>,
    finish: Option<Text<'a>>,
    is_summary: bool,
    used: Used<'a>,
    error: Option<Failure<'a>>,
}

/// What an answer of the model used.
#[derive(Clone, Copy, Default)]
struct Used<'a> {
    tokens: Tokens,
    cost: Option<&'a str>,
}

#[derive(Clone, Copy, Default)]
struct Failure<'a> {
    name: Option<Text<'a>>,
    message: Option<Text<'a>>,
}

#[derive(Default)]
struct Message<'a> {
    info: Info<'a>,
    parts: Vec<Part<'a>>,
}

/// A part of a message: the fields of all kinds.
#[derive(Default)]
struct Part<'a> {
    /// Where in the message it stands.
    at: usize,
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    is_synthetic: bool,
    /// When it began, and when it ended.
    time: Span,
    call: Option<Text<'a>>,
    tool: Option<Text<'a>>,
    state: State<'a>,
    used: Option<Used<'a>>,
    attempt: Option<u64>,
    error: Option<Failure<'a>>,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

/// What became of a call.
#[derive(Default)]
struct State<'a> {
    status: Option<Text<'a>>,
    input: Option<&'a [u8]>,
    output: Option<Text<'a>>,
    error: Option<Text<'a>>,
    /// Where the output stands, or the error.
    answer_at: usize,
    time: Span,
    exit_code: Option<&'a str>,
    /// The session of the sub-agent that was called.
    session: Option<Text<'a>>,
}

fn time(reader: &mut Reader<'_>) -> Result<Option<Timestamp>, Malformed> {
    let millis = reader.count()?.and_then(|it| i64::try_from(it).ok());
    Ok(millis.and_then(|it| Timestamp::from_millisecond(it).ok()))
}

impl Span {
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"start" | b"created" => keep(&mut self.start, time(reader)?),
                b"end" => keep(&mut self.end, time(reader)?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl<'a> Info<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"id" => keep(&mut self.id, reader.text()?),
                b"parentID" => keep(&mut self.parent, reader.text()?),
                b"directory" => keep(&mut self.directory, reader.text()?),
                b"version" => keep(&mut self.version, reader.text()?),
                b"role" => keep(&mut self.role, reader.text()?),
                b"modelID" => keep(&mut self.model, reader.text()?),
                b"finish" => keep(&mut self.finish, reader.text()?),
                b"summary" => self.is_summary |= reader.flag()? == Some(true),
                b"cost" => keep(&mut self.used.cost, reader.number()?),
                b"tokens" => self.used.tokens = read_tokens(reader)?,
                b"error" => keep(&mut self.error, read_error(reader)?),
                b"time" => {
                    reader.object(|reader, key| {
                        match key {
                            b"created" => keep(&mut self.created, time(reader)?),
                            b"completed" => keep(&mut self.completed, time(reader)?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn read_tokens(reader: &mut Reader<'_>) -> Result<Tokens, Malformed> {
    let (mut res, mut total) = (Tokens::default(), None);
    reader.object(|reader, key| {
        match key {
            b"total" => keep(&mut total, reader.count()?),
            b"input" => res.input = reader.count()?.unwrap_or(0),
            b"output" => res.output = reader.count()?.unwrap_or(0),
            b"reasoning" => res.reasoning = reader.count()?.unwrap_or(0),
            b"cache" => {
                reader.object(|reader, key| {
                    match key {
                        b"read" => res.cache_read = reader.count()?.unwrap_or(0),
                        b"write" => res.cache_write = reader.count()?.unwrap_or(0),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    // Whether output includes reasoning depends on the version.
    if total == Some(res.total().saturating_add(res.reasoning)) {
        res.output = res.output.saturating_add(res.reasoning);
    }
    Ok(res)
}

fn read_error<'a>(reader: &mut Reader<'a>) -> Result<Option<Failure<'a>>, Malformed> {
    let mut res = Failure::default();
    let is_object = reader.object(|reader, key| {
        match key {
            b"name" => keep(&mut res.name, reader.text()?),
            b"data" => {
                reader.object(|reader, key| {
                    match key {
                        b"message" => keep(&mut res.message, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    Ok(is_object.then_some(res))
}

impl<'a> Message<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut res = Self::default();
        let mut reader = Reader::new(text);
        let is_object = reader.object(|reader, key| {
            match key {
                b"info" => res.info.read(reader)?,
                b"parts" => {
                    reader.array(|reader| {
                        res.parts.push(Part::read(reader)?);
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        reader.end()?;
        if is_object { Ok(res) } else { Err("not a JSON object") }
    }
}

impl<'a> Part<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.peek()?;
        let mut res = Self { at: reader.here(), ..Self::default() };
        reader.object(|reader, key| {
            match key {
                b"type" => keep(&mut res.kind, reader.text()?),
                b"text" | b"prompt" => keep(&mut res.text, reader.text()?),
                b"synthetic" => res.is_synthetic |= reader.flag()? == Some(true),
                b"time" => res.time.read(reader)?,
                b"callID" => keep(&mut res.call, reader.text()?),
                b"tool" => keep(&mut res.tool, reader.text()?),
                b"state" => res.state.read(reader)?,
                b"tokens" => {
                    let used = res.used.get_or_insert_default();
                    used.tokens = read_tokens(reader)?;
                }
                b"cost" => {
                    let used = res.used.get_or_insert_default();
                    keep(&mut used.cost, reader.number()?);
                }
                b"attempt" => keep(&mut res.attempt, reader.count()?),
                b"error" => keep(&mut res.error, read_error(reader)?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(res)
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|it| it.is(kind))
    }
}

impl<'a> State<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"status" => keep(&mut self.status, reader.text()?),
                b"input" => keep(&mut self.input, Some(reader.skip()?)),
                b"output" | b"error" => {
                    reader.peek()?;
                    self.answer_at = reader.here();
                    let slot = if key == b"output" { &mut self.output } else { &mut self.error };
                    keep(slot, reader.text()?);
                }
                b"time" => self.time.read(reader)?,
                b"metadata" => {
                    reader.object(|reader, key| {
                        match key {
                            b"exit" => keep(&mut self.exit_code, reader.number()?),
                            b"sessionId" => keep(&mut self.session, reader.text()?),
                            _ => reader.pass()?,
                        }
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Something that happened, and the line at which it stands.
struct Told {
    at: Timestamp,
    line: u64,
    kind: EventKind,
    /// The agent that it happened in, if it is not the one that speaks.
    agent: Option<AgentId>,
}

/// What a message tells, in the order in which it is written.
struct Story<'a> {
    lines: LineCounter<'a>,
    now: Timestamp,
    told: Vec<Told>,
}

impl Story<'_> {
    fn tell(&mut self, at: Option<Timestamp>, offset: usize, kind: EventKind) {
        self.now = at.unwrap_or(self.now);
        let line = self.lines.line_of(offset);
        self.told.push(Told { at: self.now, line, kind, agent: None });
    }
}

impl Source for Opencode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let thread = &mut self.thread;
        self.document.read_line(line, sink, |part, sink| thread.read(part, sink));
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.document.end(sink);
    }
}

impl Thread {
    fn read(&mut self, part: &DocumentPart<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        if part.is_entry() {
            let message = Message::read(part.text)?;
            self.read_message(&message, part, sink)
        } else {
            let mut info = Info::default();
            info.read(&mut Reader::new(part.text))?;
            sink.at_line(part.lines().line_of(0));
            self.read_session(&info, sink);
            Ok(())
        }
    }

    fn read_session(&mut self, info: &Info<'_>, sink: &mut EventSink<'_>) {
        if self.has_started {
            return;
        }
        let id = info.id.map(Text::read);
        match (info.parent.filter(|it| is_session(*it)), id) {
            (Some(parent), Some(id)) => {
                self.session = SessionId::from(parent.read().as_ref());
                self.agent = Some(AgentId::from(id.as_ref()));
            }
            (None, Some(id)) => self.session = SessionId::from(id.as_ref()),
            (_, None) => {}
        }
        self.start.cwd = info.directory.map(Text::boxed);
        self.start.version = info.version.map(Text::boxed);
        if let Some(at) = info.created {
            self.latest = Some(at);
            self.start(at, sink);
        }
    }

    fn start(&mut self, at: Timestamp, sink: &mut EventSink<'_>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let kind = match self.agent {
            Some(_) => EventKind::AgentStart,
            None => EventKind::SessionStart(std::mem::take(&mut self.start)),
        };
        if self.is_new(Fingerprint::of("start"), sink) {
            sink.event(at, &self.session, self.agent.as_ref(), kind);
        }
    }

    /// Whether something is told for the first time.
    fn is_new(&self, what: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let whose = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(whose.and(what))
    }

    fn read_message(
        &mut self,
        message: &Message<'_>,
        part: &DocumentPart<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        self.n_messages += 1;
        let info = &message.info;
        let now = info.created.or(self.latest).ok_or("no time")?;
        let mut story = Story { lines: part.lines(), now, told: Vec::new() };
        sink.at_line(story.lines.line_of(0));
        self.start(now, sink);
        match info.role.map(Text::raw) {
            Some(b"user") => read_prompt(message, &mut story),
            Some(b"assistant") => self.read_answer(message, &mut story, sink),
            _ => return Err("no role"),
        }
        let mut told = story.told;
        // Calls that are made side by side end in any order.
        told.sort_by_key(|it| it.at);
        for (nth, it) in (0_u64..).zip(told) {
            // A call that was under way may have ended by the next time, and
            // then other things follow it.
            let which = match &it.kind {
                EventKind::ToolCall(call) => Fingerprint::of(call.id.as_bytes()),
                EventKind::ToolResult(result) => Fingerprint::of(result.id.as_bytes()),
                _ => Fingerprint::from(nth),
            };
            let what =
                Fingerprint::from(self.n_messages).and(Fingerprint::of(it.kind.name())).and(which);
            self.latest = self.latest.max(Some(it.at));
            if self.is_new(what, sink) {
                sink.at_line(it.line);
                let agent = it.agent.as_ref().or(self.agent.as_ref());
                sink.event(it.at, &self.session, agent, it.kind);
            }
        }
        Ok(())
    }

    fn read_answer(
        &mut self,
        message: &Message<'_>,
        story: &mut Story<'_>,
        sink: &mut EventSink<'_>,
    ) {
        let info = &message.info;
        let id = info.id.filter(|it| it.raw().starts_with(b"msg_")).map(Text::read);
        let response = id.clone().unwrap_or_else(|| self.n_messages.to_string().into());
        let mut usage = Some(self.usage(message, &response));
        let mut ids = BTreeSet::new();
        for (nth, part) in message.parts.iter().enumerate() {
            let (start, end) = (part.time.start, part.time.end);
            match part.kind.map(Text::raw).unwrap_or_default() {
                b"text" => {
                    let text = part.text.map(Text::boxed).unwrap_or_default();
                    if !text.trim().is_empty() {
                        let kind = EventKind::Message { text, delta: false };
                        story.tell(end.or(start), part.at, kind);
                    }
                }
                b"reasoning" => {
                    let text = part.text.map(Text::boxed).unwrap_or_default();
                    story.tell(end.or(start), part.at, EventKind::Thinking { text });
                }
                b"tool" => {
                    // The model has answered before its calls are made.
                    if let Some(usage) = usage.take().flatten() {
                        story.tell(part.state.time.start, part.at, usage);
                    }
                    // Exports that were made anonymous have one id for all.
                    let id = part.call.map(Text::read).unwrap_or_default();
                    let is_first = ids.insert(Fingerprint::of(id.as_bytes()));
                    let id = if is_first { id.into() } else { format!("{response}/{nth}").into() };
                    self.read_call(id, part, &response, story);
                }
                b"retry" => {
                    let retry = part.attempt.and_then(|it| u32::try_from(it).ok()).or(Some(0));
                    let message = part.error.unwrap_or_default().told();
                    story.tell(start, part.at, EventKind::Error { message, retry });
                }
                b"compaction" => story.tell(start, part.at, COMPACTION),
                b"agent" | b"file" | b"patch" | b"snapshot" | b"step-finish" | b"step-start"
                | b"subtask" => {}
                _ => sink.skip_part("unknown type of part"),
            }
        }
        let latest = story.told.iter().map(|it| it.at).max();
        let end = info.completed.max(latest);
        let offset = message.parts.last().map_or(0, |it| it.at);
        if let Some(usage) = usage.flatten() {
            story.tell(end, offset, usage);
        }
        if let Some(error) = info.error {
            let was_stopped = error.name.is_some_and(|it| it.is("MessageAbortedError"));
            let kind = if was_stopped {
                EventKind::TurnEnd
            } else {
                EventKind::Error { message: error.told(), retry: None }
            };
            story.tell(end, offset, kind);
        } else if info.finish.is_some_and(|it| !it.is("tool-calls") && !it.is("unknown"))
            && !info.is_summary
        {
            story.tell(end, offset, EventKind::TurnEnd);
        }
    }

    /// What an answer used: as its steps say, or else as it says itself.
    fn usage(&self, message: &Message<'_>, id: &str) -> Option<EventKind> {
        let cost = |it: Used<'_>| it.cost.and_then(|it| it.parse::<f64>().ok());
        let steps = || message.parts.iter().filter(|it| it.is("step-finish"));
        let mut tokens =
            steps().filter_map(|it| it.used).fold(Tokens::default(), |sum, it| sum.plus(it.tokens));
        let mut cost_usd = steps().filter_map(|it| cost(it.used?)).sum();
        if tokens.total() == 0 {
            tokens = message.info.used.tokens;
            cost_usd = cost(message.info.used).unwrap_or(0.0);
        }
        // Nothing was used, or nothing is known of it yet.
        if tokens.total() == 0 && cost_usd <= 0.0 {
            return None;
        }
        Some(EventKind::ModelCall(ModelCall {
            id: Some(id.into()),
            model: message.info.model.map(Text::boxed),
            tokens,
            cost_usd: Some(cost_usd).filter(|it| 0.0 < *it),
        }))
    }

    fn read_call(&mut self, id: Box<str>, part: &Part<'_>, response: &str, story: &mut Story<'_>) {
        let state = &part.state;
        let name = part.tool.map_or_else(|| "unknown".into(), Text::read);
        let (tool, class) = self.tools.get(&name, class);
        let volatile = volatile(&tool);
        let input = compact(&decode(state.input.unwrap_or(b"null")));
        let arguments = Json::parse_or_text(&input);
        let mut call = ToolCall::of_class(id.clone(), tool, arguments, Some(class), volatile);
        call.response = Some(response.into());
        story.tell(state.time.start, part.at, EventKind::ToolCall(call));
        if let Some(result) = result(id, state) {
            story.tell(state.time.end, state.answer_at, EventKind::ToolResult(result));
            if let (ToolClass::Delegate, Some(session)) = (class, state.session) {
                story.tell(None, state.answer_at, EventKind::AgentEnd);
                if let Some(it) = story.told.last_mut() {
                    it.agent = Some(AgentId::from(session.read().as_ref()));
                }
            }
        }
    }
}

const COMPACTION: EventKind = EventKind::Compaction { before_tokens: None, after_tokens: None };

/// What a person said, or what opencode said in a person's place.
fn read_prompt(message: &Message<'_>, story: &mut Story<'_>) {
    let texts = |is_synthetic: bool| {
        let parts = message.parts.iter().filter(move |it| it.is_synthetic == is_synthetic);
        let texts: Vec<_> = parts.filter_map(|it| it.text).map(Text::read).collect();
        texts.join("\n")
    };
    for part in message.parts.iter().filter(|it| it.is("compaction")) {
        story.tell(None, part.at, COMPACTION);
    }
    let spoken = message.parts.iter().find(|it| !it.is_synthetic && it.text.is_some());
    let Some(part) = spoken.or_else(|| message.parts.iter().find(|it| it.text.is_some())) else {
        return;
    };
    let synthetic = part.is_synthetic;
    let kind = EventKind::Prompt { text: texts(synthetic).into(), synthetic };
    story.tell(None, part.at, kind);
}

impl Failure<'_> {
    fn told(self) -> Box<str> {
        self.message.or(self.name).map(Text::boxed).unwrap_or_default()
    }
}

/// What a tool answered, if it has.
fn result(id: Box<str>, state: &State<'_>) -> Option<ToolResult> {
    let has_completed = match state.status.map(Text::raw) {
        Some(b"completed") => true,
        Some(b"error") => false,
        _ => return None,
    };
    let output = if has_completed { state.output } else { state.error.or(state.output) };
    let output = output.map(Text::boxed);
    let exit_code = state.exit_code.and_then(|it| it.parse::<i32>().ok());
    let said = output.as_deref().unwrap_or_default();
    let cause = cause(said, has_completed).filter(|_| exit_code.is_none_or(|it| it != 0));
    let ok = has_completed && exit_code.is_none_or(|it| it == 0) && cause.is_none();
    let mut result = ToolResult::new(id, ok, output);
    (result.exit_code, result.cause) = (exit_code, cause);
    Some(result)
}

/// Why an answer is not the tool's own.
fn cause(output: &str, has_completed: bool) -> Option<Cause> {
    const DECLINED: &[&str] = &[
        "The user rejected permission",
        "The user has specified a rule which prevents",
        "The user dismissed this question",
    ];
    if has_completed {
        // opencode writes below what a command printed why it stopped it.
        let (_, told) = output.rsplit_once("<bash_metadata>")?;
        if told.contains("exceeding timeout") {
            Some(Cause::Timeout)
        } else if told.contains("User aborted") {
            Some(Cause::Interrupted)
        } else {
            None
        }
    } else if output.starts_with("Tool execution aborted") {
        Some(Cause::Interrupted)
    } else if DECLINED.iter().any(|it| output.starts_with(it)) {
        Some(Cause::Declined)
    } else {
        None
    }
}

/// What a tool does to the world, where its name misleads.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "question" | "plan_exit" | "plan_enter" => Some(ToolClass::Ask),
        "invalid" => Some(ToolClass::Other),
        _ => None,
    }
}

/// The arguments that say nothing of what a tool is asked.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "bash" => &["description", "timeout"],
        "task" => &["description"],
        _ => &[],
    }
}
