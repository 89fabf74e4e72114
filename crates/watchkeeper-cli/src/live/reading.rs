//! Reads the events of session files, before and after the start of the monitor.

use std::time::Duration;

use watchkeeper_core::{
    Event, Finding,
    clock::{Clock as _, Deadline, SystemClock},
    embed::{Backlog, Suppliers},
};
use watchkeeper_sources::{Follower, ProcessTracker, Update, otlp};

use super::{
    order::{correct_clocks, take_in_order},
    page::LivePage,
    session_files::SessionFiles,
};
use crate::watch_state::WatchState;

/// Limit of events that are held in memory to be sorted by time.
const MAX_BATCH: usize = 1 << 18;
/// Time limit for reading the last lines after a stop.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(200);

pub(super) fn follow(
    state: &mut Option<WatchState>,
    files: &mut SessionFiles,
    page: Option<&LivePage>,
    update: &Update,
) {
    files.follow(update, SystemClock.uptime());
    if let Some(state) = state {
        state.follow(update);
    }
    if let Some(page) = page {
        page.on_update(update);
    }
}

pub(super) fn show(page: Option<&LivePage>, event: &Event) {
    if let Some(page) = page {
        page.observe(event);
    }
}

pub(super) fn observe(processes: &mut Option<ProcessTracker>, event: &Event) {
    if let Some(processes) = processes {
        processes.observe(event);
    }
}

/// Sends the events that follow from the processes of clients. If a process is gone, reads
/// everything that it wrote before it ended.
pub(super) fn look_at_processes(
    processes: &mut Option<ProcessTracker>,
    follower: &mut Follower,
    send: &mut dyn FnMut(Event),
    on_panic: &mut dyn FnMut(Finding),
    on_update: &mut dyn FnMut(&Update),
) {
    let Some(processes) = processes else { return };
    let now = SystemClock.now();
    if !processes.look(now, send) {
        return;
    }
    let mut batch = Vec::new();
    follower.scan(now, &mut |update| collect(update, &mut batch, on_panic, on_update));
    correct_clocks(&mut batch, now);
    for event in take_in_order(&mut batch) {
        processes.observe(&event);
        send(event);
    }
    processes.end_sessions(now, send);
}

/// Reads everything that is recorded already.
pub(super) fn read_backlog(
    (follower, processes, state, files, suppliers): (
        &mut Follower,
        &mut Option<ProcessTracker>,
        &mut Option<WatchState>,
        &mut SessionFiles,
        &mut Suppliers,
    ),
    backlog: &mut Backlog,
    page: Option<&LivePage>,
    is_stopped: &dyn Fn() -> bool,
    on_update: &mut dyn FnMut(&Update),
) {
    for (sink, findings) in state.as_mut().map_or_else(Vec::new, WatchState::take_delivered) {
        backlog.expect(&sink, findings);
    }
    let mut batch = Vec::new();
    let mut has_more = true;
    let mut last_look = None;
    // Lines that were written before a stop are read, as far as there is time.
    let mut may_read = || {
        let mut rest = || last_look.get_or_insert_with(|| Deadline::after(LAST_LOOK)).remaining();
        !is_stopped() || !rest().is_zero()
    };
    while has_more && may_read() {
        // A session can be spread over files; sort as many events as memory allows.
        while has_more && batch.len() < MAX_BATCH && may_read() {
            let on_panic = &mut |finding| backlog.report(finding);
            let on_update = &mut |update: &Update| {
                follow(state, files, page, update);
                on_update(update);
            };
            has_more = step(follower, Duration::ZERO, &mut batch, on_panic, on_update);
        }
        correct_clocks(&mut batch, SystemClock.now());
        for event in take_in_order(&mut batch) {
            observe(processes, &event);
            let is_new = state.as_ref().is_some_and(|state| state.is_new(&event));
            files.observe(&event);
            if otlp::admits(suppliers, &event) {
                backlog.observe(&event, is_new);
                show(page, &event);
            }
        }
    }
    let mut panics = Vec::new();
    // No earlier run has seen the present processes.
    let is_new = state.as_ref().is_some_and(|state| state.stopped_at().is_some());
    let send = &mut |event| {
        show(page, &event);
        backlog.observe(&event, is_new);
    };
    let on_panic = &mut |finding| panics.push(finding);
    let on_update = &mut |update: &Update| {
        follow(state, files, page, update);
        on_update(update);
    };
    look_at_processes(processes, follower, send, on_panic, on_update);
    for finding in panics {
        backlog.report(finding);
    }
    if let Some(state) = state.as_ref().filter(|_| follower.is_caught_up() && !is_stopped()) {
        backlog.end_missing(SystemClock.now(), |finding, engine| state.end_of(finding, engine));
    }
}

/// Reads changes into `batch`. Findings about panics of sources go to `on_panic`.
/// Returns `true` if there were changes, or more can be read at once.
pub(super) fn step(
    follower: &mut Follower,
    wait: Duration,
    batch: &mut Vec<Event>,
    on_panic: &mut dyn FnMut(Finding),
    on_update: &mut dyn FnMut(&Update),
) -> bool {
    let mut has_changed = false;
    follower.step(SystemClock.now(), wait, &mut |update| {
        has_changed = true;
        collect(update, batch, on_panic, on_update);
    });
    has_changed || !follower.is_caught_up()
}

/// Adds an event to `batch`, and passes every other update on.
fn collect(
    update: Update,
    batch: &mut Vec<Event>,
    on_panic: &mut dyn FnMut(Finding),
    on_update: &mut dyn FnMut(&Update),
) {
    if let Update::SourceFailed { file, panic } = &update {
        on_panic(panic.finding(SystemClock.now(), file));
    }
    match update {
        Update::Event(event) => batch.push(event),
        other => on_update(&other),
    }
}
