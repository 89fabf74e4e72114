//! Counts and scores of all periods.

use crate::cycle::{Cycle, MAX_PERIOD};

/// The decrease of a score at a symbol that does not fit.
const PENALTY: u8 = 2;
/// The largest number of new symbols in a row that may be inserted into a cycle.
pub(super) const MAX_INSERTED: usize = 3;
/// The largest score of each period: four more rounds.
const MAX_SCORES: [u8; MAX_PERIOD] = {
    let mut scores = [u8::MAX; MAX_PERIOD];
    let mut period = 1;
    while 4 * period <= u8::MAX as usize {
        #[expect(clippy::cast_possible_truncation, reason = "compared in the loop condition")]
        let score = 4 * period as u8;
        scores[period - 1] = score;
        period += 1;
    }
    scores
};

/// The counts of all periods. The index of period `p` is `p - 1`.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// The number of latest symbols that fit the period; saturating.
    runs: [u16; MAX_PERIOD],
    scores: [u8; MAX_PERIOD],
    /// The likely cycle that is followed across unrelated symbols.
    candidate: Option<Candidate>,
    deferred: Deferred,
}

/// The latest symbols, if they are new and may have been inserted into a cycle. They
/// are not counted yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deferred {
    symbols: [u32; MAX_INSERTED],
    n: usize,
}

/// A likely cycle, from its second round on.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    period: u8,
    /// The position of the next symbol in the round.
    position: u8,
    /// The positions whose symbol has repeated at least once, as bits.
    repeated: u64,
    /// The positions whose symbol did not repeat in the latest round, as bits.
    broken: u64,
    n_same: u32,
    n_unrelated: u32,
    /// The number of times that symbols were inserted between two of the cycle.
    n_insertions: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            runs: [0; MAX_PERIOD],
            scores: [0; MAX_PERIOD],
            candidate: None,
            deferred: Deferred::default(),
        }
    }
}

impl Counts {
    /// Adds a symbol: `is_same` marks the periods that it fits.
    pub(super) fn push(&mut self, is_same: &[bool; MAX_PERIOD]) {
        // One loop for each integer width, so that both are vectorized.
        for (run, is_same) in self.runs.iter_mut().zip(is_same) {
            *run = run.saturating_add(1) & u16::from(*is_same).wrapping_neg();
        }
        for ((score, max), is_same) in self.scores.iter_mut().zip(&MAX_SCORES).zip(is_same) {
            let (higher, lower) =
                (score.saturating_add(1).min(*max), score.saturating_sub(PENALTY));
            *score = if *is_same { higher } else { lower };
        }
    }

    /// Returns the number of latest symbols that fit each period.
    pub(super) fn runs(&self) -> &[u16; MAX_PERIOD] {
        &self.runs
    }

    pub(super) fn is_zero(&self) -> bool {
        self.scores == [0; MAX_PERIOD]
    }

