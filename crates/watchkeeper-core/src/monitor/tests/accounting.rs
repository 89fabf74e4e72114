//! Nothing is lost without being counted, whatever sinks and callers do.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use super::{LONG, config, engine, prompt, time};
use crate::{
    Delivery, Finding, Monitor, Queue, Retry, Router, Severity, Sink, SinkError, Status,
    author::{FindingNumbers, Numbers, SinkNumbers, StateKind},
    clock::{Clock, ManualClock},
    embed::{MonitorConfig, Running, Stopped},
};

/// The behavior of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behavior {
    Deliver,
    FailOnce,
    FailAlways,
    Refuse,
    Panic,
    PanicWhileOpening,
    Block,
}

const BEHAVIORS: [Behavior; 7] = [
    Behavior::Deliver,
    Behavior::FailOnce,
    Behavior::FailAlways,
    Behavior::Refuse,
    Behavior::Panic,
    Behavior::PanicWhileOpening,
    Behavior::Block,
];

/// A sink with a behavior. Sends `()` for each finding that it delivered.
struct TestSink {
    behavior: Behavior,
    has_failed: bool,
    delivered: Sender<()>,
    /// Disconnected when blocked sinks may return.
    released: Receiver<()>,
}

impl Sink for TestSink {
    fn open(&mut self) -> Result<(), SinkError> {
        if self.behavior == Behavior::PanicWhileOpening {
            std::panic::resume_unwind(Box::new("cannot open"));
        }
        Ok(())
    }

    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        let had_failed = std::mem::replace(&mut self.has_failed, true);
        match self.behavior {
            Behavior::FailOnce if !had_failed => return Err(SinkError::unavailable("once")),
            Behavior::FailAlways => return Err(SinkError::unavailable("always")),
            Behavior::Refuse => return Err(SinkError::refused("never")),
            Behavior::Panic => std::panic::resume_unwind(Box::new("panicked")),
            Behavior::Block => drop(self.released.recv()),
            Behavior::Deliver | Behavior::FailOnce | Behavior::PanicWhileOpening => {}
        }
        let _ = self.delivered.send(());
        Ok(())
    }

    fn retry(&self) -> Retry {
        Retry::new(2, Duration::from_nanos(1), LONG)
    }
}

#[track_caller]
fn assert_complete(stopped: &Stopped) {
    assert_eq!(stopped.recorded, stopped.handled + stopped.dropped, "{stopped:?}");
    assert_eq!(stopped.sent, stopped.delivered + stopped.lost, "{stopped:?}");
    let delivered: u64 = stopped.sinks.iter().map(|sink| sink.delivered).sum();
    let lost: u64 = stopped.sinks.iter().map(|sink| sink.lost).sum();
    assert_eq!((stopped.delivered, stopped.lost), (delivered, lost), "{stopped:?}");
}

proptest! {
    #[test]
    fn counts_add_up_whatever_the_sinks_do(
        sinks in vec((prop::sample::select(&BEHAVIORS[..]), 1_usize..6, any::<bool>()), 0..4),
        bursts in vec((0_u64..8, any::<bool>()), 0..4),
        queue_capacity in 1_usize..8,
    ) {
        let blocks = sinks.iter().any(|(behavior, ..)| *behavior == Behavior::Block);
        let mut releases = Vec::new();
        let mut deliveries = Vec::new();
        let (mut routed, mut observers) = (Vec::new(), Vec::new());
        for (sink_idx, &(behavior, capacity, is_observer)) in sinks.iter().enumerate() {
            let (delivered, was_delivered) = mpsc::channel();
            let (release, released) = mpsc::channel();
            let sink = TestSink { behavior, has_failed: false, delivered, released };
            let queue = Queue::new(&sink_idx.to_string(), Box::new(sink), capacity);
            if is_observer { &mut observers } else { &mut routed }.push(queue);
            releases.push(release);
            deliveries.push((sink_idx.to_string(), was_delivered));
        }
        let ids: Vec<String> = routed.iter().map(|queue| queue.name().to_owned()).collect();
        let delivery = Delivery::with_observers(Router::to_all(&ids), routed, observers);
        // A timeout is waited for only where a sink blocks.
        let shutdown_timeout = if blocks { Duration::from_millis(2) } else { LONG };
        let config = MonitorConfig { shutdown_timeout, queue_capacity, ..config() };
        let clock = ManualClock::new(time(0));
        let monitor = Monitor::new(engine(), delivery, config).with_clock(clock.clone());
        let running = monitor.start().expect("there are threads");
        let session = running.session("s");
        let mut n_recorded = 0;
        for (n_events, flushes) in bursts {
            for _ in 0..n_events {
                session.record(prompt());
                n_recorded += 1;
            }
            clock.advance(Duration::from_secs(90));
            prop_assert!(!flushes || blocks || running.flush(LONG));
        }
        let stopped = running.stop();
        assert_complete(&stopped);
        prop_assert_eq!(stopped.recorded, n_recorded);
        prop_assert!(blocks || !stopped.timed_out);
        // Whatever happens afterwards changes nothing.
        drop(releases);
        session.record(prompt());
        prop_assert_eq!(&running.stop(), &stopped);
        let counts = running.counts();
        prop_assert_eq!(counts.events + counts.dropped, n_recorded + 1);
        prop_assert_eq!(counts.lost, stopped.lost);
        drop(running);
        for (name, was_delivered) in deliveries {
            let sink = stopped.sinks.iter().find(|sink| sink.name == name);
            let sink = sink.expect("every sink has an outcome");
            let n_delivered = was_delivered.iter().count() as u64;
            // A delivery that is under way at the timeout counts as lost, even if the sink
            // succeeds afterwards.
            let ignored = if blocks { n_delivered.saturating_sub(sink.delivered) } else { 0 };
            prop_assert!(ignored <= 1);
            prop_assert_eq!(n_delivered - ignored, sink.delivered);
        }
    }
}

