//! Escapes in JSON strings.

use std::cell::Cell;

use crate::near::{CHUNK, find_in_chunk};

/// Passes the string with its escapes decoded to `use_text`. `first` is the offset of the first
/// escape.
pub fn unescaped<T>(raw: &[u8], first: usize, use_text: impl FnOnce(&[u8]) -> T) -> T {
    /// The size of the largest memory that is kept for the next string, in bytes.
    const MAX_KEPT: usize = 1 << 20;
    thread_local! {
        /// Memory for a decoded string. New memory would have to be cleared.
        static MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut memory = MEMORY.take();
    // An invalid escape of two bytes becomes a character of three.
    let max_len = raw.len() * 2 + CHUNK;
    if memory.len() < max_len {
        memory.resize(max_len, 0);
    }
    let len = unescape(raw, first, &mut memory);
    let result = use_text(&memory[..len]);
    if memory.len() <= MAX_KEPT {
        MEMORY.set(memory);
    }
    result
}

/// Decodes escapes into `text`, which has twice the length of the string, and [`CHUNK`] bytes
/// more. `first` is the offset of the first escape. Returns the number of decoded bytes.
///
/// Code has an escape in each line, so that calls for the text between two escapes would take
/// most of the time.
fn unescape(raw: &[u8], first: usize, text: &mut [u8]) -> usize {
    text[..first].copy_from_slice(&raw[..first]);
    let (mut rest, mut len) = (&raw[first..], first);
    loop {
        let plain = if let Some(chunk) = rest.first_chunk::<CHUNK>() {
            text[len..len + CHUNK].copy_from_slice(chunk);
            match find_in_chunk(b'\\', chunk) {
                Some(plain) => plain,
                None => {
                    rest = &rest[CHUNK..];
                    len += CHUNK;
                    continue;
                }
            }
        } else {
            let plain = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
            text[len..len + plain].copy_from_slice(&rest[..plain]);
            plain
        };
        len += plain;
        let Some((_, escape)) = rest[plain..].split_first() else { return len };
        let letter = escape.first().map_or(0, |letter| LETTERS[usize::from(*letter)]);
        let (n_read, n_written) = if letter == 0 {
            unescape_other(escape, &mut text[len..])
        } else {
            text[len] = letter;
            (1, 1)
        };
        rest = &escape[n_read..];
        len += n_written;
    }
}

/// The decoded bytes of escapes of one letter; zero for all others.
static LETTERS: [u8; 256] = {
    let mut letters = [0; 256];
    let pairs = b"n\nt\tr\rb\x08f\x0c\"\"\\\\//";
    let mut idx = 0;
    while idx < pairs.len() {
        letters[pairs[idx] as usize] = pairs[idx + 1];
        idx += 2;
    }
    letters
};

/// Decodes an escape of a code unit, or an invalid escape. `escape` begins after the backslash.
/// Returns the number of bytes that the escape has after the backslash, and the number of decoded
/// bytes.
#[inline(never)]
fn unescape_other(escape: &[u8], text: &mut [u8]) -> (usize, usize) {
    let (c, len) = decode_escape(escape);
    (len, c.encode_utf8(text).len())
}

/// Decodes an escape of a code unit, or an invalid escape.
fn decode_escape(escape: &[u8]) -> (char, usize) {
    if let Some(digits) = escape.strip_prefix(b"u") {
        let (c, len) = unescape_unicode(digits);
        return (c, 1 + len);
    }
    /// The length of the longest character.
    const MAX_CHAR: usize = 4;
    let start = &escape[..escape.len().min(MAX_CHAR)];
    let len = start.utf8_chunks().next().map_or(0, |chunk| {
        chunk.valid().chars().next().map_or(chunk.invalid().len(), char::len_utf8)
    });
    (char::REPLACEMENT_CHARACTER, len)
}

/// Decodes the text after `\u`: four digits, and a second escape if they are the
/// first half of a surrogate pair. Returns the length of the decoded text.
fn unescape_unicode(text: &[u8]) -> (char, usize) {
    let unit = |text: &[u8]| {
        let digits = text.get(..4)?.iter().map(|byte| char::from(*byte).to_digit(16));
        digits.reduce(|unit, digit| Some(unit? * 16 + digit?)).flatten()
    };
    let Some(first) = unit(text) else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    if let Some(c) = char::from_u32(first) {
        return (c, 4);
    }
    let second = text[4..].strip_prefix(b"\\u").and_then(unit);
    match second {
        Some(second @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let c = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), 10)
        }
        _ => (char::REPLACEMENT_CHARACTER, 4),
    }
}
