//! What is left of a thousand monitors: nothing.
//!
//! It counts the threads and descriptors of the whole process, so it is the
//! only test of this program.
#![cfg(target_os = "linux")]

use std::{fs, sync::mpsc, thread, time::Duration};

use watchkeeper_core::{
    Context, Delivery, Detector, Engine, EngineConfig, Event, EventKind, Fingerprint, Level,
    Monitor, MonitorConfig, NamedDetector, Report, Severity, SignedDuration, clock::Deadline,
};

const LONG: Duration = Duration::from_secs(60);
const N_CYCLES: usize = 1000;

/// Wakes in an hour.
#[derive(Clone, Debug)]
struct Patient;

impl Detector for Patient {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        cx.wake_after(SignedDuration::from_hours(1));
        cx.report(Fingerprint::NONE, 1, || Report::new("seen"));
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("Linux tells of its processes").count()
}

#[test]
fn a_thousand_starts_and_stops_leave_nothing() {
    let before = (count("/proc/self/task"), count("/proc/self/fd"));
    let mut stops = Vec::new();
    for cycle in 0..N_CYCLES {
        let detector = NamedDetector {
            id: "patient".into(),
            kind: "patient".into(),
            class: "timeout".into(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per_label: None,
            sessions: watchkeeper_core::SessionFilter::default(),
            detector: Box::new(Patient),
        };
        let engine = Engine::new(vec![detector], EngineConfig::default());
        let (sender, findings) = mpsc::channel();
        let delivery = Delivery::to_callback(move |it| drop(sender.send(it.message.clone())));
        let config = MonitorConfig { shutdown_timeout: LONG, ..MonitorConfig::default() };
        let monitor = Monitor::new(engine, delivery, config);
        // Some never run, some are dropped, some are stopped.
        if cycle % 10 == 0 {
            drop(monitor);
            continue;
        }
        monitor.start().expect("there are threads");
        monitor.session("s").record(EventKind::TurnEnd);
        assert_eq!(findings.recv_timeout(LONG).as_deref(), Ok("seen"));
        if cycle % 10 == 1 {
            drop(monitor);
            continue;
        }
        let deadline = Deadline::after(LONG);
        assert!(monitor.stop());
        stops.push(LONG.saturating_sub(deadline.remaining()));
        assert!(!monitor.is_running());
    }
    // A thread that was waited for is gone from there a moment later.
    let deadline = Deadline::after(LONG);
    let mut after = before;
    while !deadline.remaining().is_zero() {
        after = (count("/proc/self/task"), count("/proc/self/fd"));
        if after == before {
            break;
        }
        thread::yield_now();
    }
    assert_eq!(after, before);
    stops.sort();
    let (median, slowest) = (stops[stops.len() / 2], stops[stops.len() - 1]);
    println!("stop: median {median:?}, slowest {slowest:?}");
    assert!(median < Duration::from_millis(50), "{median:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
