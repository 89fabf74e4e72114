use std::{error::Error, io, time::Duration};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{Finding, InvalidOption, metrics::Numbers};

/// Delivers findings to people or to other programs.
///
/// A sink runs on its own thread, behind a bounded [queue](crate::Queue). It
/// may block, fail or panic without delaying the engine or any other sink.
pub trait Sink: Send {
    /// Prepares the delivery: opens the file, connects to the server.
    ///
    /// Runs on the sink's own thread before the first finding is delivered. If
    /// it fails or panics, it runs again before the next attempt to deliver a
    /// finding; once it has succeeded, it does not run again. The constructor
    /// of a sink does no I/O, so that a policy can be checked on any machine.
    fn open(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Delivers one finding.
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError>;

    /// Returns the largest number of findings that one notification delivers. The findings of a
    /// route with `group_wait` wait for each other if it is more than one.
    ///
    /// Called once, before [`open`](Self::open).
    fn max_group(&self) -> usize {
        1
    }

    /// Delivers findings in one notification: at least two and at most
    /// [`max_group`](Self::max_group), oldest first. If they are refused together, the sink
    /// receives them one by one.
    fn deliver_group(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        findings.iter().try_for_each(|finding| self.deliver(finding))
    }

    /// Returns the number of attempts and the waits between them.
    fn retry(&self) -> Retry {
        Retry::NEVER
    }

    /// Returns the interval at which the sink receives the numbers of the monitor; `None` for a
    /// sink that does not use them.
    ///
    /// Called once, before [`open`](Self::open).
    fn metrics_interval(&self) -> Option<Duration> {
        None
    }

    /// Delivers the present numbers of the monitor: at its start, at each interval, and at its end.
    ///
    /// After a failure, the sink receives later numbers: after a wait of [`retry`](Self::retry), and
    /// after an interval at the latest. Numbers that were refused have no other attempt. The
    /// outcome changes nothing for findings.
    fn deliver_metrics(&mut self, _numbers: &Numbers) -> Result<(), SinkError> {
        Ok(())
    }

    /// Returns whether the sink shows findings to a person who is present, as a terminal does.
    ///
    /// Such a sink has no ledger: after a restart it shows the open findings again.
    fn is_display(&self) -> bool {
        false
    }
}

/// A kind of sink, which a policy names with `kind = "…"` in `[sinks.*]`.
pub trait SinkKind: Sink + Sized + 'static {
    /// The name, in kebab-case.
    const KIND: &'static str;

    /// The manual, in Markdown.
    const DOCS: &'static str;

    /// The options of its table in a policy, without the keys that every sink
    /// has. A kind without options uses an empty struct: `()` refuses a table.
    type Options: DeserializeOwned + JsonSchema;

    /// Makes the sink. Does no I/O; see [`Sink::open`].
    fn new(options: Self::Options) -> Result<Self, InvalidOption>;
}

/// The number of attempts to deliver a finding, and the waits between them.
///
/// The wait after an attempt is between zero and [`longest_wait`](Self::longest_wait) (full
/// jitter), so that many monitors do not retry at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// The largest number of attempts, the first included.
    pub max_attempts: u32,
    /// The longest wait before the second attempt.
    pub initial: Duration,
    /// The longest wait before any attempt, also where the receiver requests a
    /// longer one.
    pub max: Duration,
    /// The longest wait after each attempt; empty if the waits double.
    pub(crate) schedule: &'static [Duration],
}

impl Retry {
    /// Creates a limit of attempts, and of the waits before the second and before
    /// any attempt. The longest wait doubles with each attempt.
    pub const fn new(max_attempts: u32, initial: Duration, max: Duration) -> Self {
        Self { max_attempts, initial, max, schedule: &[] }
    }

    /// Creates a schedule: one attempt, and another one after each of the `longest_waits`,
    /// which are in ascending order.
    pub const fn scheduled(longest_waits: &'static [Duration]) -> Self {
        let ([first, ..], [.., last]) = (longest_waits, longest_waits) else { return Self::NEVER };
        #[expect(clippy::cast_possible_truncation, reason = "no schedule is that long")]
        let max_attempts = longest_waits.len() as u32 + 1;
        Self { max_attempts, initial: *first, max: *last, schedule: longest_waits }
    }

    /// One attempt.
    pub const NEVER: Self = Self::new(1, Duration::ZERO, Duration::ZERO);

