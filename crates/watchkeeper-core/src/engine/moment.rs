use std::{collections::BTreeSet, num::NonZeroU32};

use jiff::{SignedDuration, Timestamp};

/// How many clock_adjustments of the clock are remembered; of more, the oldest is forgotten.
const MAX_JUMPS: usize = 16;

/// A point in time in 12 bytes, with room for `None` in them: an optional
/// [`Timestamp`] takes 24, and every stream of every session keeps some.
///
/// Made from a [`Timestamp`], and becomes the same one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackedTimestamp {
    /// Seconds, rounded down, cut in two so that nothing needs padding.
    high: i32,
    low: u32,
    /// Nanoseconds, counted from 1.
    nanos: NonZeroU32,
}

impl PackedTimestamp {
    /// So much later; `None` if that is further than a [`Timestamp`] goes.
    pub(crate) fn checked_add(self, by: SignedDuration) -> Option<Self> {
        const SECOND: i32 = 1_000_000_000;
        // What is beyond all times stays so.
        let mut secs = self.secs().saturating_add(by.as_secs());
        let mut nanos = self.subsec_nanos() + by.subsec_nanos();
        if SECOND <= nanos {
            (secs, nanos) = (secs.saturating_add(1), nanos - SECOND);
        } else if nanos < 0 {
            (secs, nanos) = (secs.saturating_sub(1), nanos + SECOND);
        }
        let range = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        range.contains(&secs).then(|| Self::new(secs, nanos))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds are cut in two, and nanoseconds are not negative"
    )]
    const fn new(secs: i64, nanos: i32) -> Self {
        let nanos = NonZeroU32::MIN.saturating_add(nanos as u32);
        Self { high: (secs >> 32) as i32, low: secs as u32, nanos }
    }

    const fn secs(self) -> i64 {
        ((self.high as i64) << 32) | self.low as i64
    }

    #[expect(clippy::cast_possible_wrap, reason = "there are fewer than 2^31 nanoseconds")]
    const fn subsec_nanos(self) -> i32 {
        (self.nanos.get() - 1) as i32
    }
}

impl From<Timestamp> for PackedTimestamp {
    fn from(at: Timestamp) -> Self {
        let nanos = at.subsec_nanosecond();
        // Before 1970 the fraction is negative.
        let (secs, nanos) = if nanos < 0 {
            (at.as_second() - 1, nanos + 1_000_000_000)
        } else {
            (at.as_second(), nanos)
        };
        Self::new(secs, nanos)
    }
}

impl From<PackedTimestamp> for Timestamp {
    fn from(at: PackedTimestamp) -> Self {
        // What was made from a time is one.
        Self::new(at.secs(), at.subsec_nanos()).unwrap_or(Self::MIN)
    }
}

/// A time that has not come by `since` comes later by `by`.
pub(super) fn postponed(
    at: PackedTimestamp,
    since: Timestamp,
    by: SignedDuration,
) -> PackedTimestamp {
    let at: Timestamp = at.into();
    let at = if since < at { at.saturating_add(by).unwrap_or(Timestamp::MAX) } else { at };
    at.into()
}

/// The earlier of two times, of which there may be none.
pub(crate) fn earlier(
    a: Option<PackedTimestamp>,
    b: Option<PackedTimestamp>,
) -> Option<PackedTimestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// When to look at what, each `K` at most once.
///
/// An alarm is never late, but may be early: one that is put off stays where it
/// is and is set anew when it rings, so most events do not touch it.
#[derive(Debug)]
pub(super) struct TimerQueue<K>(BTreeSet<(PackedTimestamp, K)>);

