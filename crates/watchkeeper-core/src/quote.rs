use std::fmt::Write as _;

/// How much of a text is quoted, in characters.
const MAX_QUOTED: usize = 80;

/// Quotes a short piece of text from an agent between backticks: cut, without
/// what looks like a secret, and safe for a terminal.
pub fn quote(text: &str) -> String {
    // Enough for what is shown, and for a secret that begins in it.
    let cut = text.char_indices().nth(MAX_QUOTED * 4).map_or(text, |(at, _)| &text[..at]);
    let text = redact(cut);
    let mut res = String::from("`");
    for (n, c) in text.chars().enumerate() {
        if n == MAX_QUOTED {
            res.push('…');
            break;
        }
        res.push(if c == '`' { '\'' } else { c });
    }
    res.push('`');
    make_safe(&res)
}

/// Makes text safe for a terminal and for a log: whatever could move the
/// cursor, start a line, or turn the direction of text is written as `\u{…}`.
pub fn make_safe(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => res.push(' '),
            '\n' => res.push_str("\\n"),
            '\r' => res.push_str("\\r"),
            _ if is_unsafe(c) => escape(&mut res, c),
            _ => res.push(c),
        }
    }
    res
}

/// Whether a character must not reach a terminal: controls, marks that turn
/// text around or hide it, separators of lines, and code points that are no
/// characters.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escape(res: &mut String, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(res, "\\u{{{:x}}}", u32::from(c));
}

/// Beginnings by which the keys of common services are known.
const KEY_PREFIXES: &[&str] = &[
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "whsec_",
    "npm_",
    "pypi-",
    "hf_",
    "SG.",
    "dop_v1_",
    "shpat_",
    "AGE-SECRET-KEY-",
];
/// Names whose value is a secret.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "authorization",
    "bearer",
    "private_key",
];

/// Replaces what looks like a secret by `[redacted]`: the keys of common
/// services by how they begin, and whatever follows a name like `password=`.
fn redact(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./+=~%".contains(c);
    let mut res = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_value = false;
    while let Some(first) = rest.chars().next() {
        let len = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(len);
        rest = tail;
        if !is_word(first) {
            res.push_str(word);
            // `password: x` and `"password": "x"` name a value; `password, x` does not.
            is_value = is_value && word.chars().all(|c| " \t:'\"=".contains(c));
            continue;
        }
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if is_value && !is_name(word) {
            res.push_str("[redacted]");
            is_value = false;
        } else if let Some(at) = key_in_path(word) {
            res.push_str(&word[..at]);
            res.push_str("[redacted]");
        } else if is_name(name) && !value.is_empty() {
            res.push_str(name);
            res.push_str("=[redacted]");
            is_value = false;
        } else if is_key(value) {
            res.push_str(name);
            res.push_str("=[redacted]");
        } else {
            res.push_str(word);
            is_value = is_name(name);
        }
    }
    res
}

fn is_key(word: &str) -> bool {
    const SHORTEST: usize = 12;
    SHORTEST <= word.len() && KEY_PREFIXES.iter().any(|it| word.starts_with(it))
}

/// Where a key begins in a path or a URL.
fn key_in_path(word: &str) -> Option<usize> {
    let starts = std::iter::once(0).chain(word.match_indices('/').map(|(at, _)| at + 1));
    starts.into_iter().find(|at| is_key(&word[*at..]))
}

fn is_name(word: &str) -> bool {
    let word = word.trim_start_matches('-').to_ascii_lowercase();
    SECRET_NAMES.iter().any(|it| word.ends_with(it))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{make_safe, quote};

    #[test]
    fn secrets_are_not_quoted() {
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
    fn long_text_is_cut() {
        assert_eq!(quote(&"é".repeat(1000)).chars().count(), 83);
    }

    #[test]
    fn terminals_are_not_steered() {
        let hostile = "a\u{1b}]0;title\u{7}b\r\nc\u{202e}d\u{9b}31m\u{2028}";
        let safe = r"a\u{1b}]0;title\u{7}b\r\nc\u{202e}d\u{9b}31m\u{2028}";
        assert_eq!(make_safe(hostile), safe);
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_is_one_harmless_line(text in any::<String>()) {
            let quoted = quote(&text);
            prop_assert!(!quoted.chars().any(char::is_control));
            prop_assert!(quoted.chars().count() <= 8 * (super::MAX_QUOTED + 3));
        }
    }
}
