//! A lenient JSON reader that makes one pass and builds no tree.
//!
//! Session files are large, and most of their bytes are not used. A [`Reader`]
//! reads the requested values and skips the others. In skipped values it only checks
//! that strings and brackets are closed. Skipping does not recurse, so that nested
//! values use no stack. A value of an unexpected type is skipped, too: agents change
//! their formats, and the other fields of the line are still useful.

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::Offset};
use memchr::memchr;
use watchkeeper_core::author::{end_of_string, find_in_chunk};

/// Reads one JSON text.
pub(crate) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

/// The reason why a text is not JSON, in a few words.
pub(crate) type Malformed = &'static str;

const NOT_JSON: Malformed = "not JSON";
const ENDS_EARLY: Malformed = "ends in the middle of JSON";

/// A JSON string as written between its quotes, with its escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an object. `member` receives each key and must read its value. Skips any
    /// other value and returns `false`.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        if self.peek()? != b'{' {
            self.skip()?;
            return Ok(false);
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(true);
        }
        loop {
            if self.peek()? != b'"' {
                return Err(NOT_JSON);
            }
            let key = self.quoted()?;
            if self.peek()? != b':' {
                return Err(NOT_JSON);
            }
            self.at += 1;
            member(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(true);
                }
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Reads an array. `element` must read each value. Skips any other value and
    /// returns `false`.
    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<bool, Malformed> {
        if self.peek()? != b'[' {
            self.skip()?;
            return Ok(false);
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(true);
        }
        loop {
            element(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(true);
                }
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Reads a string.
    pub(crate) fn text(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        if self.peek()? == b'"' {
            return self.quoted().map(|it| Some(Text(it)));
        }
        self.skip()?;
        Ok(None)
    }

    /// Reads a boolean.
    pub(crate) fn flag(&mut self) -> Result<Option<bool>, Malformed> {
        Ok(match self.skip()? {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        })
    }

    /// Reads a count, which may be written as a float or in quotes. Returns `None` for
    /// numbers that are negative or too large.
    pub(crate) fn count(&mut self) -> Result<Option<u64>, Malformed> {
        let raw = self.skip()?;
        let parsed = |number: &str| number.parse().ok().or_else(|| whole(number.parse().ok()?));
        Ok(digits(raw).or_else(|| number(raw).and_then(parsed)))
    }

    /// Reads a number, with or without quotes.
    pub(crate) fn number(&mut self) -> Result<Option<&'a str>, Malformed> {
        self.skip().map(number)
    }

    /// Returns the first byte of the next value without reading it.
    pub(crate) fn peek(&mut self) -> Result<u8, Malformed> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(ENDS_EARLY)
    }

    /// Returns the current offset, for [`since`](Self::since).
    pub(crate) fn here(&self) -> usize {
        self.at
    }

    /// Returns the text from the offset `start` to the current one.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.at]
    }

    /// Skips a value. Returns its text.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' => {
                let rest = &self.text[start..];
                let ends =
                    |it: &u8| matches!(it, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
            _ => return Err(NOT_JSON),
        }
        Ok(&self.text[start..self.at])
    }

    /// Skips a value.
    pub(crate) fn pass(&mut self) -> Result<(), Malformed> {
        self.skip().map(|_| ())
    }

    /// Skips an object or an array.
    fn skip_nested(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        let mut at = self.at;
        while let Some(&byte) = self.text.get(at) {
            at += 1;
            match byte {
                b'"' => at += end_of_string(&self.text[at..]).ok_or(ENDS_EARLY)? + 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at = at;
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Err(ENDS_EARLY)
    }

    /// Reads the string at the current offset. Returns it without its quotes.
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let body = &self.text[self.at + 1..];
        let end = end_of_string(body).ok_or(ENDS_EARLY)?;
        self.at += end + 2;
        Ok(&body[..end])
    }

    /// Checks that the text ends here.
    pub(crate) fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Ok(_) => Err("something follows the JSON"),
            Err(_) => Ok(()),
        }
    }
}

/// Returns a value that is a number, without its quotes.
fn number(raw: &[u8]) -> Option<&str> {
    let raw = raw.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(raw);
    let is_number = raw.first().is_some_and(|it| it.is_ascii_digit() || *it == b'-');
    if is_number { str::from_utf8(raw).ok() } else { None }
}

