//! The time that an agent waits for `SessionHandle::record`.

use std::{
    hint::black_box,
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use watchkeeper_core::{
    EventKind, Json, Monitor, Timestamp, ToolCall,
    clock::{Clock, SystemClock},
    embed::{Delivery, MonitorConfig, Running, SessionHandle},
};

use crate::{
    Plan, measure,
    table::{Figure, Row},
    traffic::{Engines, Traffic},
};

/// The number of calls per round.
const BURST: usize = 20_000;
/// The length of the arguments of a call, in bytes.
const ARGUMENTS: usize = 1_000;
/// The quantile of the slowest calls.
const TAIL: f64 = 0.999;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = burst(plan)?;
    rows.push(created_from_text(plan)?);
    rows.push(sleeping(plan)?);
    rows.push(full(plan)?);
    Ok(rows)
}

fn monitor(plan: &Plan, queue_capacity: usize) -> Monitor {
    let engine = Engines::new(&plan.policy).engine();
    let mut config = MonitorConfig::default();
    config.queue_capacity = queue_capacity;
    Monitor::new(engine, Delivery::to_callback(|_| {}), config)
}

fn kinds(traffic: &mut Traffic, n: usize) -> Vec<EventKind> {
    traffic.take(n).into_iter().map(|it| it.kind).collect()
}

/// Waits until the monitor has handled all recorded events.
fn settle(monitor: &Running, n_recorded: u64) {
    while monitor.counts().events + monitor.counts().dropped < n_recorded {
        thread::yield_now();
    }
}

/// Measures calls that arrive faster than the monitor handles them, while the queue has room.
fn burst(plan: &Plan) -> io::Result<Vec<Row>> {
    let monitor = monitor(plan, BURST).start()?;
    let session = monitor.session("5b1e");
    let mut traffic = Traffic::new(1, ARGUMENTS);
    let mut n_recorded = 0;
    let mut middles = Vec::new();
    let mut tails = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..plan.rounds(15) {
        let floor = each(0..BURST, |n| {
            black_box(n);
        })?;
        let calls = each(kinds(&mut traffic, BURST), |it| session.record(it))?;
        n_recorded += BURST as u64;
        settle(&monitor, n_recorded);
        let at = |of: &Vec<f64>, part| measure::quantile(of.clone(), part);
        middles.push(at(&calls, 0.5) - at(&floor, 0.5));
        tails.push(at(&calls, TAIL) - at(&floor, TAIL));
        floors.push(at(&floor, TAIL));
    }
    let n_dropped = monitor.counts().dropped;
    let middle = Row::new("record, a call", Figure::Nanos(measure::median(middles)))
        .at_most(150.0)
        .remark(format!("median beyond an empty loop, 20,000 in a row, {n_dropped} dropped"));
    let floor = Figure::Nanos(measure::median(floors));
    let tail = Row::new("record, 1 call of 1,000", Figure::Nanos(measure::median(tails)))
        .at_most(1_000.0)
        .remark(format!("p99.9 beyond the p99.9 of an empty loop, {floor}"));
    Ok(vec![middle, tail])
}

/// Returns the time of each call in nanoseconds, including two readings of the clock.
fn each<T>(items: impl IntoIterator<Item = T>, mut call: impl FnMut(T)) -> io::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(BURST);
    for item in items {
        let before = measure::elapsed()?;
        call(item);
        times.push(measure::elapsed()? - before);
    }
    Ok(times)
}

/// Measures calls including the creation of the event from text.
fn created_from_text(plan: &Plan) -> io::Result<Row> {
    let monitor = monitor(plan, BURST).start()?;
    let session = monitor.session("5b1e");
    let texts: Vec<String> = kinds(&mut Traffic::new(1, ARGUMENTS), BURST)
        .into_iter()
        .filter_map(|it| match it {
            EventKind::ToolCall(call) => Some(call.arguments.as_str().to_owned()),
            _ => None,
        })
        .collect();
    let mut costs = Vec::new();
    for n_rounds in 1..=plan.rounds(9) {
        let before = measure::thread_cpu()?;
        for text in &texts {
            record_call(&session, text);
        }
        costs.push(measure::each(measure::thread_cpu()? - before, texts.len()));
        settle(&monitor, (n_rounds * texts.len()) as u64);
    }
    Ok(Row::new("record, created from text", Figure::Nanos(measure::median(costs)))
        .remark("a tool call; its 1 KB of arguments is validated, copied and fingerprinted"))
}

fn record_call(session: &SessionHandle, arguments: &str) {
    let call = ToolCall::new("toolu_01", "Edit", Json::parse_or_text(arguments));
    session.record(EventKind::ToolCall(call));
}

/// Measures calls that wake the monitor's sleeping thread.
fn sleeping(plan: &Plan) -> io::Result<Row> {
    /// Long enough for the thread to go to sleep, in nanoseconds.
    const PAUSE: f64 = 100_000.0;
    let monitor = monitor(plan, BURST).start()?;
    let session = monitor.session("5b1e");
    let mut costs = Vec::new();
    let kinds = kinds(&mut Traffic::new(1, ARGUMENTS), plan.rounds(1_000));
    for (n_recorded, kind) in kinds.into_iter().enumerate() {
        settle(&monitor, n_recorded as u64);
        let until = measure::elapsed()? + PAUSE;
        while measure::elapsed()? < until {
            std::hint::spin_loop();
        }
        let before = measure::thread_cpu()?;
        session.record(kind);
        costs.push(measure::thread_cpu()? - before);
    }
    Ok(Row::new("record, with the monitor sleeping", Figure::Nanos(measure::median(costs)))
        .remark("median processor time, including the system call that wakes the thread"))
}

/// A clock that blocks the monitor's thread, the only reader of the uptime.
struct HeldClock(Mutex<Receiver<()>>);

impl Clock for HeldClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn uptime(&self) -> Duration {
        // Returns once the sender is dropped.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
        SystemClock.uptime()
    }
}

/// Measures calls while the queue is full.
fn full(plan: &Plan) -> io::Result<Row> {
    // The clock blocks the thread, so nothing leaves the queue.
    let (release, released) = mpsc::channel();
    let clock = HeldClock(Mutex::new(released));
    let monitor = monitor(plan, 1).with_clock(clock).start()?;
    let session = monitor.session("5b1e");
    let mut traffic = Traffic::new(1, ARGUMENTS);
    session.record(EventKind::TurnEnd);
    let mut costs = Vec::new();
    for _ in 0..plan.rounds(15) {
        let [to_free, to_record] = [(); 2].map(|()| kinds(&mut traffic, BURST));
        let start = measure::thread_cpu()?;
        drop(to_free);
        let middle = measure::thread_cpu()?;
        for kind in to_record {
            session.record(kind);
        }
        let freed = middle - start;
        costs.push(measure::each(measure::thread_cpu()? - middle - freed, BURST));
    }
    drop(release);
    let is_counted = monitor.counts().dropped == (costs.len() * BURST) as u64;
    let counted = if is_counted { "all" } else { "NOT all" };
    Ok(Row::new("record, a call that is dropped", Figure::Nanos(measure::median(costs)))
        .remark(format!("beyond freeing the event; {counted} drops are counted")))
}
