use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Posted, Shared,
    moment::{Jumps, Moment},
    note::Explained,
};
use crate::{
    AgentFacts, AgentId, Call, Context, Detector, Event, Finding, Fingerprint, Level, Noted,
    Report, Scope, SessionFacts, Severity, Usage, detector::Used, event::N_SORTS,
};

/// How many conditions of one stream may last at once; of more, the oldest is
/// forgotten.
pub(super) const MAX_EPISODES: usize = 32;
/// How many copies of a detector that came to rest are kept for the streams that
/// will need one next.
const MAX_RESTING: usize = 16;

/// One detector at work on one stream.
#[derive(Default)]
pub(super) struct Stream {
    detector_idx: u32,
    pub(super) wake_at: Option<Moment>,
    /// `None` while it is at rest: it is as good as any other then, and one is
    /// lent when something happens.
    detector: Option<Box<dyn Detector>>,
    episodes: Episodes,
}

/// The streams of one agent, or of a session as a whole.
#[derive(Default)]
pub(super) struct Streams {
    /// Those with something to remember, in the order of the policy.
    kept: Vec<Stream>,
    /// The detectors that sleep, and are woken with the first that is.
    asleep: Sleepers,
}

/// Some of the detectors that sleep, each a bit.
pub(super) type Sleepers = u32;

/// Copies of one detector that are at rest.
#[derive(Default)]
pub(super) struct Resting(Vec<Box<dyn Detector>>);

/// The detectors that watch a session, as its first event settled it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Watch {
    /// Those that see all of it.
    pub(super) session: Readers,
    /// Those that see one agent each.
    pub(super) agents: Readers,
}

/// Some detectors, by their places in the policy and in order of them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Readers {
    all: Box<[u32]>,
    /// For each kind of event those that read it.
    by_event: [Box<[Reader]>; N_SORTS],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader {
    detector_idx: u32,
    /// Whether it reads such events also when it is at rest.
    begins: bool,
    /// Its bit, if it sleeps.
    sleeper: Sleepers,
}

/// Where a stream runs.
pub(crate) struct Scene<'a> {
    pub(crate) session: &'a SessionFacts,
    pub(crate) agent: &'a AgentFacts,
    pub(super) agent_id: Option<&'a AgentId>,
    /// The value of the label that the sessions of the stream share.
    pub(super) group: Option<&'a str>,
}

/// An event, and what it did.
#[derive(Clone, Copy)]
pub(crate) struct Observed<'a> {
    pub(crate) event: &'a Event,
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) call: Option<&'a Call>,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Raised {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
}

/// What is the same for all streams that run at one time in one place.
pub(crate) struct Frame<'a> {
    pub(crate) now: Timestamp,
    /// The same, packed.
    pub(crate) moment: Moment,
    pub(crate) scene: Scene<'a>,
    /// `None` in a wake-up.
    pub(crate) observed: Option<Observed<'a>>,
    /// Whether somebody asks why.
    pub(crate) is_explained: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn of_event(
        now: Timestamp,
        scene: Scene<'a>,
        observed: Observed<'a>,
        shared: &Shared,
    ) -> Self {
        let is_explained = shared.explains(&scene);
        Self { now, moment: now.into(), scene, observed: Some(observed), is_explained }
    }

    pub(super) fn of_wakeup(due: Moment, scene: Scene<'a>, shared: &Shared) -> Self {
        let is_explained = shared.explains(&scene);
        Self { now: due.into(), moment: due, scene, observed: None, is_explained }
    }
}

/// The room that streams work in, one after the other.
#[derive(Default)]
pub(crate) struct Desk {
    /// By detector.
    resting: Box<[Resting]>,
    /// The ids of pending calls that a detector is not told of.
    pub(crate) hidden: Vec<Fingerprint>,
    pub(crate) raised: Vec<Raised>,
    /// What a person is told who asks why.
    pub(crate) noted: Vec<Noted>,
    /// Whether there may be something to take over.
    pub(crate) is_touched: bool,
    /// What the clock jumped over.
    pub(crate) jumps: Jumps,
    /// The first time at which a stream asked to be woken.
    pub(crate) first_wake: Option<Moment>,
    /// The detectors that have just panicked.
    pub(super) panicked: Vec<u32>,
    pub(super) explained: Option<Box<Explained>>,
}

