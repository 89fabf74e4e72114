//! Blocks that repeat: paragraphs and sequences of lines that are longer than
//! the latest segments.

use crate::{
    hash::Hash,
    repetitions::{MeasuredSpan, RepeatedSpan, Repetitions},
};

/// Detects the repetition of blocks.
///
/// A long round of segments is a short round of chunks, and a longer one is a
/// short round of larger chunks. The segments are cut into chunks at the local
/// minima of their symbols, and chunks into larger ones in the same way. The
/// position of a cut depends only on the few segments before it, so that every
/// round is cut at the same places, and the least symbol of a round makes at
/// least one cut in each. This is the choice of positions in Schleimer,
/// Wilkerson and Aiken, "Winnowing: Local Algorithms for Document
/// Fingerprinting" (2003).
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    /// The chunk that is not complete.
    chunk: Chunk,
    /// A chunk has about eight segments, so that the latest 32 chunks have about
    /// 2 KB, and the larger ones 16 KB, 128 KB and so on.
    repetitions: Repetitions<u16>,
    /// Blocks of larger chunks. `None` while the text is too short for them.
    larger: Option<Box<Self>>,
}

/// A sequence of segments or of smaller chunks.
#[derive(Clone, Debug, Default)]
struct Chunk {
    hash: Hash,
    /// The length in bytes, saturating.
    len: u16,
}

impl Blocks {
    /// Adds the next segment or chunk, which ends a chunk of this level if it
    /// `is_at_minimum`. Returns the repeated block, if there is one and a chunk
    /// is complete.
    pub(crate) fn push(
        &mut self,
        symbol: u32,
        len: u16,
        is_at_minimum: bool,
        measure: &impl Fn(RepeatedSpan) -> Option<MeasuredSpan>,
    ) -> Option<MeasuredSpan> {
        self.chunk.hash.push_symbol(symbol);
        self.chunk.len = self.chunk.len.saturating_add(len);
        if is_at_minimum { self.end_chunk(measure) } else { None }
    }

    #[inline(never)] // Rare, so that `push` is small enough to be inlined.
    fn end_chunk(
        &mut self,
        measure: &impl Fn(RepeatedSpan) -> Option<MeasuredSpan>,
    ) -> Option<MeasuredSpan> {
        let Chunk { hash, len } = std::mem::take(&mut self.chunk);
        let is_repeated = self.repetitions.push(hash.symbol(), len);
        let block = if is_repeated { self.repetitions.span(1, measure) } else { None };
        let Some(larger) = &mut self.larger else {
            if self.repetitions.is_full() {
                self.larger = Some(Box::default());
            }
            return block;
        };
        let is_at_minimum = self.repetitions.is_at_minimum();
        let larger = larger.push(hash.symbol(), len, is_at_minimum, measure);
        block.or(larger)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::Blocks;
    use crate::repetitions::{MIN_ROUNDS, MeasuredSpan, RepeatedSpan, Repetitions};

    const MAX_PERIOD: usize = 400;

    fn len(symbol: u32) -> u8 {
        u8::try_from(symbol % 9 + 1).expect("a small number")
    }

    fn n_bytes(symbols: &[u32]) -> u32 {
        symbols.iter().map(|symbol| u32::from(len(*symbol))).sum()
    }

    /// Returns the total length of the rounds of the latest `period` segments.
    fn naive(stream: &[u32], period: usize) -> u32 {
        let pairs = stream.iter().rev().zip(stream.iter().rev().skip(period));
        let n_equal = pairs.take_while(|(latest, earlier)| latest == earlier).count();
        n_bytes(&stream[stream.len() - n_equal - period..])
    }

    #[expect(clippy::unnecessary_wraps, reason = "a function for `Blocks::push`")]
    fn total_bytes(span: RepeatedSpan) -> Option<MeasuredSpan> {
        Some(MeasuredSpan { measure: span.total_bytes.into(), span })
    }

    /// Returns the block that is reported after each segment.
    fn blocks(stream: &[u32]) -> Vec<Option<RepeatedSpan>> {
        let (mut repetitions, mut blocks) = (Repetitions::<u8>::default(), Blocks::default());
        let push = |symbol: &u32| {
            repetitions.push(*symbol, len(*symbol));
            let is_at_minimum = repetitions.is_at_minimum();
            let len = len(*symbol).into();
            let block = blocks.push(*symbol, len, is_at_minimum, &total_bytes);
            block.map(|block| block.span)
        };
        stream.iter().map(push).collect()
    }

    /// Rounds of up to 400 segments, some of which occur several times.
    fn rounds() -> impl Strategy<Value = Vec<u32>> {
        let vocabulary = vec(1..u32::MAX, 30..200);
        (vocabulary, vec(any::<prop::sample::Index>(), 33..MAX_PERIOD))
            .prop_map(|(vocabulary, round)| round.iter().map(|idx| *idx.get(&vocabulary)).collect())
    }

    proptest! {
        #[test]
        fn reports_only_rounds_that_a_naive_search_finds(
            pieces in vec((rounds(), 1_usize..8, 0_usize..300), 1..4),
        ) {
            let stream: Vec<u32> = pieces
                .iter()
                .flat_map(|(round, n_rounds, n_more)| {
                    round.iter().cycle().take(round.len() * n_rounds + n_more)
                })
                .copied()
                .collect();
            for (n, block) in blocks(&stream).into_iter().enumerate() {
                let Some(block) = block else { continue };
                let stream = &stream[..=n];
                let is_round = |period: &usize| {
                    n_bytes(&stream[stream.len() - period..]) == block.span_bytes
                };
                let period = (1..stream.len()).find(is_round).expect("a round is a whole number of segments");
                prop_assert!(block.total_bytes <= naive(stream, period));
                prop_assert!(MIN_ROUNDS * block.span_bytes <= block.total_bytes);
            }
        }

        #[test]
        fn reports_every_round_but_the_first_and_the_last(
            before in rounds(),
            round in rounds(),
            n_rounds in MIN_ROUNDS + 2..12,
        ) {
            let n_segments = round.len() * usize::try_from(n_rounds).expect("a small number");
            let run: Vec<u32> = round.iter().copied().cycle().take(n_segments).collect();
            let stream = [before, run].concat();
            let latest = blocks(&stream).into_iter().rev().take(round.len()).flatten().next();
            let total_bytes = latest.map_or(0, |block| block.total_bytes);
            let round = n_bytes(&round);
            prop_assert!(round * (n_rounds - 2) <= total_bytes, "{} of {} {:?}", n_rounds, round, latest);
        }
    }
}
