//! Tokens of services whose shape is more than a prefix.

use std::ops::Range;

use super::bytes::Set;

/// The length of the shortest of these tokens.
const SHORTEST: usize = 35;

/// Returns the end of the token that begins at an offset within a run of token characters.
pub(super) fn token_end(text: &[u8], run: &Range<usize>, at: usize) -> Option<usize> {
    let rest = &text[at..run.end];
    if rest.len() < SHORTEST {
        return None;
    }
    let len = telegram(text, at, rest)
        .or_else(|| discord(rest))
        .or_else(|| azure(rest))
        .or_else(|| terraform(rest))
        .or_else(|| airtable(rest))
        .or_else(|| mailchimp(rest))
        .or_else(|| maxmind(rest))?;
    Some(at + len)
}

/// Returns the start of a token, which for Telegram is before the run.
pub(super) fn token_start(text: &[u8], at: usize) -> usize {
    match telegram(text, at, &text[at..]) {
        Some(_) => at - 1 - n_digits_before(text, at - 1),
        None => at,
    }
}

/// `123456789:A…`: the id of a bot, and 35 characters.
fn telegram(text: &[u8], at: usize, rest: &[u8]) -> Option<usize> {
    let is_after_id = at.checked_sub(1).is_some_and(|colon| {
        text[colon] == b':' && (5..=16).contains(&n_digits_before(text, colon))
    });
    let len = Set::TOKEN.run_len(&rest[..rest.len().min(36)]);
    (is_after_id && len == 35 && rest[0] == b'A').then_some(len)
}

fn n_digits_before(text: &[u8], at: usize) -> usize {
    let digits = text[..at].iter().rev().take(17);
    digits.take_while(|byte| byte.is_ascii_digit()).count()
}

/// The id of a bot in base64, a time, and a signature.
fn discord(rest: &[u8]) -> Option<usize> {
    if !matches!(rest[0], b'M' | b'N' | b'O') {
        return None;
    }
    let mut parts = rest.splitn(3, |byte| *byte == b'.');
    let (id, time, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let signature = Set::TOKEN.run_len(signature);
    let is_token = (23..=28).contains(&id.len()) && time.len() == 6 && 27 <= signature;
    is_token.then(|| id.len() + time.len() + signature + 2)
}

/// A client secret of Entra ID: `Q~` after four characters.
fn azure(rest: &[u8]) -> Option<usize> {
    let is_marked =
        rest.get(3..6).is_some_and(|mark| mark[0].is_ascii_digit() && &mark[1..] == b"Q~");
    (is_marked && 36 <= rest.len()).then_some(rest.len())
}

fn terraform(rest: &[u8]) -> Option<usize> {
    let body = rest.get(14..)?.strip_prefix(b".atlasv1.")?;
    (30 <= Set::DOTTED.run_len(body)).then_some(rest.len())
}

fn airtable(rest: &[u8]) -> Option<usize> {
    let body = rest.strip_prefix(b"pat")?;
    let is_id = Set::ALNUM.run_len(body) == 14;
    let secret = body.get(14..)?.strip_prefix(b".")?;
    (is_id && 64 <= Set::HEX.run_len(secret)).then_some(3 + 14 + 1 + 64)
}

/// `…-us12`: the data centre follows the key.
fn mailchimp(rest: &[u8]) -> Option<usize> {
    let key = Set::HEX.run_len(&rest[..rest.len().min(33)]);
    let centre = rest.get(32..)?.strip_prefix(b"-us")?;
    let n_digits = Set::DIGIT.run_len(centre);
    (key == 32 && (1..=2).contains(&n_digits)).then_some(32 + 3 + n_digits)
}

fn maxmind(rest: &[u8]) -> Option<usize> {
    let body = rest.get(6..)?.strip_prefix(b"_")?;
    let is_key = Set::ALNUM.run_len(body) == 29 && body[29..].starts_with(b"_mmk");
    is_key.then_some(6 + 1 + 29 + 4)
}
