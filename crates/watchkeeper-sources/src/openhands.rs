//! OpenHands: `~/.openhands/conversations/<conversation>/events/event-*.json`.
//!
//! Each event is one JSON object in its own file, in a line of a file, or in a list: a
//! trajectory, or the `history` of a benchmark task. There are two generations of
//! events. Events of the SDK have a `kind`. Earlier events have an `action` or an
//! `observation`.

mod entry;
mod sdk;
mod state;
mod trajectory;

use std::path::{Path, PathBuf};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, Source, SourceKind, ToolCall,
    ToolClass, ToolResult,
    author::{Cause, Environment, EventSink, SessionStart, untimed},
    register_source,
};

use self::{
    entry::{Entry, Used},
    state::State,
};
use crate::{
    document::{Document, LineCounter, Part, PartKind, Wanted, compact},
    json::{Malformed, Reader, Text, decode, set_once},
    targets,
    tool_names::ToolNames,
};

/// Reads the sessions of OpenHands.
#[derive(Debug)]
pub struct OpenHands {
    document: Document,
    conversation: Conversation,
}

/// The current conversation.
#[derive(Debug)]
struct Conversation {
    names: Names,
    /// The time zone of times without one.
    zone: TimeZone,
    session: SessionId,
    /// The sub-agent of this file.
    agent: Option<AgentId>,
    /// The chain of active sub-agents. Each waits for the next one.
    delegates: Vec<AgentId>,
    start: SessionStart,
    has_started: bool,
    /// Whether the events are in a list that has not ended.
    is_in_list: bool,
    /// The benchmark task of the current list.
    task: Option<Task>,
    n_entries: u64,
    latest: Option<Timestamp>,
    /// The total usage so far, if it is known.
    totals: Option<Used>,
    /// The total usage so far, by purpose of the model.
    purposes: Vec<(Box<[u8]>, Used)>,
    /// The latest model response.
    latest_response: Option<Fingerprint>,
    /// The latest call, for observations without the id of a call.
    latest_call: Option<Box<str>>,
    /// The time of the current entry.
    now: Timestamp,
    /// Whether the current entry was not read before.
    is_unread: bool,
    /// Whether the end of the turn was emitted.
    is_turn_over: bool,
    /// Whether the agent waits for permission.
    is_waiting: bool,
    tools: ToolNames,
}

/// The names of sessions that follow from the path of a file.
#[derive(Debug)]
struct Names {
    /// The session of a file with a whole session.
    file: SessionId,
    /// The prefix of the names of tasks in the file.
    run: String,
    /// The session of a file with one event.
    folder: SessionId,
    agent: Option<AgentId>,
    has_one_event: bool,
    is_state: bool,
}

/// A benchmark task.
#[derive(Debug, Default)]
struct Task {
    name: Option<String>,
    error: Option<Box<str>>,
}

static WANTED: Wanted = Wanted {
    lists: &["history", "trajectory"],
    members: &["error", "instance_id", "issue", "metadata"],
    is_loose: true,
    has_preface: false,
};

/// The name of the file with the state of a conversation of the SDK.
const STATE: &str = "base_state.json";
/// The largest number of nested delegates.
const MAX_DELEGATES: usize = 16;
/// The largest number of purposes of models.
const MAX_PURPOSES: usize = 16;

register_source!(OpenHands);

