//! The monitor: an engine with a thread and a clock.
//!
//! [`Monitor`] is the configuration, [`Running`] the handle of the started
//! monitor, [`SessionHandle`] and [`Feed`] record events from any thread. The
//! thread itself is in `scheduler.rs`.

mod config;
mod feed;
mod mailbox;
mod outcome;
mod queues;
mod reload;
mod scheduler;
#[cfg(all(test, shuttle))]
mod schedules;
mod session;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

pub use self::{
    config::MonitorConfig,
    feed::Feed,
    outcome::{MonitorCounts, SinkOutcome, Stopped},
    reload::Reload,
    session::{ModelCallBuilder, ModelResponse, SessionBuilder, SessionHandle, ToolCallHandle},
};
use self::{
    mailbox::{Outbox, mailbox},
    queues::Queues,
    scheduler::{ImmediateCallback, Scheduler},
    shared::{Message, Recorder, Shared, TARGET, lock},
};
use crate::{
    Delivery, Engine, Finding, Queue, SessionId,
    clock::{Clock, Deadline, SystemClock},
    meter::Meter,
    sync::{
        Mutex,
        atomic::Ordering,
        mpsc::{self, TrySendError},
        thread::{self, JoinHandle, ThreadId},
    },
};

/// Watches agents while they run: an [`Engine`] with a thread and a clock.
///
/// The thread waits until an event is recorded or a detector's wake-up is
/// due. Recording an event never waits. Waking the thread is the most expensive part of it,
/// so the thread collects events: when it has handled all events, it leaves the next ones
/// for 5 ms at most, while there is room.
///
/// If the wall clock is set forward, or the machine was suspended, pending wake-ups
/// are postponed by the difference: the time in which no agent could run is not
/// counted as inactivity. If the wall clock is set back, the time of sessions
/// continues, and findings are dated by the wall clock. An event that is dated more than
/// 5 seconds after its arrival gets the time of its arrival.
///
/// ```
/// use watchkeeper_core::{Engine, Monitor, embed::{Delivery, EngineConfig, MonitorConfig}};
///
/// let engine = Engine::new(Vec::new(), EngineConfig::default());
/// let delivery = Delivery::to_callback(|finding| eprintln!("{}", finding.message));
/// let running = Monitor::new(engine, delivery, MonitorConfig::default()).start()?;
///
/// let session = running.session("my-agent-1");
/// session.prompt("hello");
/// session.turn_end();
///
/// let stopped = running.stop();
/// assert_eq!((stopped.handled, stopped.lost), (2, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a monitor does nothing until `start` is called"]
pub struct Monitor {
    engine: Engine,
    delivery: Delivery,
    config: MonitorConfig,
    clock: Arc<dyn Clock>,
    immediate: Option<ImmediateCallback>,
}

impl Monitor {
    /// Makes a monitor that uses the clock of the machine.
    pub fn new(engine: Engine, delivery: Delivery, config: MonitorConfig) -> Self {
        Self { engine, delivery, config, clock: Arc::new(SystemClock), immediate: None }
    }

    /// Calls a function for every finding, before the sinks receive the finding.
    ///
    /// The function runs on the thread of the monitor, so it must return within
    /// microseconds and must not wait. A function that panics is not called again.
    /// [`Running::wait_handled`] waits for its calls.
    pub fn with_immediate_callback(self, callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        Self { immediate: Some(Box::new(callback)), ..self }
    }

    /// Sets the clock, such as a [`ManualClock`](crate::clock::ManualClock) in
    /// a test.
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Starts the thread. Fails only if the system provides no thread.
    pub fn start(self) -> io::Result<Running> {
        let Self { engine, delivery, config, clock, immediate } = self;
        let (outbox, inbox) = mailbox(config.queue_capacity);
        let meter = delivery.meter().clone();
        let (sinks, observers) = (delivery.sinks(), delivery.observers());
        let queues = Arc::new(Mutex::new(Queues::new(sinks, observers)));
        let shutdown_timeout = config.shutdown_timeout;
        let recorder = Recorder { outbox, shared: Arc::new(Shared::new(clock)) };
        let shared = recorder.shared.clone();
        meter.set(engine.totals(), delivery.n_silenced());
        let read = (queues.clone(), shared.clone());
        meter.connect(move |numbers| {
            let (queues, shared) = &read;
            numbers.events_dropped = shared.n_overflowed.load(Ordering::Relaxed);
            numbers.sinks = lock(queues).numbers();
        });
        for queue in delivery.queues() {
            attach(queue, &recorder.outbox, &meter);
        }
        tracing::debug!(
            target: TARGET,
            sinks = delivery.queues().len(),
            queue_capacity = config.queue_capacity,
            "starting the monitor"
        );
        let scheduler = Scheduler { engine, delivery, immediate, inbox, config, shared };
        let thread = thread::Builder::new()
            .name("watchkeeper".to_owned())
            .spawn(move || scheduler.run_to_end())?;
        let thread_id = thread.thread().id();
        Ok(Running {
            recorder,
            meter,
            queues,
            shutdown_timeout: Mutex::new(shutdown_timeout),
            thread: Mutex::new(Some(thread)),
            thread_id,
            stopping: Mutex::new(()),
            stopped: OnceLock::new(),
        })
    }
}

