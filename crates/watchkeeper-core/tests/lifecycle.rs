//! Monitors leave no threads and no open files behind.
//!
//! The test counts the threads and files of the whole process, so this program
//! has no other test.
#![cfg(target_os = "linux")]

use std::{fs, sync::mpsc, thread, time::Duration};

use watchkeeper_core::{
    Context, Detector, Engine, Event, Fingerprint, Level, Monitor, Report, Severity,
    SignedDuration,
    clock::Deadline,
    embed::{Delivery, EngineConfig, MonitorConfig, NamedDetector},
};

const LONG: Duration = Duration::from_secs(60);
const N_CYCLES: usize = 1000;

/// Requests a wake-up an hour after each event.
#[derive(Clone, Debug)]
struct Patient;

impl Detector for Patient {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        cx.wake_after(SignedDuration::from_hours(1));
        cx.report(Fingerprint::NONE, 1, || Report::new("seen"));
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).expect("Linux has `/proc/self`").count()
}

#[test]
fn a_thousand_starts_and_stops_leave_no_thread_and_no_file() {
    let before = (count("/proc/self/task"), count("/proc/self/fd"));
    let mut stops = Vec::new();
    for cycle in 0..N_CYCLES {
        let detector = NamedDetector {
            id: "patient".into(),
            kind: "patient".into(),
            class: "timeout".into(),
            annotations: std::sync::Arc::default(),
            levels: vec![Level::new(1, Severity::Low)],
            inhibited_by: Vec::new(),
            per: None,
            sessions: watchkeeper_core::embed::SessionFilter::default(),
            options: Fingerprint::NONE,
            detector: Box::new(Patient),
        };
        let engine = Engine::new(vec![detector], EngineConfig::default());
        let (sender, findings) = mpsc::channel();
        let delivery =
            Delivery::to_callback(move |finding| drop(sender.send(finding.message.clone())));
        let mut config = MonitorConfig::default();
        config.shutdown_timeout = LONG;
        let monitor = Monitor::new(engine, delivery, config);
        if cycle % 10 == 0 {
            drop(monitor);
            continue;
        }
        let running = monitor.start().expect("there are threads");
        running.session("s").turn_end();
        assert_eq!(findings.recv_timeout(LONG).as_deref(), Ok("seen"));
        if cycle % 10 == 1 {
            drop(running);
            continue;
        }
        let deadline = Deadline::after(LONG);
        assert_eq!(running.stop().lost, 0);
        stops.push(LONG.saturating_sub(deadline.remaining()));
        assert!(!running.is_running());
    }
    // Linux removes a joined thread from `/proc` with a short delay.
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