impl Desk {
    pub(super) fn new(n_detectors: usize) -> Self {
        let resting = (0..n_detectors).map(|_| Resting::default()).collect();
        Self { resting, ..Self::default() }
    }
}

/// What streams are run with, and what they leave behind.
pub(super) struct Run<'a> {
    frame: &'a Frame<'a>,
    detectors: &'a [Posted],
    desk: &'a mut Desk,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Run<'a> {
    /// With it comes a stream to run in while there is nothing to remember.
    pub(super) fn new(
        frame: &'a Frame<'a>,
        shared: &'a mut Shared,
        findings: &'a mut Vec<Finding>,
    ) -> (Self, &'a mut Stream) {
        let Shared { detectors, desk, spare, .. } = shared;
        desk.is_touched = frame.is_explained;
        desk.first_wake = None;
        (Self { frame, detectors, desk, findings }, spare)
    }

    /// Runs one stream, by itself.
    pub(super) fn stream(&mut self, stream: &mut Stream, inhibited: Option<Severity>) {
        if self.desk.panicked.contains(&stream.detector_idx) {
            stream.turn_off();
            return;
        }
        let posted = &self.detectors[stream.detector_idx as usize];
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(stream, posted, inhibited)));
        if let Err(panic) = ran {
            self.turn_off(stream, panic.as_ref());
        }
    }

    /// Has the detector of a stream see the event, or wakes it. Whoever calls this
    /// catches its panics, and turns the stream off then.
    #[inline]
    fn run(&mut self, stream: &mut Stream, posted: &Posted, inhibited: Option<Severity>) {
        let detector = match &mut stream.detector {
            Some(it) => it,
            none => none.insert(self.desk.resting[posted.idx as usize].take(posted)),
        };
        let slept_until = if self.frame.is_explained { stream.wake_at } else { None };
        let mut cx = Context {
            frame: self.frame,
            posted,
            inhibited,
            wake_at: &mut stream.wake_at,
            episodes: &mut stream.episodes,
            desk: self.desk,
        };
        match self.frame.observed {
            Some(it) => detector.observe(it.event, &mut cx),
            None => detector.wake(&mut cx),
        }
        if detector.at_rest()
            && let Some(detector) = stream.detector.take()
        {
            self.desk.resting[posted.idx as usize].put(detector);
        }
        if self.desk.is_touched {
            self.take_over(stream, slept_until, None);
        }
    }

    /// The first of those that sleep.
    fn first_of(&self, asleep: Sleepers) -> Option<u32> {
        let mut sleepers = self.detectors.iter().filter(|it| it.sleeper & asleep != 0);
        if asleep == 0 { None } else { sleepers.next().map(|it| it.idx) }
    }

    /// Takes its alarm from a stream whose detector sleeps now. Gives back its bit.
    fn put_to_sleep(&self, stream: &mut Stream, posted: &Posted) -> Sleepers {
        let is_asleep = posted.sleeper != 0
            && stream.wake_at.is_some()
            && stream.detector.is_none()
            && stream.episodes.is_empty()
            && !self.frame.is_explained;
        if !is_asleep {
            return 0;
        }
        stream.wake_at = None;
        posted.sleeper
    }

    /// Takes over what a detector has left, and tells who asks why.
    fn take_over(&mut self, stream: &Stream, slept_until: Option<Moment>, panicked: Option<Noted>) {
        let Self { frame, desk, .. } = self;
        desk.is_touched = frame.is_explained;
        desk.hidden.clear();
        let named = &self.detectors[stream.detector_idx as usize].named;
        let explained = desk.explained.as_deref_mut().filter(|_| frame.is_explained);
        if let Some(explained) = explained {
            let [from, to] = [slept_until, stream.wake_at].map(|it| it.map(Timestamp::from));
            let rescheduled = (from != to).then_some(Noted::Rescheduled { from, to });
            let noted = desk.noted.drain(..).chain(rescheduled).chain(panicked);
            let is_wakeup = frame.observed.is_none();
            explained.note(named, frame.now, is_wakeup, &frame.scene, noted);
        }
        for it in desk.raised.drain(..) {
            self.findings.push(named.finding(frame.now, &frame.scene, it));
        }
    }

    /// Turns the stream off whose detector has panicked.
    fn turn_off(&mut self, stream: &mut Stream, panic: &(dyn Any + Send)) {
        self.take_over(stream, stream.wake_at, Some(Noted::Panicked));
        stream.turn_off();
        self.desk.panicked.push(stream.detector_idx);
        let named = &self.detectors[stream.detector_idx as usize].named;
        self.findings.push(named.panic_finding(self.frame.now, &self.frame.scene, panic));
    }
}

