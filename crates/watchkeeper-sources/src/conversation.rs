//! The events of a conversation, for the sources of agents that store messages.
//!
//! Most agents store a list of messages, as lines or in one document, with the text, the calls
//! and the results in each. A [`Conversation`] knows the session, the time and the open calls,
//! and emits the events. A source begins an [entry](Conversation::begin) for each line or message
//! and passes on what the entry contains.

use std::{collections::VecDeque, path::Path};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, ToolCall, ToolClass, ToolResult,
    author::{EventSink, SessionStart, Tokens, untimed},
};

use crate::{json::Text, tool_names::ToolNames};

/// The largest number of calls without a result that are remembered.
const MAX_OPEN_CALLS: usize = 64;

/// The session of a file, and its state.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) start: SessionStart,
    session: SessionId,
    agent: Option<AgentId>,
    has_started: bool,
    /// Whether the agent replaces the file, so that entries are read again.
    is_rewritten: bool,
    /// The time of the current entry.
    now: Timestamp,
    has_times: bool,
    /// The number of entries without a time, in a file without times.
    n_untimed: u32,
    /// The key of the current entry.
    entry: Fingerprint,
    n_entries: u64,
    /// The number of events of the current entry.
    n_events: u64,
    /// The ids of the latest calls without a result, oldest first, and whether the agent
    /// assigned them.
    open_calls: VecDeque<(Box<str>, bool)>,
    tools: ToolNames,
    class: fn(&str) -> Option<ToolClass>,
    /// The time zone of times without one.
    zone: TimeZone,
}

