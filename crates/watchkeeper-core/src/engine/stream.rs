use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Posted, Shared,
    episodes::{Episode, Episodes},
    frame::{Frame, Scene},
    moment::{Jumps, Moment, postponed},
    note::Explained,
    watch::Sleepers,
};
use crate::{Context, Detector, Finding, Fingerprint, Noted, Report, Severity};

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

/// Where one detector runs while it has nothing to remember.
pub(super) struct Spare {
    /// Its detector is at rest, but while it runs.
    pub(super) stream: Stream,
    /// More of them that are at rest.
    resting: Vec<Box<dyn Detector>>,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Raised {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
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
    pub(super) frame: &'a Frame<'a>,
    pub(super) detectors: &'a [Posted],
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
        let run = || self.run(spare.equip(stream), posted, before);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(true) => spare.take_back(stream),
            Ok(false) => {}
            Err(panic) => self.turn_off(stream, panic.as_ref()),
        }
    }

    /// Has the detector of a stream see the event, or wakes it. Gives back whether
    /// it is at rest then. Whoever calls this catches its panics, and turns the
    /// stream off.
    #[inline]
    pub(super) fn run(&mut self, stream: &mut Stream, posted: &Posted, before: &[Stream]) -> bool {
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
    pub(super) fn first_of(&self, asleep: Sleepers) -> Option<u32> {
        let mut sleepers = self.detectors.iter().filter(|it| it.sleeper & asleep != 0);
        if asleep == 0 { None } else { sleepers.next().map(|it| it.idx) }
    }

    /// Takes its alarm from a stream whose detector has this bit, if it sleeps now.
    /// Gives back the bit then.
    pub(super) fn put_to_sleep(&self, stream: &mut Stream, sleeper: Sleepers) -> Sleepers {
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
    pub(super) fn turn_off(&mut self, stream: &mut Stream, panic: &(dyn Any + Send)) {
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
    pub(super) fn equip<'a>(&mut self, stream: &'a mut Stream) -> &'a mut Stream {
        if stream.detector.is_none() {
            stream.detector = self.resting.pop().or_else(|| self.stream.detector.take());
        }
        stream
    }

    /// Takes the detector of a stream back, which has come to rest.
    pub(super) fn take_back(&mut self, stream: &mut Stream) {
        let Some(detector) = stream.detector.take() else { return };
        if self.stream.detector.is_none() {
            self.stream.detector = Some(detector);
        } else if self.resting.len() < MAX_RESTING {
            self.resting.push(detector);
        }
    }

    /// What is to be kept of its stream, after that ran.
    pub(super) fn take(&mut self, is_at_rest: bool) -> Option<Stream> {
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
        self.episodes.iter().map(open).collect()
    }

    /// Runs it where no other stream belongs to it. Gives back whether its detector
    /// panicked, and is off now.
    pub(super) fn run_alone(
        &mut self,
        frame: &Frame<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let (mut run, spares) = Run::new(frame, shared, findings);
        run.stream(self, &[], &mut spares[self.detector_idx as usize]);
        run.desk.panicked.drain(..).next().is_some()
    }

    /// Ends it, but for what is open.
    pub(super) fn turn_off(&mut self) {
        self.detector = None;
        self.wake_at = None;
    }

    /// The severest of what is open.
    pub(super) fn severity(&self) -> Option<Severity> {
        self.episodes.severest()
    }

    /// Whether it has anything to do but to say what is open.
    pub(super) fn is_at_work(&self) -> bool {
        self.detector.is_some() || self.wake_at.is_some()
    }

    /// Whether there is nothing in it that a new one would not have.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_at_work() && self.episodes.is_empty()
    }

    /// Puts off a wake-up that is due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.wake_at = self.wake_at.map(|it| postponed(it, since, by));
    }

    /// Takes its alarm if that rings by `until`.
    pub(super) fn ring(&mut self, until: Moment) -> Option<Moment> {
        self.wake_at.take_if(|it| *it <= until)
    }

    /// Ends with what it watched.
    pub(super) fn end(&mut self, run: &mut Run<'_>) {
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
