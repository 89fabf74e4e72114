mod dispatch;
mod episodes;
mod explanation;
mod moment;
mod session;
mod stream;
mod streams;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rapidhash::fast::RandomState;
use serde_json::Map;

pub(crate) use self::{
    dispatch::DispatchContext,
    episodes::Episodes,
    moment::earlier,
    stream::{Reported, RunScratch, Stream},
};
use self::{
    dispatch::{Observed, StreamScope},
    explanation::Explained,
    moment::{TimerQueue, postponed},
    session::Session,
    stream::DetectorPool,
    subscriptions::{SubscriptionTable, TimerOnlySet},
};
pub use self::{
    explanation::{ExplanationDetail, ExplanationEntry, Outcome},
    moment::PackedTimestamp,
};
use crate::{
    AgentFacts, AgentId, Call, Detector, Event, Evidence, Finding, Fingerprint, Labels, Level,
    Price, Prices, Report, Scope, SessionFacts, SessionFilter, SessionId, Severity, Status,
    Subscription, Usage, interner::Interner, quote,
};

/// How many values of one label are watched at once; of more, the one that has
/// been quiet longest is forgotten.
const MAX_GROUPS: usize = 4096;

/// How many choices of detectors are remembered, to be shared by sessions that
/// have the same.
const MAX_TABLES: usize = 64;

/// A kind of detector, configured and named by a policy.
#[derive(Clone)]
pub struct NamedDetector {
    /// Its name in the policy.
    pub id: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// What sort of trouble it finds.
    pub class: Arc<str>,
    /// From what measure on a finding has which severity, lowest first.
    pub levels: Vec<Level>,
    /// The detectors, by name, that say more about the same trouble: while one of
    /// them has a finding open in the same agent or session, this one finds
    /// nothing that is no more severe. Policies refuse two that inhibit each other.
    pub inhibited_by: Vec<Arc<str>>,
    /// The label whose sessions share one stream, where the policy says so.
    pub per_label: Option<String>,
    /// The sessions it tables. Others of the same name may watch the rest.
    pub sessions: SessionFilter,
    /// The detector, in its pristine state.
    pub detector: Box<dyn Detector>,
}

/// What an engine needs to know besides its detectors.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Labels of every finding.
    pub labels: Labels,
    /// What models cost.
    pub prices: Prices,
    /// How long a session may be quiet before it is forgotten.
    pub session_expiry: SignedDuration,
    /// How many sessions are watched at once. Of more, one that has been quiet
    /// for long is forgotten, and that is a finding.
    pub max_sessions: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            labels: Labels::default(),
            prices: Prices::default(),
            session_expiry: SignedDuration::from_hours(24),
            max_sessions: 1_000_000,
        }
    }
}

/// Runs the detectors of a policy over any number of sessions.
///
/// The engine is told the time: it has no clock, no thread and no socket. The
/// [`Monitor`](crate::Monitor) gives it those; recorded sessions and tests do
/// without. Each session has a time of its own, which its events move forward
/// and never back, so sessions of different years can be read in any order;
/// [`advance`](Self::advance) moves all of them.
///
/// A wake-up that is due at the time of an event comes before the event. The
/// same events give the same findings with the same ids, live or replayed, and
/// however often time is said to pass between them.
pub struct Engine {
    shared: Shared,
    sessions: HashMap<SessionId, Box<Session>, RandomState>,
    /// The sessions in the order in which they are looked at when one must go,
    /// and some that are no more.
    turns: VecDeque<SessionId>,
    alarms: TimerQueue<SessionId>,
    /// Whether any detector has a `per_label`.
    has_groups: bool,
    /// For each detector with a `per_label`, its streams by the label's value.
    groups: Vec<BTreeMap<Arc<str>, Group>>,
    group_alarms: TimerQueue<(usize, Arc<str>)>,
    n_events: u64,
    n_evicted: u64,
    n_evicted_groups: u64,
}

