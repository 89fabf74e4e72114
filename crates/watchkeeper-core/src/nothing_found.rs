//! Results that report that nothing was found.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde_json::Value;

/// The longest text, in bytes, that can report nothing.
const LONGEST: usize = 300;
/// The longest text, in bytes, that can report nothing after its first words.
const LONGEST_STATEMENT: usize = 120;
/// Complete texts, in lower case.
const WORDS: &[&str] =
    &["[]", "{}", "null", "none", "nil", "undefined", "empty", "nothing", "\"\"", "(empty)", "n/a"];
/// Starts of statements, in lower case.
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
    "nothing matches",
    "nothing was found",
    "nothing to show",
    "empty result",
    "empty set",
    "empty list",
    "found no ",
    "found nothing",
];
/// Parts of statements, in lower case.
const PARTS: &[&str] = &[
    "not find any",
    "n't find any",
    "not found any",
    "n't found any",
    "not return any",
    "n't return any",
    "not match any",
    "n't match any",
    "returned 0 ",
    "returned zero ",
    "returned no ",
    "returned nothing",
    "returned empty",
    "returned an empty",
    "matched no ",
    "matches no ",
    "matched 0 ",
];
/// Words before a zero, as in `Total: 0`.
const COUNTS: &[&str] = &["total", "count", "found", "length", "size", "returned"];
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
    "pages",
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
    "duration",
    "duration_ms",
    "ok",
    "success",
    "type",
];
/// Keys that are empty in successful results of any kind.
const NO_EVIDENCE: &[&str] =
    &["error", "errors", "warning", "warnings", "message", "status", "stderr"];
/// Values of `status` that only confirm a call.
const CONFIRMATIONS: &[&str] =
    &["ok", "success", "successful", "succeeded", "complete", "completed", "done", "200", "true"];
/// Parts of the names of counters.
const COUNTERS: &[&str] =
    &["count", "total", "size", "length", "num", "hits", "matches", "results", "rows", "found"];

/// Returns true if a successful result reports that nothing was found.
pub(crate) fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    match text.as_bytes() {
        _ if LONGEST < text.len() => false,
        [b'{' | b'[', .., b'}' | b']'] => {
            let may_be_empty = ["[]", "{}", "null", ":0", ": 0", "\"\"", "[ ]"];
            WORDS.contains(&text)
                || may_be_empty.iter().any(|part| text.contains(part))
                    && serde_json::from_str(text).is_ok_and(|value| is_empty(&value))
        }
        [b'<', .., b'>'] => is_empty_list(text),
        _ => HINTS.is_match(text) && is_nothing_in_words(text),
    }
}

/// Finds texts that may report nothing. Most results contain none of these.
static HINTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let hints = [
        "no ",
        "not ",
        "n't ",
        "nothing",
        "none",
        "zero",
        "0 ",
        " 0",
        "null",
        "nil",
        "undefined",
        "empty",
        "n/a",
        "\"\"",
    ];
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(hints);
    automaton.expect("the patterns are few and short")
});

fn is_nothing_in_words(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches(['.', '!']);
    // Longer texts contain further information.
    let is_long = LONGEST_STATEMENT < text.len();
    if is_long && text.contains('\n') {
        return false;
    }
    if WORDS.contains(&text) || starts_with_nothing(text) {
        return true;
    }
    if is_long || has_problem(text) {
        return false;
    }
    PARTS.iter().any(|part| text.contains(part))
        || is_zero_count(text)
        || text.split(['.', ':', ';', ',', '\n']).skip(1).any(ends_with_nothing)
}

/// Returns true if a text begins by reporting nothing, as in `No results for "x"`.
fn starts_with_nothing(text: &str) -> bool {
    if STARTS.iter().any(|start| text.starts_with(start)) {
        return !text.contains("affected");
    }
    let Some(object) = text.strip_prefix("no ") else { return false };
    let is_problem = !object.starts_with("match") && has_problem(object);
    let mut words = object.split(|c: char| !c.is_alphanumeric()).take(4);
    !is_problem && (words.any(|word| NOUNS.contains(&word)) || object.contains(" found"))
}

/// Returns true if the last statement of a text is that there are none, as in
/// `Searched 12 files, no matches`.
fn ends_with_nothing(statement: &str) -> bool {
    let statement = statement.trim();
    let Some(object) = statement.strip_prefix("no ").or(statement.strip_prefix("0 ")) else {
        return false;
    };
    let mut words = object.split(' ').skip_while(|word| !NOUNS.contains(word));
    words.next().is_some()
        && words.next().is_none_or(|next| {
            ["found", "returned", "matched", "available", "match", "for", "in", "here"]
                .contains(&next)
        })
}

/// Returns true if a text is a count of zero, as in `Total: 0` and `Results = 0`.
fn is_zero_count(text: &str) -> bool {
    let Some((name, "0")) = text.rsplit_once([':', '=', ' ']) else { return false };
    let name = name.trim_end_matches([':', '=', ' ']);
    let last = name.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    COUNTS.contains(&last) || NOUNS.contains(&last)
}

fn has_problem(text: &str) -> bool {
    PROBLEMS.iter().any(|word| text.contains(word))
}

/// Returns true if a text consists of tags for a list, without contents or attributes, as in
/// `<results></results>`.
fn is_empty_list(text: &str) -> bool {
    let mut names_list = false;
    let is_empty = text.split('<').skip(1).all(|part| {
        let Some((tag, contents)) = part.split_once('>') else { return false };
        names_list |= NOUNS.iter().any(|noun| tag.contains(noun));
        contents.trim().is_empty() && !tag.contains('=')
    });
    is_empty && names_list
}

/// Returns true if a JSON value contains no information.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || is_nothing(text),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(entries) => {
            // The message confirms an action that has no data.
            let has_message = entries.get("message").is_some_and(Value::is_string);
            let mut has_evidence = entries.is_empty();
            let is_all_empty = entries.iter().all(|(key, value)| {
                let is_neutral =
                    !value.is_array() && !value.is_object() && ENVELOPE.contains(&&**key)
                        || key == "status" && confirms(value);
                let is_zero = value.as_u64() == Some(0);
                let is_empty = is_empty(value) || is_zero || value == &Value::Bool(false);
                has_evidence |= is_empty
                    && !is_neutral
                    && !(has_message && value.is_null())
                    && is_evidence(key, value, entries.len());
                is_neutral || is_empty
            });
            is_all_empty && has_evidence
        }
        _ => false,
    }
}

/// Returns true if an empty value shows that a search found nothing.
fn is_evidence(key: &str, value: &Value, n_entries: usize) -> bool {
    match value {
        _ if NO_EVIDENCE.contains(&key) => matches!(value, Value::String(text) if is_nothing(text)),
        Value::Bool(_) => false,
        Value::Number(_) => COUNTERS.iter().any(|counter| key.contains(counter)),
        // Actions and unfinished work have no result.
        Value::Null | Value::String(_) => key != "result" || n_entries == 1,
        _ => true,
    }
}

/// Returns true if the value of `status` only confirms the call.
fn confirms(status: &Value) -> bool {
    match status {
        Value::String(text) => CONFIRMATIONS.iter().any(|it| text.eq_ignore_ascii_case(it)),
        Value::Number(_) | Value::Bool(true) => true,
        _ => false,
    }
}