/// 8,000 findings wait for a sink that does not return.
#[test]
fn a_timeout_counts_every_undelivered_finding_as_lost() {
    const N: u64 = 8_000;
    let (release, released) = mpsc::channel();
    let (delivered, _was_delivered) = mpsc::channel();
    let sink = TestSink { behavior: Behavior::Block, has_failed: false, delivered, released };
    let queue = Queue::new("slow", Box::new(sink), usize::MAX);
    let delivery = Delivery::new(Router::to_all(&["slow".to_owned()]), vec![queue]);
    let config = MonitorConfig {
        shutdown_timeout: Duration::from_millis(200),
        queue_capacity: 10_000,
        ..config()
    };
    let running = Monitor::new(engine(), delivery, config).start().unwrap();
    let session = running.session("s");
    for _ in 0..N {
        session.record_at(time(0), prompt());
    }
    let stopped = running.stop();
    drop(release);
    assert!(stopped.timed_out);
    assert_complete(&stopped);
    assert_eq!((stopped.recorded, stopped.delivered), (N, 0));
    assert_eq!(stopped.lost, stopped.sent);
    assert_eq!(running.counts().lost, stopped.lost);
}

#[test]
fn dropped_events_are_reported() {
    /// A clock that blocks the monitor's thread, which alone reads the uptime.
    struct Held(std::sync::Mutex<Receiver<()>>);

    impl Clock for Held {
        fn now(&self) -> jiff::Timestamp {
            time(0)
        }

        fn uptime(&self) -> Duration {
            let _ = self.0.lock().unwrap().recv();
            LONG
        }
    }

    let (release, released) = mpsc::channel();
    let (sender, messages) = mpsc::channel();
    let delivery = Delivery::to_callback(move |finding| drop(sender.send(finding.message.clone())));
    let config = MonitorConfig { queue_capacity: 3, ..config() };
    let monitor = Monitor::new(engine(), delivery, config).with_clock(Held(released.into()));
    let running = monitor.start().unwrap();
    let session = running.session("s");
    for _ in 0..5 {
        session.turn_end();
    }
    drop(release);
    let stopped = running.stop();
    assert_complete(&stopped);
    assert_eq!((stopped.handled, stopped.dropped), (3, 2));
    drop(running);
    let dropped = "dropped 2 recorded events: the monitor's queue was full";
    let messages: Vec<_> = messages.iter().collect();
    assert_eq!(messages.iter().filter(|message| *message == dropped).count(), 1, "{messages:?}");
    assert_eq!(messages.len(), 4);
}

