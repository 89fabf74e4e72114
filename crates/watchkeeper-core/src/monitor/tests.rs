mod accounting;
mod handles;
mod reload;

use std::{
    sync::{
        Arc, Barrier, OnceLock, Weak,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Monitor, MonitorConfig, Running};
use crate::{
    Context, Delivery, Detector, Engine, Event, EventKind, Finding, Fingerprint, Level, Period,
    Queue, Report, Router, Severity, Sink, SinkError, Status,
    clock::{Clock, ManualClock, SystemClock},
    embed::{EngineConfig, NamedDetector, Route},
    period::untimed,
};

/// Longer than any test takes, however slow the machine.
const LONG: Duration = Duration::from_secs(60);
const HOUR: i64 = 60 * 60;
const INACTIVE: &str = "inactive";

/// Reports every event by its name, and every minute without an event in an
/// open turn as inactive.
#[derive(Clone, Debug, Default)]
struct Everything {
    n_events: u64,
}

impl Detector for Everything {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.n_events += 1;
        let name = event.kind.name();
        cx.report(Fingerprint::from(self.n_events), 1, || Report::new(name));
        if name == "turn_end" {
            cx.cancel_wake();
        } else {
            cx.wake_after(SignedDuration::from_mins(1));
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        cx.report(Fingerprint::NONE, 1, || Report::new(INACTIVE));
    }
}

fn everything() -> NamedDetector {
    NamedDetector {
        id: "everything".into(),
        kind: "everything".into(),
        class: "timeout".into(),
        annotations: Arc::default(),
        levels: vec![Level::new(1, Severity::Medium)],
        inhibited_by: Vec::new(),
        per: None,
        sessions: crate::SessionFilter::default(),
        options: Fingerprint::NONE,
        detector: Box::new(Everything::default()),
    }
}

fn engine() -> Engine {
    Engine::new(vec![everything()], EngineConfig::default())
}

fn time(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
}

fn prompt() -> EventKind {
    EventKind::Prompt { text: "".into(), synthetic: false }
}

fn config() -> MonitorConfig {
    MonitorConfig {
        check_interval: Duration::ZERO,
        shutdown_timeout: LONG,
        ..MonitorConfig::default()
    }
}

/// A monitor with a manual clock, and the findings that it delivers.
struct Fixture {
    clock: ManualClock,
    running: Running,
    findings: Receiver<Finding>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_config(config())
    }

    fn with_config(config: MonitorConfig) -> Self {
        let clock = ManualClock::new(time(0));
        let (sender, findings) = mpsc::channel();
        let delivery = Delivery::to_callback(move |finding| drop(sender.send(finding.clone())));
        let monitor = Monitor::new(engine(), delivery, config).with_clock(clock.clone());
        Self { clock, running: monitor.start().expect("there are threads"), findings }
    }

    fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn adjust(&self, secs: i64) {
        self.clock.adjust(SignedDuration::from_secs(secs));
    }

    /// Waits until everything due is handled. Returns the new findings.
    fn flush(&self) -> Vec<String> {
        assert!(self.running.flush(LONG));
        self.findings.try_iter().map(|finding| summary(&finding)).collect()
    }

    /// Waits until everything due is handled. Returns the new findings about
    /// inactivity.
    fn inactive(&self) -> Vec<String> {
        let mut findings = self.flush();
        findings.retain(|finding| finding.ends_with(INACTIVE));
        findings
    }

    /// Feeds an event and waits until it is handled. Returns the new findings
    /// about inactivity.
    fn feed(&self, session: &str, at: Timestamp, kind: EventKind) -> Vec<String> {
        assert!(self.running.feed().send(Event::new(at, session, kind)));
        self.inactive()
    }

    /// Stops the monitor. Returns the findings that are not read yet.
    fn stop(self) -> Vec<String> {
        assert_eq!(self.running.stop().lost, 0);
        drop(self.running);
        self.findings.iter().map(|finding| summary(&finding)).collect()
    }
}

fn summary(finding: &Finding) -> String {
    format!("{}s {} {}", finding.at.as_second(), finding.session, finding.message)
}

