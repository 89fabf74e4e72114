use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    findings::{EpisodeView, OpenFinding, StreamScope, sort_name},
    replacement::Replacement,
    runner::{Dispatch, Runner},
    shared::Shared,
    streams::Streams,
    subscriptions::SubscriptionTable,
    timers::{earlier, postponed},
};
use crate::{
    AgentFacts, AgentId, Event, EventKind, Finding, SessionFacts,
    compact::PackedTimestamp,
    detector::Observed,
    facts::{StateKind, Step},
};

/// The number of sub-agents of one session that are watched at once. Of more, the one
/// is dropped, which the engine reports.
pub(super) const MAX_AGENTS: usize = 256;

/// A session with its agents and streams; or all sessions that share the value of a
/// label, which have one stream and no agents of their own.
pub(super) struct Session {
    pub(super) facts: SessionFacts,
    now: PackedTimestamp,
    /// The time at which the session is dropped if no event arrives before.
    expires_at: PackedTimestamp,
    /// The time of the first wake-up of its streams, or an earlier one.
    wake_at: Option<PackedTimestamp>,
    /// The time of its timer.
    pub(super) timer_at: Option<PackedTimestamp>,
    /// Whether an event arrived since the engine last looked for a session to drop.
    pub(super) is_recent: bool,
    /// The state as which the session is counted; `None` before the first event.
    pub(super) counted_as: Option<StateKind>,
    table: Arc<SubscriptionTable>,
    streams: Streams,
    main: Agent,
    agents: Agents,
}

#[derive(Default)]
pub(super) struct Agent {
    pub(super) facts: AgentFacts,
    streams: Streams,
}

/// The sub-agents of a session, the one with the latest event last.
#[derive(Default)]
struct Agents(
    #[expect(clippy::box_collection, reason = "most of very many sessions have none")]
    Option<Box<Vec<(AgentId, Agent)>>>,
);

impl Deref for Agents {
    type Target = [(AgentId, Agent)];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |agents| agents.as_slice())
    }
}

impl DerefMut for Agents {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().map_or(&mut [], |agents| agents.as_mut_slice())
    }
}

impl Session {
    pub(super) fn new(facts: SessionFacts, expires_at: PackedTimestamp) -> Self {
        Self {
            now: facts.started_at().into(),
            facts,
            expires_at,
            wake_at: None,
            timer_at: None,
            is_recent: false,
            counted_as: None,
            table: Arc::default(),
            streams: Streams::default(),
            main: Agent::default(),
            agents: Agents::default(),
        }
    }

    /// Makes the session that stands for all sessions that share a label.
    pub(super) fn of_label(
        facts: SessionFacts,
        expires_at: PackedTimestamp,
        table: Arc<SubscriptionTable>,
    ) -> Self {
        Self { table, ..Self::new(facts, expires_at) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.into()
    }

    /// Returns the time at which the session expires if no event arrives before.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at.into()
    }

    /// Postpones the expiry as if an event had arrived at `at`. Returns `false` if the
    /// session has expired at `at` nevertheless.
    pub(super) fn extend(&mut self, at: Timestamp, shared: &Shared) -> bool {
        self.expires_at = shared.expiry(at);
        !self.is_expired(at)
    }

