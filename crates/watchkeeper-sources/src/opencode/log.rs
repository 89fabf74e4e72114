//! The event log in the database.
//!
//! opencode changes messages and their parts in place while a response arrives, and adds each
//! change to a log. A row has the new state of a session, a message or a part.

use std::collections::BTreeMap;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{Database, EventSink, SessionStart, Tokens},
};

use super::{
    calls::{call, called_agent, result},
    content::{Content, model_call},
    events::UNKNOWN_PART,
    message::{CallState, Info, Part, Session, Usage},
};
use crate::{
    json::{Malformed, Millis, Raw, Text, object, parse},
    recent::Recent,
    tool_names::ToolNames,
};

pub(super) const DATABASE: Database = Database {
    tables: &["event", "event_sequence", "session"],
    // The first row also has the number of sessions from before the log.
    rows: "SELECT rowid, iif(octet_length(data) <= ?2, \
           '{\"type\":' || json_quote(type) \
           || iif(rowid = (SELECT min(rowid) FROM event), ',\"unlogged\":' || (SELECT count(*) \
           FROM session WHERE id NOT IN (SELECT aggregate_id FROM event_sequence)), '') \
           || ',\"data\":' || data || '}', NULL) \
           FROM event WHERE ?1 < rowid ORDER BY rowid",
    start: "SELECT coalesce((SELECT min(rowid) - 1 FROM event WHERE aggregate_id IN \
            (SELECT id FROM session WHERE ?1 <= time_updated)), (SELECT max(rowid) FROM event))",
};

/// The first bytes of a row.
pub(super) const START: &[u8] = b"{\"type\":\"";

/// The first bytes of the first row.
pub(super) const FIRST: &[u8] = b"{\"type\":\"session.created.";

/// The largest number of prompts whose parts are collected.
const MAX_PROMPTS: usize = 64;
/// The largest number of parts of a prompt.
const MAX_PARTS: usize = 256;
/// The largest number of sessions from before the log that are counted.
const MAX_UNLOGGED: u64 = 1 << 16;

object! {
    struct Row<'a> {
        b"type" => kind: Text<'a>,
        b"unlogged" => n_unlogged: u64,
        b"data" => change: Change<'a>,
    }
}

object! {
    pub(super) struct Change<'a> {
        b"sessionID" => session: Text<'a>,
        /// A session or a message.
        b"info" => info: Raw<'a>,
        b"part" => part: Part<'a>,
        b"time" => at: Millis,
    }
}

/// The memory of an event log, or of a stream.
#[derive(Debug, Default)]
pub(super) struct Log {
    sessions: Recent<Owner>,
    messages: Recent<MessageState>,
    /// The prompts whose parts are still being written, by session.
    prompts: BTreeMap<Fingerprint, Prompt>,
    tools: ToolNames,
}

/// The session and the agent of events.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    session: SessionId,
    agent: Option<AgentId>,
    /// The time of the latest row.
    latest: Timestamp,
}

/// A prompt, or a response and its usage so far.
#[derive(Clone, Debug, Default)]
struct MessageState {
    is_prompt: bool,
    model: Option<Box<str>>,
    tokens: Tokens,
    cost_usd: f64,
    /// The latest step whose usage is included.
    step: Option<Fingerprint>,
}

#[derive(Debug)]
struct Prompt {
    message: Fingerprint,
    owner: Owner,
    at: Timestamp,
    line: u64,
    parts: Vec<PromptPart>,
}

#[derive(Debug)]
struct PromptPart {
    id: Fingerprint,
    text: Box<str>,
    is_synthetic: bool,
}

/// The receiver of the events of one row.
pub(super) struct RowSink<'r, 's> {
    pub(super) owner: Owner,
    pub(super) sink: &'r mut EventSink<'s>,
}

impl RowSink<'_, '_> {
    /// Emits an event unless it was read before. `key` identifies it among those of its kind.
    pub(super) fn emit(&mut self, at: Option<Millis>, key: Fingerprint, kind: EventKind) {
        let at = at.map_or(self.owner.latest, |at| at.0);
        let name = Fingerprint::of(kind.name());
        if self.sink.is_new(key.and(name)) {
            self.sink.event(at, &self.owner.session, self.owner.agent.as_ref(), kind);
        }
    }
}

impl Log {
    pub(super) fn read_row(
        &mut self,
        line: &[u8],
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let row: Row<'_> = parse(line)?;
        for _ in 0..row.n_unlogged.unwrap_or(0).min(MAX_UNLOGGED) {
            sink.skip_part("session from before the event log");
        }
        let kind = row.kind.ok_or("no type")?.read();
        let change = row.change.ok_or("no data")?;
        // The last part of the type is its version.
        match kind.rsplit_once('.').map(|(kind, _)| kind) {
            Some("session.created" | "session.updated") => self.read_session(&change, sink),
            Some("message.updated") => self.read_message(&change, sink),
            Some("message.part.updated") => self.read_part(&change, sink),
            Some("message.removed" | "message.part.removed" | "session.deleted") => Ok(()),
            _ => {
                sink.skip_part("unknown type of event");
                Ok(())
            }
        }
    }

