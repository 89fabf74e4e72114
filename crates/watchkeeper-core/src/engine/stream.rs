use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use jiff::{SignedDuration, Timestamp};

use super::{Shared, moment::Moment};
use crate::{
    AgentFacts, AgentId, Call, Context, Detector, Event, Finding, Fingerprint, Level, Noted,
    Report, Scope, SessionFacts, Severity, Usage, detector::Used, engine::NamedDetector,
};

/// How many conditions of one stream may last at once; of more, the oldest is
/// forgotten.
pub(super) const MAX_EPISODES: usize = 32;

/// One detector at work on one stream.
pub(super) struct Stream {
    detector_idx: u32,
    pub(super) wake_at: Option<Moment>,
    /// `None` once it has panicked.
    detector: Option<Box<dyn Detector>>,
    episodes: Episodes,
}

/// The detectors that watch a session, as its first event settled it, by their
/// places in the policy.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Watch {
    /// Those that see all of it.
    pub(super) session: Box<[usize]>,
    /// Those that see one agent each.
    pub(super) agents: Box<[usize]>,
}

/// The streams of one agent, or of a session as a whole, in the order of the
/// policy. One at rest is not among them.
#[derive(Default)]
pub(super) struct Streams(Vec<Stream>);

/// Where a stream runs.
pub(super) struct Scene<'a> {
    pub(super) session: &'a SessionFacts,
    pub(super) agent: &'a AgentFacts,
    pub(super) agent_id: Option<&'a AgentId>,
    /// The value of the label that the sessions of the stream share.
    pub(super) group: Option<&'a str>,
}

/// Why a stream runs.
#[derive(Clone, Copy)]
pub(super) enum Cue<'a> {
    Event(Observed<'a>),
    Wake,
}

/// An event, and what it did.
#[derive(Clone, Copy)]
pub(super) struct Observed<'a> {
    pub(super) event: &'a Event,
    pub(super) usage: Option<&'a Usage>,
    pub(super) call: Option<&'a Call>,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Raised {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
}

impl Stream {
    #[expect(clippy::cast_possible_truncation, reason = "a policy has few detectors")]
    pub(super) fn new(detector_idx: usize, named: &NamedDetector) -> Self {
        Self {
            detector_idx: detector_idx as u32,
            wake_at: None,
            detector: Some(named.detector.clone()),
            episodes: Episodes::default(),
        }
    }

    /// What is open, by the fingerprint of its findings, and how far it came.
    pub(super) fn open_findings(
        &self,
        scene: &Scene<'_>,
        shared: &Shared,
    ) -> Vec<(Fingerprint, u64)> {
        let named = &shared.detectors[self.detector_idx()];
        let open = |it: &Episode| (named.fingerprint(scene, it.subject), it.measure);
        self.episodes.0.iter().flat_map(|it| it.iter()).map(open).collect()
    }

    fn turn_off(&mut self) {
        self.detector = None;
        self.wake_at = None;
    }

    pub(super) fn detector_idx(&self) -> usize {
        self.detector_idx as usize
    }

    pub(super) fn is_off(&self) -> bool {
        self.detector.is_none()
    }

    /// The severest of what is open.
    fn severity(&self) -> Option<Severity> {
        self.episodes.0.iter().flat_map(|it| it.iter()).map(|it| it.severity).max()
    }

    /// Whether there is nothing in it that a new one would not have.
    fn at_rest(&self) -> bool {
        self.wake_at.is_none()
            && self.episodes.0.is_none()
            && self.detector.as_ref().is_none_or(|it| it.at_rest())
    }

