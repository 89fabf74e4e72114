//! The only module that reads the time.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

/// A wall clock and a monotonic clock.
pub trait Clock: Send + Sync {
    /// Returns the time of the wall clock.
    fn now(&self) -> Timestamp;

    /// Returns the time since a fixed start, without the time in which the machine
    /// was suspended. Adjustments of the wall clock do not affect it.
    ///
    /// A wall clock that advances by more than this was adjusted. The default
    /// returns the time of the wall clock, and thus detects no adjustment.
    fn uptime(&self) -> Duration {
        let since = self.now().duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since).unwrap_or(Duration::ZERO)
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn uptime(&self) -> Duration {
        (**self).uptime()
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this module reads the time for all others")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this module reads the time for all others")]
    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        Instant::now().saturating_duration_since(*START.get_or_init(Instant::now))
    }
}

/// A clock for tests, whose time changes only when the test changes it. Clones
/// share one time.
///
/// ```
/// use std::time::Duration;
/// use watchkeeper_core::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new("2026-11-22T10:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2026-11-22T10:01:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<ClockReading>>);

/// The time of both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    pub(crate) now: Timestamp,
    pub(crate) uptime: Duration,
}

impl ManualClock {
    /// Makes a clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(ClockReading { now, uptime: Duration::ZERO })))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let passed = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.change(|reading| {
            reading.now = reading.now.saturating_add(passed).unwrap_or(Timestamp::MAX);
            reading.uptime = reading.uptime.saturating_add(by);
        });
    }

    /// Sets the wall clock forward, or back if `by` is negative, while no time
    /// passes.
    pub fn adjust(&self, by: SignedDuration) {
        let limit = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
        self.change(|reading| reading.now = reading.now.saturating_add(by).unwrap_or(limit));
    }

    fn change<T>(&self, change: impl FnOnce(&mut ClockReading) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.change(|reading| reading.now)
    }

    fn uptime(&self) -> Duration {
        self.change(|reading| reading.uptime)
    }
}

/// The end of a wait, independent of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline `timeout` from now.
    #[expect(clippy::disallowed_methods, reason = "this module reads the time for all others")]
    pub fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(24 * 60 * 60)))
    }

    /// Returns the time left; zero after the deadline.
    #[expect(clippy::disallowed_methods, reason = "this module reads the time for all others")]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
