use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{
    agent::{AgentFacts, AgentStatus},
    step::Step,
    totals::Totals,
};
use crate::{
    Event, EventKind, Labels, ModelCall, Price, SessionId, compact::PackedTimestamp,
    interner::Interner, period::known_time,
};

/// The facts of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionFacts {
    /// The id.
    pub id: SessionId,
    /// The kind of source that read the session.
    pub source: Option<&'static str>,
    /// The working folder at the start.
    pub cwd: Option<Arc<str>>,
    /// The model of the latest model call.
    pub model: Option<Arc<str>>,
    /// The labels of the policy and of the session.
    pub labels: Labels,
    /// The names of the labels that the session set itself.
    own_labels: Option<Arc<BTreeSet<String>>>,
    started_at: PackedTimestamp,
    last_event_at: PackedTimestamp,
    /// The number of agents that have an open turn.
    pub open_turns: u32,
    /// The number of agents that wait for a person.
    pub waiting_agents: u32,
    /// The number of sub-agents that have an open turn.
    pub running_sub_agents: u32,
    /// The counts, tokens and cost so far.
    pub totals: Totals,
}

fn count(n: u32, before: bool, after: bool) -> u32 {
    n + u32::from(after) - u32::from(before)
}

/// Returns the name of a folder, which is the same with a final slash and without.
fn without_final_slash(folder: &str) -> &str {
    match folder.trim_end_matches('/') {
        "" => folder,
        trimmed => trimmed,
    }
}

impl SessionFacts {
    pub(crate) fn new(id: SessionId, started_at: Timestamp, labels: Labels) -> Self {
        Self {
            id,
            source: None,
            cwd: None,
            model: None,
            labels,
            own_labels: None,
            started_at: started_at.into(),
            last_event_at: started_at.into(),
            open_turns: 0,
            waiting_agents: 0,
            running_sub_agents: 0,
            totals: Totals::default(),
        }
    }

    /// Returns the time of the first event, or of the first event with a
    /// [known](crate::author::known_time) time if a later one has it.
    pub fn started_at(&self) -> Timestamp {
        self.started_at.into()
    }

    /// Returns the time of the latest event of any agent.
    pub fn last_event_at(&self) -> Timestamp {
        self.last_event_at.into()
    }

    /// Returns whether the session contains times.
    ///
    /// The events of a session without times have the times of
    /// [`untimed`](crate::author::untimed), which are before 1970.
    pub fn has_times(&self) -> bool {
        known_time(self.started_at()).is_some()
    }

    /// Returns whether the session set a label of this name itself.
    pub(crate) fn has_own_label(&self, name: &str) -> bool {
        self.own_labels.as_ref().is_some_and(|names| names.contains(name))
    }

    /// Updates the facts that do not depend on the agent of the event.
    pub(crate) fn observe(&mut self, event: &Event, at: Timestamp, names: &mut Interner<Arc<str>>) {
        self.last_event_at = at.into();
        if !self.has_times() && known_time(at).is_some() {
            self.started_at = at.into();
        }
        self.totals.add_event(&event.kind);
        if self.source.is_none() {
            self.source = event.origin.as_ref().map(|origin| origin.source);
        }
        match &event.kind {
            EventKind::SessionStart(start) if event.agent.is_none() => {
                let mut shared = |name: &str| names.get(name, || name.into());
                if self.cwd.is_none() {
                    self.cwd = start.cwd.as_deref().map(without_final_slash).map(&mut shared);
                }
                if self.model.is_none() {
                    self.model = start.model.as_deref().map(&mut shared);
                }
                let labels = || start.labels.iter().map(|(k, v)| (k.to_string(), v.to_string()));
                if !start.labels.is_empty() {
                    Arc::make_mut(&mut self.labels).extend(labels());
                    let names = labels().map(|(name, _)| name);
                    Arc::make_mut(self.own_labels.get_or_insert_default()).extend(names);
                }
            }
            EventKind::ModelCall(ModelCall { model: Some(model), .. })
                if self.model.as_deref() != Some(model) =>
            {
                self.model = Some(names.get(model, || (**model).into()));
            }
            _ => {}
        }
    }

    /// Updates the facts of the event's agent, and the facts of the session that
    /// depend on them.
    ///
    /// `price` returns the price of a model. The changes are written to `step`, which is
    /// empty before.
    pub(crate) fn observe_agent(
        &mut self,
        agent: &mut AgentFacts,
        event: &Event,
        at: Timestamp,
        price: impl FnOnce(&str) -> Option<Price>,
        step: &mut Step,
    ) {
        let before = agent.status();
        agent.observe(event, at, &mut step.finished_call);
        let after = agent.status();
        self.count_agent(before, after);
        if event.agent.is_some() {
            self.running_sub_agents =
                count(self.running_sub_agents, before.has_turn, after.has_turn);
        }
        if let EventKind::ModelCall(call) = &event.kind {
            step.usage = Some(self.totals.charge(call, agent.responses(), price));
        }
    }

    /// Returns the number of known facts that a rule for labels can match.
    pub(crate) fn n_known(&self) -> usize {
        [self.source.is_some(), self.cwd.is_some(), self.model.is_some()]
            .into_iter()
            .filter(|is_known| *is_known)
            .count()
    }

    /// Removes a sub-agent that is dropped from the numbers of agents.
    pub(crate) fn remove_sub_agent(&mut self, status: AgentStatus) {
        self.count_agent(status, AgentStatus::default());
        self.running_sub_agents = count(self.running_sub_agents, status.has_turn, false);
    }

    /// Updates the number of open turns and waiting agents after the status of one
    /// agent has changed.
    fn count_agent(&mut self, before: AgentStatus, after: AgentStatus) {
        self.open_turns = count(self.open_turns, before.has_turn, after.has_turn);
        self.waiting_agents = count(self.waiting_agents, before.waits, after.waits);
    }

    /// Copies the id, source and labels of the session with the latest event, for a
    /// stream that several sessions share.
    pub(crate) fn set_identity(&mut self, session: &Self, at: Timestamp) {
        self.id.clone_from(&session.id);
        self.source = session.source;
        self.labels.clone_from(&session.labels);
        self.last_event_at = at.into();
    }
}
