//! The numbers in an answer that say how far something has come.

use watchkeeper_core::Fingerprint;

use crate::Brief;

/// A number with so many digits is a time or an id.
const SHORTEST_ID: usize = 9;
/// What stands before a number that names something, or is a time.
const NAMES: &[&str] = &[
    "id",
    "line",
    "port",
    "process",
    "session",
    "time",
    "at",
    "ms",
    "seconds",
    "secs",
    "duration",
    "elapsed",
    "took",
    "timestamp",
    "date",
    "request",
    "attempt",
];
/// What stands after a number of bytes.
const SIZES: &[&str] = &["b", "k", "m", "g", "kb", "mb", "gb", "kib", "mib", "gib", "bytes"];
/// What stands after a length of time.
const TIMES: &[&str] =
    &["s", "ms", "sec", "secs", "second", "seconds", "min", "mins", "minutes", "hours"];

/// What an answer counts: equal for two answers that are the same but for times,
/// for ids and for the numbers of lines.
pub(crate) fn counters(text: &str) -> Brief {
    let mut res = Fingerprint::NONE;
    let mut before = "";
    let mut words = words(text).peekable();
    while let Some(word) = words.next() {
        let after = words.peek().copied().unwrap_or_default();
        if word.bytes().any(|it| it.is_ascii_digit()) && counts(before, word, after) {
            res = res.and(Fingerprint::of(word));
        }
        before = word;
    }
    res.brief()
}

/// Words, numbers, and what is written as one, like a date.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_');
    text.split(move |c| !is_part(c))
        .map(|it| it.trim_matches(['.', ':', '-', '_']))
        .filter(|it| !it.is_empty())
}

/// Whether a word with a digit in it counts something.
fn counts(before: &str, word: &str, after: &str) -> bool {
    let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &word[number.len()..];
    let is = |word: &str, names: &[&str]| names.iter().any(|it| word.eq_ignore_ascii_case(it));
    let names = || {
        NAMES.iter().any(|it| {
            before.len() >= it.len()
                && before.is_char_boundary(before.len() - it.len())
                && before[before.len() - it.len()..].eq_ignore_ascii_case(it)
        })
    };
    number.len() < SHORTEST_ID
        && number.bytes().all(|it| it.is_ascii_digit() || it == b'.')
        && (unit.is_empty() || is(unit, SIZES))
        && !is(after, TIMES)
        && !names()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::counters;

    #[test]
    fn what_is_counted_differs_and_what_is_named_does_not() {
        for (a, b) in [
            ("12 of 200 built", "15 of 200 built"),
            (r#"{"rows":[[20]]}"#, r#"{"rows":[[37]]}"#),
            ("read 8192 bytes", "read 16384 bytes"),
            ("12MB read", "15MB read"),
            ("1.5 of 3", "2.5 of 3"),
        ] {
            assert_ne!(counters(a), counters(b), "{a}");
        }
        for (a, b) in [
            ("2026-01-01T10:00:01Z waits", "2026-01-01T10:00:05Z waits"),
            ("10:00:01.5 waits", "10:00:09.5 waits"),
            ("took 1.25s", "took 31.5s"),
            ("took 12 seconds", "took 15 seconds"),
            ("main.rs:12: no", "main.rs:15: no"),
            ("line 316: no", "line 334: no"),
            ("pid 77 died", "pid 99 died"),
            (r#"{"requestId": 7}"#, r#"{"requestId": 8}"#),
            ("chunk a1b2c3", "chunk 99ff00aa"),
            ("at 1795335962", "at 1795335970"),
        ] {
            assert_eq!(counters(a), counters(b), "{a}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>(), a in any::<u16>(), b in any::<u16>()) {
            let of = |n| counters(&format!("{text} so {n} of"));
            prop_assert_eq!(a == b, of(a) == of(b));
        }
    }
}
