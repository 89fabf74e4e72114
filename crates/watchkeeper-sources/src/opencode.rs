//! opencode: the output of `opencode export <session>`.
//!
//! An export is one JSON object: `{"info": {…}, "messages": [{"info": {…},
//! "parts": […]}, …]}`. A message of the assistant is one model response, with its
//! calls and their results.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use memchr::memchr;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, Source, SourceKind, ToolCall,
    ToolClass, ToolResult,
    author::{Cause, EventSink, SessionStart, Tokens},
    register_source,
};

use crate::{
    document::{Document, LineCounter, Part as DocumentPart, Wanted, compact},
    json::{Malformed, Reader, Text, decode, member, set_once},
    targets,
    tool_names::ToolNames,
};

/// Reads the sessions that opencode exports.
#[derive(Debug)]
pub struct Opencode {
    document: Document,
    thread: Thread,
}

/// The exported session.
#[derive(Debug)]
struct Thread {
    session: SessionId,
    /// The sub-agent of this export.
    agent: Option<AgentId>,
    has_started: bool,
    start: SessionStart,
    /// The number of messages so far.
    n_messages: u64,
    latest: Option<Timestamp>,
    tools: ToolNames,
}

static WANTED: Wanted = Wanted {
    lists: &["messages"],
    members: &["info"],
    is_loose: false,
    // On some systems, the output of the command begins with its progress.
    has_preface: true,
};

register_source!(Opencode);

