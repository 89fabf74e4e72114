//! Successful results that may report an error: the output of a script whose last command
//! succeeded.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;

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

/// Finds the hints with vector instructions, which is faster than an automaton; `None` on
/// processors that have none.
static SEARCHER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(HINTS));

/// Returns true if a text contains a part of an error, in any case of letters.
#[cfg(test)]
pub(crate) fn has_hint(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    HINTS.iter().any(|hint| text.contains(&hint.to_ascii_lowercase()))
}

/// Returns true if a successful result is short and contains a part of an error.
pub(crate) fn may_report_error(output: &str) -> bool {
    (1..=LONGEST).contains(&output.len()) && contains_hint(output)
}

fn contains_hint(output: &str) -> bool {
    match &*SEARCHER {
        Some(searcher) => searcher.find(output).is_some(),
        None => contains_hint_naive(output),
    }
}

fn contains_hint_naive(output: &str) -> bool {
    HINTS.iter().any(|hint| output.contains(hint))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::{HINTS, contains_hint, contains_hint_naive};

    proptest! {
        #[test]
        fn finds_the_hints_that_a_naive_search_finds(
            before in "(\\PC|o|n|r){0,80}",
            hint in select(HINTS),
            cut in 0..8_usize,
            after in "\\PC{0,40}",
        ) {
            let hint = &hint[..hint.len().saturating_sub(cut)];
            let output = format!("{before}{hint}{after}");
            prop_assert_eq!(contains_hint(&output), contains_hint_naive(&output), "{}", output);
        }
    }
}
