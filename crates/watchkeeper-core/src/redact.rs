//! Recognition of secrets in text from agents.
//!
//! A secret is recognized by its own shape ([`shapes`], [`unusual`], [`random`]), by the name that
//! it is assigned to ([`names`], [`values`]), or by its place in a header, a command, a URL or a
//! private key ([`headers`], [`commands`], [`places`]). Most texts contain none. Each search is one
//! pass that looks for a few rare bytes.

mod bytes;
mod commands;
mod headers;
mod names;
mod places;
mod random;
mod shapes;
mod unusual;
mod values;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use serde_json::Value;

pub(crate) use self::shapes::has_token;

/// The text in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Replaces secrets by `[redacted]`: tokens of known services, private keys, passwords in URLs and
/// commands, and values with names such as `password`.
///
/// The rest of the text is unchanged, so that a person still recognizes a command. Names of
/// variables and placeholders such as `$TOKEN` are not secrets.
pub fn redact(text: &str) -> Cow<'_, str> {
    let secrets = secrets(text);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut n_copied = 0;
    for secret in secrets {
        redacted.push_str(&text[n_copied..secret.start]);
        redacted.push_str(REDACTED);
        n_copied = secret.end;
    }
    redacted.push_str(&text[n_copied..]);
    Cow::Owned(redacted)
}

/// Replaces secrets in the texts of a value, and cuts texts that are longer than 4096 bytes.
pub(crate) fn redact_value(value: Value) -> Value {
    const MAX_TEXT: usize = 4096;
    match value {
        Value::String(mut text) => {
            if MAX_TEXT < text.len() {
                let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
                text.truncate(end.unwrap_or(0));
                text.push('…');
            }
            redact(&text).into_owned().into()
        }
        Value::Array(values) => values.into_iter().map(redact_value).collect(),
        Value::Object(values) => {
            values.into_iter().map(|(key, value)| (key, redact_value(value))).collect()
        }
        value => value,
    }
}

/// Returns the places of secrets, in order and apart from each other.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    shapes::find(text, &mut found);
    names::find(text, &mut found);
    names::find_others(text, &mut found);
    headers::find_bearer_tokens(text, &mut found);
    commands::find(text, &mut found);
    places::find_passwords_in_urls(text, &mut found);
    places::find_private_keys(text, &mut found);
    found.sort_unstable_by_key(|secret| secret.start);
    let mut secrets: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for secret in found {
        match secrets.last_mut() {
            Some(last) if secret.start <= last.end => last.end = last.end.max(secret.end),
            _ => secrets.push(secret),
        }
    }
    secrets
}