#[test]
fn runs_from_start_to_stop() {
    let fixture = Fixture::new();
    let running = &fixture.running;
    assert!(running.is_running());
    let session = running.session("s");
    session.record_at(time(0), prompt());
    session.agent("a").record_at(time(1), EventKind::TurnEnd);
    let stopped = running.stop();
    assert!(!running.is_running());
    assert_eq!((stopped.recorded, stopped.handled, stopped.dropped), (3, 3, 0));
    assert_eq!((stopped.sent, stopped.delivered, stopped.lost), (3, 3, 0));
    assert!(!stopped.timed_out);
    // Events that are recorded after the stop are dropped and counted.
    session.record(prompt());
    assert!(!running.feed().send(Event::new(time(0), "s", prompt())));
    assert!(!running.feed().hold());
    assert!(!running.flush(LONG));
    let counts = running.counts();
    assert_eq!((counts.events, counts.findings, counts.dropped), (3, 3, 2));
    assert_eq!(running.stop(), stopped);
    assert_eq!(fixture.stop(), ["0s s prompt", "0s s agent_start", "1s s turn_end"]);
}

#[test]
fn dropping_the_handle_stops_the_monitor() {
    let Fixture { running, findings, .. } = Fixture::new();
    let session = running.session("s");
    session.record_at(time(0), prompt());
    drop(running);
    // The iterator ends because the callback is dropped.
    assert_eq!(findings.iter().map(|it| summary(&it)).collect::<Vec<_>>(), ["0s s prompt"]);
    session.record_at(time(0), prompt());
}

#[test]
fn a_callback_receives_resolved_findings() {
    /// Reports a problem in every turn, until the turn ends.
    #[derive(Clone, Debug)]
    struct OpenTurn;

    impl Detector for OpenTurn {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            if matches!(event.kind, EventKind::TurnEnd) {
                cx.resolve(Fingerprint::NONE, || Report::new("turn ended"));
            } else {
                cx.report(Fingerprint::NONE, 1, || Report::new("open turn"));
            }
        }
    }

    let mut detector = NamedDetector {
        id: "open_turn".into(),
        kind: "open-turn".into(),
        class: "test".into(),
        annotations: Arc::default(),
        levels: vec![Level::new(1, Severity::Low)],
        inhibited_by: Vec::new(),
        per: None,
        sessions: crate::SessionFilter::default(),
        options: Fingerprint::NONE,
        detector: Box::new(OpenTurn),
    };
    detector.levels.push(Level::new(2, Severity::High));
    let (sender, findings) = mpsc::channel();
    let delivery = Delivery::to_callback(move |finding| {
        let _ = sender.send(finding.status);
    });
    let engine = Engine::new(vec![detector], EngineConfig::default());
    let running = Monitor::new(engine, delivery, config()).start().unwrap();
    let session = running.session("s");
    session.prompt("hello");
    session.turn_end();
    assert_eq!(running.stop().delivered, 2);
    drop(running);
    assert_eq!(findings.iter().collect::<Vec<_>>(), [Status::Open, Status::Resolved]);
}

#[test]
fn stopping_does_not_wait_for_future_wake_ups() {
    let fixture = Fixture::new();
    fixture.feed("s", time(HOUR), prompt());
    assert_eq!(fixture.stop(), [""; 0]);
}

#[test]
fn time_based_findings_wait_for_late_events() {
    let fixture =
        Fixture::with_config(MonitorConfig { check_interval: Duration::from_secs(5), ..config() });
    fixture.feed("s", time(0), prompt());
    fixture.advance(64);
    assert!(fixture.inactive().is_empty());
    assert!(fixture.feed("s", time(59), prompt()).is_empty());
    fixture.advance(60);
    assert_eq!(fixture.inactive(), ["119s s inactive"]);
}

#[test]
fn a_wake_up_needs_no_event() {
    let (sender, findings) = mpsc::channel();
    let delivery = Delivery::to_callback(move |finding| drop(sender.send(finding.message.clone())));
    let running = Monitor::new(engine(), delivery, config()).start().unwrap();
    // The minute ends shortly after the event is handled.
    let almost_a_minute = SignedDuration::from_millis(59_950);
    running.session("s").record_at(SystemClock.now() - almost_a_minute, prompt());
    assert_eq!(findings.recv_timeout(LONG).as_deref(), Ok("prompt"));
    assert_eq!(findings.recv_timeout(LONG).as_deref(), Ok(INACTIVE));
}

