use std::fmt::Write as _;

use serde::Serialize;
use watchkeeper_core::{Finding, author::is_unsafe};

/// Returns a finding as one line of JSON, without a line break.
///
/// Characters that could control a terminal are escaped although JSON allows
/// them, since people read such lines with `cat` and `tail`.
pub fn render_json(finding: &Finding) -> String {
    json_line(finding)
}

/// Returns a value as one line of JSON, escaped as in [`render_json`]. All keys of the value
/// are strings.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("all keys are strings");
    if !json.contains(is_unsafe) {
        return json;
    }
    // JSON has no such characters outside strings.
    let mut escaped = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::render_json;
    use crate::samples::{any_finding, finding, is_harmless};

    #[test]
    fn writes_a_finding_as_one_line() {
        assert_snapshot!(render_json(&finding()), @r#"{"id":"9f2c000000000001","at":"2026-11-22T10:14:07.12Z","detector":"repeated_call","kind":"repeat-tool-call","class":"runaway","severity":"high","status":"open","count":4,"session":"5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab","agent":null,"source":"claude-code","fingerprint":"00000000000000ab","labels":{"team":"payments"},"message":"`Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it`","data":{"repeats":4,"tool":"Bash"},"evidence":[{"file":"/home/ada/.claude/projects/shop/5b1e.jsonl","line":790,"event":"tool_call"},{"file":"/home/ada/.claude/projects/shop/5b1e.jsonl","line":812,"event":"tool_call"}]}"#);
    }

    #[test]
    fn escapes_characters_that_control_a_terminal() {
        let mut finding = finding();
        finding.message = "a\u{9b}31m\u{7f}\u{202e}\u{2028}\u{e0041}b".to_owned();
        let json = render_json(&finding);
        assert!(json.contains(r"a\u009b31m\u007f\u202e\u2028\udb40\udc41b"), "{json}");
    }

    proptest! {
        #[test]
        fn every_finding_is_harmless_and_parses_to_the_same_value(finding in any_finding()) {
            let json = render_json(&finding);
            prop_assert!(json.chars().all(is_harmless), "{:?}", json);
            let value: Value = serde_json::from_str(&json).expect("a finding is JSON");
            prop_assert_eq!(value, serde_json::to_value(&finding).expect("a finding is JSON"));
        }
    }
}
