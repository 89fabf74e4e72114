use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Shared,
    dispatch::{DispatchContext, Observed, StreamScope},
    moment::{PackedTimestamp, earlier, postponed},
    stream::Run,
    streams::Streams,
    subscriptions::SubscriptionTable,
};
use crate::{
    AgentFacts, AgentId, Call, Event, EventKind, Finding, Fingerprint, SessionFacts, Usage,
    facts::AgentStatus,
};

/// How many agents of one session are watched at once; of more, the one that
/// has been quiet longest is forgotten.
pub(super) const MAX_AGENTS: usize = 256;

/// A session, its agents, and the detectors at work on them.
pub(super) struct Session {
    pub(super) facts: SessionFacts,
    now: PackedTimestamp,
    /// When it is forgotten unless it is heard of again.
    expires_at: PackedTimestamp,
    /// No later than this, one of its streams wants to be woken, or one of the
    /// detectors that sleep.
    wake_at: Option<PackedTimestamp>,
    pub(super) alarm_at: Option<PackedTimestamp>,
    /// It was heard of again since it was made, or last looked at when one had
    /// to go.
    pub(super) was_touched: bool,
    watch: Arc<SubscriptionTable>,
    streams: Streams,
    main: Agent,
    agents: Agents,
}

/// The sub-agents of a session, the one that spoke last at the end.
#[derive(Default)]
struct Agents(
    #[expect(clippy::box_collection, reason = "most of very many sessions have none")]
    Option<Box<Vec<(AgentId, Agent)>>>,
);

impl Deref for Agents {
    type Target = [(AgentId, Agent)];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |it| it.as_slice())
    }
}

impl DerefMut for Agents {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().map_or(&mut [], |it| it.as_mut_slice())
    }
}

#[derive(Default)]
pub(super) struct Agent {
    pub(super) facts: AgentFacts,
    streams: Streams,
}

