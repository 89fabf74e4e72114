use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    AgentId, Delivery, Engine, Event, EventKind, Finding, Fingerprint, SessionId, Severity,
    clock::{Clock, Deadline, SystemClock},
};

/// How many events are handled between two looks at the clock.
const BURST: usize = 256;

/// How a [`Monitor`] runs.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// How late a finding may be that no event brings about: for so long the
    /// monitor waits for events that are still being written.
    pub check_interval: Duration,
    /// How long stopping may take.
    pub shutdown_timeout: Duration,
    /// How many recorded events may wait to be handled.
    pub queue_capacity: usize,
    /// Findings dated earlier are not delivered: they are of what was watched
    /// only to know where it stands.
    pub since: Option<Timestamp>,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(2),
            queue_capacity: 1024,
            since: None,
        }
    }
}

/// Watches agents while they run: an [`Engine`] with a thread and a clock.
///
/// The thread sleeps until an event is recorded or a detector wants to be
/// woken; while nothing is due it does not run at all. Recording an event
/// never waits. Dropping the monitor stops it.
///
/// ```
/// use watchkeeper_core::{
///     Delivery, Engine, EngineConfig, EventKind, Monitor, MonitorConfig,
/// };
///
/// let engine = Engine::new(Vec::new(), EngineConfig::default());
/// let delivery = Delivery::to_callback(|finding| eprintln!("{}", finding.message));
/// let monitor = Monitor::new(engine, delivery, MonitorConfig::default());
/// monitor.start()?;
///
/// let session = monitor.session("my-agent-1");
/// session.record(EventKind::Prompt { text: "hello".into(), synthetic: false });
/// session.record(EventKind::TurnEnd);
///
/// assert!(monitor.stop());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Monitor {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    shutdown_timeout: Duration,
    /// What the thread takes with it when it starts.
    parts: Mutex<Option<Parts>>,
}

/// Everything that can wake the thread. The set is closed on purpose: to know
/// what it reacts to, read this.
enum Message {
    /// An event happened.
    Event(Event),
    /// What follows, up to `Release`, may be older than what is due: let no
    /// time pass between the two.
    Hold,
    /// Let time pass again.
    Release,
    /// There is nothing to handle, but something to look at.
    Look,
}

struct Parts {
    engine: Engine,
    delivery: Delivery,
    receiver: Receiver<Message>,
    clock: Box<dyn Clock>,
    config: MonitorConfig,
}

#[derive(Default)]
struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    is_stopping: AtomicBool,
    n_events: AtomicU64,
    n_findings: AtomicU64,
    n_dropped: AtomicU64,
}

#[derive(Default)]
enum Phase {
    #[default]
    New,
    Running,
    /// The thread is gone; it had delivered everything, or not.
    Ended {
        all_delivered: bool,
    },
}

/// What a monitor did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonitorCounts {
    /// Events handled.
    pub events: u64,
    /// Findings handed to the sinks.
    pub findings: u64,
    /// Recorded events that were dropped because too many waited.
    pub dropped: u64,
}

impl Monitor {
    /// Makes a monitor that does not run yet.
    pub fn new(engine: Engine, delivery: Delivery, config: MonitorConfig) -> Self {
        Self::with_clock(engine, delivery, config, SystemClock)
    }

    /// Makes a monitor that is told the time by another clock.
    pub fn with_clock(
        engine: Engine,
        delivery: Delivery,
        config: MonitorConfig,
        clock: impl Clock + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::sync_channel(config.queue_capacity.max(1));
        let shutdown_timeout = config.shutdown_timeout;
        let parts = Parts { engine, delivery, receiver, clock: Box::new(clock), config };
        Self { shared: Arc::default(), sender, shutdown_timeout, parts: Mutex::new(Some(parts)) }
    }