impl SourceKind for Opencode {
    const KIND: &'static str = "opencode";
    const DOCS: &'static str = include_str!("../docs/opencode.md");
    const FILES: &'static [&'static str] = &["*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let Some(start) = memchr(b'{', head) else { return false };
        let mut info = Info::default();
        // The head may be incomplete. Its first fields are enough.
        let _: Result<bool, Malformed> =
            Reader::new(&head[start..]).object(|reader, key| match key {
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

/// The fields of a session or a message that are used.
#[derive(Default)]
struct Info<'a> {
    id: Option<Text<'a>>,
    created: Option<Timestamp>,
    completed: Option<Timestamp>,
    // Fields of a session.
    parent: Option<Text<'a>>,
    directory: Option<Text<'a>>,
    version: Option<Text<'a>>,
    // Fields of a message.
    role: Option<Text<'a>>,
    model: Option<Text<'a>>,
    finish: Option<Text<'a>>,
    is_summary: bool,
    used: Used<'a>,
    error: Option<Failure<'a>>,
}

/// The usage of a model response.
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
    /// The offset of the part in the message.
    at: usize,
    kind: Option<Text<'a>>,
    text: Option<Text<'a>>,
    is_synthetic: bool,
    /// The start and the end of the part.
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

/// The state of a call.
#[derive(Default)]
struct State<'a> {
    status: Option<Text<'a>>,
    input: Option<&'a [u8]>,
    output: Option<Text<'a>>,
    error: Option<Text<'a>>,
    /// The offset of the output or the error.
    result_at: usize,
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
                b"start" | b"created" => set_once(&mut self.start, time(reader)?),
                b"end" => set_once(&mut self.end, time(reader)?),
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
                b"id" => set_once(&mut self.id, reader.text()?),
                b"parentID" => set_once(&mut self.parent, reader.text()?),
                b"directory" => set_once(&mut self.directory, reader.text()?),
                b"version" => set_once(&mut self.version, reader.text()?),
                b"role" => set_once(&mut self.role, reader.text()?),
                b"modelID" => set_once(&mut self.model, reader.text()?),
                b"finish" => set_once(&mut self.finish, reader.text()?),
                b"summary" => self.is_summary |= reader.flag()? == Some(true),
                b"cost" => set_once(&mut self.used.cost, reader.number()?),
                b"tokens" => self.used.tokens = read_tokens(reader)?,
                b"error" => set_once(&mut self.error, read_error(reader)?),
                b"time" => {
                    reader.object(|reader, key| {
                        match key {
                            b"created" => set_once(&mut self.created, time(reader)?),
                            b"completed" => set_once(&mut self.completed, time(reader)?),
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
    let (mut tokens, mut total) = (Tokens::default(), None);
    reader.object(|reader, key| {
        match key {
            b"total" => set_once(&mut total, reader.count()?),
            b"input" => tokens.input = reader.count()?.unwrap_or(0),
            b"output" => tokens.output = reader.count()?.unwrap_or(0),
            b"reasoning" => tokens.reasoning = reader.count()?.unwrap_or(0),
            b"cache" => {
                reader.object(|reader, key| {
                    match key {
                        b"read" => tokens.cache_read = reader.count()?.unwrap_or(0),
                        b"write" => tokens.cache_write = reader.count()?.unwrap_or(0),
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
    if total == Some(tokens.total().saturating_add(tokens.reasoning)) {
        tokens.output = tokens.output.saturating_add(tokens.reasoning);
    }
    Ok(tokens)
}

fn read_error<'a>(reader: &mut Reader<'a>) -> Result<Option<Failure<'a>>, Malformed> {
    let mut failure = Failure::default();
    let is_object = reader.object(|reader, key| {
        match key {
            b"name" => set_once(&mut failure.name, reader.text()?),
            b"data" => {
                reader.object(|reader, key| {
                    match key {
                        b"message" => set_once(&mut failure.message, reader.text()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.pass()?,
        }
        Ok(())
    })?;
    Ok(is_object.then_some(failure))
}

impl<'a> Message<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut message = Self::default();
        let mut reader = Reader::new(text);
        let is_object = reader.object(|reader, key| {
            match key {
                b"info" => message.info.read(reader)?,
                b"parts" => {
                    reader.array(|reader| {
                        message.parts.push(Part::read(reader)?);
                        Ok(())
                    })?;
                }
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        reader.end()?;
        if is_object { Ok(message) } else { Err("not a JSON object") }
    }
}

impl<'a> Part<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.peek()?;
        let mut part = Self { at: reader.here(), ..Self::default() };
        reader.object(|reader, key| {
            match key {
                b"type" => set_once(&mut part.kind, reader.text()?),
                b"text" | b"prompt" => set_once(&mut part.text, reader.text()?),
                b"synthetic" => part.is_synthetic |= reader.flag()? == Some(true),
                b"time" => part.time.read(reader)?,
                b"callID" => set_once(&mut part.call, reader.text()?),
                b"tool" => set_once(&mut part.tool, reader.text()?),
                b"state" => part.state.read(reader)?,
                b"tokens" => {
                    let used = part.used.get_or_insert_default();
                    used.tokens = read_tokens(reader)?;
                }
                b"cost" => {
                    let used = part.used.get_or_insert_default();
                    set_once(&mut used.cost, reader.number()?);
                }
                b"attempt" => set_once(&mut part.attempt, reader.count()?),
                b"error" => set_once(&mut part.error, read_error(reader)?),
                _ => reader.pass()?,
            }
            Ok(())
        })?;
        Ok(part)
    }

    fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|it| it.is(kind))
    }
}

impl<'a> State<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        reader.object(|reader, key| {
            match key {
                b"status" => set_once(&mut self.status, reader.text()?),
                b"input" => set_once(&mut self.input, Some(reader.skip()?)),
                b"output" | b"error" => {
                    reader.peek()?;
                    self.result_at = reader.here();
                    let slot = if key == b"output" { &mut self.output } else { &mut self.error };
                    set_once(slot, reader.text()?);
                }
                b"time" => self.time.read(reader)?,
                b"metadata" => {
                    reader.object(|reader, key| {
                        match key {
                            b"exit" => set_once(&mut self.exit_code, reader.number()?),
                            b"sessionId" => set_once(&mut self.session, reader.text()?),
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

/// An event with its line.
struct LocatedEvent {
    at: Timestamp,
    line: u64,
    kind: EventKind,
    /// The agent of the event, if it is not the agent of the export.
    agent: Option<AgentId>,
}

/// The events of a message, in the order of its parts.
struct MessageEvents<'a> {
    lines: LineCounter<'a>,
    now: Timestamp,
    events: Vec<LocatedEvent>,
}

impl MessageEvents<'_> {
    fn push(&mut self, at: Option<Timestamp>, offset: usize, kind: EventKind) {
        self.now = at.unwrap_or(self.now);
        let line = self.lines.line_of(offset);
        self.events.push(LocatedEvent { at: self.now, line, kind, agent: None });
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

    /// Records `key` for this session, and returns whether it is new.
    fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(owner.and(key))
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
        let mut events = MessageEvents { lines: part.lines(), now, events: Vec::new() };
        sink.at_line(events.lines.line_of(0));
        self.start(now, sink);
        match info.role.map(Text::raw) {
            Some(b"user") => read_prompt(message, &mut events),
            Some(b"assistant") => self.read_response(message, &mut events, sink),
            _ => return Err("no role"),
        }
        let mut events = events.events;
        // Parallel calls end in any order.
        events.sort_by_key(|event| event.at);
        for (nth, event) in (0_u64..).zip(events) {
            // When the file is read again, a pending call may have ended. The events
            // after it then have other positions.
            let key = match &event.kind {
                EventKind::ToolCall(call) => Fingerprint::of(call.id.as_bytes()),
                EventKind::ToolResult(result) => Fingerprint::of(result.id.as_bytes()),
                _ => Fingerprint::from(nth),
            };
            let name = Fingerprint::of(event.kind.name());
            let key = Fingerprint::from(self.n_messages).and(name).and(key);
            self.latest = self.latest.max(Some(event.at));
            if self.is_new(key, sink) {
                sink.at_line(event.line);
                let agent = event.agent.as_ref().or(self.agent.as_ref());
                sink.event(event.at, &self.session, agent, event.kind);
            }
        }
        Ok(())
    }

    fn read_response(
        &mut self,
        message: &Message<'_>,
        events: &mut MessageEvents<'_>,
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
                        events.push(end.or(start), part.at, kind);
                    }
                }
                b"reasoning" => {
                    let text = part.text.map(Text::boxed).unwrap_or_default();
                    events.push(end.or(start), part.at, EventKind::Thinking { text });
                }
                b"tool" => {
                    // The response precedes its calls.
                    if let Some(usage) = usage.take().flatten() {
                        events.push(part.state.time.start, part.at, usage);
                    }
                    // Anonymized exports have the same id for all calls.
                    let id = part.call.map(Text::read).unwrap_or_default();
                    let is_first = ids.insert(Fingerprint::of(id.as_bytes()));
                    let id = if is_first { id.into() } else { format!("{response}/{nth}").into() };
                    self.read_call(id, part, &response, events);
                }
                b"retry" => {
                    let retry = part.attempt.and_then(|it| u32::try_from(it).ok()).or(Some(0));
                    let message = part.error.unwrap_or_default().into_message();
                    events.push(start, part.at, EventKind::Error { message, retry });
                }
                b"compaction" => events.push(start, part.at, COMPACTION),
                b"agent" | b"file" | b"patch" | b"snapshot" | b"step-finish" | b"step-start"
                | b"subtask" => {}
                _ => sink.skip_part("unknown type of part"),
            }
        }
        let latest = events.events.iter().map(|it| it.at).max();
        let end = info.completed.max(latest);
        let offset = message.parts.last().map_or(0, |it| it.at);
        if let Some(usage) = usage.flatten() {
            events.push(end, offset, usage);
        }
        if let Some(error) = info.error {
            let was_stopped = error.name.is_some_and(|it| it.is("MessageAbortedError"));
            let kind = if was_stopped {
                EventKind::TurnEnd
            } else {
                EventKind::Error { message: error.into_message(), retry: None }
            };
            events.push(end, offset, kind);
        } else if info.finish.is_some_and(|it| !it.is("tool-calls") && !it.is("unknown"))
            && !info.is_summary
        {
            events.push(end, offset, EventKind::TurnEnd);
        }
    }

    /// Returns the usage of a response: the sum over its steps, or its own total.
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
        // The usage is zero or not yet written.
        if tokens.total() == 0 && cost_usd <= 0.0 {
            return None;
        }
        Some(EventKind::ModelCall(ModelCall {
            id: Some(id.into()),
            model: message.info.model.map(Text::boxed),
            tokens,
            cost_usd: Some(cost_usd).filter(|it| 0.0 < *it),
            ..ModelCall::default()
        }))
    }

    fn read_call(
        &mut self,
        id: Box<str>,
        part: &Part<'_>,
        response: &str,
        events: &mut MessageEvents<'_>,
    ) {
        let state = &part.state;
        let name = part.tool.map_or_else(|| "unknown".into(), Text::read);
        let (tool, class) = self.tools.get(&name, class);
        let volatile = volatile(&tool);
        let input = compact(&decode(state.input.unwrap_or(b"null")));
        let arguments = Json::parse_or_text(&input);
        let mut call = ToolCall::of_class(id.clone(), tool, arguments, Some(class), volatile);
        call.response = Some(response.into());
        if &*call.tool == "apply_patch" {
            let mut patch = None;
            let read = Reader::new(input.as_bytes())
                .object(|reader, key| member(reader, key, b"patchText", &mut patch));
            if let (Ok(true), Some(patch)) = (read, patch) {
                call = call.with_targets(targets::of_patch(&patch.read()));
            }
        }
        events.push(state.time.start, part.at, EventKind::ToolCall(call));
        if let Some(result) = result(id, state) {
            events.push(state.time.end, state.result_at, EventKind::ToolResult(result));
            if let (ToolClass::Delegate, Some(session)) = (class, state.session) {
                events.push(None, state.result_at, EventKind::AgentEnd);
                if let Some(event) = events.events.last_mut() {
                    event.agent = Some(AgentId::from(session.read().as_ref()));
                }
            }
        }
    }
}

const COMPACTION: EventKind = EventKind::Compaction { before_tokens: None, after_tokens: None };

/// Reads a prompt of a person, or of opencode in a person's place.
fn read_prompt(message: &Message<'_>, events: &mut MessageEvents<'_>) {
    let texts = |is_synthetic: bool| {
        let parts = message.parts.iter().filter(move |it| it.is_synthetic == is_synthetic);
        let texts: Vec<_> = parts.filter_map(|it| it.text).map(Text::read).collect();
        texts.join("\n")
    };
    for part in message.parts.iter().filter(|it| it.is("compaction")) {
        events.push(None, part.at, COMPACTION);
    }
    let from_person = message.parts.iter().find(|it| !it.is_synthetic && it.text.is_some());
    let Some(part) = from_person.or_else(|| message.parts.iter().find(|it| it.text.is_some()))
    else {
        return;
    };
    let synthetic = part.is_synthetic;
    let kind = EventKind::Prompt { text: texts(synthetic).into(), synthetic };
    events.push(None, part.at, kind);
}

impl Failure<'_> {
    fn into_message(self) -> Box<str> {
        self.message.or(self.name).map(Text::boxed).unwrap_or_default()
    }
}

/// Returns the result of a call that has ended.
fn result(id: Box<str>, state: &State<'_>) -> Option<ToolResult> {
    let has_completed = match state.status.map(Text::raw) {
        Some(b"completed") => true,
        Some(b"error") => false,
        _ => return None,
    };
    let output = if has_completed { state.output } else { state.error.or(state.output) };
    let output = output.map(Text::boxed);
    let exit_code = state.exit_code.and_then(|it| it.parse::<i32>().ok());
    let text = output.as_deref().unwrap_or_default();
    let cause = cause(text, has_completed).filter(|_| exit_code.is_none_or(|it| it != 0));
    let ok = has_completed && exit_code.is_none_or(|it| it == 0) && cause.is_none();
    let mut result = ToolResult::new(id, ok, output);
    (result.exit_code, result.cause) = (exit_code, cause);
    Some(result)
}

/// Returns the cause of a failed result that the tool did not return itself.
fn cause(output: &str, has_completed: bool) -> Option<Cause> {
    const DECLINED: &[&str] = &["The user rejected permission", "The user dismissed this question"];
    if has_completed {
        // opencode appends the reason why it stopped a command to the output.
        let (_, metadata) = output.rsplit_once("<bash_metadata>")?;
        if metadata.contains("exceeding timeout") {
            Some(Cause::Timeout)
        } else if metadata.contains("User aborted") {
            Some(Cause::Interrupted)
        } else {
            None
        }
    } else if output.starts_with("Tool execution aborted") {
        Some(Cause::Interrupted)
    } else if DECLINED.iter().any(|it| output.starts_with(it)) {
        Some(Cause::Declined)
    } else if output.starts_with("The user has specified a rule which prevents") {
        Some(Cause::Blocked)
    } else {
        None
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "question" | "plan_exit" | "plan_enter" => Some(ToolClass::Ask),
        "invalid" => Some(ToolClass::Other),
        _ => None,
    }
}

/// Returns the arguments that do not change what a call does.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "bash" => &["description", "timeout"],
        "task" => &["description"],
        _ => &[],
    }
}
