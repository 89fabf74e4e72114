/// The outcomes of the findings that a queue received.
///
/// Once the queue is closed and empty, or abandoned, `received` is the sum of
/// `delivered`, `dropped`, `failed` and `pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Findings added to the queue, and findings that its ledger had pending at the start.
    pub received: u64,
    /// Findings that the sink delivered.
    pub delivered: u64,
    /// Findings dropped before any attempt: the queue was full, closed or
    /// abandoned.
    pub dropped: u64,
    /// Findings that the sink failed to deliver in all attempts.
    pub failed: u64,
    /// Findings of a closed queue that its ledger keeps for the next start.
    pub pending: u64,
}

impl QueueCounts {
    /// Returns the number of findings that were dropped or failed.
    pub const fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}