impl Session {
    pub(super) fn new(event: &Event, shared: &Shared) -> Self {
        let labels = shared.config.labels.clone();
        Self {
            facts: SessionFacts::new(event.session.clone(), event.at, labels),
            now: event.at.into(),
            expires_at: shared.expiry(event.at),
            wake_at: None,
            alarm_at: None,
            was_touched: false,
            watch: Arc::default(),
            streams: Streams::default(),
            main: Agent::default(),
            agents: Agents::default(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.into()
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at.into()
    }

    /// When it must be looked at, at the latest.
    pub(super) fn due_at(&self) -> PackedTimestamp {
        self.wake_at.map_or(self.expires_at, |it| it.min(self.expires_at))
    }

    pub(super) fn agent(&self, id: Option<&AgentId>) -> &Agent {
        let find = |id| self.agents.iter().rev().find(|(it, _)| it == id).map(|(_, it)| it);
        id.and_then(find).unwrap_or(&self.main)
    }

    pub(super) fn open_findings(&self, shared: &Shared) -> Vec<(Fingerprint, u64)> {
        let agents = self.agents.iter().map(|(id, it)| (Some(id), it));
        let agents = std::iter::once((None, &self.main)).chain(agents);
        let of_agents = agents.flat_map(|(id, it)| it.streams.iter().map(move |it| (id, it)));
        let streams = self.streams.iter().map(|it| (None, it)).chain(of_agents);
        let open = streams.flat_map(|(agent_id, stream)| {
            let stream_scope = StreamScope {
                session: &self.facts,
                agent: &self.main.facts,
                agent_id,
                group: None,
            };
            stream.open_findings(&stream_scope, shared)
        });
        open.collect()
    }

    /// Whether a detector tables the whole of it, and it alone.
    pub(super) fn is_watched_by(&self, detector_idx: u32) -> bool {
        self.watch.session.contain(detector_idx)
    }

    /// Whether a detector tables it, or its agents.
    pub(super) fn is_seen_by(&self, detector_idx: u32) -> bool {
        self.is_watched_by(detector_idx) || self.watch.agents.contain(detector_idx)
    }

    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.expires_at = postponed(self.expires_at, since, by);
        self.streams.postpone(since, by);
        for agent in self.agents.iter_mut().map(|(_, it)| it).chain([&mut self.main]) {
            agent.streams.postpone(since, by);
        }
        // Those sleeping may have asked to be woken no earlier than that.
        self.wake_at = self.wake_at.map(|it| postponed(it, since, by));
    }

    pub(super) fn observe(
        &mut self,
        event: &Event,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> (Option<Usage>, Option<Call>) {
        self.now = at.into();
        self.expires_at = shared.expiry(at);
        self.facts.observe(event, at, &mut shared.names);
        if self.facts.totals.events == 1 {
            // Only now, since the first event may bring labels.
            self.watch = shared.watch(&self.facts, event);
        }
        if let Some(id) = &event.agent {
            self.seat(id);
        }
        let agent = match &event.agent {
            Some(_) => self.agents.last_mut().map_or(&mut self.main, |(_, it)| it),
            None => &mut self.main,
        };
        let was = agent.facts.status();
        let call = agent.facts.observe(event, at);
        self.facts.recount(was, agent.facts.status());
        let usage = match &event.kind {
            EventKind::ModelCall(call) => {
                let price = |it: &str| shared.prices.get(it, || shared.config.prices.get(it));
                Some(self.facts.charge(call, agent.facts.answers(), price))
            }
            _ => None,
        };
        let agent_id = event.agent.as_ref();
        let stream_scope =
            StreamScope { session: &self.facts, agent: &agent.facts, agent_id, group: None };
        let observed = Observed { event, usage: usage.as_ref(), call: call.as_ref() };
        let dispatch = DispatchContext::of_event(at, stream_scope, observed, shared);
        let is_end = matches!(event.kind, EventKind::SessionEnd { .. });
        let agent_ends = is_end || matches!(event.kind, EventKind::AgentEnd);
        let session_ends = is_end && agent_id.is_none();
        let sort_idx = event.kind.sort_idx().into();
        let (mut run, pools) = Run::new(&dispatch, shared, findings);
        agent.streams.observe(&self.watch.agents, sort_idx, &mut run, pools);
        if agent_ends {
            agent.streams.end(&mut run);
        }
        self.streams.observe(&self.watch.session, sort_idx, &mut run, pools);
        if session_ends {
            self.streams.end(&mut run);
        }
        self.wake_at = earlier(self.wake_at, run.scratch.first_wake);
        if session_ends {
            for (id, mut agent) in self.agents.0.take().map_or_else(Vec::new, |it| *it) {
                self.facts.recount(agent.facts.status(), AgentStatus::default());
                let (facts, agent_id) = (&self.facts, Some(&id));
                let stream_scope =
                    StreamScope { session: facts, agent: &agent.facts, agent_id, group: None };
                let dispatch = DispatchContext::of_event(at, stream_scope, observed, shared);
                let (mut run, _) = Run::new(&dispatch, shared, findings);
                agent.streams.end(&mut run);
            }
        } else if agent_ends && agent_id.is_some() {
            self.agents.0.as_mut().and_then(|it| it.pop());
            self.agents.0.take_if(|it| it.is_empty());
        }
        if !shared.scratch.panicked.is_empty() {
            self.turn_off_panicked(shared);
        }
        (usage, call)
    }

    /// Makes a sub-agent the last in the row.
    fn seat(&mut self, id: &AgentId) {
        match self.agents.iter().rposition(|(it, _)| it == id) {
            Some(place) if place + 1 == self.agents.len() => {}
            Some(place) => self.agents[place..].rotate_left(1),
            None => {
                let agents = self.agents.0.get_or_insert_default();
                if agents.len() == MAX_AGENTS {
                    let (_, gone) = agents.remove(0);
                    self.facts.recount(gone.facts.status(), AgentStatus::default());
                }
                agents.push((id.clone(), Agent::default()));
            }
        }
    }

    fn next_wake(&self) -> Option<PackedTimestamp> {
        let agents = self.agents.iter().filter_map(|(_, it)| it.streams.first_wake());
        let own = [self.streams.first_wake(), self.main.streams.first_wake()];
        own.into_iter().flatten().chain(agents).min()
    }

    /// Handles every wake-up due by `until`, in order of time.
    #[inline]
    pub(super) fn wake_until(
        &mut self,
        until: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        if self.wake_at.is_some_and(|it| it <= until.into()) {
            self.wake(until.into(), shared, findings);
        }
    }

    #[cold]
    fn wake(&mut self, until: PackedTimestamp, shared: &mut Shared, findings: &mut Vec<Finding>) {
        while let Some(due) = self.wake_at.filter(|it| *it <= until) {
            let is_due = self.next_wake().is_some_and(|it| it <= due);
            let n_before = findings.len();
            let facts = &self.facts;
            let main = StreamScope {
                session: facts,
                agent: &self.main.facts,
                agent_id: None,
                group: None,
            };
            let dispatch = DispatchContext::of_wakeup(due, main, shared);
            let (mut run, pools) = Run::new(&dispatch, shared, findings);
            self.streams.wake(&mut run, pools);
            self.main.streams.wake(&mut run, pools);
            let mut asked = run.scratch.first_wake;
            for (id, agent) in self.agents.iter_mut() {
                let agent_id = Some(&*id);
                let stream_scope =
                    StreamScope { session: facts, agent: &agent.facts, agent_id, group: None };
                let dispatch = DispatchContext::of_wakeup(due, stream_scope, shared);
                let (mut run, pools) = Run::new(&dispatch, shared, findings);
                agent.streams.wake(&mut run, pools);
                asked = earlier(asked, run.scratch.first_wake);
            }
            // Who sleeps may be woken for nothing, and that moves no time.
            if is_due || n_before < findings.len() {
                self.now = self.now.max(due);
            }
            findings[n_before..]
                .sort_by(|a, b| (&a.detector, &a.agent).cmp(&(&b.detector, &b.agent)));
            self.turn_off_panicked(shared);
            self.wake_at = earlier(self.next_wake(), asked);
        }
    }

    /// Turns the detectors off, for all of it, that have just panicked in one of
    /// its streams.
    fn turn_off_panicked(&mut self, shared: &mut Shared) {
        for detector_idx in shared.scratch.panicked.drain(..) {
            self.watch = Arc::new(self.watch.without(detector_idx));
            let compiled = &shared.detectors[detector_idx as usize];
            self.streams.turn_off(compiled);
            for agent in self.agents.iter_mut().map(|(_, it)| it).chain([&mut self.main]) {
                agent.streams.turn_off(compiled);
            }
        }
    }
}