    /// Puts off a wake-up that is due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.wake_at = self.wake_at.map(|it| postponed(it, since, by));
    }

    /// Runs the wake-up that is due by `due`, if there is one.
    pub(super) fn wake_if_due(
        &mut self,
        due: Moment,
        inhibited: Option<Severity>,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        if self.wake_at.is_some_and(|it| it <= due) {
            self.wake_at = None;
            self.run(due.into(), Cue::Wake, inhibited, scene, shared, findings);
        }
    }

    pub(super) fn run(
        &mut self,
        now: Timestamp,
        cue: Cue<'_>,
        inhibited: Option<Severity>,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let detector_idx = self.detector_idx();
        if shared.panicked.contains(&detector_idx) {
            self.turn_off();
        }
        let Some(detector) = &mut self.detector else { return };
        let observed = match cue {
            Cue::Event(it) => Some(it),
            Cue::Wake => None,
        };
        let explains = shared.explains(scene);
        let mut wake_at = self.wake_at.map(Timestamp::from);
        let mut cx = Context {
            now,
            session: scene.session,
            agent: scene.agent,
            usage: observed.and_then(|it| it.usage),
            call: observed.and_then(|it| it.call),
            event: observed.map(|it| it.event),
            hidden: Vec::new(),
            levels: &shared.detectors[detector_idx].levels,
            inhibited,
            is_budget: &*shared.detectors[detector_idx].class == "budget",
            wake_at: &mut wake_at,
            episodes: &mut self.episodes,
            raised: &mut shared.raised,
            noted: explains.then_some(&mut shared.noted),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match observed {
            Some(it) => detector.observe(it.event, &mut cx),
            None => detector.wake(&mut cx),
        }));
        // Time moves on, whatever a detector asks for.
        let wake_at = match cue {
            Cue::Event(_) => wake_at.map(|it| it.max(now)),
            Cue::Wake => wake_at.filter(|it| now < *it),
        };
        let wake_at = wake_at.map(Moment::from);
        if explains {
            let [from, to] = [self.wake_at, wake_at].map(|it| it.map(Timestamp::from));
            let mut noted = mem::take(&mut shared.noted);
            noted.extend((from != to).then_some(Noted::Rescheduled { from, to }));
            noted.extend(outcome.is_err().then_some(Noted::Panicked));
            let is_wakeup = matches!(cue, Cue::Wake);
            shared.note(detector_idx, now, is_wakeup, scene, noted);
        }
        self.wake_at = wake_at;
        if !shared.raised.is_empty() {
            let raised = mem::take(&mut shared.raised);
            for it in raised {
                findings.push(shared.finding(self.detector_idx(), now, scene, it));
            }
        }
        if let Err(panic) = outcome {
            self.turn_off();
            shared.panicked.push(detector_idx);
            findings.push(shared.panic_finding(detector_idx, now, scene, panic.as_ref()));
        }
    }

    /// Ends with what it watched.
    pub(super) fn end(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        self.wake_at = None;
        for it in self.episodes.take() {
            let what = if scene.agent_id.is_some() { "agent" } else { "session" };
            let mut report = Report::new(format!("over, as the {what} ended"));
            if &*shared.detectors[self.detector_idx()].class != "budget" {
                report = report.with_cost(&scene.session.totals, it.used);
            }
            if shared.explains(scene) {
                let message = report.message.clone();
                let ended = Noted::Ended { subject: it.subject, message, was_open: true };
                shared.note(self.detector_idx(), now, false, scene, [ended]);
            }
            let raised =
                Raised { subject: it.subject, severity: None, measure: it.measure, report };
            findings.push(shared.finding(self.detector_idx(), now, scene, raised));
        }
    }
}

impl Watch {
    /// Those that watch a session which begins with the event `first`.
    pub(super) fn new(detectors: &[NamedDetector], facts: &SessionFacts, first: &Event) -> Self {
        let of = |scope| {
            let watching =
                detectors.iter().enumerate().filter(|(_, it)| it.sessions.takes(facts, first));
            let scoped = watching.filter(|(_, it)| match &it.per_label {
                None => it.detector.scope() == scope,
                // A session without the label is a group of its own.
                Some(label) => scope == Scope::Session && !facts.labels.contains_key(label),
            });
            scoped.map(|(detector_idx, _)| detector_idx).collect()
        };
        Self { session: of(Scope::Session), agents: of(Scope::Agent) }
    }

    /// All but one.
    pub(super) fn without(&self, detector_idx: usize) -> Self {
        let others = |of: &[usize]| of.iter().copied().filter(|it| *it != detector_idx).collect();
        Self { session: others(&self.session), agents: others(&self.agents) }
    }
}

