//! A lenient JSON reader that makes one pass and builds no tree.
//!
//! Session files are large, and most of their bytes are not used. A [`Reader`]
//! reads the requested values and skips the others. In skipped values it only checks
//! that strings and brackets are closed. Skipping does not recurse, so that nested
//! values use no stack. A value of an unexpected type is skipped, too: agents change
//! their formats, and the other fields of the line are still useful.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

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
        let number = self.number()?;
        Ok(number.and_then(|it| it.parse().ok().or_else(|| whole(it.parse().ok()?))))
    }

    /// Reads a number, with or without quotes.
    pub(crate) fn number(&mut self) -> Result<Option<&'a str>, Malformed> {
        let raw = self.skip()?;
        let raw = raw.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(raw);
        let is_number = raw.first().is_some_and(|it| it.is_ascii_digit() || *it == b'-');
        Ok(if is_number { str::from_utf8(raw).ok() } else { None })
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
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(ENDS_EARLY)
    }

    /// Reads the string at the current offset. Returns it without its quotes.
    fn quoted(&mut self) -> Result<&'a [u8], Malformed> {
        let body = &self.text[self.at + 1..];
        let end = end_of_short(body).or_else(|| end_of_any(body)).ok_or(ENDS_EARLY)?;
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

/// Returns the offset of the quote that ends a string.
fn end_of_any(body: &[u8]) -> Option<usize> {
    memchr_iter(b'"', body).find(|quote| {
        let n_backslashes = body[..*quote].iter().rev().take_while(|it| **it == b'\\').count();
        n_backslashes % 2 == 0
    })
}

/// Returns the offset of the quote that ends a short string without escaped quotes; `None`
/// for any other string.
///
/// Most strings are keys, ids and times. For them, a call of `memchr` takes longer than this
/// search, which examines eight bytes at a time.
fn end_of_short(body: &[u8]) -> Option<usize> {
    /// Enough for a UUID and its quote.
    const MAX_WORDS: usize = 5;
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const QUOTES: u64 = ONES * b'"' as u64;
    let (words, _) = body.as_chunks::<8>();
    for (word_idx, word) in words.iter().take(MAX_WORDS).enumerate() {
        // The XOR turns quotes into 0. Subtracting 1 sets their highest bit. The borrow can set
        // the bit wrongly in later bytes only, never before the first.
        let word = u64::from_le_bytes(*word) ^ QUOTES;
        let quotes = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if quotes != 0 {
            let quote = word_idx * 8 + quotes.trailing_zeros() as usize / 8;
            let is_escaped = body[..quote].ends_with(b"\\");
            return (!is_escaped).then_some(quote);
        }
    }
    None
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
        let text = decode(self.0);
        match memchr(b'\\', text.as_bytes()) {
            None => text,
            Some(at) => Cow::Owned(unescape(&text, at)),
        }
    }

    /// Decodes the string into an owned one.
    pub(crate) fn boxed(self) -> Box<str> {
        self.read().into()
    }
}

/// Decodes UTF-8, and replaces invalid sequences. The replacement is slow, and rarely
/// needed.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Decodes escapes. `at` is the offset of the first one.
fn unescape(text: &str, mut at: usize) -> String {
    let mut res = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        res.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut chars = rest.chars();
        match chars.next() {
            Some('n') => res.push('\n'),
            Some('t') => res.push('\t'),
            Some('r') => res.push('\r'),
            Some('b') => res.push('\u{8}'),
            Some('f') => res.push('\u{c}'),
            Some('u') => {
                let (c, after) = unescape_unicode(chars.as_str());
                res.push(c);
                chars = after.chars();
            }
            Some(c @ ('"' | '\\' | '/')) => res.push(c),
            Some(_) | None => res.push(char::REPLACEMENT_CHARACTER),
        }
        rest = chars.as_str();
        match memchr(b'\\', rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    res.push_str(rest);
    res
}

/// Decodes the text after `\u`: four digits, and a second escape if they are the
/// first half of a surrogate pair.
fn unescape_unicode(text: &str) -> (char, &str) {
    let unit = |text: &str| {
        let digits = text.get(..4).filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(text) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    let rest = &text[4..];
    if let Some(c) = char::from_u32(first) {
        return (c, rest);
    }
    let second = rest.strip_prefix("\\u").and_then(unit);
    match second {
        Some(second @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let c = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            (char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), &rest[6..])
        }
        _ => (char::REPLACEMENT_CHARACTER, rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Malformed, Reader, Text, end_of_any, end_of_short};

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
        fn finds_the_end_of_a_short_string_where_any_search_does(
            body in prop::collection::vec(
                prop_oneof![1 => Just(b'"'), 1 => Just(b'\\'), 20 => any::<u8>()],
                0..80,
            ),
        ) {
            let short = end_of_short(&body);
            prop_assert!(short.is_none() || short == end_of_any(&body), "{:?}", short);
            let first = body.iter().position(|byte| *byte == b'"');
            let is_short = first.is_some_and(|first| {
                first < 40 && first + 8 <= body.len() && !body[..first].ends_with(b"\\")
            });
            if is_short {
                prop_assert_eq!(short, first);
            }
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
