//! Results that report that nothing was found.

use serde_json::Value;

/// The longest text, in bytes, that can report nothing.
const LONGEST: usize = 300;
/// Complete texts, in lower case.
const WORDS: &[&str] =
    &["[]", "{}", "null", "none", "nil", "undefined", "empty", "nothing", "\"\"", "(empty)", "n/a"];
/// Starts of texts, in lower case.
const STARTS: &[&str] = &[
    "0 rows",
    "0 results",
    "0 matches",
    "0 records",
    "0 hits",
    "0 items",
    "0 files",
    "0 documents",
    "(0 rows",
    "found 0 ",
    "zero results",
    "not found",
    "nothing found",
    "nothing matched",
    "empty result",
    "empty set",
    "empty list",
    "could not find any",
    "did not find any",
    "found no ",
    "found nothing",
    "returned no ",
    "query returned no ",
    "search returned no ",
];
/// Words after `no`, as in `No results for "x"`.
const NOUNS: &[&str] = &[
    "results",
    "result",
    "matches",
    "match",
    "matching",
    "files",
    "rows",
    "records",
    "entries",
    "items",
    "data",
    "documents",
    "hits",
    "references",
    "symbols",
    "messages",
    "content",
];
/// Words after which `found` reports success, as in `No issues found`.
const PROBLEMS: &[&str] = &["error", "issue", "problem", "warning", "conflict", "vulnerabilit"];
/// Keys whose values are no evidence that something was found.
const ENVELOPE: &[&str] = &[
    "query",
    "q",
    "search",
    "pattern",
    "page",
    "page_size",
    "per_page",
    "limit",
    "offset",
    "took",
    "took_ms",
    "time",
    "duration",
    "duration_ms",
    "status",
    "message",
    "ok",
    "success",
    "type",
];

/// Returns true if a successful result reports that nothing was found.
pub(crate) fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    match text.as_bytes() {
        [b'{' | b'[', .., b'}' | b']'] if text.len() <= LONGEST => {
            let may_be_empty = ["[]", "{}", "null", ":0", ": 0", "\"\"", "[ ]"];
            WORDS.contains(&text)
                || may_be_empty.iter().any(|part| text.contains(part))
                    && serde_json::from_str(text).is_ok_and(|value| is_empty(&value))
        }
        [
            b'0' | b'(' | b'"' | b'n' | b'N' | b'e' | b'E' | b'f' | b'F' | b'u' | b'z' | b'Z'
            | b'r' | b'R' | b'c' | b'C' | b'd' | b'D' | b'q' | b'Q' | b's' | b'S',
            ..,
        ] if text.len() <= LONGEST => is_nothing_in_words(text),
        _ => false,
    }
}

fn is_nothing_in_words(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches(['.', '!']);
    // Longer texts contain further information.
    if text.contains('\n') && 120 < text.len() {
        return false;
    }
    if WORDS.contains(&text) || STARTS.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    let Some(what) = text.strip_prefix("no ") else { return false };
    let is_problem = !what.starts_with("match") && PROBLEMS.iter().any(|word| what.contains(word));
    let mut words = what.split(|c: char| !c.is_alphanumeric()).take(4);
    !is_problem && (words.any(|word| NOUNS.contains(&word)) || what.contains(" found"))
}

/// Returns true if a JSON value contains no information.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || is_nothing(text),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(entries) => {
            let is_zero = |value: &Value| value.as_u64() == Some(0);
            let mut has_empty = entries.is_empty();
            let all_empty = entries.iter().all(|(key, value)| {
                let is_envelope =
                    ENVELOPE.contains(&&**key) && !value.is_array() && !value.is_object();
                let is_empty = is_empty(value) || is_zero(value) || value == &Value::Bool(false);
                has_empty |= is_empty && !is_envelope;
                is_envelope || is_empty
            });
            all_empty && has_empty
        }
        _ => false,
    }
}
