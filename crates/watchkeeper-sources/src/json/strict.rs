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
use watchkeeper_core::author::escapes_and_non_ascii;

use super::Malformed;

const NOT_UTF8: Malformed = "not UTF-8";
const INVALID_ESCAPE: Malformed = "invalid escape in a string";

/// Checks a string of `len` bytes at the beginning of `text`. The string is as written between its
/// quotes.
pub(super) fn check_string(text: &[u8], len: usize) -> Result<(), Malformed> {
    let raw = &text[..len];
    let mut is_ascii = true;
    let mut at = 0;
    while at < len {
        // The text after the string is searched, too, so that most strings need no loop over bytes.
        let Some(chunk) = text[at..].first_chunk() else {
            return check_end(raw, at, is_ascii);
        };
        let (backslashes, non_ascii) = escapes_and_non_ascii(chunk);
        let n_before = backslashes.trailing_zeros() as usize;
        if at + n_before < len && backslashes != 0 {
            at += n_before + 1;
            at += escape_len(&raw[at..]).ok_or(INVALID_ESCAPE)?;
        } else {
            at += chunk.len();
        }
        // A byte after an escape, or after the string, makes no difference but for the time.
        is_ascii &= non_ascii == 0;
    }
    check_utf8(raw, is_ascii)
}

/// Checks the end of a string, from the offset `at`, byte by byte.
#[inline(never)]
fn check_end(raw: &[u8], mut at: usize, is_ascii: bool) -> Result<(), Malformed> {
    let is_ascii = is_ascii && raw[at..].is_ascii();
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if byte == b'\\' {
            at += escape_len(&raw[at..]).ok_or(INVALID_ESCAPE)?;
        }
    }
    check_utf8(raw, is_ascii)
}

fn check_utf8(raw: &[u8], is_ascii: bool) -> Result<(), Malformed> {
    if is_ascii || from_utf8(raw).is_ok() { Ok(()) } else { Err(NOT_UTF8) }
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
