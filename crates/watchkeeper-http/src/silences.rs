use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use watchkeeper_core::Timestamp;

use crate::refusal::ChangeRefusal;

/// The place of the silences that people add while the monitor runs.
///
/// The methods run on a thread for silences, and may wait for a file.
pub trait SilenceStore: Send + Sync + 'static {
    /// Returns the silences that have not ended.
    fn active(&self) -> Result<Vec<SilenceRow>, ChangeRefusal>;

    /// Adds a silence, or returns the active one with the same content: a client that received no
    /// response sends its request again.
    fn add(&self, silence: NewSilence) -> Result<SilenceRow, ChangeRefusal>;

    /// Ends a silence now.
    fn expire(&self, id: &str) -> Result<SilenceRow, ChangeRefusal>;
}

/// A silence that is to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    /// The accepted values of each key, as in `match` of a route: a finding must match a value
    /// of each. `*` matches any text.
    #[serde(rename = "match")]
    pub conditions: BTreeMap<String, Vec<String>>,
    /// The end.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// The person who is responsible.
    pub author: String,
    /// The reason, for other people.
    pub reason: String,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SilenceRow {
    /// Identifies the silence.
    pub id: String,
    /// The accepted values of each key.
    #[serde(rename = "match")]
    pub conditions: BTreeMap<String, Vec<String>>,
    /// The time at which it was added.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// The end.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// The person who is responsible.
    pub author: String,
    /// The reason.
    pub reason: String,
}
