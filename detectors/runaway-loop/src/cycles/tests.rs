use proptest::{collection::vec, prelude::*, sample::select};

use super::{Added, Cycle, Cycles, MAX_PERIOD};

/// Returns the number of complete rounds of this period at the end of a stream.
fn rounds(stream: &[u32], period: usize) -> u64 {
    let run = (0..stream.len().saturating_sub(period))
        .rev()
        .take_while(|it| stream[*it] == stream[it + period])
        .count();
    if run == 0 { 0 } else { ((run + period) / period) as u64 }
}

/// Returns false if the rounds at the end of a stream consist of a shorter cycle.
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
        n_unrelated: None,
        is_certain: false,
    });
    let real = cycles.filter(|it| 2 <= it.rounds && is_primitive(stream, it.period));
    real.reduce(|best, it| if best.rounds < it.rounds { it } else { best })
}

/// Streams of few symbols, with many cycles.
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

/// A random number generator with a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        // Knuth's MMIX generator; the upper half of the state is returned.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(self.0 >> 32).expect("the value has 32 bits");
        u32::try_from((u64::from(high) * u64::from(n)) >> 32).expect("the value is less than `n`")
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_search(stream in streams(), a in 1..=MAX_PERIOD, b in 1..=MAX_PERIOD) {
        let (min, max) = (a.min(b), a.max(b));
        let mut cycles = Cycles::default();
        for n in 1..=stream.len() {
            cycles.push(stream[n - 1], MAX_PERIOD);
            let start = &stream[..n];
            prop_assert_eq!(cycles.longest(1, MAX_PERIOD), naive(start, 1, MAX_PERIOD));
            prop_assert_eq!(cycles.longest(min, max), naive(start, min, max));
            for period in 1..=MAX_PERIOD {
                prop_assert!(cycles.continues(period) || rounds(start, period) < 2);
            }
        }
    }
}

/// A million symbols: random symbols of an alphabet of 2 to 6, or new symbols,
/// with cycles of every period in between, some of them with one changed
/// symbol.
fn million() -> Vec<u32> {
    let mut random = Random(7);
    let mut stream = Vec::new();
    while stream.len() < 1_000_000 {
        let n_symbols = if random.below(4) == 0 { u32::MAX } else { 2 + random.below(5) };
        let mut symbols = |n: u32| (0..n).map(|_| random.below(n_symbols)).collect::<Vec<_>>();
        let (noise, round) = (symbols(40), symbols(64));
        stream.extend(&noise[..random.below(40) as usize]);
        let round = &round[..=random.below(64) as usize];
        let len = round.len() * 2 + random.below(3 * 64) as usize;
        let begin = stream.len();
        stream.extend(round.iter().cycle().take(len));
        if random.below(3) == 0 {
            stream[begin + random.below(64) as usize % len] ^= 1;
        }
    }
    stream.truncate(1_000_000);
    stream
}

/// Returns true if a stream ends in three rounds of this period.
fn ends_in_three(stream: &[u32], period: usize) -> bool {
    let n = stream.len();
    3 * period <= n
        && stream[n - 1] == stream[n - 1 - period]
        && stream[n - 2 * period..] == stream[n - 3 * period..n - period]
}

#[test]
fn finds_exactly_the_cycles_in_a_million_symbols() {
    let stream = million();
    let mut cycles = Cycles::default();
    let mut n_completed = [0; MAX_PERIOD];
    let mut before = [false; MAX_PERIOD];
    for n in 1..=stream.len() {
        cycles.push(stream[n - 1], MAX_PERIOD);
        let runs = cycles.counts.as_ref().map_or([0; MAX_PERIOD], |counts| *counts.runs());
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
            // No shorter cycle is due, so this one does not consist of one.
            let found = cycles.longest(period, period).expect("a cycle is due");
            assert!(3 <= found.rounds, "period {period} at {n}");
        }
    }
    assert!(n_completed.iter().all(|it| 20 < *it), "{n_completed:?}");
}

