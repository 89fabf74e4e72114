use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::Period;

use crate::elapsed::Nanos;

/// The options of `kind = "timeout"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeoutOptions {
    /// The subject that is timed.
    pub(crate) of: Of,
    /// Time limit.
    pub(crate) max: Period,
    /// With `of = "tool"`: also time calls that delegate work to another agent.
    #[serde(default)]
    pub(crate) delegates: bool,
    /// With `of = "delegation"`: multiple of the longest finished delegation that is
    /// allowed, if that is more than `max`. Until two have finished, nothing is timed.
    #[schemars(range(min = 1))]
    pub(crate) times_longest: Option<u64>,
}

/// A subject that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The work of a session: the time during which any agent has an open turn.
    Session,
    /// The time since the first event of a session, whatever its agents do.
    Lifetime,
    /// One turn of one agent, from a prompt to the end of the turn.
    Turn,
    /// One tool call, until its result.
    Tool,
    /// The wait for the model: an agent has an open turn, no pending call, and
    /// sends nothing.
    Model,
    /// The time without events from any agent of the session while a turn is
    /// open.
    Idle,
    /// The same while the main agent waits for another agent that sends no events of
    /// its own.
    Delegation,
}

/// The options in the form used for computation, shared by all streams.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) of: Of,
    pub(crate) max: Nanos,
    pub(crate) delegates: bool,
    pub(crate) times_longest: Option<u64>,
}

impl Rules {
    pub(crate) fn new(options: &TimeoutOptions) -> Self {
        let TimeoutOptions { of, max, delegates, times_longest } = *options;
        let max = u64::try_from(max.get().as_nanos()).unwrap_or(u64::MAX);
        Self { of, max, delegates, times_longest }
    }
}
