//! A search for many phrases in one pass.

use std::ops::Range;

/// Phrases with values, to be found in texts. The case of ASCII letters is ignored.
///
/// A search hashes every four bytes of the text, and compares phrases only where four bytes have
/// the hash of the beginning of one. Unlike the steps of an automaton, these hashes do not depend
/// on each other, so that a processor computes several at once. Most texts contain no phrase.
pub(crate) struct PhraseSet<T> {
    /// One bit for each hash: set if a phrase begins with four bytes of this hash.
    hashes: Box<[u64; N_HASHES / 64]>,
    /// In order of their beginnings.
    phrases: Box<[Phrase<T>]>,
}

struct Phrase<T> {
    beginning: Beginning,
    text: &'static str,
    value: T,
}

/// Four bytes in which letters are lower case, and some other bytes are confused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Beginning(u32);

/// The shortest phrase, in bytes.
const SHORTEST: usize = 4;
/// The number of hashes: so many that few of them belong to a phrase.
const N_HASHES: usize = 1 << HASH_BITS;
const HASH_BITS: u32 = 15;

impl<T: Copy> PhraseSet<T> {
    /// Creates a set of lower-case phrases of four bytes or more. Panics if one is shorter.
    pub(crate) fn new(phrases: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        let phrase = |(text, value): (&'static str, T)| {
            let beginning = Beginning::of(text.as_bytes()).expect("a phrase is too short");
            Phrase { beginning, text, value }
        };
        let mut phrases: Box<[Phrase<T>]> = phrases.into_iter().map(phrase).collect();
        phrases.sort_by_key(|phrase| phrase.beginning);
        let mut hashes = Box::new([0; N_HASHES / 64]);
        for phrase in &phrases {
            let hash = phrase.beginning.hash();
            hashes[hash / 64] |= 1 << (hash % 64);
        }
        Self { hashes, phrases }
    }

    /// Returns the places and values of all phrases in a text, in order of their places. They may
    /// overlap.
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = (Range<usize>, T)> {
        let text = text.as_bytes();
        let places = text.windows(SHORTEST).filter_map(Beginning::of).enumerate();
        let may_begin = |beginning: Beginning| {
            let hash = beginning.hash();
            self.hashes[hash / 64] & 1 << (hash % 64) != 0
        };
        places.filter(move |(_, beginning)| may_begin(*beginning)).flat_map(
            move |(at, beginning)| {
                let from = self.phrases.partition_point(|phrase| phrase.beginning < beginning);
                let same = self.phrases[from..].iter();
                let same = same.take_while(move |phrase| phrase.beginning == beginning);
                same.filter_map(move |phrase| {
                    let place = at..at + phrase.text.len();
                    let found = text.get(place.clone())?;
                    found
                        .eq_ignore_ascii_case(phrase.text.as_bytes())
                        .then_some((place, phrase.value))
                })
            },
        )
    }
}

impl Beginning {
    /// Returns the beginning of a text; `None` if the text is too short.
    fn of(text: &[u8]) -> Option<Self> {
        const CASE: u32 = u32::from_le_bytes([b'a' ^ b'A'; SHORTEST]);
        Some(Self(u32::from_le_bytes(*text.first_chunk()?) | CASE))
    }

    fn hash(self) -> usize {
        // Multiplicative hashing by the golden ratio (D. Knuth, *The Art of Computer
        // Programming*, volume 3, section 6.4).
        (self.0.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HASH_BITS)) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::PhraseSet;

    const PHRASES: &[&str] =
        &["fail", "failed", "ailed to", "no such", "none", "n\u{e9}e \u{e9}", "@at_"];

    proptest! {
        #[test]
        fn finds_the_same_as_a_naive_search(
            parts in vec(
                prop_oneof![
                    select(PHRASES).prop_map(str::to_owned),
                    select(PHRASES).prop_map(str::to_ascii_uppercase),
                    "[ `_a-fA-F\u{e9}]{0,3}",
                ],
                0..8,
            ),
        ) {
            let text = parts.concat();
            let set = PhraseSet::new(PHRASES.iter().map(|phrase| (*phrase, *phrase)));
            let mut found: Vec<_> = set.find(&text).map(|(place, phrase)| (place.start, phrase)).collect();
            found.sort_unstable();
            let lower = text.to_ascii_lowercase();
            let starts = (0..text.len()).map(|at| (at, &lower.as_bytes()[at..]));
            let naive = starts.flat_map(|(at, rest)| {
                let begins = move |phrase: &&&str| rest.starts_with(phrase.as_bytes());
                PHRASES.iter().filter(begins).map(move |phrase| (at, *phrase))
            });
            let mut naive: Vec<_> = naive.collect();
            naive.sort_unstable();
            prop_assert_eq!(found, naive, "{}", text);
        }
    }
}