/// What all sessions share.
struct Shared {
    /// Each after those that inhibit it.
    detectors: Vec<CompiledDetector>,
    config: EngineConfig,
    /// Folders and models, each kept once.
    names: Interner<Arc<str>>,
    /// To look one up in `config` takes longer than all else that is done with a
    /// model call.
    prices: Interner<Option<Price>>,
    /// What tables the sessions so far, each once: nearly all have the same.
    tables: Vec<Arc<SubscriptionTable>>,
    scratch: RunScratch,
    /// By detector.
    pools: Box<[DetectorPool]>,
}

/// A detector, and what is worked out once of it.
pub(crate) struct CompiledDetector {
    /// Its place among all.
    idx: u32,
    pub(crate) named: NamedDetector,
    subscription: Subscription,
    /// Its bit among those that sleep; 0 if it does not, or is one of too many.
    timer_bit: TimerOnlySet,
    /// The places of those that inhibit it.
    inhibitors: Box<[u32]>,
    /// Whether what it finds is about what is used.
    pub(crate) is_budget: bool,
}

/// The sessions that share a label, for one detector.
struct Group {
    stream: Stream,
    /// Its detector has panicked.
    is_off: bool,
    /// The name, source and labels of the session that spoke last.
    facts: SessionFacts,
    /// What is known of the agent that spoke last.
    agent: AgentFacts,
    now: Timestamp,
    expires_at: PackedTimestamp,
    alarm_at: Option<PackedTimestamp>,
    /// Which event of the engine's was its latest.
    event_idx: u64,
}

impl Engine {
    /// Makes an engine for the detectors of a policy.
    pub fn new(mut detectors: Vec<NamedDetector>, config: EngineConfig) -> Self {
        sort(&mut detectors);
        let inhibitors: Vec<_> = detectors.iter().map(|it| inhibitors(it, &detectors)).collect();
        let compiled = detectors.into_iter().zip(inhibitors).zip(0..);
        let compiled = compiled
            .map(|((named, inhibitors), idx)| CompiledDetector::new(idx, named, inhibitors));
        let mut detectors: Vec<CompiledDetector> = compiled.collect();
        let sleeping = detectors.iter_mut().filter(|it| it.subscription.is_timer_only);
        for (it, bit) in sleeping.zip(0..TimerOnlySet::BITS) {
            it.timer_bit = 1 << bit;
        }
        let has_groups = detectors.iter().any(|it| it.named.per_label.is_some());
        let groups = detectors.iter().map(|_| BTreeMap::new()).collect();
        let pools = detectors.iter().map(|it| DetectorPool::new(it.idx)).collect();
        Self {
            shared: Shared {
                detectors,
                config,
                names: Interner::default(),
                prices: Interner::default(),
                tables: Vec::new(),
                scratch: RunScratch::default(),
                pools,
            },
            sessions: HashMap::default(),
            turns: VecDeque::new(),
            alarms: TimerQueue::new(),
            has_groups,
            groups,
            group_alarms: TimerQueue::new(),
            n_events: 0,
            n_evicted: 0,
            n_evicted_groups: 0,
        }
    }

    /// Handles one event, and before it every wake-up of its session that is
    /// due by then.
    pub fn observe(&mut self, event: &Event, findings: &mut Vec<Finding>) {
        self.n_events += 1;
        let session = match self.sessions.get_mut(&event.session) {
            Some(session) if event.at < session.expires_at() => {
                session.was_touched = true;
                session
            }
            found => {
                if let Some(session) = found {
                    session.wake_until(session.expires_at(), &mut self.shared, findings);
                    self.forget(&event.session);
                }
                self.make_room(event.at, findings);
                self.turns.push_back(event.session.clone());
                let session = Box::new(Session::new(event, &self.shared));
                self.sessions.entry(event.session.clone()).or_insert(session)
            }
        };
        let at = event.at.max(session.now());
        session.wake_until(at, &mut self.shared, findings);
        let n_before = findings.len();
        let (usage, call) = session.observe(event, at, &mut self.shared, findings);
        let due_at = session.due_at();
        self.alarms.set(&mut session.alarm_at, due_at, &event.session);
        if self.has_groups {
            self.observe_groups(event, at, usage.as_ref(), call.as_ref(), findings);
        }
        // Streams of agents, of the session and of groups run one after the
        // other; a reader wants one order, that of the policy.
        findings[n_before..].sort_by(|a, b| (a.at, &a.detector).cmp(&(b.at, &b.detector)));
    }

