use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::Period;

/// The options of `kind = "fan-out"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FanOutOptions {
    /// The number that is measured.
    #[serde(default)]
    pub(crate) of: Of,
    /// With `of = "start"`: time in which starts count. Defaults to the whole session.
    pub(crate) window: Option<Period>,
}

/// A number that is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The sub-agents that a session starts.
    #[default]
    Start,
    /// The agents above a sub-agent, when it starts.
    Depth,
    /// The sub-agents of a session that work at once, when another one starts.
    Running,
    /// The sub-agents that still work when the main agent ends its turn.
    Unfinished,
}
