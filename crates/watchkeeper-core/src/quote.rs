use std::fmt::Write as _;

use crate::redact::redact;

/// The maximum length of a quoted text, in characters.
const MAX_QUOTED: usize = 80;

/// Quotes text from an agent for a message: in backticks, at most 80 characters, with secrets
/// redacted, and safe for a terminal.
pub fn quote(text: &str) -> String {
    // Bounds the time for long texts. A secret that begins within the quoted part is still
    // recognized, as redaction sees four times as much.
    let cut = text.char_indices().nth(MAX_QUOTED * 4).map_or(text, |(at, _)| &text[..at]);
    let text = redact(cut);
    let mut out = String::from("`");
    for (n, c) in text.chars().enumerate() {
        if n == MAX_QUOTED {
            out.push('…');
            break;
        }
        out.push(if c == '`' { '\'' } else { c });
    }
    out.push('`');
    make_safe(&out)
}

/// Escapes every character that could control a terminal or forge a line of a log.
///
/// Line breaks become `\n` and `\r`, tabs become spaces, and every other [unsafe](is_unsafe)
/// character becomes `\u{…}`.
pub fn make_safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ if is_unsafe(c) => escape(&mut out, c),
            _ => out.push(c),
        }
    }
    out
}

/// Returns whether a character must not reach a terminal: control characters, invisible
/// characters, bidirectional marks, line separators, and code points that are not characters.
///
/// The invisible ones are those with the properties `Default_Ignorable_Code_Point` or `Cf`
/// in Unicode 17, and the blank letters of Braille and Hangul.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}'
            | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn escape(out: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{make_safe, quote};

    #[test]
    fn redacts_secrets() {
        for (text, quoted) in [
            ("ls -l", "`ls -l`"),
            (
                "curl -H 'Authorization: Bearer abc.def'",
                "`curl -H 'Authorization: Bearer [redacted]'`",
            ),
            ("export API_KEY=abc123", "`export API_KEY=[redacted]`"),
            (r#"{"password": "hunter2"}"#, r#"`{"password": "[redacted]"}`"#),
            ("git clone https://ghp_0123456789abcdef@host", "`git clone https://[redacted]@host`"),
            ("x=sk-0123456789abcdef", "`x=[redacted]`"),
            ("the token, please", "`the token, please`"),
            ("tick ` tock", "`tick ' tock`"),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn cuts_long_text() {
        assert_eq!(quote(&"é".repeat(1000)).chars().count(), 83);
    }

    #[test]
    fn escapes_terminal_control_characters() {
        let hostile = "a\u{1b}]0;title\u{7}b\r\nc\u{202e}d\u{9b}31m\u{2028}";
        let safe = r"a\u{1b}]0;title\u{7}b\r\nc\u{202e}d\u{9b}31m\u{2028}";
        assert_eq!(make_safe(hostile), safe);
        for invisible in ['\u{34f}', '\u{3164}', '\u{fe0f}', '\u{2800}', '\u{1d173}', '\u{e0100}'] {
            let escaped = format!("\\u{{{:x}}}", u32::from(invisible));
            assert_eq!(make_safe(&invisible.to_string()), escaped);
        }
        assert_eq!(make_safe("ångström, 日本語, 😀"), "ångström, 日本語, 😀");
    }

    proptest! {
        #[test]
        fn quoted_text_is_one_bounded_line_without_control_characters(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert!(!quoted.chars().any(char::is_control));
            prop_assert!(quoted.chars().count() <= 8 * (super::MAX_QUOTED + 3));
        }
    }
}
