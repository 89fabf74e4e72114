use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::Period;

use crate::{by::By, message::Message, symbol::Symbol};

/// The options of `kind = "pattern"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternOptions {
    /// The symbols of the pattern: for each name, the events that satisfy it.
    pub(crate) symbols: BTreeMap<String, Symbol>,
    /// A regular expression over names of symbols, separated by spaces:
    /// `? * + {m,n} | ( )`.
    pub(crate) pattern: String,
    /// Longest time from the first event of a match to the last. Defaults to no
    /// limit.
    pub(crate) within: Option<Period>,
    /// Field by whose values events are matched separately.
    pub(crate) by: Option<By>,
    /// Symbols and events that reset the detector.
    #[serde(default)]
    pub(crate) resets_on: Vec<String>,
    /// Message of the finding.
    pub(crate) message: Option<Message>,
}