    /// Lets time pass for every session, and handles every wake-up due by
    /// `now`, in order of time.
    pub fn advance(&mut self, now: Timestamp, findings: &mut Vec<Finding>) {
        loop {
            let group_at = self.group_alarms.first();
            let until = group_at.map_or(now, |it| it.min(now));
            if let Some((at, id)) = self.alarms.ring(until) {
                self.ring_session(&id, at, findings);
            } else if let Some((at, (detector_idx, label))) = self.group_alarms.ring(now) {
                self.ring_group(detector_idx, label, at, findings);
            } else {
                return;
            }
        }
    }

    /// No later than this, [`advance`](Self::advance) has something to do.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.alarms.first().into_iter().chain(self.group_alarms.first()).min()
    }

    /// Puts off by `by` every wake-up that is due after `since`, and the time
    /// at which sessions that stay quiet are forgotten.
    ///
    /// For a clock that clock_adjustments ahead, as that on the wall does when the machine
    /// has slept: an agent that slept as well has not been silent for so long.
    /// [`Context::time_since`](crate::Context::time_since) leaves the jump out.
    pub fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.shared.scratch.clock_adjustments.add(since, by);
        // The alarms stay where they are: they may be early.
        self.sessions.values_mut().for_each(|it| it.postpone(since, by));
        for group in self.groups.iter_mut().flat_map(BTreeMap::values_mut) {
            group.expires_at = postponed(group.expires_at, since, by);
            group.stream.postpone(since, by);
        }
    }

    /// What is known of a session.
    pub fn session(&self, id: &SessionId) -> Option<&SessionFacts> {
        self.sessions.get(id).map(|it| &it.facts)
    }

    /// What is known of every session, in order of their ids.
    pub fn sessions(&self) -> Vec<&SessionFacts> {
        let mut res: Vec<_> = self.sessions.values().map(|it| &it.facts).collect();
        res.sort_by(|a, b| a.id.cmp(&b.id));
        res
    }

    /// The findings of a session that are open, by their fingerprint, and how
    /// often each has happened so far.
    pub fn open_findings(&self, id: &SessionId) -> Vec<(Fingerprint, u64)> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        session.open_findings(&self.shared)
    }

    /// The detectors that watch a session, as its first event settled it, and
    /// have not panicked in it.
    pub fn watching(&self, id: &SessionId) -> Vec<&NamedDetector> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let watching = self.shared.detectors.iter().filter(|it| {
            let label = it.named.per_label.as_ref();
            session.is_seen_by(it.idx)
                || label.is_some_and(|it| session.facts.labels.contains_key(it))
        });
        watching.map(|it| &it.named).collect()
    }

    /// Takes [`notes`](Self::take_explanation) of one session from here on, in place of
    /// any other. Its findings stay what they are.
    pub fn explain(&mut self, id: SessionId) {
        self.shared.scratch.explained =
            Some(Box::new(Explained { session: id, notes: Vec::new() }));
    }

    /// What was noted since this was last asked, in the order in which it
    /// happened. Whoever has a session explained asks after each event, since
    /// notes are not bounded.
    pub fn take_explanation(&mut self) -> Vec<ExplanationEntry> {
        self.shared
            .scratch
            .explained
            .as_mut()
            .map_or_else(Vec::new, |it| std::mem::take(&mut it.notes))
    }

    /// How many sessions are watched.
    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Forgets a session: it will send no more events.
    pub fn forget(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.alarms.cancel(session.alarm_at, id);
        // Each time half of the turns are gone, so that a turn costs little.
        if 2 * self.sessions.len() + 64 < self.turns.len() {
            let mut seen = HashSet::with_hasher(RandomState::default());
            self.turns.retain(|it| self.sessions.contains_key(it) && seen.insert(it.clone()));
        }
    }

    fn ring_session(&mut self, id: &SessionId, at: Timestamp, findings: &mut Vec<Finding>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.alarm_at = None;
        session.wake_until(at, &mut self.shared, findings);
        if session.expires_at() <= at {
            self.forget(id);
            return;
        }
        let due_at = session.due_at();
        self.alarms.set(&mut session.alarm_at, due_at, id);
    }

    /// Makes room for one more session.
    fn make_room(&mut self, at: Timestamp, findings: &mut Vec<Finding>) {
        let max = self.shared.config.max_sessions.max(1);
        if self.sessions.len() < max {
            return;
        }
        // Whoever spoke since it was last looked at gets another turn.
        while let Some(id) = self.turns.pop_front() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if std::mem::take(&mut session.was_touched) && 1 < max {
                self.turns.push_back(id);
                continue;
            }
            self.forget(&id);
            break;
        }
        self.n_evicted += 1;
        let what = format!("more than {max} sessions at once");
        findings.extend(evicted(at, "sessions", &what, self.n_evicted));
    }

    fn observe_groups(
        &mut self,
        event: &Event,
        at: Timestamp,
        usage: Option<&Usage>,
        call: Option<&Call>,
        findings: &mut Vec<Finding>,
    ) {
        let Some(session) = self.sessions.get(&event.session) else { return };
        for detector_idx in 0..self.shared.detectors.len() {
            let compiled = &self.shared.detectors[detector_idx];
            let Some(label) = &compiled.named.per_label else { continue };
            let Some(value) = session.facts.labels.get(label) else { continue };
            // A label that came late makes no second stream of a session.
            if session.is_watched_by(compiled.idx) {
                continue;
            }
            let groups = &mut self.groups[detector_idx];
            if let Some(group) = groups.get_mut(value.as_str()) {
                let expires_at = group.expires_at.into();
                if expires_at <= at {
                    group.wake_until(expires_at, value, &mut self.shared, findings);
                    let key = (detector_idx, value.as_str().into());
                    self.group_alarms.cancel(group.alarm_at, &key);
                    groups.remove(value.as_str());
                }
            }
            if !groups.contains_key(value.as_str()) {
                if groups.len() == MAX_GROUPS
                    && let Some((quietest, group)) = groups.iter().min_by_key(|it| it.1.event_idx)
                {
                    let key = (detector_idx, quietest.clone());
                    self.group_alarms.cancel(group.alarm_at, &key);
                    groups.remove(&key.1);
                    self.n_evicted_groups += 1;
                    let what = format!("more than {MAX_GROUPS} values of one label at once");
                    findings.extend(evicted(at, "labels", &what, self.n_evicted_groups));
                }
                let group = Group::new(detector_idx, &session.facts, at, &self.shared);
                groups.insert(value.as_str().into(), group);
            }
            let Some(group) = groups.get_mut(value.as_str()) else { continue };
            let at = at.max(group.now);
            group.wake_until(at, value, &mut self.shared, findings);
            group.event_idx = self.n_events;
            group.now = at;
            group.expires_at = self.shared.expiry(at);
            group.facts.name_after(&session.facts, at);
            let agent = &session.agent(event.agent.as_ref()).facts;
            group.agent.clone_from(agent);
            let stream_scope = StreamScope {
                session: &session.facts,
                agent,
                agent_id: event.agent.as_ref(),
                group: Some(value),
            };
            let compiled = &self.shared.detectors[detector_idx];
            if !group.is_off && compiled.subscription.events.contains(&event.kind) {
                let observed = Observed { event, usage, call };
                let dispatch = DispatchContext::of_event(at, stream_scope, observed, &self.shared);
                group.is_off = group.stream.run_alone(&dispatch, &mut self.shared, findings);
            }
            let due_at = group.due_at();
            if group.alarm_at.is_none_or(|it| due_at < it) {
                let key = (detector_idx, value.as_str().into());
                self.group_alarms.set(&mut group.alarm_at, due_at, &key);
            }
        }
    }

    fn ring_group(
        &mut self,
        detector_idx: usize,
        label: Arc<str>,
        at: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        let Some(group) = self.groups[detector_idx].get_mut(&label) else { return };
        group.alarm_at = None;
        group.wake_until(at, &label, &mut self.shared, findings);
        if Timestamp::from(group.expires_at) <= at {
            self.groups[detector_idx].remove(&label);
            return;
        }
        let due_at = group.due_at();
        self.group_alarms.set(&mut group.alarm_at, due_at, &(detector_idx, label));
    }
}

