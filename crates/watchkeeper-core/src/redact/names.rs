//! Names of secrets, and the decision whether a value is one.
//!
//! Programs contain many such names that are no secrets: `token: Token`, `self.password`. A value
//! without quotes must therefore look like a secret, unless it is assigned as in a command.

use std::{ops::Range, sync::LazyLock};

use memchr::{memchr2_iter, memmem, memrchr};

use super::{
    bytes::Set,
    headers, places,
    values::{self, Link, Value, has_digit, is_code, is_placeholder},
};

/// The kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Any name that ends so, such as `DB_PASSWORD`.
    Any,
    /// A word that is a part of other words, too.
    Word,
    /// A parameter of a URL or a command.
    Parameter,
    /// A header with a scheme.
    Authorization,
    /// A header with values that have names.
    Cookie,
}

/// The ends of names of secrets.
pub(super) const NAMES: &[(&str, Name)] = &[
    ("access-key", Name::Any),
    ("access_key", Name::Any),
    ("accesskey", Name::Any),
    ("account_key", Name::Any),
    ("accountkey", Name::Any),
    ("api-key", Name::Any),
    ("api_key", Name::Any),
    ("api_hash", Name::Any),
    ("apikey", Name::Any),
    ("astracs", Name::Any),
    ("auth", Name::Word),
    ("auth_key", Name::Any),
    ("authkey", Name::Any),
    ("authorization", Name::Authorization),
    ("client_assertion", Name::Any),
    ("connection_string", Name::Any),
    ("connectionstring", Name::Any),
    ("cookie", Name::Cookie),
    ("credential", Name::Any),
    ("credentials", Name::Any),
    ("encryption_key", Name::Any),
    ("encryptionkey", Name::Any),
    ("license_key", Name::Any),
    ("master_key", Name::Any),
    ("masterkey", Name::Any),
    ("pass", Name::Word),
    ("passcode", Name::Any),
    ("passphrase", Name::Any),
    ("passwd", Name::Any),
    ("password", Name::Any),
    ("private-key", Name::Any),
    ("private_key", Name::Any),
    ("privatekey", Name::Any),
    ("pwd", Name::Word),
    ("secret", Name::Any),
    ("secret-key", Name::Any),
    ("secret_key", Name::Any),
    ("secretkey", Name::Any),
    ("session_key", Name::Any),
    ("shared_key", Name::Any),
    ("sharedkey", Name::Any),
    ("sig", Name::Parameter),
    ("signature", Name::Parameter),
    ("signing_key", Name::Any),
    ("signingkey", Name::Any),
    ("storage_key", Name::Any),
    ("token", Name::Any),
    ("user_key", Name::Any),
    ("webhook_url", Name::Any),
    ("x-api-key", Name::Any),
];

/// Values that are words of a language or a type, not secrets.
const KEYWORDS: &[&str] = &[
    "any",
    "bool",
    "boolean",
    "empty",
    "enabled",
    "disabled",
    "false",
    "hidden",
    "int",
    "integer",
    "invalid",
    "missing",
    "nil",
    "none",
    "null",
    "number",
    "object",
    "optional",
    "required",
    "str",
    "string",
    "true",
    "undefined",
    "unknown",
    "void",
    "yes",
    "no",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "f32",
    "f64",
];

/// The names that end with each byte, in lower case.
static BY_LAST_BYTE: LazyLock<[Vec<(&str, Name)>; 128]> = LazyLock::new(|| {
    let mut names = [const { Vec::new() }; 128];
    for (name, kind) in NAMES {
        if let Some(last) = name.bytes().last() {
            names[usize::from(last & 0x7f)].push((*name, *kind));
        }
    }
    names
});

/// Finds the secrets that are assigned to a name with `=` or `:`, also in the encoding of URLs and
/// as full-width characters, and the addresses after `://`.
pub(super) fn find(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    // A secret that was found is not examined again, so that the time is linear.
    let mut known_until = 0;
    let plain = memchr2_iter(b'=', b':', bytes);
    // `%3D`, `%3A`, and the full-width signs.
    let is_sign = |at: &usize| {
        matches!(&bytes[*at + 1..], [b'3', b'D' | b'd' | b'A' | b'a', ..] | [0xbc, 0x9a | 0x9d, ..])
    };
    let encoded = memchr2_iter(b'%', 0xef, bytes).filter(is_sign);
    for at in merged(plain, encoded) {
        if at < known_until {
            continue;
        }
        let secret = if bytes[at..].starts_with(b"://") {
            places::hook(text, at + 3)
        } else {
            assigned(text, name_end(bytes, at))
        };
        if let Some(secret) = secret {
            known_until = secret.end;
            found.push(secret);
        }
    }
}

/// Returns the offsets of two searches in order.
fn merged(
    first: impl Iterator<Item = usize>,
    second: impl Iterator<Item = usize>,
) -> impl Iterator<Item = usize> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(a), Some(b)) if b < a => second.next(),
        (None, _) => second.next(),
        _ => first.next(),
    })
}

/// The longest content of an element that is examined, in bytes.
const MAX_ELEMENT: usize = 512;

