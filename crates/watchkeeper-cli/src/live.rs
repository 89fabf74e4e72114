//! Follows sessions while agents write them: the common part of `watch` and
//! `demo`. Data flows one way: follower → backlog, then follower → monitor.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use watchkeeper_core::{
    Engine, Event, Monitor, SignedDuration,
    author::make_safe,
    clock::{Clock as _, Deadline, SystemClock},
    embed::{
        Backlog, BacklogCounts, Delivery, Feed, MonitorConfig, MonitorCounts, Queue, Registry,
        Router, SinkOutcome, SourceEntry, Stopped, Suppliers,
    },
    quote,
};
use watchkeeper_policy::{Heartbeat, Policy};
use watchkeeper_sources::{FollowOptions, FollowReport, Follower, ProcessTracker, Update, otlp};

pub(crate) use self::{
    control::{Control, SignalListener},
    host::{ChangedPolicy, Host, NextPolicy, Refusal},
    page::LivePage,
    telemetry::Telemetry,
};
use self::{
    order::{correct_clocks, take_in_order},
    processes::track_processes,
    reading::{LAST_LOOK, follow, look_at_processes, observe, read_backlog, show, step},
    reload::{PolicyParts, PolicyReloader},
    session_files::SessionFiles,
    sinks::{Identity, LiveSinks},
    vital_signs::VitalSigns,
};
use crate::{
    followed_paths::FollowedPaths,
    service_manager,
    stored_silences::StoredSilences,
    watch_state::{SESSION_IS_GONE, WatchState},
};

mod control;
mod host;
mod order;
mod page;
mod processes;
mod reading;
mod reload;
mod session_files;
mod sinks;
mod telemetry;
mod vital_signs;

/// Maximum wait for a change while a process may end, or lines are to be stored.
const WAIT: Duration = Duration::from_secs(1);
/// Age at the start above which a finding is delivered only if it is still open in a session
/// that goes on, if its session file is first read after the start.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);

/// A follower and a monitor for its events.
pub(crate) struct LiveMonitor {
    engine: Engine,
    delivery: Delivery,
    sinks: LiveSinks,
    config: MonitorConfig,
    follower: Follower,
    /// `None` if the policy or the system does not allow it.
    processes: Option<ProcessTracker>,
    /// `None` if findings end with the process.
    state: Option<WatchState>,
    files: SessionFiles,
    heartbeat: Option<Heartbeat>,
    /// `None` if silences do not change.
    silences: Option<StoredSilences>,
    /// `None` if nobody sees it.
    page: Option<Arc<LivePage>>,
    /// `None` if agents cannot send any.
    telemetry: Option<Arc<Telemetry>>,
    control: Control,
}

/// Results of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: MonitorCounts,
    pub(crate) followed: FollowReport,
    /// `true` if all findings were delivered in time.
    pub(crate) all_delivered: bool,
    /// The sinks that lost findings, each with its last error.
    pub(crate) losses: Vec<String>,
    /// Findings that are stored for the next run.
    pub(crate) n_pending: u64,
}

impl LiveMonitor {
    /// Creates a monitor for the sessions in `paths`. `source` is the kind of all
    /// files; `None` recognizes each file. `observers` receive every finding. With `state`,
    /// the monitor continues where an earlier one has stopped.
    pub(crate) fn new(
        policy: Policy,
        registry: &Registry,
        paths: Vec<PathBuf>,
        source: Option<&'static SourceEntry>,
        observers: Vec<Queue>,
        mut state: Option<WatchState>,
    ) -> Self {
        let mut config = MonitorConfig::default();
        config.check_interval = policy.monitor.check_interval.unsigned();
        config.shutdown_timeout = policy.monitor.shutdown_timeout.unsigned();
        let now = SystemClock.now();
        let stopped_at = state.as_ref().and_then(WatchState::stopped_at).unwrap_or(now);
        config.since = stopped_at.min(now.checked_sub(MAX_AGE).unwrap_or(now)).into();
        let processes = policy.monitor.processes.then(track_processes).flatten();
        let engine_config = policy.engine_config();
        let engine = Engine::new(policy.detectors, engine_config);
        let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
        let identities = policy.sinks.iter().map(Identity::of).collect();
        let damages = state.as_mut().map_or_else(Vec::new, WatchState::take_damages);
        let queue = |sink| WatchState::queue(state.as_mut(), sink);
        let queues = policy.sinks.into_iter().map(queue).collect();
        let longest_wait = policy.routes.longest_wait();
        let router = Router::new(policy.routes, &ids);
        let mut delivery = Delivery::with_observers(router, queues, observers);
        let sinks = LiveSinks::new(identities, delivery.queues());
        for finding in &damages {
            delivery.deliver(finding);
        }
        let mut follow = FollowOptions { kind: source, ..FollowOptions::default() };
        // Sessions that changed since the end of the last run may have new findings. Findings
        // that waited for a route at that time are in older ones.
        let since_stop = now.duration_since(stopped_at).max(SignedDuration::ZERO);
        follow.recent = follow.recent.saturating_add(since_stop).saturating_add(longest_wait);
        let files = SessionFiles::new(FollowedPaths::new(&paths));
        let follower = Follower::new(paths, registry.sources.iter(), follow);
        let control = Control::new(follower.waker());
        let heartbeat = policy.heartbeat;
        Self {
            engine,
            delivery,
            sinks,
            config,
            follower,
            processes,
            state,
            files,
            heartbeat,
            silences: None,
            page: None,
            telemetry: None,
            control,
        }
    }

