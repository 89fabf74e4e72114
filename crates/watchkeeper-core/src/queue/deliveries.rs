use std::{
    fmt, mem,
    sync::{Arc, PoisonError},
};

use super::{
    delayed::Entry,
    failure::{Failure, RetryAfter},
    state::{Attempt, Next, Shared, State, TARGET},
};
use crate::{Finding, Retry, SinkError, make_safe, sync::thread};

/// Takes the findings of a [queue](super::Queue) on a thread of the program.
///
/// The queue counts a finding as delivered when the next one is taken, unless
/// [`fail`](Self::fail) was called. Dropping the deliveries closes the queue, which then
/// loses the findings that are still waiting.
pub struct Deliveries {
    /// The name of the sink, safe for a log.
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    /// The finding that was taken and whose outcome is not counted yet.
    taken: Vec<Entry>,
}

impl Deliveries {
    pub(super) fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self { name: make_safe(name), shared, taken: Vec::new() }
    }

    /// Waits for a finding. Returns `None` once the queue is closed and empty.
    #[expect(clippy::should_implement_trait, reason = "a `for` loop would hide the wait")]
    pub fn next(&mut self) -> Option<Finding> {
        self.finish(Ok(()));
        match self.wait() {
            // The queue has no groups.
            Some(Attempt { entries, .. }) => self.taken = entries,
            None => self.end(),
        }
        self.taken.first().map(|entry| entry.finding.clone())
    }

    /// Counts the last finding as not delivered.
    pub fn fail(&mut self, error: SinkError) {
        self.finish(Err(error));
    }

    fn finish(&mut self, outcome: Result<(), SinkError>) {
        let entries = mem::take(&mut self.taken);
        if !entries.is_empty() {
            self.settle(entries, outcome.map_err(Failure::from), Retry::NEVER);
        }
    }

    /// Waits for a finding that is due, with its group; returns `None` once the queue is closed
    /// and empty.
    pub(super) fn wait(&self) -> Option<Attempt> {
        let mut state = self.shared.lock();
        state.thread_id = Some(thread::current().id());
        loop {
            let now = self.shared.clock.uptime();
            state = match state.next(now) {
                Next::Deliver(attempt) => return Some(attempt),
                Next::End => return None,
                Next::Wait(None) => {
                    let waited = self.shared.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Next::Wait(Some(until)) => {
                    let timeout = until.saturating_sub(now);
                    let waited = self.shared.changed.wait_timeout(state, timeout);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes the finding that is due, with its group, without waiting for one.
    pub(super) fn poll(&self) -> Next {
        let mut state = self.shared.lock();
        state.thread_id = Some(thread::current().id());
        state.next(self.shared.clock.uptime())
    }

    /// Counts the outcome of an attempt to deliver findings, or delays the next attempt.
    pub(super) fn settle(&self, entries: Vec<Entry>, outcome: Result<(), Failure>, retry: Retry) {
        let mut state = self.shared.lock();
        self.log(&state, &outcome);
        if state.is_abandoned {
            // The finding is counted already.
            return;
        }
        let settled = state.settle(entries, outcome, retry, self.shared.clock.uptime());
        drop(state);
        self.shared.changed.notify_all();
        let sink = &self.name;
        if let Some(wait) = settled.wait {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: TARGET, sink, wait_ms, "waiting to retry");
        }
        if let Some(lost) = settled.n_lost {
            tracing::warn!(target: TARGET, sink, lost, "lost a finding");
        }
        if settled.is_changed {
            self.shared.notify_change();
        }
    }

    /// Logs the first failure after a success, and the first success after a failure;
    /// repeated failures are details.
    fn log(&self, state: &State, outcome: &Result<(), Failure>) {
        let sink = &self.name;
        let was_failing = state.outages.cause.is_some();
        match outcome {
            Ok(()) if was_failing => tracing::info!(target: TARGET, sink, "the sink works again"),
            Ok(()) => {}
            Err(Failure { retry_after: Some(RetryAfter::Postponed(_)), .. }) => {
                tracing::debug!(target: TARGET, sink, "the sink holds a finding");
            }
            Err(failure) => {
                let error = make_safe(&failure.text);
                if was_failing {
                    tracing::debug!(target: TARGET, sink, error, "the sink failed again");
                } else {
                    tracing::warn!(target: TARGET, sink, error, "the sink failed");
                }
            }
        }
    }

    /// Closes the queue, and counts the findings that nothing will deliver.
    fn end(&self) {
        let mut state = self.shared.lock();
        state.end("the thread of the sink ended before the outcome was known");
        state.is_done = true;
        // Another queue may open it.
        state.stored = None;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("name", &self.name).finish_non_exhaustive()
    }
}
