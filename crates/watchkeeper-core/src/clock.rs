//! The one place that reads the time.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Send {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How much time has really passed since some fixed moment, while the
    /// machine was awake and whatever was done to the clock on the wall.
    ///
    /// Where this grows by less than [`now`](Self::now), that has jumped ahead.
    /// A clock that has nothing else to go by, and so never jumps, need not
    /// implement this.
    fn uptime(&self) -> Duration {
        let since = self.now().duration_since(Timestamp::UNIX_EPOCH);
        Duration::try_from(since).unwrap_or(Duration::ZERO)
    }
}

/// The clock on the wall, which is also the one that agents write into their
/// sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        Instant::now().saturating_duration_since(*START.get_or_init(Instant::now))
    }
}

/// How long something may still take, whatever the clock on the wall does.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Ends `timeout` from now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(24 * 60 * 60)))
    }

    /// The time left; zero once it is over.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
