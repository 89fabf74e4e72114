//! Words that look random, such as tokens of services without a prefix.

use std::ops::Range;

/// The shortest word that is examined. Shorter words of a program can look random, too.
const SHORTEST: usize = 24;
/// The prefixes of ids, which look random and are no secrets.
const IDS: &[&[u8]] = &[
    b"call_",
    b"chatcmpl-",
    b"chatcmpl_",
    b"fc_",
    b"gen-",
    b"item_",
    b"msg_",
    b"prt_",
    b"req_",
    b"resp_",
    b"rs_",
    b"run_",
    b"ses_",
    b"sha1-",
    b"sha256-",
    b"sha384-",
    b"sha512-",
    b"thread_",
    b"toolu_",
];

/// Finds the words that look random in a run of token characters.
pub(super) fn find(text: &[u8], run: Range<usize>, found: &mut Vec<Range<usize>>) {
    if run.len() < SHORTEST {
        return;
    }
    let mut start = run.start;
    for word in text[run].split(|byte| matches!(byte, b'.' | b'~' | b'+' | b'/')) {
        if is_random(word) {
            found.push(start..start + word.len());
        }
        start += word.len() + 1;
    }
}

/// Returns whether most neighbours in a word are of different kinds: upper case, lower case and
/// digits. In a random word, 60 % are; in a name in camel case, 30 %.
fn is_random(word: &[u8]) -> bool {
    if word.len() < SHORTEST || IDS.iter().any(|id| word.starts_with(id)) {
        return false;
    }
    let (mut n_of_kind, mut n_changes, mut latest) = ([0_usize; 3], 0_usize, 3);
    for byte in word {
        let kind = match byte {
            b'a'..=b'z' => 0,
            b'A'..=b'Z' => 1,
            b'0'..=b'9' => 2,
            _ => 3,
        };
        n_changes += usize::from(kind < 3 && latest < 3 && kind != latest);
        if let Some(n) = n_of_kind.get_mut(kind) {
            *n += 1;
        }
        latest = kind;
    }
    n_of_kind.iter().all(|n| 2 < *n) && word.len() * 2 / 5 <= n_changes
}
