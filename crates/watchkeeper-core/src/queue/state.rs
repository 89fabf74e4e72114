//! The state of a queue: the waiting findings, the outcomes so far, and the present outage.

use std::{
    any::Any,
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::ThreadId,
    time::Duration,
};

use crate::{Finding, SinkError, panic_message, sink::error_chain};

/// The `tracing` target of everything that sinks do.
pub(super) const TARGET: &str = "watchkeeper::sink";

/// The state of a queue, which its thread and the senders of findings share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Called after the sink's thread has lost a finding, and when an outage begins or
    /// ends.
    pub(super) on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

pub(super) struct State {
    pub(super) waiting: VecDeque<Finding>,
    pub(super) capacity: usize,
    /// The thread has taken a finding whose outcome is not counted yet.
    pub(super) is_delivering: bool,
    pub(super) is_closing: bool,
    pub(super) is_abandoned: bool,
    pub(super) is_done: bool,
    /// The thread that takes the findings, once it has begun.
    pub(super) thread_id: Option<ThreadId>,
    pub(super) counts: QueueCounts,
    pub(super) last_error: Option<String>,
    pub(super) outages: Outages,
}

impl State {
    /// Accepts no more findings, and counts the undelivered findings as lost. `reason` is the
    /// error of the finding that is being delivered.
    pub(super) fn end(&mut self, reason: &str) {
        self.is_closing = true;
        self.counts.dropped += self.waiting.len() as u64;
        self.waiting.clear();
        if std::mem::take(&mut self.is_delivering) {
            self.counts.failed += 1;
            self.last_error = Some(reason.to_owned());
        }
    }
}

/// The times in which every attempt of a sink fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages {
    /// The number of outages so far.
    pub(crate) n: u64,
    /// The error that began the present outage.
    pub(crate) cause: Option<String>,
}

impl Outages {
    /// Records the outcome of an attempt. Returns whether an outage began or ended.
    pub(super) fn record(&mut self, outcome: &Result<(), Failure>) -> bool {
        match outcome {
            Ok(()) => self.cause.take().is_some(),
            Err(_) if self.cause.is_some() => false,
            Err(failure) => {
                self.n += 1;
                self.cause = Some(failure.text.clone());
                true
            }
        }
    }
}

/// The outcomes of the findings that a queue received.
///
/// Once the queue is closed and empty, or abandoned, `received` is the sum of
/// `delivered`, `dropped` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Findings added to the queue.
    pub received: u64,
    /// Findings that the sink delivered.
    pub delivered: u64,
    /// Findings dropped before any attempt: the queue was full, closed or
    /// abandoned.
    pub dropped: u64,
    /// Findings that the sink failed to deliver in all attempts.
    pub failed: u64,
}

impl QueueCounts {
    /// Returns the number of findings that were dropped or failed.
    pub const fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

impl Shared {
    /// Creates the state of a queue of `capacity` findings (at least one).
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            capacity: capacity.max(1),
            is_delivering: false,
            is_closing: false,
            is_abandoned: false,
            is_done: false,
            thread_id: None,
            counts: QueueCounts::default(),
            last_error: None,
            outages: Outages::default(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), on_change: OnceLock::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Only code of the queue runs under the lock, and it keeps the state valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify_change(&self) {
        if let Some(on_change) = self.on_change.get() {
            on_change();
        }
    }
}

/// An attempt that failed.
pub(super) struct Failure {
    pub(super) text: String,
    /// The wait before the next attempt: `None` if no attempt can succeed.
    pub(super) retry_after: Option<RetryAfter>,
}

/// The wait before the next attempt.
pub(super) enum RetryAfter {
    Requested(Duration),
    Backoff,
    /// The attempt was no failure, and does not count.
    Postponed(Duration),
}

impl From<SinkError> for Failure {
    fn from(err: SinkError) -> Self {
        let retry_after = match &err {
            SinkError::Unavailable { retry_after, .. } => {
                Some(retry_after.map_or(RetryAfter::Backoff, RetryAfter::Requested))
            }
            SinkError::Refused { .. } => None,
            SinkError::Postponed { retry_after, .. } => Some(RetryAfter::Postponed(*retry_after)),
        };
        Self { text: error_chain(&err), retry_after }
    }
}

impl Failure {
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = match panic_message(payload) {
            Some(message) => format!("the sink panicked: {message}"),
            None => "the sink panicked".to_owned(),
        };
        Self { text, retry_after: None }
    }
}
