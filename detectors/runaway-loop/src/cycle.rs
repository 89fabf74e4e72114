/// The longest cycle that is seen.
pub(crate) const MAX_PERIOD: usize = 64;
/// How many symbols are given room at first: no allocation is smaller.
const SMALLEST_ROOM: usize = 6;
/// Fewer rounds than this are a coincidence.
const FEWEST_ROUNDS: u64 = 3;
/// What a step that does not fit takes off the score of a period.
const PENALTY: u8 = 2;
/// The highest score of each period: four more rounds of it.
const MAX_SCORES: [u8; MAX_PERIOD] = {
    let mut res = [u8::MAX; MAX_PERIOD];
    let mut period = 1;
    while 4 * period <= u8::MAX as usize {
        #[expect(clippy::cast_possible_truncation, reason = "it was just compared")]
        let score = 4 * period as u8;
        res[period - 1] = score;
        period += 1;
    }
    res
};

/// Tells in which cycles a stream of symbols goes round.
///
/// For each period it counts the latest symbols that equal the one a period
/// before them: a stream ends in `r` rounds of a cycle of period `p` if and
/// only if `(r - 1) * p` of them do. One step is one pass over short arrays,
/// which the compiler turns into vector instructions.
///
/// Beside that it keeps a score for each period, which a symbol that fits
/// raises by one and any other lowers by two: so it follows a cycle through an
/// odd symbol.
///
/// There is one for each of very many streams, and most of what they see is
/// new, so all arrays take only the room they need.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cycles {
    /// The latest symbols, the latest last.
    recent: Vec<u32>,
    /// `None` if all of it is zero.
    counts: Option<Box<Counts>>,
}

/// What belongs to period `p` has the index `p - 1`.
#[derive(Clone, Debug)]
struct Counts {
    /// How many of the latest symbols fit. They do not overflow.
    runs: [u16; MAX_PERIOD],
    scores: [u8; MAX_PERIOD],
    /// The cycle that the stream seems to be in.
    lead: Option<Lead>,
}

/// What is known of one cycle from its second round on.
#[derive(Clone, Copy, Debug)]
struct Lead {
    period: u8,
    /// The place in the round of the next symbol.
    phase: u8,
    /// The places in the round whose symbol came again at least once.
    same: u64,
    /// Those whose symbol did not, in the latest round.
    broken: u64,
    n_same: u32,
    n_odd: u32,
}

/// A cycle that a stream ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// How many symbols make one round.
    pub(crate) period: usize,
    /// How many complete rounds there were.
    pub(crate) rounds: u64,
    /// How many symbols came in between that are not of the cycle; `None` if
    /// the rounds are one like the other.
    pub(crate) n_odd: Option<u32>,
}

/// A symbol that came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recurrence {
    /// How often it came.
    pub(crate) n_times: usize,
    /// In how many steps.
    pub(crate) n_steps: usize,
    /// Whether nothing else came in between.
    pub(crate) is_in_a_row: bool,
}

impl Cycle {
    /// How many rounds without a flaw say as much.
    pub(crate) fn weight(&self) -> u64 {
        self.rounds - u64::from(self.n_odd.is_some())
    }
}

impl Cycles {
    /// Takes the next symbol, and looks out for cycles of up to `max_period`.
    /// Gives back whether it is one of the latest.
    pub(crate) fn push(&mut self, symbol: u32, max_period: usize) -> bool {
        let is_known = self.has(symbol);
        if is_known {
            let mut is_same = [false; MAX_PERIOD];
            // No period that reaches further back fits.
            for (is_same, recent) in is_same.iter_mut().zip(self.recent.iter().rev()) {
                *is_same = *recent == symbol;
            }
            self.counts.get_or_insert_default().go_on(&is_same);
        } else if let Some(counts) = &mut self.counts {
            counts.go_on(&[false; MAX_PERIOD]);
        }
        if let Some(counts) = &mut self.counts {
            counts.follow(is_known, max_period);
        }
        self.counts.take_if(|it| it.scores == [0; MAX_PERIOD]);
        self.keep(symbol);
        is_known
    }

    fn keep(&mut self, symbol: u32) {
        let n = self.recent.len();
        if n == MAX_PERIOD {
            self.recent.remove(0);
        } else if n == self.recent.capacity() {
            self.recent.reserve_exact(n.max(SMALLEST_ROOM).min(MAX_PERIOD - n));
        }
        self.recent.push(symbol);
    }

    /// Forgets all symbols, and keeps room for some.
    pub(crate) fn clear(&mut self) {
        self.recent.clear();
        self.recent.shrink_to(2 * SMALLEST_ROOM);
        self.counts = None;
    }

    /// Whether there is no symbol yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// Whether some of the latest symbols may be part of a cycle.
    pub(crate) fn is_recurring(&self) -> bool {
        self.counts.is_some()
    }

