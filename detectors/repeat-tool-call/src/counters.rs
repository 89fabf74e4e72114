//! Counters in a result: numbers that show progress.

use watchkeeper_core::Fingerprint;

use crate::options::Brief;

/// The least number of digits of a number that is a time or an id.
const SHORTEST_ID: usize = 9;
/// Words before a number that is an id or a time.
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
/// Units of a number of bytes.
const SIZES: &[&str] = &["b", "k", "m", "g", "kb", "mb", "gb", "kib", "mib", "gib", "bytes"];
/// Units of a length of time.
const TIMES: &[&str] =
    &["s", "ms", "sec", "secs", "second", "seconds", "min", "mins", "minutes", "hours"];

/// Returns a fingerprint of the counters in a result. Times, ids and line
/// numbers do not change it.
pub(crate) fn counters(text: &str) -> Brief {
    let mut counters = Fingerprint::NONE;
    let mut before = "";
    let mut words = words(text).peekable();
    while let Some(word) = words.next() {
        let after = words.peek().copied().unwrap_or_default();
        if word.bytes().any(|byte| byte.is_ascii_digit()) && is_counter(before, word, after) {
            counters = counters.and(Fingerprint::of(word));
        }
        before = word;
    }
    counters.brief()
}

/// Returns the words and numbers of a text. A date is one word.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_');
    text.split(move |c| !is_part(c))
        .map(|word| word.trim_matches(['.', ':', '-', '_']))
        .filter(|word| !word.is_empty())
}

/// Returns true if a word with a digit in it is a counter.
fn is_counter(before: &str, word: &str, after: &str) -> bool {
    let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &word[number.len()..];
    let is = |word: &str, names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let ends_in_name = || {
        NAMES.iter().any(|name| {
            before.len() >= name.len()
                && before.is_char_boundary(before.len() - name.len())
                && before[before.len() - name.len()..].eq_ignore_ascii_case(name)
        })
    };
    number.len() < SHORTEST_ID
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && (unit.is_empty() || is(unit, SIZES))
        && !is(after, TIMES)
        && !ends_in_name()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::counters;

    #[test]
    fn counters_differ_and_ids_and_times_do_not() {
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
        fn reads_the_counter_after_any_text(text in any::<String>(), a in any::<u16>(), b in any::<u16>()) {
            let of = |n| counters(&format!("{text} so {n} of"));
            prop_assert_eq!(a == b, of(a) == of(b));
        }
    }
}
