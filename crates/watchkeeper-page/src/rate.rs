use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// The time that a rate is about.
const PERIOD: SignedDuration = SignedDuration::from_mins(10);
/// The shortest time from which a rate is computed.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
/// The shortest time between two points that are kept.
const SPACING: SignedDuration = SignedDuration::from_secs(15);
/// The time for which a forecast is made. The last minutes predict little about the next day.
const HORIZON: SignedDuration = SignedDuration::from_hours(12);

/// The growth of a number in the last ten minutes before its latest value.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentRate {
    points: VecDeque<(Timestamp, f64)>,
}

impl RecentRate {
    /// Adds a value. After a lower value than the latest one, the rate begins again.
    pub(crate) fn push(&mut self, at: Timestamp, value: f64) {
        if self.points.back().is_some_and(|(latest, last)| at < *latest || value < *last) {
            self.points.clear();
        }
        let n = self.points.len();
        let is_close = |idx: usize| at.duration_since(self.points[idx].0) < SPACING;
        // The first point stays, and so does one of several that are close to each other.
        if 2 <= n && is_close(n - 2) {
            self.points.pop_back();
        }
        self.points.push_back((at, value));
        while self.points.get(1).is_some_and(|(next, _)| PERIOD <= at.duration_since(*next)) {
            self.points.pop_front();
        }
    }

    /// Returns the growth in an hour; `None` if it is not known.
    pub(crate) fn per_hour(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.points.front()?, self.points.back()?);
        let passed = last_at.duration_since(*first_at);
        (SHORTEST <= passed).then(|| (last - first) / passed.as_secs_f64() * 3600.0)
    }

    /// Returns the time at which the number reaches a value that it has not reached yet, at this
    /// rate; `None` if that is not within 12 hours.
    pub(crate) fn reaches(&self, value: f64) -> Option<Timestamp> {
        let (last_at, last) = self.points.back()?;
        let hours = (value - last) / self.per_hour().filter(|rate| 0.0 < *rate)?;
        let is_soon = 0.0 < hours && hours <= HORIZON.as_secs_f64() / 3600.0;
        let wait = is_soon.then(|| SignedDuration::from_secs_f64(hours * 3600.0));
        last_at.checked_add(wait?).ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::RecentRate;

    fn at(mins: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(mins)
    }

    #[test]
    fn a_rate_is_about_the_last_minutes() {
        let mut rate = RecentRate::default();
        rate.push(at(0), 0.0);
        assert_eq!((rate.per_hour(), rate.reaches(100.0)), (None, None));
        rate.push(at(60), 50.0);
        // The wait before the latest ten minutes counts if there is nothing later.
        assert_eq!(rate.per_hour(), Some(50.0));
        rate.push(at(65), 55.0);
        rate.push(at(70), 60.0);
        assert_eq!(rate.per_hour(), Some(60.0));
        assert_eq!(rate.reaches(100.0), Some(at(110)));
        assert_eq!((rate.reaches(60.0), rate.reaches(900.0)), (None, None));
    }

    #[test]
    fn a_number_that_falls_begins_again() {
        let mut rate = RecentRate::default();
        for minute in 0..10 {
            rate.push(at(minute), 10.0);
        }
        assert_eq!((rate.per_hour(), rate.reaches(11.0)), (Some(0.0), None));
        rate.push(at(10), 5.0);
        assert_eq!(rate.per_hour(), None);
    }

    #[test]
    fn few_points_are_kept() {
        let mut rate = RecentRate::default();
        for secs in 0..100_000 {
            rate.push(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs), 1.0);
        }
        assert!(rate.points.len() < 50, "{}", rate.points.len());
    }
}
