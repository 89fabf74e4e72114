use jiff::{SignedDuration, Timestamp};

use crate::compact::PackedTimestamp;

/// The number of adjustments that are kept. The oldest is dropped first.
const MAX_ADJUSTMENTS: usize = 16;

/// The periods that the wall clock skipped while the machine was suspended.
#[derive(Debug, Default)]
pub(crate) struct ClockAdjustments(Vec<Adjustment>);

/// A skipped period, from `since`, which is not part of it, until `until`.
#[derive(Clone, Copy, Debug)]
struct Adjustment {
    since: Timestamp,
    until: Timestamp,
}

impl ClockAdjustments {
    /// Adds a period that begins at `since`.
    pub(crate) fn add(&mut self, since: Timestamp, duration: SignedDuration) {
        if self.0.len() == MAX_ADJUSTMENTS {
            self.0.remove(0);
        }
        let until = since.saturating_add(duration).unwrap_or(Timestamp::MAX);
        self.0.push(Adjustment { since, until });
        self.0.sort_by_key(|adjustment| adjustment.since);
    }

    /// Returns the time from `from` to `to` without skipped periods.
    pub(crate) fn time_between(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let mut elapsed = to.duration_since(from);
        for Adjustment { since, until } in &self.0 {
            let [begin, end] = [*since, *until].map(|at| at.clamp(from, to.max(from)));
            elapsed -= end.duration_since(begin);
        }
        elapsed
    }

    /// Returns the time at which `delay` has passed since `from` without skipped
    /// periods; `None` if it is outside the range of [`Timestamp`].
    pub(crate) fn time_after(
        &self,
        from: Timestamp,
        delay: SignedDuration,
    ) -> Option<PackedTimestamp> {
        // Detectors request wake-ups often. Adding to a packed timestamp is faster.
        let mut due = PackedTimestamp::from(from).checked_add(delay)?;
        for Adjustment { since, until } in &self.0 {
            let begin = (*since).max(from);
            if PackedTimestamp::from(begin) < due && begin < *until {
                due = due.checked_add(until.duration_since(begin))?;
            }
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::{collection::vec, prelude::*};

    use super::ClockAdjustments;

    proptest! {
        #[test]
        fn time_passes_except_in_skipped_periods(
            periods in vec((0..100_i64, 1..50_i64), 0..4),
            from in 0..150_i64,
            delay in 0..100_i64,
        ) {
            let time = |secs| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
            let mut clock = ClockAdjustments::default();
            // A clock skips each second at most once.
            let mut end = 0;
            let mut is_skipped = [false; 1000];
            for (since, secs) in periods {
                let since = since.max(end);
                end = since + secs;
                clock.add(time(since), SignedDuration::from_secs(secs));
                (since..end).for_each(|sec| is_skipped[usize::try_from(sec).unwrap_or(0)] = true);
            }
            let passes = |sec: i64| !is_skipped[usize::try_from(sec).unwrap_or(0)];
            let (mut to, mut passed) = (from, 0);
            while passed < delay {
                passed += i64::from(passes(to));
                to += 1;
            }
            let delay = SignedDuration::from_secs(delay);
            prop_assert_eq!(clock.time_after(time(from), delay), Some(time(to).into()));
            prop_assert_eq!(clock.time_between(time(from), time(to)), delay);
        }
    }
}