impl SourceKind for OpenHands {
    const KIND: &'static str = "openhands";
    const DOCS: &'static str = include_str!("../docs/openhands.md");
    const FILES: &'static [&'static str] = &["*.json", "*.jsonl", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        let mut reader = Reader::new(head);
        match reader.peek() {
            Ok(b'[') => Signs::of_list(&mut reader).is_event(),
            Ok(_) => {
                let signs = Signs::read(&mut reader, true);
                signs.is_event()
                    || signs.is_task()
                    || signs.is_state && path.file_name().is_some_and(|it| it == STATE)
            }
            Err(_) => false,
        }
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let folder = |name| environment(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let home = environment("HOME").map(PathBuf::from);
        let own = folder("OPENHANDS_PERSISTENCE_DIR")
            .or_else(|| home.as_deref().map(|it| it.join(".openhands")));
        let conversations = folder("OPENHANDS_CONVERSATIONS_DIR")
            .or_else(|| own.as_deref().map(|it| it.join("conversations")));
        let mut folders: Vec<PathBuf> = conversations.into_iter().collect();
        if let Some(own) = own {
            // The folders of the server and of versions before the SDK.
            folders.extend([own.join("v1_conversations"), own.join("sessions")]);
        }
        folders.extend(home.map(|it| it.join(".openhands-state/sessions")));
        folders
    }

    fn new(path: &Path) -> Self {
        let names = Names::of(path);
        Self {
            document: Document::new(&WANTED),
            conversation: Conversation {
                session: names.file.clone(),
                names,
                zone: TimeZone::system(),
                agent: None,
                delegates: Vec::new(),
                start: SessionStart::default(),
                has_started: false,
                is_in_list: false,
                task: None,
                n_entries: 0,
                latest: None,
                totals: None,
                purposes: Vec::new(),
                latest_response: None,
                latest_call: None,
                now: Timestamp::UNIX_EPOCH,
                is_unread: false,
                is_turn_over: false,
                is_waiting: false,
                tools: ToolNames::default(),
            },
        }
    }
}

impl Names {
    fn of(path: &Path) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_named =
            |path: &Path, expected: &str| path.file_name().is_some_and(|name| name == expected);
        let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
        let mut folder = path.parent().unwrap_or(path);
        let run = if stem == "output" { name(folder) } else { None };
        let is_page = is_named(folder, "event_cache");
        if is_page || is_named(folder, "events") {
            folder = folder.parent().unwrap_or(folder);
        }
        // The folder of a sub-agent is `<session>/subagents/<agent>`.
        let mut agent = None;
        while let Some(above) = folder.parent().filter(|it| is_named(it, "subagents")) {
            agent = agent.or_else(|| name(folder)).filter(|it| !it.is_empty());
            folder = above.parent().unwrap_or(above);
        }
        let folder = name(folder).unwrap_or_else(|| stem.clone().into_owned());
        let file = if is_page { folder.as_str() } else { &stem };
        Self {
            file: SessionId::from(file),
            run: run.unwrap_or_else(|| stem.clone().into_owned()),
            folder: SessionId::from(folder.as_str()),
            agent: agent.map(AgentId::from),
            has_one_event: path.extension().is_some_and(|it| it == "json"),
            is_state: is_named(path, STATE),
        }
    }
}

/// The features of the beginning of a file.
#[derive(Default)]
struct Signs {
    has_id: bool,
    has_time: bool,
    has_source: bool,
    has_kind: bool,
    /// Whether it contains a list of events.
    has_events: bool,
    has_instruction: bool,
    has_task: bool,
    is_state: bool,
    is_cut: bool,
}

const STOPPED: Malformed = "stopped reading";

impl Signs {
    /// Returns whether the text is an event. The kind may be missing in an incomplete
    /// event.
    fn is_event(&self) -> bool {
        let is_dated = self.has_id && self.has_time && self.has_source;
        is_dated && (self.has_kind || self.is_cut)
    }

    /// Returns whether the text is a benchmark task. The events of a task may begin
    /// after the end of the head.
    fn is_task(&self) -> bool {
        self.has_events || self.has_instruction && self.has_task
    }

    /// Reads an object, and the lists in it if it may be a task.
    fn read(reader: &mut Reader<'_>, may_be_task: bool) -> Self {
        let mut signs = Self::default();
        let result = reader.object(|reader, key| match key {
            b"history" | b"trajectory" if may_be_task => {
                signs.has_events |= Self::of_list(reader).is_event();
                Err(STOPPED)
            }
            _ => signs.read_member(reader, key),
        });
        signs.is_cut = result.is_err();
        signs.is_state &= signs.has_id;
        signs
    }

