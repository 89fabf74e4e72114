//! JSON strings.

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
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn push_escape(json: &mut String, byte: u8) {
    json.push_str(match byte {
        b'"' => "\\\"",
        b'\\' => "\\\\",
        b'\n' => "\\n",
        b'\r' => "\\r",
        b'\t' => "\\t",
        _ => {
            json.push_str(&format!("\\u{byte:04x}"));
            return;
        }
    });
}
