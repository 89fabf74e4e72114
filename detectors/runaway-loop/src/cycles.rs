//! Detection of cycles in a stream of symbols.

mod counts;
#[cfg(test)]
mod tests;

use self::counts::Counts;
use crate::{
    cycle::{Cycle, MAX_PERIOD},
    steps::{is_change, repeats_on_purpose},
};

/// The initial capacity for symbols; no allocation is smaller.
const MIN_CAPACITY: usize = 6;
/// The least number of rounds. Fewer are a coincidence, unless the round is long or
/// makes changes again.
const MIN_ROUNDS: u64 = 3;
/// The least number of different calls in a long round.
const MANY_CALLS: usize = 8;
/// The least number of changes in a round that make two rounds certain.
const MANY_CHANGES: usize = 2;

/// Detects the cycles at the end of a stream of symbols.
///
/// For each period, `Counts` counts the latest symbols that equal the symbol
/// one period before: a stream ends in `r` rounds of a cycle of period `p` if
/// and only if `(r - 1) * p` symbols do. One step is one pass over short
/// arrays, which the compiler vectorizes.
///
/// In addition, each period has a score. A symbol that fits the period raises
/// the score by one, any other symbol lowers it by two. The score follows a
/// cycle across an unrelated symbol that replaces one of the cycle. `add` ignores
/// unrelated symbols that are inserted.
///
/// There is one `Cycles` for every agent, and most symbols are new, so
/// all arrays are allocated as needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cycles {
    /// The latest symbols, oldest first.
    recent: Vec<u32>,
    /// `None` if all counts and scores are zero.
    counts: Option<Box<Counts>>,
}

/// The effect of a symbol that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The symbol is new, and may be unrelated to a cycle.
    Deferred,
    /// The symbol is one of the latest symbols now.
    Pushed {
        /// True if an equal symbol is among the latest symbols.
        is_known: bool,
        /// The number of symbols that are among the latest symbols now, with those
        /// that were deferred before.
        n_pushed: u8,
        /// The number of deferred symbols that are unrelated.
        n_unrelated: usize,
    },
}

/// The occurrences of one symbol among the latest symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each field is a number")]
pub(crate) struct Occurrences {
    pub(crate) n_times: usize,
    /// The number of times if occurrences in a row are one.
    pub(crate) n_groups: usize,
    /// The number of symbols from the first occurrence to the end.
    pub(crate) n_steps: usize,
}

impl Cycles {
    /// Adds the next symbol. Up to `MAX_INSERTED` new symbols in a row are ignored if
    /// the cycle before continues after them.
    pub(crate) fn add(&mut self, symbol: u32, max_period: usize) -> Added {
        let (mut n_pushed, mut n_unrelated) = (1, 0);
        if let Some(counts) = self.counts.as_deref()
            && counts.may_defer()
            && !self.contains(symbol)
        {
            self.counts.get_or_insert_default().defer(symbol);
            return Added::Deferred;
        }
        if let Some(counts) = self.counts.as_deref_mut() {
            let deferred = counts.take_deferred();
            let next = counts.candidate_period().and_then(|it| self.recent.iter().nth_back(it - 1));
            if next == Some(&symbol) {
                n_unrelated = deferred.symbols().len();
                counts.add_insertion(n_unrelated);
            } else {
                for symbol in deferred.symbols() {
                    self.push(*symbol, max_period);
                    n_pushed += 1;
                }
            }
        }
        let is_known = self.push(symbol, max_period);
        Added::Pushed { is_known, n_pushed, n_unrelated }
    }

    /// Adds the next symbol if it is not among the latest ones and no cycle is likely. Returns
    /// false, and does nothing, otherwise.
    pub(crate) fn push_new(&mut self, symbol: u32) -> bool {
        let is_new = self.counts.is_none() && !self.contains(symbol);
        if is_new {
            self.keep(symbol);
        }
        is_new
    }

    /// Adds the next symbol and updates the cycles of up to `max_period`.
    /// Returns true if the symbol is among the latest symbols.
    pub(crate) fn push(&mut self, symbol: u32, max_period: usize) -> bool {
        let is_known = self.contains(symbol);
        if is_known {
            let mut is_same = [false; MAX_PERIOD];
            for (is_same, recent) in is_same.iter_mut().zip(self.recent.iter().rev()) {
                *is_same = *recent == symbol;
            }
            self.counts.get_or_insert_default().push(&is_same);
        } else if let Some(counts) = &mut self.counts {
            counts.push(&[false; MAX_PERIOD]);
        }
        if let Some(counts) = &mut self.counts {
            counts.update_candidate(is_known, max_period);
        }
        self.counts.take_if(|counts| counts.is_zero());
        self.keep(symbol);
        is_known
    }

    fn keep(&mut self, symbol: u32) {
        let n = self.recent.len();
        if n == MAX_PERIOD {
            self.recent.remove(0);
        } else if n == self.recent.capacity() {
            self.recent.reserve_exact(n.max(MIN_CAPACITY).min(MAX_PERIOD - n));
        }
        self.recent.push(symbol);
    }

    /// Removes all symbols and keeps a small allocation.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
        self.recent.shrink_to(2 * MIN_CAPACITY);
        self.counts = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// Returns true if some of the latest symbols may be part of a cycle.
    pub(crate) fn is_repeating(&self) -> bool {
        self.counts.is_some()
    }

    /// Returns true if the latest two rounds of some period are similar.
    pub(crate) fn has_candidate(&self) -> bool {
        self.counts.as_ref().is_some_and(|counts| counts.has_candidate())
    }

