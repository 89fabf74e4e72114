use std::{
    sync::{
        Arc, Barrier, Mutex, OnceLock, Weak,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Monitor, MonitorConfig};
use crate::{
    Context, Delivery, Detector, Engine, EngineConfig, Event, EventKind, Finding, Fingerprint,
    Level, NamedDetector, Queue, Report, Router, Severity, Sink, SinkError, Status,
    clock::{Clock, Deadline},
};

/// Longer than any test takes, however slow the machine.
const LONG: Duration = Duration::from_secs(60);
const HOUR: i64 = 60 * 60;

/// Reports every event, and every silence of a minute in an open turn.
#[derive(Clone, Debug, Default)]
struct Watch {
    n: u64,
}

impl Detector for Watch {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.n += 1;
        let name = event.kind.name();
        cx.report(Fingerprint::from(self.n), 1, || Report::new(name));
        if name == "turn_end" {
            cx.cancel_wake();
        } else {
            cx.wake_after(SignedDuration::from_mins(1));
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        cx.report(Fingerprint::NONE, 1, || Report::new("silence"));
    }
}

fn engine() -> Engine {
    let watch = NamedDetector {
        id: "watch".into(),
        kind: "watch".into(),
        class: "timeout".into(),
        levels: vec![Level::new(1, Severity::Medium)],
        inhibited_by: Vec::new(),
        per_label: None,
        sessions: crate::SessionFilter::default(),
        detector: Box::new(Watch::default()),
    };
    Engine::new(vec![watch], EngineConfig::default())
}

/// A clock that stands still until somebody turns its hands.
#[derive(Clone)]
struct Hands(Arc<Mutex<(Timestamp, Duration)>>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((time(0), LONG))))
    }

    /// Lets time pass.
    fn pass(&self, secs: u64) {
        self.jump(i64::try_from(secs).unwrap());
        self.0.lock().unwrap().1 += Duration::from_secs(secs);
    }

    /// Sets the clock on the wall, in no time.
    fn jump(&self, secs: i64) {
        self.0.lock().unwrap().0 += SignedDuration::from_secs(secs);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn uptime(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

fn time(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
}

fn prompt() -> EventKind {
    EventKind::Prompt { text: "".into(), synthetic: false }
}

/// A monitor by hand, and what it finds.
struct Stage {
    hands: Hands,
    monitor: Monitor,
    findings: Receiver<Finding>,
}

impl Stage {
    fn new(config: MonitorConfig) -> Self {
        let hands = Hands::new();
        let (sender, findings) = mpsc::channel();
        let delivery = Delivery::to_callback(move |it| drop(sender.send(it.clone())));
        let monitor = Monitor::with_clock(engine(), delivery, config, hands.clone());
        Self { hands, monitor, findings }
    }

    fn started() -> Self {
        let config = MonitorConfig { check_interval: Duration::ZERO, ..patient() };
        let stage = Self::new(config);
        stage.monitor.start().expect("there are threads");
        stage
    }

    /// Waits until everything due by the clock is handled. Gives back what was
    /// found.
    fn settle(&self) -> Vec<String> {
        let nudge =
            |id: &str| self.feed(id, self.hands.now(), EventKind::SessionEnd { reason: None });
        // Once the second is handled, so is what was due with the first.
        [nudge("first nudge"), nudge("second nudge")].concat()
    }

    /// Feeds an event, and waits until it is handled. Gives back what was found
    /// before it.
    fn feed(&self, session: &str, at: Timestamp, kind: EventKind) -> Vec<String> {
        let name = kind.name();
        assert!(self.monitor.feed().send(Event::new(at, session, kind)));
        let mut res = Vec::new();
        loop {
            let finding = self.findings.recv_timeout(LONG).expect("every event is reported");
            if finding.session.as_str() == session && finding.message == name {
                return res;
            }
            if finding.status == Status::Open {
                res.push(told(&finding));
            }
        }
    }

    /// Stops the monitor. Gives back what else was found.
    fn stop(self) -> Vec<String> {
        assert!(self.monitor.stop());
        drop(self.monitor);
        self.findings.iter().map(|it| told(&it)).collect()
    }
}

fn told(finding: &Finding) -> String {
    format!("{}s {} {}", finding.at.as_second(), finding.session, finding.message)
}

fn patient() -> MonitorConfig {
    MonitorConfig { shutdown_timeout: LONG, ..MonitorConfig::default() }
}

#[test]
fn it_runs_from_start_to_stop() {
    let stage = Stage::new(patient());
    let Stage { monitor, .. } = &stage;
    assert!(!monitor.is_running());
    let session = monitor.session("s");
    session.record_at(time(0), prompt());
    monitor.start().unwrap();
    monitor.start().unwrap();
    assert!(monitor.is_running());
    session.agent("a").record_at(time(1), EventKind::TurnEnd);
    assert!(monitor.stop());
    assert!(!monitor.is_running());
    assert!(monitor.stop());
    // It runs once.
    monitor.start().unwrap();
    assert!(!monitor.is_running());
    session.record(prompt());
    let counts = monitor.counts();
    assert_eq!((counts.events, counts.findings, counts.dropped), (2, 2, 1));
    assert!(!monitor.feed().send(Event::new(time(0), "s", prompt())));
    assert!(!monitor.feed().hold());
    assert_eq!(stage.stop(), ["0s s prompt", "1s s turn_end"]);
}

#[test]
fn what_never_ran_stops() {
    let stage = Stage::new(patient());
    stage.monitor.session("s").record(prompt());
    assert!(stage.monitor.stop());
    stage.monitor.start().unwrap();
    assert!(!stage.monitor.is_running());
    assert_eq!((stage.monitor.counts().events, stage.monitor.counts().dropped), (0, 1));
    assert!(stage.stop().is_empty());
}

#[test]
fn dropping_it_stops_it() {
    let Stage { monitor, findings, .. } = Stage::started();
    let session = monitor.session("s");
    session.record_at(time(0), prompt());
    drop(monitor);
    // Everything is delivered, and the callback is gone.
    assert_eq!(findings.iter().map(|it| told(&it)).collect::<Vec<_>>(), ["0s s prompt"]);
    session.record_at(time(0), prompt());
}

#[test]
fn stopping_does_not_wait_for_what_is_due_later() {
    let stage = Stage::started();
    stage.feed("s", time(HOUR), prompt());
    let deadline = Deadline::after(Duration::from_secs(1));
    assert!(stage.monitor.stop());
    assert!(!deadline.remaining().is_zero());
}

#[test]
fn what_is_due_by_time_alone_waits_for_late_events() {
    let config = MonitorConfig { check_interval: Duration::from_secs(5), ..patient() };
    let stage = Stage::new(config);
    stage.monitor.start().unwrap();
    stage.feed("s", time(0), prompt());
    stage.hands.pass(64);
    assert!(stage.settle().is_empty());
    assert!(stage.feed("s", time(59), prompt()).is_empty());
    stage.hands.pass(60);
    assert_eq!(stage.settle(), ["119s s silence"]);
    assert!(stage.stop().is_empty());
}

#[test]
fn a_wake_up_needs_no_event() {
    let stage = Stage::started();
    stage.feed("s", time(0), prompt());
    stage.hands.pass(59);
    // Nobody says a word: whoever looks at the clock finds a minute gone by.
    stage.feed("t", time(-1), prompt());
    let finding = stage.findings.recv_timeout(LONG).expect("it is due");
    assert_eq!(told(&finding), "59s t silence");
    assert!(stage.stop().is_empty());
}

#[test]
fn history_is_held_together() {
    let stage = Stage::started();
    stage.hands.pass(10 * 60 * 60);
    let feed = stage.monitor.feed();
    assert!(feed.hold() && feed.hold());
    let mut findings = stage.feed("s", time(0), prompt());
    assert!(feed.release());
    findings.extend(stage.feed("s", time(30), prompt()));
    findings.extend(stage.feed("s", time(70), EventKind::TurnEnd));
    findings.extend(stage.feed("t", time(80), prompt()));
    assert!(findings.is_empty(), "{findings:?}");
    // One release for each hold; then time passes.
    assert!(feed.release());
    assert_eq!(stage.settle(), ["140s t silence"]);
    // Without a hold there is a silence between any two of them.
    stage.feed("u", time(0), prompt());
    assert_eq!(stage.feed("u", time(30), EventKind::TurnEnd), ["60s u silence"]);
    assert!(feed.release(), "one too many does no harm");
    assert!(stage.stop().is_empty());
}

#[test]
fn findings_of_long_ago_are_not_delivered() {
    let config = MonitorConfig { since: Some(time(100)), ..patient() };
    let stage = Stage::new(config);
    stage.monitor.start().unwrap();
    let session = stage.monitor.session("s");
    for secs in [99, 100] {
        session.record_at(time(secs), EventKind::TurnEnd);
    }
    assert_eq!(stage.stop(), ["100s s turn_end"]);
}

#[test]
fn a_clock_that_jumps_ahead_ends_no_silence() {
    let stage = Stage::started();
    for session in ["s", "t", "u"] {
        stage.feed(session, time(0), prompt());
    }
    stage.hands.pass(30);
    assert!(stage.settle().is_empty());
    // The machine sleeps for eight hours; then one agent goes on at once.
    let night = 8 * HOUR;
    stage.hands.jump(night);
    assert!(stage.feed("t", time(night + 30), EventKind::TurnEnd).is_empty());
    assert!(stage.settle().is_empty());
    stage.hands.pass(29);
    assert!(stage.settle().is_empty());
    stage.hands.pass(1);
    // The others were silent for half a minute before it and half after.
    let findings = stage.settle();
    let silence = |session| format!("{}s {session} silence", night + 60);
    assert_eq!(findings, [silence("s"), silence("u")]);
    assert!(stage.stop().is_empty());
}

#[test]
fn what_was_due_before_a_jump_is_due() {
    let stage = Stage::started();
    stage.feed("s", time(0), prompt());
    stage.hands.pass(60);
    stage.hands.jump(HOUR);
    let findings = stage.settle();
    assert_eq!(findings, ["60s s silence"]);
}

#[test]
fn a_clock_that_moves_by_little_does_not_jump() {
    let stage = Stage::started();
    stage.feed("s", time(0), prompt());
    stage.hands.jump(5);
    assert!(stage.settle().is_empty());
    stage.hands.pass(55);
    let findings = stage.settle();
    assert_eq!(findings, ["60s s silence"]);
}

#[test]
fn a_clock_that_is_set_back_breaks_nothing() {
    let stage = Stage::started();
    stage.hands.pass(3600);
    stage.feed("s", time(HOUR), prompt());
    stage.hands.jump(-HOUR);
    // A session that is new is on time.
    stage.feed("t", time(0), prompt());
    stage.hands.pass(60);
    assert_eq!(stage.settle(), ["60s t silence"]);
    assert!(stage.feed("s", time(60), prompt()).is_empty());
    // One that was heard of before waits until time is what it was.
    stage.hands.pass(3600);
    assert_eq!(stage.settle(), ["3660s s silence"]);
    assert!(stage.stop().is_empty());
}

#[test]
fn every_event_is_handled_or_counted() {
    const N_THREADS: u64 = 8;
    const N_EVENTS: u64 = 500;
    let config = MonitorConfig { queue_capacity: 16, ..patient() };
    let stage = Stage::new(config);
    let monitor = &stage.monitor;
    monitor.start().unwrap();
    let barrier = Barrier::new(usize::try_from(N_THREADS).unwrap() + 2);
    let n_fed = thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let (session, barrier) = (monitor.session(format!("s{thread}")), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..N_EVENTS {
                    session.record_at(time(0), EventKind::TurnEnd);
                }
            });
        }
        let fed = scope.spawn(|| {
            let feed = monitor.feed();
            barrier.wait();
            let mut n_fed = 0;
            while feed.send(Event::new(time(0), "fed", EventKind::TurnEnd)) {
                n_fed += 1;
            }
            n_fed
        });
        barrier.wait();
        // In the middle of it.
        while monitor.counts().events < N_EVENTS {
            thread::yield_now();
        }
        assert!(monitor.stop());
        fed.join().unwrap()
    });
    let counts = monitor.counts();
    assert_eq!(counts.events + counts.dropped, N_THREADS * N_EVENTS + n_fed);
    assert!(N_EVENTS <= counts.events);
}