    /// Uses silences that may change, in place of those of the policy.
    pub(crate) fn with_silences(self, silences: Option<StoredSilences>) -> Self {
        Self { silences, ..self }
    }

    /// Shows the sessions on a page. Its [queue](LivePage::queue) is one of the observers.
    pub(crate) fn with_page(self, page: Option<Arc<LivePage>>) -> Self {
        Self { page, ..self }
    }

    /// Takes the events that agents send, beside those of session files.
    pub(crate) fn with_telemetry(self, telemetry: Option<Arc<Telemetry>>) -> Self {
        telemetry.as_ref().inspect(|it| it.connect(self.follower.waker()));
        Self { telemetry, ..self }
    }

    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Follows sessions until stopped.
    pub(crate) fn run(self, host: &mut dyn Host) -> io::Result<Outcome> {
        let Self { engine, mut delivery, mut sinks, config, mut follower, .. } = self;
        let Self { mut processes, mut state, mut files, .. } = self;
        let Self { heartbeat, mut silences, control, .. } = self;
        let (page, telemetry) = (self.page.as_deref(), self.telemetry.as_deref());
        // A client may send the events that it also writes into a session file.
        let mut suppliers = Suppliers::default();
        use_silences(&mut silences, &mut delivery);
        let is_stopped = || control.is_stopped();
        // An open finding is delivered however old: the problem continues.
        let mut backlog = Backlog::new(engine, delivery);
        let readers = (&mut follower, &mut processes, &mut state, &mut files, &mut suppliers);
        let on_update = &mut |update: &Update| host.on_update(update);
        read_backlog(readers, &mut backlog, page, &is_stopped, on_update);
        let is_read = follower.is_caught_up();
        let (engine, delivery, backlog_counts) = backlog.finish();
        host.on_start(&follower.report(), engine.sessions().len());

        let running = Arc::new(Monitor::new(engine, delivery, config).start()?);
        page.inspect(|page| page.start(&running, backlog_counts.events));
        let feed = running.feed();
        let mut vital_signs = VitalSigns::start(heartbeat, running.feed())?;
        let mut reloader = PolicyReloader::default();
        let (mut batch, mut is_held) = (Vec::new(), false);
        while !is_stopped() && running.is_running() {
            let is_requested = control.take_reload();
            if is_requested || reloader.is_due() {
                service_manager::reloading();
                let mut parts = PolicyParts {
                    sinks: &mut sinks,
                    state: &mut state,
                    processes: &mut processes,
                    vital_signs: &mut vital_signs,
                    silences: &mut silences,
                    page,
                };
                reloader.reload(is_requested, host, &running, &mut parts);
                service_manager::ready();
            }
            if control.take_read_silences() {
                read_silences(&mut silences, &feed);
            }
            let on_panic = &mut |finding| _ = feed.report(finding);
            vital_signs.check(&running);
            // Without them, the next work is a file that changes.
            let is_busy = processes.as_ref().is_some_and(ProcessTracker::has_sessions)
                || state.as_ref().is_some_and(WatchState::is_dirty);
            let wait = if is_busy { WAIT } else { Duration::MAX };
            let of_telemetry = telemetry.map_or(Duration::MAX, Telemetry::longest_wait);
            let of_parts = [vital_signs.longest_wait(), files.longest_wait(), of_telemetry];
            let wait = of_parts.into_iter().fold(wait.min(reloader.longest_wait()), Duration::min);
            let on_update = &mut |update: &Update| {
                follow(&mut state, &mut files, page, update);
                host.on_update(update);
            };
            step(&mut follower, wait, &mut batch, on_panic, on_update);
            telemetry.inspect(|it| it.take(&mut batch));
            // Hold the monitor's time until everything is read: a session that is
            // half read looks inactive.
            let has_more = !batch.is_empty() || !follower.is_caught_up();
            if has_more && !is_held {
                is_held = feed.hold();
            }
            correct_clocks(&mut batch, SystemClock.now());
            take_in_order(&mut batch).for_each(|event| {
                observe(&mut processes, &event);
                files.observe(&event);
                send(event, &mut suppliers, page, &feed);
            });
            if follower.is_caught_up() {
                let on_panic = &mut |finding| _ = feed.report(finding);
                let send = &mut |event| send(event, &mut suppliers, page, &feed);
                let on_update = &mut |update: &Update| {
                    follow(&mut state, &mut files, page, update);
                    host.on_update(update);
                };
                look_at_processes(&mut processes, &mut follower, send, on_panic, on_update);
                withdraw_gone(&mut files, &feed);
            }
            if is_held && follower.is_caught_up() {
                feed.release();
                is_held = false;
            }
            // Not later than the findings of the events: without them, their lines are new to
            // the next run.
            if running.has_handled_all() && running.has_stored_all() {
                commit(&mut state, &feed);
            }
        }
        vital_signs.stop();
        // Read lines that were written before the stop.
        let last_look = Deadline::after(LAST_LOOK);
        let on_panic = &mut |finding| _ = feed.report(finding);
        // The rest of a backlog that was not read is not live.
        while is_read
            && step(&mut follower, Duration::ZERO, &mut batch, on_panic, &mut |update| {
                follow(&mut state, &mut files, page, update);
                host.on_update(update);
            })
            && !last_look.remaining().is_zero()
        {}
        telemetry.inspect(|it| it.take(&mut batch));
        take_in_order(&mut batch).for_each(|event| send(event, &mut suppliers, page, &feed));
        let stopped = running.stop();
        if stopped.dropped == 0 && stopped.lost == 0 && !stopped.timed_out {
            commit(&mut state, &feed);
        }
        Ok(Outcome::new(&stopped, running.counts(), backlog_counts, follower.report()))
    }
}

