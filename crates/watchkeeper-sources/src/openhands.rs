//! OpenHands: `~/.openhands/conversations/<conversation>/events/event-*.json`.
//!
//! Each event is one JSON object, and stands in a file of its own, in a line of
//! a file, or in a list: a trajectory, or the `history` of a task of a benchmark.
//! There are two generations of events. Those of the SDK say their `kind`; those
//! before it say which `action` they are, or which `observation`.

mod entry;
mod sdk;
mod state;
mod trajectory;

use std::path::{Path, PathBuf};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use watchkeeper_core::{
    AgentId, Cause, Environment, EventKind, EventSink, Fingerprint, Json, ModelCall, SessionId,
    SessionStart, Source, SourceKind, ToolCall, ToolClass, ToolResult, register_source,
};

use self::{
    entry::{Entry, Used},
    state::State,
};
use crate::{
    document::{Document, LineCounter, Part, Wanted, What, compact},
    json::{Malformed, Reader, Text, decode, keep},
    tool_names::ToolNames,
};

/// Reads the sessions of OpenHands.
#[derive(Debug)]
pub struct OpenHands {
    document: Document,
    conversation: Conversation,
}

/// The conversation that is read.
#[derive(Debug)]
struct Conversation {
    names: Names,
    /// The zone of times that name none.
    zone: TimeZone,
    session: SessionId,
    /// The sub-agent whose file this is.
    agent: Option<AgentId>,
    /// The sub-agents that work for one another, and for whom all else waits.
    delegates: Vec<AgentId>,
    start: SessionStart,
    has_started: bool,
    /// Whether the events are in a list that has not ended.
    is_in_list: bool,
    /// The task of a benchmark, if that is what a list is of.
    task: Option<Task>,
    n_entries: u64,
    latest: Option<Timestamp>,
    /// What all answers used up to here, if that is known.
    totals: Option<Used>,
    /// What all answers used up to here, by what the model is used for.
    purposes: Vec<(Box<[u8]>, Used)>,
    /// The latest answer of the model.
    latest_response: Option<Fingerprint>,
    /// The latest call, for observations that do not say what they answer.
    latest_call: Option<Box<str>>,
    /// When the event that is read happened, and whether it is news.
    now: Timestamp,
    is_news: bool,
    /// Whether the agent was said to rest.
    is_at_rest: bool,
    /// Whether it was said to wait for leave.
    is_waiting: bool,
    tools: ToolNames,
}

/// What a session is called, as far as a path tells.
#[derive(Debug)]
struct Names {
    /// Of the session that a file holds.
    file: SessionId,
    /// What tasks in the file are called after.
    run: String,
    /// Of the session of which a file holds one event.
    folder: SessionId,
    agent: Option<AgentId>,
    has_one_event: bool,
    is_state: bool,
}

/// What is known of a task of a benchmark.
#[derive(Debug, Default)]
struct Task {
    name: Option<String>,
    error: Option<Box<str>>,
}

static WANTED: Wanted = Wanted {
    lists: &["history", "trajectory"],
    members: &["error", "instance_id", "issue", "metadata"],
    is_loose: true,
};

/// The file that holds the state of a conversation of the SDK.
const STATE: &str = "base_state.json";
/// How many agents may work for one another.
const MAX_DELEGATES: usize = 16;
/// For how many purposes models are used.
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
        let mut res: Vec<PathBuf> = conversations.into_iter().collect();
        if let Some(own) = own {
            // The server's, and those of the time before the SDK.
            res.extend([own.join("v1_conversations"), own.join("sessions")]);
        }
        res.extend(home.map(|it| it.join(".openhands-state/sessions")));
        res
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
                is_news: false,
                is_at_rest: false,
                is_waiting: false,
                tools: ToolNames::default(),
            },
        }
    }
}

impl Names {
    fn of(path: &Path) -> Self {
        let name = |it: &Path| it.file_name().map(|it| it.to_string_lossy().into_owned());
        let is_named = |it: &Path, names: &[&str]| {
            it.file_name().is_some_and(|it| names.iter().any(|name| it == *name))
        };
        let stem = path.file_stem().map(|it| it.to_string_lossy()).unwrap_or_default();
        let mut folder = path.parent().unwrap_or(path);
        let run = if stem == "output" { name(folder) } else { None };
        let is_page = is_named(folder, &["event_cache"]);
        if is_page || is_named(folder, &["events"]) {
            folder = folder.parent().unwrap_or(folder);
        }
        // A sub-agent's folder stands in one of its session's folder.
        let mut agent = None;
        while let Some(above) = folder.parent().filter(|it| is_named(it, &["subagents"])) {
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
            is_state: is_named(path, &[STATE]),
        }
    }
}