#[test]
fn drops_are_told() {
    let config = MonitorConfig { queue_capacity: 3, ..patient() };
    let stage = Stage::new(config);
    let session = stage.monitor.session("s");
    for secs in 0..5 {
        session.record_at(time(secs), EventKind::TurnEnd);
    }
    stage.monitor.start().unwrap();
    assert!(stage.monitor.stop());
    let counts = stage.monitor.counts();
    assert_eq!((counts.events, counts.dropped), (3, 2));
    let findings = stage.stop();
    let dropped = "0s  2 recorded events dropped: they came faster than they are handled";
    assert_eq!(findings.iter().filter(|it| *it == dropped).count(), 1);
    assert_eq!(findings.len(), 4);
}

/// Delivers to a function.
struct To<F>(F);

impl<F: FnMut(&Finding) + Send> Sink for To<F> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        (self.0)(finding);
        Ok(())
    }
}

/// A monitor with a sink that misbehaves and one that hears everything.
fn with_bad_sink(
    timeout: Duration,
    bad: impl FnMut(&Finding) + Send + 'static,
) -> (Monitor, Receiver<Finding>) {
    let (sender, findings) = mpsc::channel();
    let good = move |it: &Finding| drop(sender.send(it.clone()));
    let queues =
        vec![Queue::new("bad", Box::new(To(bad)), 8), Queue::new("good", Box::new(To(good)), 8)];
    let router = Router::to_all(&["bad".to_owned(), "good".to_owned()]);
    let config = MonitorConfig { shutdown_timeout: timeout, ..MonitorConfig::default() };
    let monitor =
        Monitor::with_clock(engine(), Delivery::new(router, queues), config, Hands::new());
    (monitor, findings)
}

