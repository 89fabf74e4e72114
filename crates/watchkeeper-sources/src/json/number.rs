//! Numbers in JSON.

use super::strict::is_number;

/// Returns a value that is a number, without its quotes.
pub(super) fn number(raw: &[u8]) -> Option<&str> {
    let raw = raw.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(raw);
    if is_number(raw) { str::from_utf8(raw).ok() } else { None }
}

/// Reads a whole number of few digits, as most counts are.
pub(super) fn digits(number: &[u8]) -> Option<u64> {
    /// Numbers with more digits may be too large.
    const MAX_DIGITS: usize = 19;
    if !(1..=MAX_DIGITS).contains(&number.len()) {
        return None;
    }
    number.iter().try_fold(0, |whole, byte| {
        byte.is_ascii_digit().then(|| whole * 10 + u64::from(byte - b'0'))
    })
}

/// Returns a number without its fraction, if it is a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and fractions of a token do not exist"
)]
pub(super) fn whole(number: f64) -> Option<u64> {
    (0.0..1e19).contains(&number).then_some(number as u64)
}
