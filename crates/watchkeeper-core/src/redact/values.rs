//! Values that are assigned to a name.

use std::ops::Range;

/// The link between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// `=`, without spaces: in commands, URLs and environments.
    Equals,
    /// `:`, without spaces.
    Colon,
    /// An assignment with spaces or with quotes around the name: in programs and files.
    Spaced,
    /// A space.
    Space,
}

/// A value after a name.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) link: Link,
    pub(super) place: Range<usize>,
    pub(super) is_quoted: bool,
    pub(super) has_quoted_name: bool,
}

/// The longest value without quotes that is examined, in bytes. Bounds the time for texts with many
/// names.
const MAX_LEN: usize = 1024;
/// The largest number of spaces, quotes or backslashes in a row.
const MAX_PUNCTUATION: usize = 32;

/// Reads the value after the name that ends at `end`.
pub(super) fn after(text: &str, end: usize) -> Option<Value> {
    let bytes = text.as_bytes();
    let skip = |at: usize, is_skipped: fn(u8) -> bool| {
        let skipped = bytes[at..].iter().take(MAX_PUNCTUATION);
        at + skipped.take_while(|byte| is_skipped(**byte)).count()
    };
    let is_space = |byte| matches!(byte, b' ' | b'\t');
    let name_end = skip(end, |byte| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b']'));
    let has_quoted_name = name_end != end;
    let at = skip(name_end, is_space);
    let has_spaces = at != name_end;
    let (len, glued) = match &bytes[at..] {
        [b':', b':', ..] | [b'=', b'=', ..] => return None,
        [b':', b'=', ..] | [b'=', b'>', ..] => (2, Link::Spaced),
        [b'=', ..] => (1, Link::Equals),
        [b':', ..] => (1, Link::Colon),
        [b'%', b'3', b'D' | b'd', ..] | [0xef, 0xbc, 0x9d, ..] => (3, Link::Equals),
        [b'%', b'3', b'A' | b'a', ..] | [0xef, 0xbc, 0x9a, ..] => (3, Link::Colon),
        _ if has_spaces && !has_quoted_name => (0, Link::Space),
        _ => return None,
    };
    // A shell joins the next line to one that ends with a backslash.
    let joined = at + len + continuation_len(&bytes[at + len..]);
    let start = skip(joined, is_space);
    let is_glued = !has_spaces && start == joined && !has_quoted_name;
    let link = if is_glued || len == 0 { glued } else { Link::Spaced };
    let (place, is_quoted) = value_at(bytes, start);
    (!place.is_empty()).then_some(Value { link, place, is_quoted, has_quoted_name })
}

/// Returns the length of a backslash and a line break, also within a string of JSON.
fn continuation_len(text: &[u8]) -> usize {
    let forms: [&[u8]; 4] = [b"\\\n", b"\\\r\n", b"\\\\\\n", b"\\\\\\r\\n"];
    forms.into_iter().find(|form| text.starts_with(form)).map_or(0, <[u8]>::len)
}

/// Returns the place of the value that begins at an offset, without its quotes.
pub(super) fn value_at(text: &[u8], start: usize) -> (Range<usize>, bool) {
    // Strings have a prefix in some languages, and backslashes within other strings.
    let has_prefix = matches!(&text[start..], [b'b' | b'f' | b'r' | b'u', b'"' | b'\'', ..]);
    let start = start + usize::from(has_prefix);
    let n_backslashes = text[start..].iter().take(MAX_PUNCTUATION).take_while(|it| **it == b'\\');
    let quote_at = start + n_backslashes.count();
    match text.get(quote_at) {
        Some(quote @ (b'"' | b'\'' | b'`')) => {
            let body = quote_at + 1;
            (body..body + quoted_len(&text[body..], *quote, quote_at - start), true)
        }
        _ => (start..start + unquoted_len(&text[start..]), false),
    }
}

/// Returns the length of a string until its closing quote, or the end of the line. A quote in a
/// string has more backslashes than the quotes around the string.
fn quoted_len(text: &[u8], quote: u8, n_backslashes: usize) -> usize {
    let mut n_before = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' || *byte == quote && n_before <= n_backslashes {
            return at - n_before;
        }
        n_before = if *byte == b'\\' { n_before + 1 } else { 0 };
    }
    text.len()
}

/// Returns the length of a word.
pub(super) fn unquoted_len(text: &[u8]) -> usize {
    len_until(text, |byte| !(0x21..).contains(&byte) || b"\"'`\\,;)]}&|<>".contains(&byte))
}

/// Returns the length of a text until the first byte that ends a value, at most [`MAX_LEN`].
pub(super) fn len_until(text: &[u8], is_end: impl Fn(u8) -> bool) -> usize {
    let limited = &text[..text.len().min(MAX_LEN)];
    let end = limited.iter().position(|byte| is_end(*byte)).unwrap_or(limited.len());
    // A character that is cut does not belong to the value.
    let is_within_char = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    end - (0..end).map(|back| end - back).take_while(is_within_char).count()
}

/// Returns whether a value stands for a secret: the name of a variable, or a text such as
/// `<token>`, `***` or `{}`.
pub(super) fn is_placeholder(value: &str) -> bool {
    let bytes = value.as_bytes();
    let Some(first) = bytes.first() else { return true };
    let is_name =
        |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    match first {
        b'$' => {
            let is_group = |open, close| bytes.get(1) == Some(&open) && bytes.contains(&close);
            is_group(b'{', b'}')
                || bytes.get(1) == Some(&b'(')
                || 1 < bytes.len() && is_name(&bytes[1..])
        }
        b'<' => bytes.ends_with(b">"),
        b'{' | b'[' => true,
        b'%' => bytes.len() <= 3 || bytes.ends_with(b"%"),
        _ => {
            bytes.iter().all(|byte| byte == first)
                && (2 < bytes.len() || matches!(first, b'*' | b'.' | b'x'))
                || value.starts_with("...")
                || value.starts_with('…')
        }
    }
}

pub(super) fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Returns whether a value without quotes is a part of a program: a call, a path of names, or the
/// name again.
pub(super) fn is_code(value: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '.');
    let is_path_of_names = value.contains('.') && value.chars().all(is_name);
    is_path_of_names
        || value.contains(['(', '[', '{'])
        || value.contains("::")
        || value.starts_with(['&', '*', '@'])
        || 4 <= value.len() && name.ends_with(value)
}
