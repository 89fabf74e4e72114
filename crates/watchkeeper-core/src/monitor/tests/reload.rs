//! A policy that changes while the monitor runs.

use super::*;
use crate::embed::Reload;

fn sink(name: &str) -> (Queue, Receiver<String>) {
    let (sender, messages) = mpsc::channel();
    let sink = move |finding: &Finding| drop(sender.send(finding.message.clone()));
    (Queue::new(name, Box::new(To(sink)), 8), messages)
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
    let delivered = |name: &str| {
        let sink = stopped.sinks.iter().find(|sink| sink.name == name);
        sink.map(|sink| (sink.delivered, sink.lost))
    };
    assert_eq!(["a", "b", "c", "all"].map(delivered), [2, 1, 1, 4].map(|n| Some((n, 0))));
    assert_eq!((stopped.handled, stopped.sent, stopped.delivered), (3, 8, 8));
}
