//! The state that the monitor's thread shares with its handles, and the messages to it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
};

use jiff::Timestamp;

use super::{mailbox::Outbox, reload::Reload};
use crate::{
    AgentId, Event, EventKind, Finding, SessionId, Silences,
    clock::Clock,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
};

/// The `tracing` target of the monitor.
pub(super) const TARGET: &str = "watchkeeper::monitor";

/// A message to the thread.
pub(super) enum Message {
    /// An event was recorded.
    Event(Event),
    /// An event was recorded that the thread makes.
    DeferredEvent(DeferredEvent),
    /// Let no time pass until the matching `Release`: the next events may be
    /// older than pending wake-ups.
    Hold,
    /// Let time pass again, once every `Hold` is released.
    Release,
    /// Deliver a finding about the part that feeds the monitor.
    Finding(Box<Finding>),
    /// Deliver a finding to all sinks.
    Notice(Box<Finding>),
    /// Drop a session, and withdraw its findings for this reason.
    Withdraw(SessionId, &'static str),
    /// Reply once all earlier events are handled and their findings are in the
    /// queues of the sinks.
    Flush(SyncSender<()>),
    /// Use the parts of a changed policy from now on.
    Reload(Box<Reload>),
    /// Use these silences from now on.
    Silences(Silences),
    /// Read the flags and counts that other threads have changed.
    Look,
}

/// An event whose kind is not made yet.
pub(super) struct DeferredEvent {
    pub(super) at: Timestamp,
    pub(super) session: SessionId,
    pub(super) agent: Option<AgentId>,
    pub(super) make: Box<dyn FnOnce() -> EventKind + Send>,
}

impl DeferredEvent {
    /// Makes the event. Returns `None` if this panics.
    pub(super) fn make(self) -> Option<Event> {
        let Self { at, session, agent, make } = self;
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(kind) => Some(Event { at, session, agent, origin: None, kind }),
            Err(_) => {
                tracing::error!(target: TARGET, "dropped a recorded event: making it panicked");
                None
            }
        }
    }
}

/// The state that the thread shares with all handles.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) has_ended: Mutex<bool>,
    pub(super) ended: Condvar,
    pub(super) is_stopping: AtomicBool,
    /// The monitor was stopped by a timeout: handle no more events.
    pub(super) is_abandoned: AtomicBool,
    /// Events that were recorded or fed, whatever became of them.
    pub(super) n_recorded: AtomicU64,
    pub(super) n_handled: AtomicU64,
    /// The handled events whose findings are in the queues of the sinks.
    pub(super) n_settled: AtomicU64,
    pub(super) n_findings: AtomicU64,
    /// Repeats of findings that cooldowns have suppressed.
    pub(super) n_suppressed: AtomicU64,
    /// Findings that silences have hidden.
    pub(super) n_silenced: AtomicU64,
    /// Events dropped because the queue was full.
    pub(super) n_overflowed: AtomicU64,
    /// The number of ids that session handles have generated.
    pub(super) n_ids: AtomicU64,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            has_ended: Mutex::new(false),
            ended: Condvar::new(),
            is_stopping: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            n_recorded: AtomicU64::new(0),
            n_handled: AtomicU64::new(0),
            n_settled: AtomicU64::new(0),
            n_findings: AtomicU64::new(0),
            n_suppressed: AtomicU64::new(0),
            n_silenced: AtomicU64::new(0),
            n_overflowed: AtomicU64::new(0),
            n_ids: AtomicU64::new(1),
        }
    }
}

/// Sends events to the thread.
#[derive(Clone)]
pub(super) struct Recorder {
    pub(super) outbox: Outbox<Message>,
    pub(super) shared: Arc<Shared>,
}

impl Recorder {
    /// Sends the message with an event, or drops and counts the event if there is no room.
    pub(super) fn record(&self, message: Message) {
        self.shared.n_recorded.fetch_add(1, Ordering::Relaxed);
        if let Err(TrySendError::Full(_)) = self.outbox.try_send(message) {
            self.shared.n_overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns an id that no other event of this monitor has.
    pub(super) fn next_id(&self, prefix: &str) -> Box<str> {
        let n = self.shared.n_ids.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{n}").into()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
