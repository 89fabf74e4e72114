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
    Delivery, Engine, Event, Feed, Monitor, MonitorConfig, MonitorCounts, Queue, Registry, Router,
    SignedDuration, SourceEntry, Timestamp,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_policy::{NamedSink, Policy};
use watchkeeper_sources::{FollowOptions, FollowReport, Follower, Update, Waker};

/// How long to wait for something to change before looking around.
const WAIT: Duration = Duration::from_secs(1);
/// How many events are put in order before they are handed on.
const MAX_BATCH: usize = 1 << 20;

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

/// A monitor, and the follower that feeds it.
pub(crate) struct Live {
    monitor: Monitor,
    feed: Feed,
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
    pub(crate) fn start(
        policy: Policy,
        registry: &Registry,
        paths: Vec<PathBuf>,
        options: &Options,
    ) -> io::Result<Self> {
        let config = MonitorConfig {
            check_interval: policy.monitor.check_interval.unsigned(),
            shutdown_timeout: policy.monitor.shutdown_timeout.unsigned(),
            since: SystemClock.now().checked_sub(options.news).ok(),
            ..MonitorConfig::default()
        };
        let engine_config = policy.engine_config();
        let engine = Engine::new(policy.detectors, engine_config);
        let ids: Vec<String> = policy.sinks.iter().map(|it| it.id.clone()).collect();
        let queue = |it: NamedSink| Queue::new(&it.id, it.sink, it.queue_capacity);
        let queues = policy.sinks.into_iter().map(queue).collect();
        let delivery = Delivery::new(Router::new(policy.routes, &ids), queues);
        let monitor = Monitor::new(engine, delivery, config);
        let follow = FollowOptions { kind: options.source, ..FollowOptions::default() };
        let follower = Follower::new(paths, registry.sources.iter(), follow);
        monitor.start()?;
        let feed = monitor.feed();
        Ok(Self { monitor, feed, follower, is_stopped: Arc::default(), batch: Vec::new() })
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper { is_stopped: self.is_stopped.clone(), waker: self.follower.waker() }
    }

    /// Follows until it is stopped. What is no event goes to `on_update`.
    pub(crate) fn run(
        mut self,
        on_update: &mut dyn FnMut(&Update) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        // Sessions are often spread over files: first all that is there is put
        // in order, then it is handed on.
        while self.step(Duration::ZERO, on_update)? && self.batch.len() < MAX_BATCH {}
        self.hand_on();
        while !self.is_stopped.load(Ordering::Acquire) && self.monitor.is_running() {
            self.step(WAIT, on_update)?;
            self.hand_on();
        }
        // What was written before the end is still read.
        while self.step(Duration::ZERO, on_update)? {}
        self.hand_on();
        let all_delivered = self.monitor.stop();
        let counts = self.monitor.counts();
        Ok(Outcome { counts, followed: self.follower.report(), all_delivered })
    }

    /// Reads what has changed. Says whether anything had.
    fn step(
        &mut self,
        wait: Duration,
        on_update: &mut dyn FnMut(&Update) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut outcome = Ok(false);
        let batch = &mut self.batch;
        self.follower.step(SystemClock.now(), wait, &mut |update| {
            if let Ok(changed) = &mut outcome {
                *changed = true;
            }
            match update {
                Update::Event(event) => batch.push(event),
                other => {
                    if let Err(err) = on_update(&other) {
                        outcome = Err(err);
                    }
                }
            }
        });
        outcome
    }

    /// Hands on what was read, in order of time over all files.
    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // What follows in a file follows in time, whatever its stamp says.
        let mut clocks: BTreeMap<Arc<str>, Timestamp> = BTreeMap::new();
        let mut batch: Vec<(Timestamp, Event)> = Vec::with_capacity(self.batch.len());
        for event in self.batch.drain(..) {
            let at = match &event.origin {
                Some(origin) => {
                    let clock = clocks.entry(origin.file.clone()).or_insert(event.at);
                    *clock = event.at.max(*clock);
                    *clock
                }
                None => event.at,
            };
            batch.push((at, event));
        }
        batch.sort_by_key(|(at, _)| *at);
        self.feed.hold();
        for (_, event) in batch {
            self.feed.send(event);
        }
        self.feed.release();
    }
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.waker.wake();
    }
}