    fn read_session(
        &mut self,
        change: &Change<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let session: Session<'_> = parse(change.info.ok_or("no session")?.0)?;
        let id = session.id.ok_or("no session")?.read();
        let times = session.time.as_ref();
        let at = times.and_then(|times| times.updated.or(times.start)).ok_or("no time")?;
        self.end_prompt(Fingerprint::of(&*id), sink);
        self.owner(&id, Some(&session), at.0, sink);
        Ok(())
    }

    /// Returns the owner of the events of a session, and emits its start if it is unknown.
    pub(super) fn owner(
        &mut self,
        id: &str,
        session: Option<&Session<'_>>,
        at: Timestamp,
        sink: &mut EventSink<'_>,
    ) -> Owner {
        let key = Fingerprint::of(id);
        let known = self.sessions.get(key).cloned();
        let is_known = known.is_some();
        let mut owner = known.unwrap_or_else(|| {
            let parent = session.and_then(Session::parent).map(Text::read);
            let agent = parent.as_ref().map(|_| AgentId::from(id));
            let of_parent = |parent: &str| match self.sessions.get(Fingerprint::of(parent)) {
                Some(owner) => owner.session.clone(),
                None => SessionId::from(parent),
            };
            let session = parent.map_or_else(|| SessionId::from(id), |parent| of_parent(&parent));
            Owner { session, agent, latest: at }
        });
        owner.latest = owner.latest.max(at);
        self.sessions.insert(key, owner.clone());
        if !is_known {
            let start = match owner.agent {
                Some(_) => {
                    let parent = session.and_then(Session::parent).map(Text::read);
                    let parent = parent.and_then(|id| self.sessions.get(Fingerprint::of(&*id)));
                    EventKind::AgentStart { parent: parent.and_then(|parent| parent.agent.clone()) }
                }
                None => EventKind::SessionStart(SessionStart {
                    cwd: session.and_then(|it| it.directory).map(Text::boxed),
                    version: session.and_then(|it| it.version).map(Text::boxed),
                    ..SessionStart::default()
                }),
            };
            RowSink { owner: owner.clone(), sink }.emit(Some(Millis(at)), key, start);
        }
        owner
    }

    fn read_message(
        &mut self,
        change: &Change<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let info: Info<'_> = parse(change.info.ok_or("no message")?.0)?;
        let session = change.session.ok_or("no session")?.read();
        let id = info.id.ok_or("no message")?.read();
        let times = info.time.as_ref();
        let created = times.and_then(|times| times.start).ok_or("no time")?;
        let completed = times.and_then(|times| times.end);
        let is_prompt = match info.role.map(Text::raw) {
            Some(b"user") => true,
            Some(b"assistant") => false,
            _ => return Err("no role"),
        };
        let key = Fingerprint::of(&*id);
        if !is_prompt {
            self.end_prompt(Fingerprint::of(&*session), sink);
        }
        let owner = self.owner(&session, None, completed.unwrap_or(created).0, sink);
        let mut state = self.messages.get(key).cloned().unwrap_or_default();
        state.is_prompt = is_prompt;
        state.model = info.model.map(Text::boxed).or(state.model);
        if !is_prompt && (completed.is_some() || info.error.is_some()) {
            let row = &mut RowSink { owner, sink };
            if state.tokens.total() == 0 {
                let tokens = info.usage.as_ref().map(Usage::tokens).unwrap_or_default();
                let cost_usd = info.cost_usd.unwrap_or(0.0);
                if let Some(kind) = model_call(&id, state.model.clone(), tokens, cost_usd) {
                    row.emit(completed, key, kind);
                }
            }
            if let Some(kind) = info.ending() {
                row.emit(completed, key, kind);
            }
        }
        self.messages.insert(key, state);
        Ok(())
    }

