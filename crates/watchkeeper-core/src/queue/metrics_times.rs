use std::time::Duration;

use super::failure::{Failure, RetryAfter};
use crate::Retry;

/// The times at which a sink receives the numbers of the monitor.
#[derive(Debug, Default)]
pub(super) struct MetricsTimes {
    /// `None` for a sink that does not use them.
    interval: Option<Duration>,
    /// `None` before there are numbers, and after the last ones.
    due: Option<Duration>,
    /// The attempts since the last success, all of which failed.
    n_failed: u32,
}

impl MetricsTimes {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self { interval, ..Self::default() }
    }

    /// There are numbers from now on.
    pub(super) fn start(&mut self, now: Duration) {
        self.due = Some(now);
    }

    /// Another sink receives the numbers, at once.
    pub(super) fn replace(&mut self, interval: Option<Duration>, now: Duration) {
        let due = self.due.map(|_| now);
        *self = Self { due, ..Self::new(interval) };
    }

    /// Returns the time at which the sink is to receive numbers.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.interval.and(self.due)
    }

    /// Returns whether the sink is to receive the last numbers. They have one attempt.
    pub(super) fn take_last(&mut self) -> bool {
        self.n_failed == 0 && self.interval.is_some() && self.due.take().is_some()
    }

    /// Records the outcome of an attempt. Returns whether it differs from the one before.
    pub(super) fn settle(
        &mut self,
        outcome: Result<(), &Failure>,
        retry: Retry,
        now: Duration,
    ) -> bool {
        let had_failed = 0 < self.n_failed;
        let interval = self.interval.unwrap_or(Duration::MAX);
        let wait = match outcome {
            Ok(()) => {
                self.n_failed = 0;
                interval
            }
            Err(Failure { retry_after, .. }) => {
                self.n_failed = self.n_failed.saturating_add(1);
                let scheduled = retry.longest_wait(self.n_failed);
                match retry_after {
                    None => interval,
                    Some(RetryAfter::Backoff) => scheduled.min(interval),
                    Some(RetryAfter::Requested(wait) | RetryAfter::Postponed(wait)) => {
                        (*wait).max(scheduled.min(interval))
                    }
                }
            }
        };
        // After the last numbers, none are due.
        self.due = self.due.map(|_| now.saturating_add(wait));
        had_failed != (0 < self.n_failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SinkError;

    const RETRY: Retry = Retry::new(10, Duration::from_secs(5), Duration::from_secs(20));

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn numbers_are_due_at_the_start_and_at_each_interval() {
        let mut times = MetricsTimes::new(Some(secs(60)));
        assert_eq!(times.next_due(), None);
        times.start(secs(7));
        assert_eq!(times.next_due(), Some(secs(7)));
        assert!(!times.settle(Ok(()), RETRY, secs(8)));
        assert_eq!(times.next_due(), Some(secs(68)));
        times.replace(None, secs(9));
        assert_eq!(times.next_due(), None);
        times.replace(Some(secs(10)), secs(11));
        assert_eq!(times.next_due(), Some(secs(11)));
    }

    #[test]
    fn failed_numbers_are_due_as_the_schedule_of_the_sink_says() {
        let mut times = MetricsTimes::new(Some(secs(15)));
        times.start(secs(0));
        let mut fail = |err: SinkError| {
            let has_changed = times.settle(Err(&err.into()), RETRY, secs(0));
            (has_changed, times.next_due())
        };
        let down = || SinkError::unavailable("down");
        assert_eq!(fail(down()), (true, Some(secs(5))));
        assert_eq!(fail(down()), (false, Some(secs(10))));
        assert_eq!(fail(down()), (false, Some(secs(15))));
        assert_eq!(fail(down().with_retry_after(secs(100))), (false, Some(secs(100))));
        assert_eq!(fail(SinkError::refused("no such path")), (false, Some(secs(15))));
        assert!(times.settle(Ok(()), RETRY, secs(0)));
        assert_eq!(times.next_due(), Some(secs(15)));
    }

    #[test]
    fn the_last_numbers_have_one_attempt() {
        let mut times = MetricsTimes::new(Some(secs(60)));
        assert!(!times.take_last());
        times.start(secs(0));
        assert!(times.take_last());
        times.settle(Ok(()), RETRY, secs(1));
        assert!(!times.take_last());
    }
}
