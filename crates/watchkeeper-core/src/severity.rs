use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line in a log.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth an interruption.
    High,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Its name in policies and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a detector measures, and so how a policy writes its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// How many times: `at = 3`.
    Count,
    /// How much of a limit, in percent: `at = "75%"`.
    Percent,
}

/// How many percent of `max` a number is, rounded down: what is measured in
/// [`Unit::Percent`]. A `max` of zero counts as one, and what does not fit is as
/// much as fits.
pub fn percent(n: u64, max: u64) -> u64 {
    let max = max.max(1);
    // Division is slow in 128 bits, and most numbers need no more than 64.
    n.checked_mul(100).map_or_else(
        || u64::try_from(u128::from(n) * 100 / u128::from(max)).unwrap_or(u64::MAX),
        |it| it / max,
    )
}

/// From what measure on a finding has which severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The measure it begins at, in the [`Unit`] of its kind.
    pub at: u64,
    /// The severity from there on.
    pub severity: Severity,
}

impl Level {
    /// Makes a level.
    pub const fn new(at: u64, severity: Severity) -> Self {
        Self { at, severity }
    }
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percent_of_small_and_large() {
        assert_eq!([percent(0, 3), percent(1, 3), percent(7, 2)], [0, 33, 350]);
        assert_eq!(percent(u64::MAX / 2, u64::MAX), 49);
        assert_eq!([percent(u64::MAX, u64::MAX), percent(u64::MAX, 1)], [100, u64::MAX]);
        assert_eq!([percent(0, 0), percent(2, 0)], [0, 200]);
    }
}