impl Group {
    fn new(detector_idx: usize, session: &SessionFacts, at: Timestamp, shared: &Shared) -> Self {
        Self {
            stream: Stream::new(shared.detectors[detector_idx].idx),
            facts: SessionFacts::new(session.id.clone(), at, session.labels.clone()),
            agent: AgentFacts::default(),
            now: at,
            expires_at: shared.expiry(at),
            is_off: false,
            alarm_at: None,
            event_idx: 0,
        }
    }

    fn due_at(&self) -> PackedTimestamp {
        self.stream.wake_at.map_or(self.expires_at, |it| it.min(self.expires_at))
    }

    /// Handles every wake-up due by `until`, in order of time.
    fn wake_until(
        &mut self,
        until: Timestamp,
        label: &str,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let until = PackedTimestamp::from(until);
        while let Some(due) = self.stream.ring(until) {
            self.now = self.now.max(due.into());
            let stream_scope = StreamScope {
                session: &self.facts,
                agent: &self.agent,
                agent_id: None,
                group: Some(label),
            };
            let dispatch = DispatchContext::of_wakeup(due, stream_scope, shared);
            self.is_off = self.stream.run_alone(&dispatch, shared, findings);
        }
    }
}

impl NamedDetector {
    /// The sub-agent that a finding is about, if it is about one.
    fn agent_of<'a>(&self, stream_scope: &StreamScope<'a>) -> Option<&'a AgentId> {
        match self.detector.subscription().scope {
            Scope::Agent if self.per_label.is_none() => stream_scope.agent_id,
            _ => None,
        }
    }

    fn fingerprint(&self, stream_scope: &StreamScope<'_>, subject: Fingerprint) -> Fingerprint {
        let agent = || {
            let agent = self.agent_of(stream_scope);
            agent.map_or(Fingerprint::NONE, |it| Fingerprint::of(it.as_str()))
        };
        let stream = stream_scope.group.map_or_else(
            || Fingerprint::of(stream_scope.session.id.as_str()).and(agent()),
            Fingerprint::of,
        );
        Fingerprint::of(&*self.id).and(stream).and(subject)
    }

    fn finding(&self, at: Timestamp, stream_scope: &StreamScope<'_>, raised: Reported) -> Finding {
        let Reported { subject, severity, measure, report } = raised;
        let Report { message, data, evidence } = report;
        let (severity, status) = match severity {
            Some(it) => (it, Status::Open),
            None => (Severity::Low, Status::Resolved),
        };
        let agent = self.agent_of(stream_scope);
        let fingerprint = self.fingerprint(stream_scope, subject);
        Finding {
            id: finding_id(fingerprint, at, severity, status),
            at,
            detector: self.id.clone(),
            kind: self.kind.clone(),
            class: self.class.clone(),
            severity,
            status,
            count: measure,
            session: stream_scope.session.id.clone(),
            agent: agent.cloned(),
            source: stream_scope.session.source,
            fingerprint,
            labels: stream_scope.session.labels.clone(),
            message,
            data,
            evidence,
        }
    }

    fn panic_finding(
        &self,
        at: Timestamp,
        stream_scope: &StreamScope<'_>,
        panic: &(dyn Any + Send),
    ) -> Finding {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let place = match (stream_scope.group, &self.per_label) {
            (Some(value), Some(label)) => {
                format!("where the label {} is {}", quote(label), quote(value))
            }
            _ => "for this session".to_owned(),
        };
        let detector = quote(&self.id);
        let message = format!("detector {detector} panicked and is off {place}: {}", quote(said));
        let raised = Reported {
            subject: Fingerprint::of("panic"),
            severity: Some(Severity::Medium),
            measure: 1,
            report: Report::new(message),
        };
        Finding { class: "error".into(), ..self.finding(at, stream_scope, raised) }
    }
}

