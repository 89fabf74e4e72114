use super::phrases::{Meaning, Meanings, has_outage_status};

/// The sort of outage of a service that an error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outage {
    /// The service is overloaded or unavailable, or limits the rate of requests.
    Unavailable,
    /// The service did not respond in time.
    Timeout,
    /// The connection to the provider of the model failed.
    Connection,
}

impl Outage {
    /// Returns the outage that the error of a tool reports.
    ///
    /// A status code such as 503 counts only beside a word such as `HTTP`: other numbers of
    /// tools are line numbers and counts. A failed connection is no outage, as the tool may
    /// have called a service of its own machine that the agent has to start.
    pub fn of_tool(error: &str) -> Option<Self> {
        Self::of_meanings(Meanings::of(error), error)
    }

    /// Returns the outage that the error of a harness reports. The error is about the provider
    /// of the model, so a status code counts by itself, and so does a failed connection.
    pub fn of_provider(error: &str) -> Option<Self> {
        let meanings = Meanings::of(error);
        match Self::of_meanings(meanings, error) {
            None if has_outage_status(error) => Some(Self::Unavailable),
            None if meanings.has(Meaning::Connection) => Some(Self::Connection),
            outage => outage,
        }
    }

    pub(super) fn of_meanings(meanings: Meanings, error: &str) -> Option<Self> {
        let has_status = || meanings.has(Meaning::Status) && has_outage_status(error);
        if meanings.has(Meaning::Outage) || has_status() {
            Some(Self::Unavailable)
        } else if meanings.has(Meaning::Timeout) {
            Some(Self::Timeout)
        } else {
            None
        }
    }
}
