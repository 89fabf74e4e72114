//! Outages of a sink or of its ledger.

/// The times in which a sink, or its ledger, fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages {
    /// The number of outages so far.
    pub(crate) n: u64,
    /// The error that began the present outage.
    pub(crate) cause: Option<String>,
}

impl Outages {
    /// Records the outcome of an attempt. Returns whether an outage began or ended.
    pub(super) fn record<E: ToString>(&mut self, outcome: Result<(), &E>) -> bool {
        match outcome {
            Ok(()) => self.cause.take().is_some(),
            Err(_) if self.cause.is_some() => false,
            Err(cause) => {
                self.n += 1;
                self.cause = Some(cause.to_string());
                true
            }
        }
    }
}