#[test]
fn a_callback_that_panics_harms_nobody() {
    let (monitor, findings) =
        with_bad_sink(LONG, |_| std::panic::resume_unwind(Box::new("in silence")));
    monitor.start().unwrap();
    monitor.session("s").record_at(time(0), prompt());
    assert_eq!(findings.recv_timeout(LONG).unwrap().message, "prompt");
    monitor.session("s").record_at(time(1), prompt());
    assert!(monitor.stop());
    drop(monitor);
    let said: Vec<_> = findings.iter().map(|it| it.message).collect();
    assert_eq!(said.iter().filter(|it| *it == "prompt").count(), 1);
    let is_lost =
        |it: &String| it.starts_with("sink `bad` lost ") && it.ends_with("the sink panicked`");
    assert!(said.iter().all(|it| it == "prompt" || is_lost(it)), "{said:?}");
}

#[test]
fn a_callback_that_blocks_holds_up_nobody_else() {
    let (release, released) = mpsc::channel::<()>();
    let (monitor, findings) = with_bad_sink(Duration::from_millis(20), move |_| {
        let _ = released.recv();
    });
    monitor.start().unwrap();
    let session = monitor.session("s");
    for secs in 0..5 {
        session.record_at(time(secs), prompt());
    }
    let deadline = Deadline::after(Duration::from_secs(10));
    assert!(!monitor.stop(), "not everything was delivered");
    assert!(!deadline.remaining().is_zero());
    let n_heard = (0..5).filter(|_| findings.recv_timeout(LONG).is_ok()).count();
    assert_eq!(n_heard, 5);
    drop(release);
}