#[test]
fn an_outage_of_a_sink_and_its_end_are_reported_to_the_other_sinks() {
    let (failing, results) = mpsc::channel::<Result<(), SinkError>>();
    let (sender, messages) = mpsc::channel();
    let running = with_pager(results, move |finding| {
        let _ = sender.send((finding.status, finding.message.clone()));
    });
    let feed = running.feed();
    let report = |n: u64| {
        let finding = Finding::about_monitor(time(0), "test", Severity::Low, "x");
        let fingerprint = crate::Fingerprint::from(n);
        assert!(feed.report(Finding { fingerprint, ..finding }));
        assert_eq!(messages.recv_timeout(LONG).unwrap().1, "x");
    };
    let next = || messages.recv_timeout(LONG).unwrap();
    report(1);
    failing.send(Err(SinkError::unavailable("no route to host"))).unwrap();
    assert_eq!(
        next(),
        (Status::Open, "sink `pager` fails: `unavailable: no route to host`".to_owned())
    );
    failing.send(Err(SinkError::unavailable("still no route"))).unwrap();
    failing.send(Ok(())).unwrap();
    assert_eq!(next(), (Status::Resolved, "sink `pager` works again".to_owned()));
    // The first outage is enough; the next report is due when their number has doubled.
    report(2);
    failing.send(Err(SinkError::unavailable("down again"))).unwrap();
    assert_eq!(next().1, "sink `pager` fails: `unavailable: down again`");
    failing.send(Ok(())).unwrap();
    assert_eq!(next().1, "sink `pager` works again");
    report(3);
    failing.send(Err(SinkError::unavailable("down for the third time"))).unwrap();
    failing.send(Ok(())).unwrap();
    report(4);
    failing.send(Ok(())).unwrap();
    // At the stop, a finding that fails is not sent again.
    assert!(running.flush(LONG));
    assert_eq!(running.stop().lost, 0);
    assert_eq!(messages.iter().collect::<Vec<_>>(), []);
}

#[test]
fn the_end_of_an_outage_resolves_the_finding_about_it() {
    let (failing, results) = mpsc::channel::<Result<(), SinkError>>();
    let (sender, findings) = mpsc::channel();
    let running = with_pager(results, move |finding| drop(sender.send(finding.clone())));
    let report = |n: u64| {
        let finding = Finding::about_monitor(time(0), "test", Severity::Low, "x");
        assert!(running.feed().report(Finding { fingerprint: n.into(), ..finding }));
        assert_eq!(findings.recv_timeout(LONG).unwrap().message, "x");
    };
    // The outage begins with a loss.
    report(1);
    failing.send(Err(SinkError::refused("closed"))).unwrap();
    let lost = findings.recv_timeout(LONG).unwrap();
    report(2);
    failing.send(Ok(())).unwrap();
    let ended = findings.recv_timeout(LONG).unwrap();
    assert_eq!((lost.status, ended.status), (Status::Open, Status::Resolved));
    assert_eq!(lost.fingerprint, ended.fingerprint);
    assert_ne!(lost.id, ended.id);
}

/// Starts a monitor with the sink `pager`, whose results the test sends, and a callback.
fn with_pager(
    results: Receiver<Result<(), SinkError>>,
    callback: impl FnMut(&Finding) + Send + 'static,
) -> Running {
    let queues =
        vec![Queue::new("pager", Box::new(Scripted(results)), 8), Queue::to_callback(callback)];
    let delivery = Delivery::new(Router::to_all(&["pager".into(), "callback".into()]), queues);
    Monitor::new(engine(), delivery, config()).start().expect("the thread starts")
}

/// A sink whose results the test sends.
struct Scripted(Receiver<Result<(), SinkError>>);

impl Sink for Scripted {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        self.0.recv().unwrap_or_else(|_| Err(SinkError::refused("no more results")))
    }

    fn retry(&self) -> Retry {
        Retry::new(8, Duration::from_nanos(1), LONG)
    }
}

/// A sink that sends the numbers that it receives.
struct Metered(Sender<Numbers>);

impl Sink for Metered {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Ok(())
    }

    fn metrics_interval(&self) -> Option<Duration> {
        Some(LONG)
    }

    fn deliver_metrics(&mut self, numbers: &Numbers) -> Result<(), SinkError> {
        self.0.send(numbers.clone()).map_err(|_| SinkError::refused("the test has ended"))
    }
}

#[test]
fn a_sink_receives_the_numbers_at_the_start_and_at_the_end() {
    let (sender, numbers) = mpsc::channel();
    let sink = Queue::new("metered", Box::new(Metered(sender)), 8);
    let router = Router::to_all(&["metered".to_owned()]);
    let observer = Queue::to_callback(|_| {});
    let delivery = Delivery::with_observers(router, vec![sink], vec![observer]);
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(ManualClock::new(time(0)));
    let running = monitor.start().unwrap();
    let first = numbers.recv().unwrap();
    assert_eq!((first.engine.events, &first.findings), (0, &FindingNumbers::default()));
    running.session("s").record_at(time(0), prompt());
    assert!(running.flush(LONG));
    let _ = running.stop();
    let last = numbers.recv().unwrap();
    assert_eq!(last, running.meter().numbers());
    assert_eq!(last.engine.sessions.of(StateKind::WaitingForModel), 1);
    let mut findings = FindingNumbers::default();
    findings.add("everything", Severity::Medium, Status::Open);
    assert_eq!(last.findings, findings);
    let delivered = SinkNumbers { delivered: 1, ..SinkNumbers::default() };
    assert_eq!(last.sinks, [("metered".to_owned(), delivered)].into());
}
