use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use watchkeeper_core::{Fingerprint, Timestamp};

use crate::refusal::ChangeRefusal;

/// The place of the acknowledgements of findings.
///
/// The methods run on a thread for bodies, and may wait for a file.
pub trait AcknowledgementStore: Send + Sync + 'static {
    /// Returns all acknowledgements.
    fn all(&self) -> Result<Vec<AcknowledgementRow>, ChangeRefusal>;

    /// Acknowledges a finding, in place of an earlier acknowledgement.
    fn add(&self, acknowledgement: NewAcknowledgement)
    -> Result<AcknowledgementRow, ChangeRefusal>;

    /// Removes an acknowledgement.
    fn remove(&self, id: &str) -> Result<AcknowledgementRow, ChangeRefusal>;
}

/// An acknowledgement that is to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAcknowledgement {
    /// The fingerprint of the finding.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// The time of the finding, which may be ahead of the clock; `null` for a session without
    /// times. Later episodes with the fingerprint are not acknowledged.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The person who knows of the finding.
    pub author: String,
    /// The reason, for other people.
    pub reason: String,
}

/// An acknowledgement of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AcknowledgementRow {
    /// Identifies the acknowledgement.
    pub id: String,
    /// The fingerprint of the finding.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// The time of the finding.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The time at which it was added.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// The person who knows of the finding.
    pub author: String,
    /// The reason.
    pub reason: String,
}