impl Resting {
    fn take(&mut self, posted: &Posted) -> Box<dyn Detector> {
        self.0.pop().unwrap_or_else(|| posted.named.detector.clone())
    }

    fn put(&mut self, detector: Box<dyn Detector>) {
        if self.0.len() < MAX_RESTING {
            self.0.push(detector);
        }
    }
}

impl Stream {
    pub(super) fn new(detector_idx: u32) -> Self {
        Self { detector_idx, ..Self::default() }
    }

    /// What is open, by the fingerprint of its findings, and how far it came.
    pub(super) fn open_findings(
        &self,
        scene: &Scene<'_>,
        shared: &Shared,
    ) -> Vec<(Fingerprint, u64)> {
        let named = &shared.detectors[self.detector_idx as usize].named;
        let open = |it: &Episode| (named.fingerprint(scene, it.subject), it.measure);
        self.episodes.0.iter().flat_map(|it| it.iter()).map(open).collect()
    }

    /// Ends it, but for what is open.
    fn turn_off(&mut self) {
        self.detector = None;
        self.wake_at = None;
    }

    /// The severest of what is open.
    fn severity(&self) -> Option<Severity> {
        self.episodes.0.as_ref()?.iter().map(|it| it.severity).max()
    }

    /// Whether there is nothing in it that a new one would not have.
    fn is_empty(&self) -> bool {
        self.detector.is_none() && self.wake_at.is_none() && self.episodes.is_empty()
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
        run: &mut Run<'_>,
    ) {
        if self.wake_at.is_some_and(|it| it <= due) {
            self.wake_at = None;
            run.stream(self, inhibited);
        }
    }

    /// Ends with what it watched.
    fn end(&mut self, frame: &Frame<'_>, shared: &mut Shared, findings: &mut Vec<Finding>) {
        let Frame { now, scene, .. } = frame;
        self.wake_at = None;
        let posted = &shared.detectors[self.detector_idx as usize];
        for it in self.episodes.take() {
            let what = if scene.agent_id.is_some() { "agent" } else { "session" };
            let mut report = Report::new(format!("over, as the {what} ended"));
            if !posted.is_budget {
                report = report.with_cost(&scene.session.totals, it.used);
            }
            let explained = shared.desk.explained.as_deref_mut();
            if let Some(explained) = explained.filter(|_| frame.is_explained) {
                let message = report.message.clone();
                let ended = Noted::Ended { subject: it.subject, message, was_open: true };
                explained.note(&posted.named, *now, false, scene, [ended]);
            }
            let raised =
                Raised { subject: it.subject, severity: None, measure: it.measure, report };
            findings.push(posted.named.finding(*now, scene, raised));
        }
    }
}