impl Streams {
    pub(super) fn iter(&self) -> slice::Iter<'_, Stream> {
        self.0.iter()
    }

    /// Runs the stream of each of these detectors.
    pub(super) fn observe(
        &mut self,
        watching: &[usize],
        now: Timestamp,
        observed: Observed<'_>,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let cue = Cue::Event(observed);
        let mut place = 0;
        for &detector_idx in watching {
            if !shared.reads[detector_idx].contains(&observed.event.kind) {
                continue;
            }
            while self.0.get(place).is_some_and(|it| it.detector_idx() < detector_idx) {
                place += 1;
            }
            let inhibited = self.inhibited(detector_idx, shared);
            if let Some(stream) =
                self.0.get_mut(place).filter(|it| it.detector_idx() == detector_idx)
            {
                stream.run(now, cue, inhibited, scene, shared, findings);
                if stream.at_rest() {
                    shared.keep_at_rest(self.0.remove(place));
                } else {
                    place += 1;
                }
            } else {
                let mut stream = shared.stream_at_rest(detector_idx);
                stream.run(now, cue, inhibited, scene, shared, findings);
                if stream.at_rest() {
                    shared.keep_at_rest(stream);
                } else {
                    // Most keep few, and there are very many. The room stays: it
                    // is needed again in the next turn.
                    self.0.reserve_exact(1);
                    self.0.insert(place, stream);
                    place += 1;
                }
            }
        }
    }

    /// Runs the wake-ups that are due by `due`.
    pub(super) fn wake(
        &mut self,
        due: Moment,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        for place in 0..self.0.len() {
            let inhibited = self.inhibited(self.0[place].detector_idx(), shared);
            self.0[place].wake_if_due(due, inhibited, scene, shared, findings);
        }
        self.0.retain(|it| !it.at_rest());
    }

    /// Ends with what they watched.
    pub(super) fn end(
        &mut self,
        now: Timestamp,
        scene: &Scene<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        for stream in &mut self.0 {
            stream.end(now, scene, shared, findings);
        }
        self.0.retain(|it| !it.at_rest());
    }

    /// The severest of what the inhibitors of a detector have open.
    fn inhibited(&self, detector_idx: usize, shared: &Shared) -> Option<Severity> {
        let inhibitors = &shared.inhibitors[detector_idx];
        if inhibitors.is_empty() {
            return None;
        }
        let inhibiting = self.0.iter().filter(|it| inhibitors.contains(&it.detector_idx()));
        inhibiting.filter_map(Stream::severity).max()
    }

    /// Turns a detector off that has panicked.
    pub(super) fn turn_off(&mut self, detector_idx: usize) {
        for stream in self.0.iter_mut().filter(|it| it.detector_idx() == detector_idx) {
            stream.turn_off();
        }
        self.0.retain(|it| !it.at_rest());
    }

    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.0.iter_mut().for_each(|it| it.postpone(since, by));
    }

    /// The first time at which one of them wants to be woken.
    pub(super) fn first_wake(&self) -> Option<Moment> {
        self.0.iter().filter_map(|it| it.wake_at).min()
    }
}

/// A time that has not come by `since` comes later by `by`.
pub(super) fn postponed(at: Moment, since: Timestamp, by: SignedDuration) -> Moment {
    let at: Timestamp = at.into();
    let at = if since < at { at.saturating_add(by).unwrap_or(Timestamp::MAX) } else { at };
    at.into()
}

/// The conditions of one stream that last.
#[derive(Debug, Default)]
pub(crate) struct Episodes(
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    Option<Box<Vec<Episode>>>,
);

#[derive(Debug)]
struct Episode {
    subject: Fingerprint,
    measure: u64,
    severity: Severity,
    /// What its session had used when it was found.
    used: Used,
}

impl Episodes {
    /// Notes how far a condition has come, and what its session has used. If there
    /// is something new to say, gives back how severe it is, and what had been
    /// used when it was found.
    pub(crate) fn raise(
        &mut self,
        subject: Fingerprint,
        measure: u64,
        levels: &[Level],
        inhibited: Option<Severity>,
        used: Used,
    ) -> Option<(Severity, Used)> {
        let reached = levels.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        let reached = reached.filter(|it| inhibited.is_none_or(|inhibited| inhibited < *it));
        let open = self.0.iter_mut().flat_map(|it| it.iter_mut()).find(|it| it.subject == subject);
        if let Some(episode) = open {
            episode.measure = episode.measure.max(measure);
            let higher = reached.filter(|it| episode.severity < *it)?;
            episode.severity = higher;
            return Some((higher, episode.used));
        }
        let severity = reached?;
        let episodes = self.0.get_or_insert_default();
        if episodes.len() == MAX_EPISODES {
            episodes.remove(0);
        }
        episodes.push(Episode { subject, measure, severity, used });
        Some((severity, used))
    }

    /// How severe a condition is, if it is open.
    pub(crate) fn severity(&self, subject: Fingerprint) -> Option<Severity> {
        let mut open = self.0.iter().flat_map(|it| it.iter());
        open.find(|it| it.subject == subject).map(|it| it.severity)
    }

    /// Ends a condition. Gives back how far it came, and what had been used when
    /// it was found, if it was open.
    pub(crate) fn resolve(&mut self, subject: Fingerprint) -> Option<(u64, Used)> {
        let episodes = self.0.as_mut()?;
        let at = episodes.iter().position(|it| it.subject == subject)?;
        let ended = episodes.remove(at);
        if episodes.is_empty() {
            self.0 = None;
        }
        Some((ended.measure, ended.used))
    }

    fn take(&mut self) -> Vec<Episode> {
        self.0.take().map_or_else(Vec::new, |it| *it)
    }
}
