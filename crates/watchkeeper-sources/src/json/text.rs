//! Strings in JSON.

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::Offset};
use memchr::memchr;
use simdutf8::basic::from_utf8;
use watchkeeper_core::author::unescaped;

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
            Some(at) => unescaped(self.0, at, |text| Cow::Owned(decode(text).into_owned())),
        }
    }

    /// Reads the string as a time.
    pub(crate) fn time(self) -> Option<Timestamp> {
        utc_time(self.0).or_else(|| self.read().parse().ok())
    }

    /// Decodes the string into an owned one.
    pub(crate) fn boxed(self) -> Box<str> {
        match memchr(b'\\', self.0) {
            None => decode(self.0).into(),
            Some(at) => unescaped(self.0, at, |text| decode(text).into()),
        }
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
    from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