#[test]
fn no_time_passes_while_a_feed_holds_it() {
    let fixture = Fixture::new();
    fixture.advance(10 * 60 * 60);
    let feed = fixture.running.feed();
    assert!(feed.hold() && feed.hold());
    let mut findings = fixture.feed("s", time(0), prompt());
    assert!(feed.release());
    findings.extend(fixture.feed("s", time(30), prompt()));
    findings.extend(fixture.feed("s", time(70), EventKind::TurnEnd));
    findings.extend(fixture.feed("t", time(80), prompt()));
    assert!(findings.is_empty(), "{findings:?}");
    // Time passes after one release for each hold.
    assert!(feed.release());
    assert_eq!(fixture.inactive(), ["140s t inactive"]);
    assert_eq!(fixture.feed("u", time(0), prompt()), ["60s u inactive"]);
    assert!(feed.release(), "a release without a hold is accepted");
}

#[test]
fn no_time_passes_in_a_session_without_times() {
    let fixture = Fixture::with_config(MonitorConfig { since: Some(time(100)), ..config() });
    fixture.advance(1_000_000);
    assert_eq!(fixture.feed("untimed", untimed(0), prompt()), [""; 0]);
    fixture.advance(1_000_000);
    assert_eq!(fixture.feed("untimed", untimed(59), prompt()), [""; 0]);
    fixture.advance(1_000_000);
    let found = format!("{}s untimed {INACTIVE}", untimed(119).as_second());
    assert_eq!(fixture.feed("untimed", untimed(200), prompt()), [found]);
    // The session was not dropped, and its findings are delivered.
    assert_eq!(fixture.stop(), [""; 0]);
}

#[test]
fn of_findings_older_than_since_only_open_ones_are_delivered() {
    let fixture = Fixture::with_config(MonitorConfig { since: Some(time(100)), ..config() });
    fixture.advance(1_000);
    let feed = fixture.running.feed();
    let report = |subject: u64, secs: i64, status: Status| {
        let finding =
            Finding::about_monitor(time(secs), "test", Severity::Low, format!("{subject}"));
        assert!(feed.report(Finding { fingerprint: subject.into(), status, ..finding }));
    };
    assert!(feed.hold());
    for subject in 1..=3 {
        report(subject, 50, Status::Open);
    }
    report(1, 60, Status::Resolved);
    // The opening is old, and its end is recent.
    report(2, 200, Status::Resolved);
    report(4, 200, Status::Open);
    assert_eq!(fixture.flush(), ["200s  4"]);
    assert!(feed.release());
    assert_eq!(fixture.flush(), ["50s  3"]);
    report(3, 300, Status::Resolved);
    assert_eq!(fixture.stop(), ["300s  3"]);
}

#[test]
fn neither_an_old_silence_nor_its_end_is_delivered() {
    let fixture = Fixture::with_config(MonitorConfig { since: Some(time(100)), ..config() });
    fixture.advance(1_000);
    assert_eq!(fixture.feed("s", time(0), prompt()), [""; 0]);
    assert_eq!(fixture.feed("s", time(1_000), EventKind::TurnEnd), [""; 0]);
    assert_eq!(fixture.stop(), [""; 0]);
}

#[test]
fn setting_the_wall_clock_forward_postpones_wake_ups() {
    let fixture = Fixture::new();
    for session in ["s", "t", "u"] {
        fixture.feed(session, time(0), prompt());
    }
    fixture.advance(30);
    assert!(fixture.inactive().is_empty());
    // The machine is suspended for eight hours; then one agent continues at once.
    let night = 8 * HOUR;
    fixture.adjust(night);
    assert!(fixture.feed("t", time(night + 30), EventKind::TurnEnd).is_empty());
    fixture.advance(29);
    assert!(fixture.inactive().is_empty());
    fixture.advance(1);
    // The others were inactive for 30 s before the adjustment and 30 s after.
    let inactive = |session| format!("{}s {session} inactive", night + 60);
    assert_eq!(fixture.inactive(), [inactive("s"), inactive("u")]);
}

#[test]
fn setting_the_wall_clock_forward_does_not_postpone_due_wake_ups() {
    let fixture = Fixture::new();
    fixture.feed("s", time(0), prompt());
    fixture.advance(60);
    fixture.adjust(HOUR);
    assert_eq!(fixture.inactive(), ["60s s inactive"]);
}

#[test]
fn small_changes_of_the_wall_clock_postpone_nothing() {
    let fixture = Fixture::new();
    fixture.feed("s", time(0), prompt());
    fixture.adjust(5);
    assert!(fixture.inactive().is_empty());
    fixture.advance(55);
    assert_eq!(fixture.inactive(), ["60s s inactive"]);
}