    /// Whether the latest two rounds of some period are much the same.
    pub(crate) fn is_going_round(&self) -> bool {
        self.counts.as_ref().is_some_and(|it| it.lead.is_some())
    }

    /// Whether a symbol is among the latest.
    pub(crate) fn has(&self, symbol: u32) -> bool {
        // Without a way out, so that the compiler may take many at once.
        self.recent.iter().map(|it| u32::from(*it == symbol)).fold(0, |found, it| found | it) != 0
    }

    /// How often a symbol is among the latest.
    pub(crate) fn count(&self, symbol: u32) -> usize {
        self.recent.iter().filter(|it| **it == symbol).count()
    }

    /// How often a symbol is among the latest, and how far back: of no more
    /// than `within` symbols, and of those after the latest one that shares its
    /// upper half alone.
    pub(crate) fn recurrence(&self, symbol: u32, within: usize) -> Recurrence {
        let is_other = |it: &&u32| **it != symbol && **it >> 16 == symbol >> 16;
        let latest = self.recent.iter().rev().take(within).take_while(|it| !is_other(it));
        let mut res = Recurrence { n_times: 0, n_steps: 0, is_in_a_row: true };
        for (n_before, _) in latest.enumerate().filter(|(_, it)| **it == symbol) {
            res.is_in_a_row &= res.n_times == n_before;
            res.n_times += 1;
            res.n_steps = n_before + 1;
        }
        res
    }

    /// Whether all of the latest symbols share their upper half.
    pub(crate) fn is_one_call(&self, n_latest: usize) -> bool {
        let mut calls = self.recent.iter().rev().take(n_latest).map(|it| it >> 16);
        let latest = calls.next();
        calls.all(|it| Some(it) == latest)
    }

    /// Whatever went round does so no more.
    pub(crate) fn interrupt(&mut self) {
        self.counts = None;
    }

    /// Whether a cycle of this period that was found goes on. It does until
    /// about a round of something else.
    pub(crate) fn is_alive(&self, period: usize) -> bool {
        self.counts.as_ref().is_some_and(|it| it.is_alive(period))
    }

    /// The cycle that came round most often, of those whose period is in this
    /// range and whose rounds are no coincidence.
    ///
    /// Rounds that are all alike count from three on. If an odd symbol came in
    /// between, it takes one more to be sure, and each place in the round must
    /// have come again: what is new in every round is progress.
    pub(crate) fn find(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let counts = self.counts.as_deref()?;
        let exact = counts.has_three_rounds().then(|| self.longest(min_period, max_period));
        let exact = exact.flatten().filter(|it| FEWEST_ROUNDS <= it.rounds);
        let noisy = counts.lead.and_then(|it| counts.noisy(it));
        let is_better = |it: &Cycle| exact.is_none_or(|exact| exact.weight() < it.weight());
        noisy
            .filter(|it| {
                (min_period..=max_period).contains(&it.period)
                    && is_better(it)
                    && counts.is_whole(it.period)
            })
            .or(exact)
    }

    /// The cycle of two or more rounds, each like the other, that came round
    /// most often, of those whose period is in this range. A cycle that is a
    /// shorter one told several times is not a cycle.
    fn longest(&self, min_period: usize, max_period: usize) -> Option<Cycle> {
        let runs = &self.counts.as_deref()?.runs;
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
                    best = Some(Cycle { period, rounds, n_odd: None });
                }
            }
        }
        best
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { runs: [0; MAX_PERIOD], scores: [0; MAX_PERIOD], lead: None }
    }
}

impl Counts {
    /// Counts a symbol that fits some periods.
    fn go_on(&mut self, is_same: &[bool; MAX_PERIOD]) {
        // One loop for each width, so that the compiler may take many at once.
        for (run, is_same) in self.runs.iter_mut().zip(is_same) {
            *run = run.saturating_add(1) & u16::from(*is_same).wrapping_neg();
        }
        for ((score, max), is_same) in self.scores.iter_mut().zip(&MAX_SCORES).zip(is_same) {
            let (higher, lower) =
                (score.saturating_add(1).min(*max), score.saturating_sub(PENALTY));
            *score = if *is_same { higher } else { lower };
        }
    }

    /// Whether the latest two rounds of this period are much the same.
    fn is_alive(&self, period: usize) -> bool {
        period <= usize::from(self.scores[period - 1])
    }

    fn has_three_rounds(&self) -> bool {
        // Without a way out, as above.
        let is_one = |(run, period): (&u16, u16)| u16::from(2 * period <= *run);
        self.runs.iter().zip(1..).map(is_one).fold(0, |found, it| found | it) != 0
    }

