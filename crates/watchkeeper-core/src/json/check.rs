//! A fast check of JSON. Session files contain large arguments, most of which are texts.

use wide::u8x16;

/// The number of bytes that are checked at once.
const CHUNK: usize = 16;
/// The largest nesting that is checked.
const MAX_DEPTH: u32 = u64::BITS;

/// Returns the length of the JSON value at the beginning of a text.
///
/// Returns `None` if there is none, and for a value that is nested deeper than [`MAX_DEPTH`].
pub(super) fn value_len(text: &str) -> Option<usize> {
    let rest = Checker { rest: text.as_bytes(), brackets: 0, depth: 0 }.value()?;
    Some(text.len() - rest.len())
}

struct Checker<'a> {
    rest: &'a [u8],
    /// One bit for each open bracket: set if it begins an object. The latest is the lowest.
    brackets: u64,
    depth: u32,
}

impl<'a> Checker<'a> {
    /// Checks a value. Returns the text after it.
    fn value(mut self) -> Option<&'a [u8]> {
        loop {
            match self.peek()? {
                b'"' => self.rest = after_string(self.rest)?,
                b'{' => {
                    self.open(true)?;
                    if self.peek()? != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.open(false)?;
                    if self.peek()? != b']' {
                        continue;
                    }
                }
                b't' => self.rest = self.rest.strip_prefix(b"true")?,
                b'f' => self.rest = self.rest.strip_prefix(b"false")?,
                b'n' => self.rest = self.rest.strip_prefix(b"null")?,
                _ => self.rest = after_number(self.rest)?,
            }
            if !self.has_next()? {
                return Some(self.rest);
            }
        }
    }

    /// Reads the end of a value and of all containers that end there. Returns whether another
    /// value follows.
    fn has_next(&mut self) -> Option<bool> {
        while 0 < self.depth {
            let byte = self.peek()?;
            self.rest = &self.rest[1..];
            let is_object = self.brackets & 1 != 0;
            match byte {
                b',' if is_object => return self.key().map(|()| true),
                b',' => return Some(true),
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ => return None,
            }
            self.brackets >>= 1;
            self.depth -= 1;
        }
        Some(false)
    }

    /// Reads a bracket that begins a container.
    fn open(&mut self, is_object: bool) -> Option<()> {
        self.rest = &self.rest[1..];
        self.brackets = self.brackets << 1 | u64::from(is_object);
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.rest = after_string(self.rest)?;
        if self.peek()? != b':' {
            return None;
        }
        self.rest = &self.rest[1..];
        Some(())
    }

    /// Skips white space. Returns the next byte.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.rest.first()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.rest = &self.rest[1..];
        }
    }
}

/// Checks the string at the beginning of a text. Returns the text after it.
fn after_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = &text[1..];
    loop {
        let n_plain = match rest.first_chunk() {
            Some(chunk) => match first_special(chunk) {
                Some(n_plain) => n_plain,
                None => {
                    rest = &rest[CHUNK..];
                    continue;
                }
            },
            None => rest.iter().position(|byte| is_special(*byte))?,
        };
        let (special, after) = rest[n_plain..].split_first()?;
        match special {
            b'"' => return Some(after),
            b'\\' => rest = after_escape(after)?,
            _ => return None,
        }
    }
}

/// Returns whether a string may end with a byte, or must not contain the byte without a backslash.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..b' ')
}

/// Returns the position of the first special byte of a chunk.
#[inline]
fn first_special(chunk: &[u8; CHUNK]) -> Option<usize> {
    let chunk = u8x16::new(*chunk);
    let is_control = chunk.min(u8x16::splat(b' ' - 1)).simd_eq(chunk);
    let special =
        chunk.simd_eq(u8x16::splat(b'"')) | chunk.simd_eq(u8x16::splat(b'\\')) | is_control;
    let positions = special.to_bitmask();
    (positions != 0).then(|| positions.trailing_zeros() as usize % CHUNK)
}

/// Checks the escape whose backslash precedes the text. Returns the text after it.
#[inline]
fn after_escape(text: &[u8]) -> Option<&[u8]> {
    match text.split_first()? {
        (b'n' | b't' | b'r' | b'b' | b'f' | b'"' | b'\\' | b'/', after) => Some(after),
        (b'u', after) => {
            let (digits, after) = after.split_first_chunk::<4>()?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(after)
        }
        _ => None,
    }
}

/// Checks the number at the beginning of a text. Returns the text after it.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let rest = match rest.strip_prefix(b"0") {
        Some(rest) => rest,
        None => after_digits(rest)?,
    };
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => after_digits(fraction)?,
        None => rest,
    };
    let Some((b'e' | b'E', exponent)) = rest.split_first() else { return Some(rest) };
    match exponent.split_first()? {
        (b'+' | b'-', digits) => after_digits(digits),
        _ => after_digits(exponent),
    }
}

/// Skips one or more digits.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let n_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (0 < n_digits).then(|| &text[n_digits..])
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::value::RawValue;

    use super::value_len;

    /// Parts of JSON, of which many sequences are almost JSON.
    fn texts() -> impl Strategy<Value = String> {
        const PARTS: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "\"",
            "\"a\"",
            "\"a\":",
            "\"\\n\\u00e9\"",
            "\\",
            "\\u12",
            "0",
            "01",
            "-1.5e+3",
            "1.",
            "-",
            "1e",
            "true",
            "nul",
            "null",
            "\u{1}",
            "\u{e9}",
            "\"a longer text of more than sixteen bytes\\\\\\\"\"",
        ];
        vec(select(PARTS), 0..8).prop_map(|parts| parts.concat())
    }

    /// Inserts parts at any position of a value.
    fn changed_values() -> impl Strategy<Value = String> {
        let value = r#"{"command":"a \"b\"\n","n":[1,-2.5e3,null,{"x":[[],{}]}],"long key, more than sixteen":"é\u00e9"}"#;
        (0..=value.len(), texts()).prop_map(|(at, part)| {
            let at = (0..=at).rev().find(|at| value.is_char_boundary(*at)).unwrap_or_default();
            format!("{}{part}{}", &value[..at], &value[at..])
        })
    }

    fn check(text: &str) {
        let expected = serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get);
        let value = text.trim_start_matches([' ', '\t', '\n', '\r']);
        let found = value_len(value).map(|len| value.split_at(len));
        let is_end = |rest: &str| rest.trim_matches([' ', '\t', '\n', '\r']).is_empty();
        let found = found.filter(|(_, rest)| is_end(rest)).map(|(value, _)| value);
        assert_eq!(found, expected, "{text:?}");
    }

    proptest! {
        #[test]
        fn accepts_the_values_that_serde_json_accepts(text in prop_oneof![texts(), changed_values(), any::<String>()]) {
            check(&text);
        }
    }

    #[test]
    fn checks_nested_values_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(64));
        assert_eq!(value_len(&nested(65)), None);
        assert_eq!(value_len(&"[".repeat(1_000_000)), None);
    }
}
