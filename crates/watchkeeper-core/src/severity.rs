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
