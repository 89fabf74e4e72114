//! Secrets that are known by their place: passwords in URLs, addresses of hooks, and private keys.

use std::{ops::Range, sync::LazyLock};

use memchr::{memchr_iter, memmem};

use super::values::{is_placeholder, len_until};

/// The beginnings of addresses that are secrets as a whole.
const HOOKS: &[&str] = &[
    "api.telegram.org/bot",
    "canary.discord.com/api/webhooks/",
    "chat.googleapis.com/v1/spaces/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "hook.eu1.make.com/",
    "hook.us1.make.com/",
    "hooks.slack.com/",
    "hooks.zapier.com/hooks/",
    "maker.ifttt.com/trigger/",
    "outlook.office.com/webhook/",
    "webhook.site/",
];
/// The part of an address of Microsoft Teams after the name of the tenant.
const TEAMS: &str = ".webhook.office.com/webhookb2/";
/// The shortest rest of such an address.
const SHORTEST_HOOK: usize = 12;
/// The longest part of a URL before the host.
const MAX_USER_INFO: usize = 256;
/// The shortest name of a user that is a token.
const SHORTEST_USER_TOKEN: usize = 16;

/// Returns the secret part of the address of a hook, whose host is at an offset.
pub(super) fn hook(text: &str, host: usize) -> Option<Range<usize>> {
    /// The longest name of a tenant of Microsoft Teams.
    const MAX_TENANT: usize = 64;
    let url = &text.as_bytes()[host..];
    let known = HOOKS.iter().find(|hook| url.starts_with(hook.as_bytes()));
    let of_teams = || {
        let beginning = &url[..url.len().min(MAX_TENANT + TEAMS.len())];
        Some(memmem::find(beginning, TEAMS.as_bytes())? + TEAMS.len())
    };
    let start = known.map(|hook| hook.len()).or_else(of_teams)?;
    let is_end = |byte: u8| !byte.is_ascii_graphic() || b"\"'`<>(){}|\\,;".contains(&byte);
    let len = len_until(&url[start..], is_end);
    let n_words =
        url[start..start + len].iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    (SHORTEST_HOOK <= n_words).then(|| host + start..host + start + len)
}

/// Finds the bodies of private keys.
pub(super) fn find_private_keys(text: &str, found: &mut Vec<Range<usize>>) {
    static BEGIN: LazyLock<memmem::Finder<'_>> =
        LazyLock::new(|| memmem::Finder::new("-----BEGIN "));
    let mut known_until = 0;
    for at in BEGIN.find_iter(text.as_bytes()) {
        if known_until <= at
            && let Some(key) = private_key(text, at + BEGIN.needle().len())
        {
            known_until = key.end;
            found.push(key);
        }
    }
}

/// Returns the body of a private key. `start` is the offset after `-----BEGIN `.
fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    /// The longest kind of a key.
    const MAX_KIND: usize = 64;
    let rest = &text.as_bytes()[start..];
    let kind_len = memmem::find(&rest[..rest.len().min(MAX_KIND)], b"-----")?;
    memmem::find(&rest[..kind_len], b"PRIVATE KEY")?;
    let body = start + kind_len + 5;
    let end = memmem::find(&text.as_bytes()[body..], b"-----END");
    let end = end.map_or(text.len(), |end| body + end);
    (body < end).then_some(body..end)
}

/// Finds the passwords before the hosts of URLs.
pub(super) fn find_passwords_in_urls(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    for at in memchr_iter(b'@', bytes) {
        let before = &bytes[at.saturating_sub(MAX_USER_INFO)..at];
        let is_end = |byte: &u8| !byte.is_ascii_graphic() || b"/\"'`<>()?#".contains(byte);
        let len = before.iter().rev().position(is_end).unwrap_or(before.len());
        if !bytes[..at - len].ends_with(b"://") {
            continue;
        }
        let user_info = at - len..at;
        match text[user_info.clone()].split_once(':') {
            Some((_, "")) => {}
            Some((_, password)) if is_placeholder(password) => {}
            Some((user, _)) => found.push(user_info.start + user.len() + 1..at),
            None if is_token(&bytes[user_info.clone()]) => found.push(user_info),
            None => {}
        }
    }
}

/// Returns whether the name of a user is a token.
fn is_token(user: &[u8]) -> bool {
    SHORTEST_USER_TOKEN <= user.len() && user.iter().any(u8::is_ascii_digit)
}
