//! Searches for bytes that are probably near.

use memchr::memchr;
use wide::u8x16;

/// The number of bytes that are compared at once.
pub const CHUNK: usize = 16;

/// Returns the offset of the quote that ends a JSON string. The text begins after the first
/// quote of the string.
///
/// Most strings are keys, ids and times. For them, a call of `memchr` takes longer than this
/// search.
#[expect(clippy::inline_always, reason = "the caller needs no checks of bounds")]
#[inline(always)]
pub fn end_of_string(text: &[u8]) -> Option<usize> {
    if let Some(chunk) = text.first_chunk()
        && let Some(end) = find_in_chunk(b'"', chunk)
        && !text[..end].ends_with(b"\\")
    {
        return Some(end);
    }
    end_of_longer(text)
}

/// Returns the end of a string that may be longer than a chunk.
#[inline(never)]
fn end_of_longer(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 2 * CHUNK;
    /// The number of blocks without a quote after which `memchr` continues the search.
    const MAX_WITHOUT: usize = 6;
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let (mut block_idx, mut n_without) = (0, 0);
    while let Some(block) = blocks.get(block_idx) {
        let (chunks, _) = block.as_chunks();
        let mut quotes = positions(b'"', &chunks[0]) | positions(b'"', &chunks[1]) << CHUNK;
        n_without = if quotes == 0 { n_without + 1 } else { 0 };
        while quotes != 0 {
            let at = block_idx * BLOCK + quotes.trailing_zeros() as usize;
            if !is_escaped(text, at) {
                return Some(at);
            }
            quotes &= quotes - 1;
        }
        block_idx += 1;
        if n_without == MAX_WITHOUT {
            let n_read = block_idx * BLOCK;
            block_idx = (n_read + memchr(b'"', &text[n_read..])?) / BLOCK;
        }
    }
    let quotes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'"');
    let n_read = text.len() - rest.len();
    quotes.map(|(at, _)| n_read + at).find(|at| !is_escaped(text, *at))
}

/// Returns whether the byte at an offset follows an odd number of backslashes.
#[inline]
fn is_escaped(text: &[u8], at: usize) -> bool {
    match &text[..at] {
        [before @ .., b'\\', b'\\'] => {
            before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
        }
        [.., b'\\'] => true,
        _ => false,
    }
}

/// Returns the length of the object or the array at the beginning of a JSON text, or `None` if it
/// has no end.
pub fn nested_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(chunk) = text[at..].first_chunk::<CHUNK>() {
        // Brackets differ from braces in one bit.
        let braces = u8x16::new(*chunk) | u8x16::splat(b'[' ^ b'{');
        let opens = braces.simd_eq(u8x16::splat(b'{')).to_bitmask();
        let quotes = positions(b'"', chunk);
        let mut marks = quotes | opens | braces.simd_eq(u8x16::splat(b'}')).to_bitmask();
        let mut next = at + CHUNK;
        while marks != 0 {
            let position = marks.trailing_zeros();
            let after = at + position as usize + 1;
            if quotes >> position & 1 != 0 {
                next = after + end_of_string(&text[after..])? + 1;
                break;
            }
            if opens >> position & 1 != 0 {
                depth += 1;
            } else {
                depth -= 1;
                if depth == 0 {
                    return Some(after);
                }
            }
            marks &= marks - 1;
        }
        at = next;
    }
    end_of_nested(text, at, depth)
}

/// Returns the end of nested values byte by byte, near the end of the text.
#[inline(never)]
fn end_of_nested(text: &[u8], from: usize, mut depth: usize) -> Option<usize> {
    let mut at = from;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at += end_of_string(&text[at..])? + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the position of the first `byte` in a chunk.
#[inline]
pub(crate) fn find_in_chunk(byte: u8, chunk: &[u8; CHUNK]) -> Option<usize> {
    let positions = positions(byte, chunk);
    // The compiler does not know that the position is in the chunk.
    (positions != 0).then(|| positions.trailing_zeros() as usize % CHUNK)
}

/// The positions of the bytes of a chunk that have a meaning in JSON strings, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialBytes {
    /// The positions of quotes.
    pub quotes: u32,
    /// The positions of backslashes.
    pub backslashes: u32,
    /// The positions of bytes that are not ASCII.
    pub non_ascii: u32,
}

impl SpecialBytes {
    /// Finds the special bytes of a chunk.
    #[inline]
    pub fn of(chunk: &[u8; CHUNK]) -> Self {
        Self {
            quotes: positions(b'"', chunk),
            backslashes: positions(b'\\', chunk),
            non_ascii: u8x16::new(*chunk).to_bitmask(),
        }
    }
}

/// Returns the positions of a byte in a chunk, as bits.
#[inline]
fn positions(byte: u8, chunk: &[u8; CHUNK]) -> u32 {
    u8x16::new(*chunk).simd_eq(u8x16::splat(byte)).to_bitmask()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{CHUNK, SpecialBytes, end_of_nested, end_of_string, find_in_chunk, nested_len};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![1 => Just(b'"'), 2 => Just(b'\\'), 20 => any::<u8>()];
        (vec(Just(b'#'), 0..300), vec(byte, 0..80)).prop_map(|(plain, text)| [plain, text].concat())
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
        fn finds_the_byte_that_a_naive_search_finds(chunk: [u8; CHUNK], n: usize, byte: u8) {
            for byte in [byte, chunk[n % CHUNK], b'"'] {
                let naive = chunk.iter().position(|other| *other == byte);
                prop_assert_eq!(find_in_chunk(byte, &chunk), naive);
            }
            let special = SpecialBytes::of(&chunk);
            for (at, byte) in chunk.iter().enumerate() {
                let is_set = |positions: u32| positions >> at & 1 != 0;
                prop_assert_eq!(is_set(special.quotes), *byte == b'"');
                prop_assert_eq!(is_set(special.backslashes), *byte == b'\\');
                prop_assert_eq!(is_set(special.non_ascii), !byte.is_ascii());
            }
        }

        #[test]
        fn finds_the_end_of_nested_values(
            parts in vec(select(&["[", "]", "{", "}", "\"\\\"]\"", "\"a longer text {\"", ",", "0,1,2,3,4,5,6,7"][..]), 0..30),
            is_closed: bool,
        ) {
            let inner = format!("[{}{}", parts.concat(), if is_closed { "]".repeat(30) } else { String::new() });
            prop_assert_eq!(nested_len(inner.as_bytes()), end_of_nested(inner.as_bytes(), 0, 0));
        }

        #[test]
        fn finds_the_quote_that_is_not_escaped(text in bytes()) {
            prop_assert_eq!(end_of_string(&text), naive_end(&text));
        }
    }
}