    fn read_member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"source" => {
                const SOURCES: &[&str] = &["agent", "environment", "hook", "user"];
                let is_known = |source: Text<'_>| SOURCES.iter().any(|name| source.is(name));
                self.has_source |= reader.text()?.is_some_and(is_known);
                return Ok(());
            }
            b"id" => self.has_id = true,
            b"timestamp" => self.has_time |= reader.peek()? == b'"',
            b"kind" | b"action" | b"observation" => {
                self.has_kind |= matches!(reader.peek()?, b'"' | b'{');
            }
            b"instruction" => self.has_instruction = true,
            b"instance_id" | b"issue_type" => self.has_task = true,
            b"agent" | b"workspace" => self.is_state |= reader.peek()? == b'{',
            _ => {}
        }
        reader.pass()
    }

    /// Reads the first object in a list, or in the first list in it.
    fn of_list(reader: &mut Reader<'_>) -> Self {
        let mut first = None;
        let mut read = |reader: &mut Reader<'_>| {
            first = Some(Self::read(reader, false));
            Err(STOPPED)
        };
        // The error only stops the reading.
        let _: Result<bool, Malformed> = reader.array(|reader| {
            if reader.peek()? == b'[' { reader.array(&mut read).map(|_| ()) } else { read(reader) }
        });
        first.unwrap_or_default()
    }
}

impl Source for OpenHands {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let conversation = &mut self.conversation;
        self.document.read_line(line, sink, |part, sink| conversation.read(part, sink));
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.document.end(sink);
    }
}

impl Conversation {
    fn read(&mut self, part: &Part<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        match part.kind {
            PartKind::Whole => {
                self.task = None;
                if self.names.has_one_event {
                    self.go_to(self.names.folder.clone(), self.names.agent.clone());
                } else {
                    self.go_to(self.names.file.clone(), None);
                }
                if self.names.is_state {
                    sink.at_line(part.lines().line_of(0));
                    sdk::read_state(self, &State::read(part.text)?, sink);
                } else {
                    self.read_entry(part, sink)?;
                }
            }
            PartKind::Entry => {
                if !std::mem::replace(&mut self.is_in_list, true) {
                    self.begin_list(sink.line());
                }
                self.read_entry(part, sink)?;
            }
            PartKind::Member(name) => self.read_member(name, part.text)?,
            PartKind::End => self.end_list(sink),
        }
        Ok(())
    }

    fn go_to(&mut self, session: SessionId, agent: Option<AgentId>) {
        if self.session != session || self.agent != agent {
            (self.session, self.agent) = (session, agent);
            self.has_started = false;
        }
    }

