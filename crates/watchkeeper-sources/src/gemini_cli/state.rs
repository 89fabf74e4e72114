//! The memory of a file: its session, and the parts that it contained so far.

use std::path::Path;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{EventSink, SessionStart},
};

use crate::{json::Text, tool_names::ToolNames};

#[derive(Debug)]
pub(super) struct State {
    pub(super) session: SessionId,
    /// The sub-agent of this file.
    pub(super) agent: Option<AgentId>,
    /// The folder of the file, which names the session of a sub-agent.
    folder: Option<Box<str>>,
    has_started: bool,
    pub(super) start: SessionStart,
    /// The latest time of an event.
    pub(super) latest: Option<Timestamp>,
    /// The latest message without calls, which ends the turn unless calls follow.
    pub(super) possible_turn_end: Option<PossibleTurnEnd>,
    pub(super) tools: ToolNames,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PossibleTurnEnd {
    pub(super) at: Timestamp,
    pub(super) line: u64,
    pub(super) message: Fingerprint,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let name = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
        // `chats/<session>/<agent>.jsonl`
        let folder = path.parent().filter(|folder| {
            folder.parent().and_then(Path::file_name).is_some_and(|above| above == "chats")
        });
        Self {
            session: SessionId::from(name(path).unwrap_or_default().as_str()),
            agent: None,
            folder: folder.and_then(Path::file_name).map(|it| it.to_string_lossy().into()),
            has_started: false,
            start: SessionStart::default(),
            latest: None,
            possible_turn_end: None,
            tools: ToolNames::default(),
        }
    }

    /// Sets the session of this file by its id, unless it has started.
    pub(super) fn identify(&mut self, id: Text<'_>) {
        if !self.has_started {
            self.session = SessionId::from(id.read().as_ref());
        }
    }

    /// Makes this the file of a sub-agent. `self.session` is its own id so far.
    pub(super) fn become_agent(&mut self) {
        if let Some(folder) = self.folder.take()
            && !self.has_started
        {
            let session = SessionId::from(&*folder);
            let own = std::mem::replace(&mut self.session, session);
            self.agent = Some(AgentId::from(own.as_str()));
        }
    }

    /// Emits the start of the session or the agent, unless it has started.
    pub(super) fn start(&mut self, at: Timestamp, sink: &mut EventSink<'_>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let kind = match self.agent {
            Some(_) => EventKind::AgentStart { parent: None },
            None => EventKind::SessionStart(std::mem::take(&mut self.start)),
        };
        self.emit(at, Fingerprint::of("start"), kind, sink);
    }

    /// Emits an event unless the session has one with this name and key: files repeat their
    /// messages, and may be read again.
    pub(super) fn emit(
        &mut self,
        at: Timestamp,
        key: Fingerprint,
        kind: EventKind,
        sink: &mut EventSink<'_>,
    ) {
        let agent = self.agent.as_ref().map_or("", AgentId::as_str);
        let owner = Fingerprint::of(self.session.as_str()).and(Fingerprint::of(agent));
        let key = owner.and(Fingerprint::of(kind.name())).and(key);
        self.latest = self.latest.max(Some(at));
        if sink.is_new(key) {
            sink.event(at, &self.session, self.agent.as_ref(), kind);
        }
    }
}
