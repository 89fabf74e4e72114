use std::{
    any::Any,
    array, mem,
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
pub(crate) struct Stream {
    pub(super) detector_idx: u32,
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
    /// The marks of those kept, at least.
    marks: u32,
}

/// Some of the detectors that sleep, each a bit.
pub(super) type Sleepers = u32;

/// Where one detector runs while it has nothing to remember.
pub(super) struct Spare {
    /// Its detector is at rest, but while it runs.
    stream: Stream,
    /// More of them that are at rest.
    resting: Vec<Box<dyn Detector>>,
}

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
    /// By what an [`EventSet`](crate::EventSet) tells apart.
    by_event: [ReadersOf; N_SORTS],
}

/// Those that read events of one sort.
#[derive(Debug, Default, PartialEq)]
struct ReadersOf {
    all: Box<[Reader]>,
    /// Those among them that do not sleep.
    sleepless: Box<[Reader]>,
    /// The bits of the others.
    sleepers: Sleepers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Reader {
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

/// What streams are run with, and what they leave behind.
pub(super) struct Run<'a> {
    frame: &'a Frame<'a>,
    detectors: &'a [Posted],
    pub(super) desk: &'a mut Desk,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Run<'a> {
    /// With it comes for each detector where that runs while it has nothing to
    /// remember.
    pub(super) fn new(
        frame: &'a Frame<'a>,
        shared: &'a mut Shared,
        findings: &'a mut Vec<Finding>,
    ) -> (Self, &'a mut [Spare]) {
        let Shared { detectors, desk, spares, .. } = shared;
        desk.is_touched = frame.is_explained;
        desk.first_wake = None;
        (Self { frame, detectors, desk, findings }, spares)
    }

    /// Runs one stream, by itself. Those before it are of the same agent or session.
    pub(super) fn stream(&mut self, stream: &mut Stream, before: &[Stream], spare: &mut Spare) {
        if self.desk.panicked.contains(&stream.detector_idx) {
            stream.turn_off();
            return;
        }
        let posted = &self.detectors[stream.detector_idx as usize];
        let ran = catch_unwind(AssertUnwindSafe(|| self.kept(stream, posted, before, spare)));
        if let Err(panic) = ran {
            self.turn_off(stream, panic.as_ref());
        }
    }

    /// Runs a stream that is kept, and takes its detector back if that comes to
    /// rest.
    fn kept(&mut self, stream: &mut Stream, posted: &Posted, before: &[Stream], spare: &mut Spare) {
        if self.run(spare.equip(stream), posted, before) {
            spare.take_back(stream);
        }
    }

    /// Has the detector of a stream see the event, or wakes it. Gives back whether
    /// it is at rest then. Whoever calls this catches its panics, and turns the
    /// stream off.
    #[inline]
    fn run(&mut self, stream: &mut Stream, posted: &Posted, before: &[Stream]) -> bool {
        let detector = stream.detector.get_or_insert_with(|| posted.named.detector.clone());
        let slept_until = if self.frame.is_explained { stream.wake_at } else { None };
        let mut cx = Context {
            frame: self.frame,
            posted,
            before,
            wake_at: &mut stream.wake_at,
            episodes: &mut stream.episodes,
            desk: self.desk,
        };
        match self.frame.observed {
            Some(it) => detector.observe(it.event, &mut cx),
            None => detector.wake(&mut cx),
        }
        let is_at_rest = detector.at_rest();
        if self.desk.is_touched {
            self.take_over(stream, slept_until, None);
        }
        is_at_rest
    }

    /// The first of those that sleep.
    fn first_of(&self, asleep: Sleepers) -> Option<u32> {
        let mut sleepers = self.detectors.iter().filter(|it| it.sleeper & asleep != 0);
        if asleep == 0 { None } else { sleepers.next().map(|it| it.idx) }
    }

    /// Takes its alarm from a stream whose detector has this bit, if it sleeps now.
    /// Gives back the bit then.
    fn put_to_sleep(&self, stream: &mut Stream, sleeper: Sleepers) -> Sleepers {
        let is_asleep = sleeper != 0
            && stream.wake_at.is_some()
            && stream.detector.as_ref().is_none_or(|it| it.at_rest())
            && stream.episodes.is_empty()
            && !self.frame.is_explained;
        if !is_asleep {
            return 0;
        }
        stream.wake_at = None;
        sleeper
    }

    /// Takes over what a detector has left, and tells who asks why.
    #[cold]
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

impl Spare {
    pub(super) fn new(detector_idx: u32) -> Self {
        Self { stream: Stream::new(detector_idx), resting: Vec::new() }
    }

    /// Lends a detector to a stream that has none, if there is one at rest.
    fn equip<'a>(&mut self, stream: &'a mut Stream) -> &'a mut Stream {
        if stream.detector.is_none() {
            stream.detector = self.resting.pop().or_else(|| self.stream.detector.take());
        }
        stream
    }

    /// Takes the detector of a stream back, which has come to rest.
    fn take_back(&mut self, stream: &mut Stream) {
        let Some(detector) = stream.detector.take() else { return };
        if self.stream.detector.is_none() {
            self.stream.detector = Some(detector);
        } else if self.resting.len() < MAX_RESTING {
            self.resting.push(detector);
        }
    }

    /// What is to be kept of its stream, after that ran.
    fn take(&mut self, is_at_rest: bool) -> Option<Stream> {
        let Self { stream, resting } = self;
        let Stream { detector_idx, .. } = *stream;
        if !is_at_rest {
            let next = Stream { detector: resting.pop(), ..Stream::new(detector_idx) };
            return Some(mem::replace(stream, next));
        }
        if stream.wake_at.is_none() && stream.episodes.is_empty() {
            return None;
        }
        let (wake_at, episodes) = (stream.wake_at.take(), mem::take(&mut stream.episodes));
        Some(Stream { wake_at, episodes, ..Stream::new(detector_idx) })
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
    pub(super) fn severity(&self) -> Option<Severity> {
        self.episodes.0.as_ref()?.iter().map(|it| it.severity).max()
    }

    /// Whether it has anything to do but to say what is open.
    fn is_at_work(&self) -> bool {
        self.detector.is_some() || self.wake_at.is_some()
    }

    /// Whether there is nothing in it that a new one would not have.
    fn is_empty(&self) -> bool {
        !self.is_at_work() && self.episodes.is_empty()
    }

    /// Puts off a wake-up that is due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.wake_at = self.wake_at.map(|it| postponed(it, since, by));
    }

    /// Takes its alarm if that rings by `due`.
    pub(super) fn rings(&mut self, due: Moment) -> bool {
        self.wake_at.take_if(|it| *it <= due).is_some()
    }

    /// Ends with what it watched.
    fn end(&mut self, run: &mut Run<'_>) {
        let Run { frame, detectors, desk, findings } = run;
        let Frame { now, scene, .. } = frame;
        self.wake_at = None;
        let posted = &detectors[self.detector_idx as usize];
        for it in self.episodes.take() {
            let what = if scene.agent_id.is_some() { "agent" } else { "session" };
            let mut report = Report::new(format!("over, as the {what} ended"));
            if !posted.is_budget {
                report = report.with_cost(&scene.session.totals, it.used);
            }
            let explained = desk.explained.as_deref_mut();
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
        let of = |sort_idx| ReadersOf::new(detectors.clone(), sort_idx);
        Self { all: detectors.clone().map(|it| it.idx).collect(), by_event: array::from_fn(of) }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| *it != detector_idx).collect();
        Self { all, by_event: self.by_event.each_ref().map(|it| it.without(detector_idx)) }
    }

    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        self.all.contains(&detector_idx)
    }
}