impl Watch {
    /// Those that watch a session which begins with the event `first`.
    pub(super) fn new(detectors: &[Posted], facts: &SessionFacts, first: &Event) -> Self {
        let of = |scope| {
            let takes = |it: &&Posted| it.named.sessions.takes(facts, first);
            let scoped = detectors.iter().filter(takes).filter(|it| match &it.named.per_label {
                None => it.named.detector.scope() == scope,
                // A session without the label is a group of its own.
                Some(label) => scope == Scope::Session && !facts.labels.contains_key(label),
            });
            Readers::new(scoped)
        };
        Self { session: of(Scope::Session), agents: of(Scope::Agent) }
    }

    /// All but one.
    pub(super) fn without(&self, detector_idx: u32) -> Self {
        Self {
            session: self.session.without(detector_idx),
            agents: self.agents.without(detector_idx),
        }
    }
}

impl Readers {
    fn new<'a>(detectors: impl Iterator<Item = &'a Posted> + Clone) -> Self {
        let reading = |sort_idx: usize| {
            let reading = detectors.clone().filter(move |it| it.reads.contains_idx(sort_idx));
            reading.map(move |it| Reader {
                detector_idx: it.idx,
                begins: it.begins_with.contains_idx(sort_idx),
                sleeper: it.sleeper,
            })
        };
        Self {
            all: detectors.clone().map(|it| it.idx).collect(),
            by_event: std::array::from_fn(|sort_idx| reading(sort_idx).collect()),
        }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| *it != detector_idx).collect();
        let by_event = self.by_event.each_ref().map(|readers| {
            readers.iter().copied().filter(|it| it.detector_idx != detector_idx).collect()
        });
        Self { all, by_event }
    }

    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        self.all.contains(&detector_idx)
    }

    /// Those that read events of a sort.
    pub(super) fn of(&self, sort_idx: u8) -> &[Reader] {
        &self.by_event[usize::from(sort_idx)]
    }
}