impl<K: Ord + Clone> TimerQueue<K> {
    pub(super) fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| (*at).into())
    }

    /// Takes the first alarm out if it rings by `now`.
    pub(super) fn ring(&mut self, now: Timestamp) -> Option<(Timestamp, K)> {
        if now < self.first()? {
            return None;
        }
        self.0.pop_first().map(|(at, key)| (at.into(), key))
    }

    /// Has an alarm, which was set for `alarm_at`, ring at `at` or before.
    pub(super) fn set(
        &mut self,
        alarm_at: &mut Option<PackedTimestamp>,
        at: PackedTimestamp,
        key: &K,
    ) {
        if alarm_at.is_none_or(|it| at < it) {
            self.cancel(*alarm_at, key);
            *alarm_at = Some(at);
            self.0.insert((at, key.clone()));
        }
    }

    pub(super) fn cancel(&mut self, alarm_at: Option<PackedTimestamp>, key: &K) {
        if let Some(at) = alarm_at {
            self.0.remove(&(at, key.clone()));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What the clock on the wall jumped over, when the machine had slept.
#[derive(Debug, Default)]
pub(crate) struct ClockAdjustments(Vec<Jump>);

/// From `since` on, not included, until `until`.
#[derive(Clone, Copy, Debug)]
struct Jump {
    since: Timestamp,
    until: Timestamp,
}

impl ClockAdjustments {
    pub(super) fn add(&mut self, since: Timestamp, by: SignedDuration) {
        if self.0.len() == MAX_JUMPS {
            self.0.remove(0);
        }
        let until = since.saturating_add(by).unwrap_or(Timestamp::MAX);
        self.0.push(Jump { since, until });
        self.0.sort_by_key(|it| it.since);
    }

    /// How much time passed, clock_adjustments left out.
    pub(crate) fn time_between(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let mut res = to.duration_since(from);
        for Jump { since, until } in &self.0 {
            let [begin, end] = [*since, *until].map(|it| it.clamp(from, to.max(from)));
            res -= end.duration_since(begin);
        }
        res
    }

    /// When so much time will have passed, clock_adjustments left out; `None` if that is
    /// beyond all times.
    pub(crate) fn time_after(
        &self,
        from: PackedTimestamp,
        by: SignedDuration,
    ) -> Option<PackedTimestamp> {
        let mut res = from.checked_add(by)?;
        for Jump { since, until } in &self.0 {
            let begin = PackedTimestamp::from(*since).max(from);
            if begin < res && begin < PackedTimestamp::from(*until) {
                res = res.checked_add(until.duration_since(begin.into()))?;
            }
        }
        Some(res)
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::{collection::vec, prelude::*};

    use super::{ClockAdjustments, PackedTimestamp};

    #[test]
    fn nothing_takes_no_room() {
        assert_eq!(size_of::<Option<PackedTimestamp>>(), 12);
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        let (min, max) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        let any = prop_oneof![min..=max, -2_000_000_000..2_000_000_000_i128, Just(min), Just(max)];
        any.prop_map(|it| Timestamp::from_nanosecond(it).expect("it is in range"))
    }

    proptest! {
        #[test]
        fn is_a_timestamp(a in timestamps(), b in timestamps()) {
            prop_assert_eq!(Timestamp::from(PackedTimestamp::from(a)), a);
            prop_assert_eq!(PackedTimestamp::from(a).cmp(&PackedTimestamp::from(b)), a.cmp(&b));
        }

        #[test]
        fn time_passes_between_jumps_and_not_in_them(
            clock_adjustments in vec((0..100_i64, 1..50_i64), 0..4),
            from in 0..150_i64,
            by in 0..100_i64,
        ) {
            let time = |secs| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
            let mut sut = ClockAdjustments::default();
            // Clocks jump over a time once.
            let mut end = 0;
            let mut is_skipped = [false; 1000];
            for (since, by) in clock_adjustments {
                let since = since.max(end);
                end = since + by;
                sut.add(time(since), SignedDuration::from_secs(by));
                (since..end).for_each(|it| is_skipped[usize::try_from(it).unwrap_or(0)] = true);
            }
            let passes = |sec: &i64| !is_skipped[usize::try_from(*sec).unwrap_or(0)];
            let (mut to, mut passed) = (from, 0);
            while passed < by {
                passed += i64::from(passes(&to));
                to += 1;
            }
            let by = SignedDuration::from_secs(by);
            prop_assert_eq!(sut.time_after(time(from).into(), by), Some(time(to).into()));
            prop_assert_eq!(sut.time_between(time(from), time(to)), by);
        }

        #[test]
        fn adds_up_as_a_timestamp_does(at in timestamps(), secs in any::<i64>(), nanos in any::<i32>()) {
            for secs in [secs, secs >> 24, secs >> 52, i64::MIN, i64::MAX] {
                let by = SignedDuration::new(secs, nanos % 1_000_000_000);
                let sum = PackedTimestamp::from(at).checked_add(by);
                prop_assert_eq!(sum.map(Timestamp::from), at.checked_add(by).ok());
            }
        }
    }
}
