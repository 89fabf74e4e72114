//! Follows sessions while they are written: what `watch` and `demo` share.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use watchkeeper_core::{
    Delivery, Engine, Event, Finding, Fingerprint, Monitor, MonitorConfig, MonitorCounts, Queue,
    Registry, Router, SignedDuration, SourceEntry, Status, Timestamp,
    clock::{Clock as _, Deadline, SystemClock},
};
use watchkeeper_policy::{NamedSink, Policy};
use watchkeeper_sources::{FollowOptions, FollowReport, Follower, Update, Waker};

/// How long to wait for something to change before looking around.
const WAIT: Duration = Duration::from_secs(1);
/// How many events are put in order before they are handed on.
const MAX_BATCH: usize = 1 << 18;
/// How long what was written before the end may take to be read.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What is followed, and from when on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// What the files are, where their content does not tell.
    pub(crate) source: Option<&'static SourceEntry>,
    /// How old a finding may be that is still delivered. Sessions that are
    /// under way are read from their beginning, and what went wrong in them
    /// hours ago is no news.
    pub(crate) news: SignedDuration,
}

impl Default for Options {
    fn default() -> Self {
        Self { source: None, news: SignedDuration::from_mins(10) }
    }
}

/// A follower, and what its events go to.
pub(crate) struct Live {
    engine: Engine,
    delivery: Delivery,
    config: MonitorConfig,
    follower: Follower,
    is_stopped: Arc<AtomicBool>,
    batch: Vec<Event>,
}

/// Ends a run from another thread.
#[derive(Clone)]
pub(crate) struct Stopper {
    is_stopped: Arc<AtomicBool>,
    waker: Waker,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: MonitorCounts,
    pub(crate) followed: FollowReport,
    /// Whether every finding was delivered in time.
    pub(crate) all_delivered: bool,
}

impl Live {
    pub(crate) fn new(
        policy: Policy,
        registry: &Registry,
        paths: Vec<PathBuf>,
        options: &Options,
    ) -> Self {
        let mut config = MonitorConfig::default();
        config.check_interval = policy.monitor.check_interval.unsigned();
        config.shutdown_timeout = policy.monitor.shutdown_timeout.unsigned();
        config.since = SystemClock.now().checked_sub(options.news).ok();
        let engine_config = policy.engine_config();
        let engine = Engine::new(policy.detectors, engine_config);
        let ids: Vec<String> = policy.sinks.iter().map(|it| it.id.clone()).collect();
        let queue = |it: NamedSink| Queue::new(&it.id, it.sink, it.queue_capacity);
        let queues = policy.sinks.into_iter().map(queue).collect();
        let delivery = Delivery::new(Router::new(policy.routes, &ids), queues);
        let follow = FollowOptions { kind: options.source, ..FollowOptions::default() };
        let follower = Follower::new(paths, registry.sources.iter(), follow);
        Self { engine, delivery, config, follower, is_stopped: Arc::default(), batch: Vec::new() }
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper { is_stopped: self.is_stopped.clone(), waker: self.follower.waker() }
    }

    /// Follows until it is stopped. What is no event goes to `on_update`.
    pub(crate) fn run(
        mut self,
        on_update: &mut dyn FnMut(&Update) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let caught_up = self.catch_up(on_update)?;
        let Self { engine, delivery, config, mut follower, is_stopped, mut batch } = self;
        let running = Monitor::new(engine, delivery, config).start()?;
        let feed = running.feed();
        let mut is_held = false;
        while !is_stopped.load(Ordering::Acquire) && running.is_running() {
            let on_panic = &mut |finding| _ = feed.report(finding);
            step(&mut follower, WAIT, &mut batch, on_panic, on_update)?;
            // Time passes only between looks that have seen all there is: what
            // is half read looks like silence.
            let has_news = !batch.is_empty() || !follower.is_caught_up();
            if has_news && !is_held {
                is_held = feed.hold();
            }
            in_order(&mut batch).for_each(|it| _ = feed.send(it));
            if is_held && follower.is_caught_up() {
                feed.release();
                is_held = false;
            }
        }
        // What was written before the end is still read.
        let last_look = Deadline::after(LAST_LOOK);
        let on_panic = &mut |finding| _ = feed.report(finding);
        while step(&mut follower, Duration::ZERO, &mut batch, on_panic, on_update)?
            && !last_look.remaining().is_zero()
        {}
        in_order(&mut batch).for_each(|it| _ = feed.send(it));
        let all_delivered = !running.stop().timed_out;
        let mut counts = running.counts();
        counts.events += caught_up.events;
        counts.findings += caught_up.findings;
        Ok(Outcome { counts, followed: follower.report(), all_delivered })
    }

