use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{SignedDuration, author::Period};

/// The default of `within`.
pub(crate) const WITHIN: Period = Period::from_secs(5 * 60);

/// The options of `kind = "error-loop"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorLoopOptions {
    /// The failure that is counted.
    pub(crate) of: Of,
    /// With `of = "retry"`: time for which a retry counts. Defaults to 5
    /// minutes.
    pub(crate) within: Option<Period>,
}

/// A failure that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Failed tool calls, with any tool and any error.
    Failure,
    /// Failed tool calls with the same error.
    Error,
    /// Failed model calls that are retried.
    Retry,
    /// Compactions of the context without work in between.
    Compaction,
    /// Turns in a row that end in an error.
    Turn,
    /// Equal prompts of the harness without a result in between.
    Prompt,
    /// Calls in a row that a rule, a hook or a classifier denied.
    Denial,
}

impl ErrorLoopOptions {
    pub(crate) fn within(&self) -> SignedDuration {
        self.within.unwrap_or(WITHIN).get()
    }
}