    /// Returns true if a symbol is among the latest symbols.
    pub(crate) fn contains(&self, symbol: u32) -> bool {
        // Without an early exit, so that the loop is vectorized.
        self.recent.iter().map(|it| u32::from(*it == symbol)).fold(0, |found, it| found | it) != 0
    }

    /// Returns the number of times that a symbol is among the latest symbols.
    pub(crate) fn count(&self, symbol: u32) -> usize {
        self.recent.iter().filter(|it| **it == symbol).count()
    }

    /// Returns the occurrences of a symbol among the latest `within` symbols,
    /// back to the latest symbol that differs only in its lower half: the same
    /// call with another result.
    pub(crate) fn occurrences(&self, symbol: u32, within: usize) -> Occurrences {
        let is_other = |it: &&u32| **it != symbol && **it >> 16 == symbol >> 16;
        let latest = self.recent.iter().rev().take(within).take_while(|it| !is_other(it));
        let mut occurrences = Occurrences { n_times: 0, n_groups: 0, n_steps: 0 };
        for (n_before, _) in latest.enumerate().filter(|(_, it)| **it == symbol) {
            let continues = 0 < n_before && occurrences.n_steps == n_before;
            occurrences.n_times += 1;
            occurrences.n_groups += usize::from(!continues);
            occurrences.n_steps = n_before + 1;
        }
        occurrences
    }

    /// Returns true if the latest symbols all have the same upper half: they
    /// are one call.
    pub(crate) fn is_one_call(&self, n_latest: usize) -> bool {
        let mut calls = self.recent.iter().rev().take(n_latest).map(|it| it >> 16);
        let latest = calls.next();
        calls.all(|call| Some(call) == latest)
    }

    /// Ends all cycles and keeps the latest symbols.
    pub(crate) fn interrupt(&mut self) {
        let Some(mut counts) = self.counts.take() else { return };
        for symbol in counts.take_deferred().symbols() {
            self.keep(*symbol);
        }
    }

    /// Returns true if one of the latest symbols is a change of a text.
    pub(crate) fn has_change(&self, n_latest: usize) -> bool {
        self.recent.iter().rev().take(n_latest).any(|symbol| is_change(*symbol))
    }

    /// Returns true if two equal rounds are no coincidence: a round has many different
    /// calls, or has several changes and a call that shows their effect. The same files
    /// may be written twice on purpose.
    fn is_certain(&self, period: usize) -> bool {
        let mut round = self.recent[self.recent.len() - period..].to_vec();
        round.sort_unstable();
        round.dedup();
        let n_changes = round.iter().filter(|symbol| is_change(**symbol)).count();
        let n_others = round.len() - n_changes;
        !round.iter().any(|symbol| repeats_on_purpose(*symbol))
            && (MANY_CALLS <= n_others || MANY_CHANGES <= n_changes && 0 < n_others)
    }

    /// Returns true if a cycle of this period continues. It ends after about
    /// one round of other symbols.
    pub(crate) fn continues(&self, period: usize) -> bool {
        self.counts.as_ref().is_some_and(|counts| counts.continues(period))
    }

    /// Returns the cycle with the most rounds, of those with a period in this
    /// range and enough rounds.
    ///
    /// Equal rounds count from three on, and from two on if two are certain. Rounds
    /// with an unrelated symbol in between need one more, and every position of the
    /// round must have repeated: a position with a new symbol in every round is
    /// progress. A round with insertions does not count.
    pub(crate) fn find(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let counts = self.counts.as_deref()?;
        let exact = counts.has_two_rounds().then(|| self.longest(min_period, max_period));
        let exact = exact.flatten().map(|cycle| self.without_insertions(cycle, counts));
        let exact = exact.filter(|cycle| MIN_ROUNDS <= cycle.weight());
        let is_better = |cycle: &Cycle| exact.is_none_or(|exact| exact.weight() < cycle.weight());
        let inexact = counts.inexact_cycle().filter(|cycle| {
            (min_period..=max_period).contains(&cycle.period)
                && MIN_ROUNDS <= cycle.weight()
                && is_better(cycle)
                && !counts.is_multiple(cycle.period)
        });
        inexact.or(exact)
    }

    /// Removes the rounds with insertions from a cycle. Otherwise determines whether two
    /// of its rounds are certain.
    fn without_insertions(&self, cycle: Cycle, counts: &Counts) -> Cycle {
        let (n_insertions, n_unrelated) = counts.insertions();
        if n_insertions == 0 {
            return Cycle { is_certain: self.is_certain(cycle.period), ..cycle };
        }
        let rounds = cycle.rounds.saturating_sub(n_insertions.into());
        Cycle { rounds, n_unrelated: Some(n_unrelated), ..cycle }
    }

    /// Returns the cycle with the most equal rounds, at least two, of those
    /// with a period in this range. Several rounds of a shorter cycle are not a
    /// cycle of their own.
    fn longest(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let runs = self.counts.as_deref()?.runs();
        let mut best: Option<Cycle> = None;
        // The number of latest symbols that belong to shorter cycles.
        let mut covered = 0;
        for (run, period) in runs[..max_period].iter().zip(1..) {
            let run = usize::from(*run);
            let reach = run + period;
            let is_full = run == usize::from(u16::MAX);
            if period <= run && covered < reach {
                // A full counter covers all multiples of its period, full or not.
                covered = if is_full { usize::MAX } else { reach };
                let rounds = (reach / period) as u64;
                if min_period <= period && best.is_none_or(|best| best.rounds < rounds) {
                    best = Some(Cycle { period, rounds, n_unrelated: None, is_certain: false });
                }
            }
        }
        best
    }
}
