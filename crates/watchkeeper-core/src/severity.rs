use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The importance of a finding.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the log.
    Low,
    /// To be looked at today.
    Medium,
    /// To be looked at immediately.
    High,
}

impl Severity {
    /// All severities, in ascending order.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// Returns the name used in policies and findings.
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

/// The unit of a detector's measure. Policies write levels in this unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// A number of occurrences: `at = 3`.
    Count,
    /// The used share of a limit, in percent: `at = "75%"`.
    Percent,
}

/// Returns `n` as a percentage of `max`, rounded down: a measure in [`Unit::Percent`].
///
/// A `max` of zero counts as one. A percentage that exceeds `u64::MAX` becomes `u64::MAX`.
pub fn percent(n: u64, max: u64) -> u64 {
    let max = max.max(1);
    // Division is slow with 128 bits, and nearly all numbers fit in 64.
    n.checked_mul(100).map_or_else(
        || u64::try_from(u128::from(n) * 100 / u128::from(max)).unwrap_or(u64::MAX),
        |hundredfold| hundredfold / max,
    )
}

/// The reaction to a finding that a policy suggests to the program that runs the agent.
///
/// The monitor changes no agent. The program acts, as far as its user allows. The order is the
/// one of strength.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// None: the finding is reported only.
    Observe,
    /// The model gets a text that explains the finding. Where a program can refuse single calls
    /// only, a call that the agent repeats is answered by this text.
    Nudge,
    /// A person decides about the next call.
    Ask,
    /// The next call is refused, with a text that explains the finding.
    Deny,
    /// The run of the agent ends before the next request to the model.
    Stop,
}

impl Action {
    /// All actions, from the weakest to the strongest.
    pub const ALL: [Self; 5] = [Self::Observe, Self::Nudge, Self::Ask, Self::Deny, Self::Stop];

    /// Returns the name used in policies and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Nudge => "nudge",
            Self::Ask => "ask",
            Self::Deny => "deny",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The lowest measure at which a finding has a severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The lowest measure, in the [`Unit`] of the detector's kind.
    pub at: u64,
    /// The severity of a finding with at least this measure.
    pub severity: Severity,
    /// The suggested reaction to a finding of this severity; `None` to leave it to the program.
    pub action: Option<Action>,
}

impl Level {
    /// Creates a level without an action.
    pub const fn new(at: u64, severity: Severity) -> Self {
        Self { at, severity, action: None }
    }

    /// Sets the action.
    #[must_use]
    pub const fn with_action(self, action: Action) -> Self {
        Self { action: Some(action), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percentages_are_rounded_down_and_saturate() {
        assert_eq!([percent(0, 3), percent(1, 3), percent(7, 2)], [0, 33, 350]);
        assert_eq!(percent(u64::MAX / 2, u64::MAX), 49);
        assert_eq!([percent(u64::MAX, u64::MAX), percent(u64::MAX, 1)], [100, u64::MAX]);
        assert_eq!([percent(0, 0), percent(2, 0)], [0, 200]);
    }
}
