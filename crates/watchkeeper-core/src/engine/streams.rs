use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    CompiledDetector,
    moment::PackedTimestamp,
    stream::{DetectorPool, Run, Stream},
    subscriptions::{EventSubscribers, Subscriber, Subscribers, TimerOnlySet},
};
/// The streams of one agent, or of a session as a whole.
#[derive(Default)]
pub(super) struct Streams {
    /// Those with something to remember, in the order of the policy.
    kept: Vec<Stream>,
    /// The detectors that sleep, and are woken with the first that is.
    sleeping: TimerOnlySet,
    /// The marks of those kept, at least.
    marks: u32,
}

impl Streams {
    pub(super) fn iter(&self) -> slice::Iter<'_, Stream> {
        self.kept.iter()
    }

    /// Runs the stream of each detector that reads the event, which stands here
    /// among all that an [`EventSet`](crate::EventSet) tells apart.
    pub(super) fn observe(
        &mut self,
        subscribers: &Subscribers,
        sort_idx: usize,
        run: &mut Run<'_>,
        pools: &mut [DetectorPool],
    ) {
        let EventSubscribers { all, sleepless, timer_only } = subscribers.of(sort_idx);
        if run.dispatch.is_explained {
            // A person who asks why is told of every wake-up that is put off.
            self.sleeping &= !timer_only;
        }
        let mut subscribers =
            if self.sleeping & timer_only == *timer_only { sleepless } else { all }.as_ref();
        if subscribers.is_empty() {
            return;
        }
        let mut running = 0;
        // One that panics is turned off, and the rest go on.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| {
            self.show(subscribers, &mut running, run, pools);
        })) {
            subscribers =
                &subscribers[subscribers.partition_point(|it| it.detector_idx <= running)..];
            self.turn_off_running(&mut pools[running as usize], panic.as_ref(), run);
        }
    }

    /// Runs these subscribers, but for those that are at rest and cannot begin with the
    /// event. Says which it is that runs.
    fn show(
        &mut self,
        subscribers: &[Subscriber],
        running: &mut u32,
        run: &mut Run<'_>,
        pools: &mut [DetectorPool],
    ) {
        let mut place = 0;
        for &Subscriber { detector_idx, begins, timer_bit } in subscribers {
            let stays_at_rest = !begins && self.marks & mark(detector_idx) == 0;
            if stays_at_rest || self.sleeping & timer_bit != 0 {
                continue;
            }
            while self.kept.get(place).is_some_and(|it| it.detector_idx < detector_idx) {
                place += 1;
            }
            *running = detector_idx;
            let compiled = &run.detectors[detector_idx as usize];
            let pool = &mut pools[detector_idx as usize];
            let (before, rest) = self.kept.split_at_mut(place);
            let kept = rest.first_mut().filter(|it| it.detector_idx == detector_idx);
            let is_kept = kept.is_some();
            let stream = match kept {
                Some(it) if begins || it.is_at_work() => pool.equip(it),
                None if begins => &mut pool.stream,
                _ => continue,
            };
            let is_at_rest = run.run(stream, compiled, before);
            self.sleeping |= run.put_to_sleep(stream, timer_bit);
            if is_kept {
                let stream = &mut self.kept[place];
                if is_at_rest {
                    pool.take_back(stream);
                    if stream.is_empty() {
                        self.kept.remove(place);
                        self.marks = marks(&self.kept);
                    }
                }
            } else if let Some(stream) = pool.take(is_at_rest) {
                self.take_in(place, stream);
            }
        }
    }

    /// Turns the detector off that ran as it panicked, in the stream that is kept
    /// of it or in the pool one.
    fn turn_off_running(
        &mut self,
        pool: &mut DetectorPool,
        panic: &(dyn Any + Send),
        run: &mut Run<'_>,
    ) {
        let Stream { detector_idx, .. } = pool.stream;
        let place = self.kept.partition_point(|it| it.detector_idx < detector_idx);
        match self.kept.get_mut(place).filter(|it| it.detector_idx == detector_idx) {
            Some(stream) => run.turn_off(stream, panic),
            None => {
                run.turn_off(&mut pool.stream, panic);
                if let Some(stream) = pool.take(true) {
                    self.take_in(place, stream);
                }
            }
        }
    }

    /// Runs the wake-ups that are due, and wakes all that sleep.
    pub(super) fn wake(&mut self, run: &mut Run<'_>, pools: &mut [DetectorPool]) {
        let mut sleeping = mem::take(&mut self.sleeping);
        let mut place = 0;
        loop {
            let kept_idx = self.kept.get(place).map(|it| it.detector_idx);
            let sleeper_idx = run.first_of(sleeping);
            let Some(detector_idx) = kept_idx.into_iter().chain(sleeper_idx).min() else { break };
            let compiled = &run.detectors[detector_idx as usize];
            let pool = &mut pools[detector_idx as usize];
            if sleeper_idx == Some(detector_idx) {
                sleeping &= !compiled.timer_bit;
                let mut stream = Stream::new(detector_idx);
                run.stream(&mut stream, &self.kept[..place], pool);
                self.sleeping |= run.put_to_sleep(&mut stream, compiled.timer_bit);
                if !stream.is_empty() {
                    self.take_in(place, stream);
                    place += 1;
                }
                continue;
            }
            let (before, rest) = self.kept.split_at_mut(place);
            if let [stream, ..] = rest
                && stream.ring(run.dispatch.moment).is_some()
            {
                run.stream(stream, before, pool);
                self.sleeping |= run.put_to_sleep(stream, compiled.timer_bit);
            }
            place += 1;
        }
        self.kept.retain(|it| !it.is_empty());
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
        self.sleeping = 0;
    }

    /// Turns a detector off that has panicked.
    pub(super) fn turn_off(&mut self, compiled: &CompiledDetector) {
        self.sleeping &= !compiled.timer_bit;
        for stream in self.kept.iter_mut().filter(|it| it.detector_idx == compiled.idx) {
            stream.turn_off();
        }
        self.kept.retain(|it| !it.is_empty());
    }

    pub(super) fn postpone(&mut self, since: Timestamp, by: SignedDuration) {
        self.kept.iter_mut().for_each(|it| it.postpone(since, by));
    }

    /// The first time at which one of them wants to be woken.
    pub(super) fn first_wake(&self) -> Option<PackedTimestamp> {
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
