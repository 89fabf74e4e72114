use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    CompiledDetector, Shared,
    dispatch::{DispatchContext, StreamScope},
    episodes::{Episode, Episodes},
    explanation::Explained,
    moment::{ClockAdjustments, PackedTimestamp, postponed},
    subscriptions::TimerOnlySet,
};
use crate::{Context, Detector, ExplanationDetail, Finding, Fingerprint, Report, Severity};

/// How many copies of a detector that came to rest are kept for the streams that
/// will need one next.
const MAX_RESTING: usize = 16;

/// One detector at work on one stream.
#[derive(Default)]
pub(crate) struct Stream {
    pub(super) detector_idx: u32,
    pub(super) wake_at: Option<PackedTimestamp>,
    /// `None` while it is at rest: it is as good as any other then, and one is
    /// lent when something happens.
    detector: Option<Box<dyn Detector>>,
    episodes: Episodes,
}

/// Where one detector runs while it has nothing to remember.
pub(super) struct DetectorPool {
    /// Its detector is at rest, but while it runs.
    pub(super) stream: Stream,
    /// More of them that are at rest.
    resting: Vec<Box<dyn Detector>>,
}

/// What a detector raised or resolved while it ran.
pub(crate) struct Reported {
    pub(crate) subject: Fingerprint,
    /// `None` says that it was resolved.
    pub(crate) severity: Option<Severity>,
    pub(crate) measure: u64,
    pub(crate) report: Report,
}

/// The room that streams work in, one after the other.
#[derive(Default)]
pub(crate) struct RunScratch {
    /// The ids of pending calls that a detector is not told of.
    pub(crate) hidden: Vec<Fingerprint>,
    pub(crate) raised: Vec<Reported>,
    /// What a person is told who asks why.
    pub(crate) noted: Vec<ExplanationDetail>,
    /// Whether there may be something to take over.
    pub(crate) is_touched: bool,
    /// What the clock jumped over.
    pub(crate) clock_adjustments: ClockAdjustments,
    /// The first time at which a stream asked to be woken.
    pub(crate) first_wake: Option<PackedTimestamp>,
    /// The detectors that have just panicked.
    pub(super) panicked: Vec<u32>,
    pub(super) explained: Option<Box<Explained>>,
}

