//! Sessions with an open turn.

use watchkeeper_core::{
    AgentId, Event, EventKind, SessionId, SignedDuration, Timestamp,
    author::{Origin, TurnEffect, WaitingFor},
};

use super::{
    client_state::{ClientActivity, ClientState},
    process_table::Process,
};

/// The largest number of agents of a session. Further ones are ignored.
const MAX_AGENTS: usize = 256;
/// The time after which an idle client has also written the end of its turn, if it writes
/// the ends of turns.
const IDLE_DELAY: SignedDuration = SignedDuration::from_secs(5);

/// A client whose processes are known to show the state of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// Writes state files.
    ClaudeCode,
    /// Has the session file open while the session lasts.
    Codex,
}

/// A session with an open turn.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) client: Client,
    /// The latest event.
    pub(super) origin: Origin,
    /// The time of the latest event.
    pub(super) latest: Timestamp,
    /// The agents with an open turn.
    agents: Vec<OpenAgent>,
    pub(super) process: Option<Process>,
    pub(super) ending: Option<Ending>,
    /// The number of searches for the process that found none.
    pub(super) n_searches: u8,
}

/// An end of a session that the session file does not contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// Whether the process ended amid the turn.
    pub(super) is_amid_turn: bool,
    /// The file that proves the end.
    pub(super) origin: Origin,
}

#[derive(Debug)]
struct OpenAgent {
    id: Option<AgentId>,
    latest: Timestamp,
    wait: Option<Wait>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    reason: WaitingFor,
    /// Whether the wait comes from a state file, and not from the session file.
    is_reported: bool,
}

impl Client {
    pub(super) fn of(source: &str) -> Option<Self> {
        match source {
            "claude-code" => Some(Self::ClaudeCode),
            "codex" => Some(Self::Codex),
            _ => None,
        }
    }
}

impl OpenSession {
    /// Creates a session without agents.
    pub(super) fn new(client: Client, origin: &Origin) -> Self {
        Self {
            client,
            origin: origin.clone(),
            latest: Timestamp::MIN,
            agents: Vec::new(),
            process: None,
            ending: None,
            n_searches: 0,
        }
    }

    pub(super) fn has_open_turn(&self) -> bool {
        !self.agents.is_empty()
    }

    pub(super) fn observe(&mut self, event: &Event) {
        self.ending = None;
        self.latest = self.latest.max(event.at);
        if let Some(origin) = &event.origin {
            self.origin.clone_from(origin);
        }
        let is_end = matches!(event.kind, EventKind::SessionEnd { .. });
        if is_end && event.agent.is_none() {
            self.agents.clear();
            return;
        }
        let idx = self.agents.iter().position(|agent| agent.id == event.agent);
        match (event.kind.turn_effect(), idx) {
            (TurnEffect::Continues, None) if self.agents.len() < MAX_AGENTS => {
                let id = event.agent.clone();
                self.agents.push(OpenAgent { id, latest: event.at, wait: None });
            }
            (TurnEffect::Ends, Some(idx)) => _ = self.agents.swap_remove(idx),
            (effect, Some(idx)) => {
                let agent = &mut self.agents[idx];
                agent.latest = agent.latest.max(event.at);
                match &event.kind {
                    EventKind::Waiting(reason) => {
                        agent.wait = Some(Wait { reason: *reason, is_reported: false });
                    }
                    EventKind::Resumed(_) => agent.wait = None,
                    _ if effect == TurnEffect::Continues => agent.wait = None,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Emits the waits that began and ended by the record of the client.
    pub(super) fn update_waits(
        &mut self,
        id: &SessionId,
        state: &ClientState,
        now: Timestamp,
        out: &mut dyn FnMut(Event),
    ) {
        let Some((activity, since)) = state.activity else { return };
        let origin = self.origin_in(state);
        for agent in &mut self.agents {
            let Some(kind) = agent.change(activity, since, now) else { continue };
            out(Event {
                at: since.max(agent.latest).min(now),
                session: id.clone(),
                agent: agent.id.clone(),
                origin: Some(origin.clone()),
                kind,
            });
        }
    }

    /// Returns whether the client has been idle since the latest event.
    pub(super) fn is_idle(&self, state: &ClientState) -> bool {
        let is_idle = |(activity, since)| activity == ClientActivity::Idle && self.latest <= since;
        state.activity.is_some_and(is_idle)
    }

    /// Returns the location of a state file, which is a single line.
    pub(super) fn origin_in(&self, state: &ClientState) -> Origin {
        Origin { source: self.origin.source, file: state.file.clone(), line: 1 }
    }
}

impl OpenAgent {
    /// Updates the wait of the agent. Returns the event if the wait begins or ends.
    ///
    /// An event after `since` proves that the agent does not wait. An earlier event may
    /// arrive later than the state, so a wait can begin again.
    fn change(
        &mut self,
        activity: ClientActivity,
        since: Timestamp,
        now: Timestamp,
    ) -> Option<EventKind> {
        let reason = match activity {
            ClientActivity::Busy => None,
            ClientActivity::Waiting(reason) => Some(reason),
            // Sub-agents in the background work while the client is idle.
            ClientActivity::Idle if self.id.is_some() => None,
            ClientActivity::Idle if now.duration_since(since) < IDLE_DELAY => return None,
            ClientActivity::Idle => Some(WaitingFor::Person),
        };
        match (reason, self.wait) {
            (Some(_), None) if since < self.latest => None,
            (Some(reason), Some(wait)) if !wait.is_reported || wait.reason == reason => None,
            (Some(reason), _) => {
                self.wait = Some(Wait { reason, is_reported: true });
                Some(EventKind::Waiting(reason))
            }
            (None, Some(wait)) if wait.is_reported => {
                self.wait = None;
                Some(EventKind::Resumed(wait.reason))
            }
            (None, _) => None,
        }
    }
}
