//! Repetitions in a stream of segments or chunks.

/// The largest number of segments in a detected span.
pub(crate) const MAX_SEGMENTS: usize = 32;
/// The least number of rounds. Fewer are a figure of speech.
pub(crate) const MIN_ROUNDS: u32 = 4;
/// The largest total length of a span, in bytes. Saturated counters give equal
/// totals, so that the shortest span wins.
pub(crate) const MAX_TOTAL_BYTES: u32 = 256_000;
/// The number of latest segments of which a local minimum is the least.
const MINIMUM_OF: usize = 8;

/// Detects repetitions at the end of a stream of segments, whose lengths in
/// bytes have the type `Len`.
///
/// For each `n` up to 32, counts the latest segments that equal the segment `n`
/// before them. One step is one pass over two short arrays, which the compiler
/// vectorizes.
#[derive(Clone, Debug)]
pub(crate) struct Repetitions<Len> {
    /// The latest symbols, newest first; zero in unused slots. With one more
    /// slot than necessary, whole registers are moved without a call.
    symbols: [u32; MAX_SEGMENTS + 1],
    lens: [Len; MAX_SEGMENTS],
    /// The number of repeated segments for spans of `n` segments at index
    /// `n - 1`; saturating.
    runs: [u16; MAX_SEGMENTS],
}

/// A span that repeats without other text in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RepeatedSpan {
    /// The length of one round, in bytes.
    pub(crate) span_bytes: u32,
    /// The length of all rounds, in bytes; the latest may be incomplete.
    pub(crate) total_bytes: u32,
}

/// A repeated span and its measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MeasuredSpan {
    pub(crate) measure: u64,
    pub(crate) span: RepeatedSpan,
}

impl<Len: Copy + Default> Default for Repetitions<Len> {
    fn default() -> Self {
        Self {
            symbols: [0; MAX_SEGMENTS + 1],
            lens: [Len::default(); MAX_SEGMENTS],
            runs: [0; MAX_SEGMENTS],
        }
    }
}

impl<Len: Copy + Into<u32>> Repetitions<Len> {
    /// Adds the next segment, whose symbol is not zero. Returns true if some
    /// span has enough rounds.
    #[inline(never)] // Inlined, this takes registers from the loop over bytes.
    pub(crate) fn push(&mut self, symbol: u32, len: Len) -> bool {
        let is_equal = |earlier: &u32| u32::from(*earlier == symbol);
        let is_repeated =
            self.symbols[..MAX_SEGMENTS].iter().map(is_equal).fold(0, |any, it| any | it) != 0;
        // Most segments of most texts are new.
        let mut excess = 0;
        if is_repeated {
            for ((run, earlier), max_few) in self.runs.iter_mut().zip(&self.symbols).zip(&MAX_FEW) {
                *run = if *earlier == symbol { run.saturating_add(1) } else { 0 };
                excess |= run.saturating_sub(*max_few);
            }
        } else {
            self.runs = [0; MAX_SEGMENTS];
        }
        self.symbols.copy_within(..MAX_SEGMENTS, 1);
        self.symbols[0] = symbol;
        self.lens.copy_within(..MAX_SEGMENTS - 1, 1);
        self.lens[0] = len;
        excess != 0
    }

    /// Returns the repeated span at the end of the stream: of all spans with
    /// enough rounds, and with at least `min_segments`, the one with the greatest
    /// measure, and of those the shortest. Several rounds of a span are not
    /// another span.
    pub(crate) fn span(
        &self,
        min_segments: usize,
        measure: impl Fn(RepeatedSpan) -> Option<MeasuredSpan>,
    ) -> Option<MeasuredSpan> {
        let mut best: Option<MeasuredSpan> = None;
        // The number of segments in all rounds of the shorter spans.
        let mut most_segments = 0;
        // The number of bytes in the latest `n` segments, at index `n`.
        let mut n_bytes = [0; MAX_SEGMENTS + 1];
        for n in 1..=MAX_SEGMENTS {
            n_bytes[n] = n_bytes[n - 1] + self.lens[n - 1].into();
            let run = self.runs[n - 1];
            let n_segments = (usize::from(run) + n).min(u16::MAX.into());
            if run <= MAX_FEW[n - 1] || n_segments <= most_segments {
                continue;
            }
            most_segments = n_segments;
            if n < min_segments {
                continue;
            }
            let (n_rounds, n_more) = (usize::from(run) / n + 1, usize::from(run) % n);
            let n_rounds = u32::try_from(n_rounds).unwrap_or(u32::MAX);
            let total_bytes = n_bytes[n].saturating_mul(n_rounds).saturating_add(n_bytes[n_more]);
            let total_bytes = total_bytes.min(MAX_TOTAL_BYTES);
            let span = measure(RepeatedSpan { span_bytes: n_bytes[n], total_bytes });
            if best.map(|best| best.measure) < span.map(|span| span.measure) {
                best = span;
            }
        }
        best
    }