#[test]
fn setting_the_wall_clock_back_delays_no_wake_up() {
    let fixture = Fixture::new();
    fixture.advance(3600);
    fixture.feed("s", time(HOUR), prompt());
    fixture.adjust(-HOUR);
    fixture.feed("t", time(0), prompt());
    fixture.advance(60);
    assert_eq!(fixture.inactive(), ["60s s inactive", "60s t inactive"]);
    assert!(fixture.feed("u", time(60), prompt()).is_empty());
    fixture.advance(60);
    assert_eq!(fixture.inactive(), ["120s u inactive"]);

    // When the clock is corrected, nothing is postponed.
    fixture.feed("v", time(120), prompt());
    fixture.adjust(HOUR);
    fixture.advance(60);
    assert_eq!(fixture.inactive(), ["3780s v inactive"]);
}

#[test]
fn an_event_is_not_later_than_its_arrival() {
    let fixture = Fixture::new();
    fixture.feed("s", time(300), prompt());
    fixture.advance(60);
    assert_eq!(fixture.inactive(), ["60s s inactive"]);
}

/// Delivers to a function.
struct To<F>(F);

impl<F: FnMut(&Finding) + Send> Sink for To<F> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        (self.0)(finding);
        Ok(())
    }
}

/// Starts a monitor with the sink `bad` and the sink `good`. Returns the
/// messages that `good` delivers.
fn with_bad_sink(
    shutdown_timeout: Duration,
    bad: impl FnMut(&Finding) + Send + 'static,
) -> (Running, Receiver<String>) {
    let (sender, messages) = mpsc::channel();
    let good = move |finding: &Finding| drop(sender.send(finding.message.clone()));
    let queues =
        vec![Queue::new("bad", Box::new(To(bad)), 8), Queue::new("good", Box::new(To(good)), 8)];
    let router = Router::to_all(&["bad".to_owned(), "good".to_owned()]);
    let config = MonitorConfig { shutdown_timeout, ..config() };
    let monitor = Monitor::new(engine(), Delivery::new(router, queues), config)
        .with_clock(ManualClock::new(time(0)));
    (monitor.start().unwrap(), messages)
}

#[test]
fn the_panic_message_of_a_sink_is_reported_at_once() {
    let (running, messages) =
        with_bad_sink(LONG, |_| std::panic::resume_unwind(Box::new("no such channel")));
    running.session("s").record_at(time(0), prompt());
    assert_eq!(messages.recv_timeout(LONG).unwrap(), "prompt");
    // No further event is needed.
    assert_eq!(
        messages.recv_timeout(LONG).unwrap(),
        "sink `bad` lost 1 finding: `the sink panicked: no such channel`"
    );
    let stopped = running.stop();
    assert_eq!((stopped.sinks[0].delivered, stopped.sinks[0].lost), (0, 1));
    let error = stopped.sinks[0].last_error.as_deref();
    assert_eq!(error, Some("the sink panicked: no such channel"));
}

#[test]
fn a_sink_that_blocks_delays_no_other_sink() {
    let (release, released) = mpsc::channel::<()>();
    let (running, messages) = with_bad_sink(Duration::from_millis(20), move |_| {
        let _ = released.recv();
    });
    let session = running.session("s");
    for secs in 0..5 {
        session.record_at(time(secs), prompt());
    }
    let stopped = running.stop();
    assert!(stopped.timed_out);
    assert_eq!((stopped.sent, stopped.delivered, stopped.lost), (10, 5, 5));
    assert_eq!(messages.iter().take(5).collect::<Vec<_>>(), ["prompt"; 5]);
    // The sink returns after all; the result stays the same.
    drop(release);
    assert_eq!(running.stop(), stopped);
}

#[test]
fn a_stop_from_a_callback_returns_at_once() {
    static RUNNING: OnceLock<Weak<Running>> = OnceLock::new();
    let (sender, results) = mpsc::channel();
    let (started, wait_for_start) = mpsc::channel::<()>();
    let delivery = Delivery::to_callback(move |_| {
        let _ = wait_for_start.recv();
        let running = RUNNING.get().and_then(Weak::upgrade).expect("the test keeps the monitor");
        sender.send(running.stop()).expect("the test receives");
    });
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(ManualClock::new(time(0)));
    let running = Arc::new(monitor.start().unwrap());
    RUNNING.set(Arc::downgrade(&running)).expect("the cell is set once");
    drop(started);
    running.session("s").record_at(time(0), prompt());
    let from_callback = results.recv_timeout(LONG).unwrap();
    assert_eq!((from_callback.sent, from_callback.lost), (1, 1));
    let stopped = running.stop();
    assert_eq!((stopped.sent, stopped.delivered, stopped.lost), (1, 1, 0));
    assert!(!running.is_running());
}

