//! The number of errors that a line reports.

/// Words behind a number of errors.
const ERRORS: &[&str] =
    &["error", "errors", "failed", "failing", "failure", "failures", "problem", "problems"];
/// Words in front of a number of errors and a colon or an equals sign.
const LABELS: &[&str] = &["errors", "failed", "failures"];
/// Words between a number and the word for errors, as in `3 tests failed`.
const BETWEEN: &[&str] = &[
    "assertion",
    "assertions",
    "case",
    "cases",
    "check",
    "checks",
    "example",
    "examples",
    "file",
    "files",
    "more",
    "previous",
    "spec",
    "specs",
    "suite",
    "suites",
    "test",
    "tests",
    "type",
];

/// Words in front of a number that is a name, as in `Attempt 3 failed` and `a 404 error`.
const NAMED: &[&str] = &[
    "a", "an", "attempt", "code", "exit", "http", "job", "line", "pid", "port", "process", "round",
    "run", "stage", "status", "step", "task", "test", "try", "worker",
];

/// Returns the number of errors that a line reports, as in `Found 12 errors`,
/// `3 of 40 tests failed` and `Failures: 2, Errors: 1`; `None` if the line reports none.
pub(crate) fn n_errors(line: &str) -> Option<u32> {
    let words: Vec<Word<'_>> = words(line).collect();
    let n = (0..words.len())
        .filter(|at| words[*at].is_one_of(ERRORS))
        .filter_map(|at| {
            let before = if words[at].is_next() { before(&words[..at]) } else { None };
            before.or_else(|| after(&words[at..]))
        })
        .fold(0_u32, u32::saturating_add);
    (n != 0).then_some(n)
}

/// A word or a number, and the text up to the next one.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    /// The text between the previous word and this one.
    gap: &'a str,
}

impl Word<'_> {
    fn is_one_of(self, words: &[&str]) -> bool {
        words.iter().any(|word| word.eq_ignore_ascii_case(self.text))
    }

    fn number(self) -> Option<u32> {
        if self.text.bytes().all(|byte| byte.is_ascii_digit()) {
            self.text.parse().ok()
        } else {
            None
        }
    }

    /// Returns the number if it stands alone, and is not a part of a path or of a time.
    fn number_alone(self) -> Option<u32> {
        let is_alone = self.gap.is_empty() || self.gap.ends_with([' ', '\t', '(', '[', ':', '|']);
        let is_part = self.gap == ":" || self.gap == ".";
        self.number().filter(|_| is_alone && !is_part)
    }

    fn is_next(self) -> bool {
        self.gap.bytes().all(|byte| byte == b' ')
    }
}

/// Returns the number in front of the word that follows `words`.
fn before(words: &[Word<'_>]) -> Option<u32> {
    let (last, words) = words.split_last()?;
    let (number, words) =
        if last.is_one_of(BETWEEN) && last.is_next() { words.split_last()? } else { (last, words) };
    let n = number.number_alone()?;
    let is_name = number.is_next() && words.last().is_some_and(|word| word.is_one_of(NAMED));
    of_all(words, *number).or(Some(n)).filter(|_| !is_name)
}

/// Returns the first number of `3 of 40`, whose last number is `all`.
fn of_all(words: &[Word<'_>], all: Word<'_>) -> Option<u32> {
    let [.., number, of] = words else { return None };
    let is_part = of.text.eq_ignore_ascii_case("of") && of.is_next() && all.is_next();
    number.number_alone().filter(|_| is_part)
}

/// Returns the number behind the first word, as in `Failures: 3`.
fn after(words: &[Word<'_>]) -> Option<u32> {
    let [label, number, ..] = words else { return None };
    let is_label = label.is_one_of(LABELS) && matches!(number.gap.trim_end(), ":" | "=");
    number.number().filter(|_| is_label)
}

fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        let (gap, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_alphanumeric()).unwrap_or(from.len());
        let (text, after) = from.split_at(end);
        rest = after;
        Some(Word { text, gap })
    })
}

#[cfg(test)]
mod tests {
    use super::n_errors;

    #[test]
    fn reads_the_number_of_errors_of_common_tools() {
        for (expected, line) in [
            (Some(12), "Found 12 errors."),
            (Some(3), "Found 3 errors in 2 files (checked 40 source files)"),
            (Some(1), "1 error generated."),
            (Some(5), "error: could not compile `app` (lib) due to 5 previous errors; 2 warnings"),
            (Some(1), "1 failed, 39 passed in 0.52s"),
            (Some(1), "============ 1 failed, 39 passed in 0.52s ============"),
            (Some(2), "test result: FAILED. 5 passed; 2 failed; 0 ignored"),
            (Some(3), "Tests:       3 failed, 10 passed, 13 total"),
            (Some(3), "[ERROR] Tests run: 30, Failures: 2, Errors: 1, Skipped: 0"),
            (Some(4), "FAILED (failures=3, errors=1)"),
            (Some(4), "3 examples, 4 failures"),
            (Some(7), "  7 failing"),
            (Some(3), "3 of 40 tests failed"),
            (Some(22), "\u{2716} 12 problems (10 errors, 2 warnings)"),
            (Some(3), "Failed!  - Failed:     3, Passed:    10, Skipped:     0"),
            (Some(2), "[  FAILED  ] 2 tests failed"),
            (Some(6), "66% tests passed, 6 tests failed out of 18"),
            (None, "0 errors"),
            (None, "error: mismatched types"),
            (None, "src/a.ts:12 error TS1005: ';' expected"),
            (None, "  3:5  error  'x' is never used"),
            (None, "make: *** [run] Error 139"),
            (None, "Attempt 3 failed"),
            (None, "Step 5 failed: no space"),
            (None, "process 8812 failed"),
            (None, "the server returned a 404 error"),
            (None, "line 7 error: unbound"),
            (None, "The requested URL returned error: 503"),
            (None, ""),
        ] {
            assert_eq!(n_errors(line), expected, "{line}");
        }
    }
}
