use schemars::JsonSchema;
use serde::Deserialize;

use crate::{cycle::Cycle, cycle_length::CycleLength, cycles::Cycles};

/// The options of `kind = "runaway-loop"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunawayLoopOptions {
    /// The repetition that is counted.
    #[serde(default)]
    pub(crate) of: Of,
    /// The shortest cycle that counts, in calls. `repeat-tool-call` reports
    /// cycles of one call.
    #[serde(default = "two")]
    pub(crate) min_period: CycleLength,
    /// The longest cycle that counts, in calls.
    #[serde(default = "longest")]
    pub(crate) max_period: CycleLength,
    /// Also report a call that repeats in no order and gets the same result, and a
    /// change that is made again. Two equal calls count as one round.
    #[serde(default = "yes")]
    pub(crate) recurring: bool,
    /// With `of = "step"`: the progress that resets the count.
    #[serde(default)]
    pub(crate) progress: Progress,
}

/// The progress that resets a count of model calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A successful change that does not repeat the previous one.
    #[default]
    Change,
    /// Such a change, or a result that differs from the latest 16.
    Result,
}

/// A repetition that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Rounds of a cycle of calls with the same results.
    #[default]
    Cycle,
    /// Model calls without progress.
    Step,
    /// Handoffs between agents without progress.
    Handoff,
}

const fn two() -> CycleLength {
    CycleLength::TWO
}

const fn longest() -> CycleLength {
    CycleLength::LONGEST
}

const fn yes() -> bool {
    true
}

impl RunawayLoopOptions {
    pub(crate) fn find(&self, cycles: &Cycles) -> Option<Cycle> {
        cycles.find(self.min_period.get(), self.max_period.get())
    }
}
