use std::{
    fmt, mem,
    sync::{Arc, PoisonError},
};

use super::{
    delayed::Entry,
    failure::{Failure, RetryAfter},
    state::{Attempt, Content, Next, Shared, State, TARGET},
};
use crate::{Finding, Retry, SinkError, make_safe, metrics::Numbers, sync::thread};

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
            Some(Attempt { content: Content::Findings(entries), .. }) => self.taken = entries,
            // No sink that could use metrics.
            Some(Attempt { content: Content::Metrics, .. }) => {}
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
        let report = OutcomeReport::new(&state, &outcome);
        // The finding of an abandoned queue is counted already.
        let settled = (!state.is_abandoned)
            .then(|| state.settle(entries, outcome, retry, self.shared.clock.uptime()));
        drop(state);
        self.shared.changed.notify_all();
        // A log can block, such as on a full pipe; the lock is free by then.
        self.log(report);
        let Some(settled) = settled else { return };
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

    /// Returns the numbers of the monitor.
    pub(super) fn numbers(&self) -> Option<Numbers> {
        self.shared.numbers.get().and_then(|numbers| numbers())
    }

    /// Records the outcome of an attempt to deliver the numbers of the monitor.
    pub(super) fn settle_metrics(&self, outcome: &Result<(), Failure>, retry: Retry) {
        let now = self.shared.clock.uptime();
        let settled = self.shared.lock().metrics.settle(outcome.as_ref().map(drop), retry, now);
        let sink = &self.name;
        match outcome {
            Ok(()) if settled => {
                tracing::info!(target: TARGET, sink, "the sink accepts metrics again");
            }
            Ok(()) => {}
            Err(failure) => {
                let error = make_safe(&failure.text);
                if settled {
                    tracing::warn!(target: TARGET, sink, error, "the sink accepts no metrics");
                } else {
                    tracing::debug!(target: TARGET, sink, error, "the sink failed again");
                }
            }
        }
    }

    /// Logs the first failure after a success, and the first success after a failure;
    /// repeated failures are details.
    fn log(&self, report: OutcomeReport) {
        let sink = &self.name;
        match report {
            OutcomeReport::Unchanged => {}
            OutcomeReport::WorksAgain => {
                tracing::info!(target: TARGET, sink, "the sink works again");
            }
            OutcomeReport::Postponed => {
                tracing::debug!(target: TARGET, sink, "the sink holds a finding");
            }
            OutcomeReport::Failed { error } => {
                tracing::warn!(target: TARGET, sink, error, "the sink failed");
            }
            OutcomeReport::FailedAgain { error } => {
                tracing::debug!(target: TARGET, sink, error, "the sink failed again");
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

/// The part of an outcome that is logged: the first failure after a success, and the first
/// success after a failure. Repeated failures are details.
enum OutcomeReport {
    Unchanged,
    WorksAgain,
    Postponed,
    Failed { error: String },
    FailedAgain { error: String },
}

impl OutcomeReport {
    fn new(state: &State, outcome: &Result<(), Failure>) -> Self {
        let was_failing = state.outages.cause.is_some();
        match outcome {
            Ok(()) if was_failing => Self::WorksAgain,
            Ok(()) => Self::Unchanged,
            Err(Failure { retry_after: Some(RetryAfter::Postponed(_)), .. }) => Self::Postponed,
            Err(failure) => {
                let error = make_safe(&failure.text);
                if was_failing { Self::FailedAgain { error } } else { Self::Failed { error } }
            }
        }
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