    pub(super) fn read_part(
        &mut self,
        change: &Change<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let session = change.session.ok_or("no session")?.read();
        let part = change.part.as_ref().ok_or("no part")?;
        let at = change.at.ok_or("no time")?;
        let message = part.message.ok_or("no message")?.read();
        let key = Fingerprint::of(part.id.ok_or("no part")?.raw());
        let owner = self.owner(&session, None, at.0, sink);
        let state = self.messages.get(Fingerprint::of(&*message)).cloned().unwrap_or_default();
        if state.is_prompt && !part.is("compaction") {
            self.add_to_prompt(&session, &message, part, owner, sink);
            return Ok(());
        }
        let row = &mut RowSink { owner, sink };
        if part.is("tool") {
            self.read_call(part, &message, key, row);
        } else if part.is("step-finish") {
            self.read_usage(part, &message, key, state, row);
        } else {
            let times = part.time.as_ref();
            let end = times.and_then(|times| times.end);
            match part.content() {
                // A text is written at its start, which is empty, and at its end.
                Some(Content::Spoken(kind)) if end.is_some() => row.emit(end, key, kind),
                Some(Content::Noted(kind)) => row.emit(Some(at), key, kind),
                Some(Content::Spoken(_) | Content::Empty) => {}
                None => row.sink.skip_part(UNKNOWN_PART),
            }
        }
        Ok(())
    }

    /// Reads a call that has started, and its result if it has ended.
    fn read_call(
        &mut self,
        part: &Part<'_>,
        message: &str,
        key: Fingerprint,
        row: &mut RowSink<'_, '_>,
    ) {
        let unknown = CallState::default();
        let state = part.state.as_ref().unwrap_or(&unknown);
        if state.status.is_none_or(|status| status.is("pending")) {
            // Its arguments are not complete.
            return;
        }
        let times = state.time.as_ref();
        let id = part.call.map(Text::boxed).unwrap_or_default();
        let call = call(id.clone(), part, message, &mut self.tools);
        let class = call.class;
        row.emit(times.and_then(|times| times.start), key, EventKind::ToolCall(call));
        let Some(result) = result(id, state) else { return };
        let end = times.and_then(|times| times.end);
        row.emit(end, key, EventKind::ToolResult(result));
        if let Some(agent) = called_agent(class, state) {
            let owner = Owner { agent: Some(agent), ..row.owner.clone() };
            RowSink { owner, sink: row.sink }.emit(end, key, EventKind::AgentEnd);
        }
    }

    /// Adds the usage of a step to its response.
    fn read_usage(
        &mut self,
        part: &Part<'_>,
        message: &str,
        key: Fingerprint,
        mut state: MessageState,
        row: &mut RowSink<'_, '_>,
    ) {
        if state.step.replace(key) == Some(key) {
            return;
        }
        let tokens = part.usage.as_ref().map(Usage::tokens).unwrap_or_default();
        state.tokens = state.tokens.plus(tokens);
        state.cost_usd += part.cost_usd.unwrap_or(0.0).max(0.0);
        if let Some(kind) = model_call(message, state.model.clone(), state.tokens, state.cost_usd) {
            row.emit(None, key, kind);
        }
        self.messages.insert(Fingerprint::of(message), state);
    }

    fn add_to_prompt(
        &mut self,
        session: &str,
        message: &str,
        part: &Part<'_>,
        owner: Owner,
        sink: &mut EventSink<'_>,
    ) {
        let (session, message) = (Fingerprint::of(session), Fingerprint::of(message));
        let (Some(text), Some(id)) = (part.text, part.id) else { return };
        if self.prompts.get(&session).is_some_and(|prompt| prompt.message != message) {
            self.end_prompt(session, sink);
        }
        if MAX_PROMPTS <= self.prompts.len() && !self.prompts.contains_key(&session) {
            self.end_prompts(sink);
        }
        let (at, line) = (owner.latest, sink.line());
        let parts = Vec::new();
        let prompt = Prompt { message, owner, at, line, parts };
        let prompt = self.prompts.entry(session).or_insert(prompt);
        let id = Fingerprint::of(id.raw());
        let part = PromptPart { id, text: text.boxed(), is_synthetic: part.is_synthetic() };
        if let Some(written) = prompt.parts.iter_mut().find(|part| part.id == id) {
            *written = part;
        } else if prompt.parts.len() < MAX_PARTS {
            prompt.parts.push(part);
        }
    }

    /// Emits the prompt of a session whose parts were collected.
    fn end_prompt(&mut self, session: Fingerprint, sink: &mut EventSink<'_>) {
        let Some(Prompt { message, owner, at, line, parts }) = self.prompts.remove(&session) else {
            return;
        };
        let synthetic = parts.iter().all(|part| part.is_synthetic);
        let of_author = parts.iter().filter(|part| part.is_synthetic == synthetic);
        let texts: Vec<&str> = of_author.map(|part| &*part.text).collect();
        let kind = EventKind::Prompt { text: texts.join("\n").into(), synthetic };
        let latest_line = sink.line();
        sink.at_line(line);
        RowSink { owner, sink }.emit(Some(Millis(at)), message, kind);
        sink.at_line(latest_line);
    }

    /// Emits all prompts whose parts were collected.
    pub(super) fn end_prompts(&mut self, sink: &mut EventSink<'_>) {
        while let Some((session, _)) = self.prompts.first_key_value() {
            self.end_prompt(*session, sink);
        }
    }
}
