/// The longest cycle that is seen.
pub(crate) const MAX_PERIOD: usize = 64;

/// Tells in which cycles a stream of symbols goes round.
///
/// For each period it counts the latest symbols that equal the one a period
/// before them: a stream ends in `r` rounds of a cycle of period `p` if and
/// only if `(r - 1) * p` of them do. One step is one pass over two short
/// arrays, which the compiler turns into vector instructions.
///
/// There is one for each of very many streams, and most of what they see is
/// new, so both arrays take only the room they need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cycles {
    /// The latest symbols, the latest last.
    recent: Vec<u32>,
    /// `runs[p - 1]` belongs to period `p`, and does not overflow; `None` if
    /// all are zero.
    runs: Option<Box<[u16; MAX_PERIOD]>>,
}

/// A cycle that a stream ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// How many symbols make one round.
    pub(crate) period: usize,
    /// How many complete rounds there were.
    pub(crate) rounds: u64,
}

impl Cycles {
    /// Takes the next symbol.
    pub(crate) fn push(&mut self, symbol: u32) {
        if self.has(symbol) {
            let runs = self.runs.get_or_insert_with(|| Box::new([0; MAX_PERIOD]));
            // Of the periods that reach further back, all runs are zero.
            for (run, recent) in runs.iter_mut().zip(self.recent.iter().rev()) {
                *run = if *recent == symbol { run.saturating_add(1) } else { 0 };
            }
        } else {
            self.runs = None;
        }
        if self.recent.len() == MAX_PERIOD {
            self.recent.copy_within(1.., 0);
            self.recent[MAX_PERIOD - 1] = symbol;
        } else {
            self.recent.push(symbol);
        }
    }

    /// Whether the latest symbol is one of those before it.
    pub(crate) fn is_recurring(&self) -> bool {
        self.runs.is_some()
    }

    /// Whether a symbol is among the latest.
    pub(crate) fn has(&self, symbol: u32) -> bool {
        // Without a way out, so that the compiler may take many at once.
        self.recent.iter().map(|it| u32::from(*it == symbol)).fold(0, |found, it| found | it) != 0
    }

    /// Whether the latest symbol went on with a cycle of this period.
    pub(crate) fn is_alive(&self, period: usize) -> bool {
        self.runs.as_ref().is_some_and(|it| it[period - 1] != 0)
    }

    /// The cycle of two or more rounds that came round most often, of those
    /// whose period is in this range. A cycle that is a shorter one told
    /// several times is not a cycle.
    pub(crate) fn longest(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let runs = self.runs.as_deref()?;
        let mut best: Option<Cycle> = None;
        // How far back the shorter cycles reach.
        let mut covered = 0;
        // A full counter says no more than that: of full ones the first stands
        // for all.
        let mut is_one_full = false;
        for (run, period) in runs[..max_period].iter().zip(1..) {
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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{Cycle, Cycles, MAX_PERIOD};

    /// How many complete rounds of this period a stream ends in.
    fn rounds(stream: &[u32], period: usize) -> u64 {
        let run = (0..stream.len().saturating_sub(period))
            .rev()
            .take_while(|it| stream[*it] == stream[it + period])
            .count();
        if run == 0 { 0 } else { ((run + period) / period) as u64 }
    }

    /// Whether the last `len` symbols are those of a shorter period told over.
    fn is_primitive(stream: &[u32], period: usize) -> bool {
        let run = (0..stream.len() - period)
            .rev()
            .take_while(|it| stream[*it] == stream[it + period])
            .count();
        let tail = &stream[stream.len() - run - period..];
        (1..period).all(|shorter| (shorter..tail.len()).any(|it| tail[it] != tail[it - shorter]))
    }

    fn naive(stream: &[u32], min_period: usize, max_period: usize) -> Option<Cycle> {
        let cycles = (min_period..=max_period)
            .map(|period| Cycle { period, rounds: rounds(stream, period) });
        let real = cycles.filter(|it| 2 <= it.rounds && is_primitive(stream, it.period));
        real.reduce(|best, it| if best.rounds < it.rounds { it } else { best })
    }

    /// Streams of few symbols, with many cycles in them.
    fn streams() -> impl Strategy<Value = Vec<u32>> {
        let symbol = || select(&[1_u32, 2, 3]);
        let noise = vec(symbol(), 1..6);
        let cycle = |periods| {
            (vec(symbol(), periods), 2_usize..7, 0_usize..64).prop_map(
                |(round, n_rounds, n_more): (Vec<u32>, usize, usize)| {
                    let len = round.len() * n_rounds + n_more % round.len();
                    round.into_iter().cycle().take(len).collect::<Vec<_>>()
                },
            )
        };
        let piece = prop_oneof![2 => noise, 3 => cycle(1..8), 1 => cycle(8..80)];
        vec(piece, 1..8).prop_map(|it| it.concat())
    }

    proptest! {
        #[test]
        fn it_sees_what_a_naive_search_sees(stream in streams(), a in 1..=MAX_PERIOD, b in 1..=MAX_PERIOD) {
            let (min, max) = (a.min(b), a.max(b));
            let mut cycles = Cycles::default();
            for n in 1..=stream.len() {
                cycles.push(stream[n - 1]);
                let seen = &stream[..n];
                prop_assert_eq!(cycles.longest(1, MAX_PERIOD), naive(seen, 1, MAX_PERIOD));
                prop_assert_eq!(cycles.longest(min, max), naive(seen, min, max));
                for period in 1..=MAX_PERIOD {
                    prop_assert_eq!(cycles.is_alive(period), 0 < rounds(seen, period));
                }
            }
        }
    }

    #[test]
    fn endless_cycles_stay_what_they_are() {
        for period in [1_u32, 2, 5, 64] {
            let mut cycles = Cycles::default();
            for it in 0..200_000 {
                cycles.push(it % period + 1);
            }
            let found = cycles.longest(1, MAX_PERIOD).expect("it goes round");
            assert_eq!(found.period, period as usize);
            assert!(1_000 < found.rounds, "{found:?}");
            let longer_only = cycles
                .longest(period as usize + 1, MAX_PERIOD.max(period as usize + 1).min(MAX_PERIOD));
            assert_eq!(longer_only, None);
        }
    }
}