    /// The cycle that the stream seems to be in, if that is beyond doubt.
    fn noisy(&self, lead: Lead) -> Option<Cycle> {
        let period = usize::from(lead.period);
        let is_sure = 3 * period <= usize::from(self.scores[period - 1])
            && self.runs[period - 1] != 0
            && lead.same == u64::MAX >> (MAX_PERIOD - period);
        let rounds = 2 + u64::from(lead.n_same / u32::from(lead.period));
        is_sure.then_some(Cycle { period, rounds, n_odd: Some(lead.n_odd) })
    }

    /// Whether a cycle is not a shorter one told several times.
    fn is_whole(&self, period: usize) -> bool {
        (1..=period / 2).all(|it| !self.is_alive(it) || !period.is_multiple_of(it))
    }

    /// Follows the cycle that the stream seems to be in by one symbol.
    fn follow(&mut self, is_known: bool, max_period: usize) {
        let Some(lead) = self.lead.filter(|it| self.is_alive(usize::from(it.period))) else {
            let scores = || self.scores[..max_period].iter().zip(1_u8..);
            let is_one =
                scores().map(|(score, it)| u8::from(it <= *score)).fold(0, |found, it| found | it);
            self.lead = if is_one == 0 {
                None
            } else {
                scores().find(|(score, it)| it <= score).map(|(_, it)| Lead::new(it))
            };
            return;
        };
        let is_same = self.runs[usize::from(lead.period) - 1] != 0;
        self.lead = Some(lead.followed(is_same, is_known));
    }
}

impl Lead {
    fn new(period: u8) -> Self {
        Self { period, phase: 0, same: 0, broken: 0, n_same: 0, n_odd: 0 }
    }