impl CompiledDetector {
    fn new(idx: u32, mut named: NamedDetector, inhibitors: Box<[u32]>) -> Self {
        named.levels.sort_by_key(|it| it.at);
        let subscription = named.detector.subscription();
        let is_budget = &*named.class == "budget";
        Self { idx, named, subscription, timer_bit: 0, inhibitors, is_budget }
    }

    /// The severest of what its inhibitors have open.
    pub(crate) fn inhibited(&self, streams: &[Stream]) -> Option<Severity> {
        let inhibitors = streams.iter().filter(|it| self.inhibitors.contains(&it.detector_idx));
        inhibitors.filter_map(Stream::severity).max()
    }
}

impl Shared {
    /// What tables a session that begins with the event `first`.
    fn watch(&mut self, facts: &SessionFacts, first: &Event) -> Arc<SubscriptionTable> {
        let watch = SubscriptionTable::new(&self.detectors, facts, first);
        if let Some(it) = self.tables.iter().find(|it| ***it == watch) {
            return it.clone();
        }
        let res = Arc::new(watch);
        // Whoever has one keeps it.
        if self.tables.len() == MAX_TABLES {
            self.tables.clear();
        }
        self.tables.push(res.clone());
        res
    }

    fn expiry(&self, at: Timestamp) -> PackedTimestamp {
        let expiry = PackedTimestamp::from(at).checked_add(self.config.session_expiry);
        expiry.unwrap_or_else(|| Timestamp::MAX.into())
    }
}

