use jiff::{
    Span, SpanRelativeTo,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use thiserror::Error;
use watchkeeper_core::{Severity, SignedDuration, Timestamp};

/// The sessions and findings that a report shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    /// Start of the period, inclusive.
    pub(crate) since: Option<Timestamp>,
    /// End of the period, exclusive.
    pub(crate) until: Option<Timestamp>,
    pub(crate) min_severity: Option<Severity>,
}

/// A time on the command line: a date, a time, or an age such as `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeArgument {
    Date(Date),
    Time(Timestamp),
    Age(SignedDuration),
}

/// The text is no time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "write a date such as `2026-03-01`, a time such as `2026-03-01T10:00Z`, or an age such as `7d`"
)]
pub(crate) struct InvalidTime;

impl Window {
    /// Returns `true` if the report is limited to a period.
    pub(super) fn has_period(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Returns `true` if no time is in the window.
    pub(crate) fn is_empty(&self) -> bool {
        self.since.zip(self.until).is_some_and(|(since, until)| until <= since)
    }

    /// Returns `true` if a time is in the window.
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Returns a time, or the start of the window if that is later.
    pub(super) fn clamp(&self, at: Timestamp) -> Timestamp {
        self.since.map_or(at, |since| at.max(since))
    }

    /// Returns whether the window overlaps a period. It overlaps an unknown period.
    pub(crate) fn overlaps(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> bool {
        let is_before = self.since.zip(end).is_some_and(|(since, end)| end < since);
        let is_after = self.until.zip(start).is_some_and(|(until, start)| until <= start);
        !is_before && !is_after
    }
}

impl std::str::FromStr for TimeArgument {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let text = text.trim();
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        let is_date = text.len() <= "2026-03-01".len();
        if is_date && let Ok(date) = text.parse() {
            return Ok(Self::Date(date));
        }
        // Times of a report are in UTC.
        let text = text.trim_end_matches(['Z', 'z']);
        if let Ok(time) = text.parse::<DateTime>()
            && let Ok(time) = time.to_zoned(TimeZone::UTC)
        {
            return Ok(Self::Time(time.timestamp()));
        }
        let span: Span = text.parse().map_err(|_| InvalidTime)?;
        let age = span.to_duration(SpanRelativeTo::days_are_24_hours());
        age.map(|age| Self::Age(age.abs())).map_err(|_| InvalidTime)
    }
}

impl TimeArgument {
    /// Returns the first moment of the argument. Dates are in UTC.
    pub(crate) fn start(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Date(date) => midnight(date),
            Self::Time(time) => time,
            Self::Age(age) => now.checked_sub(age).unwrap_or(Timestamp::MIN),
        }
    }

    /// Returns the moment after the argument: for a date, the end of the day.
    pub(crate) fn end(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Date(date) => date.tomorrow().map_or(Timestamp::MAX, midnight),
            Self::Time(_) | Self::Age(_) => self.start(now),
        }
    }
}

fn midnight(date: Date) -> Timestamp {
    date.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::{InvalidTime, TimeArgument};

    #[test]
    fn reads_dates_times_and_ages() {
        let now = "2026-03-10T12:00:00Z".parse().unwrap();
        for (text, start, end) in [
            ("2026-03-01", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("20260301", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            ("2026-03-01T10:00Z", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01 10:00", "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00Z", "2026-03-01T08:00:00Z"),
            ("7d", "2026-03-03T12:00:00Z", "2026-03-03T12:00:00Z"),
            ("2w", "2026-02-24T12:00:00Z", "2026-02-24T12:00:00Z"),
            ("90m", "2026-03-10T10:30:00Z", "2026-03-10T10:30:00Z"),
            ("1d 12h", "2026-03-09T00:00:00Z", "2026-03-09T00:00:00Z"),
        ] {
            let time: TimeArgument = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(time.start(now).to_string(), start, "{text}");
            assert_eq!(time.end(now).to_string(), end, "{text}");
        }
        for text in ["", "yesterday-ish", "2026-13-01", "7", "1mo"] {
            assert_eq!(text.parse::<TimeArgument>(), Err(InvalidTime), "{text}");
        }
    }
}
