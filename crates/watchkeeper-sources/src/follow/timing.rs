//! The times at which a follower checks its files.

use std::time::Duration;

use watchkeeper_core::{SignedDuration, Timestamp};

use super::{Follower, arrival::TOLERANCE, interval::has_passed};

/// The time after a change during which a file is checked often.
pub(super) const HOT: SignedDuration = SignedDuration::from_secs(60);
/// The interval between checks of recently changed files, with notifications by the
/// system.
const CHECK_WATCHED: SignedDuration = SignedDuration::from_secs(2);
/// The interval between checks of recently changed files, without notifications.
const CHECK_POLLED: SignedDuration = SignedDuration::from_millis(250);
/// The longest interval between two walks. Walks find changes whose notification was lost,
/// and the replacement of a folder above the followed ones.
const WALK_WATCHED: SignedDuration = SignedDuration::from_mins(5);
/// The shortest interval between two walks that changes requested.
const WALK_PAUSE: SignedDuration = SignedDuration::from_secs(1);

impl Follower {
    pub(super) fn begin_step(&mut self, now: Timestamp) {
        if self.walked_at.is_some() {
            // A change without a notification is found by the next check.
            let latest = TOLERANCE.saturating_add(self.options.rescan);
            self.added_since = self.step_at.min(now).checked_sub(latest).ok();
        }
        self.step_at = now;
    }

    pub(super) fn is_walk_due(&self, now: Timestamp) -> bool {
        has_passed(self.walk_interval(), self.walked_at, now)
    }

    fn walk_interval(&self) -> SignedDuration {
        if self.wants_walk {
            WALK_PAUSE.min(self.options.rescan)
        } else if self.has_blind_spot {
            self.options.rescan
        } else {
            WALK_WATCHED.max(self.options.rescan)
        }
    }

    /// Returns the interval between checks of recently changed files. With
    /// notifications, the checks find changes whose notification was lost.
    pub(super) fn check_interval(&self) -> Option<SignedDuration> {
        match self.watcher {
            Some(_) if self.hot.is_empty() => None,
            Some(_) => Some(CHECK_WATCHED),
            None => Some(CHECK_POLLED),
        }
    }

    /// Returns the time until the next check is due.
    pub(super) fn idle_for(&self, now: Timestamp) -> Duration {
        let until = |interval: SignedDuration, since: Option<Timestamp>| {
            let passed = since.map_or(interval, |since| now.duration_since(since));
            Duration::try_from(interval.saturating_sub(passed)).unwrap_or_default()
        };
        let walk = until(self.walk_interval(), self.walked_at);
        self.check_interval().map_or(walk, |interval| walk.min(until(interval, self.checked_at)))
    }
}