impl Finding {
    /// Makes a finding about the monitor's own trouble, of class `error`.
    ///
    /// `what` says which part is in trouble, and is its detector and kind.
    pub fn about_monitor(
        at: Timestamp,
        what: &str,
        severity: Severity,
        message: impl Into<String>,
    ) -> Self {
        let fingerprint = Fingerprint::of("watchkeeper").and(Fingerprint::of(what));
        Self {
            id: finding_id(fingerprint, at, severity, Status::Open),
            at,
            detector: format!("watchkeeper-{what}").into(),
            kind: "watchkeeper".into(),
            class: "error".into(),
            severity,
            status: Status::Open,
            count: 1,
            session: "".into(),
            agent: None,
            source: None,
            fingerprint,
            labels: Labels::default(),
            message: message.into(),
            data: Map::new(),
            evidence: Vec::<Evidence>::new(),
        }
    }
}

/// Puts each detector after those that inhibit it, and else in order of their
/// names.
fn sort(detectors: &mut [NamedDetector]) {
    detectors.sort_by(|a, b| a.id.cmp(&b.id));
    let mut depths = vec![0; detectors.len()];
    // In as many rounds all depths are found, unless some inhibit each other.
    for _ in 0..detectors.len() {
        for (place, it) in detectors.iter().enumerate() {
            let inhibitors = inhibitors(it, detectors);
            let depth = inhibitors.iter().map(|it| depths[*it as usize] + 1).max();
            depths[place] = depth.unwrap_or(0);
        }
    }
    let depths: BTreeMap<Arc<str>, usize> =
        detectors.iter().map(|it| it.id.clone()).zip(depths).collect();
    detectors.sort_by_key(|it| depths[&it.id]);
}

/// The places of the detectors that inhibit this one.
fn inhibitors(detector: &NamedDetector, all: &[NamedDetector]) -> Box<[u32]> {
    let named = all.iter().zip(0..).filter(|(it, _)| detector.inhibited_by.contains(&it.id));
    named.map(|(_, place)| place).collect()
}

/// Says that there was no room for all: once for every doubling of the number,
/// so that a flood is told of and does not become one of findings.
fn evicted(at: Timestamp, part: &str, what: &str, n_evicted: u64) -> Option<Finding> {
    if !n_evicted.is_power_of_two() {
        return None;
    }
    let message = format!("{what}: {n_evicted} forgotten so far");
    let mut finding = Finding::about_monitor(at, part, Severity::Medium, message);
    finding.count = n_evicted;
    finding.id = finding.id.and(Fingerprint::from(n_evicted));
    Some(finding)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a hash of the time does not need all of it"
)]
fn finding_id(
    fingerprint: Fingerprint,
    at: Timestamp,
    severity: Severity,
    status: Status,
) -> Fingerprint {
    let step = match status {
        Status::Open => severity as u64,
        Status::Resolved => u64::MAX,
    };
    fingerprint.and(Fingerprint::from(at.as_nanosecond() as u64)).and(Fingerprint::from(step))
}
