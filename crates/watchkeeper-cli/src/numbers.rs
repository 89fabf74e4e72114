//! Numbers and durations, formatted for people.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
pub(crate) use watchkeeper_core::author::grouped;

/// `1 file`, `2 files`.
pub(crate) fn counted(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", grouped(n))
}

/// `950`, `12.3k`, `4.56M`.
#[expect(clippy::cast_precision_loss, reason = "three digits remain")]
pub(crate) fn short(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => three_digits(n as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => three_digits(n as f64 / 1e6, "M"),
        _ => three_digits(n as f64 / 1e9, "G"),
    }
}

fn three_digits(n: f64, unit: &str) -> String {
    match n {
        ..9.995 => format!("{n:.2}{unit}"),
        ..99.95 => format!("{n:.1}{unit}"),
        _ => format!("{n:.0}{unit}"),
    }
}

/// `12s`, `3m 20s`, `2h 05m`, `4d 3h`.
pub(crate) fn duration(duration: SignedDuration) -> String {
    let secs = duration.as_secs().max(0);
    let (mins, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{mins}m {:02}s", secs % 60),
        3600..86_400 => format!("{hours}h {:02}m", mins % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `2026-03-10T12:00:00Z`, without the fraction of a second.
pub(crate) fn to_second(at: Timestamp) -> impl fmt::Display {
    at.strftime("%Y-%m-%dT%H:%M:%SZ")
}

/// `$0.42`, `$1,234.50`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are not negative and fit in 64 bits"
)]
pub(crate) fn dollars(usd: f64) -> String {
    let cents = (usd * 100.0).round() as u64;
    format!("${}.{:02}", grouped(cents / 100), cents % 100)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::{counted, dollars, duration, short, to_second};

    #[test]
    fn formats_numbers_for_people() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1_234_567, "file"), "1,234,567 files");
        assert_eq!(
            [950, 1_234, 999_960, 12_345_678].map(short),
            ["950", "1.23k", "1000k", "12.3M"]
        );
        assert_eq!([0.0, 0.426, 1234.5].map(dollars), ["$0.00", "$0.43", "$1,234.50"]);
        let at = "2026-03-10T12:00:00.123456789Z".parse().unwrap();
        assert_eq!(to_second(at).to_string(), "2026-03-10T12:00:00Z");
        let secs = [12, 200, 7_530, 360_000].map(|it| duration(SignedDuration::from_secs(it)));
        assert_eq!(secs, ["12s", "3m 20s", "2h 05m", "4d 4h"]);
    }
}