/// What the beginning of a file tells of it.
#[derive(Default)]
struct Signs {
    has_id: bool,
    has_time: bool,
    has_source: bool,
    has_kind: bool,
    /// There is a list of events in it.
    has_events: bool,
    has_instruction: bool,
    has_task: bool,
    is_state: bool,
    is_cut: bool,
}

const ENOUGH: Malformed = "enough was read";

impl Signs {
    /// Whether it is an event. One that is cut may say too late what it is.
    fn is_event(&self) -> bool {
        let is_dated = self.has_id && self.has_time && self.has_source;
        is_dated && (self.has_kind || self.is_cut)
    }

    /// Whether it is a task of a benchmark, of which there may be more before
    /// its events than is looked at.
    fn is_task(&self) -> bool {
        self.has_events || self.has_instruction && self.has_task
    }

    /// Reads an object, and the lists in it if it may be a task.
    fn read(reader: &mut Reader<'_>, may_be_task: bool) -> Self {
        let mut res = Self::default();
        let result = reader.object(|reader, key| match key {
            b"history" | b"trajectory" if may_be_task => {
                res.has_events |= Self::of_list(reader).is_event();
                Err(ENOUGH)
            }
            _ => res.read_member(reader, key),
        });
        res.is_cut = result.is_err();
        res.is_state &= res.has_id;
        res
    }

    fn read_member(&mut self, reader: &mut Reader<'_>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"source" => {
                const SOURCES: &[&str] = &["agent", "environment", "hook", "user"];
                let is_known = |it: Text<'_>| SOURCES.iter().any(|name| it.is(name));
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
        let mut res = None;
        let mut read = |reader: &mut Reader<'_>| {
            res = Some(Self::read(reader, false));
            Err(ENOUGH)
        };
        // That not all was read is no news.
        let _: Result<bool, Malformed> = reader.array(|reader| {
            if reader.peek()? == b'[' { reader.array(&mut read).map(|_| ()) } else { read(reader) }
        });
        res.unwrap_or_default()
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
        match part.what {
            What::Whole => {
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
            What::Entry => {
                if !std::mem::replace(&mut self.is_in_list, true) {
                    self.begin_list(sink.line());
                }
                self.read_entry(part, sink)?;
            }
            What::Member(name) => self.read_member(name, part.text)?,
            What::End => self.end_list(sink),
        }
        Ok(())
    }

    fn go_to(&mut self, session: SessionId, agent: Option<AgentId>) {
        if self.session != session || self.agent != agent {
            (self.session, self.agent) = (session, agent);
            self.has_started = false;
        }
    }

