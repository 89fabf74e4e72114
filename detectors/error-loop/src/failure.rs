//! What a tool that failed says, and how much that weighs.

use watchkeeper_core::{Cause, Fingerprint, ToolClass, ToolResult};

/// How much of a long answer is searched for its error, from its start and
/// from its end, in bytes.
const SEARCHED: usize = 4096;
/// How much of one line counts, in bytes.
const LONGEST_LINE: usize = 300;
/// A line with fewer letters says too little to be the same error twice.
const FEWEST_LETTERS: usize = 8;

/// The answer of a tool that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    /// The line that tells what went wrong, if any does.
    pub(crate) line: Option<&'a str>,
    /// Equal for two answers that tell of the same error.
    pub(crate) error: Option<Fingerprint>,
    pub(crate) weight: Weight,
}

/// How much a failure weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Full,
    /// A look that found nothing.
    Half,
    /// Somebody else's trouble, which passes.
    Third,
    /// An editor that wants to be asked in another way.
    Nothing,
}

impl Weight {
    /// A whole failure.
    pub(crate) const UNIT: u64 = 6;

    pub(crate) const fn get(self) -> u64 {
        match self {
            Self::Full => Self::UNIT,
            Self::Half => Self::UNIT / 2,
            Self::Third => Self::UNIT / 3,
            Self::Nothing => 0,
        }
    }
}

impl<'a> Failure<'a> {
    /// Reads the answer of a tool of this class.
    pub(crate) fn of(result: &'a ToolResult, class: ToolClass) -> Self {
        let weight = |line: &str| match line.to_ascii_lowercase() {
            it if class == ToolClass::Write && has(&it, PRECONDITIONS) => Weight::Nothing,
            it if is_passing_trouble(&it) => Weight::Third,
            it if class == ToolClass::Read && has(&it, MISSES) => Weight::Half,
            _ => Weight::Full,
        };
        let timed_out = result.cause == Some(Cause::Timeout);
        let unless_timed_out = |it| if timed_out { Weight::Third } else { it };
        let Some(output) = result.output.as_deref() else {
            return Self { line: None, error: None, weight: unless_timed_out(Weight::Full) };
        };
        if let Some(line) = telling_line(output) {
            let error = Some(Fingerprint::of_output(line));
            return Self { line: Some(line), error, weight: unless_timed_out(weight(line)) };
        }
        // Nothing that looks like an error: what is the same is the whole answer.
        match lines(head(output)).next() {
            Some(line) => {
                let error = result.fingerprint.filter(|_| says_enough(line));
                Self { line: Some(line), error, weight: unless_timed_out(weight(line)) }
            }
            // `grep` and `test` say no like this.
            None => Self { line: None, error: None, weight: unless_timed_out(Weight::Half) },
        }
    }
}

/// Words of which a line that tells of an error has one.
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
    "usage:",
];
/// What an editor says that wants the file to be read, and then takes the edit.
const PRECONDITIONS: &[&str] = &[
    "not been read",
    "read it first",
    "read the file first",
    "must read",
    "must be read",
    "modified since",
    "changed since",
];
/// What is said of something that was looked for and is not there.
const MISSES: &[&str] =
    &["not found", "no such", "not exist", "no match", "no files", "cannot find", "404"];
/// What a service says that will work later.
const PASSING: &[&str] = &[
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many requests",
    "overloaded",
    "service unavailable",
    "temporarily unavailable",
    "try again later",
    "bad gateway",
    "internal server error",
    "gateway time",
    "timed out",
    "timeout",
];
/// What a harness says of a provider that does not answer.
const PROVIDER: &[&str] =
    &["high demand", "server error", "server_error", "connection", "connect error", "disconnected"];
/// The same as a number, which says so only beside one of `STATUS`.
const PASSING_STATUS: &[&str] = &["429", "500", "502", "503", "504", "529"];
const STATUS: &[&str] = &["http", "status"];

/// The first line that tells of an error, at the start of a text or else at
/// its end.
fn telling_line(text: &str) -> Option<&str> {
    let tells = |it: &&str| {
        let line = it.to_ascii_lowercase();
        let is_error = has(&line, ERRORS) && !says_none(&line) && !is_warning(&line);
        is_error && says_enough(it) && !is_code(it)
    };
    let head = head(text);
    lines(head).find(tells).or_else(|| lines(tail(&text[head.len()..])).find(tells))
}

/// The lines of a text that are not the wrapping that agents put around it.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("<tool_use_error>").unwrap_or(line);
        let line = line.strip_suffix("</tool_use_error>").unwrap_or(line);
        let is_wrapping = line.is_empty() || WRAPPING.iter().any(|it| line.starts_with(it));
        (!is_wrapping).then(|| cut(line, LONGEST_LINE))
    })
}

/// What lines begin with that agents write above the output of a command.
const WRAPPING: &[&str] = &[
    "Exit code",
    "Process exited with code",
    "Chunk ID:",
    "Wall time:",
    "Original token count:",
    "Output:",
    "Traceback (most recent call last)",
];

fn says_enough(line: &str) -> bool {
    line.chars().filter(|it| it.is_alphabetic()).nth(FEWEST_LETTERS - 1).is_some()
}

/// Whether a line says that there is no error, as in `12 passed; 0 failed`.
fn says_none(line: &str) -> bool {
    let counts_none = |words: &str| {
        line.match_indices(words).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_digit()))
    };
    counts_none("0 fail") || counts_none("0 error") || line.contains("no errors")
}