    /// Reads a member of a task.
    fn read_member(&mut self, name: &str, text: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(text);
        match name {
            "instance_id" => {
                let name = reader.text()?.map(|it| it.read().into_owned());
                set_once(&mut self.task.get_or_insert_default().name, name);
            }
            "issue" => {
                let (mut owner, mut repo, mut number) = (None, None, None);
                reader.object(|reader, key| {
                    match key {
                        b"owner" => set_once(&mut owner, reader.text()?),
                        b"repo" => set_once(&mut repo, reader.text()?),
                        b"number" => set_once(&mut number, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                let task = self.task.get_or_insert_default();
                if let (Some(owner), Some(repo), Some(number)) = (owner, repo, number) {
                    let (owner, repo) = (owner.read(), repo.read());
                    set_once(&mut task.name, Some(format!("{owner}/{repo}#{number}")));
                }
            }
            "metadata" => {
                self.task.get_or_insert_default();
                reader.object(|reader, key| match key {
                    b"llm_config" | b"llm" => reader
                        .object(|reader, key| {
                            match key {
                                b"model" if self.start.model.is_none() => {
                                    self.start.model = reader.text()?.map(Text::boxed);
                                }
                                _ => reader.pass()?,
                            }
                            Ok(())
                        })
                        .map(|_| ()),
                    _ => reader.pass(),
                })?;
            }
            _ => {
                if let (Some(task), Some(error)) = (&mut self.task, reader.text()?) {
                    let error = error.read();
                    let line = error.lines().find(|it| !it.trim().is_empty());
                    set_once(&mut task.error, line.map(|it| it.trim().into()));
                }
            }
        }
        Ok(())
    }

    fn begin_list(&mut self, line: u64) {
        let session = match &self.task {
            None => self.names.file.clone(),
            Some(task) => {
                let name = task.name.clone().unwrap_or_else(|| line.to_string());
                SessionId::from(format!("{}/{name}", self.names.run))
            }
        };
        self.go_to(session, None);
        self.n_entries = 0;
        self.totals = None;
        self.purposes = Vec::new();
        self.latest = None;
        self.latest_response = None;
        self.latest_call = None;
        self.is_waiting = false;
        self.is_turn_over = false;
        self.has_started = false;
        self.delegates.clear();
    }

    fn end_list(&mut self, sink: &mut EventSink<'_>) {
        let task = self.task.take();
        self.start = SessionStart::default();
        if !std::mem::take(&mut self.is_in_list) {
            return;
        }
        if let Some(task) = task {
            self.delegates.clear();
            self.is_unread = self.is_new(Fingerprint::of("end"), sink);
            self.emit(EventKind::SessionEnd { reason: task.error }, sink);
        }
    }

    /// Records `key` for this conversation, and returns whether it is new.
    fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(owner.and(key))
    }

    fn read_entry(&mut self, part: &Part<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let entry = Entry::read(part.text)?;
        self.n_entries += 1;
        self.now = match entry.timestamp.and_then(|it| self.time(&it.read())) {
            Some(at) => {
                self.latest = Some(at);
                at
            }
            // Old tasks have no times.
            None => self
                .latest
                .unwrap_or_else(|| untimed(u32::try_from(self.n_entries - 1).unwrap_or(u32::MAX))),
        };
        let key = match entry.id {
            Some(id) => {
                let at = entry.timestamp.map(Text::raw).unwrap_or_default();
                Fingerprint::of(id).and(Fingerprint::of(at))
            }
            None => Fingerprint::of(part.text).and(Fingerprint::from(self.n_entries)),
        };
        self.is_unread = self.is_new(key, sink);
        if self.is_in_list && self.n_entries == 1 {
            // Usage since the beginning is known only if the list has the beginning.
            let is_beginning = self.task.is_some() || entry.id == Some(b"0");
            self.totals = is_beginning.then(Used::default);
        }
        let mut lines = part.lines();
        sink.at_line(lines.line_of(0));
        if let Some(kind) = entry.kind {
            sdk::read(self, kind, &entry, &mut lines, sink)
        } else {
            trajectory::read(self, &entry, &mut lines, sink)
        }
    }

    /// Parses a time. Most times are written without a zone.
    fn time(&self, text: &str) -> Option<Timestamp> {
        if let Ok(at) = text.parse() {
            return Some(at);
        }
        let at = text.parse::<DateTime>().ok()?;
        self.zone.to_ambiguous_timestamp(at).compatible().ok()
    }

    /// Emits the start of the session or the sub-agent, once.
    fn begin(&mut self, sink: &mut EventSink<'_>) {
        if self.is_unread
            && !std::mem::replace(&mut self.has_started, true)
            && self.is_new(Fingerprint::of("start"), sink)
        {
            let start = match self.agent {
                Some(_) => EventKind::AgentStart,
                None => EventKind::SessionStart(self.start.clone()),
            };
            sink.event(self.now, &self.session, self.agent.as_ref(), start);
        }
    }

    /// Emits an event, unless the entry was read before.
    fn emit(&mut self, kind: EventKind, sink: &mut EventSink<'_>) {
        let ends_turn = matches!(kind, EventKind::TurnEnd);
        let was_over = std::mem::replace(&mut self.is_turn_over, ends_turn);
        if !self.is_unread || ends_turn && was_over {
            return;
        }
        self.begin(sink);
        let agent = self.delegates.last().or(self.agent.as_ref());
        sink.event(self.now, &self.session, agent, kind);
    }

    /// Emits a message, unless it is empty.
    fn emit_message(&mut self, text: &str, sink: &mut EventSink<'_>) {
        if !text.trim().is_empty() {
            let text = text.trim_end().into();
            self.emit(EventKind::Message { text, delta: false }, sink);
        }
    }

    fn emit_prompt(&mut self, text: Box<str>, synthetic: bool, sink: &mut EventSink<'_>) {
        let synthetic = synthetic || is_nudge(&text);
        self.emit(EventKind::Prompt { text, synthetic }, sink);
    }

    fn emit_call(
        &mut self,
        id: &str,
        (tool, class): (&str, Option<ToolClass>),
        volatile: &[&str],
        entry: &Entry<'_>,
        sink: &mut EventSink<'_>,
    ) {
        let (tool, of_name) = self.tools.get(tool, |_| None);
        let arguments = match (entry.arguments, entry.raw_arguments) {
            (Some(raw), _) => Json::parse_or_text(&compact(&decode(raw))),
            (None, Some(text)) => Json::parse_or_text(&text.read()),
            (None, None) => Json::parse_or_text("null"),
        };
        let class = class.unwrap_or(of_name);
        let mut call = ToolCall::of_class(id, tool, arguments, Some(class), volatile);
        call.response = entry.response.map(Text::boxed);
        // The `command` of an editor or a task tracker is one of its own operations.
        if entry.args.command.is_some()
            && matches!(class, ToolClass::Read | ToolClass::Write | ToolClass::Other)
        {
            let targets = targets::without_command(&call.arguments);
            call = call.with_targets(targets);
        }
        self.emit(EventKind::ToolCall(call), sink);
    }

    fn emit_result(
        &mut self,
        result: ToolResult,
        entry: &Entry<'_>,
        lines: &mut LineCounter<'_>,
        sink: &mut EventSink<'_>,
    ) {
        sink.at_line(lines.line_of(entry.outcome.at));
        self.emit(EventKind::ToolResult(result), sink);
    }

    fn emit_usage(
        &mut self,
        id: Option<Box<str>>,
        model: Option<Text<'_>>,
        used: Used,
        sink: &mut EventSink<'_>,
    ) {
        let (tokens, cost_usd) = (used.tokens(), used.cost_usd());
        if 0 < tokens.total() || cost_usd.is_some() {
            let model = model.map(Text::boxed);
            let call = ModelCall { id, model, tokens, cost_usd, ..ModelCall::default() };
            self.emit(EventKind::ModelCall(call), sink);
        }
    }
}

/// Returns whether a prompt comes from OpenHands or from a benchmark instead of a
/// person.
fn is_nudge(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "Please continue working on the task on whatever approach you think is suitable",
        "The task appears incomplete (iteration ",
        "Your last response did not include a function call or a message",
    ];
    BEGINNINGS.iter().any(|it| text.starts_with(it))
}

/// Returns the result of a call. `failure` extracts the error message of a failed call
/// from the output.
fn result(id: &str, entry: &Entry<'_>, failure: impl Fn(&str) -> Option<&str>) -> ToolResult {
    let outcome = &entry.outcome;
    let output = outcome.content.boxed();
    // A running command has the exit code -1.
    let exit_code = outcome.exit_code.filter(|it| 0 <= *it);
    let suffix = outcome.suffix.map(Text::read).unwrap_or_default();
    let cause = if outcome.has_timed_out || suffix.contains("[The command timed out after") {
        Some(Cause::Timeout)
    } else if suffix.contains("[The command was interrupted by user") {
        Some(Cause::Interrupted)
    } else {
        None
    };
    let failure: Option<Box<str>> = failure(&output).map(Box::from);
    // A call that stops a command succeeds with any exit code.
    let is_stopped = suffix.contains(". CTRL+") && suffix.ends_with(" was sent.]");
    let ok = !outcome.is_error
        && (is_stopped || exit_code.is_none_or(|it| it == 0))
        && cause.is_none()
        && !suffix.contains("is NOT executed")
        && failure.is_none();
    let mut result = ToolResult::new(id, ok, Some(failure.unwrap_or(output)));
    (result.exit_code, result.cause) = (exit_code, cause);
    result
}

/// Returns the class of a command. An empty command waits for the running one.
fn class_of_command(command: Option<Text<'_>>) -> ToolClass {
    let is_empty = command.is_some_and(|it| it.read().trim().is_empty());
    if is_empty { ToolClass::Wait } else { ToolClass::Run }
}