    /// Returns true if the latest segment differs from the previous one, and has
    /// the least symbol of the latest eight. A stream that repeats a span of
    /// different segments has such a segment in every round.
    pub(crate) fn is_at_minimum(&self) -> bool {
        let [latest, previous, ..] = self.symbols;
        latest < previous && self.symbols[2..MINIMUM_OF].iter().all(|earlier| latest <= *earlier)
    }

    /// Returns true if there have been as many segments as the longest span has.
    pub(crate) fn is_full(&self) -> bool {
        self.symbols[MAX_SEGMENTS - 1] != 0
    }
}

/// The largest number of repeated segments that are too few rounds of a span of
/// `n` segments, at index `n - 1`.
#[expect(clippy::cast_possible_truncation, reason = "small constants")]
const MAX_FEW: [u16; MAX_SEGMENTS] = {
    let mut max_few = [0; MAX_SEGMENTS];
    let mut n = 1;
    while n <= MAX_SEGMENTS {
        max_few[n - 1] = (n * (MIN_ROUNDS as usize - 1) - 1) as u16;
        n += 1;
    }
    max_few
};

impl RepeatedSpan {
    /// Returns the number of complete rounds.
    pub(crate) fn n_rounds(self) -> u32 {
        self.total_bytes / self.span_bytes.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{
        MAX_SEGMENTS, MAX_TOTAL_BYTES, MIN_ROUNDS, MeasuredSpan, RepeatedSpan, Repetitions,
    };

    #[expect(clippy::unnecessary_wraps, reason = "a function for `Repetitions::span`")]
    fn total_bytes(span: RepeatedSpan) -> Option<MeasuredSpan> {
        Some(MeasuredSpan { measure: span.total_bytes.into(), span })
    }

    /// Searches the stream with every length of a round.
    fn naive(stream: &[(u32, u8)]) -> Option<RepeatedSpan> {
        let n_bytes = |it: &[(u32, u8)]| it.iter().map(|(_, len)| u32::from(*len)).sum::<u32>();
        let spans = (1..=stream.len().min(MAX_SEGMENTS)).map(|period| {
            let n_equal = (period..stream.len())
                .rev()
                .take_while(|it| stream[*it].0 == stream[*it - period].0)
                .count();
            let span_bytes = n_bytes(&stream[stream.len() - period..]);
            let run = n_bytes(&stream[stream.len() - n_equal..]);
            RepeatedSpan { span_bytes, total_bytes: span_bytes + run }
        });
        let valid = spans.filter(|span| span.span_bytes * MIN_ROUNDS <= span.total_bytes);
        valid.reduce(|best, span| if best.total_bytes < span.total_bytes { span } else { best })
    }

    /// Streams with many repetitions of few symbols, each of a fixed length.
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
        fn agrees_with_a_naive_search(stream in streams()) {
            let mut repetitions = Repetitions::default();
            for (n, (symbol, len)) in stream.iter().enumerate() {
                let is_repeated = repetitions.push(*symbol, *len);
                let span = naive(&stream[..=n]);
                prop_assert_eq!(repetitions.span(1, total_bytes).map(|it| it.span), span);
                prop_assert_eq!(is_repeated, span.is_some());
            }
        }
    }

    #[test]
    fn counters_saturate() {
        for n_segments in [1, 2, 5, 32] {
            let mut repetitions = Repetitions::default();
            for n in 0..100_000 {
                repetitions.push(n % n_segments + 1, 8_u8);
            }
            let span = repetitions.span(1, total_bytes).expect("the stream repeats").span;
            let total_bytes = MAX_TOTAL_BYTES;
            assert_eq!(span, RepeatedSpan { span_bytes: n_segments * 8, total_bytes });
        }
    }
}
