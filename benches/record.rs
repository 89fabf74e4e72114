//! What an agent waits for a monitor that it tells of everything.

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
    Delivery, EventKind, Json, Monitor, MonitorConfig, Running, SessionHandle, Timestamp, ToolCall,
    clock::{Clock, SystemClock},
};

use crate::{
    Plan, measure,
    table::{Figure, Row},
    traffic::{Engines, Traffic},
};

/// How many calls are made in one go.
const BURST: usize = 20_000;
/// How long the arguments of a call are, in bytes.
const ARGUMENTS: usize = 1_000;
/// How much calls are that take the longest.
const TAIL: f64 = 0.999;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut res = burst(plan)?;
    res.push(made_on_the_spot(plan)?);
    res.push(asleep(plan)?);
    res.push(full(plan)?);
    Ok(res)
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

/// Waits until all that was recorded has been handled.
fn settle(monitor: &Running, n_recorded: u64) {
    while monitor.counts().events + monitor.counts().dropped < n_recorded {
        thread::yield_now();
    }
}

/// Calls that come faster than they are handled, into a queue with room.
fn burst(plan: &Plan) -> io::Result<Vec<Row>> {
    let monitor = monitor(plan, BURST).start()?;
    let session = monitor.session("5b1e");
    let mut traffic = Traffic::new(1, ARGUMENTS);
    let mut n_recorded = 0;
    let mut middles = Vec::new();
    let mut tails = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..plan.rounds(15) {
        let floor = each(0..BURST, |it| {
            black_box(it);
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
        .beside(format!("median over an empty loop, 20,000 in a row, {n_dropped} dropped"));
    let floor = Figure::Nanos(measure::median(floors));
    let tail = Row::new("record, 1 call of 1,000", Figure::Nanos(measure::median(tails)))
        .at_most(1_000.0)
        .beside(format!("p99.9 over that of an empty loop, {floor}"));
    Ok(vec![middle, tail])
}

/// How long each call takes, in nanoseconds, with two looks at the clock.
fn each<T>(items: impl IntoIterator<Item = T>, mut call: impl FnMut(T)) -> io::Result<Vec<f64>> {
    let mut res = Vec::with_capacity(BURST);
    for it in items {
        let before = measure::elapsed()?;
        call(it);
        res.push(measure::elapsed()? - before);
    }
    Ok(res)
}

/// The same, and all that an agent has is text.
fn made_on_the_spot(plan: &Plan) -> io::Result<Row> {
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
    Ok(Row::new("record, made on the spot", Figure::Nanos(measure::median(costs)))
        .beside("a call of a tool, its 1 KB of arguments checked, copied and fingerprinted"))
}

fn record_call(session: &SessionHandle, arguments: &str) {
    let call = ToolCall::new("toolu_01", "Edit", Json::parse_or_text(arguments));
    session.record(EventKind::ToolCall(call));
}

/// Calls that find the monitor's thread asleep, and wake it.
fn asleep(plan: &Plan) -> io::Result<Row> {
    /// In nanoseconds: long enough for the thread to fall asleep.
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
    Ok(Row::new("record, with the monitor asleep", Figure::Nanos(measure::median(costs)))
        .beside("median processor time; waking its thread is a call of the system"))
}

/// A clock that blocks the monitor's thread, which alone reads the uptime.
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

/// Calls that find the queue full.
fn full(plan: &Plan) -> io::Result<Row> {
    // Held by its clock, the thread takes nothing from the queue.
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
        .beside(format!("over freeing the same; the queue is full, {counted} drops are counted")))
}