    /// Reads what is there already, and delivers what is still open of what is
    /// found in it: what has ended is no news.
    fn catch_up(
        &mut self,
        on_update: &mut dyn FnMut(&Update) -> io::Result<()>,
    ) -> io::Result<MonitorCounts> {
        let mut counts = MonitorCounts::default();
        let mut findings: Vec<Finding> = Vec::new();
        let mut has_more = true;
        while has_more && !self.is_stopped.load(Ordering::Acquire) {
            // Sessions are often spread over files: what is read is put in
            // order, as much of it as memory is given to.
            while has_more
                && self.batch.len() < MAX_BATCH
                && !self.is_stopped.load(Ordering::Acquire)
            {
                let Self { follower, batch, delivery, .. } = self;
                let on_panic = &mut |finding: Finding| {
                    counts.findings += 1;
                    delivery.deliver(&finding);
                };
                has_more = step(follower, Duration::ZERO, batch, on_panic, on_update)?;
            }
            for event in in_order(&mut self.batch) {
                counts.events += 1;
                let n_before = findings.len();
                self.engine.observe(&event, &mut findings);
                let ended: Vec<Fingerprint> = findings[n_before..]
                    .iter()
                    .filter(|it| it.status == Status::Resolved)
                    .map(|it| it.fingerprint)
                    .collect();
                if !ended.is_empty() {
                    findings.retain(|it| !ended.contains(&it.fingerprint));
                }
            }
        }
        let is_news = |it: &Finding| self.config.since.is_none_or(|since| since <= it.at);
        for (at, finding) in findings.iter().enumerate().filter(|(_, it)| is_news(it)) {
            let escalates =
                findings[at + 1..].iter().any(|it| it.fingerprint == finding.fingerprint);
            if !escalates {
                counts.findings += 1;
                self.delivery.deliver(finding);
            }
        }
        Ok(counts)
    }
}

/// Reads what has changed. Says whether there was anything, or is more.
fn step(
    follower: &mut Follower,
    wait: Duration,
    batch: &mut Vec<Event>,
    on_panic: &mut dyn FnMut(Finding),
    on_update: &mut dyn FnMut(&Update) -> io::Result<()>,
) -> io::Result<bool> {
    let mut has_changed = false;
    let mut told = Ok(());
    follower.step(SystemClock.now(), wait, &mut |update| {
        has_changed = true;
        if let Update::SourceFailed { file, panic } = &update {
            on_panic(panic.finding(SystemClock.now(), file));
        }
        match update {
            Update::Event(event) => batch.push(event),
            other if told.is_ok() => told = on_update(&other),
            _ => {}
        }
    });
    told.map(|()| has_changed || !follower.is_caught_up())
}

/// Takes what was read, in order of time over all files.
fn in_order(batch: &mut Vec<Event>) -> impl Iterator<Item = Event> {
    // What follows in a file follows in time, whatever its stamp says.
    let mut clocks: BTreeMap<Arc<str>, Timestamp> = BTreeMap::new();
    let mut res: Vec<(Timestamp, Event)> = Vec::with_capacity(batch.len());
    for event in batch.drain(..) {
        let at = match &event.origin {
            Some(origin) => {
                let clock = clocks.entry(origin.file.clone()).or_insert(event.at);
                *clock = event.at.max(*clock);
                *clock
            }
            None => event.at,
        };
        res.push((at, event));
    }
    res.sort_by_key(|(at, _)| *at);
    res.into_iter().map(|(_, event)| event)
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.waker.wake();
    }
}