impl Outcome {
    fn new(
        stopped: &Stopped,
        mut counts: MonitorCounts,
        backlog: BacklogCounts,
        followed: FollowReport,
    ) -> Self {
        counts.events += backlog.events;
        counts.findings += backlog.findings;
        counts.lost += backlog.dropped;
        let losses = stopped.sinks.iter().filter(|sink| 0 < sink.lost).map(describe_loss);
        Self {
            counts,
            followed,
            all_delivered: !stopped.timed_out,
            losses: losses.collect(),
            n_pending: stopped.pending,
        }
    }
}

/// Passes an event to the page and to the monitor, if it counts.
fn send(event: Event, suppliers: &mut Suppliers, page: Option<&LivePage>, feed: &Feed) {
    if otlp::admits(suppliers, &event) {
        show(page, &event);
        feed.send(event);
    }
}

/// Returns a text such as "`ops` 3 (unavailable: no route to host)".
fn describe_loss(sink: &SinkOutcome) -> String {
    let SinkOutcome { name, lost, last_error, .. } = sink;
    let cause = last_error.as_deref().unwrap_or("too many findings at once");
    format!("{} {lost} ({})", quote(name), make_safe(cause))
}

/// Ends the findings of sessions whose files are gone.
fn withdraw_gone(files: &mut SessionFiles, feed: &Feed) {
    for session in files.take_gone(SystemClock.uptime()) {
        feed.withdraw(session, SESSION_IS_GONE);
    }
}

/// Reads the silences before the start.
fn use_silences(silences: &mut Option<StoredSilences>, delivery: &mut Delivery) {
    match silences.as_mut().and_then(StoredSilences::changes) {
        Some(Ok(silences)) => delivery.set_silences(silences),
        Some(Err(failure)) => delivery.deliver(&failure),
        None => {}
    }
}

/// Reads the silences if they have changed.
fn read_silences(silences: &mut Option<StoredSilences>, feed: &Feed) {
    match silences.as_mut().and_then(StoredSilences::changes) {
        Some(Ok(silences)) => {
            tracing::info!(target: "watchkeeper::silences", "the silences have changed");
            feed.set_silences(silences);
        }
        Some(Err(failure)) => _ = feed.report(*failure),
        None => {}
    }
}

/// Stores how far the files were read.
fn commit(state: &mut Option<WatchState>, feed: &Feed) {
    let failure = state.as_mut().filter(|state| state.is_dirty()).and_then(WatchState::commit);
    if let Some(failure) = failure {
        feed.report(failure);
    }
}
