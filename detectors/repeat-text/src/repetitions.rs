//! Repetitions in a stream of segments.

/// The largest number of segments in a detected span.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// The longest detected span, in bytes.
pub(crate) const MAX_BYTES: u32 = 512;
/// The least number of rounds. Fewer are a figure of speech.
pub(crate) const MIN_ROUNDS: u32 = 4;

/// Detects repetitions at the end of a stream of segments.
///
/// For each `n` up to 64, counts the bytes of the latest segments that equal
/// the segment `n` before them. One step is one pass over two short arrays,
/// which the compiler vectorizes.
#[derive(Clone, Debug)]
pub(crate) struct Repetitions {
    /// The latest symbols, newest first; zero in unused slots.
    symbols: [u32; MAX_SEGMENTS],
    lens: [u8; MAX_SEGMENTS],
    /// Repeated bytes for spans of `n` segments at index `n - 1`; saturating.
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

impl Default for Repetitions {
    fn default() -> Self {
        Self { symbols: [0; MAX_SEGMENTS], lens: [0; MAX_SEGMENTS], runs: [0; MAX_SEGMENTS] }
    }
}

impl Repetitions {
    /// Adds the next segment, whose symbol is not zero. Returns the largest
    /// number of repeated bytes.
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

    /// Returns the repeated span at the end of the stream: of all spans with
    /// enough rounds the one with the most bytes in total, and of those the
    /// shortest.
    pub(crate) fn span(&self) -> Option<RepeatedSpan> {
        let mut best: Option<RepeatedSpan> = None;
        let mut span_bytes = 0;
        for (run, len) in self.runs.iter().zip(&self.lens) {
            span_bytes += u32::from(*len);
            if MAX_BYTES < span_bytes {
                break;
            }
            // Saturated counters are equal, so that the shortest span wins.
            let total_bytes = (u32::from(*run) + span_bytes).min(u32::from(u16::MAX));
            let is_better = best.is_none_or(|best| best.total_bytes < total_bytes);
            if span_bytes * MIN_ROUNDS <= total_bytes && is_better {
                best = Some(RepeatedSpan { span_bytes, total_bytes });
            }
        }
        best
    }
}

impl RepeatedSpan {
    /// Returns the number of complete rounds.
    pub(crate) fn n_rounds(self) -> u32 {
        self.total_bytes / self.span_bytes.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{MAX_BYTES, MAX_SEGMENTS, MIN_ROUNDS, RepeatedSpan, Repetitions};

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
        let valid = spans.filter(|span| {
            span.span_bytes <= MAX_BYTES && span.span_bytes * MIN_ROUNDS <= span.total_bytes
        });
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
                let longest = repetitions.push(*symbol, *len);
                let span = naive(&stream[..=n]);
                prop_assert_eq!(repetitions.span(), span);
                let n_repeated = span.map_or(0, |span| span.total_bytes - span.span_bytes);
                prop_assert!(n_repeated <= longest);
            }
        }
    }

    #[test]
    fn counters_saturate() {
        for n_segments in [1, 2, 5, 64] {
            let mut repetitions = Repetitions::default();
            for n in 0..100_000 {
                repetitions.push(n % n_segments + 1, 8);
            }
            let span = repetitions.span().expect("the stream repeats");
            let total_bytes = u32::from(u16::MAX);
            assert_eq!(span, RepeatedSpan { span_bytes: n_segments * 8, total_bytes });
        }
    }
}