    pub(super) fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }

    /// Returns true if the latest two rounds of this period are similar.
    pub(super) fn continues(&self, period: usize) -> bool {
        period <= usize::from(self.scores[period - 1])
    }

    pub(super) fn has_two_rounds(&self) -> bool {
        // Without an early exit, so that the loop is vectorized.
        let has = |(run, period): (&u16, u16)| u16::from(period <= *run);
        self.runs.iter().zip(1..).map(has).fold(0, |found, it| found | it) != 0
    }

    /// Returns true if a new symbol may be inserted into a cycle. The latest two
    /// rounds of the cycle must be equal.
    pub(super) fn may_defer(&self) -> bool {
        let has_two_rounds = |candidate: Candidate| {
            let period = candidate.period;
            2 <= period && u16::from(period) <= self.runs[usize::from(period) - 1]
        };
        self.deferred.n < MAX_INSERTED && self.candidate.is_some_and(has_two_rounds)
    }

    pub(super) fn defer(&mut self, symbol: u32) {
        self.deferred.symbols[self.deferred.n] = symbol;
        self.deferred.n += 1;
    }

    pub(super) fn take_deferred(&mut self) -> Deferred {
        std::mem::take(&mut self.deferred)
    }

    /// Returns the period of the likely cycle.
    pub(super) fn candidate_period(&self) -> Option<usize> {
        self.candidate.map(|candidate| candidate.period.into())
    }

    /// Counts symbols that were inserted between two of the likely cycle.
    pub(super) fn add_insertion(&mut self, n_symbols: usize) {
        if let Some(candidate) = self.candidate.as_mut().filter(|_| 0 < n_symbols) {
            let n_symbols = u32::try_from(n_symbols).unwrap_or(u32::MAX);
            candidate.n_unrelated = candidate.n_unrelated.saturating_add(n_symbols);
            candidate.n_insertions = candidate.n_insertions.saturating_add(1);
        }
    }

    /// Returns the number of insertions into the likely cycle, and the number of its
    /// unrelated symbols.
    pub(super) fn insertions(&self) -> (u32, u32) {
        let of = |candidate: Candidate| (candidate.n_insertions, candidate.n_unrelated);
        self.candidate.map(of).unwrap_or_default()
    }

    /// Returns the candidate as a cycle, if its score is high enough and every
    /// position has repeated.
    pub(super) fn inexact_cycle(&self) -> Option<Cycle> {
        let candidate = self.candidate?;
        let period = usize::from(candidate.period);
        let is_certain = 3 * period <= usize::from(self.scores[period - 1])
            && self.runs[period - 1] != 0
            && candidate.repeated == u64::MAX >> (MAX_PERIOD - period);
        // A round with an insertion does not count.
        let n_counted = candidate.n_same / u32::from(candidate.period);
        let rounds = 2 + u64::from(n_counted.saturating_sub(candidate.n_insertions));
        let n_unrelated = Some(candidate.n_unrelated);
        is_certain.then_some(Cycle { period, rounds, n_unrelated, is_certain: false })
    }

    /// Returns true if a cycle consists of several rounds of a shorter cycle.
    pub(super) fn is_multiple(&self, period: usize) -> bool {
        (1..=period / 2).any(|it| self.continues(it) && period.is_multiple_of(it))
    }

    /// Advances the candidate by one symbol, or selects a new one.
    pub(super) fn update_candidate(&mut self, is_known: bool, max_period: usize) {
        let continuing = self.candidate.filter(|it| self.continues(usize::from(it.period)));
        let Some(candidate) = continuing else {
            let scores = || self.scores[..max_period].iter().zip(1_u8..);
            let has_candidate = scores()
                .map(|(score, period)| u8::from(period <= *score))
                .fold(0, |found, it| found | it);
            self.candidate = if has_candidate == 0 {
                None
            } else {
                let first = scores().find(|(score, period)| period <= score);
                first.map(|(_, period)| Candidate::new(period))
            };
            return;
        };
        let is_same = self.runs[usize::from(candidate.period) - 1] != 0;
        self.candidate = Some(candidate.advanced(is_same, is_known));
    }
}

impl Deferred {
    pub(super) fn symbols(&self) -> &[u32] {
        &self.symbols[..self.n]
    }
}

impl Candidate {
    fn new(period: u8) -> Self {
        let (n_same, n_unrelated, n_insertions) = (0, 0, 0);
        Self { period, position: 0, repeated: 0, broken: 0, n_same, n_unrelated, n_insertions }
    }

    fn advanced(mut self, is_same: bool, is_known: bool) -> Self {
        let position = 1 << self.position;
        if is_same {
            self.repeated |= position;
            self.broken &= !position;
            self.n_same = self.n_same.saturating_add(1);
        } else {
            // The symbol one period after an unrelated symbol does not fit
            // either, and is not counted.
            let is_unrelated = !is_known && self.broken & position == 0;
            self.n_unrelated = self.n_unrelated.saturating_add(u32::from(is_unrelated));
            self.broken ^= position;
        }
        self.position = (self.position + 1) % self.period;
        self
    }
}