    /// Returns the longest wait after an attempt; the first attempt is number 1.
    pub fn longest_wait(&self, attempt: u32) -> Duration {
        let index = attempt.saturating_sub(1);
        let wait = match self.schedule {
            [] => self.initial.saturating_mul(2_u32.saturating_pow(index)),
            [.., last] => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                *self.schedule.get(index).unwrap_or(last)
            }
        };
        wait.min(self.max)
    }
}

type Source = Box<dyn Error + Send + Sync>;

/// An attempt to deliver a finding that failed. The variants differ in whether
/// another attempt can succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A later attempt may succeed: the network is down, the disk is full.
    /// The queue retries as [`Sink::retry`] allows.
    #[error("unavailable: {reason}")]
    #[non_exhaustive]
    Unavailable {
        /// The action that failed, or the response of the receiver.
        reason: String,
        /// The wait that the receiver requests before the next attempt.
        retry_after: Option<Duration>,
        /// The error behind this one.
        #[source]
        source: Option<Source>,
    },

    /// No later attempt will succeed: the receiver rejected the finding, or
    /// the sink is configured wrongly. The queue drops the finding.
    #[error("refused: {reason}")]
    #[non_exhaustive]
    Refused {
        /// The action that failed, or the response of the receiver.
        reason: String,
        /// The error behind this one.
        #[source]
        source: Option<Source>,
    },

    /// The finding cannot be delivered at present, and this is no failure: another program
    /// uses the terminal. The queue tries again each time after `retry_after`, in as many
    /// attempts as it takes, until it is closed.
    #[error("postponed: {reason}")]
    #[non_exhaustive]
    Postponed {
        /// The cause.
        reason: &'static str,
        /// The wait before the next attempt.
        retry_after: Duration,
    },
}

impl SinkError {
    /// Returns an error after which a later attempt may succeed.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None, source: None }
    }

    /// Returns an error after which no later attempt will succeed.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), source: None }
    }

    /// Returns an error after which the queue waits, and tries again.
    pub fn postponed(reason: &'static str, retry_after: Duration) -> Self {
        Self::Postponed { reason, retry_after }
    }

    /// Sets the wait that the receiver requests; affects only an unavailable receiver.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        if let Self::Unavailable { retry_after, .. } = &mut self {
            *retry_after = Some(wait);
        }
        self
    }

    /// Sets the error behind this one; has no effect on a postponed delivery.
    #[must_use]
    pub fn with_source(mut self, error: impl Into<Source>) -> Self {
        if let Self::Unavailable { source, .. } | Self::Refused { source, .. } = &mut self {
            *source = Some(error.into());
        }
        self
    }
}

/// Keeps the error as the source; a later attempt may succeed.
impl From<io::Error> for SinkError {
    fn from(err: io::Error) -> Self {
        Self::unavailable("I/O error").with_source(err)
    }
}

/// Returns the message of an error and of the errors behind it, with `: `
/// between them.
pub(crate) fn error_chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text.push_str(": ");
        text.push_str(&err.to_string());
        source = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io, time::Duration};

    use super::{Retry, SinkError, error_chain};

    #[test]
    fn the_longest_wait_doubles_or_follows_the_schedule() {
        const SECOND: Duration = Duration::from_secs(1);
        const SCHEDULE: &[Duration] = &[SECOND, Duration::from_secs(60), Duration::from_secs(90)];
        let waits = |retry: Retry| {
            [1, 2, 3, 4, 5, u32::MAX].map(|attempt| retry.longest_wait(attempt).as_secs())
        };
        let doubling = Retry::new(5, SECOND, Duration::from_secs(6));
        assert_eq!(waits(doubling), [1, 2, 4, 6, 6, 6]);
        let scheduled = Retry::scheduled(SCHEDULE);
        assert_eq!(scheduled.max_attempts, 4);
        assert_eq!(waits(scheduled), [1, 60, 90, 90, 90, 90]);
        assert_eq!(Retry::scheduled(&[]), Retry::NEVER);
    }

    #[test]
    fn an_io_error_is_kept_as_the_source() {
        let err = SinkError::from(io::Error::from(io::ErrorKind::StorageFull));
        let source = err.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert_eq!(error_chain(&err), "unavailable: I/O error: no storage space");
    }
}