    /// Reads what is said of a task.
    fn read_member(&mut self, name: &str, text: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(text);
        match name {
            "instance_id" => {
                let name = reader.text()?.map(|it| it.read().into_owned());
                keep(&mut self.task.get_or_insert_default().name, name);
            }
            "issue" => {
                let (mut owner, mut repo, mut number) = (None, None, None);
                reader.object(|reader, key| {
                    match key {
                        b"owner" => keep(&mut owner, reader.text()?),
                        b"repo" => keep(&mut repo, reader.text()?),
                        b"number" => keep(&mut number, reader.count()?),
                        _ => reader.pass()?,
                    }
                    Ok(())
                })?;
                let task = self.task.get_or_insert_default();
                if let (Some(owner), Some(repo), Some(number)) = (owner, repo, number) {
                    let (owner, repo) = (owner.read(), repo.read());
                    keep(&mut task.name, Some(format!("{owner}/{repo}#{number}")));
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
                    keep(&mut task.error, line.map(|it| it.trim().into()));
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
        self.is_at_rest = false;
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
            self.is_news = self.is_new(Fingerprint::of("end"), sink);
            self.tell(EventKind::SessionEnd { reason: task.error }, sink);
        }
    }

    /// Whether something is told for the first time.
    fn is_new(&self, what: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let whose = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(whose.and(what))
    }

    fn read_entry(&mut self, part: &Part<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let entry = Entry::read(part.text)?;
        self.n_entries += 1;
        self.now = match entry.timestamp.and_then(|it| self.time(&it.read())) {
            Some(at) => {
                self.latest = Some(at);
                at
            }
            // Old tasks say nothing of when things happened.
            None => self.latest.unwrap_or_else(|| {
                let secs = i64::try_from(self.n_entries - 1).unwrap_or(i64::MAX);
                Timestamp::from_second(secs).unwrap_or(Timestamp::MAX)
            }),
        };
        let which = match entry.id {
            Some(id) => {
                let at = entry.timestamp.map(Text::raw).unwrap_or_default();
                Fingerprint::of(id).and(Fingerprint::of(at))
            }
            None => Fingerprint::of(part.text).and(Fingerprint::from(self.n_entries)),
        };
        self.is_news = self.is_new(which, sink);
        if self.is_in_list && self.n_entries == 1 {
            // The first answer is known only where the beginning is.
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

    /// When something happened. Times are mostly written without a zone.
    fn time(&self, text: &str) -> Option<Timestamp> {
        if let Ok(at) = text.parse() {
            return Some(at);
        }
        let at = text.parse::<DateTime>().ok()?;
        self.zone.to_ambiguous_timestamp(at).compatible().ok()
    }

    /// Tells that the session began, or the sub-agent, if that is news.
    fn begin(&mut self, sink: &mut EventSink<'_>) {
        if self.is_news
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

    /// Tells what happened, if that is news.
    fn tell(&mut self, kind: EventKind, sink: &mut EventSink<'_>) {
        let rests = matches!(kind, EventKind::TurnEnd);
        let was_at_rest = std::mem::replace(&mut self.is_at_rest, rests);
        if !self.is_news || rests && was_at_rest {
            return;
        }
        self.begin(sink);
        let agent = self.delegates.last().or(self.agent.as_ref());
        sink.event(self.now, &self.session, agent, kind);
    }

    /// Tells what the agent said, if it said anything.
    fn tell_message(&mut self, text: &str, sink: &mut EventSink<'_>) {
        if !text.trim().is_empty() {
            let text = text.trim_end().into();
            self.tell(EventKind::Message { text, delta: false }, sink);
        }
    }

    fn tell_prompt(&mut self, text: Box<str>, synthetic: bool, sink: &mut EventSink<'_>) {
        let synthetic = synthetic || is_nudge(&text);
        self.tell(EventKind::Prompt { text, synthetic }, sink);
    }

    fn tell_call(
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
        self.tell(EventKind::ToolCall(call), sink);
    }

    fn tell_result(
        &mut self,
        result: ToolResult,
        entry: &Entry<'_>,
        lines: &mut LineCounter<'_>,
        sink: &mut EventSink<'_>,
    ) {
        sink.at_line(lines.line_of(entry.outcome.at));
        self.tell(EventKind::ToolResult(result), sink);
    }

    fn tell_usage(
        &mut self,
        id: Option<Box<str>>,
        model: Option<Text<'_>>,
        used: Used,
        sink: &mut EventSink<'_>,
    ) {
        let (tokens, cost_usd) = (used.tokens(), used.cost_usd());
        if 0 < tokens.total() || cost_usd.is_some() {
            let call = ModelCall { id, model: model.map(Text::boxed), tokens, cost_usd };
            self.tell(EventKind::ModelCall(call), sink);
        }
    }
}

/// Whether OpenHands, or who runs a benchmark, says something in a person's
/// place.
fn is_nudge(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "Please continue working on the task on whatever approach you think is suitable",
        "The task appears incomplete (iteration ",
        "Your last response did not include a function call or a message",
    ];
    BEGINNINGS.iter().any(|it| text.starts_with(it))
}

/// What became of a call, and what its answer says; `failure` is what it says of
/// a failure, if that is what it is of.
fn result(id: &str, entry: &Entry<'_>, failure: impl Fn(&str) -> Option<&str>) -> ToolResult {
    let outcome = &entry.outcome;
    let output = outcome.content.boxed();
    // A command that has not ended has none.
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
    // To stop a command is to do what was asked, whatever code it ends with.
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

/// The class of a tool that runs commands: one without a command waits for what
/// runs already.
fn class_of_command(command: Option<Text<'_>>) -> ToolClass {
    let is_empty = command.is_some_and(|it| it.read().trim().is_empty());
    if is_empty { ToolClass::Wait } else { ToolClass::Run }
}