    fn followed(mut self, is_same: bool, is_known: bool) -> Self {
        let place = 1 << self.phase;
        if is_same {
            self.same |= place;
            self.broken &= !place;
            self.n_same = self.n_same.saturating_add(1);
        } else {
            // What comes after an odd symbol in its place does not fit either.
            let is_odd = !is_known && self.broken & place == 0;
            self.n_odd = self.n_odd.saturating_add(u32::from(is_odd));
            self.broken ^= place;
        }
        self.phase = (self.phase + 1) % self.period;
        self
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
        let cycles = (min_period..=max_period).map(|period| Cycle {
            period,
            rounds: rounds(stream, period),
            n_odd: None,
        });
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

    /// Numbers that are the same in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u32) -> u32 {
            // The generator of Knuth's MMIX, and the better half of its state.
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let high = u32::try_from(self.0 >> 32).expect("half of it is left");
            u32::try_from((u64::from(high) * u64::from(n)) >> 32).expect("it is less than `n`")
        }
    }

    proptest! {
        #[test]
        fn it_sees_what_a_naive_search_sees(stream in streams(), a in 1..=MAX_PERIOD, b in 1..=MAX_PERIOD) {
            let (min, max) = (a.min(b), a.max(b));
            let mut cycles = Cycles::default();
            for n in 1..=stream.len() {
                cycles.push(stream[n - 1], MAX_PERIOD);
                let seen = &stream[..n];
                prop_assert_eq!(cycles.longest(1, MAX_PERIOD), naive(seen, 1, MAX_PERIOD));
                prop_assert_eq!(cycles.longest(min, max), naive(seen, min, max));
                for period in 1..=MAX_PERIOD {
                    prop_assert!(cycles.is_alive(period) || rounds(seen, period) < 2);
                }
            }
        }
    }

    /// A million symbols: random ones of an alphabet of 2 to 6, or new ones,
    /// and between them cycles of every period, some of them with a flaw.
    fn million() -> Vec<u32> {
        let mut dice = Dice(7);
        let mut stream = Vec::new();
        while stream.len() < 1_000_000 {
            let n_symbols = if dice.below(4) == 0 { u32::MAX } else { 2 + dice.below(5) };
            let mut symbols = |n: u32| (0..n).map(|_| dice.below(n_symbols)).collect::<Vec<_>>();
            let (noise, round) = (symbols(40), symbols(64));
            stream.extend(&noise[..dice.below(40) as usize]);
            let round = &round[..=dice.below(64) as usize];
            let len = round.len() * 2 + dice.below(3 * 64) as usize;
            let begin = stream.len();
            stream.extend(round.iter().cycle().take(len));
            if dice.below(3) == 0 {
                stream[begin + dice.below(64) as usize % len] ^= 1;
            }
        }
        stream.truncate(1_000_000);
        stream
    }

    /// Whether a stream ends in three rounds of this period.
    fn ends_in_three(stream: &[u32], period: usize) -> bool {
        let n = stream.len();
        3 * period <= n
            && stream[n - 1] == stream[n - 1 - period]
            && stream[n - 2 * period..] == stream[n - 3 * period..n - period]
    }

    #[test]
    fn of_a_million_symbols_none_is_missed_and_none_is_extra() {
        let stream = million();
        let mut cycles = Cycles::default();
        let mut n_completed = [0; MAX_PERIOD];
        let mut before = [false; MAX_PERIOD];
        for n in 1..=stream.len() {
            cycles.push(stream[n - 1], MAX_PERIOD);
            let runs = cycles.counts.as_ref().map_or([0; MAX_PERIOD], |it| it.runs);
            let mut shortest = None;
            for (period, run) in (1..=MAX_PERIOD).zip(runs) {
                let is_due = ends_in_three(&stream[..n], period);
                assert_eq!(2 * period <= usize::from(run), is_due, "period {period} at {n}");
                n_completed[period - 1] += u32::from(is_due && !before[period - 1]);
                before[period - 1] = is_due;
                shortest = shortest.or(is_due.then_some(period));
            }
            let found = cycles.longest(1, MAX_PERIOD).filter(|it| 3 <= it.rounds);
            assert_eq!(found.is_some(), shortest.is_some(), "at {n}");
            if let Some(period) = shortest {
                // No shorter one is due, so it is none of those told over.
                let found = cycles.longest(period, period).expect("it is due");
                assert!(3 <= found.rounds, "period {period} at {n}");
            }
        }
        assert!(n_completed.iter().all(|it| 20 < *it), "{n_completed:?}");
    }

    /// In how many of 200 trials a cycle is found within `n_rounds`, if so many
    /// of a thousand symbols are others.
    fn n_found(period: u32, n_rounds: u32, n_mutated: u32) -> usize {
        let mut dice = Dice(u64::from(period));
        let mut trial = || {
            let mut cycles = Cycles::default();
            (0..n_rounds * period).any(|n| {
                let is_odd = dice.below(1000) < n_mutated;
                cycles.push(if is_odd { dice.below(u32::MAX) } else { n % period }, MAX_PERIOD);
                cycles.find(1, MAX_PERIOD).is_some_and(|it| it.period == period as usize)
            })
        };
        (0..200).filter(|_| trial()).count()
    }

    #[test]
    fn one_odd_symbol_in_twenty_hides_no_cycle() {
        for period in [2, 3, 5, 8, 13, 21, 34, 55, 64] {
            let n_found = n_found(period, 10, 50);
            assert!(190 <= n_found, "{n_found} of 200 with period {period}");
        }
    }

    #[test]
    fn what_is_new_in_every_round_is_progress() {
        for period in [2, 3, 8, 64] {
            let mut cycles = Cycles::default();
            for n in 0..100 * period {
                let is_new = n % period == 0;
                cycles.push(if is_new { 1_000 + n } else { n % period }, MAX_PERIOD);
                assert_eq!(cycles.find(1, MAX_PERIOD), None, "period {period} at {n}");
            }
        }
    }

    #[test]
    fn odd_symbols_are_counted() {
        for period in [5_u32, 10, 40] {
            let mut cycles = Cycles::default();
            for n in 0..12 * period {
                // One instead of another, and one between two others.
                if n == 6 * period {
                    cycles.push(1_001, MAX_PERIOD);
                }
                cycles.push(if n == 3 * period { 1_000 } else { n % period }, MAX_PERIOD);
            }
            let counts = cycles.counts.expect("it goes round");
            let found = counts.lead.and_then(|it| counts.noisy(it)).expect("it goes round");
            assert_eq!((found.period, found.n_odd), (period as usize, Some(2)));
            assert!((9..=12).contains(&found.rounds), "{found:?}");
        }
    }

    #[test]
    fn chance_makes_few_cycles() {
        // A few calls that are made all the time, among others.
        let mut dice = Dice(1);
        let mut cycles = Cycles::default();
        let (mut n_exact, mut n_found) = (0, 0);
        for _ in 0..1_000_000 {
            let is_hot = dice.below(100) < 62;
            let symbol = if is_hot { dice.below(4) } else { dice.below(u32::MAX) };
            cycles.push(symbol, MAX_PERIOD);
            let is_exact = cycles.longest(2, MAX_PERIOD).is_some_and(|it| 3 <= it.rounds);
            n_exact += u32::from(is_exact);
            n_found += u32::from(cycles.find(2, MAX_PERIOD).is_some());
        }
        assert!(n_exact < 200, "{n_exact} are exact");
        assert!(n_found < n_exact + 20, "{n_found} are found, {n_exact} of them exact");
    }

    #[test]
    fn endless_cycles_stay_what_they_are() {
        for period in [1_u32, 2, 5, 64] {
            let mut cycles = Cycles::default();
            for it in 0..200_000 {
                cycles.push(it % period + 1, MAX_PERIOD);
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
