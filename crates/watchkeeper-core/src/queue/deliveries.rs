use std::{
    fmt,
    sync::{Arc, PoisonError},
    thread,
};

use super::state::{Failure, RetryAfter, Shared, TARGET};
use crate::{Finding, SinkError, make_safe};

/// Takes the findings of a [queue](super::Queue) on a thread of the program.
///
/// The queue counts a finding as delivered when the next one is taken, unless
/// [`fail`](Self::fail) was called. Dropping the deliveries closes the queue, which then
/// loses the findings that are still waiting.
pub struct Deliveries {
    /// The name of the sink, safe for a log.
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    /// A finding was taken whose outcome is not counted yet.
    has_taken: bool,
}

impl Deliveries {
    pub(super) fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self { name: make_safe(name), shared, has_taken: false }
    }

    /// Waits for a finding. Returns `None` once the queue is closed and empty.
    #[expect(clippy::should_implement_trait, reason = "a `for` loop would hide the wait")]
    pub fn next(&mut self) -> Option<Finding> {
        self.finish(Ok(()));
        let finding = self.wait();
        self.has_taken = finding.is_some();
        if finding.is_none() {
            self.end();
        }
        finding
    }

    /// Counts the last finding as not delivered.
    pub fn fail(&mut self, error: SinkError) {
        self.finish(Err(error));
    }

    fn finish(&mut self, outcome: Result<(), SinkError>) {
        if std::mem::take(&mut self.has_taken) {
            let outcome = outcome.map_err(Failure::from);
            self.log(&outcome);
            self.count(outcome);
        }
    }

    /// Waits for a finding; returns `None` once the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<Finding> {
        let mut state = self.shared.lock();
        state.thread_id = Some(thread::current().id());
        let state = self
            .shared
            .changed
            .wait_while(state, |state| state.waiting.is_empty() && !state.is_closing);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let finding = state.waiting.pop_front();
        state.is_delivering = finding.is_some();
        finding
    }

    /// Counts the outcome of the last attempt to deliver a finding.
    pub(super) fn count(&self, outcome: Result<(), Failure>) {
        let mut state = self.shared.lock();
        if state.is_abandoned {
            // The finding is counted as lost already.
            return;
        }
        state.is_delivering = false;
        // Under the same lock as the count: an outage and its first loss are one report.
        let is_changed = state.outages.record(&outcome) || outcome.is_err();
        let mut n_lost = None;
        match outcome {
            Ok(()) => state.counts.delivered += 1,
            Err(failure) => {
                state.counts.failed += 1;
                state.last_error = Some(failure.text);
                n_lost = Some(state.counts.lost());
            }
        }
        drop(state);
        self.shared.changed.notify_all();
        if let Some(lost) = n_lost {
            tracing::warn!(target: TARGET, sink = self.name, lost, "lost a finding");
        }
        if is_changed {
            self.shared.notify_change();
        }
    }

    /// Logs the first failure after a success, and the first success after a failure;
    /// repeated failures are details.
    pub(super) fn log(&self, outcome: &Result<(), Failure>) {
        let sink = &self.name;
        let was_failing = self.shared.lock().outages.cause.is_some();
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