#[test]
fn a_callback_may_stop_the_monitor() {
    static MONITOR: OnceLock<Weak<Monitor>> = OnceLock::new();
    let (sender, answers) = mpsc::channel();
    let delivery = Delivery::to_callback(move |_| {
        let monitor = MONITOR.get().and_then(Weak::upgrade).expect("it is kept until the end");
        sender.send(monitor.stop()).expect("the test listens");
    });
    let monitor = Arc::new(Monitor::with_clock(engine(), delivery, patient(), Hands::new()));
    MONITOR.set(Arc::downgrade(&monitor)).expect("it is set once");
    monitor.start().unwrap();
    monitor.session("s").record_at(time(0), prompt());
    assert_eq!(answers.recv_timeout(LONG), Ok(false));
    assert!(monitor.stop());
    assert!(!monitor.is_running());
}

#[test]
fn a_thread_that_dies_does_not_run() {
    struct Broken {
        _is_alive: Sender<()>,
    }
    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            std::panic::resume_unwind(Box::new("in silence"))
        }
    }
    let (alive, is_alive) = mpsc::channel();
    let delivery = Delivery::new(Router::new(Vec::new(), &[]), Vec::new());
    let monitor = Monitor::with_clock(engine(), delivery, patient(), Broken { _is_alive: alive });
    let session = monitor.session("s");
    session.record_at(time(0), prompt());
    monitor.start().unwrap();
    assert!(is_alive.recv_timeout(LONG).is_err());
    assert!(!monitor.stop());
    assert!(!monitor.is_running());
    session.record_at(time(0), prompt());
    assert_eq!((monitor.counts().events, monitor.counts().dropped), (0, 2));
}
