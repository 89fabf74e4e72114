//! Texts that agents write and `serde_json` refuses, although their meaning is clear.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::Value;

use super::members::decode;
use crate::near::{end_of_string, nested_len};

/// The deepest nesting that `serde_json` reads.
const MAX_DEPTH: u32 = 127;

/// Escapes the control characters in the strings of a JSON text. Returns `None` if there are
/// none.
pub(super) fn escape_controls(text: &str) -> Option<String> {
    let mut escaped = String::new();
    let (mut is_in_string, mut is_after_backslash, mut n_copied) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        if is_in_string && !is_after_backslash && byte < b' ' {
            escaped.push_str(&text[n_copied..at]);
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{byte:04x}");
            n_copied = at + 1;
        }
        is_in_string ^= byte == b'"' && !is_after_backslash;
        is_after_backslash = byte == b'\\' && !is_after_backslash;
    }
    (n_copied != 0).then(|| escaped + &text[n_copied..])
}

/// Parses a valid JSON text. Half of a surrogate pair becomes a replacement character; a
/// value that is nested too deep, and a number that is too large for [`Value`], become `null`.
pub(crate) fn to_value(json: &str) -> Value {
    serde_json::from_str(json)
        .or_else(|_| serde_json::from_str(&parsable(json)))
        .unwrap_or_default()
}

/// Replaces the parts of a valid JSON text that `serde_json` does not parse.
fn parsable(json: &str) -> String {
    let mut result = String::with_capacity(json.len());
    let (mut rest, mut depth) = (json, 0);
    while let Some(first) = rest.bytes().next() {
        let (len, replacement) = match first {
            b'"' => {
                let len = end_of_string(&rest.as_bytes()[1..]).map_or(rest.len(), |end| end + 2);
                let decoded = match decode(&rest[..len]) {
                    Some(Cow::Owned(text)) => Some(Value::from(text).to_string()),
                    _ => None,
                };
                (len, decoded)
            }
            b'{' | b'[' if depth == MAX_DEPTH => {
                let len = nested_len(rest.as_bytes()).unwrap_or(rest.len());
                (len, Some("null".to_owned()))
            }
            b'-' | b'0'..=b'9' => {
                let is_end = |byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let len = rest.bytes().position(is_end).unwrap_or(rest.len());
                let is_finite = rest[..len].parse().is_ok_and(f64::is_finite);
                (len, (!is_finite).then(|| "null".to_owned()))
            }
            _ => {
                match first {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                (1, None)
            }
        };
        // Outside of strings a valid text is ASCII.
        let (part, after) = rest.split_at_checked(len).unwrap_or((rest, ""));
        result.push_str(replacement.as_deref().unwrap_or(part));
        rest = after;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{escape_controls, parsable, to_value};
    use crate::Json;

    #[test]
    fn half_of_a_surrogate_pair_becomes_a_replacement_character() {
        let json =
            Json::parse(r#"{"command":"echo \ud83d \"x\"","\ude00":["\ud83d\ude00"]}"#).unwrap();
        let expected = json!({"command": "echo \u{fffd} \"x\"", "\u{fffd}": ["\u{1f600}"]});
        assert_eq!(json.to_value(), expected);
    }

    #[test]
    fn a_number_that_is_too_large_becomes_null() {
        let json = Json::parse(r#"{"n":[1e999,-2.5e3,7],"path":"a"}"#).unwrap();
        assert_eq!(json.to_value(), json!({"n": [null, -2500.0, 7], "path": "a"}));
    }

    #[test]
    fn a_deeply_nested_value_keeps_its_other_members() {
        for depth in [1, 126, 127, 128, 129, 100_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let json = format!(r#"{{"path":"a","deep":{open}{close},"command":"ls"}}"#);
            let value = Json::parse(&json).unwrap().to_value();
            assert_eq!((&value["path"], &value["command"]), (&json!("a"), &json!("ls")), "{depth}");
            assert!(value["deep"].is_array());
        }
    }

    #[test]
    fn control_characters_in_strings_are_read() {
        let json = Json::parse("{\"command\":\"a\tb\nc\\\"\u{1}\",\n\"n\":\t1}").unwrap();
        assert_eq!(json.to_value(), json!({"command": "a\tb\nc\"\u{1}", "n": 1}));
        assert_eq!(Json::parse_or_text(json.as_str()), json);
        assert_eq!(escape_controls("{\n\t\"a\": 1}\n"), None);
        // A backslash escapes no control character.
        assert!(Json::parse("\"a\\\tb\"").is_err());
    }

    proptest! {
        #[test]
        fn a_value_that_a_parser_reads_is_left_as_is(text: String, n: i64, f in -1e300..1e300) {
            let value = json!({"a": [text, n, f, null, true], "b": {"c": {}}});
            let json = format!("{value:#}");
            prop_assert_eq!(to_value(&json), value.clone());
            let parsed: Value = serde_json::from_str(&parsable(&json)).unwrap();
            prop_assert_eq!(parsed, value);
        }

        #[test]
        fn any_valid_text_has_a_value(text in r#"([\[\]{}:,"0-9e. -]|\\u[d-f][0-9a-f]{3}|\\|\t|é|null|"a":){0,30}"#) {
            if let Ok(json) = Json::parse(&text) {
                let is_null = json.as_str().trim().starts_with(['n', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
                prop_assert!(is_null || !json.to_value().is_null(), "{}", text);
            }
        }
    }
}
