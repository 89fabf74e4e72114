//! The threads of the mailbox, the queues and the monitor, in random schedules.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle \\
//!     cargo test -p watchkeeper-core --lib schedules
//! ```
//!
//! No time passes, so that a thread which misses a notification waits forever: shuttle reports
//! a deadlock. It prints the schedule of a failure; `WATCHKEEPER_SCHEDULE` repeats it, with the
//! name of the test. `WATCHKEEPER_SCHEDULES` is the number of schedules of each test.
//!
//! All operations on atomics are in one order: weaker memory orders are not explored.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use shuttle::{check_pct, check_random, replay};

use super::{Monitor, MonitorConfig, mailbox::mailbox};
use crate::{
    Context, Delivery, Detector, Engine, Event, Finding, Fingerprint, Level, Queue, Report, Router,
    SessionFilter, Severity, Sink, SinkError,
    embed::{EngineConfig, NamedDetector, Route},
    sync::thread,
};

/// The number of schedules of each scheduler, unless the environment sets another one.
const N_SCHEDULES: usize = 500;
/// The number of changes of the running thread that a failure may need.
const DEPTH: usize = 3;
/// Never reached.
const LONG: Duration = Duration::from_secs(60 * 60);

fn check(test: fn()) {
    let variable = |name| env::var(name).ok();
    if let Some(schedule) = variable("WATCHKEEPER_SCHEDULE") {
        return replay(test, &schedule);
    }
    let n = variable("WATCHKEEPER_SCHEDULES").map_or(N_SCHEDULES, |n| n.parse().expect("a number"));
    check_random(test, n);
    check_pct(test, n, DEPTH);
}

/// Accepts findings, and fails at one of them.
struct Counting {
    n_accepted: Arc<AtomicU64>,
    fails_at: u64,
    n: u64,
}

impl Counting {
    fn new(fails_at: u64) -> (Box<Self>, Arc<AtomicU64>) {
        let n_accepted = Arc::new(AtomicU64::new(0));
        (Box::new(Self { n_accepted: n_accepted.clone(), fails_at, n: 0 }), n_accepted)
    }
}

impl Sink for Counting {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        self.n += 1;
        if self.n == self.fails_at {
            return Err(SinkError::refused("the test refuses it"));
        }
        self.n_accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct EachEvent(u64);

impl Detector for EachEvent {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        self.0 += 1;
        cx.report(Fingerprint::from(self.0), 1, || Report::new("an event"));
    }
}

fn engine() -> Engine {
    let detector = NamedDetector {
        id: "each".into(),
        kind: "each".into(),
        class: "test".into(),
        annotations: Arc::default(),
        levels: vec![Level::new(1, Severity::Medium)],
        inhibited_by: Vec::new(),
        per: None,
        sessions: SessionFilter::default(),
        options: Fingerprint::NONE,
        detector: Box::new(EachEvent(0)),
    };
    Engine::new(vec![detector], EngineConfig::default())
}

fn finding(n: u64) -> Finding {
    let at = Timestamp::UNIX_EPOCH + Duration::from_secs(n);
    Finding::new(at, "each", format!("s{n}").as_str(), Severity::Medium, "")
}

#[test]
fn every_message_wakes_the_mailbox() {
    check(|| {
        const N_MESSAGES: usize = 3;
        let (outbox, inbox) = mailbox(2);
        let senders = [outbox.clone(), outbox].map(|outbox| {
            thread::spawn(move || (0..N_MESSAGES).for_each(|_| assert!(outbox.send(()))))
        });
        let mut n_received = 0;
        while n_received < 2 * N_MESSAGES {
            n_received += usize::from(inbox.recv(None).is_some());
        }
        assert!(inbox.try_recv().is_none());
        for sender in senders {
            sender.join().expect("the thread does not panic");
        }
    });
}