/// Reads a whole number of few digits, as most counts are.
fn digits(number: &[u8]) -> Option<u64> {
    /// Numbers with more digits may be too large.
    const MAX_DIGITS: usize = 19;
    if !(1..=MAX_DIGITS).contains(&number.len()) {
        return None;
    }
    number.iter().try_fold(0, |whole, byte| {
        byte.is_ascii_digit().then(|| whole * 10 + u64::from(byte - b'0'))
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and fractions of a token do not exist"
)]
fn whole(number: f64) -> Option<u64> {
    (0.0..1e19).contains(&number).then_some(number as u64)
}

/// Reads a string if its key is `wanted`. Skips other values.
pub(crate) fn member<'a>(
    reader: &mut Reader<'a>,
    key: &[u8],
    wanted: &[u8],
    slot: &mut Option<Text<'a>>,
) -> Result<(), Malformed> {
    if key == wanted {
        set_once(slot, reader.text()?);
    } else {
        reader.skip()?;
    }
    Ok(())
}

/// Sets `slot` unless it has a value: of a repeated key, the first value counts.
pub(crate) fn set_once<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

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
fn utc_time(text: &[u8]) -> Option<Timestamp> {
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Malformed, Reader, Text, digits, utc_time};

    /// Reads a whole text with the methods of the reader.
    fn read(text: &[u8]) -> Result<Value, Malformed> {
        fn value(reader: &mut Reader<'_>) -> Result<Value, Malformed> {
            match reader.peek()? {
                b'{' => {
                    let mut res = serde_json::Map::new();
                    reader.object(|reader, key| {
                        let key = Text(key).read().into_owned();
                        let value = value(reader)?;
                        res.entry(key).or_insert(value);
                        Ok(())
                    })?;
                    Ok(Value::Object(res))
                }
                b'[' => {
                    let mut res = Vec::new();
                    reader.array(|reader| {
                        res.push(value(reader)?);
                        Ok(())
                    })?;
                    Ok(Value::Array(res))
                }
                b'"' => Ok(reader.text()?.map_or(Value::Null, |it| it.read().into_owned().into())),
                _ => {
                    let raw = reader.skip()?;
                    Ok(serde_json::from_slice(raw).unwrap_or_default())
                }
            }
        }
        let mut reader = Reader::new(text);
        let res = value(&mut reader)?;
        reader.end()?;
        Ok(res)
    }

    /// Decodes a string character by character.
    fn naive_read(raw: &[u8]) -> String {
        let unit = |text: &str| {
            let digits = text.get(..4).filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
            u16::from_str_radix(digits, 16).ok()
        };
        let text = String::from_utf8_lossy(raw);
        let (mut units, mut rest) = (Vec::new(), &*text);
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if c != '\\' {
                units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                continue;
            }
            let escape = rest.chars().next();
            rest = &rest[escape.map_or(0, char::len_utf8)..];
            let unit = match escape {
                Some('n') => u16::from(b'\n'),
                Some('t') => u16::from(b'\t'),
                Some('r') => u16::from(b'\r'),
                Some('b') => 8,
                Some('f') => 12,
                Some('"') => u16::from(b'"'),
                Some('\\') => u16::from(b'\\'),
                Some('/') => u16::from(b'/'),
                Some('u') => {
                    let unit = unit(rest);
                    rest = &rest[unit.map_or(0, |_| 4)..];
                    unit.unwrap_or(0xfffd)
                }
                _ => 0xfffd,
            };
            units.push(unit);
        }
        String::from_utf16_lossy(&units)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(\\PC|[\"\\\\\n\t\u{0}])*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("(\\PC|\")*", inner, 0..4)
                    .prop_map(|it| Value::Object(it.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn reads_the_notations_of_numbers_that_agents_use() {
        for (text, expected) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("\"7\"", Some(7)),
            ("1e3", Some(1000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-5", None),
            ("1e400", None),
            ("null", None),
            ("\"\"", None),
            ("[7]", None),
        ] {
            assert_eq!(Reader::new(text.as_bytes()).count(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn reads_strings_with_any_content() {
        for (raw, expected) in [
            (&br#"a\n\t\r\b\f\/\\\"\u0041"#[..], "a\n\t\r\u{8}\u{c}/\\\"A"),
            (br"\ud83d\ude00!", "😀!"),
            (br"\ud83d!", "\u{fffd}!"),
            (br"\ud83d\u0041", "\u{fffd}A"),
            (br"\udc00", "\u{fffd}"),
            (br"\u00e", "\u{fffd}00e"),
            (br"\x", "\u{fffd}"),
            (b"\xff", "\u{fffd}"),
            (b"\xe2\x82\\n\xff", "\u{fffd}\n\u{fffd}"),
            (b"\\\xe2\x82a", "\u{fffd}a"),
            (b"\\\x80\x80", "\u{fffd}\u{fffd}"),
            ("\\éa".as_bytes(), "\u{fffd}a"),
            (b"a\\", "a\u{fffd}"),
        ] {
            assert_eq!(Text(raw).read(), expected);
        }
    }

    #[test]
    fn reports_why_a_text_is_not_json() {
        let check = |text: &str, expected: Result<Value, Malformed>| {
            assert_eq!(read(text.as_bytes()), expected, "{text}");
        };
        check(r#"{"a":1,"a":2}"#, Ok(json!({"a": 1})));
        check(r#"{"a":{"b":"#, Err("ends in the middle of JSON"));
        check(r#"{"a":"b"#, Err("ends in the middle of JSON"));
        check("", Err("ends in the middle of JSON"));
        check("{} {}", Err("something follows the JSON"));
        check(r#"{"a" 1}"#, Err("not JSON"));
        check("// note", Err("not JSON"));
    }

    #[test]
    fn skips_deeply_nested_values_without_recursion() {
        let deep = "[".repeat(1_000_000);
        let closed = format!("{{\"a\":{deep}{},\"b\":1}}", "]".repeat(1_000_000));
        let mut b = None;
        let mut reader = Reader::new(closed.as_bytes());
        let res = reader.object(|reader, key| {
            match key {
                b"b" => b = reader.count()?,
                _ => reader.pass()?,
            }
            Ok(())
        });
        assert_eq!((res, b), (Ok(true), Some(1)));
        assert_eq!(Reader::new(deep.as_bytes()).skip(), Err("ends in the middle of JSON"));
    }

    const PARTS: &[&[u8]] = &[
        b"\\",
        b"\\n",
        b"\\/",
        b"\\x",
        b"\\u00e9",
        b"\\u12",
        b"\\ud83d",
        b"\\ude00",
        b"\\uD83D\\uDE00",
        b"\xe2\x82",
        b"\xff",
        b"\x80",
        b"0123456789abcdef",
    ];

    proptest! {
        #[test]
        fn reads_the_value_that_was_written(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            prop_assert_eq!(read(text.as_bytes()), Ok(value));
            let mut reader = Reader::new(text.as_bytes());
            prop_assert_eq!(reader.skip(), Ok(text.as_bytes()));
        }

        #[test]
        fn reads_counts_as_a_parser_does(number in "[0-9]{1,22}|[-0-9a.]{0,3}") {
            let expected = number.parse::<u64>().ok();
            let count = digits(number.as_bytes());
            prop_assert!(count == expected || count.is_none() && 19 < number.len(), "{:?}", count);
        }

        #[test]
        fn reads_times_as_a_parser_does(
            secs in -62_167_219_200..253_402_207_200_i64,
            millis in 0..1000_i32,
            replaced in prop::option::of((0..24_usize, "[0-9TZ:.+ -]")),
        ) {
            let time = Timestamp::new(secs, if secs < 0 { 0 } else { millis * 1_000_000 }).unwrap();
            let mut text = format!("{time:.3}");
            if let Some((at, c)) = &replaced && *at < text.len() {
                text.replace_range(at..&(at + 1), c);
            }
            let expected = text.parse::<Timestamp>().ok();
            let fast = utc_time(text.as_bytes());
            prop_assert!(fast == expected || fast.is_none() && replaced.is_some(), "{}", text);
            prop_assert_eq!(Text(text.as_bytes()).time(), expected);
        }

        #[test]
        fn decodes_escapes_as_a_parser_does(text in "(\\PC|[\"\\\\\n\t\u{0}]|[a-z]{20}){0,20}") {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(Text(&quoted.as_bytes()[1..quoted.len() - 1]).read(), text);
        }

        #[test]
        fn decodes_any_bytes_as_a_naive_search_does(parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(PARTS).prop_map(<[u8]>::to_vec),
                "\\PC{0,3}".prop_map(String::into_bytes),
            ],
            0..20,
        )) {
            let raw = parts.concat();
            prop_assert_eq!(Text(&raw).read(), naive_read(&raw));
        }

        #[test]
        fn reads_any_bytes_without_a_panic(text in prop::collection::vec(
            prop_oneof![prop::sample::select(b"{}[]\",:\\0-n u".as_slice()), any::<u8>()], 0..60,
        )) {
            // This reader accepts every text that a strict reader accepts.
            let strict = serde_json::from_slice::<Value>(&text);
            let lenient = read(&text);
            prop_assert!(lenient.is_ok() || strict.is_err(), "{:?}", lenient);
        }
    }
}