impl Conversation {
    /// Creates the conversation of a file. The session has the name of the file.
    pub(crate) fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        Self::of_session(&SessionId::from(stem.as_ref()))
    }

    /// Creates the conversation of a session.
    pub(crate) fn of_session(session: &SessionId) -> Self {
        Self {
            start: SessionStart::default(),
            session: session.clone(),
            agent: None,
            has_started: false,
            is_rewritten: false,
            now: untimed(0),
            has_times: false,
            n_untimed: 0,
            entry: Fingerprint::default(),
            n_entries: 0,
            n_events: 0,
            open_calls: VecDeque::new(),
            tools: ToolNames::default(),
            class: |_| None,
            zone: TimeZone::system(),
        }
    }

    /// Creates the conversation of a file that the agent replaces as a whole.
    pub(crate) fn of_rewritten(path: &Path) -> Self {
        Self { is_rewritten: true, ..Self::new(path) }
    }

    /// Sets the classes of tools whose names are misleading.
    pub(crate) fn with_classes(self, class: fn(&str) -> Option<ToolClass>) -> Self {
        Self { class, ..self }
    }

    /// Names the session, unless it has started.
    pub(crate) fn identify(&mut self, session: &str) {
        if !self.has_started && !session.is_empty() {
            self.session = SessionId::from(session);
        }
    }

    /// Sets the sub-agent whose conversation this is, unless it has started.
    pub(crate) fn set_agent(&mut self, agent: &str) {
        if !self.has_started && !agent.is_empty() {
            self.agent = Some(AgentId::from(agent));
        }
    }

    /// Reads a time, which is a time of this machine if it has no zone.
    pub(crate) fn time(&self, text: Text<'_>) -> Option<Timestamp> {
        let local = || text.read().parse::<DateTime>().ok()?.to_zoned(self.zone.clone()).ok();
        text.time().or_else(|| local().map(|local| local.timestamp()))
    }

    /// Begins an entry. An entry without a time has the time of the entry before; in a file
    /// without times, it is one second later. `key` identifies the entry when the file is read
    /// again; without a key, its position does.
    pub(crate) fn begin(&mut self, at: Option<Timestamp>, key: Option<&[u8]>) {
        self.n_entries += 1;
        self.n_events = 0;
        self.entry = key.map_or_else(|| Fingerprint::from(self.n_entries), Fingerprint::of);
        if let Some(at) = at {
            (self.now, self.has_times) = (at, true);
        } else if !self.has_times {
            self.now = untimed(self.n_untimed);
            self.n_untimed = self.n_untimed.saturating_add(1);
        }
    }

    /// Returns the number of the current entry, as the id of a response without an id.
    pub(crate) fn entry_id(&self) -> Box<str> {
        self.n_entries.to_string().into()
    }

    /// Emits an event of the current entry.
    pub(crate) fn emit(&mut self, kind: EventKind, sink: &mut EventSink<'_>) {
        if !std::mem::replace(&mut self.has_started, true) {
            let start = match self.agent {
                Some(_) => EventKind::AgentStart { parent: None },
                None => EventKind::SessionStart(std::mem::take(&mut self.start)),
            };
            if self.is_new(Fingerprint::of("start"), sink) {
                sink.event(self.now, &self.session, self.agent.as_ref(), start);
            }
        }
        self.n_events += 1;
        let key = match &kind {
            EventKind::ToolCall(call) => Fingerprint::of(call.id.as_bytes()),
            EventKind::ToolResult(result) => Fingerprint::of(result.id.as_bytes()),
            // A later state of the same response replaces this one.
            EventKind::ModelCall(call) => Fingerprint::from(call.tokens.total()),
            _ => Fingerprint::from(self.n_events),
        };
        let key = self.entry.and(Fingerprint::of(kind.name())).and(key);
        if self.is_new(key, sink) {
            sink.event(self.now, &self.session, self.agent.as_ref(), kind);
        }
    }

    /// Returns whether an event was not read before.
    fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        !self.is_rewritten || sink.is_new(owner.and(key))
    }

    /// Emits a prompt, unless it is empty.
    pub(crate) fn prompt(&mut self, text: &str, synthetic: bool, sink: &mut EventSink<'_>) {
        if !text.trim().is_empty() {
            self.emit(EventKind::Prompt { text: text.into(), synthetic }, sink);
        }
    }

    /// Emits a message of the agent, unless it is empty.
    pub(crate) fn message(&mut self, text: &str, sink: &mut EventSink<'_>) {
        if !text.trim().is_empty() {
            self.emit(EventKind::Message { text: text.into(), delta: false }, sink);
        }
    }

    /// Emits a thought, unless it is empty.
    pub(crate) fn thinking(&mut self, text: &str, sink: &mut EventSink<'_>) {
        if !text.trim().is_empty() {
            self.emit(EventKind::Thinking { text: text.into() }, sink);
        }
    }

    /// Emits the usage of a response, unless it is zero.
    pub(crate) fn usage(&mut self, call: ModelCall, sink: &mut EventSink<'_>) {
        let cost_usd = call.cost_usd.filter(|cost_usd| 0.0 < *cost_usd);
        if 0 < call.tokens.total() || cost_usd.is_some() {
            self.emit(EventKind::ModelCall(ModelCall { cost_usd, ..call }), sink);
        }
    }

    /// Emits a call. Without an id, its place in its entry is its id, which stays the same when
    /// the agent removes other entries.
    pub(crate) fn call(
        &mut self,
        id: Option<Box<str>>,
        name: &str,
        arguments: Json,
        response: &str,
        sink: &mut EventSink<'_>,
    ) {
        let has_id = id.as_ref().is_some_and(|id| !id.is_empty());
        let place = || format!("call-{}-{}", self.entry, self.n_events).into();
        let id = id.filter(|_| has_id).unwrap_or_else(place);
        if self.open_calls.len() == MAX_OPEN_CALLS {
            self.open_calls.pop_front();
        }
        self.open_calls.push_back((id.clone(), has_id));
        let (tool, class) = self.tools.get(name, self.class);
        let mut call = ToolCall::of_class(id, tool, arguments, Some(class), &[]);
        call.response = Some(response.into());
        self.emit(EventKind::ToolCall(call), sink);
    }

    /// Emits a result, which may have another id than the one of its call: the result belongs to
    /// the call with its id, or else to the oldest open call without an id of its own.
    pub(crate) fn result(&mut self, mut result: ToolResult, sink: &mut EventSink<'_>) {
        let of_id = self.open_calls.iter().position(|(id, _)| *id == result.id);
        let place = of_id.or_else(|| self.open_calls.iter().position(|(_, has_id)| !has_id));
        if let Some((id, _)) = place.and_then(|place| self.open_calls.remove(place)) {
            result.id = id;
        }
        self.emit(EventKind::ToolResult(result), sink);
    }

    /// Returns the id of the oldest call without a result.
    pub(crate) fn open_call(&self) -> Option<Box<str>> {
        self.open_calls.front().map(|(id, _)| id.clone())
    }

    /// Returns whether the call with this id has no result yet.
    pub(crate) fn has_open_call(&self, id: &str) -> bool {
        self.open_calls.iter().any(|(open, _)| **open == *id)
    }

    /// Emits the end of a turn.
    pub(crate) fn turn_end(&mut self, sink: &mut EventSink<'_>) {
        self.emit(EventKind::TurnEnd, sink);
    }
}

/// Makes the tokens of a response whose input excludes cached input.
pub(crate) fn tokens(
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
) -> Tokens {
    Tokens {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cache_read: cache_read.unwrap_or(0),
        cache_write: cache_write.unwrap_or(0),
        ..Tokens::default()
    }
}