#[test]
fn a_queue_that_is_closed_while_findings_are_added_counts_each_one() {
    check(|| {
        let (sink, n_accepted) = Counting::new(2);
        let queue = Arc::new(Queue::new("s", sink, 2));
        let senders = [0, 10].map(|from| {
            let queue = queue.clone();
            thread::spawn(move || (from..from + 3).for_each(|n| queue.push(finding(n))))
        });
        queue.close();
        assert!(queue.wait_closed(LONG));
        for sender in senders {
            sender.join().expect("the thread does not panic");
        }
        let counts = queue.counts();
        assert_eq!(counts.received, 6);
        assert_eq!(counts.delivered, n_accepted.load(Ordering::Relaxed));
        assert_eq!(counts.received, counts.delivered + counts.lost() + counts.pending);
    });
}

#[test]
fn a_queue_with_room_loses_nothing_before_it_is_closed() {
    check(|| {
        let (sink, n_accepted) = Counting::new(0);
        let queue = Arc::new(Queue::new("s", sink, 8));
        let senders = [0, 10].map(|from| {
            let queue = queue.clone();
            thread::spawn(move || (from..from + 3).for_each(|n| queue.push(finding(n))))
        });
        for sender in senders {
            sender.join().expect("the thread does not panic");
        }
        queue.close();
        assert!(queue.wait_closed(LONG));
        assert_eq!(n_accepted.load(Ordering::Relaxed), 6);
        assert_eq!(queue.counts().delivered, 6);
    });
}

/// Starts a monitor with one sink, and records events on two threads. Stops it on two threads,
/// and checks its counts.
fn stop_while_events_are_recorded(queue_capacity: usize, fails_at: u64) {
    const N_EVENTS: u64 = 2;
    let (sink, n_accepted) = Counting::new(fails_at);
    let router = Router::new(vec![Route::to_all(&["s".to_owned()])], &["s".to_owned()]);
    let delivery = Delivery::new(router, vec![Queue::new("s", sink, 2)]);
    let config =
        MonitorConfig { queue_capacity, shutdown_timeout: LONG, ..MonitorConfig::default() };
    let running = Monitor::new(engine(), delivery, config).start().expect("there are threads");
    let running = Arc::new(running);
    let recorders = ["a", "b"].map(|id| {
        let session = running.session(id);
        thread::spawn(move || (0..N_EVENTS).for_each(|_| session.turn_end()))
    });
    let other = running.clone();
    let stopper = thread::spawn(move || other.stop());
    let stopped = running.stop();
    assert_eq!(stopper.join().expect("the thread does not panic"), stopped);
    for recorder in recorders {
        recorder.join().expect("the thread does not panic");
    }
    assert!(!stopped.timed_out && !running.is_running());
    assert_eq!(stopped.recorded, stopped.handled + stopped.dropped);
    assert_eq!(stopped.sent, stopped.delivered + stopped.lost + stopped.pending);
    assert_eq!(stopped.delivered, n_accepted.load(Ordering::Relaxed));
    assert!(stopped.handled <= stopped.sent);
    let counts = running.counts();
    assert_eq!(counts.events + counts.dropped, 2 * N_EVENTS);
}

#[test]
fn a_stop_counts_every_event_and_finding() {
    check(|| stop_while_events_are_recorded(8, 0));
}

#[test]
fn a_stop_ends_with_a_full_queue_and_a_sink_that_fails() {
    check(|| stop_while_events_are_recorded(1, 1));
}

#[test]
fn a_flush_returns_once_the_findings_are_delivered() {
    check(|| {
        let (sink, n_accepted) = Counting::new(0);
        let delivery = Delivery::new(
            Router::new(vec![Route::to_all(&["s".to_owned()])], &["s".to_owned()]),
            vec![Queue::new("s", sink, 8)],
        );
        let config = MonitorConfig { shutdown_timeout: LONG, ..MonitorConfig::default() };
        let running = Monitor::new(engine(), delivery, config).start().expect("there are threads");
        running.session("a").turn_end();
        assert!(running.flush(LONG));
        let n_flushed = n_accepted.load(Ordering::Relaxed);
        assert!(1 <= n_flushed);
        assert_eq!(running.stop().delivered, n_flushed);
    });
}
