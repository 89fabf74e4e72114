use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::TokenLimit;

use crate::{
    calendar::{WindowOption, ZoneOption},
    limit::CostLimit,
};

/// The options of `kind = "token-burn"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBurnOptions {
    /// Usage that counts.
    #[serde(default)]
    pub(crate) of: Of,
    /// Limit in tokens.
    pub(crate) max_tokens: Option<TokenLimit>,
    /// Limit in US dollars.
    pub(crate) max_cost_usd: Option<CostLimit>,
    /// Classes of tokens that count towards `max_tokens`.
    #[serde(default = "uncached")]
    pub(crate) count: Vec<TokenClass>,
    /// Time in which the limit applies: a length of time before now, or the current
    /// day, week or month of the calendar. Defaults to the whole session.
    pub(crate) window: Option<WindowOption>,
    /// Time zone of a calendar window, by its IANA name. Defaults to UTC.
    pub(crate) time_zone: Option<ZoneOption>,
    /// Multiple of the session's usual usage in a window that is allowed, if
    /// that is more than the limit. Until the usual usage is known, the limit
    /// is used in its place.
    #[schemars(range(min = 2))]
    pub(crate) times_usual: Option<u64>,
}

/// Usage that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The model calls of a session and its sub-agents.
    #[default]
    Session,
    /// The model calls of one agent between polls that are less than 15 seconds apart,
    /// without work in between.
    Polls,
}

/// A class of tokens. The classes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Input tokens that were neither read from a cache nor written to one.
    Input,
    /// Input tokens that were read from a cache.
    CacheRead,
    /// Input tokens that were written to a cache.
    CacheWrite,
    /// Output tokens, including reasoning.
    Output,
}

fn uncached() -> Vec<TokenClass> {
    vec![TokenClass::Input, TokenClass::CacheWrite, TokenClass::Output]
}
