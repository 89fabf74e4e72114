//! Secrets in the headers of requests.

use std::{ops::Range, sync::LazyLock};

use memchr::memmem;

use super::{
    bytes::Set,
    values::{Link, Value, has_digit, is_code, is_placeholder, len_until},
};

/// Schemes before the secret of a header.
const SCHEMES: &[&str] = &[
    "apikey",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "bot",
    "digest",
    "genie-key",
    "hawk",
    "key",
    "negotiate",
    "ntlm",
    "oauth",
    "sso-key",
    "token",
];

/// Returns the secret in the value of `Authorization`: after a known scheme, or without one.
pub(super) fn authorization(text: &str, value: &Value) -> Option<Range<usize>> {
    if value.link == Link::Space {
        return None;
    }
    let header = line(text, value);
    let content = &text[header.clone()];
    let (scheme, secret) = content.split_once(' ').unwrap_or((content, ""));
    let secret = secret.trim_start();
    if !secret.is_empty() && SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        let start = header.end - secret.len();
        // Some schemes have several parameters.
        let has_parameters = secret.contains(", ") && secret.contains('=');
        let word = secret.find(' ').filter(|_| !has_parameters);
        let len = word.unwrap_or(secret.len());
        return (!is_placeholder(&secret[..len])).then(|| start..start + len);
    }
    if is_placeholder(content) {
        return None;
    }
    if value.is_quoted {
        return (2 < content.len()).then_some(header);
    }
    let looks_secret = has_digit(scheme) && 6 <= scheme.len() && !is_code(scheme, "");
    looks_secret.then(|| header.start..header.start + scheme.len())
}

/// Returns the values of `Cookie` or `Set-Cookie`, which have names.
pub(super) fn cookie(text: &str, value: &Value) -> Option<Range<usize>> {
    let header = line(text, value);
    let (_, first) = text[header.clone()].split_once('=')?;
    let is_header = !first.starts_with([' ', '=', '>']) && !is_placeholder(first);
    is_header.then_some(header)
}

/// Returns the rest of the line or of the string in which a value begins.
fn line(text: &str, value: &Value) -> Range<usize> {
    let start = value.place.start;
    if value.is_quoted {
        return value.place.clone();
    }
    let is_end = |byte| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b'\n' | b'\r');
    start..start + len_until(&text.as_bytes()[start..], is_end)
}

/// Finds the tokens after the word `Bearer`.
pub(super) fn find_bearer_tokens(text: &str, found: &mut Vec<Range<usize>>) {
    static WORD: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new("earer "));
    let bytes = text.as_bytes();
    for at in WORD.find_iter(bytes) {
        let start = at + WORD.needle().len();
        let len = Set::RUN.or(Set::EQUALS).run_len(&bytes[start..]);
        let token = &text[start..start + len];
        if 8 <= len && has_digit(token) || 20 <= len && !token.contains('-') {
            found.push(start..start + len);
        }
    }
}
