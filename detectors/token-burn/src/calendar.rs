//! Calendar days, weeks and months in a time zone.

use std::fmt;

use jiff::{
    ToSpan as _,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{Timestamp, author::Period};

/// The option `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowOption {
    /// The time before now.
    Sliding(Period),
    /// The current day, week or month.
    Calendar(CalendarUnit),
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first day of a month to the last.
    Month,
}

/// The option `time_zone`: an IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOption(TimeZone);

/// The days, weeks or months of a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    unit: CalendarUnit,
    zone: TimeZone,
}

impl Calendar {
    /// Creates the calendar of a time zone; UTC by default.
    pub(crate) fn new(unit: CalendarUnit, zone: Option<ZoneOption>) -> Self {
        Self { unit, zone: zone.map_or(TimeZone::UTC, |ZoneOption(zone)| zone) }
    }

    /// Returns the end of the unit that contains a time, in seconds since the Unix
    /// epoch. After the last date of the calendar, no unit ends.
    pub(crate) fn end(&self, at: Timestamp) -> i64 {
        let start = self.start(at);
        let next = match self.unit {
            CalendarUnit::Day => start.checked_add(1.day()),
            CalendarUnit::Week => start.checked_add(1.week()),
            CalendarUnit::Month => start.checked_add(1.month()),
        };
        let end = next.and_then(|date| date.to_zoned(self.zone.clone()));
        end.map_or(i64::MAX, |end| end.timestamp().as_second())
    }

    /// Returns a text such as " on 2026-03-01" or " in March 2026".
    pub(crate) fn text(&self, at: Timestamp) -> String {
        let start = self.start(at);
        match self.unit {
            CalendarUnit::Day => format!(" on {start}"),
            CalendarUnit::Week => format!(" in the week from {start}"),
            CalendarUnit::Month => format!(" in {}", start.strftime("%B %Y")),
        }
    }

    /// Returns the first day of the unit that contains a time.
    fn start(&self, at: Timestamp) -> Date {
        let date = at.to_zoned(self.zone.clone()).date();
        match self.unit {
            CalendarUnit::Day => date,
            CalendarUnit::Week => {
                let days = date.weekday().since(Weekday::Monday);
                date.checked_sub(i64::from(days).days()).unwrap_or(date)
            }
            CalendarUnit::Month => date.first_of_month(),
        }
    }
}

impl CalendarUnit {
    const ALL: [(&'static str, Self); 3] =
        [("day", Self::Day), ("week", Self::Week), ("month", Self::Month)];
}

impl<'de> Deserialize<'de> for WindowOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = WindowOption;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#"a length of time such as "10m", "24h" or "7d", or a "day", "week" or "month" of the calendar"#,
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WindowOption, E> {
                let unit = CalendarUnit::ALL.iter().find(|(name, _)| *name == text);
                let unit = unit.map(|(_, unit)| WindowOption::Calendar(*unit));
                let sliding = || text.parse().ok().map(WindowOption::Sliding);
                let invalid = || {
                    if text.bytes().any(|byte| byte.is_ascii_digit()) {
                        E::invalid_value(de::Unexpected::Str(text), &self)
                    } else {
                        E::unknown_variant(text, &["day", "week", "month", "24h"])
                    }
                };
                unit.or_else(sliding).ok_or_else(invalid)
            }
        }
    }
}

impl JsonSchema for WindowOption {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let period = generator.subschema_for::<Period>();
        let names = CalendarUnit::ALL.map(|(name, _)| name);
        json_schema!({ "anyOf": [{ "enum": names }, period] })
    }
}

impl<'de> Deserialize<'de> for ZoneOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ZoneOption;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#"the name of a time zone of this machine, such as "UTC" or "Africa/Lagos""#,
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ZoneOption, E> {
                let zone = if name == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(name) };
                zone.map(ZoneOption).map_err(|_| {
                    // In the form of `unknown_variant`, which needs names that are constant.
                    let known = jiff::tz::db().available();
                    let known: Vec<String> = known.map(|known| format!("`{known}`")).collect();
                    if known.is_empty() {
                        return E::invalid_value(de::Unexpected::Str(name), &self);
                    }
                    let known = known.join(", ");
                    E::custom(format_args!("unknown variant `{name}`, expected one of {known}"))
                })
            }
        }
    }
}

impl JsonSchema for ZoneOption {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeZone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["UTC", "Africa/Lagos"] })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use watchkeeper_core::Timestamp;

    use super::{Calendar, CalendarUnit, ZoneOption};

    fn calendar(unit: CalendarUnit, zone: &str) -> Calendar {
        Calendar::new(unit, Some(ZoneOption(TimeZone::get(zone).unwrap())))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn units_end_at_midnight_of_the_time_zone() {
        use CalendarUnit::{Day, Month, Week};
        for (unit, zone, now, end, text) in [
            (Day, "UTC", "2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", " on 2026-03-01"),
            (Day, "Asia/Tokyo", "2026-03-01T15:00:00Z", "2026-03-02T15:00:00Z", " on 2026-03-02"),
            (Day, "Africa/Lagos", "2026-03-01T22:59:00Z", "2026-03-01T23:00:00Z", " on 2026-03-01"),
            // The clocks were set forward: the day has 23 hours.
            (
                Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-29T22:00:00Z",
                " on 2026-03-29",
            ),
            // No midnight: the day starts at 1 o'clock.
            (Day, "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-28T22:00:00Z", " on 2026-03-28"),
            (
                Week,
                "UTC",
                "2026-03-01T12:00:00Z",
                "2026-03-02T00:00:00Z",
                " in the week from 2026-02-23",
            ),
            (Month, "UTC", "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z", " in February 2026"),
            (
                Month,
                "America/New_York",
                "2026-03-01T04:00:00Z",
                "2026-03-01T05:00:00Z",
                " in February 2026",
            ),
        ] {
            let calendar = calendar(unit, zone);
            assert_eq!(calendar.end(at(now)), at(end).as_second(), "{unit:?} {zone} {now}");
            assert_eq!(calendar.text(at(now)), text, "{unit:?} {zone} {now}");
        }
    }

    proptest! {
        #[test]
        fn units_follow_each_other(
            second in -60_000_000_000_i64..200_000_000_000,
            unit in prop_oneof![
                Just(CalendarUnit::Day),
                Just(CalendarUnit::Week),
                Just(CalendarUnit::Month),
            ],
            zone in prop_oneof![Just("UTC"), Just("Asia/Tokyo"), Just("Europe/Berlin")],
        ) {
            let calendar = calendar(unit, zone);
            let now = Timestamp::from_second(second).unwrap();
            let end = calendar.end(now);
            prop_assert!(second < end);
            let last = Timestamp::from_second(end - 1).unwrap();
            prop_assert_eq!(calendar.end(last), end);
            prop_assert_eq!(calendar.text(last), calendar.text(now));
            prop_assert!(end < calendar.end(Timestamp::from_second(end).unwrap()));
        }
    }
}
