//! Searches for bytes that are probably near.

use memchr::memchr;

/// The number of bytes that are compared at once.
const CHUNK: usize = 16;
const WORD: usize = 8;

/// Returns the offset of the quote that ends a JSON string. The text begins after the first
/// quote of the string.
///
/// Most strings are keys, ids and times. For them, a call of `memchr` takes longer than this
/// search.
pub fn end_of_string(text: &[u8]) -> Option<usize> {
    /// Enough for a UUID and its quote.
    const MAX_WORDS: usize = 5;
    let (words, _) = text.as_chunks::<WORD>();
    let words = &words[..words.len().min(MAX_WORDS)];
    for (word_idx, word) in words.iter().enumerate() {
        let Some(at) = find_in_word(b'"', *word) else { continue };
        let end = word_idx * WORD + at;
        if text[..end].ends_with(b"\\") {
            return end_from(text, end);
        }
        return Some(end);
    }
    end_from(text, words.len() * WORD)
}

/// Returns the offset of the quote that ends a JSON string and is at `start` or later.
#[inline(never)] // Inlined, this takes registers from the search in short strings.
fn end_from(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += find_near(b'"', &text[at..])?;
        let n_backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if n_backslashes.is_multiple_of(2) {
            return Some(at);
        }
        at += 1;
    }
}

/// Returns the offset of the first `byte` in a text, as `memchr` does.
#[inline]
fn find_near(byte: u8, text: &[u8]) -> Option<usize> {
    /// The number of chunks that are compared before `memchr` continues the search.
    const MAX_CHUNKS: usize = 4;
    let (chunks, _) = text.as_chunks::<CHUNK>();
    let near = &chunks[..chunks.len().min(MAX_CHUNKS)];
    for (chunk_idx, chunk) in near.iter().enumerate() {
        if let Some(at) = find_in_chunk(byte, chunk) {
            return Some(chunk_idx * CHUNK + at);
        }
    }
    let n_compared = near.len() * CHUNK;
    memchr(byte, &text[n_compared..]).map(|at| n_compared + at)
}

/// Returns the position of the first `byte` in a chunk.
#[inline]
pub fn find_in_chunk(byte: u8, chunk: &[u8; CHUNK]) -> Option<usize> {
    // Compilers turn the fold into one comparison of vectors.
    if chunk.iter().fold(0, |found, other| found | u8::from(*other == byte)) == 0 {
        return None;
    }
    let (words, _) = chunk.as_chunks::<WORD>();
    let in_word = |word_idx: usize| find_in_word(byte, words[word_idx]);
    in_word(0).or_else(|| in_word(1).map(|at| WORD + at))
}

/// Returns the position of the first `byte` in a word.
#[inline]
fn find_in_word(byte: u8, word: [u8; WORD]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; WORD]);
    // The XOR turns the byte into 0. Subtracting 1 sets its highest bit. The borrow can set the
    // bit wrongly in later bytes only, never before the first.
    let word = u64::from_le_bytes(word) ^ (ONES * u64::from(byte));
    let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{end_of_string, find_in_chunk, find_near};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![1 => Just(b'"'), 2 => Just(b'\\'), 20 => any::<u8>()];
        (vec(Just(b'#'), 0..80), vec(byte, 0..80)).prop_map(|(plain, text)| [plain, text].concat())
    }

    /// Reads a string from its beginning.
    fn naive_end(text: &[u8]) -> Option<usize> {
        let mut is_escaped = false;
        text.iter().position(|byte| {
            let is_plain = std::mem::take(&mut is_escaped);
            is_escaped = *byte == b'\\' && !is_plain;
            *byte == b'"' && !is_plain
        })
    }

    proptest! {
        #[test]
        fn finds_the_byte_that_a_naive_search_finds(text in bytes(), byte: u8) {
            for byte in [byte, b'"', b'#'] {
                let expected = text.iter().position(|other| *other == byte);
                prop_assert_eq!(find_near(byte, &text), expected);
                if let Some(chunk) = text.first_chunk() {
                    let expected = expected.filter(|at| *at < chunk.len());
                    prop_assert_eq!(find_in_chunk(byte, chunk), expected);
                }
            }
        }

        #[test]
        fn finds_the_quote_that_is_not_escaped(text in bytes()) {
            prop_assert_eq!(end_of_string(&text), naive_end(&text));
        }
    }
}
