/// The longest cycle that is seen.
pub(crate) const MAX_PERIOD: usize = 64;

/// Tells in which cycles a stream of symbols goes round.
///
/// For each period it counts the latest symbols that equal the one a period
/// before them: a stream ends in `r` rounds of a cycle of period `p` if and
/// only if `(r - 1) * p` of them do. One step is one pass over two short
/// arrays, which the compiler turns into vector instructions.
#[derive(Clone, Debug)]
pub(crate) struct Cycles {
    /// The latest symbols, the latest first; zero where there is none yet.
    recent: [u32; MAX_PERIOD],
    /// `runs[p - 1]` belongs to period `p`, and does not overflow.
    runs: [u16; MAX_PERIOD],
}

/// A cycle that a stream ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// How many symbols make one round.
    pub(crate) period: usize,
    /// How many complete rounds there were.
    pub(crate) rounds: u64,
}

impl Default for Cycles {
    fn default() -> Self {
        Self { recent: [0; MAX_PERIOD], runs: [0; MAX_PERIOD] }
    }
}

impl Cycles {
    /// Takes the next symbol.
    pub(crate) fn push(&mut self, symbol: u32) {
        // Zero says that there is no symbol.
        let symbol = symbol.max(1);
        for (run, recent) in self.runs.iter_mut().zip(&self.recent) {
            *run = if *recent == symbol { run.saturating_add(1) } else { 0 };
        }
        self.recent.copy_within(..MAX_PERIOD - 1, 1);
        self.recent[0] = symbol;
    }

    /// Whether the latest symbol is one of those before it.
    pub(crate) fn is_recurring(&self) -> bool {
        self.runs.iter().any(|it| *it != 0)
    }

    /// Whether the latest symbol went on with a cycle of this period.
    pub(crate) fn is_alive(&self, period: usize) -> bool {
        self.runs[period - 1] != 0
    }

    /// The cycle of two or more rounds that came round most often, of those
    /// whose period is in this range. A cycle that is a shorter one told
    /// several times is not a cycle.
    pub(crate) fn longest(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let mut best: Option<Cycle> = None;
        // How far back the shorter cycles reach.
        let mut covered = 0;
        // A full counter says no more than that: of full ones the first stands
        // for all.
        let mut is_one_full = false;
        for (run, period) in self.runs[..max_period].iter().zip(1..) {
            let run = usize::from(*run);
            let reach = run + period;
            let is_full = run == usize::from(u16::MAX);
            if period <= run && covered < reach && !(is_full && is_one_full) {
                covered = reach;
                is_one_full |= is_full;
                let rounds = (reach / period) as u64;
                if min_period <= period && best.is_none_or(|it| it.rounds < rounds) {
                    best = Some(Cycle { period, rounds });
                }
            }
        }
        best
    }
}
