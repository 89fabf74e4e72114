//! The memory of a file: its session, its agents, and the messages and calls that later lines
//! refer to.

use std::path::Path;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, Fingerprint, SessionId,
    author::{ClientTotal, SessionStart, Tokens, untimed},
};

use super::{cut_attempts::CutAttempts, line::Line};
use crate::{json::Text, recent::Recent, tool_names::ToolNames};

#[derive(Debug)]
pub(super) struct State {
    /// The session of all lines of this file.
    pub(super) session: SessionId,
    /// Whether `session` is final. Until then, the path suggests an id.
    is_identified: bool,
    /// The sub-agent of this file.
    pub(super) agent: Option<AgentId>,
    /// The session whose start was emitted.
    pub(super) started: Option<SessionId>,
    /// The folder, version and model at the beginning of a stream.
    pub(super) stream_start: SessionStart,
    /// The number of lines of a stream before the first one with a time.
    n_untimed: u32,
    /// The latest time of a line.
    pub(super) latest: Option<Timestamp>,
    /// The agent of the latest line, cached to share its id.
    last_agent: Option<AgentId>,
    /// The agents whose start was emitted.
    pub(super) agents: Recent<()>,
    /// Usage, by message.
    pub(super) usage: Recent<(Tokens, u32)>,
    /// The calls that start another agent, with the sub-agent that made them.
    pub(super) delegations: Recent<Option<AgentId>>,
    /// The sub-agents whose lines are nested in this file. The main agent waits for
    /// them.
    pub(super) awaited: Vec<AgentId>,
    /// Whether the end of the main agent's turn was emitted.
    pub(super) is_turn_over: bool,
    /// The latest message that may have ended a turn.
    pub(super) possible_turn_end: Option<PossibleTurnEnd>,
    pub(super) client_total: Option<ClientTotal>,
    /// The calls that run, as their progress proves.
    pub(super) running: Recent<()>,
    pub(super) cut_attempts: CutAttempts,
    pub(super) tools: ToolNames,
}

/// A message that ended a turn, unless its agent continues at once.
#[derive(Debug)]
pub(super) struct PossibleTurnEnd {
    pub(super) at: Timestamp,
    pub(super) agent: Option<AgentId>,
    /// The fingerprint of the message's id. Later lines with this id are parts of it.
    pub(super) message: Option<Fingerprint>,
}

impl State {
    pub(super) fn new(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let agent = stem.strip_prefix("agent-").map(AgentId::from);
        // The path of a sub-agent's file is `<session>/subagents/<agent>.jsonl`.
        let folder =
            path.parent().filter(|folder| folder.ends_with("subagents")).and_then(Path::parent);
        let session = folder.and_then(Path::file_name).map(|name| name.to_string_lossy());
        let session = session.unwrap_or_else(|| stem.clone());
        Self {
            is_identified: is_uuid(&session),
            session: SessionId::from(session.as_ref()),
            agent,
            started: None,
            stream_start: SessionStart::default(),
            n_untimed: 0,
            latest: None,
            last_agent: None,
            agents: Recent::default(),
            usage: Recent::default(),
            delegations: Recent::default(),
            awaited: Vec::new(),
            is_turn_over: true,
            possible_turn_end: None,
            client_total: None,
            running: Recent::default(),
            cut_attempts: CutAttempts::default(),
            tools: ToolNames::default(),
        }
    }

    /// Sets the session of the file to the session of its first line, unless the path contains
    /// it. Hooks of a resumed session write lines with the id of the earlier session.
    pub(super) fn identify(&mut self, session: Option<Text<'_>>) {
        if let Some(session) = session
            && !self.is_identified
        {
            self.session = SessionId::from(session.read().as_ref());
            self.is_identified = true;
        }
    }

    /// Returns the time of a line. A stream of early versions has no times: each line is then one
    /// second later than the one before.
    pub(super) fn time_of(&mut self, line: &Line<'_>) -> Option<Timestamp> {
        let written = self.time(line.timestamp);
        if written.is_some() || !line.is_of_stream() {
            return written;
        }
        self.n_untimed = self.n_untimed.saturating_add(1);
        Some(untimed(self.n_untimed))
    }

    /// Returns a time as written, or the latest one.
    pub(super) fn time(&mut self, written: Option<Text<'_>>) -> Option<Timestamp> {
        let at = written.and_then(Text::time).or(self.latest)?;
        self.latest = self.latest.max(Some(at));
        Some(at)
    }

    pub(super) fn agent_of(&mut self, line: &Line<'_>) -> Option<AgentId> {
        let name = match (line.agent.or(line.delegation), &self.agent) {
            (Some(name), _) => name.read(),
            (None, Some(agent)) => return Some(agent.clone()),
            // Early versions write the lines of unnamed sub-agents into the file of the
            // session.
            (None, None) if line.is_sidechain == Some(true) => "sidechain".into(),
            (None, None) => return None,
        };
        if self.last_agent.as_ref().is_none_or(|agent| agent.as_str() != name) {
            self.last_agent = Some(AgentId::from(name.as_ref()));
        }
        self.last_agent.clone()
    }
}

/// Returns the key of an agent that a call has started, until its first line.
pub(super) fn agent_key(agent: &str) -> Fingerprint {
    Fingerprint::of(agent).and(Fingerprint::NONE)
}

/// Returns whether a name is a UUID in its usual form, as session ids are.
fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