/// Finds the secrets in elements with a name, such as `<password>`, and in files of `netrc`.
pub(super) fn find_others(text: &str, found: &mut Vec<Range<usize>>) {
    static CLOSING_TAG: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new("</"));
    static PASSWORD: LazyLock<memmem::Finder<'_>> =
        LazyLock::new(|| memmem::Finder::new(" password "));
    let bytes = text.as_bytes();
    for end in CLOSING_TAG.find_iter(bytes) {
        let name_len = Set::TOKEN.or(Set::DOT).run_len(&bytes[end + 2..]);
        let name = &text[end + 2..end + 2 + name_len];
        let before = end.saturating_sub(MAX_ELEMENT);
        let Some(start) = memrchr(b'>', &bytes[before..end]).map(|at| before + at + 1) else {
            continue;
        };
        let is_element = bytes[..start - 1].ends_with(name.as_bytes());
        if is_name(name) && is_element && !is_placeholder(&text[start..end]) {
            found.push(start..end);
        }
    }
    for at in PASSWORD.find_iter(bytes) {
        let value = values::after(text, at + b" password".len());
        let value = value.filter(|value| value.link == Link::Space && !value.is_quoted);
        let place = value.map(|value| value.place);
        found.extend(place.filter(|place| 6 <= place.len() && is_mixed(&text[place.clone()])));
    }
}

/// Returns whether a word is the name of a secret.
pub(super) fn is_name(word: &str) -> bool {
    name_at(word.as_bytes(), word.len())
        .is_some_and(|(kind, _)| matches!(kind, Name::Any | Name::Word))
}

/// Returns the end of the name before `=` or `:`, without spaces and quotes.
fn name_end(text: &[u8], separator: usize) -> usize {
    const MAX_BETWEEN: usize = 16;
    let before = text[..separator].iter().rev().take(MAX_BETWEEN);
    let is_between = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'`' | b'\\' | b']');
    separator - before.take_while(is_between).count()
}

/// Returns the kind of the name of a secret that ends at an offset, and the start of the word
/// that ends with the name.
fn name_at(text: &[u8], end: usize) -> Option<(Name, usize)> {
    // `password2` is a name, too.
    let n_digits =
        text[..end].iter().rev().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    let text = &text[..end - n_digits];
    let last = text.last()?.to_ascii_lowercase();
    let names = BY_LAST_BYTE.get(usize::from(last))?;
    let (name, kind) = names.iter().find(|(name, kind)| {
        let start = text.len().checked_sub(name.len());
        start.is_some_and(|start| {
            text[start..].eq_ignore_ascii_case(name.as_bytes())
                && (*kind != Name::Word || is_word(text, start))
        })
    })?;
    Some((*kind, word_start(text, text.len() - name.len())))
}

/// Returns the secret that is assigned to the name that ends at an offset.
fn assigned(text: &str, end: usize) -> Option<Range<usize>> {
    let (kind, start) = name_at(text.as_bytes(), end)?;
    let value = values::after(text, end)?;
    match kind {
        Name::Authorization => headers::authorization(text, &value),
        Name::Cookie => headers::cookie(text, &value),
        Name::Parameter => {
            let is_secret = value.link == Link::Equals && 16 <= value.place.len();
            is_secret.then_some(value.place)
        }
        Name::Any | Name::Word => is_secret(text, &(start..end), &value).then_some(value.place),
    }
}

/// Returns the start of the word that contains an offset, of which a long one is cut.
fn word_start(text: &[u8], at: usize) -> usize {
    const MAX: usize = 64;
    let before = text[..at].iter().rev().take(MAX);
    at - before.take_while(|byte| Set::TOKEN.has(**byte)).count()
}

/// Returns whether a name is a word of its own: `db_pass`, `dbPass`, but not `bypass`.
fn is_word(text: &[u8], start: usize) -> bool {
    let Some(before) = start.checked_sub(1).map(|at| text[at]) else { return true };
    let is_camel = before.is_ascii_lowercase() && text[start].is_ascii_uppercase();
    !before.is_ascii_alphanumeric() || is_camel
}

fn is_secret(text: &str, word: &Range<usize>, value: &Value) -> bool {
    let name = &text[word.clone()];
    let content = &text[value.place.clone()];
    if is_placeholder(content) || is_keyword(content) || is_path(content) {
        return false;
    }
    match value.link {
        _ if value.is_quoted => {
            value.has_quoted_name
                || 2 < content.len() && (is_password(name) || !content.contains(' '))
        }
        Link::Equals => !is_code(content, name),
        Link::Colon => has_digit(content) && 6 <= content.len() && !is_code(content, name),
        Link::Space => false,
        Link::Spaced => {
            let ends_line = ends_value(&text.as_bytes()[value.place.end..]);
            let looks_secret = has_digit(content) && 6 <= content.len();
            let is_setting = begins_line(&text[..word.start])
                && is_password(name)
                && content.starts_with(|c: char| c.is_ascii_lowercase());
            ends_line && (looks_secret || is_setting) && !is_code(content, name)
        }
    }
}

/// Returns whether a text after a value ends the line, or the string that contains it.
fn ends_value(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'\\' | b' ', ..])
}

fn begins_line(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'-'))
}

fn is_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "passphrase", "pass", "pwd"].iter().any(|end| name.ends_with(end))
}

/// Returns whether a text has letters and digits.
fn is_mixed(text: &str) -> bool {
    has_digit(text) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_keyword(value: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(value))
}

fn is_path(value: &str) -> bool {
    ["/", "./", "../", "~/", "http://", "https://"].iter().any(|start| value.starts_with(start))
        && !value.contains("hooks")
}
