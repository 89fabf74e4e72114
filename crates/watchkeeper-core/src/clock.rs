//! The one place that reads the time.

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: Send {
    /// The time now.
    fn now(&self) -> Timestamp;
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
}
