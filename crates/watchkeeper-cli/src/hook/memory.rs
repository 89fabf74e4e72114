//! What earlier calls of a hook did in a session.

use serde::{Deserialize, Serialize};
use watchkeeper_core::{Finding, Fingerprint, Severity, Timestamp};

/// The nudges, calls and agents that are remembered. Of more, the earliest are forgotten.
const MAX: usize = 64;

/// The memory of a session, by agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The actions so far.
    #[serde(default)]
    pub(crate) n_actions: u64,
    main: AgentMemory,
    /// By name, the earliest first.
    sub_agents: Vec<(String, AgentMemory)>,
}

impl Memory {
    /// Returns the memory of an agent; `None` is the main agent.
    pub(crate) fn agent(&mut self, name: Option<&str>) -> &mut AgentMemory {
        let Some(name) = name else { return &mut self.main };
        let known = self.sub_agents.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            let n_forgotten = (self.sub_agents.len() + 1).saturating_sub(MAX);
            self.sub_agents.drain(..n_forgotten);
            self.sub_agents.push((name.to_owned(), AgentMemory::default()));
            self.sub_agents.len() - 1
        });
        &mut self.sub_agents[place].1
    }
}

/// The memory of one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgentMemory {
    nudges: Vec<Nudge>,
    /// Each call, and the number of different calls at its last run.
    calls: Vec<(Fingerprint, u64)>,
    n_different: u64,
    /// The ids of the latest calls, and whether the agent had made the call before.
    ids: Vec<(Fingerprint, bool)>,
    /// Calls that are refused until the agent makes a new one.
    refused: Vec<(Fingerprint, Refusal)>,
    /// All calls are refused until the next prompt.
    pub(crate) stopped: Option<Refusal>,
}

/// A text that refused a call, and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nudge {
    id: Fingerprint,
    fingerprint: Fingerprint,
    severity: Severity,
    /// The episode has ended since.
    has_ended: bool,
}

impl AgentMemory {
    /// Adds a nudge about a finding. Returns `false` if there was one in this episode with this
    /// severity.
    pub(crate) fn nudge(&mut self, finding: &Finding) -> bool {
        let Finding { id, fingerprint, severity, .. } = *finding;
        let is_same = |nudge: &Nudge| {
            let is_episode = nudge.fingerprint == fingerprint && !nudge.has_ended;
            nudge.id == id || is_episode && nudge.severity == severity
        };
        if self.nudges.iter().any(is_same) {
            return false;
        }
        self.nudges.push(Nudge { id, fingerprint, severity, has_ended: false });
        self.nudges.drain(..self.nudges.len().saturating_sub(MAX));
        true
    }

    /// Ends the episodes that are not open.
    pub(crate) fn end_nudges(&mut self, open: impl Iterator<Item = Fingerprint> + Clone) {
        for nudge in &mut self.nudges {
            nudge.has_ended |= !open.clone().any(|it| it == nudge.fingerprint);
        }
    }

    /// Adds a call. Returns whether the agent has made it before, and no new one since. A call with
    /// a known `id` is the same call: a client may run several hooks for it.
    pub(crate) fn call(&mut self, key: Fingerprint, id: Option<Fingerprint>) -> bool {
        let known = self.ids.iter().find(|(known, _)| Some(*known) == id);
        if let Some((_, is_repeated)) = known {
            return *is_repeated;
        }
        let is_repeated = self.is_repeated(key);
        self.ids.extend(id.map(|id| (id, is_repeated)));
        self.ids.drain(..self.ids.len().saturating_sub(MAX));
        is_repeated
    }

    fn is_repeated(&mut self, key: Fingerprint) -> bool {
        let n_different = self.n_different;
        match self.calls.iter_mut().find(|(known, _)| *known == key) {
            Some((_, last)) if *last == n_different => true,
            Some((_, last)) => {
                *last = n_different;
                false
            }
            None => {
                self.refused.clear();
                self.n_different += 1;
                self.calls.push((key, self.n_different));
                self.calls.drain(..self.calls.len().saturating_sub(MAX));
                false
            }
        }
    }

    /// Refuses a call from now on.
    pub(crate) fn refuse(&mut self, key: Fingerprint, refusal: Refusal) {
        if self.refusal(key).is_none() {
            self.refused.push((key, refusal));
            self.refused.drain(..self.refused.len().saturating_sub(MAX));
        }
    }

    /// Returns the earlier refusal of a call.
    pub(crate) fn refusal(&self, key: Fingerprint) -> Option<&Refusal> {
        self.refused.iter().find(|(known, _)| *known == key).map(|(_, refusal)| refusal)
    }

    /// Forgets the calls: those of another stretch of work.
    pub(crate) fn forget_calls(&mut self) {
        self.calls.clear();
        self.refused.clear();
        self.n_different = 0;
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Fingerprint;

    use super::{AgentMemory, MAX, Memory};

    #[test]
    fn two_hooks_of_one_call_make_no_repetition() {
        let mut memory = AgentMemory::default();
        let [key, first, second] = ["call", "1", "2"].map(Fingerprint::of);
        let ids = [first, first, second, first, second].map(Some);
        let is_repeated = ids.map(|id| memory.call(key, id));
        assert_eq!(is_repeated, [false, false, true, false, true]);
    }

    #[test]
    fn the_earliest_sub_agents_are_forgotten_and_the_main_agent_is_not() {
        let mut memory = Memory::default();
        let is_repeated = |memory: &mut Memory, agent: Option<&str>| {
            memory.agent(agent).call(Fingerprint::of("call"), None)
        };
        assert!(!is_repeated(&mut memory, None));
        for n in 0..=MAX {
            assert!(!is_repeated(&mut memory, Some(&n.to_string())));
        }
        assert!(is_repeated(&mut memory, None));
        assert!(is_repeated(&mut memory, Some("1")));
        assert!(!is_repeated(&mut memory, Some("0")), "forgotten");
    }
}