    /// Starts the thread. Does nothing if it was started before.
    ///
    /// Fails only if the system gives no thread.
    pub fn start(&self) -> std::io::Result<()> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(parts) = parts else { return Ok(()) };
        *self.shared.phase() = Phase::Running;
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name("watchkeeper".to_owned()).spawn(move || {
            let mut end = End { shared, all_delivered: false };
            let shared = end.shared.clone();
            end.all_delivered = parts.run(&shared);
        });
        if let Err(err) = spawned {
            *self.shared.phase() = Phase::Ended { all_delivered: false };
            return Err(err);
        }
        Ok(())
    }

    /// Whether the thread lives.
    pub fn is_running(&self) -> bool {
        matches!(*self.shared.phase(), Phase::Running)
    }

    /// A handle that records the events of one session.
    pub fn session(&self, id: impl Into<SessionId>) -> SessionHandle {
        SessionHandle {
            session: id.into(),
            agent: None,
            sender: self.sender.clone(),
            shared: self.shared.clone(),
        }
    }

    /// A handle that feeds events of any session, and waits where the monitor
    /// cannot keep up.
    pub fn feed(&self) -> Feed {
        Feed { sender: self.sender.clone(), shared: self.shared.clone() }
    }

    /// What it did so far.
    pub fn counts(&self) -> MonitorCounts {
        let get = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let Shared { n_events, n_findings, n_dropped, .. } = &*self.shared;
        MonitorCounts { events: get(n_events), findings: get(n_findings), dropped: get(n_dropped) }
    }

    /// Wakes the thread, has it handle what was recorded, delivers what was
    /// found, and waits for that, for the configured `shutdown_timeout` at
    /// most. Says whether everything was delivered in that time.
    ///
    /// May be called again, from any thread, a callback included.
    pub fn stop(&self) -> bool {
        // What never ran has nothing to deliver.
        let never_ran = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
        if never_ran.is_some() {
            *self.shared.phase() = Phase::Ended { all_delivered: true };
            return true;
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        // If there is no room, the thread is awake and about to see the flag.
        let _ = self.sender.try_send(Message::Look);
        let phase = self.shared.phase();
        let is_running = |it: &mut Phase| matches!(it, Phase::Running);
        let wait = self.shared.changed.wait_timeout_while(phase, self.shutdown_timeout, is_running);
        let (phase, _) = wait.unwrap_or_else(PoisonError::into_inner);
        matches!(*phase, Phase::Ended { all_delivered: true })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

/// Records the events of one session, from any thread.
#[derive(Clone)]
pub struct SessionHandle {
    session: SessionId,
    agent: Option<AgentId>,
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl SessionHandle {
    /// A handle for a sub-agent of the session.
    pub fn agent(&self, id: impl Into<AgentId>) -> Self {
        Self { agent: Some(id.into()), ..self.clone() }
    }

    /// Records what happened, now. Never waits: where too much waits already
    /// the event is dropped and counted, and the drops are a finding.
    pub fn record(&self, kind: EventKind) {
        self.record_at(SystemClock.now(), kind);
    }

    /// Records what happened at another time.
    pub fn record_at(&self, at: Timestamp, kind: EventKind) {
        let session = self.session.clone();
        let event = Event { at, session, agent: self.agent.clone(), origin: None, kind };
        if self.sender.try_send(Message::Event(event)).is_err() {
            self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHandle")
            .field("session", &self.session)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// Feeds a monitor with events that a source read.
#[derive(Clone)]
pub struct Feed {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Feed {
    /// Hands an event over; waits while too many wait. Says whether anybody
    /// is there to handle it.
    pub fn send(&self, event: Event) -> bool {
        self.send_message(Message::Event(event))
    }

    /// Says that what is sent next, up to [`release`](Self::release), may be
    /// older than the time: no wake-up must come between.
    pub fn hold(&self) -> bool {
        self.send_message(Message::Hold)
    }

    /// Lets time pass again.
    pub fn release(&self) -> bool {
        self.send_message(Message::Release)
    }

    fn send_message(&self, message: Message) -> bool {
        !self.shared.is_stopping.load(Ordering::Acquire) && self.sender.send(message).is_ok()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that the thread is gone, however it went.
struct End {
    shared: Arc<Shared>,
    all_delivered: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        *self.shared.phase() = Phase::Ended { all_delivered: self.all_delivered };
        self.shared.changed.notify_all();
    }
}

impl Parts {
    fn run(mut self, shared: &Shared) -> bool {
        let mut findings = Vec::new();
        let mut is_held = false;
        let mut n_dropped = 0;
        while let Ok(message) = self.wait(is_held) {
            let mut n_handled = 0;
            let mut next = message;
            while let Some(message) = next.take() {
                n_handled += 1;
                match message {
                    Message::Event(event) => {
                        shared.n_events.fetch_add(1, Ordering::Relaxed);
                        self.engine.observe(&event, &mut findings);
                    }
                    Message::Hold => is_held = true,
                    Message::Release => is_held = false,
                    Message::Look => {}
                }
                if n_handled < BURST {
                    next = self.receiver.try_recv().ok();
                }
            }
            let now = self.clock.now();
            if !is_held {
                let settled = now.saturating_sub(self.lag()).unwrap_or(Timestamp::MIN);
                self.engine.advance(settled, &mut findings);
            }
            let n = shared.n_dropped.load(Ordering::Relaxed);
            if n_dropped < n && n_dropped.saturating_mul(2) <= n {
                n_dropped = n;
                findings.push(dropped(now, n));
            }
            self.deliver(now, &mut findings, shared);
            if shared.is_stopping.load(Ordering::Acquire) {
                break;
            }
        }
        let deadline = Deadline::after(self.config.shutdown_timeout);
        // No more than can wait at once: who goes on recording is not waited for.
        for message in self.receiver.try_iter().take(self.config.queue_capacity.max(1)) {
            if let Message::Event(event) = message {
                shared.n_events.fetch_add(1, Ordering::Relaxed);
                self.engine.observe(&event, &mut findings);
            }
        }
        let now = self.clock.now();
        self.deliver(now, &mut findings, shared);
        self.delivery.close(deadline)
    }

    /// Waits for a message, or until the engine has something to do. `Err`
    /// says that nobody is left who could send one.
    fn wait(&self, is_held: bool) -> Result<Option<Message>, ()> {
        let due = self.engine.next_wakeup().filter(|_| !is_held);
        let Some(due) = due else {
            return self.receiver.recv().map(Some).map_err(|_| ());
        };
        let wait = due.duration_since(self.clock.now()).saturating_add(self.lag());
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        match self.receiver.recv_timeout(wait) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    fn lag(&self) -> SignedDuration {
        SignedDuration::try_from(self.config.check_interval).unwrap_or(SignedDuration::MAX)
    }

    fn deliver(&mut self, now: Timestamp, findings: &mut Vec<Finding>, shared: &Shared) {
        for finding in findings.drain(..) {
            if self.config.since.is_none_or(|it| it <= finding.at) {
                shared.n_findings.fetch_add(1, Ordering::Relaxed);
                self.delivery.deliver(&finding);
            }
        }
        self.delivery.tell_losses(now);
    }
}

fn dropped(now: Timestamp, n: u64) -> Finding {
    let message = format!("{n} recorded events dropped: they came faster than they are handled");
    let mut finding = Finding::about_monitor(now, "record", Severity::Medium, message);
    finding.count = n;
    finding.id = finding.id.and(Fingerprint::from(n));
    finding
}
