use serde_json::{Map, Value};

use crate::{Evidence, redact::redact_value};

/// The text of a finding: a message, facts for programs, and evidence.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(crate) message: String,
    pub(crate) data: Map<String, Value>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) is_unmeasured: bool,
}

impl Report {
    /// Makes a report of one line: no full stop, and text from agents only through
    /// [`quote`](crate::quote).
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Adds a fact for programs. Secrets in its texts are redacted, and texts are cut after 4096
    /// bytes.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), redact_value(value.into()));
        self
    }

    /// Marks a report whose measure only selects a level, such as one that a budget cannot be
    /// measured. An explanation contains it as any other.
    pub fn unmeasured(mut self) -> Self {
        self.is_unmeasured = true;
        self
    }

    /// Adds an earlier event as evidence. The engine adds the event that is being
    /// handled.
    pub fn since(mut self, evidence: Option<Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}
