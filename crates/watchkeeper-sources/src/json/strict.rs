//! The checks of values that are read. A skipped value is only checked for closed strings and
//! brackets.
//!
//! The checks are those of `serde_json`, with two exceptions that agents need:
//!
//! * An escaped surrogate without its other half is replaced. Programs in JavaScript write them
//!   where they cut a text within a character, and programs in Python for bytes that are not
//!   UTF-8. The other text of such a line is intact.
//! * Control characters in strings are accepted. Their meaning is clear.

use simdutf8::basic::from_utf8;
use watchkeeper_core::author::{CHUNK, SpecialBytes, end_of_string};

/// The reason why a text is not JSON, in a few words.
pub(crate) type Malformed = &'static str;

pub(super) const ENDS_EARLY: Malformed = "ends in the middle of JSON";
const NOT_UTF8: Malformed = "not UTF-8";
const INVALID_ESCAPE: Malformed = "invalid escape in a string";

/// Checks a string, and returns its length. The text begins after the first quote of the string.
pub(super) fn string_len(text: &[u8]) -> Result<usize, Malformed> {
    let (mut at, mut non_ascii) = (0, 0);
    // The first bit is set if the first byte of the chunk is part of an escape.
    let mut escaped = 0;
    while let Some(chunk) = text[at..].first_chunk::<CHUNK>() {
        let special = SpecialBytes::of(chunk);
        let mut marks = (special.quotes | special.backslashes) & !escaped;
        escaped = 0;
        while marks != 0 {
            let position = marks.trailing_zeros();
            let mark = at + position as usize;
            if special.quotes >> position & 1 != 0 {
                non_ascii |= special.non_ascii & ((1 << position) - 1);
                return utf8_len(&text[..mark], non_ascii == 0);
            }
            check_escape(text, mark)?;
            marks &= !(0b11 << position);
            escaped = u32::from(position as usize == CHUNK - 1);
        }
        non_ascii |= special.non_ascii;
        at += CHUNK;
    }
    let mut rest = text[at..].iter().enumerate().skip(escaped as usize);
    while let Some((offset, byte)) = rest.next() {
        match byte {
            b'"' => {
                let string = &text[..at + offset];
                return utf8_len(string, non_ascii == 0 && string[at..].is_ascii());
            }
            b'\\' => {
                check_escape(text, at + offset)?;
                rest.next();
            }
            _ => {}
        }
    }
    Err(ENDS_EARLY)
}

/// Checks a string as written between its quotes.
pub(super) fn check_string(raw: &[u8]) -> Result<(), Malformed> {
    string_len(&[raw, b"\""].concat()).map(|_| ())
}

/// Checks the escape of a string at an offset.
#[inline]
fn check_escape(text: &[u8], at: usize) -> Result<(), Malformed> {
    if escape_len(&text[at + 1..]).is_some() { Ok(()) } else { Err(invalid_escape(text)) }
}

#[cold]
fn invalid_escape(text: &[u8]) -> Malformed {
    if end_of_string(text).is_some() { INVALID_ESCAPE } else { ENDS_EARLY }
}

/// Returns the length of a string, which is UTF-8.
#[inline]
fn utf8_len(string: &[u8], is_ascii: bool) -> Result<usize, Malformed> {
    if is_ascii { Ok(string.len()) } else { check_utf8(string).map(str::len) }
}

/// Checks that a text is UTF-8.
pub(crate) fn check_utf8(text: &[u8]) -> Result<&str, Malformed> {
    from_utf8(text).map_err(|_| NOT_UTF8)
}

/// Returns the length of an escape after its backslash.
#[inline]
fn escape_len(escape: &[u8]) -> Option<usize> {
    match escape {
        [b'n' | b'"' | b'\\' | b'/' | b'b' | b'f' | b'r' | b't', ..] => Some(1),
        [b'u', digits @ ..] => {
            let unit = digits.first_chunk::<4>()?;
            unit.iter().all(u8::is_ascii_hexdigit).then_some(5)
        }
        _ => None,
    }
}

/// Returns whether a text is a number, `true`, `false` or `null`.
pub(super) fn is_scalar(raw: &[u8]) -> bool {
    matches!(raw, b"true" | b"false" | b"null") || is_number(raw)
}

/// Returns whether a text is a number.
pub(super) fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, mut rest) = split_digits(text);
    if whole.is_empty() || (1 < whole.len() && whole[0] == b'0') {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (digits, after) = split_digits(fraction);
        if digits.is_empty() {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let digits = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-"));
        let (digits, after) = split_digits(digits.unwrap_or(exponent));
        return !digits.is_empty() && after.is_empty();
    }
    rest.is_empty()
}

/// Splits a text after its first digits.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let n_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(n_digits)
}
