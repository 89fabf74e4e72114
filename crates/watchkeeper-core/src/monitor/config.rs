use std::time::Duration;

use jiff::Timestamp;

/// The settings of a [`Monitor`](crate::Monitor).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MonitorConfig {
    /// The maximum delay of time-based findings, such as timeouts: the monitor
    /// waits this long for events that are still being written. 5 s by
    /// default.
    pub check_interval: Duration,
    /// The longest time that [`Running::stop`](crate::embed::Running::stop) takes. 2 s by default.
    pub shutdown_timeout: Duration,
    /// The number of recorded events that may wait, at least 1; further events
    /// are dropped. 1,024 by default.
    pub queue_capacity: usize,
    /// The time before which a finding is old; with `None`, none is. Of the old findings,
    /// only those still open in a session with a later event are delivered, once no
    /// [hold](crate::embed::Feed::hold) is left. Findings of sessions without times are never
    /// old.
    pub since: Option<Timestamp>,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(2),
            queue_capacity: 1024,
            since: None,
        }
    }
}
