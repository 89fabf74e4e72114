//! Follows sessions while agents write them: the common part of `watch` and
//! `demo`. Data flows one way: follower → backlog, then follower → monitor.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use watchkeeper_core::{
    Engine, Monitor, SignedDuration,
    author::make_safe,
    clock::{Clock as _, SystemClock},
    embed::{
        Backlog, BacklogCounts, Delivery, Feed, MonitorConfig, MonitorCounts, Queue, Registry,
        Router, SinkOutcome, SourceEntry, Stopped,
    },
    quote,
};
use watchkeeper_policy::{Heartbeat, Policy};
use watchkeeper_sources::{FollowOptions, FollowReport, Follower};

pub(crate) use self::{
    control::{Control, SignalListener},
    host::{ChangedPolicy, Host, NextPolicy, Quiet, Refusal},
    page::LivePage,
    remote::{AddressError, ConnectionError, RemotePaths, find_ssh, is_remote},
    standard_input::{StandardInput, StandardInputError},
    telemetry::Telemetry,
};
use self::{
    reading::SessionReader,
    reload::{PolicyParts, PolicyReloader},
    remote::{Remote, RemoteSources},
    sinks::{Identity, LiveSinks},
    vital_signs::VitalSigns,
};
use crate::{
    service_manager,
    stored_silences::StoredSilences,
    watch_state::{SESSION_IS_GONE, WatchState},
};

mod control;
mod host;
mod order;
mod page;
mod reading;
mod reload;
mod remote;
mod session_files;
mod sinks;
mod standard_input;
mod telemetry;
mod vital_signs;

/// Age at the start above which a finding is delivered only if it is still open in a session
/// that goes on, if its session file is first read after the start.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
/// The longest time before the end of the last run in which a session may have changed last whose
/// findings a silence hid at that time.
const MAX_SILENCED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A reader of sessions and a monitor for its events.
pub(crate) struct LiveMonitor {
    engine: Engine,
    delivery: Delivery,
    sinks: LiveSinks,
    config: MonitorConfig,
    /// The maximum age of files that are read at the start.
    recent: SignedDuration,
    reader: SessionReader,
    heartbeat: Option<Heartbeat>,
    /// `None` if silences do not change.
    silences: Option<StoredSilences>,
    control: Control,
}

