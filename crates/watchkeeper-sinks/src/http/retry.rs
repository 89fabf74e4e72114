//! The schedule of attempts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    InvalidOption,
    author::{Period, Retry},
};

use crate::count::Count;

/// The longest waits between attempts that Standard Webhooks 1.0.0 recommends.
const SCHEDULE: &[Duration] = {
    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }
    &[
        Duration::from_secs(5),
        minutes(5),
        minutes(30),
        minutes(2 * 60),
        minutes(5 * 60),
        minutes(10 * 60),
        minutes(14 * 60),
        minutes(20 * 60),
        minutes(24 * 60),
    ]
};

/// The number of attempts, and the waits between them.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryOptions {
    /// The largest number of attempts for a finding, the first included.
    max_attempts: Count<1, 1000>,
    /// The longest wait before the second attempt; it doubles with each attempt.
    initial: Period,
    /// The longest wait before any attempt.
    max: Period,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            max_attempts: Count::new(10),
            initial: Period::from_secs(1),
            max: Period::from_secs(5 * 60),
        }
    }
}

/// Returns the schedule of the attempts that the options request.
pub(crate) fn schedule(options: Option<RetryOptions>) -> Result<Retry, InvalidOption> {
    let Some(RetryOptions { max_attempts, initial, max }) = options else {
        return Ok(Retry::scheduled(SCHEDULE));
    };
    if max < initial {
        return Err(InvalidOption::new("retry", "`max` is shorter than `initial`"));
    }
    Ok(Retry::new(max_attempts.get(), initial.unsigned(), max.unsigned()))
}