impl ReadersOf {
    fn new<'a>(detectors: impl Iterator<Item = &'a Posted>, sort_idx: usize) -> Self {
        let reading = detectors.filter(|it| it.reads.contains_idx(sort_idx));
        let all = reading.map(|it| Reader {
            detector_idx: it.idx,
            // One that sleeps is woken by any if a person asks why.
            begins: it.begins_with.contains_idx(sort_idx) || it.sleeper != 0,
            sleeper: it.sleeper,
        });
        Self::of(all.collect())
    }

    fn of(all: Box<[Reader]>) -> Self {
        let sleepless = all.iter().copied().filter(|it| it.sleeper == 0).collect();
        let sleepers = all.iter().fold(0, |res, it| res | it.sleeper);
        Self { all, sleepless, sleepers }
    }

    fn without(&self, detector_idx: u32) -> Self {
        let all = self.all.iter().copied().filter(|it| it.detector_idx != detector_idx);
        Self::of(all.collect())
    }
}

impl Streams {
    pub(super) fn iter(&self) -> slice::Iter<'_, Stream> {
        self.kept.iter()
    }

    /// Runs the stream of each detector that reads the event, which stands here
    /// among all that an [`EventSet`](crate::EventSet) tells apart.
    pub(super) fn observe(
        &mut self,
        readers: &Readers,
        sort_idx: usize,
        run: &mut Run<'_>,
        spares: &mut [Spare],
    ) {
        let ReadersOf { all, sleepless, sleepers } = &readers.by_event[sort_idx];
        if run.frame.is_explained {
            // A person who asks why is told of every wake-up that is put off.
            self.asleep &= !sleepers;
        }
        let mut readers =
            if self.asleep & sleepers == *sleepers { sleepless } else { all }.as_ref();
        if readers.is_empty() {
            return;
        }
        let mut running = 0;
        // One that panics is turned off, and the rest go on.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            self.show(readers, &mut running, run, spares);
        })) {
            readers = &readers[readers.partition_point(|it| it.detector_idx <= running)..];
            self.turn_off_running(&mut spares[running as usize], panic.as_ref(), run);
        }
    }

    /// Runs these readers, but for those that are at rest and cannot begin with the
    /// event. Says which it is that runs.
    fn show(
        &mut self,
        readers: &[Reader],
        running: &mut u32,
        run: &mut Run<'_>,
        spares: &mut [Spare],
    ) {
        let mut place = 0;
        for &Reader { detector_idx, begins, sleeper } in readers {
            let is_at_rest = !begins && self.marks & mark(detector_idx) == 0;
            if is_at_rest || self.asleep & sleeper != 0 {
                continue;
            }
            while self.kept.get(place).is_some_and(|it| it.detector_idx < detector_idx) {
                place += 1;
            }
            *running = detector_idx;
            let posted = &run.detectors[detector_idx as usize];
            let spare = &mut spares[detector_idx as usize];
            let (before, rest) = self.kept.split_at_mut(place);
            let kept = rest.first_mut().filter(|it| it.detector_idx == detector_idx);
            let is_kept = kept.is_some();
            let stream = match kept {
                Some(it) if begins || it.is_at_work() => spare.equip(it),
                None if begins => &mut spare.stream,
                _ => continue,
            };
            let is_at_rest = run.run(stream, posted, before);
            self.asleep |= run.put_to_sleep(stream, sleeper);
            if is_kept {
                let stream = &mut self.kept[place];
                if is_at_rest {
                    spare.take_back(stream);
                    if stream.is_empty() {
                        self.kept.remove(place);
                        self.marks = marks(&self.kept);
                    }
                }
            } else if let Some(stream) = spare.take(is_at_rest) {
                self.take_in(place, stream);
            }
        }
    }

    /// Turns the detector off that ran as it panicked, in the stream that is kept
    /// of it or in the spare one.
    fn turn_off_running(&mut self, spare: &mut Spare, panic: &(dyn Any + Send), run: &mut Run<'_>) {
        let Stream { detector_idx, .. } = spare.stream;
        let place = self.kept.partition_point(|it| it.detector_idx < detector_idx);
        match self.kept.get_mut(place).filter(|it| it.detector_idx == detector_idx) {
            Some(stream) => run.turn_off(stream, panic),
            None => {
                run.turn_off(&mut spare.stream, panic);
                if let Some(stream) = spare.take(true) {
                    self.take_in(place, stream);
                }
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
        let (mut run, spares) = Run::new(frame, shared, findings);
        let mut asleep = mem::take(&mut self.asleep);
        let mut place = 0;
        loop {
            let kept_idx = self.kept.get(place).map(|it| it.detector_idx);
            let sleeper_idx = run.first_of(asleep);
            let Some(detector_idx) = kept_idx.into_iter().chain(sleeper_idx).min() else { break };
            let posted = &run.detectors[detector_idx as usize];
            let spare = &mut spares[detector_idx as usize];
            if sleeper_idx == Some(detector_idx) {
                asleep &= !posted.sleeper;
                let mut stream = Stream::new(detector_idx);
                run.stream(&mut stream, &self.kept[..place], spare);
                self.asleep |= run.put_to_sleep(&mut stream, posted.sleeper);
                if !stream.is_empty() {
                    self.take_in(place, stream);
                    place += 1;
                }
                continue;
            }
            let (before, rest) = self.kept.split_at_mut(place);
            if let [stream, ..] = rest
                && stream.rings(frame.moment)
            {
                run.stream(stream, before, spare);
                self.asleep |= run.put_to_sleep(stream, posted.sleeper);
            }
            place += 1;
        }
        let first_wake = run.desk.first_wake;
        self.kept.retain(|it| !it.is_empty());
        first_wake
    }

    /// Keeps a stream that has something to remember.
    fn take_in(&mut self, place: usize, stream: Stream) {
        // Most keep few, and there are very many. The room stays: it is needed
        // again in the next turn.
        self.kept.reserve_exact(1);
        self.marks |= mark(stream.detector_idx);
        self.kept.insert(place, stream);
    }

    /// Ends with what they watched.
    pub(super) fn end(&mut self, run: &mut Run<'_>) {
        for stream in &mut self.kept {
            stream.end(run);
        }
        self.kept.retain(|it| !it.is_empty());
        self.asleep = 0;
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

/// A bit that some detectors share, where there are very many.
fn mark(detector_idx: u32) -> u32 {
    1 << (detector_idx % u32::BITS)
}

fn marks(streams: &[Stream]) -> u32 {
    streams.iter().fold(0, |res, it| res | mark(it.detector_idx))
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
