//! A failed attempt of a sink, and the wait before the next one.

use std::{any::Any, time::Duration};

use crate::{Finding, Fingerprint, Retry, SinkError, panic_message, sink::error_chain};

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

/// Returns the wait after an attempt: between zero and the longest one. The finding, the attempt
/// and the number of the process determine the wait, so that monitors do not retry at the same
/// time.
pub(super) fn backoff(retry: Retry, attempt: u32, finding: &Finding, process: u32) -> Duration {
    let longest = retry.longest_wait(attempt);
    let hash = finding.id.and(Fingerprint::from(u64::from(attempt)));
    let hash = hash.and(Fingerprint::from(u64::from(process)));
    #[expect(clippy::cast_precision_loss, reason = "an approximate share is enough")]
    let share = hash.get() as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(longest.as_secs_f64() * share).unwrap_or(longest)
}