#[test]
fn a_callback_reads_the_counts_while_stop_waits() {
    static RUNNING: OnceLock<Weak<Running>> = OnceLock::new();
    let (sender, results) = mpsc::channel();
    let delivery = Delivery::to_callback(move |_| {
        let running = RUNNING.wait().upgrade().expect("the test keeps the monitor");
        // The monitor has ended, so `stop` waits for this callback.
        while running.is_running() {
            thread::yield_now();
        }
        sender.send(running.counts()).expect("the test receives");
    });
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(ManualClock::new(time(0)));
    let running = Arc::new(monitor.start().unwrap());
    RUNNING.set(Arc::downgrade(&running)).expect("the cell is set once");
    running.session("s").record_at(time(0), prompt());
    let stopped = running.stop();
    assert_eq!((stopped.sent, stopped.delivered, stopped.timed_out), (1, 1, false));
    assert_eq!(results.recv_timeout(LONG).unwrap().events, 1);
}

#[test]
fn a_thread_that_panics_does_not_run() {
    struct Broken {
        _alive: Sender<()>,
    }
    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            std::panic::resume_unwind(Box::new("broken clock"))
        }
    }
    let (alive, is_alive) = mpsc::channel();
    let delivery = Delivery::new(Router::new(Vec::new(), &[]), Vec::new());
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(Broken { _alive: alive });
    let running = monitor.start().unwrap();
    let session = running.session("s");
    session.record_at(time(0), prompt());
    // The handles keep the clock alive, so that only a timeout could end this.
    assert!(is_alive.try_recv().is_err());
    let stopped = running.stop();
    assert!(!running.is_running());
    assert_eq!((stopped.recorded, stopped.handled, stopped.dropped), (1, 0, 1));
    session.record_at(time(0), prompt());
    assert_eq!((running.counts().events, running.counts().dropped), (0, 2));
}

#[test]
fn every_event_is_handled_or_dropped_while_threads_record_and_stop() {
    const N_THREADS: u64 = 8;
    const N_EVENTS: u64 = 500;
    let fixture = Fixture::with_config(MonitorConfig { queue_capacity: 16, ..config() });
    let running = &fixture.running;
    let barrier = Barrier::new(usize::try_from(N_THREADS).unwrap() + 2);
    let n_fed = thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let (session, barrier) = (running.session(format!("s{thread}")), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..N_EVENTS {
                    session.record_at(time(0), EventKind::TurnEnd);
                }
            });
        }
        let fed = scope.spawn(|| {
            let feed = running.feed();
            barrier.wait();
            let mut n_fed = 1;
            while feed.send(Event::new(time(0), "fed", EventKind::TurnEnd)) {
                n_fed += 1;
            }
            n_fed
        });
        barrier.wait();
        // In the middle of the recording.
        while running.counts().events < N_EVENTS {
            thread::yield_now();
        }
        let stopped = running.stop();
        assert_eq!(stopped.recorded, stopped.handled + stopped.dropped);
        assert_eq!(stopped.sent, stopped.delivered + stopped.lost);
        fed.join().unwrap()
    });
    let counts = running.counts();
    assert_eq!(counts.events + counts.dropped, N_THREADS * N_EVENTS + n_fed);
    assert!(N_EVENTS <= counts.events);
}

#[test]
fn a_route_sends_a_finding_once_it_has_lasted() {
    let ids = ["sink".to_owned()];
    let (sender, messages) = mpsc::channel();
    let sink = move |finding: &Finding| drop(sender.send(finding.message.clone()));
    let queue = Queue::new("sink", Box::new(To(sink)), 8);
    let route = Route { open_for: Some(Period::from_secs(60)), ..Route::to_all(&ids) };
    let delivery = Delivery::new(Router::new(vec![route], &ids), vec![queue]);
    let clock = ManualClock::new(time(0));
    let monitor = Monitor::new(engine(), delivery, config()).with_clock(clock.clone());
    let running = monitor.start().unwrap();
    running.session("s").record_at(time(0), prompt());
    clock.advance(Duration::from_secs(59));
    assert!(running.flush(LONG));
    assert!(messages.try_recv().is_err());
    clock.advance(Duration::from_secs(1) + config().check_interval);
    assert!(running.flush(LONG));
    assert_eq!(messages.recv_timeout(LONG).unwrap(), "prompt");
}
