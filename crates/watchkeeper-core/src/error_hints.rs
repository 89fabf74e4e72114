//! Successful results that may report an error: the output of a script whose last command
//! succeeded.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// The longest successful result, in bytes, that can report an error.
const LONGEST: usize = 2_000;

/// Parts of errors that are recognized in successful results, in the case of letters that
/// shells and runtimes print. Few parts and one case make the search cheap: every result of
/// every session is searched.
const HINTS: &[&str] = &[
    "not found",
    "not recognized",
    "nknown command",
    "No such file",
    "no such file",
    "No module named",
    "no required module",
    "annot find",
    "resol",
    "service not known",
    "nodename nor servname",
    "failed to lookup address",
    "dial tcp",
    "unexpected EOF",
    "yntax error",
    "parse error near",
    "unmatched",
    "JAVA_HOME",
    "o changes",
    "ENOTFOUND",
    "EAI_AGAIN",
];

static MATCHER: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(HINTS).expect("the patterns are few and short"));

/// Returns true if a text contains a part of an error, in any case of letters.
#[cfg(test)]
pub(crate) fn has_hint(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    HINTS.iter().any(|hint| text.contains(&hint.to_ascii_lowercase()))
}

/// Returns true if a successful result is short and contains a part of an error.
pub(crate) fn may_report_error(output: &str) -> bool {
    (1..=LONGEST).contains(&output.len()) && MATCHER.is_match(output)
}