/// Returns the number of trials, of 200, in which a cycle is found within
/// `n_rounds` if `n_mutated` of a thousand symbols are unrelated.
fn n_found(period: u32, n_rounds: u32, n_mutated: u32) -> usize {
    let mut random = Random(u64::from(period));
    let mut trial = || {
        let mut cycles = Cycles::default();
        (0..n_rounds * period).any(|n| {
            let is_unrelated = random.below(1000) < n_mutated;
            cycles.push(if is_unrelated { random.below(u32::MAX) } else { n % period }, MAX_PERIOD);
            cycles.find(1, MAX_PERIOD).is_some_and(|it| it.period == period as usize)
        })
    };
    (0..200).filter(|_| trial()).count()
}

#[test]
fn finds_cycles_with_one_unrelated_symbol_in_twenty() {
    for period in [2, 3, 5, 8, 13, 21, 34, 55, 64] {
        let n_found = n_found(period, 10, 50);
        assert!(190 <= n_found, "{n_found} of 200 with period {period}");
    }
}

#[test]
fn a_new_symbol_in_every_round_is_progress() {
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
fn counts_unrelated_symbols() {
    for period in [5_u32, 10, 40] {
        let mut cycles = Cycles::default();
        for n in 0..12 * period {
            // One symbol is replaced, and one is inserted.
            if n == 6 * period {
                cycles.push(1_001, MAX_PERIOD);
            }
            cycles.push(if n == 3 * period { 1_000 } else { n % period }, MAX_PERIOD);
        }
        let counts = cycles.counts.expect("the stream repeats");
        let found = counts.inexact_cycle().expect("the stream repeats");
        assert_eq!((found.period, found.n_unrelated), (period as usize, Some(2)));
        assert!((9..=12).contains(&found.rounds), "{found:?}");
    }
}

#[test]
fn random_symbols_make_few_cycles() {
    // Four symbols occur often, among new symbols.
    let mut random = Random(1);
    let mut cycles = Cycles::default();
    let (mut n_exact, mut n_found) = (0, 0);
    for _ in 0..1_000_000 {
        let is_frequent = random.below(100) < 62;
        let symbol = 4 * if is_frequent { random.below(4) } else { random.below(1 << 30) };
        cycles.push(symbol, MAX_PERIOD);
        let is_exact = cycles.longest(2, MAX_PERIOD).is_some_and(|it| 3 <= it.rounds);
        n_exact += u32::from(is_exact);
        n_found += u32::from(cycles.find(2, MAX_PERIOD).is_some());
    }
    assert!(n_exact < 200, "{n_exact} are exact");
    assert!(n_found < n_exact + 20, "{n_found} are found, {n_exact} of them exact");
}

#[test]
fn counters_saturate() {
    for period in [1_u32, 2, 5, 64] {
        let mut cycles = Cycles::default();
        for n in 0..200_000 {
            cycles.push(n % period + 1, MAX_PERIOD);
        }
        let found = cycles.longest(1, MAX_PERIOD).expect("the stream repeats");
        assert_eq!(found.period, period as usize);
        assert!(1_000 < found.rounds, "{found:?}");
        let longer_only = cycles
            .longest(period as usize + 1, MAX_PERIOD.max(period as usize + 1).min(MAX_PERIOD));
        assert_eq!(longer_only, None);
    }
}

#[test]
fn one_cycle_is_found_when_counters_are_full() {
    for period in [1, 2, 3] {
        let mut cycles = Cycles::default();
        for n in 0..66_100_u32 {
            cycles.push(n % period, MAX_PERIOD);
            if 65_400 < n {
                let found = cycles.find(1, MAX_PERIOD).map(|cycle| cycle.period);
                assert_eq!(found, Some(period as usize), "at {n}");
                assert_eq!(cycles.find(period as usize + 1, MAX_PERIOD), None, "at {n}");
            }
        }
    }
}

/// A cycle of `period` symbols in which up to three new symbols are inserted after the
/// symbols at some positions.
fn with_insertions() -> impl Strategy<Value = (u32, Vec<u32>, u64, u64)> {
    (2_u32..=16, 4_u64..12).prop_flat_map(|(period, rounds)| {
        // The first two rounds are equal.
        let first = 2 * u64::from(period);
        let last = rounds * u64::from(period) - 1;
        let insertions = vec((first..last, 1_u32..=3), 0..6);
        insertions.prop_map(move |insertions| {
            let mut stream = Vec::new();
            let mut n_new = 1_000;
            let mut n_insertions = 0;
            for n in 0..=last {
                let at = u32::try_from(n % u64::from(period)).expect("a period is small");
                stream.push(4 * at);
                if let Some((_, n_symbols)) = insertions.iter().find(|(at, _)| *at == n) {
                    n_insertions += 1;
                    for _ in 0..*n_symbols {
                        n_new += 4;
                        stream.push(n_new);
                    }
                }
            }
            (period, stream, rounds, n_insertions)
        })
    })
}

proptest! {
    #[test]
    fn an_insertion_costs_one_round((period, stream, rounds, n_insertions) in with_insertions()) {
        let mut cycles = Cycles::default();
        for symbol in stream {
            cycles.add(symbol, MAX_PERIOD);
        }
        let found = cycles.find(2, MAX_PERIOD);
        let n_counted = rounds - n_insertions.min(rounds);
        let is_due = match n_insertions {
            0 => true,
            _ => 4 <= n_counted,
        };
        prop_assert_eq!(found.is_some(), is_due, "{:?}", found);
        if let Some(found) = found {
            prop_assert_eq!(found.period, period as usize);
            prop_assert_eq!(found.rounds, n_counted);
            prop_assert_eq!(found.n_unrelated.is_some(), 0 < n_insertions);
        }
    }

    #[test]
    fn known_symbols_are_not_deferred(stream in streams()) {
        let stream: Vec<u32> = [1, 2, 3].into_iter().chain(stream).map(|it| 4 * it).collect();
        let (mut added, mut pushed) = (Cycles::default(), Cycles::default());
        for symbol in stream {
            // A symbol that has left the latest symbols is new.
            if added.add(symbol, MAX_PERIOD) == Added::Deferred {
                break;
            }
            pushed.push(symbol, MAX_PERIOD);
            prop_assert_eq!(&added.recent, &pushed.recent);
            prop_assert_eq!(added.find(1, MAX_PERIOD), pushed.find(1, MAX_PERIOD));
        }
    }
}

#[test]
fn an_insertion_in_every_round_is_progress() {
    for period in [2, 3, 8, 60] {
        let mut cycles = Cycles::default();
        for n in 0..60 * period {
            cycles.add(4 * (n % period), MAX_PERIOD);
            // The first rounds are equal.
            if 2 * period <= n && n % period == 0 {
                cycles.add(4_000 + 4 * n, MAX_PERIOD);
            }
            let found = cycles.find(1, MAX_PERIOD).filter(|cycle| !cycle.is_certain);
            assert_eq!(found, None, "period {period} at {n}");
        }
    }
}

#[test]
fn two_long_rounds_are_certain_and_so_are_two_with_several_changes() {
    let find = |round: &[u32], n_rounds| {
        let mut cycles = Cycles::default();
        let len = round.len() * n_rounds;
        round.iter().cycle().take(len).for_each(|symbol| {
            cycles.add(*symbol, MAX_PERIOD);
        });
        cycles.find(1, MAX_PERIOD).map(|cycle| (cycle.period, cycle.weight()))
    };
    let calls: Vec<u32> = (1..=9).map(|n| 4 * n).collect();
    assert_eq!(find(&calls[..7], 2), None);
    assert_eq!(find(&calls[..7], 3), Some((7, 3)));
    assert_eq!(find(&calls[..8], 2), Some((8, 3)));
    assert_eq!(find(&calls[..8], 3), Some((8, 4)));
    // Eight calls, but not eight different ones.
    let two_of_one = [&calls[..7], &calls[..1]].concat();
    assert_eq!(find(&two_of_one, 2), None);
    // A poll among many calls.
    assert_eq!(find(&[&calls[..8], &[2]].concat(), 2), None);
    // Symbols of changes are odd.
    assert_eq!(find(&[5, 8, 12], 2), None);
    assert_eq!(find(&[5, 8, 5, 12], 2), None);
    assert_eq!(find(&[5, 8, 9], 2), Some((3, 3)));
    assert_eq!(find(&[5, 8, 9], 1), None);
    // Changes only, or with others than of a text.
    assert_eq!(find(&[5, 9, 13, 17, 21, 25, 29, 33, 37], 2), None);
    assert_eq!(find(&[5, 8, 9, 2], 2), None);
}
