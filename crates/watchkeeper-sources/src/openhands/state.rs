//! The memory of a file: its session and agents, and the totals of earlier events.

use std::path::Path;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use watchkeeper_core::{
    AgentId, Fingerprint, SessionId,
    author::{EventSink, SessionStart, untimed},
};

use super::{entry::Entry, names::Names, task::Task, usage::Used};
use crate::{json::Text, tool_names::ToolNames};

#[derive(Debug)]
pub(super) struct State {
    pub(super) names: Names,
    /// The time zone of times without one.
    zone: TimeZone,
    pub(super) session: SessionId,
    /// The sub-agent of this file.
    pub(super) agent: Option<AgentId>,
    /// The chain of active sub-agents. Each waits for the next one.
    pub(super) delegates: Vec<AgentId>,
    pub(super) start: SessionStart,
    pub(super) has_started: bool,
    /// Whether the events are in a list that has not ended.
    pub(super) is_in_list: bool,
    /// The benchmark task of the current list.
    pub(super) task: Option<Task>,
    pub(super) n_entries: u64,
    /// The latest time of an entry.
    pub(super) latest: Option<Timestamp>,
    /// The total usage so far, if it is known.
    pub(super) totals: Option<Used>,
    /// The total usage so far, by purpose of the model.
    pub(super) purposes: Vec<(Box<[u8]>, Used)>,
    /// The latest model response.
    pub(super) latest_response: Option<Fingerprint>,
    /// The latest call, for observations without the id of a call.
    pub(super) latest_call: Option<Box<str>>,
    /// The time of the current entry.
    pub(super) now: Timestamp,
    /// Whether the current entry was not read before.
    pub(super) is_new_entry: bool,
    /// Whether the end of the turn was emitted.
    pub(super) is_turn_over: bool,
    /// Whether the agent waits for permission.
    pub(super) is_waiting: bool,
    pub(super) tools: ToolNames,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let names = Names::of(path);
        Self {
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
            is_new_entry: false,
            is_turn_over: false,
            is_waiting: false,
            tools: ToolNames::default(),
        }
    }

    fn go_to(&mut self, session: SessionId, agent: Option<AgentId>) {
        if self.session != session || self.agent != agent {
            (self.session, self.agent) = (session, agent);
            self.has_started = false;
        }
    }

    /// Begins a document that is one event, or the state of a conversation.
    pub(super) fn begin_whole(&mut self) {
        self.task = None;
        if self.names.has_one_event {
            self.go_to(self.names.folder.clone(), self.names.agent.clone());
        } else {
            self.go_to(self.names.file.clone(), None);
        }
    }

    /// Begins a list of events in the line `line`.
    pub(super) fn begin_list(&mut self, line: u64) {
        let session = match &self.task {
            None => self.names.file.clone(),
            Some(task) => {
                let name = task.name.clone().unwrap_or_else(|| line.to_string());
                SessionId::from(format!("{}/{name}", self.names.run))
            }
        };
        self.go_to(session, None);
        self.is_in_list = true;
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

    /// Begins an entry, whose JSON is `text`.
    pub(super) fn begin_entry(&mut self, entry: &Entry<'_>, text: &[u8], sink: &mut EventSink<'_>) {
        self.n_entries += 1;
        let written = entry.timestamp.and_then(|at| self.time(&at.read()));
        self.latest = written.or(self.latest);
        // Old tasks have no times.
        self.now = self
            .latest
            .unwrap_or_else(|| untimed(u32::try_from(self.n_entries - 1).unwrap_or(u32::MAX)));
        let key = match entry.id {
            Some(id) => {
                let at = entry.timestamp.map(Text::raw).unwrap_or_default();
                Fingerprint::of(id.0).and(Fingerprint::of(at))
            }
            None => Fingerprint::of(text).and(Fingerprint::from(self.n_entries)),
        };
        self.is_new_entry = self.is_new(key, sink);
        if self.is_in_list && self.n_entries == 1 {
            // Usage since the beginning is known only if the list has the beginning.
            let is_beginning = self.task.is_some() || entry.id.is_some_and(|id| id.0 == b"0");
            self.totals = is_beginning.then(Used::default);
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

    /// Records `key` for this session and agent, and returns whether it is new.
    pub(super) fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(owner.and(key))
    }
}
