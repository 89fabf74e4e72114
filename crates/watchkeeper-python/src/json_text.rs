//! JSON strings.

use std::fmt::Write as _;

/// The number of bytes that are compared at once.
const CHUNK: usize = 16;

/// Appends a JSON string.
pub(crate) fn push_string(json: &mut String, text: &str) {
    json.reserve(text.len() + 2);
    json.push('"');
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let chunk = bytes.get(at..at + CHUNK);
        if chunk.is_some_and(|chunk| !chunk.iter().fold(false, |any, it| any | is_escaped(*it))) {
            at += CHUNK;
            continue;
        }
        if is_escaped(*byte) {
            json.push_str(&text[start..at]);
            push_escape(json, *byte);
            start = at + 1;
        }
        at += 1;
    }
    json.push_str(&text[start..]);
    json.push('"');
}

fn is_escaped(byte: u8) -> bool {
    matches!(byte, 0..b' ' | b'"' | b'\\')
}

fn push_escape(json: &mut String, byte: u8) {
    let escape = match byte {
        b'"' => "\\\"",
        b'\\' => "\\\\",
        b'\n' => "\\n",
        b'\r' => "\\r",
        b'\t' => "\\t",
        _ => {
            // Writing to a string cannot fail.
            let _ = write!(json, "\\u{byte:04x}");
            return;
        }
    };
    json.push_str(escape);
}
