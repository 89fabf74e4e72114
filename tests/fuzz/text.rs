//! Text of agents that people and log files see.

use watchkeeper_core::{
    author::{is_unsafe, make_safe, redact},
    quote,
};

use crate::Target;

/// The longest quote, in bytes: each of its characters may be escaped.
const MAX_QUOTE: usize = 4_096;
/// Secrets with the shapes of public services, none of them in use.
const SECRETS: &[&str] = &[
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "AKIAQ3EGRZJ5XTWKV2PB",
    "xoxb-263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dcQw8kX2Vb",
    "glpat-kf8Wz3QbN7xTy2RmVc9P",
];

const TOKENS: &[&[u8]] = &[
    b"\x1b[2J",
    b"\x1b]0;x\x07",
    b"\x1b]52;c;AAAA\x07",
    b"\r",
    b"\n",
    b"\t",
    b"\0",
    b"\x7f",
    b"\x9b",
    b"\xc2\x9b",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xe2\x81\xa6",
    b"\xe2\x80\x8b",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"`",
    b"\\",
    b"\"",
    b"'",
    b"=",
    b":",
    b" ",
    b"\xef\xbb\xbf",
    b"password=",
    b"Authorization: Bearer ",
    b"https://user:pass@",
    b"-----BEGIN ",
    b"export ",
    b"--token ",
    b"\xf3\xa0\x80\x81",
];

fn examples() -> Vec<Vec<u8>> {
    [
        "make: *** No rule to make target `all'. Stop.",
        "curl -H 'Authorization: Bearer token' https://user:pass@example.com/a?key=b",
        "export AWS_SECRET_ACCESS_KEY=value && ./deploy.sh --password hunter2",
        "{\"api_key\": \"value\", \"text\": \"a \\\"quoted\\\" text\"}",
        "fn main() { println!(\"h\u{e9}llo \u{1f600}\"); }\n",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn safety_target() -> Target {
    let check = Box::new(check_safety);
    Target { name: "safety", examples: examples(), tokens: TOKENS, check }
}

pub(crate) fn redaction_target() -> Target {
    let check = Box::new(check_redaction);
    Target { name: "redaction", examples: examples(), tokens: TOKENS, check }
}

/// A safe text is one line without characters that change a terminal, and stays the same. A
/// quote is bounded too.
fn check_safety(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let (safe, quoted) = (make_safe(&text), quote(&text));
    if let Some(c) = safe.chars().chain(quoted.chars()).find(|c| is_unsafe(*c) || *c == '\n') {
        return Err(format!("{c:?} is left"));
    }
    if make_safe(&safe) != safe {
        return Err("a safe text is changed again".to_owned());
    }
    if MAX_QUOTE < quoted.len() {
        return Err(format!("a quote of {} bytes", quoted.len()));
    }
    Ok(())
}

/// A secret between spaces is redacted, whatever surrounds them.
fn check_redaction(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    // Every place of a short text, and some of a long one.
    let step = text.len() / 16 + 1;
    for (n, at) in places.enumerate().step_by(step) {
        let secret = SECRETS[n % SECRETS.len()];
        let planted = format!("{} {secret} {}", &text[..at], &text[at..]);
        if redact(&planted).contains(secret) {
            return Err(format!("{secret} at {at} is left"));
        }
    }
    redact(&redact(&text));
    Ok(())
}