/// Lets the thread look at the counts of a queue whenever they change, and the sink read the
/// numbers of the monitor.
fn attach(queue: &Queue, outbox: &Outbox<Message>, meter: &Arc<Meter>) {
    let outbox = outbox.clone();
    // If there is no room, the thread is awake and reads the counts soon.
    queue.set_on_change(move || drop(outbox.try_send(Message::Look)));
    // The meter reads the queue.
    let meter = Arc::downgrade(meter);
    queue.set_numbers(move || meter.upgrade().map(|meter| meter.numbers()));
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A started monitor. Dropping it stops the monitor; see [`Running::stop`].
pub struct Running {
    recorder: Recorder,
    meter: Arc<Meter>,
    queues: Arc<Mutex<Queues>>,
    shutdown_timeout: Mutex<Duration>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
    /// Held by a `stop` that waits. No other method locks this mutex: sinks call
    /// them while `stop` waits for the sinks.
    stopping: Mutex<()>,
    /// The result of the first `stop` that waited.
    stopped: OnceLock<Stopped>,
}

impl Running {
    /// Returns whether the thread of the monitor is running.
    pub fn is_running(&self) -> bool {
        !*lock(&self.shared().has_ended)
    }

    /// Returns a handle that records the events of one session.
    pub fn session(&self, id: impl Into<SessionId>) -> SessionHandle {
        SessionHandle::new(id.into(), self.recorder.clone())
    }

    /// Returns a builder that starts a session with a folder, a model or
    /// labels.
    pub fn session_builder(&self, id: impl Into<SessionId>) -> SessionBuilder {
        SessionBuilder::new(self.session(id))
    }

    /// Returns a handle that feeds events of any session. Unlike
    /// [`SessionHandle::record`], it waits while too many events are waiting.
    pub fn feed(&self) -> Feed {
        Feed { recorder: self.recorder.clone() }
    }

    /// Replaces the detectors, routes and sinks while the monitor runs, after its policy has
    /// changed. Waits while too many events are waiting. Returns whether the monitor accepted
    /// the change; once it stops, the change is dropped.
    ///
    /// To change the options of a sink, call [`Queue::replace_sink`] and use its queue again.
    pub fn reload(&self, reload: Reload) -> bool {
        let new = lock(&self.queues).replace(&reload.queues, &reload.observers);
        for queue in new {
            attach(&queue, &self.recorder.outbox, &self.meter);
        }
        *lock(&self.shutdown_timeout) = reload.shutdown_timeout;
        self.feed().send_message(Message::Reload(Box::new(reload)))
    }

    /// Returns the present queues, and closed queues of earlier policies that still deliver.
    fn queues(&self) -> Vec<Arc<Queue>> {
        lock(&self.queues).all().to_vec()
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> MonitorCounts {
        let shared = self.shared();
        let lost = lock(&self.queues).n_lost();
        let findings = shared.n_findings.load(Ordering::Relaxed);
        let stopped = self.stopped.get().map(|stopped| (stopped.handled, stopped.lost));
        let (events, lost) = stopped.unwrap_or((shared.n_handled.load(Ordering::Acquire), lost));
        let dropped = if stopped.is_some() || !self.is_running() {
            // Events that were still waiting are never handled.
            shared.n_recorded.load(Ordering::Acquire).saturating_sub(events)
        } else {
            shared.n_overflowed.load(Ordering::Relaxed)
        };
        let suppressed = shared.n_suppressed.load(Ordering::Relaxed);
        let silenced = shared.n_silenced.load(Ordering::Relaxed);
        MonitorCounts { events, findings, suppressed, silenced, dropped, lost }
    }

    /// Returns the numbers of the monitor, which can be read after its end.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Waits until every event recorded before this call is handled and its
    /// findings are delivered, for `timeout` at most. Returns whether that is
    /// so.
    ///
    /// Wake-ups that are due by the monitor's clock run first, so that a test
    /// with a [`ManualClock`](crate::clock::ManualClock) can let time pass and
    /// flush.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        self.wait_handled(timeout)
            && self.queues().iter().all(|queue| queue.wait_empty(deadline.remaining()))
    }

    /// Returns whether every event recorded before this call is handled, as
    /// [`wait_handled`](Self::wait_handled) describes. Does not wait, and does not wake the
    /// thread of the monitor.
    pub fn has_handled_all(&self) -> bool {
        let shared = self.shared();
        // In this order: an event that is dropped meanwhile stands for no earlier one.
        let n_dropped = shared.n_overflowed.load(Ordering::Acquire);
        let n_recorded = shared.n_recorded.load(Ordering::Acquire);
        let n_settled = shared.n_settled.load(Ordering::Acquire);
        n_recorded <= n_settled.saturating_add(n_dropped)
    }

    /// Returns whether all findings that wait for a sink with a ledger are stored: they survive
    /// the end of the process.
    pub fn has_stored_all(&self) -> bool {
        self.queues().iter().all(|queue| queue.is_stored())
    }

    /// Returns whether a sink has failed in its last attempt.
    pub fn has_failing_sink(&self) -> bool {
        self.queues().iter().any(|queue| queue.is_failing())
    }

    /// Waits until every event recorded before this call is handled, for `timeout` at
    /// most. Returns whether that is so.
    ///
    /// By then the [immediate callback](Monitor::with_immediate_callback) was called for
    /// their findings. Sinks may still be delivering them.
    pub fn wait_handled(&self, timeout: Duration) -> bool {
        let deadline = Deadline::after(timeout);
        if self.is_own_thread() {
            return false;
        }
        let (reply, replied) = mpsc::sync_channel(1);
        let mut message = Message::Flush(reply);
        loop {
            match self.recorder.outbox.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(returned)) if !deadline.remaining().is_zero() => {
                    message = returned;
                    thread::yield_now();
                }
                Err(_) => return false,
            }
        }
        self.handle_soon();
        replied.recv_timeout(deadline.remaining()).is_ok()
    }

    /// Lets the monitor handle the events recorded so far at once. Does not wait.
    ///
    /// A caller that will read their findings soon finds them handled then.
    pub fn handle_soon(&self) {
        self.recorder.outbox.wake();
    }

    /// Handles the events recorded so far, delivers their findings, and stops
    /// the monitor. Takes no longer than the configured
    /// [`shutdown_timeout`](MonitorConfig::shutdown_timeout); findings that are
    /// not delivered by then count as lost, or as pending if they are stored.
    ///
    /// Further calls return the result of the first, from any thread.
    ///
    /// A callback or a sink that calls `stop` runs on a thread that `stop`
    /// would have to wait for. Such a call only requests the stop and returns
    /// at once: its result counts the events and findings that are still
    /// waiting as dropped and lost. A later call from another thread returns
    /// the final counts.
    pub fn stop(&self) -> Stopped {
        let shared = self.shared();
        shared.is_stopping.store(true, Ordering::Release);
        // If there is no room, the thread is awake and about to read the flag.
        let _ = self.recorder.outbox.try_send(Message::Look);
        self.recorder.outbox.wake();
        if self.is_own_thread() {
            return self.outcome(false);
        }
        let _stopping = lock(&self.stopping);
        if let Some(stopped) = self.stopped.get() {
            return stopped.clone();
        }
        let deadline = Deadline::after(*lock(&self.shutdown_timeout));
        let has_ended = lock(&shared.has_ended);
        let wait =
            shared.ended.wait_timeout_while(has_ended, deadline.remaining(), |ended| !*ended);
        let has_ended = *wait.unwrap_or_else(PoisonError::into_inner).0;
        let queues = self.queues();
        for queue in &queues {
            queue.close();
        }
        let mut timed_out = !has_ended;
        for queue in &queues {
            let is_closed = queue.wait_closed(deadline.remaining());
            timed_out |= !is_closed && !queue.has_ledger();
        }
        shared.is_abandoned.store(true, Ordering::Release);
        for queue in &queues {
            queue.abandon();
        }
        if has_ended && let Some(thread) = lock(&self.thread).take() {
            // The thread returns right after it sets `has_ended`.
            let _ = thread.join();
        }
        let outcome = self.outcome(timed_out);
        outcome.trace();
        self.stopped.get_or_init(|| outcome).clone()
    }

    fn outcome(&self, timed_out: bool) -> Stopped {
        let shared = self.shared();
        // In this order: an event is recorded before it is handled.
        let handled = shared.n_handled.load(Ordering::Acquire);
        let recorded = shared.n_recorded.load(Ordering::Acquire);
        let sinks = lock(&self.queues).outcomes();
        let sum = |count: fn(&SinkOutcome) -> u64| sinks.iter().map(count).sum();
        let (delivered, lost): (u64, u64) = (sum(|sink| sink.delivered), sum(|sink| sink.lost));
        let pending: u64 = sum(|sink| sink.pending);
        Stopped {
            recorded,
            handled,
            dropped: recorded.saturating_sub(handled),
            sent: delivered + lost + pending,
            delivered,
            lost,
            pending,
            timed_out,
            sinks,
        }
    }

    /// Returns whether the calling thread belongs to the monitor or to one of its sinks.
    /// Such a thread cannot wait for itself: its [`flush`](Self::flush) and
    /// [`stop`](Self::stop) return at once.
    pub fn is_own_thread(&self) -> bool {
        self.thread_id == thread::current().id()
            || self.queues().iter().any(|queue| queue.is_own_thread())
    }

    fn shared(&self) -> &Shared {
        &self.recorder.shared
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}
