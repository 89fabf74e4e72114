use std::{
    any::Any,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rapidhash::fast::RandomState;
use serde_json::Map;

use crate::{
    AgentFacts, AgentId, Call, Context, Detector, Event, EventKind, Evidence, Finding, Fingerprint,
    Labels, Level, Prices, Report, Scope, SessionFacts, SessionId, Severity, Status, Usage,
    facts::Standing, quote,
};

/// How many agents of one session are watched at once; of more, the one that
/// has been quiet longest is forgotten.
const MAX_AGENTS: usize = 256;
/// How many conditions of one stream may last at once; of more, the oldest is
/// forgotten.
const MAX_EPISODES: usize = 32;

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
    /// The label whose sessions share one stream, where the policy says so.
    pub per_label: Option<String>,
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
/// same events give the same findings with the same ids, live or replayed.
pub struct Engine {
    shared: Shared,
    sessions: HashMap<SessionId, Session, RandomState>,
    /// The sessions in the order in which they are looked at when one must go.
    turns: VecDeque<SessionId>,
    /// The streams of detectors with a `per_label`.
    groups: BTreeMap<(usize, String), Group>,
    /// When to look at what. Entries are never late, but may be early: one
    /// that is put off stays where it is and is put back when it comes due,
    /// so a busy session costs no more room here than a quiet one.
    alarms: BinaryHeap<Reverse<(Timestamp, Target)>>,
    n_evicted: u64,
}

/// What all streams read and none changes, and the room they work in.
struct Shared {
    detectors: Vec<NamedDetector>,
    config: EngineConfig,
    raised: Vec<Raised>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Session(SessionId),
    Group(usize, String),
}

struct Session {
    facts: SessionFacts,
    now: Timestamp,
    /// The first time at which one of its streams wants to be woken.
    wake_at: Option<Timestamp>,
    /// The earliest of its entries among the alarms.
    alarm_at: Option<Timestamp>,
    streams: Vec<Stream>,
    main: Agent,
    /// The sub-agents, the one that spoke last at the end.
    agents: Vec<(AgentId, Agent)>,
    was_touched: bool,
}

#[derive(Default)]
struct Agent {
    facts: AgentFacts,
    streams: Vec<Stream>,
}

struct Group {
    stream: Stream,
    now: Timestamp,
    alarm_at: Option<Timestamp>,
    /// The session that spoke last.
    session: SessionId,
}

/// One detector at work on one stream.
struct Stream {
    detector_idx: usize,
    /// `None` once it has panicked.
    detector: Option<Box<dyn Detector>>,
    wake_at: Option<Timestamp>,
    episodes: Episodes,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Raised {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
}

/// The conditions of one stream that last.
#[derive(Debug, Default)]
pub(crate) struct Episodes(Vec<Episode>);

#[derive(Debug)]
struct Episode {
    subject: Fingerprint,
    measure: u64,
    severity: Severity,
}

impl Engine {
    /// Makes an engine for the detectors of a policy.
    pub fn new(mut detectors: Vec<NamedDetector>, config: EngineConfig) -> Self {
        detectors.sort_by(|a, b| a.id.cmp(&b.id));
        for it in &mut detectors {
            it.levels.sort_by_key(|it| it.at);
        }
        Self {
            shared: Shared { detectors, config, raised: Vec::new() },
            sessions: HashMap::default(),
            turns: VecDeque::new(),
            groups: BTreeMap::new(),
            alarms: BinaryHeap::new(),
            n_evicted: 0,
        }
    }

    /// Handles one event, and before it every wake-up of its session that is
    /// due by then.
    pub fn observe(&mut self, event: &Event, findings: &mut Vec<Finding>) {
        if !self.sessions.contains_key(&event.session) {
            self.make_room(event.at, findings);
            let session = Session::new(event, &self.shared);
            self.sessions.insert(event.session.clone(), session);
            self.turns.push_back(event.session.clone());
        }
        let Some(session) = self.sessions.get_mut(&event.session) else { return };
        session.was_touched = true;
        let at = event.at.max(session.now);
        session.wake_until(at, &mut self.shared, findings);
        let usage = session.observe(event, at, &mut self.shared, findings);
        Self::arm(session, &self.shared, &mut self.alarms);
        if self.shared.detectors.iter().any(|it| it.per_label.is_some()) {
            self.observe_groups(event, at, usage.as_ref(), findings);
        }
    }

    /// Lets time pass for every session, and handles every wake-up due by
    /// `now`, in order of time.
    pub fn advance(&mut self, now: Timestamp, findings: &mut Vec<Finding>) {
        while let Some(Reverse((at, _))) = self.alarms.peek()
            && *at <= now
        {
            let Some(Reverse((at, target))) = self.alarms.pop() else { return };
            match target {
                Target::Session(id) => self.ring_session(&id, at, findings),
                Target::Group(detector_idx, label) => {
                    self.ring_group((detector_idx, label), at, findings);
                }
            }
        }
    }

    /// No later than this, [`advance`](Self::advance) has something to do.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
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

    /// How many sessions are watched.
    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Forgets a session: it will send no more events.
    pub fn forget(&mut self, id: &SessionId) {
        if self.sessions.remove(id).is_some() {
            self.turns.retain(|it| it != id);
        }
    }

    fn ring_session(&mut self, id: &SessionId, at: Timestamp, findings: &mut Vec<Finding>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.alarm_at != Some(at) {
            return;
        }
        session.alarm_at = None;
        session.wake_until(at, &mut self.shared, findings);
        if session.expires_at(&self.shared) <= at {
            self.forget(id);
            return;
        }
        Self::arm(session, &self.shared, &mut self.alarms);
    }

    /// Makes sure that an alarm rings no later than the session needs.
    fn arm(
        session: &mut Session,
        shared: &Shared,
        alarms: &mut BinaryHeap<Reverse<(Timestamp, Target)>>,
    ) {
        let expires_at = session.expires_at(shared);
        let at = session.wake_at.map_or(expires_at, |it| it.min(expires_at));
        if session.alarm_at.is_none_or(|it| at < it) {
            session.alarm_at = Some(at);
            alarms.push(Reverse((at, Target::Session(session.facts.id.clone()))));
        }
    }

    /// Makes room for one more session.
    fn make_room(&mut self, at: Timestamp, findings: &mut Vec<Finding>) {
        if self.sessions.len() < self.shared.config.max_sessions {
            return;
        }
        // Whoever spoke since it was last looked at gets another turn.
        while let Some(id) = self.turns.pop_front() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if std::mem::take(&mut session.was_touched) && 1 < self.sessions.len() {
                self.turns.push_back(id);
                continue;
            }
            self.sessions.remove(&id);
            break;
        }
        self.n_evicted += 1;
        // Once for every doubling, so that a flood is told of and does not
        // become one of findings.
        if self.n_evicted.is_power_of_two() {
            let n = self.n_evicted;
            let message = format!(
                "more than {} sessions at once: {n} forgotten so far",
                self.shared.config.max_sessions
            );
            let mut finding = Finding::about_monitor(at, "sessions", Severity::Medium, message);
            finding.count = n;
            findings.push(finding);
        }
    }

    fn observe_groups(
        &mut self,
        event: &Event,
        at: Timestamp,
        usage: Option<&Usage>,
        findings: &mut Vec<Finding>,
    ) {
        let Some(session) = self.sessions.get(&event.session) else { return };
        for detector_idx in 0..self.shared.detectors.len() {
            let named = &self.shared.detectors[detector_idx];
            let Some(value) = named.per_label.as_ref().and_then(|it| session.facts.labels.get(it))
            else {
                continue;
            };
            let key = (detector_idx, value.clone());
            let group = self.groups.entry(key).or_insert_with(|| Group {
                stream: Stream::new(detector_idx, named),
                now: at,
                alarm_at: None,
                session: event.session.clone(),
            });
            let at = at.max(group.now);
            let agent = session.agent(event.agent.as_ref());
            let mut scene = Scene { session: &session.facts, agent: &agent.facts, agent_id: None };
            while let Some(due) = group.stream.wake_at.filter(|it| *it <= at) {
                group.stream.wake_at = None;
                group.stream.run(due, Cue::Wake, &scene, &mut self.shared, findings);
            }
            scene.agent_id = event.agent.as_ref();
            let cue = Cue::Event { event, usage, call: None };
            group.stream.run(at, cue, &scene, &mut self.shared, findings);
            group.now = at;
            group.session.clone_from(&event.session);
            if let Some(at) = group.stream.wake_at
                && group.alarm_at.is_none_or(|it| at < it)
            {
                group.alarm_at = Some(at);
                self.alarms.push(Reverse((at, Target::Group(detector_idx, value.clone()))));
            }
        }
    }

    fn ring_group(&mut self, key: (usize, String), at: Timestamp, findings: &mut Vec<Finding>) {
        let Some(group) = self.groups.get_mut(&key) else { return };
        if group.alarm_at != Some(at) {
            return;
        }
        group.alarm_at = None;
        // A session that was forgotten leaves only its name.
        let forgotten;
        let no_agent = AgentFacts::default();
        let session = match self.sessions.get(&group.session) {
            Some(it) => &it.facts,
            None => {
                let labels = self.shared.config.labels.clone();
                forgotten = SessionFacts::new(group.session.clone(), group.now, labels);
                &forgotten
            }
        };
        let scene = Scene { session, agent: &no_agent, agent_id: None };
        if group.stream.wake_at == Some(at) {
            group.stream.wake_at = None;
            group.now = group.now.max(at);
            group.stream.run(at, Cue::Wake, &scene, &mut self.shared, findings);
        }
        if let Some(at) = group.stream.wake_at {
            group.alarm_at = Some(at);
            self.alarms.push(Reverse((at, Target::Group(key.0, key.1))));
        }
    }
}

impl Session {
    fn new(event: &Event, shared: &Shared) -> Self {
        let labels = shared.config.labels.clone();
        Self {
            facts: SessionFacts::new(event.session.clone(), event.at, labels),
            now: event.at,
            wake_at: None,
            alarm_at: None,
            streams: Vec::new(),
            main: Agent::default(),
            agents: Vec::new(),
            was_touched: true,
        }
    }

    fn expires_at(&self, shared: &Shared) -> Timestamp {
        self.now.saturating_add(shared.config.session_expiry).unwrap_or(Timestamp::MAX)
    }

    fn agent(&self, id: Option<&AgentId>) -> &Agent {
        let find = |id| self.agents.iter().rev().find(|(it, _)| it == id).map(|(_, it)| it);
        id.and_then(find).unwrap_or(&self.main)
    }

    fn observe(
        &mut self,
        event: &Event,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> Option<Usage> {
        self.now = at;
        let usage = self.facts.observe(event, at, &shared.config.prices);
        if self.streams.is_empty() && self.main.streams.is_empty() {
            // Only now, since the first event may bring labels.
            self.streams = Stream::all(shared, Scope::Session, &self.facts.labels);
            self.main.streams = Stream::all(shared, Scope::Agent, &self.facts.labels);
        }
        let agent = match &event.agent {
            None => &mut self.main,
            Some(id) => {
                match self.agents.iter().rposition(|(it, _)| it == id) {
                    Some(place) if place + 1 == self.agents.len() => {}
                    Some(place) => self.agents[place..].rotate_left(1),
                    None => {
                        if self.agents.len() == MAX_AGENTS {
                            let (_, gone) = self.agents.remove(0);
                            self.facts.recount(gone.facts.standing(), Standing::default());
                        }
                        let streams = Stream::all(shared, Scope::Agent, &self.facts.labels);
                        let agent = Agent { facts: AgentFacts::default(), streams };
                        self.agents.push((id.clone(), agent));
                    }
                }
                let Some((_, agent)) = self.agents.last_mut() else { return usage };
                agent
            }
        };
        let was = agent.facts.standing();
        let call = agent.facts.observe(event, at);
        self.facts.recount(was, agent.facts.standing());
        let agent_id = event.agent.as_ref();
        let scene = Scene { session: &self.facts, agent: &agent.facts, agent_id };
        let cue = Cue::Event { event, usage: usage.as_ref(), call: call.as_ref() };
        let n_before = findings.len();
        let session_ends = agent_id.is_none() && matches!(event.kind, EventKind::SessionEnd { .. });
        let agent_ends = session_ends || matches!(event.kind, EventKind::AgentEnd);
        for stream in &mut agent.streams {
            stream.run(at, cue, &scene, shared, findings);
            if agent_ends {
                stream.end(at, &scene, shared, findings);
            }
        }
        for stream in &mut self.streams {
            stream.run(at, cue, &scene, shared, findings);
            if session_ends {
                stream.end(at, &scene, shared, findings);
            }
        }
        if session_ends {
            for (id, agent) in &mut self.agents {
                let scene = Scene { session: &self.facts, agent: &agent.facts, agent_id: Some(id) };
                for stream in &mut agent.streams {
                    stream.end(at, &scene, shared, findings);
                }
            }
            for (_, gone) in self.agents.drain(..) {
                self.facts.recount(gone.facts.standing(), Standing::default());
            }
        } else if agent_ends && agent_id.is_some() {
            self.agents.pop();
        }
        // Streams of agents and of the session run one after the other; a
        // reader wants one order, that of the policy.
        findings[n_before..].sort_by(|a, b| a.detector.cmp(&b.detector));
        self.wake_at = self.next_wake();
        usage
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let agents = self.agents.iter().map(|(_, it)| it);
        let agents = std::iter::once(&self.main).chain(agents).flat_map(|it| &it.streams);
        self.streams.iter().chain(agents).filter_map(|it| it.wake_at).min()
    }

    /// Handles every wake-up due by `until`, in order of time.
    fn wake_until(&mut self, until: Timestamp, shared: &mut Shared, findings: &mut Vec<Finding>) {
        while let Some(due) = self.wake_at.filter(|it| *it <= until) {
            self.now = self.now.max(due);
            let n_before = findings.len();
            let scene = Scene { session: &self.facts, agent: &self.main.facts, agent_id: None };
            for stream in &mut self.streams {
                stream.wake_if_due(due, &scene, shared, findings);
            }
            for stream in &mut self.main.streams {
                stream.wake_if_due(due, &scene, shared, findings);
            }
            for (id, agent) in &mut self.agents {
                let scene = Scene { session: &self.facts, agent: &agent.facts, agent_id: Some(id) };
                for stream in &mut agent.streams {
                    stream.wake_if_due(due, &scene, shared, findings);
                }
            }
            findings[n_before..]
                .sort_by(|a, b| (&a.detector, &a.agent).cmp(&(&b.detector, &b.agent)));
            self.wake_at = self.next_wake();
        }
    }
}

/// Where a stream runs.
struct Scene<'a> {
    session: &'a SessionFacts,
    agent: &'a AgentFacts,
    agent_id: Option<&'a AgentId>,
}

/// Why a stream runs.
#[derive(Clone, Copy)]
enum Cue<'a> {
    Event { event: &'a Event, usage: Option<&'a Usage>, call: Option<&'a Call> },
    Wake,
}

impl Stream {
    fn new(detector_idx: usize, named: &NamedDetector) -> Self {
        Self {
            detector_idx,
            detector: Some(named.detector.clone()),
            wake_at: None,
            episodes: Episodes::default(),
        }
    }

    /// A stream for each detector of this scope.
    fn all(shared: &Shared, scope: Scope, labels: &Labels) -> Vec<Self> {
        let detectors = shared.detectors.iter().enumerate();
        let scoped = detectors.filter(|(_, it)| match &it.per_label {
            None => it.detector.scope() == scope,
            // A session without the label is a group of its own.
            Some(label) => scope == Scope::Session && !labels.contains_key(label),
        });
        scoped.map(|(detector_idx, it)| Self::new(detector_idx, it)).collect()
    }

    fn wake_if_due(
        &mut self,
        due: Timestamp,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        if self.wake_at.is_some_and(|it| it <= due) {
            self.wake_at = None;
            self.run(due, Cue::Wake, scene, shared, findings);
        }
    }

    fn run(
        &mut self,
        now: Timestamp,
        cue: Cue<'_>,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let Some(detector) = &mut self.detector else { return };
        let mut cx = Context {
            now,
            session: scene.session,
            agent: scene.agent,
            usage: None,
            call: None,
            event: None,
            levels: &shared.detectors[self.detector_idx].levels,
            wake_at: &mut self.wake_at,
            episodes: &mut self.episodes,
            raised: &mut shared.raised,
        };
        let is_wake = matches!(cue, Cue::Wake);
        let outcome = catch_unwind(AssertUnwindSafe(|| match cue {
            Cue::Event { event, usage, call } => {
                cx.event = Some(event);
                cx.usage = usage;
                cx.call = call;
                detector.observe(event, &mut cx);
            }
            Cue::Wake => detector.wake(&mut cx),
        }));
        // Time moves on, whatever a detector asks for.
        if is_wake {
            self.wake_at = self.wake_at.filter(|it| now < *it);
        }
        if !shared.raised.is_empty() {
            let raised = std::mem::take(&mut shared.raised);
            for it in raised {
                findings.push(shared.finding(self.detector_idx, now, scene, it));
            }
        }
        if let Err(panic) = outcome {
            self.detector = None;
            self.wake_at = None;
            findings.push(shared.panicked(self.detector_idx, now, scene, panic.as_ref()));
        }
    }

    /// Ends with what it watched.
    fn end(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        self.wake_at = None;
        for it in self.episodes.0.drain(..) {
            let what = if scene.agent_id.is_some() { "agent" } else { "session" };
            let report = Report::new(format!("over, as the {what} ended"));
            let raised =
                Raised { subject: it.subject, severity: None, measure: it.measure, report };
            findings.push(shared.finding(self.detector_idx, now, scene, raised));
        }
    }
}

impl Shared {
    fn finding(
        &self,
        detector_idx: usize,
        at: Timestamp,
        scene: &Scene<'_>,
        raised: Raised,
    ) -> Finding {
        let named = &self.detectors[detector_idx];
        let Raised { subject, severity, measure, report } = raised;
        let Report { message, data, evidence } = report;
        let (severity, status) = match severity {
            Some(it) => (it, Status::Open),
            None => (Severity::Low, Status::Resolved),
        };
        let group = named.per_label.as_ref().and_then(|it| scene.session.labels.get(it));
        let agent = match named.detector.scope() {
            Scope::Agent if named.per_label.is_none() => scene.agent_id,
            _ => None,
        };
        let stream = group.map_or_else(
            || {
                let agent = agent.map_or(Fingerprint::NONE, |it| Fingerprint::of(it.as_str()));
                Fingerprint::of(scene.session.id.as_str()).and(agent)
            },
            Fingerprint::of,
        );
        let fingerprint = Fingerprint::of(&*named.id).and(stream).and(subject);
        Finding {
            id: finding_id(fingerprint, at, severity, status),
            at,
            detector: named.id.clone(),
            kind: named.kind.clone(),
            class: named.class.clone(),
            severity,
            status,
            count: measure,
            session: scene.session.id.clone(),
            agent: agent.cloned(),
            source: scene.session.source,
            fingerprint,
            labels: scene.session.labels.clone(),
            message,
            data,
            evidence,
        }
    }

    fn panicked(
        &self,
        detector_idx: usize,
        at: Timestamp,
        scene: &Scene<'_>,
        panic: &(dyn Any + Send),
    ) -> Finding {
        let named = &self.detectors[detector_idx];
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        let message = format!(
            "detector {} panicked and is off for this session: {}",
            quote(&named.id),
            quote(said)
        );
        let raised = Raised {
            subject: Fingerprint::of("panic"),
            severity: Some(Severity::Medium),
            measure: 1,
            report: Report::new(message),
        };
        Finding { class: "error".into(), ..self.finding(detector_idx, at, scene, raised) }
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

impl Episodes {
    /// Notes how far a condition has come. Gives back a severity if there is
    /// something new to say.
    pub(crate) fn raise(
        &mut self,
        subject: Fingerprint,
        measure: u64,
        levels: &[Level],
    ) -> Option<Severity> {
        let reached = levels.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        if let Some(episode) = self.0.iter_mut().find(|it| it.subject == subject) {
            episode.measure = episode.measure.max(measure);
            let higher = reached.filter(|it| episode.severity < *it)?;
            episode.severity = higher;
            return Some(higher);
        }
        let severity = reached?;
        if self.0.len() == MAX_EPISODES {
            self.0.remove(0);
        }
        self.0.push(Episode { subject, measure, severity });
        Some(severity)
    }

    /// Ends a condition. Gives back how far it came, if it was open.
    pub(crate) fn resolve(&mut self, subject: Fingerprint) -> Option<u64> {
        let at = self.0.iter().position(|it| it.subject == subject)?;
        Some(self.0.remove(at).measure)
    }
}
