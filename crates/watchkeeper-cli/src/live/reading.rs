//! Reads the events of sessions, before and after the start of the monitor.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use watchkeeper_core::{
    Event, Finding, SessionId,
    clock::{Clock as _, Deadline, SystemClock},
    embed::{Backlog, Meter, Suppliers},
};
use watchkeeper_sources::{
    FollowReport, Follower, ProcessOptions, ProcessTracker, Update, Waker, otlp,
};

use super::{
    host::Host,
    order::{correct_clocks, take_in_order},
    page::LivePage,
    remote::{Remote, is_remote},
    session_files::SessionFiles,
    standard_input::StandardInput,
    telemetry::Telemetry,
};
use crate::{followed_paths::FollowedPaths, watch_state::WatchState};

/// Limit of events that are held in memory to be sorted by time.
const MAX_BATCH: usize = 1 << 18;
/// Time limit for reading the last lines after a stop.
const LAST_LOOK: Duration = Duration::from_millis(200);
/// The time in which the first files of other machines are awaited before the monitor starts.
const FIRST_CONNECTION: Duration = Duration::from_secs(20);
/// The time between two looks at a stop while a machine is awaited.
const WAIT_FOR_REMOTE: Duration = Duration::from_millis(100);
/// Maximum wait for a change while a process may end, or lines are to be stored.
const WAIT: Duration = Duration::from_secs(1);

/// Receives an event, and whether no earlier run has handled it.
pub(super) type Receive<'a> = &'a mut dyn FnMut(Event, bool);

/// The events of sessions from session files, from the processes of clients, and from telemetry.
///
/// Events are first read, and then taken in order of time.
pub(super) struct SessionReader {
    follower: Follower,
    /// `None` if the policy or the system does not allow it.
    processes: Option<ProcessTracker>,
    /// `None` if agents cannot send any.
    telemetry: Option<Arc<Telemetry>>,
    /// `None` if session files are read.
    input: Option<Arc<StandardInput>>,
    /// Other machines.
    remotes: Vec<Arc<Remote>>,
    /// The number of skipped lines of standard input that were counted.
    n_skipped: u64,
    /// `None` if findings end with the process.
    pub(super) state: Option<WatchState>,
    files: SessionFiles,
    /// A client may send the events that it also writes into a session file.
    suppliers: Suppliers,
    meter: Arc<Meter>,
    /// Sees every event; `None` if there is none.
    pub(super) page: Option<Arc<LivePage>>,
    /// The events that are not taken yet.
    batch: Vec<Event>,
    /// The findings about sources and connections that are not taken yet.
    panics: Vec<Finding>,
}