    /// Returns whether every detector of the session as a whole is idle.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_idle()
    }

    /// Returns whether the session has expired at `at`.
    pub(super) fn is_expired(&self, at: Timestamp) -> bool {
        self.expires_at <= at.into()
    }

    /// Returns the time at which the session needs attention, at the latest.
    pub(super) fn due_at(&self) -> PackedTimestamp {
        self.wake_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// Returns an agent, or the main agent in place of a sub-agent that is not watched.
    pub(super) fn agent(&self, id: Option<&AgentId>) -> &Agent {
        self.known_agent(id).unwrap_or(&self.main)
    }

    /// Returns the main agent, or a sub-agent that is watched.
    pub(super) fn known_agent(&self, id: Option<&AgentId>) -> Option<&Agent> {
        let Some(id) = id else { return Some(&self.main) };
        self.agents.iter().rev().find(|(it, _)| it == id).map(|(_, agent)| agent)
    }

    /// Returns the state: of an agent that needs a person, or else of the main agent while it is
    /// active, or else of a sub-agent that is.
    pub(super) fn state(&self) -> StateKind {
        let main = self.main.facts.state_kind();
        let is_decided = if 0 < self.facts.waiting_agents {
            main.needs_person()
        } else {
            main.is_active() || self.agents.is_empty()
        };
        if is_decided {
            return main;
        }
        let agents = || self.agents.iter().map(|(_, agent)| agent.facts.state_kind());
        let waiting = agents().find(|state| state.needs_person());
        let active = || [main].into_iter().chain(agents()).find(|state| state.is_active());
        waiting.or_else(active).unwrap_or(main)
    }

    /// Handles an event: updates the facts, runs the streams of its agent, then those
    /// of the session. The changes to the facts are written to `step`, which is empty
    /// before.
    pub(super) fn observe(
        &mut self,
        event: &Event,
        at: Timestamp,
        shared: &mut Shared,
        step: &mut Step,
        findings: &mut Vec<Finding>,
    ) {
        self.now = at.into();
        self.expires_at = shared.expiry(at);
        let has_rules = !shared.config.label_rules.is_empty();
        let n_known = if has_rules { self.facts.n_known() } else { 0 };
        self.facts.observe(event, at, &mut shared.names);
        if has_rules && (self.facts.totals.events == 1 || self.facts.n_known() != n_known) {
            self.add_labels(shared);
        }
        if self.facts.totals.events == 1 {
            // The first event may set labels, which select detectors.
            self.table = shared.table(&self.facts, event);
        }
        if let Some(id) = &event.agent {
            self.move_to_end(id, at, shared, findings);
            if let EventKind::AgentStart { parent: Some(parent) } = &event.kind {
                self.set_depth(parent);
            }
        }
        let Self { facts, table, streams, main, agents, .. } = self;
        let agent = match &event.agent {
            Some(_) => agents.last_mut().map_or(main, |(_, agent)| agent),
            None => main,
        };
        let Shared { config, prices, .. } = &mut *shared;
        let price = |model: &str| prices.get(model, || config.prices.get(model));
        facts.observe_agent(&mut agent.facts, event, at, price, step);
        if shared.reads_contributions {
            agent.facts.observe_progress(event, step);
        }

        let is_end = matches!(event.kind, EventKind::SessionEnd { .. });
        let agent_ends = is_end || matches!(event.kind, EventKind::AgentEnd);
        let session_ends = is_end && event.agent.is_none();
        let sort_idx = step.sort_idx(&event.kind).into();
        let scope =
            StreamScope { session: facts, agent_id: event.agent.as_ref(), label_value: None };
        let step = &*step;
        let observed = Some(Observed { event, step });
        let Shared { clock, runner, .. } = &mut *shared;
        let dispatch = Dispatch::new(at, observed, &agent.facts, scope, clock, runner);
        agent.streams.observe(table.agents.of(sort_idx), &dispatch, runner, findings);
        if agent_ends {
            agent.streams.end(&dispatch, runner, findings);
        }
        streams.observe(table.session.of(sort_idx), &dispatch, runner, findings);
        if session_ends {
            streams.end(&dispatch, runner, findings);
        }
        self.wake_at = earlier(self.wake_at, runner.requested.take());
        if session_ends {
            self.expires_at = shared.ended_expiry(at);
            self.end_agents(event, step, shared, findings);
        } else if agent_ends && event.agent.is_some() {
            self.agents.0.as_mut().and_then(|agents| agents.pop());
            self.agents.0.take_if(|agents| agents.is_empty());
        }
        self.turn_off_panicked(shared);
    }

    /// Adds the labels of the rules that match the facts so far.
    #[cold]
    fn add_labels(&mut self, shared: &Shared) {
        shared.config.add_labels(&mut self.facts);
    }

    /// Handles an event of `source`, one of the sessions that share this label.
    pub(super) fn observe_shared(
        &mut self,
        observed: Observed<'_>,
        at: Timestamp,
        label_value: &str,
        source: &Self,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let Observed { event, .. } = observed;
        self.now = at.into();
        self.expires_at = shared.expiry(at);
        self.facts.set_identity(&source.facts, at);
        let agent = &source.agent(event.agent.as_ref()).facts;
        self.main.facts.clone_from(agent);
        let scope = StreamScope {
            session: &source.facts,
            agent_id: event.agent.as_ref(),
            label_value: Some(label_value),
        };
        let Shared { clock, runner, .. } = &mut *shared;
        let mut dispatch = Dispatch::new(at, Some(observed), agent, scope, clock, runner);
        dispatch.input.session_episodes = source.streams.episodes().as_slice();
        let subscribers = self.table.session.of(observed.step.sort_idx(&event.kind).into());
        self.streams.observe(subscribers, &dispatch, runner, findings);
        self.wake_at = earlier(self.wake_at, runner.requested.take());
        self.turn_off_panicked(shared);
    }

    /// Handles every wake-up that is due at `until`, in order of time.
    #[inline]
    pub(super) fn wake_until(
        &mut self,
        until: Timestamp,
        label_value: Option<&str>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        if self.wake_at.is_some_and(|at| at <= until.into()) {
            self.wake(until.into(), label_value, shared, findings);
        }
    }

    #[cold]
    fn wake(
        &mut self,
        until: PackedTimestamp,
        label_value: Option<&str>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        while let Some(due) = self.first_wakeup().filter(|at| *at <= until) {
            let n_before = findings.len();
            let Self { facts, streams, main, agents, .. } = &mut *self;
            let Shared { clock, runner, .. } = &mut *shared;
            let scope = StreamScope { session: facts, agent_id: None, label_value };
            let dispatch = Dispatch::new(due.into(), None, &main.facts, scope, clock, runner);
            let mut was_due = streams.wake(&dispatch, runner, findings);
            was_due |= main.streams.wake(&dispatch, runner, findings);
            for (id, agent) in agents.iter_mut() {
                let scope = StreamScope { agent_id: Some(id), ..scope };
                let dispatch = Dispatch::new(due.into(), None, &agent.facts, scope, clock, runner);
                was_due |= agent.streams.wake(&dispatch, runner, findings);
            }
            // A spurious wake-up of a timer-only detector leaves the time unchanged.
            if was_due || n_before < findings.len() {
                self.now = self.now.max(due);
            }
            findings[n_before..].sort_by(|a, b| {
                let names = [a, b].map(|finding| sort_name(finding, &shared.runner.detectors));
                (names[0], &a.agent).cmp(&(names[1], &b.agent))
            });
            self.turn_off_panicked(shared);
        }
        shared.runner.requested = None;
        self.wake_at = self.first_wakeup();
    }

    fn first_wakeup(&self) -> Option<PackedTimestamp> {
        let agents = self.agents.iter().filter_map(|(_, agent)| agent.streams.first_wakeup());
        let own = [self.streams.first_wakeup(), self.main.streams.first_wakeup()];
        own.into_iter().flatten().chain(agents).min()
    }

    /// Makes a sub-agent the last in the list, and adds it if it is new.
    ///
    /// If there are too many, drops the one that has been inactive longest, of those
    /// without an open turn if there are any, then of those without an open finding.
    fn move_to_end(
        &mut self,
        id: &AgentId,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        match self.agents.iter().rposition(|(it, _)| it == id) {
            Some(place) if place + 1 == self.agents.len() => {}
            Some(place) => self.agents[place..].rotate_left(1),
            None => {
                let agents = self.agents.0.get_or_insert_default();
                if agents.len() == MAX_AGENTS {
                    let rank = |(_, agent): &(AgentId, Agent)| {
                        let has_open = !agent.streams.episodes().as_slice().is_empty();
                        (agent.facts.turn().is_some(), has_open)
                    };
                    // The first of those with the lowest rank.
                    let first = (0..MAX_AGENTS).min_by_key(|idx| rank(&agents[*idx]));
                    let (_, dropped) = agents.remove(first.unwrap_or(0));
                    shared.n_evicted_agents += 1;
                    let limit = format!("more than {MAX_AGENTS} sub-agents of one session at once");
                    let n_evicted = shared.n_evicted_agents;
                    shared.runner.report_evicted(at, ("agents", &limit), n_evicted, findings);
                    self.facts.remove_sub_agent(dropped.facts.status());
                }
                let mut agent = Agent::default();
                agent.facts.set_depth_below(0);
                agents.push((id.clone(), agent));
            }
        }
    }

    /// Sets the depth of the last agent in the list, which `parent` has started.
    #[cold]
    fn set_depth(&mut self, parent: &AgentId) {
        let Some(((id, agent), others)) = self.agents.split_last_mut() else { return };
        if id == parent {
            return;
        }
        // A parent that has ended was a sub-agent, too.
        let above = others.iter().rev().find(|(id, _)| id == parent);
        agent.facts.set_depth_below(above.map_or(1, |(_, parent)| parent.facts.depth()));
    }

    /// Ends all sub-agents, since the session has ended.
    fn end_agents(
        &mut self,
        event: &Event,
        step: &Step,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let agents = self.agents.0.take().map_or_else(Vec::new, |agents| *agents);
        let Shared { clock, runner, .. } = shared;
        for (id, mut agent) in agents {
            self.facts.remove_sub_agent(agent.facts.status());
            let scope =
                StreamScope { session: &self.facts, agent_id: Some(&id), label_value: None };
            let observed = Some(Observed { event, step });
            let now = self.now.into();
            let dispatch = Dispatch::new(now, observed, &agent.facts, scope, clock, runner);
            agent.streams.end(&dispatch, runner, findings);
        }
    }

    /// Turns the detectors off that have just panicked in one of the streams, for the
    /// whole session.
    #[inline]
    fn turn_off_panicked(&mut self, shared: &mut Shared) {
        if shared.runner.panicked.is_empty() {
            return;
        }
        for detector_idx in shared.runner.panicked.drain(..) {
            self.table = Arc::new(self.table.without(detector_idx));
            self.all_streams_mut().for_each(|streams| streams.turn_off(detector_idx));
        }
    }

    /// Moves the session from the detectors of `old` to those of `shared`, of which `table` has
    /// the ones that watch it. Resolves the findings of detectors that are gone.
    pub(super) fn replace(
        &mut self,
        (change, table): (&Replacement, Arc<SubscriptionTable>),
        label_value: Option<&str>,
        (old, shared): (&mut Runner, &Shared),
        findings: &mut Vec<Finding>,
    ) {
        let Self { facts, streams, main, agents, .. } = &mut *self;
        let new = (change, &*shared.runner.detectors);
        let dispatch = |agent, scope, old: &Runner| {
            Dispatch::new(change.now, None, agent, scope, &shared.clock, old)
        };
        let scope = StreamScope { session: facts, agent_id: None, label_value };
        let main_dispatch = dispatch(&main.facts, scope, old);
        streams.replace(new, &main_dispatch, old, findings);
        main.streams.replace(new, &main_dispatch, old, findings);
        for (id, Agent { facts, streams }) in agents.iter_mut() {
            let scope = StreamScope { agent_id: Some(id), ..scope };
            streams.replace(new, &dispatch(facts, scope, old), old, findings);
        }
        self.table = table;
        self.wake_at = self.first_wakeup();
    }

    /// Ends all findings of the session and its agents for this reason.
    pub(super) fn end_findings(
        &mut self,
        reason: &str,
        label_value: Option<&str>,
        now: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let Self { facts, streams, main, agents, .. } = self;
        let Shared { clock, runner, .. } = shared;
        let scope = StreamScope { session: facts, agent_id: None, label_value };
        let dispatch = Dispatch::new(now, None, &main.facts, scope, clock, runner);
        streams.end_findings(reason, &dispatch, runner, findings);
        main.streams.end_findings(reason, &dispatch, runner, findings);
        for (id, Agent { facts, streams }) in agents.iter_mut() {
            let scope = StreamScope { agent_id: Some(id), ..scope };
            let dispatch = Dispatch::new(now, None, facts, scope, clock, runner);
            streams.end_findings(reason, &dispatch, runner, findings);
        }
    }

    pub(super) fn table(&self) -> &SubscriptionTable {
        &self.table
    }

    /// Postpones the expiry and the wake-ups that are due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        self.expires_at = postponed(self.expires_at, since, duration);
        self.all_streams_mut().for_each(|streams| streams.postpone(since, duration));
        self.wake_at = self.first_wakeup();
    }

    fn all_streams_mut(&mut self) -> impl Iterator<Item = &mut Streams> {
        let agents = self.agents.iter_mut().map(|(_, agent)| &mut agent.streams);
        [&mut self.streams, &mut self.main.streams].into_iter().chain(agents)
    }

    /// Returns the fingerprints of the open findings, and the measure of each.
    pub(super) fn open_findings(&self, shared: &Shared) -> Vec<OpenFinding> {
        let agents = self.agents.iter().map(|(id, agent)| (Some(id), &agent.streams));
        let own = [(None, &self.streams), (None, &self.main.streams)];
        let mut open = Vec::new();
        for (agent_id, streams) in own.into_iter().chain(agents) {
            let scope = StreamScope { session: &self.facts, agent_id, label_value: None };
            for episode in streams.episodes().as_slice() {
                let view = EpisodeView { episode, detectors: &shared.runner.detectors };
                open.push(view.open_finding_totals(&scope));
            }
        }
        open
    }

    /// Returns whether a detector watches the session or its agents.
    pub(super) fn is_watched_by(&self, detector_idx: u32) -> bool {
        self.table.contains(detector_idx)
    }
}
