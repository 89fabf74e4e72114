use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::{SessionId, compact::PackedTimestamp};

/// The times at which sessions need attention, at most one for each session.
///
/// A timer is never late, but may be early: a postponed timer is set again when it
/// is due, so that most events change no timer.
#[derive(Debug, Default)]
pub(super) struct TimerQueue(BTreeSet<(PackedTimestamp, SessionId)>);

impl TimerQueue {
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| (*at).into())
    }

    /// Removes and returns the first timer if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, SessionId)> {
        if now < self.first()? {
            return None;
        }
        self.0.pop_first().map(|(at, id)| (at.into(), id))
    }

    /// Sets the timer of a session to `at`, unless `timer_at`, its present time, is
    /// earlier.
    pub(super) fn set(
        &mut self,
        timer_at: &mut Option<PackedTimestamp>,
        at: PackedTimestamp,
        id: &SessionId,
    ) {
        if timer_at.is_none_or(|timer_at| at < timer_at) {
            self.cancel(*timer_at, id);
            *timer_at = Some(at);
            self.0.insert((at, id.clone()));
        }
    }

    pub(super) fn cancel(&mut self, timer_at: Option<PackedTimestamp>, id: &SessionId) {
        if let Some(at) = timer_at {
            self.0.remove(&(at, id.clone()));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Returns `at`, later by `duration` if it is after `since`.
pub(super) fn postponed(
    at: PackedTimestamp,
    since: Timestamp,
    duration: SignedDuration,
) -> PackedTimestamp {
    if at <= since.into() {
        return at;
    }
    at.checked_add(duration).unwrap_or_else(|| Timestamp::MAX.into())
}

/// Returns the earlier of two optional times.
pub(super) fn earlier(
    a: Option<PackedTimestamp>,
    b: Option<PackedTimestamp>,
) -> Option<PackedTimestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