impl Streams {
    pub(super) fn iter(&self) -> slice::Iter<'_, Stream> {
        self.kept.iter()
    }

    /// Runs the stream of each detector that reads the event. Gives back the first
    /// time at which one of these wants to be woken.
    pub(super) fn observe(
        &mut self,
        readers: &[Reader],
        frame: &Frame<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> Option<Moment> {
        if readers.is_empty() {
            return None;
        }
        let (mut run, spare) = Run::new(frame, shared, findings);
        let mut n_shown = 0;
        // One that panics is turned off, and the rest go on.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            self.show(&readers[n_shown..], &mut n_shown, &mut run, spare);
        })) {
            let detector_idx = readers[n_shown - 1].detector_idx;
            let place = self.kept.partition_point(|it| it.detector_idx < detector_idx);
            match self.kept.get_mut(place).filter(|it| it.detector_idx == detector_idx) {
                Some(stream) => run.turn_off(stream, panic.as_ref()),
                None => {
                    run.turn_off(spare, panic.as_ref());
                    if !spare.is_empty() {
                        self.take_in(place, spare);
                    }
                }
            }
        }
        run.desk.first_wake
    }

    /// Runs the stream of each of these, and counts them as it begins.
    fn show(
        &mut self,
        readers: &[Reader],
        n_shown: &mut usize,
        run: &mut Run<'_>,
        spare: &mut Stream,
    ) {
        let mut place = 0;
        for &Reader { detector_idx, begins, sleeper } in readers {
            *n_shown += 1;
            // Most have no bit, and then not to look is faster.
            let is_asleep = sleeper != 0 && self.asleep & sleeper != 0;
            if is_asleep {
                // A person who asks why is told of every wake-up that it puts off.
                if !run.frame.is_explained {
                    continue;
                }
                self.asleep &= !sleeper;
            }
            let kept = loop {
                match self.kept.get(place) {
                    Some(it) if it.detector_idx < detector_idx => place += 1,
                    found => break found.filter(|it| it.detector_idx == detector_idx),
                }
            };
            let is_moved = |it: &Stream| it.detector.is_some() || it.wake_at.is_some();
            if !(begins || is_asleep || kept.is_some_and(is_moved)) {
                continue;
            }
            let is_kept = kept.is_some();
            let posted = &run.detectors[detector_idx as usize];
            let inhibited = self.inhibited(&posted.inhibitors);
            spare.detector_idx = detector_idx;
            let stream = if is_kept { &mut self.kept[place] } else { &mut *spare };
            run.run(stream, posted, inhibited);
            self.asleep |= run.put_to_sleep(stream, posted);
            match (is_kept, stream.is_empty()) {
                (true, true) => drop(self.kept.remove(place)),
                (false, false) => self.take_in(place, spare),
                _ => {}
            }
        }
    }

    /// Runs the wake-ups that are due, and wakes all that sleep. Gives back the
    /// first time at which one that ran wants to be woken again.
    pub(super) fn wake(
        &mut self,
        frame: &Frame<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> Option<Moment> {
        let (mut run, spare) = Run::new(frame, shared, findings);
        let mut asleep = mem::take(&mut self.asleep);
        let mut place = 0;
        loop {
            let kept = self.kept.get(place).map(|it| it.detector_idx);
            let sleeper = run.first_of(asleep);
            let Some(detector_idx) = kept.into_iter().chain(sleeper).min() else { break };
            let posted = &run.detectors[detector_idx as usize];
            let inhibited = self.inhibited(&posted.inhibitors);
            if kept == Some(detector_idx) {
                let stream = &mut self.kept[place];
                stream.wake_if_due(frame.moment, inhibited, &mut run);
                self.asleep |= run.put_to_sleep(stream, posted);
                place += 1;
                continue;
            }
            asleep &= !posted.sleeper;
            spare.detector_idx = detector_idx;
            run.stream(spare, inhibited);
            self.asleep |= run.put_to_sleep(spare, posted);
            if !spare.is_empty() {
                self.take_in(place, spare);
                place += 1;
            }
        }
        let first_wake = run.desk.first_wake;
        self.kept.retain(|it| !it.is_empty());
        first_wake
    }

    /// Keeps what the spare stream has to remember.
    fn take_in(&mut self, place: usize, spare: &mut Stream) {
        // Most keep few, and there are very many. The room stays: it is needed
        // again in the next turn.
        self.kept.reserve_exact(1);
        self.kept.insert(place, mem::take(spare));
    }

    /// Ends with what they watched.
    pub(super) fn end(
        &mut self,
        frame: &Frame<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        for stream in &mut self.kept {
            stream.end(frame, shared, findings);
        }
        self.kept.retain(|it| !it.is_empty());
        self.asleep = 0;
    }

    /// The severest of what the inhibitors of a detector have open.
    #[inline]
    fn inhibited(&self, inhibitors: &[u32]) -> Option<Severity> {
        if inhibitors.is_empty() {
            return None;
        }
        let mut res = None;
        for stream in self.kept.iter().filter(|it| !it.episodes.is_empty()) {
            if inhibitors.contains(&stream.detector_idx) {
                res = res.max(stream.severity());
            }
        }
        res
    }

    /// Turns a detector off that has panicked.
    pub(super) fn turn_off(&mut self, posted: &Posted) {
        self.asleep &= !posted.sleeper;
        for stream in self.kept.iter_mut().filter(|it| it.detector_idx == posted.idx) {
            stream.turn_off();
        }
        self.kept.retain(|it| !it.is_empty());
    }

    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.kept.iter_mut().for_each(|it| it.postpone(since, by));
    }

    /// The first time at which one of them wants to be woken.
    pub(super) fn first_wake(&self) -> Option<Moment> {
        self.kept.iter().filter_map(|it| it.wake_at).min()
    }
}

/// A time that has not come by `since` comes later by `by`.
pub(super) fn postponed(at: Moment, since: Timestamp, by: SignedDuration) -> Moment {
    let at: Timestamp = at.into();
    let at = if since < at { at.saturating_add(by).unwrap_or(Timestamp::MAX) } else { at };
    at.into()
}

/// The earlier of two times, of which there may be none.
pub(crate) fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
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