/// What streams are run with, and what they leave behind.
pub(super) struct Run<'a> {
    pub(super) dispatch: &'a DispatchContext<'a>,
    pub(super) detectors: &'a [CompiledDetector],
    pub(super) scratch: &'a mut RunScratch,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Run<'a> {
    /// With it comes for each detector where that runs while it has nothing to
    /// remember.
    pub(super) fn new(
        dispatch: &'a DispatchContext<'a>,
        shared: &'a mut Shared,
        findings: &'a mut Vec<Finding>,
    ) -> (Self, &'a mut [DetectorPool]) {
        let Shared { detectors, scratch, pools, .. } = shared;
        scratch.is_touched = dispatch.is_explained;
        scratch.first_wake = None;
        (Self { dispatch, detectors, scratch, findings }, pools)
    }

    /// Runs one stream, by itself. Those before it are of the same agent or session.
    pub(super) fn stream(
        &mut self,
        stream: &mut Stream,
        before: &[Stream],
        pool: &mut DetectorPool,
    ) {
        if self.scratch.panicked.contains(&stream.detector_idx) {
            stream.turn_off();
            return;
        }
        let compiled = &self.detectors[stream.detector_idx as usize];
        let run = || self.run(pool.equip(stream), compiled, before);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(true) => pool.take_back(stream),
            Ok(false) => {}
            Err(panic) => self.turn_off(stream, panic.as_ref()),
        }
    }

    /// Has the detector of a stream see the event, or wakes it. Gives back whether
    /// it is at rest then. Whoever calls this catches its panics, and turns the
    /// stream off.
    #[inline]
    pub(super) fn run(
        &mut self,
        stream: &mut Stream,
        compiled: &CompiledDetector,
        before: &[Stream],
    ) -> bool {
        let detector = stream.detector.get_or_insert_with(|| compiled.named.detector.clone());
        let slept_until = if self.dispatch.is_explained { stream.wake_at } else { None };
        let mut cx = Context {
            dispatch: self.dispatch,
            compiled,
            before,
            wake_at: &mut stream.wake_at,
            episodes: &mut stream.episodes,
            scratch: self.scratch,
        };
        match self.dispatch.observed {
            Some(it) => detector.observe(it.event, &mut cx),
            None => detector.wake(&mut cx),
        }
        let is_at_rest = detector.is_idle();
        if self.scratch.is_touched {
            self.take_over(stream, slept_until, None);
        }
        is_at_rest
    }

    /// The first of those that sleep.
    pub(super) fn first_of(&self, sleeping: TimerOnlySet) -> Option<u32> {
        let mut timer_only = self.detectors.iter().filter(|it| it.timer_bit & sleeping != 0);
        if sleeping == 0 { None } else { timer_only.next().map(|it| it.idx) }
    }

    /// Takes its alarm from a stream whose detector has this bit, if it sleeps now.
    /// Gives back the bit then.
    pub(super) fn put_to_sleep(
        &self,
        stream: &mut Stream,
        timer_bit: TimerOnlySet,
    ) -> TimerOnlySet {
        let is_asleep = timer_bit != 0
            && stream.wake_at.is_some()
            && stream.detector.as_ref().is_none_or(|it| it.is_idle())
            && stream.episodes.is_empty()
            && !self.dispatch.is_explained;
        if !is_asleep {
            return 0;
        }
        stream.wake_at = None;
        timer_bit
    }

    /// Takes over what a detector has left, and tells who asks why.
    #[cold]
    fn take_over(
        &mut self,
        stream: &Stream,
        slept_until: Option<PackedTimestamp>,
        panicked: Option<ExplanationDetail>,
    ) {
        let Self { dispatch, scratch, .. } = self;
        scratch.is_touched = dispatch.is_explained;
        scratch.hidden.clear();
        let named = &self.detectors[stream.detector_idx as usize].named;
        let explained = scratch.explained.as_deref_mut().filter(|_| dispatch.is_explained);
        if let Some(explained) = explained {
            let [from, to] = [slept_until, stream.wake_at].map(|it| it.map(Timestamp::from));
            let rescheduled = (from != to).then_some(ExplanationDetail::Rescheduled { from, to });
            let noted = scratch.noted.drain(..).chain(rescheduled).chain(panicked);
            let is_wakeup = dispatch.observed.is_none();
            explained.note(named, dispatch.now, is_wakeup, &dispatch.stream_scope, noted);
        }
        for it in scratch.raised.drain(..) {
            self.findings.push(named.finding(dispatch.now, &dispatch.stream_scope, it));
        }
    }

    /// Turns the stream off whose detector has panicked.
    pub(super) fn turn_off(&mut self, stream: &mut Stream, panic: &(dyn Any + Send)) {
        self.take_over(stream, stream.wake_at, Some(ExplanationDetail::Panicked));
        stream.turn_off();
        self.scratch.panicked.push(stream.detector_idx);
        let named = &self.detectors[stream.detector_idx as usize].named;
        self.findings.push(named.panic_finding(
            self.dispatch.now,
            &self.dispatch.stream_scope,
            panic,
        ));
    }
}

impl DetectorPool {
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
        stream_scope: &StreamScope<'_>,
        shared: &Shared,
    ) -> Vec<(Fingerprint, u64)> {
        let named = &shared.detectors[self.detector_idx as usize].named;
        let open = |it: &Episode| (named.fingerprint(stream_scope, it.subject), it.measure);
        self.episodes.iter().map(open).collect()
    }

    /// Runs it where no other stream belongs to it. Gives back whether its detector
    /// panicked, and is off now.
    pub(super) fn run_alone(
        &mut self,
        dispatch: &DispatchContext<'_>,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let (mut run, pools) = Run::new(dispatch, shared, findings);
        run.stream(self, &[], &mut pools[self.detector_idx as usize]);
        run.scratch.panicked.drain(..).next().is_some()
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
    pub(super) fn ring(&mut self, until: PackedTimestamp) -> Option<PackedTimestamp> {
        self.wake_at.take_if(|it| *it <= until)
    }

    /// Ends with what it watched.
    pub(super) fn end(&mut self, run: &mut Run<'_>) {
        let Run { dispatch, detectors, scratch, findings } = run;
        let DispatchContext { now, stream_scope, .. } = dispatch;
        self.wake_at = None;
        let compiled = &detectors[self.detector_idx as usize];
        for it in self.episodes.take() {
            let what = if stream_scope.agent_id.is_some() { "agent" } else { "session" };
            let mut report = Report::new(format!("over, as the {what} ended"));
            if !compiled.is_budget {
                report = report.with_cost(&stream_scope.session.totals, it.used);
            }
            let explained = scratch.explained.as_deref_mut();
            if let Some(explained) = explained.filter(|_| dispatch.is_explained) {
                let message = report.message.clone();
                let ended =
                    ExplanationDetail::Ended { subject: it.subject, message, was_open: true };
                explained.note(&compiled.named, *now, false, stream_scope, [ended]);
            }
            let raised =
                Reported { subject: it.subject, severity: None, measure: it.measure, report };
            findings.push(compiled.named.finding(*now, stream_scope, raised));
        }
    }
}
