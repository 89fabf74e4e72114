/// The longest detected cycle, in symbols.
pub(crate) const MAX_PERIOD: usize = 64;

/// A cycle at the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// The number of symbols in one round.
    pub(crate) period: usize,
    /// The number of complete rounds.
    pub(crate) rounds: u64,
    /// The number of symbols in between that are not part of the cycle; `None`
    /// if all rounds are equal.
    pub(crate) n_unrelated: Option<u32>,
    /// True if two rounds are no coincidence, because of their calls.
    pub(crate) is_certain: bool,
}

impl Cycle {
    /// Returns true if the number of rounds alone makes a coincidence unlikely.
    pub(crate) fn has_three_rounds(&self) -> bool {
        3 <= self.rounds
    }

    /// Returns the number of rounds, minus one if the rounds are not equal, and plus
    /// one if two are no coincidence.
    pub(crate) fn weight(&self) -> u64 {
        (self.rounds + u64::from(self.is_certain))
            .saturating_sub(u64::from(self.n_unrelated.is_some()))
    }
}