impl SessionReader {
    /// Creates a reader of the sessions in `paths`. With `state`, it distinguishes the events
    /// that are new since an earlier run.
    pub(super) fn new(
        follower: Follower,
        paths: &[PathBuf],
        follows_processes: bool,
        state: Option<WatchState>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            follower,
            processes: follows_processes.then(track_processes).flatten(),
            telemetry: None,
            input: None,
            remotes: Vec::new(),
            n_skipped: 0,
            state,
            files: SessionFiles::new(FollowedPaths::new(paths)),
            suppliers: Suppliers::default(),
            meter,
            page: None,
            batch: Vec::new(),
            panics: Vec::new(),
        }
    }

    /// Reads telemetry too.
    pub(super) fn with_telemetry(self, telemetry: Option<Arc<Telemetry>>) -> Self {
        telemetry.as_ref().inspect(|it| it.connect(self.follower.waker()));
        Self { telemetry, ..self }
    }

    /// Reads standard input too.
    pub(super) fn with_input(self, input: Option<Arc<StandardInput>>) -> Self {
        Self { input, ..self }
    }

    /// Reads other machines too.
    pub(super) fn with_remotes(self, remotes: Vec<Arc<Remote>>) -> Self {
        Self { remotes, ..self }
    }

    /// Starts or stops to follow the processes of clients.
    pub(super) fn follow_processes(&mut self, follows: bool) {
        match self.processes {
            None if follows => self.processes = track_processes(),
            Some(_) if !follows => self.processes = None,
            _ => {}
        }
    }

    pub(super) fn waker(&self) -> Waker {
        self.follower.waker()
    }

    pub(super) fn report(&self) -> FollowReport {
        let mut report = self.follower.report();
        self.input.as_ref().inspect(|input| input.add_to(&mut report));
        for remote in &self.remotes {
            remote.add_to(&mut report);
        }
        report
    }

    /// Returns whether everything that is written is read.
    pub(super) fn is_caught_up(&self) -> bool {
        self.follower.is_caught_up()
    }

    /// Returns whether there are events to take.
    pub(super) fn has_events(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Returns the longest wait after which there may be work that no change announces.
    pub(super) fn longest_wait(&self) -> Duration {
        let is_busy = self.processes.as_ref().is_some_and(ProcessTracker::has_sessions)
            || self.state.as_ref().is_some_and(WatchState::is_dirty);
        let own = if is_busy { WAIT } else { Duration::MAX };
        let of_telemetry = self.telemetry.as_ref().map_or(Duration::MAX, |it| it.longest_wait());
        let of_page = self.page.as_ref().map_or(Duration::MAX, |it| it.longest_wait());
        own.min(self.files.longest_wait()).min(of_telemetry).min(of_page)
    }

    /// Passes everything that is recorded already to `backlog`.
    pub(super) fn read_backlog(
        &mut self,
        backlog: &mut Backlog,
        is_stopped: &dyn Fn() -> bool,
        host: &mut dyn Host,
    ) {
        for (sink, findings) in
            self.state.as_mut().map_or_else(Vec::new, WatchState::take_delivered)
        {
            backlog.expect(&sink, findings);
        }
        let mut has_more = true;
        let mut last_look = None;
        // Lines that were written before a stop are read, as far as there is time.
        let mut may_read = || {
            let mut rest =
                || last_look.get_or_insert_with(|| Deadline::after(LAST_LOOK)).remaining();
            !is_stopped() || !rest().is_zero()
        };
        while has_more && may_read() {
            // A session can be spread over files; sort as many events as memory allows.
            while has_more && self.batch.len() < MAX_BATCH && may_read() {
                has_more = self.step(Duration::ZERO, host);
            }
            self.take(&mut |event, is_new| backlog.observe(&event, is_new));
        }
        self.read_backlog_of_remotes(backlog, is_stopped, host);
        self.look_at_processes(host, &mut |event, is_new| backlog.observe(&event, is_new));
        for panic in self.take_panics() {
            backlog.report(panic);
        }
        if let Some(state) = self.state.as_ref().filter(|_| self.is_caught_up() && !is_stopped()) {
            backlog.end_missing(SystemClock.now(), |finding, engine| state.end_of(finding, engine));
        }
        // The steps above took the wake-ups of telemetry and standard input, which are read next.
        self.follower.waker().wake();
    }

    /// Passes everything that is recorded already on other machines to `backlog`, unless a
    /// connection takes too long.
    fn read_backlog_of_remotes(
        &mut self,
        backlog: &mut Backlog,
        is_stopped: &dyn Fn() -> bool,
        host: &mut dyn Host,
    ) {
        let deadline = Deadline::after(FIRST_CONNECTION);
        for remote in self.remotes.clone() {
            let mut is_settled = false;
            while !is_settled && !is_stopped() && !deadline.remaining().is_zero() {
                is_settled = remote.settle(WAIT_FOR_REMOTE);
                self.read_remotes(host);
                if MAX_BATCH <= self.batch.len() {
                    self.take(&mut |event, is_new| backlog.observe(&event, is_new));
                }
            }
        }
        self.take(&mut |event, is_new| backlog.observe(&event, is_new));
    }

    /// Reads changes of session files, for which it waits at most for `wait`. Returns `true` if
    /// there were changes, or more can be read at once.
    pub(super) fn step(&mut self, wait: Duration, host: &mut dyn Host) -> bool {
        let mut has_changed = false;
        self.collect(host, |follower, take| {
            follower.step(SystemClock.now(), wait, &mut |update| {
                has_changed = true;
                take(update);
            });
        });
        has_changed || !self.is_caught_up()
    }

    /// Reads what clients have sent.
    pub(super) fn read_telemetry(&mut self) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.take(&mut self.batch);
            self.meter.add_skipped_lines(telemetry.take_n_skipped());
        }
    }

    /// Takes the events of standard input.
    pub(super) fn read_input(&mut self, host: &mut dyn Host) {
        let Some(input) = &self.input else { return };
        let mut updates = Vec::new();
        input.take(&mut self.batch, &mut updates);
        let n_skipped = input.n_skipped();
        self.meter.add_skipped_lines(n_skipped - self.n_skipped);
        self.n_skipped = n_skipped;
        for update in updates {
            if let Update::SourceFailed { file, panic } = &update {
                self.panics.push(panic.finding(SystemClock.now(), file));
            }
            host.on_update(&update);
        }
    }

    /// Ends the connections to other machines.
    pub(super) fn stop_remotes(&self) {
        for remote in &self.remotes {
            remote.stop();
        }
    }

    /// Takes the events of other machines.
    pub(super) fn read_remotes(&mut self, host: &mut dyn Host) {
        for remote in self.remotes.clone() {
            let (updates, findings) = remote.take();
            self.panics.extend(findings);
            self.collect(host, |_, take| updates.into_iter().for_each(take));
        }
    }

    /// Reads what was written and sent before a stop, session files as far as there is time.
    pub(super) fn read_rest(&mut self, host: &mut dyn Host) {
        let last_look = Deadline::after(LAST_LOOK);
        while self.step(Duration::ZERO, host) && !last_look.remaining().is_zero() {}
        if let Some(telemetry) = &self.telemetry {
            telemetry.take_all(&mut self.batch);
            self.meter.add_skipped_lines(telemetry.take_n_skipped());
        }
        self.read_input(host);
        self.read_remotes(host);
    }

    /// Returns the counts of skipped records of telemetry, by reason.
    pub(super) fn skipped_records(&self) -> BTreeMap<&'static str, u64> {
        self.telemetry.as_ref().map(|telemetry| telemetry.skipped()).unwrap_or_default()
    }

    /// Passes the events that were read to `receive`, in order of time.
    pub(super) fn take(&mut self, receive: Receive<'_>) {
        let mut batch = mem::take(&mut self.batch);
        correct_clocks(&mut batch, SystemClock.now());
        for event in take_in_order(&mut batch) {
            let is_local = event.origin.as_ref().is_none_or(|it| !is_remote(Path::new(&*it.file)));
            if let Some(processes) = self.processes.as_mut().filter(|_| is_local) {
                processes.observe(&event);
            }
            self.files.observe(&event);
            let is_new = self.state.as_ref().is_some_and(|state| state.is_new(&event));
            self.pass(event, is_new, receive);
        }
        self.batch = batch;
    }

    /// Passes the events that follow from the processes of clients to `receive`. If a process is
    /// gone, reads everything that it wrote before it ended.
    pub(super) fn look_at_processes(&mut self, host: &mut dyn Host, receive: Receive<'_>) {
        let now = SystemClock.now();
        // No earlier run has seen the present processes.
        let is_new = self.state.as_ref().is_some_and(|state| state.stopped_at().is_some());
        let mut events = Vec::new();
        let Some(processes) = &mut self.processes else { return };
        let is_gone = processes.look(now, &mut |event| events.push(event));
        if is_gone {
            events.drain(..).for_each(|event| self.pass(event, is_new, receive));
            self.collect(host, |follower, take| follower.scan(now, take));
            self.take(receive);
            if let Some(processes) = &mut self.processes {
                processes.end_sessions(now, &mut |event| events.push(event));
            }
        }
        events.drain(..).for_each(|event| self.pass(event, is_new, receive));
    }

    /// Takes the findings about panics of sources.
    pub(super) fn take_panics(&mut self) -> Vec<Finding> {
        mem::take(&mut self.panics)
    }

    /// Takes the sessions whose files are gone. Call it when everything is read.
    pub(super) fn take_gone(&mut self) -> Vec<SessionId> {
        self.files.take_gone(SystemClock.uptime())
    }

    /// Stores how far the files were read. All events must be handled. Returns a finding if that
    /// fails for the first time.
    pub(super) fn commit(&mut self) -> Option<Finding> {
        self.state.as_mut().filter(|state| state.is_dirty()).and_then(WatchState::commit)
    }

    /// Passes an event on, if it counts.
    fn pass(&mut self, event: Event, is_new: bool, receive: Receive<'_>) {
        if otlp::admits(&mut self.suppliers, &event) {
            if let Some(page) = &self.page {
                page.observe(&event);
            }
            receive(event, is_new);
        }
    }

    /// Keeps the events that `read` takes from the follower, and observes all other updates.
    fn collect(
        &mut self,
        host: &mut dyn Host,
        read: impl FnOnce(&mut Follower, &mut dyn FnMut(Update)),
    ) {
        let Self { follower, state, files, meter, batch, panics, .. } = self;
        read(follower, &mut |update| {
            let update = match update {
                Update::Event(event) => return batch.push(event),
                other => other,
            };
            if let Update::SourceFailed { file, panic } = &update {
                panics.push(panic.finding(SystemClock.now(), file));
            }
            files.follow(&update, SystemClock.uptime());
            if let Some(state) = state {
                state.follow(&update);
            }
            if matches!(update, Update::SkippedLine { .. }) {
                meter.add_skipped_lines(1);
            }
            host.on_update(&update);
        });
    }
}

/// Returns a tracker of the processes of clients, unless the system does not show them.
fn track_processes() -> Option<ProcessTracker> {
    let mut options = ProcessOptions::default();
    options.config_folders.extend(std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from));
    ProcessTracker::new(options)
}