/// Results of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: MonitorCounts,
    pub(crate) followed: FollowReport,
    /// The counts of skipped records of telemetry, by reason.
    pub(crate) skipped_records: BTreeMap<&'static str, u64>,
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
    /// the monitor continues where an earlier one has stopped. `silences`, which may change, are
    /// used in place of those of the policy.
    pub(crate) fn new(
        policy: Policy,
        registry: &Registry,
        paths: Vec<PathBuf>,
        source: Option<&'static SourceEntry>,
        observers: Vec<Queue>,
        mut state: Option<WatchState>,
        silences: Option<StoredSilences>,
    ) -> Self {
        let mut config = MonitorConfig::default();
        config.check_interval = policy.monitor.check_interval.unsigned();
        config.shutdown_timeout = policy.monitor.shutdown_timeout.unsigned();
        let now = SystemClock.now();
        let stopped_at = state.as_ref().and_then(WatchState::stopped_at);
        let is_restart = stopped_at.is_some();
        let stopped_at = stopped_at.unwrap_or(now);
        config.since = stopped_at.min(now.checked_sub(MAX_AGE).unwrap_or(now)).into();
        let follows_processes = policy.monitor.processes;
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
        let new_since = state.as_ref().and_then(WatchState::stopped_at);
        let mut follow = FollowOptions { kind: source, new_since, ..FollowOptions::default() };
        // Sessions that changed since the end of the last run may have new findings. Findings
        // that waited for a route or for the end of a silence at that time are in older ones.
        let since_stop = now.duration_since(stopped_at).max(SignedDuration::ZERO);
        let added_at =
            silences.as_ref().filter(|_| is_restart).and_then(|it| it.oldest(stopped_at));
        let silenced = added_at.map_or(SignedDuration::ZERO, |at| stopped_at.duration_since(at));
        let held = longest_wait.max(silenced.min(MAX_SILENCED));
        follow.recent = follow.recent.saturating_add(since_stop).saturating_add(held);
        let recent = follow.recent;
        follow.wanted = state.as_ref().map_or_else(BTreeSet::new, WatchState::evidence_files);
        let follower = Follower::new(paths.clone(), registry.sources.iter(), follow);
        let meter = delivery.meter().clone();
        let reader = SessionReader::new(follower, &paths, follows_processes, state, meter);
        let control = Control::new(reader.waker());
        let heartbeat = policy.heartbeat;
        Self { engine, delivery, sinks, config, recent, reader, heartbeat, silences, control }
    }

    /// Shows the sessions on a page. Its [queue](LivePage::queue) is one of the observers.
    pub(crate) fn with_page(mut self, page: Option<Arc<LivePage>>) -> Self {
        page.as_ref().inspect(|page| page.connect(self.delivery.meter()));
        self.reader.page = page;
        self
    }

    /// Takes the events that agents send, beside those of session files.
    pub(crate) fn with_telemetry(self, telemetry: Option<Arc<Telemetry>>) -> Self {
        Self { reader: self.reader.with_telemetry(telemetry), ..self }
    }

    /// Takes the events of a session that another program writes to standard input.
    pub(crate) fn with_input(self, input: Option<Arc<StandardInput>>) -> Self {
        Self { reader: self.reader.with_input(input), ..self }
    }

    /// Starts to read other machines. `source` is the kind of all files; `None` recognizes each
    /// file.
    pub(crate) fn with_machines(
        self,
        machines: Vec<RemotePaths>,
        registry: &Registry,
        source: Option<&'static SourceEntry>,
    ) -> io::Result<Self> {
        let start = |paths| {
            let kinds = registry.sources.iter().collect();
            let sources = RemoteSources { kind: source, kinds, recent: self.recent };
            Remote::start(paths, sources, self.control())
        };
        let remotes = machines.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { reader: self.reader.with_remotes(remotes), ..self })
    }

    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// Follows sessions until stopped.
    pub(crate) fn run(self, host: &mut dyn Host) -> io::Result<Outcome> {
        let Self { engine, mut delivery, mut sinks, config, mut reader, .. } = self;
        let Self { heartbeat, mut silences, control, .. } = self;
        let is_stopped = || control.is_stopped();
        use_silences(&mut silences, &mut delivery);
        // An open finding is delivered however old: the problem continues.
        let mut backlog = Backlog::new(engine, delivery);
        reader.read_backlog(&mut backlog, &is_stopped, host);
        let is_read = reader.is_caught_up();
        let (engine, delivery, backlog_counts) = backlog.finish();
        host.on_start(&reader.report(), engine.sessions().len());

        let running = Arc::new(Monitor::new(engine, delivery, config).start()?);
        reader.page.as_ref().inspect(|page| page.start(&running));
        let feed = running.feed();
        let mut send = |event, _| _ = feed.send(event);
        let mut vital_signs = VitalSigns::start(heartbeat, running.feed())?;
        let mut reloader = PolicyReloader::default();
        let mut is_held = false;
        while !is_stopped() && running.is_running() {
            let is_requested = control.take_reload();
            if is_requested || reloader.is_due() {
                service_manager::reloading();
                let mut parts = PolicyParts {
                    sinks: &mut sinks,
                    reader: &mut reader,
                    vital_signs: &mut vital_signs,
                    silences: &mut silences,
                };
                reloader.reload(is_requested, host, &running, &mut parts);
                service_manager::ready();
            }
            if control.take_read_silences() {
                read_silences(&mut silences, &feed);
            }
            vital_signs.check(&running);
            let of_parts = [reader.longest_wait(), vital_signs.longest_wait()];
            let wait = of_parts.into_iter().fold(reloader.longest_wait(), Duration::min);
            reader.step(wait, host);
            reader.read_telemetry();
            reader.read_input(host);
            reader.read_remotes(host);
            // Hold the monitor's time until everything is read: a session that is
            // half read looks inactive.
            let has_more = reader.has_events() || !reader.is_caught_up();
            if has_more && !is_held {
                is_held = feed.hold();
            }
            reader.take(&mut send);
            if reader.is_caught_up() {
                reader.look_at_processes(host, &mut send);
                for session in reader.take_gone() {
                    feed.withdraw(session, SESSION_IS_GONE);
                }
                reader.page.as_ref().inspect(|page| page.advance());
            }
            report_panics(&mut reader, &feed);
            if is_held && reader.is_caught_up() {
                feed.release();
                is_held = false;
            }
            // Not later than the findings of the events: without them, their lines are new to
            // the next run.
            if running.has_handled_all() && running.has_stored_all() {
                commit(&mut reader, &feed);
            }
        }
        vital_signs.stop();
        // The rest of a backlog that was not read is not live.
        if is_read {
            reader.read_rest(host);
        }
        reader.stop_remotes();
        reader.take(&mut send);
        report_panics(&mut reader, &feed);
        let stopped = running.stop();
        if stopped.dropped == 0 && stopped.lost == 0 && !stopped.timed_out {
            commit(&mut reader, &feed);
        }
        Ok(Outcome::new(&stopped, running.counts(), backlog_counts, &reader))
    }
}

impl Outcome {
    fn new(
        stopped: &Stopped,
        mut counts: MonitorCounts,
        backlog: BacklogCounts,
        reader: &SessionReader,
    ) -> Self {
        counts.events += backlog.events;
        counts.findings += backlog.findings;
        counts.lost += backlog.dropped;
        let losses = stopped.sinks.iter().filter(|sink| 0 < sink.lost).map(describe_loss);
        Self {
            counts,
            followed: reader.report(),
            skipped_records: reader.skipped_records(),
            all_delivered: !stopped.timed_out,
            losses: losses.collect(),
            n_pending: stopped.pending,
        }
    }
}

/// Returns a text such as "`ops` 3 (unavailable: no route to host)".
fn describe_loss(sink: &SinkOutcome) -> String {
    let SinkOutcome { name, lost, last_error, .. } = sink;
    let cause = last_error.as_deref().unwrap_or("too many findings at once");
    format!("{} {lost} ({})", quote(name), make_safe(cause))
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
fn commit(reader: &mut SessionReader, feed: &Feed) {
    if let Some(failure) = reader.commit() {
        feed.report(failure);
    }
}

/// Reports the panics of sources.
fn report_panics(reader: &mut SessionReader, feed: &Feed) {
    for panic in reader.take_panics() {
        feed.report(panic);
    }
}
