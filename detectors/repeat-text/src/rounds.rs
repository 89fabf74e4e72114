/// How many segments the longest round has that is seen.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// How many bytes the longest round has that is seen.
pub(crate) const MAX_BYTES: u32 = 512;
/// Fewer rounds than this are a figure of speech.
pub(crate) const MIN_ROUNDS: u32 = 4;

/// Tells whether a stream of segments goes round.
///
/// For each number of segments it keeps how many bytes the latest ones have
/// that equal the one so many before them. One step is one pass over two short
/// arrays, which the compiler turns into vector instructions.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    /// The latest symbols, the latest first; zero where there is none yet.
    symbols: [u32; MAX_SEGMENTS],
    lens: [u8; MAX_SEGMENTS],
    /// `runs[n - 1]` belongs to rounds of `n` segments, and does not overflow.
    runs: [u16; MAX_SEGMENTS],
}

/// What is said again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chant {
    /// How many bytes one round has.
    pub(crate) round: u32,
    /// How many bytes all rounds have, the latest of which may be incomplete.
    pub(crate) covered: u32,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { symbols: [0; MAX_SEGMENTS], lens: [0; MAX_SEGMENTS], runs: [0; MAX_SEGMENTS] }
    }
}

impl Rounds {
    /// Takes the next segment, whose symbol is not zero. Returns how many bytes
    /// came before, at most.
    pub(crate) fn push(&mut self, symbol: u32, len: u8) -> u32 {
        let mut longest = 0;
        for (run, earlier) in self.runs.iter_mut().zip(&self.symbols) {
            *run = if *earlier == symbol { run.saturating_add(u16::from(len)) } else { 0 };
            longest = longest.max(*run);
        }
        self.symbols.copy_within(..MAX_SEGMENTS - 1, 1);
        self.symbols[0] = symbol;
        self.lens.copy_within(..MAX_SEGMENTS - 1, 1);
        self.lens[0] = len;
        u32::from(longest)
    }

    /// What the segments end in: of all chants of enough rounds the one that
    /// covers the most, and of those the one of the shortest rounds.
    pub(crate) fn chant(&self) -> Option<Chant> {
        let mut best: Option<Chant> = None;
        let mut round = 0;
        for (run, len) in self.runs.iter().zip(&self.lens) {
            round += u32::from(*len);
            if MAX_BYTES < round {
                break;
            }
            // A full counter says no more than that.
            let covered = (u32::from(*run) + round).min(u32::from(u16::MAX));
            if round * MIN_ROUNDS <= covered && best.is_none_or(|it| it.covered < covered) {
                best = Some(Chant { round, covered });
            }
        }
        best
    }
}

impl Chant {
    /// How many complete rounds there are.
    pub(crate) fn n_rounds(self) -> u32 {
        self.covered / self.round.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{Chant, MAX_BYTES, MAX_SEGMENTS, MIN_ROUNDS, Rounds};

    /// Tries every length of a round.
    fn naive(stream: &[(u32, u8)]) -> Option<Chant> {
        let n_bytes = |it: &[(u32, u8)]| it.iter().map(|(_, len)| u32::from(*len)).sum::<u32>();
        let chants = (1..=stream.len().min(MAX_SEGMENTS)).map(|period| {
            let n_equal = (period..stream.len())
                .rev()
                .take_while(|it| stream[*it].0 == stream[*it - period].0)
                .count();
            let round = n_bytes(&stream[stream.len() - period..]);
            let run = n_bytes(&stream[stream.len() - n_equal..]);
            Chant { round, covered: round + run }
        });
        let real = chants.filter(|it| it.round <= MAX_BYTES && it.round * MIN_ROUNDS <= it.covered);
        real.reduce(|best, it| if best.covered < it.covered { it } else { best })
    }

    /// Streams of few symbols, each with a length of its own, with many rounds
    /// in them.
    fn streams() -> impl Strategy<Value = Vec<(u32, u8)>> {
        let segment = || select(&[(1_u32, 5_u8), (2, 9), (3, 24), (4, 100)]);
        let noise = vec(segment(), 1..6);
        let rounds = |lens| {
            (vec(segment(), lens), 2_usize..9, 0_usize..64).prop_map(
                |(round, n_rounds, n_more): (Vec<(u32, u8)>, usize, usize)| {
                    let n_segments = round.len() * n_rounds + n_more % round.len();
                    round.into_iter().cycle().take(n_segments).collect::<Vec<_>>()
                },
            )
        };
        let piece = prop_oneof![2 => noise, 3 => rounds(1..8), 1 => rounds(8..80)];
        vec(piece, 1..8).prop_map(|it| it.concat())
    }

    proptest! {
        #[test]
        fn it_sees_what_a_naive_search_sees(stream in streams()) {
            let mut rounds = Rounds::default();
            for (n, (symbol, len)) in stream.iter().enumerate() {
                let longest = rounds.push(*symbol, *len);
                let chant = naive(&stream[..=n]);
                prop_assert_eq!(rounds.chant(), chant);
                prop_assert!(chant.is_none_or(|it| it.covered - it.round <= longest));
            }
        }
    }

    #[test]
    fn endless_rounds_stay_what_they_are() {
        for n_segments in [1, 2, 5, 64] {
            let mut rounds = Rounds::default();
            for it in 0..100_000 {
                rounds.push(it % n_segments + 1, 8);
            }
            let chant = rounds.chant().expect("it goes round");
            assert_eq!(chant, Chant { round: n_segments * 8, covered: u32::from(u16::MAX) });
        }
    }
}
