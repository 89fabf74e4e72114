//! Strings in JSON.

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::Offset};
use memchr::memchr;
use watchkeeper_core::author::find_in_chunk;

use super::number::digits;

/// A JSON string as written between its quotes, with its escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Creates a text from the bytes between the quotes of a string, such as a key.
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Returns whether the string equals `text`, which must need no escapes.
    pub(crate) fn is(self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }

    /// Returns the bytes between the quotes.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Decodes the string. Invalid UTF-8 and invalid escapes become replacement
    /// characters.
    pub(crate) fn read(self) -> Cow<'a, str> {
        match memchr(b'\\', self.0) {
            None => decode(self.0),
            Some(at) => match String::from_utf8(unescape(self.0, at)) {
                Ok(text) => Cow::Owned(text),
                Err(invalid) => Cow::Owned(decode(invalid.as_bytes()).into_owned()),
            },
        }
    }

    /// Reads the string as a time.
    pub(crate) fn time(self) -> Option<Timestamp> {
        utc_time(self.0).or_else(|| self.read().parse().ok())
    }

    /// Decodes the string into an owned one.
    pub(crate) fn boxed(self) -> Box<str> {
        self.read().into()
    }
}

/// Reads a time as JavaScript writes it: `2026-03-01T10:00:00.123Z`. Every line has one, and a
/// parser of all forms takes longer.
pub(super) fn utc_time(text: &[u8]) -> Option<Timestamp> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let has_separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')]
        .iter()
        .all(|(at, separator)| text[*at] == *separator);
    if !has_separators || text[23] != b'Z' {
        return None;
    }
    let two = |at: usize| i8::try_from(digits(&text[at..at + 2])?).ok();
    let year = i16::try_from(digits(&text[..4])?).ok()?;
    let nanos = i32::try_from(digits(&text[20..23])?).ok()? * 1_000_000;
    let time = civil::DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, nanos);
    Offset::UTC.to_timestamp(time.ok()?).ok()
}

/// Decodes UTF-8, and replaces invalid sequences. The replacement is slow, and rarely
/// needed.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Decodes escapes. `at` is the offset of the first one.
///
/// Code has an escape in each line, so that calls for the text between two escapes would take
/// most of the time.
fn unescape(raw: &[u8], mut at: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    text.extend_from_slice(&raw[..at]);
    loop {
        at += unescape_one(&raw[at + 1..], &mut text);
        let Some(plain) = copy_to_escape(&raw[at..], &mut text) else { return text };
        at += plain;
    }
}

/// Copies the bytes before the first backslash. Returns their number, or `None` at the end.
#[inline]
fn copy_to_escape(raw: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let mut rest = raw;
    while let Some((chunk, after)) = rest.split_first_chunk() {
        text.extend_from_slice(chunk);
        if let Some(at) = find_in_chunk(b'\\', chunk) {
            text.truncate(text.len() - chunk.len() + at);
            return Some(raw.len() - rest.len() + at);
        }
        rest = after;
    }
    let plain = rest.iter().position(|byte| *byte == b'\\');
    text.extend_from_slice(&rest[..plain.unwrap_or(rest.len())]);
    plain.map(|at| raw.len() - rest.len() + at)
}

/// Decodes an escape. `escape` begins after the backslash. Returns the length of the escape.
#[inline]
fn unescape_one(escape: &[u8], text: &mut Vec<u8>) -> usize {
    let byte = match escape {
        [b'n', ..] => b'\n',
        [b't', ..] => b'\t',
        [b'r', ..] => b'\r',
        [b'b', ..] => b'\x08',
        [b'f', ..] => b'\x0c',
        [byte @ (b'"' | b'\\' | b'/'), ..] => *byte,
        _ => {
            let (c, len) = unescape_other(escape);
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return 1 + len;
        }
    };
    text.push(byte);
    2
}

/// Decodes an escape of a code unit, or an invalid escape.
fn unescape_other(escape: &[u8]) -> (char, usize) {
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
