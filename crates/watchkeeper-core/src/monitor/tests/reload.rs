//! A policy that changes while the monitor runs.

use std::io;

use super::*;
use crate::{
    Matcher, Retry, Silences,
    embed::{Reload, Routes},
    ledger::Ledger,
    silences::Silence,
};

fn sink(name: &str) -> (Queue, Receiver<String>) {
    let (sender, messages) = mpsc::channel();
    let sink = move |finding: &Finding| drop(sender.send(finding.message.clone()));
    (Queue::new(name, Box::new(To(sink)), 8), messages)
}

/// A sink that fails with this error.
struct Fails(fn() -> SinkError);

impl Sink for Fails {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Err(self.0())
    }

    fn retry(&self) -> Retry {
        Retry::new(8, LONG, LONG)
    }
}

/// A reload with these detectors, sinks and observers, and one route to all sinks.
fn reload(
    detectors: Vec<NamedDetector>,
    queues: Vec<Arc<Queue>>,
    observers: Vec<Arc<Queue>>,
) -> Reload {
    let ids: Vec<String> = queues.iter().map(|queue| queue.name().to_owned()).collect();
    let MonitorConfig { check_interval, shutdown_timeout, .. } = config();
    let (engine, router) = (EngineConfig::default(), Router::to_all(&ids));
    Reload { detectors, engine, router, queues, observers, check_interval, shutdown_timeout }
}

#[test]
fn a_reload_replaces_detectors_and_sinks() {
    let ((stays, to_stays), (goes, to_goes), (all, to_all)) = (sink("a"), sink("b"), sink("all"));
    let ids = ["a".to_owned(), "b".to_owned()];
    let queues = vec![stays, goes];
    let delivery = Delivery::with_observers(Router::to_all(&ids), queues, vec![all]);
    let present = delivery.queues().to_vec();
    let clock = ManualClock::new(time(0));
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(clock.clone());
    let running = monitor.start().unwrap();
    let session = running.session("s");
    session.record_at(time(0), prompt());
    let (new, to_new) = sink("c");
    let queues = vec![Arc::new(new), present[0].clone()];
    assert!(running.reload(reload(vec![everything()], queues.clone(), vec![present[2].clone()])));
    session.record_at(time(1), prompt());
    assert!(running.flush(LONG));
    let messages = |receiver: &Receiver<String>| receiver.try_iter().collect::<Vec<_>>();
    assert_eq!(messages(&to_stays), ["prompt", "prompt"]);
    assert_eq!(messages(&to_goes), ["prompt"]);
    assert_eq!(messages(&to_new), ["prompt"]);
    assert_eq!(messages(&to_all), ["prompt", "prompt"]);
    // The observer hears that findings are over, and is gone then.
    assert!(running.reload(reload(Vec::new(), queues, Vec::new())));
    session.record_at(time(2), prompt());
    assert!(running.flush(LONG));
    assert_eq!(messages(&to_all), ["over, as the policy has changed"; 2]);
    let stopped = running.stop();
    // Without the observer.
    let sinks = running.meter().numbers().sinks;
    let sinks: Vec<_> = sinks.iter().map(|(name, sink)| (&**name, sink.delivered)).collect();
    assert_eq!(sinks, [("a", 2), ("b", 1), ("c", 1)]);
    let delivered = |name: &str| {
        let sink = stopped.sinks.iter().find(|sink| sink.name == name);
        sink.map(|sink| (sink.delivered, sink.lost))
    };
    assert_eq!(["a", "b", "c", "all"].map(delivered), [2, 1, 1, 4].map(|n| Some((n, 0))));
    assert_eq!((stopped.handled, stopped.sent, stopped.delivered), (3, 8, 8));
}

#[test]
fn a_notice_reaches_all_sinks_whatever_routes_and_silences() {
    let ((a, to_a), (all, to_all)) = (sink("a"), sink("all"));
    let silence = Silence::new("x", Matcher::default(), Timestamp::MAX, "me", "hide all");
    let routes = Routes::new(Vec::new(), Silences::new(vec![silence]));
    let router = Router::new(routes, &["a".to_owned()]);
    let delivery = Delivery::with_observers(router, vec![a], vec![all]);
    let running = Monitor::new(engine(), delivery, config()).start().unwrap();
    let about = |message: &str| Finding::about_monitor(time(0), "x", Severity::Low, message);
    assert!(running.feed().report(about("hidden")));
    assert!(running.feed().notify(about("shown")));
    assert!(running.flush(LONG));
    let messages = [&to_a, &to_all].map(|it| it.try_iter().collect::<Vec<_>>());
    assert_eq!(messages, [["shown"]; 2]);
    assert_eq!((running.counts().findings, running.counts().silenced), (2, 1));
}