/// Whether a line is rather of a program than about it, as compilers show some
/// around what is wrong.
fn is_code(line: &str) -> bool {
    line.ends_with(['{', ';'])
}

fn is_warning(line: &str) -> bool {
    line.contains("warn") && !line.contains("error")
}

fn is_passing_trouble(line: &str) -> bool {
    let is_status = || {
        has(line, STATUS)
            && line
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| PASSING_STATUS.contains(&word))
    };
    has(line, PASSING) || is_status()
}

/// Whether a harness that gave up says that the provider was at fault.
pub(crate) fn is_provider_trouble(message: &str) -> bool {
    let message = head(message).to_ascii_lowercase();
    let says_status = || {
        message.split(|c: char| !c.is_ascii_alphanumeric()).any(|it| PASSING_STATUS.contains(&it))
    };
    has(&message, PASSING) || has(&message, PROVIDER) || says_status()
}

fn has(line: &str, words: &[&str]) -> bool {
    words.iter().any(|it| line.contains(it))
}

fn head(text: &str) -> &str {
    cut(text, SEARCHED)
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(SEARCHED);
    let from = (from..text.len()).find(|it| text.is_char_boundary(*it)).unwrap_or(text.len());
    &text[from..]
}

fn cut(text: &str, len: usize) -> &str {
    let to = (0..=len.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
    &text[..to]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use watchkeeper_core::{Cause, ToolClass, ToolResult};

    use super::{Failure, Weight};

    fn result(output: &str) -> ToolResult {
        ToolResult::new("c1", false, Some(output.into()))
    }

    #[track_caller]
    fn assert_tells(output: &str, line: Option<&str>) {
        assert_eq!(Failure::of(&result(output), ToolClass::Run).line, line, "{output}");
    }

    #[test]
    fn the_line_that_tells_is_found() {
        assert_tells("Exit code 2\nls: cannot access 'x'", Some("ls: cannot access 'x'"));
        assert_tells(
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nKeyError: 'name'",
            Some("KeyError: 'name'"),
        );
        assert_tells(
            "<tool_use_error>File does not exist.</tool_use_error>",
            Some("File does not exist."),
        );
        assert_tells("ok 10 passed; 0 failed\n10 failed in all", Some("10 failed in all"));
        assert_tells("npm warn unknown key\nno such script", Some("no such script"));
        assert_tells("error: 1\nerror in the parser", Some("error in the parser"));
        assert_tells("Wrong flag!", Some("Wrong flag!"));
        assert_tells(
            "12 | } catch (error) {\n13 |   throw unknown;\nTypeError: undefined is no function",
            Some("TypeError: undefined is no function"),
        );
        let long = |end: &str| format!("{}\n{end}\n", "compiling\n".repeat(2_000));
        assert_tells(&long("error: no rule"), Some("error: no rule"));
        assert_tells(&long("done"), Some("compiling"));
        for nothing in ["", "\n \n", "Exit code 1"] {
            assert_tells(nothing, None);
        }
    }

    #[test]
    fn the_same_error_is_told_from_another() {
        let error = |it: &str| Failure::of(&result(it), ToolClass::Run).error;
        assert_eq!(
            error("3 built\nerror[E0038]: no trait"),
            error("50 of 90\nerror[E0038]: no trait")
        );
        assert_ne!(error("error: no such trait"), error("error: no such type"));
        // Where no line tells of an error, all of them do.
        assert_ne!(error("all is lost\nhere"), error("all is lost\nthere"));
        for nothing in ["", "Exit code 1", "nope", "E 1"] {
            assert_eq!(error(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn failures_differ_in_weight() {
        use ToolClass::{Read, Run, Write};
        for (class, output, weight) in [
            (Run, "error: mismatched types", Weight::Full),
            (Run, "cat: a.txt: No such file or directory", Weight::Full),
            (Read, "File not found: a.txt", Weight::Half),
            (Read, "401 Unauthorized", Weight::Full),
            (Run, "Exit code 1", Weight::Half),
            (Run, "HTTP 503 from the server: error", Weight::Third),
            (Run, "error at main.rs:503", Weight::Full),
            (Read, "Rate limit reached, try again later", Weight::Third),
            (Write, "File has not been read yet. Read it first", Weight::Nothing),
            (Run, "the lock must be read before errors are", Weight::Full),
        ] {
            assert_eq!(Failure::of(&result(output), class).weight, weight, "{output}");
        }
        let mut late = result("killed the process");
        late.cause = Some(Cause::Timeout);
        assert_eq!(Failure::of(&late, Run).weight, Weight::Third);
        let unknown = ToolResult::new("c1", false, None);
        assert_eq!(Failure::of(&unknown, Run).weight, Weight::Full);
    }

    proptest! {
        #[test]
        fn any_answer_is_read(
            output in prop_oneof![any::<String>(), "(é|error: |\n|no |0 fail|x){0,2000}"],
        ) {
            let result = result(&output);
            let failure = Failure::of(&result, ToolClass::Read);
            if let Some(line) = failure.line {
                prop_assert!(line.len() <= super::LONGEST_LINE && output.contains(line));
                prop_assert!(!line.contains('\n'));
            }
            prop_assert!(failure.error.is_none() || failure.line.is_some());
        }
    }
}
