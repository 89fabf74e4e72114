//! The line of an output that identifies an error.

#[cfg(test)]
mod tests;

use crate::error_counts::n_errors;

/// The number of bytes at the start and at the end of a long result that are
/// searched for an error.
const SEARCHED: usize = 4096;
/// The number of bytes of one line that are compared.
pub(crate) const LONGEST_LINE: usize = 300;
/// The least number of letters in a line that identifies an error.
const FEWEST_LETTERS: usize = 8;
/// The least number of characters on each side of a heading, as in `=== FAILURES ===`.
const SHORTEST_RULE: usize = 3;
/// The most words of a heading that ends in a colon.
const LONGEST_HEADING: usize = 3;

/// Words in a line that contains an error.
const ERRORS: &[&str] = &[
    "error",
    "exception",
    "fail",
    "fatal",
    "panic",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "unable",
    "not found",
    "no such",
    "not exist",
    "invalid",
    "unknown",
    "unrecognized",
    "unexpected",
    "unsupported",
    "undefined",
    "unauthorized",
    "forbidden",
    "denied",
    "refused",
    "rejected",
    "missing",
    "not allowed",
    "not permitted",
    "timed out",
    "timeout",
    "rate limit",
    "too many",
    "overloaded",
    "unavailable",
    "crashed",
    "segmentation fault",
    "usage:",
];
/// Starts of lines that agents add above the output of a command.
const WRAPPING: &[&str] = &[
    "Exit code",
    "Process exited with code",
    "Chunk ID:",
    "Wall time:",
    "Original token count:",
    "Output:",
    "Traceback (most recent call last)",
];
/// Words in a line that reports the failure of a whole step, such as a build. The error is in
/// another line.
const SUMMARIES: &[&str] = &[
    "*** [",
    "a complete log of this run",
    "aborting due to",
    "build error occurred",
    "build failed",
    "collect2: error",
    "command failed",
    "compilation error",
    "compilation failed",
    "compilation terminated",
    "compiled with errors",
    "completed with error",
    "could not compile",
    "did not complete successfully",
    "elifecycle",
    "execution failed for task",
    "exit code",
    "exit status",
    "exited with",
    "failed to compile",
    "failed to execute goal",
    "failed with exit",
    "finished with error",
    "for more information about this error",
    "lifecycle script",
    "linker command failed",
    "non-zero",
    "npm err! code",
    "npm err! errno",
    "npm err! path",
    "npm error code",
    "npm error errno",
    "npm error path",
    "recipe for target",
    "short test summary",
    "test failed",
    "test result:",
    "tests failed",
    "there are test failures",
    "there were failing tests",
    "this is probably not a problem with npm",
    "to rerun pass",
    "what went wrong",
    "> task :",
];
/// Starts of lines about a test or a check that passed.
const PASSED_STARTS: &[&str] =
    &["ok ", "PASS ", "PASSED ", "--- PASS", "[       OK ]", "(pass)", "\u{2713}", "\u{2714}"];

/// Returns the first line with an error, at the start of a text or else at its end. A heading, a
/// number of errors and the failure of a whole step do not identify an error: such a line is
/// returned only if there is no other.
pub(crate) fn error_line(text: &str) -> Option<&str> {
    let mut summary = None;
    for line in searched_lines(text).filter(|line| contains_error(line)) {
        if !is_summary(line) {
            return Some(line);
        }
        summary = summary.or(Some(line));
    }
    summary
}

/// Returns the first line of a text that an agent has not added.
pub(crate) fn first_line(text: &str) -> Option<&str> {
    lines(head(text)).next()
}

/// Returns the lines at the start and at the end of a text that are not empty, without the lines
/// that agents add.
pub(crate) fn searched_lines(text: &str) -> impl Iterator<Item = &str> {
    let head = head(text);
    lines(head).chain(lines(tail(&text[head.len()..])))
}

/// Returns true if a line has enough letters to identify an error.
pub(crate) fn is_specific(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphabetic()).nth(FEWEST_LETTERS - 1).is_some()
}

pub(crate) fn has(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| line.contains(word))
}

/// Returns true if a line contains an error, and enough words to identify one.
pub(crate) fn contains_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let is_error = has(&lower, ERRORS) && !counts_no_errors(&lower) && !is_warning(&lower);
    is_error && is_specific(line) && !is_code(line) && !is_about_passed_test(line)
}

/// Returns true if a line introduces errors, counts them, or reports the failure of a whole step.
fn is_summary(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    is_heading(line) || is_test_progress(line) || n_errors(line).is_some() || has(&lower, SUMMARIES)
}

/// Returns true if a line is a heading, as in `=== FAILURES ===` and `Failed tests:`.
fn is_heading(line: &str) -> bool {
    let is_rule = |c: &char| {
        matches!(c, '=' | '-' | '_' | '*' | '#' | '!' | '~')
            || ('\u{2500}'..='\u{257f}').contains(c)
            || *c == '\u{23af}'
    };
    let starts = line.chars().take_while(is_rule).count();
    let ends = line.chars().rev().take_while(is_rule).count();
    let is_between_rules = SHORTEST_RULE <= starts.min(ends);
    let introduces = line.ends_with(':')
        && line.split_whitespace().count() <= LONGEST_HEADING
        && !line.contains(|c: char| c.is_ascii_digit());
    is_between_rules || introduces
}

/// Returns true if a line shows the results of the tests of a file as letters, as in
/// `tests/test_errors.py ..F.s [ 40%]`.
fn is_test_progress(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (_, results) = (words.next(), words.next().unwrap_or_default());
    let is_result = |byte: u8| b".FEsxX".contains(&byte);
    !results.is_empty()
        && results.bytes().all(is_result)
        && words.all(|word| word == "[" || word.ends_with("%]"))
}

fn is_about_passed_test(line: &str) -> bool {
    let has_passed = || line.ends_with("... ok") || line.contains(" PASSED");
    PASSED_STARTS.iter().any(|start| line.starts_with(start))
        || has_passed() && !line.contains("FAIL")
}

/// Returns true if a line counts no errors, as in `12 passed; 0 failed`.
fn counts_no_errors(line: &str) -> bool {
    let has_zero = |words: &str| {
        line.match_indices(words).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_digit()))
    };
    let has_none = || has_zero("0 fail") || has_zero("0 error") || line.contains("no errors");
    // `3 failed, 0 errors` counts some.
    n_errors(line).is_none() && has_none()
}

/// Returns true if a line is source code, which compilers show around an error.
fn is_code(line: &str) -> bool {
    line.ends_with(['{', ';'])
}

fn is_warning(line: &str) -> bool {
    line.contains("warn") && !line.contains("error")
}

/// Returns the lines of a text without the lines that agents add.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("<tool_use_error>").unwrap_or(line);
        let line = line.strip_suffix("</tool_use_error>").unwrap_or(line);
        let is_wrapping = line.is_empty() || WRAPPING.iter().any(|start| line.starts_with(start));
        (!is_wrapping).then(|| cut(line, LONGEST_LINE))
    })
}

pub(crate) fn head(text: &str) -> &str {
    cut(text, SEARCHED)
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(SEARCHED);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[from..]
}

fn cut(text: &str, len: usize) -> &str {
    let to = (0..=len.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..to]
}