#[test]
fn a_removed_sink_ends_the_finding_about_its_failure() {
    let (sender, findings) = mpsc::channel();
    let stays = move |finding: &Finding| drop(sender.send(finding.clone()));
    let stays = Queue::new("stays", Box::new(To(stays)), 8);
    let queues =
        vec![Queue::new("fails", Box::new(Fails(|| SinkError::refused("closed"))), 8), stays];
    let ids = ["fails".to_owned(), "stays".to_owned()];
    let delivery = Delivery::new(Router::to_all(&ids), queues);
    let present = delivery.queues().to_vec();
    let running = Monitor::new(engine(), delivery, config()).start().unwrap();
    running.session("s").record_at(time(0), prompt());
    // The sink fails again with the finding about its failure.
    let next = |severity: Severity| {
        let mut findings =
            findings.iter().filter(|it: &Finding| &*it.detector == "watchkeeper-delivery");
        findings.find(|it| it.severity == severity).unwrap()
    };
    let failure = next(Severity::Medium);
    running.reload(reload(vec![everything()], vec![present[1].clone()], Vec::new()));
    let end = next(Severity::Low);
    assert_eq!((end.status, end.fingerprint), (Status::Resolved, failure.fingerprint));
    assert_eq!(end.message, "sink `fails` is not used any longer");
}

#[test]
fn closed_queues_are_counted_once_and_not_kept() {
    let (first, _to_first) = sink("a");
    let delivery = Delivery::new(Router::to_all(&["a".to_owned()]), vec![first]);
    let mut present = delivery.queues()[0].clone();
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(ManualClock::new(time(0)));
    let running = monitor.start().unwrap();
    for _ in 0..5 {
        running.session("s").record_at(time(0), prompt());
        let queue = Arc::new(sink("a").0);
        running.reload(reload(vec![everything()], vec![queue.clone()], Vec::new()));
        assert!(running.flush(LONG) && present.wait_closed(LONG));
        present = queue;
        assert_eq!(running.queues().len(), 2);
    }
    let stopped = running.stop();
    assert_eq!((stopped.sent, stopped.delivered, stopped.sinks.len()), (5, 5, 1));
}

/// A ledger with two pending findings.
struct Pending;

impl Ledger for Pending {
    fn contains(&self, _: &Finding) -> bool {
        false
    }

    fn is_pending(&self, _: Fingerprint) -> bool {
        false
    }

    fn add(&mut self, _: &Finding) -> io::Result<u64> {
        Ok(2)
    }

    fn accept(&mut self, _: Fingerprint) -> io::Result<()> {
        Ok(())
    }

    fn give_up(&mut self, _: Fingerprint) -> io::Result<()> {
        Ok(())
    }

    fn n_pending(&self) -> usize {
        2
    }

    fn pending(&mut self, from: u64, _: usize) -> Vec<(u64, Finding)> {
        let finding = |n: u64| Finding::new(time(0), &n.to_string(), "s", Severity::Low, "");
        (from..2).map(|n| (n, finding(n))).collect()
    }

    fn give_up_least_severe(&mut self, _: u64) {}

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn findings_that_wait_for_a_sink_that_returns_are_counted_once() {
    let queue = || {
        let down = || SinkError::unavailable("down");
        Queue::with_ledger("a", Box::new(Fails(down)), 8, Box::new(Pending))
    };
    let delivery = Delivery::new(Router::to_all(&["a".to_owned()]), vec![queue()]);
    let removed = delivery.queues()[0].clone();
    let running = Monitor::new(engine(), delivery, config()).start().unwrap();
    running.reload(reload(Vec::new(), Vec::new(), Vec::new()));
    assert!(running.flush(LONG) && removed.wait_closed(LONG));
    running.reload(reload(Vec::new(), vec![Arc::new(queue())], Vec::new()));
    assert_eq!(running.stop().pending, 2);
}
