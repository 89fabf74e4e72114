//! The thread that delivers the findings of a queue to a sink.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
    time::Duration,
};

use super::{
    deliveries::Deliveries,
    state::{Failure, RetryAfter, TARGET},
};
use crate::{Finding, Fingerprint, Retry, Sink};

/// The thread of a sink.
pub(super) struct Worker {
    sink: Box<dyn Sink>,
    is_open: bool,
    deliveries: Deliveries,
}

impl Worker {
    pub(super) fn new(sink: Box<dyn Sink>, deliveries: Deliveries) -> Self {
        Self { sink, is_open: false, deliveries }
    }

    pub(super) fn run(mut self) {
        while let Some(finding) = self.deliveries.wait() {
            let outcome = self.deliver(&finding);
            self.deliveries.count(outcome);
        }
        let Self { sink, deliveries, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        drop(deliveries);
    }

    /// Delivers a finding, in as many attempts as the sink allows.
    fn deliver(&mut self, finding: &Finding) -> Result<(), Failure> {
        let retry = catch_unwind(AssertUnwindSafe(|| self.sink.retry())).unwrap_or(Retry::NEVER);
        let mut attempt = 1;
        loop {
            let is_closing = self.deliveries.shared.lock().is_closing;
            let is_last = retry.max_attempts <= attempt || is_closing;
            let failure = match self.attempt(finding) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if let Some(RetryAfter::Postponed(wait)) = failure.retry_after
                && !is_closing
            {
                self.is_closed_within(wait);
                continue;
            }
            let wait = match failure.retry_after {
                _ if is_last => return Err(failure),
                None => return Err(failure),
                Some(RetryAfter::Requested(wait)) => wait,
                Some(RetryAfter::Backoff | RetryAfter::Postponed(_)) => {
                    backoff(retry, attempt, finding)
                }
            };
            if self.deliveries.shared.lock().outages.record(&Err(failure)) {
                self.deliveries.shared.notify_change();
            }
            let wait = wait.min(retry.max);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: TARGET, sink = self.deliveries.name, attempt, wait_ms, "waiting to retry");
            if self.is_closed_within(wait) {
                // The caller of `close` is waiting, so this is the last attempt.
                return self.attempt(finding);
            }
            attempt += 1;
        }
    }

    fn attempt(&mut self, finding: &Finding) -> Result<(), Failure> {
        let attempt = AssertUnwindSafe(|| {
            if !self.is_open {
                self.sink.open()?;
                self.is_open = true;
                tracing::debug!(target: TARGET, sink = self.deliveries.name, "opened the sink");
            }
            self.sink.deliver(finding)
        });
        let outcome = match catch_unwind(attempt) {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(payload) => Err(Failure::panicked(&*payload)),
        };
        self.deliveries.log(&outcome);
        outcome
    }

    fn is_closed_within(&self, wait: Duration) -> bool {
        let state = self.deliveries.shared.lock();
        let waited = self
            .deliveries
            .shared
            .changed
            .wait_timeout_while(state, wait, |state| !state.is_closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }
}

/// Returns the wait after an attempt: between zero and `initial * 2^(attempt - 1)`,
/// `max` at most. The finding, the attempt and the process determine the wait,
/// so that monitors do not retry at the same time.
pub(super) fn backoff(retry: Retry, attempt: u32, finding: &Finding) -> Duration {
    let factor = 2_u32.saturating_pow(attempt - 1);
    let longest = retry.initial.saturating_mul(factor).min(retry.max);
    let hash = finding.id.and(Fingerprint::from(u64::from(attempt)));
    let hash = hash.and(Fingerprint::from(u64::from(std::process::id())));
    #[expect(clippy::cast_precision_loss, reason = "an approximate share is enough")]
    let share = hash.get() as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(longest.as_secs_f64() * share).unwrap_or(longest)
}
