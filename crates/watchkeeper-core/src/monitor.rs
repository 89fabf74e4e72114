#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle, ThreadId},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    AgentId, Delivery, Engine, Event, EventKind, Finding, Fingerprint, Queue, SessionId, Severity,
    Status,
    clock::{Clock, Deadline, SystemClock},
};

/// How many events are handled between two looks at the clock.
const BURST: usize = 256;
/// By how much more the clock on the wall may move than time passes before
/// that is taken for a jump.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

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
/// Where the clock on the wall jumps ahead, since the machine has slept or
/// somebody set it, wake-ups are put off by the jump: silence is not counted
/// while nobody could speak. Where it is set back, time stands still for the
/// sessions that were heard of before, until it is what it was: wake-ups come
/// late, and nothing comes twice.
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
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The threads of the sinks, which must not wait for themselves.
    sink_threads: Vec<ThreadId>,
}

/// Everything that can wake the thread. The set is closed on purpose: to know
/// what it reacts to, read this.
enum Message {
    /// An event happened.
    Event(Event),
    /// What follows, up to `Release`, may be older than what is due: let no
    /// time pass between the two.
    Hold,
    /// Let time pass again, once as many of these came as of `Hold`.
    Release,
    /// A finding about the part that feeds the monitor.
    Finding(Box<Finding>),
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

/// The clocks, as they stood at one moment.
#[derive(Clone, Copy)]
struct Reading {
    now: Timestamp,
    uptime: Duration,
}

#[derive(Default)]
struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    is_stopping: AtomicBool,
    /// Events that found room.
    n_sent: AtomicU64,
    n_events: AtomicU64,
    n_findings: AtomicU64,
    /// Events that found none.
    n_dropped: AtomicU64,
    /// Findings that a sink lost, once the thread has ended.
    n_lost: AtomicU64,
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
    /// Findings handed to the sinks, without those that only say that one is
    /// resolved.
    pub findings: u64,
    /// Events that were dropped: too many waited, or nobody was there to
    /// handle them. Once the monitor has stopped, this and `events` add up to
    /// what was recorded and fed.
    pub dropped: u64,
    /// Findings that were dropped or given up on, one for each sink that lost
    /// it; known once the monitor has stopped.
    pub lost: u64,
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
        let sink_threads = delivery.queues().iter().filter_map(Queue::thread_id).collect();
        let parts = Parts { engine, delivery, receiver, clock: Box::new(clock), config };
        Self {
            shared: Arc::default(),
            sender,
            shutdown_timeout,
            parts: Mutex::new(Some(parts)),
            thread: Mutex::new(None),
            sink_threads,
        }
    }

    /// Starts the thread. Does nothing if it was started or stopped before: a
    /// monitor runs once.
    ///
    /// Fails only if the system gives no thread.
    pub fn start(&self) -> std::io::Result<()> {
        // Held to the end, so that nobody stops what is half started.
        let mut parts = lock(&self.parts);
        let Some(parts) = parts.take() else { return Ok(()) };
        *self.shared.phase() = Phase::Running;
        let shared = self.shared.clone();
        let spawned = thread::Builder::new().name("watchkeeper".to_owned()).spawn(move || {
            let mut end = End { shared, all_delivered: false };
            let shared = end.shared.clone();
            end.all_delivered = parts.run(&shared);
        });
        match spawned {
            Ok(thread) => *lock(&self.thread) = Some(thread),
            Err(err) => {
                *self.shared.phase() = Phase::Ended { all_delivered: false };
                return Err(err);
            }
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
        let has_ended = matches!(*self.shared.phase(), Phase::Ended { .. });
        let get = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let Shared { n_sent, n_events, n_findings, n_dropped, n_lost, .. } = &*self.shared;
        let (events, findings, mut dropped) = (get(n_events), get(n_findings), get(n_dropped));
        if has_ended {
            // What still waited when the thread went is lost.
            dropped += get(n_sent).saturating_sub(events);
        }
        MonitorCounts { events, findings, dropped, lost: get(n_lost) }
    }

    /// Wakes the thread, has it handle what was recorded, delivers what was
    /// found, and waits for that, for the configured `shutdown_timeout` at
    /// most. Says whether everything was delivered in that time.
    ///
    /// May be called again, from any thread. A callback may call it too: it
    /// then says no at once, since the finding in its hands is not delivered.
    pub fn stop(&self) -> bool {
        let never_ran = lock(&self.parts).take();
        if let Some(Parts { delivery, .. }) = never_ran {
            // There is nothing to deliver, but there are threads to wait for.
            let all_delivered = delivery.close(Deadline::after(self.shutdown_timeout));
            *self.shared.phase() = Phase::Ended { all_delivered };
            return all_delivered;
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        // If there is no room, the thread is awake and about to see the flag.
        let _ = self.sender.try_send(Message::Look);
        if self.sink_threads.contains(&thread::current().id()) {
            return false;
        }
        let phase = self.shared.phase();
        let is_running = |it: &mut Phase| matches!(it, Phase::Running);
        let wait = self.shared.changed.wait_timeout_while(phase, self.shutdown_timeout, is_running);
        let (phase, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let Phase::Ended { all_delivered } = *phase else { return false };
        drop(phase);
        // It has nothing left to do but to go.
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
        all_delivered
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
        let counter = match self.sender.try_send(Message::Event(event)) {
            Ok(()) => &self.shared.n_sent,
            Err(_) => &self.shared.n_dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
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
        let is_sent = self.send_message(Message::Event(event));
        if is_sent {
            self.shared.n_sent.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
    }

    /// Says that what is sent next, up to [`release`](Self::release), may be
    /// older than the time: no wake-up must come between. Each hold takes a
    /// release of its own.
    pub fn hold(&self) -> bool {
        self.send_message(Message::Hold)
    }

    /// Lets time pass again.
    pub fn release(&self) -> bool {
        self.send_message(Message::Release)
    }

    /// Delivers a finding about the part that feeds the monitor, such as a source
    /// that failed. Waits while the queue is full. Returns whether the monitor
    /// accepted the finding.
    pub fn report(&self, finding: Finding) -> bool {
        self.send_message(Message::Finding(Box::new(finding)))
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
        lock(&self.phase)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut n_holds = 0_usize;
        let mut n_told = 0;
        let mut reading = self.read_clocks();
        while let Ok(message) = self.wait(n_holds) {
            // Before the events, each of which lets the time of its session pass.
            self.look(&mut reading);
            let mut n_handled = 0;
            let mut next = message;
            while let Some(message) = next.take() {
                n_handled += 1;
                match message {
                    Message::Event(event) => self.observe(&event, &mut findings, shared),
                    Message::Hold => n_holds += 1,
                    Message::Release => n_holds = n_holds.saturating_sub(1),
                    Message::Finding(finding) => findings.push(*finding),
                    Message::Look => {}
                }
                if n_handled < BURST {
                    next = self.receiver.try_recv().ok();
                }
            }
            let now = self.look(&mut reading);
            if n_holds == 0 {
                let settled = now.saturating_sub(self.lag()).unwrap_or(Timestamp::MIN);
                self.engine.advance(settled, &mut findings);
            }
            // Once for every doubling of the number.
            let n_dropped = shared.n_dropped.load(Ordering::Relaxed);
            if n_told < n_dropped && n_told.saturating_mul(2) <= n_dropped {
                n_told = n_dropped;
                findings.push(dropped(now, n_dropped));
            }
            self.deliver(now, &mut findings, shared);
            if shared.is_stopping.load(Ordering::Acquire) {
                break;
            }
        }
        let deadline = Deadline::after(self.config.shutdown_timeout);
        // No more than can wait at once: who goes on recording is not waited for.
        for _ in 0..self.config.queue_capacity.max(1) {
            let Ok(message) = self.receiver.try_recv() else { break };
            match message {
                Message::Event(event) => self.observe(&event, &mut findings, shared),
                Message::Finding(finding) => findings.push(*finding),
                Message::Hold | Message::Release | Message::Look => {}
            }
        }
        let now = self.clock.now();
        let n_dropped = shared.n_dropped.load(Ordering::Relaxed);
        if n_told < n_dropped {
            findings.push(dropped(now, n_dropped));
        }
        self.deliver(now, &mut findings, shared);
        let all_delivered = self.delivery.close(deadline);
        let n_lost = self.delivery.counts().iter().map(|(_, it)| it.dropped + it.failed).sum();
        shared.n_lost.store(n_lost, Ordering::Relaxed);
        all_delivered
    }

    fn observe(&mut self, event: &Event, findings: &mut Vec<Finding>, shared: &Shared) {
        shared.n_events.fetch_add(1, Ordering::Relaxed);
        self.engine.observe(event, findings);
    }

    fn read_clocks(&self) -> Reading {
        Reading { now: self.clock.now(), uptime: self.clock.uptime() }
    }

    /// Looks at the clocks. If that on the wall jumped ahead since the last
    /// reading, what is due by time alone is put off.
    fn look(&mut self, last: &mut Reading) -> Timestamp {
        let reading = self.read_clocks();
        let passed = reading.uptime.saturating_sub(last.uptime);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let expected = last.now.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let jump = reading.now.duration_since(expected);
        if JUMP < jump {
            self.engine.postpone(expected, jump);
        }
        *last = reading;
        reading.now
    }

    /// Waits for a message, or until the engine has something to do. `Err`
    /// says that nobody is left who could send one.
    fn wait(&self, n_holds: usize) -> Result<Option<Message>, ()> {
        let due = self.engine.next_wakeup().filter(|_| n_holds == 0);
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
                let is_news = u64::from(finding.status == Status::Open);
                shared.n_findings.fetch_add(is_news, Ordering::Relaxed);
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
