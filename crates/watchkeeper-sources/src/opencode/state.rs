//! The memory of an export: its session and its agent.

use std::path::Path;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, Fingerprint, SessionId,
    author::{EventSink, SessionStart},
};

use super::message::Session;
use crate::{json::Text, tool_names::ToolNames};

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: SessionId,
    /// The sub-agent of this export.
    pub(super) agent: Option<AgentId>,
    pub(super) has_started: bool,
    pub(super) start: SessionStart,
    /// The number of messages so far.
    pub(super) n_messages: u64,
    /// The latest time of an event.
    pub(super) latest: Option<Timestamp>,
    pub(super) tools: ToolNames,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        Self {
            session: SessionId::from(stem.as_ref()),
            agent: None,
            has_started: false,
            start: SessionStart::default(),
            n_messages: 0,
            latest: None,
            tools: ToolNames::default(),
        }
    }

    /// Sets the session and the agent of this export.
    pub(super) fn identify(&mut self, session: &Session<'_>) {
        if let Some(id) = session.id.map(Text::read) {
            if let Some(parent) = session.parent() {
                self.session = SessionId::from(parent.read().as_ref());
                self.agent = Some(AgentId::from(id.as_ref()));
            } else {
                self.session = SessionId::from(id.as_ref());
            }
        }
        self.start.cwd = session.directory.map(Text::boxed);
        self.start.version = session.version.map(Text::boxed);
    }

    /// Records `key` for this session, and returns whether it is new.
    pub(super) fn is_new(&self, key: Fingerprint, sink: &mut EventSink<'_>) -> bool {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        sink.is_new(owner.and(key))
    }
}
