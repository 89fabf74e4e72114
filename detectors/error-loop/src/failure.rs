//! Failed results: the error that they contain, and their weight.

use watchkeeper_core::{Fingerprint, Outage, ToolClass, ToolResult, author::Cause};

use crate::error_line::{error_line, first_line, has, head, is_specific};

/// The result of a tool that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    /// The line that contains the error, if any.
    pub(crate) line: Option<&'a str>,
    /// Equal for two results with the same error.
    pub(crate) error: Option<Fingerprint>,
    pub(crate) weight: Weight,
}

/// The weight of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Full,
    /// An edit of a text that the file does not contain. The same edit again has the full
    /// weight.
    TwoThirds,
    /// A read of something that does not exist.
    Half,
    /// A temporary failure of another service.
    Third,
    /// An edit whose precondition is not met.
    None,
}

impl Weight {
    /// The weight of a full failure.
    pub(crate) const UNIT: u64 = 1200;

    pub(crate) const fn get(self) -> u64 {
        match self {
            Self::Full => Self::UNIT,
            Self::TwoThirds => Self::UNIT * 2 / 3,
            Self::Half => Self::UNIT / 2,
            Self::Third => Self::UNIT / 3,
            Self::None => 0,
        }
    }

    /// Returns the weight of a failure of a call that may be equal to the previous one.
    pub(crate) const fn of_call(self, is_repeated: bool) -> u64 {
        match self {
            Self::TwoThirds if is_repeated => Self::UNIT,
            weight => weight.get(),
        }
    }
}

impl<'a> Failure<'a> {
    /// Reads the result of a tool of this class.
    pub(crate) fn of(result: &'a ToolResult, class: ToolClass) -> Self {
        let weight = |line: &str| match line.to_ascii_lowercase() {
            line if class == ToolClass::Write && has(&line, PRECONDITIONS) => Weight::None,
            line if Outage::of_tool(&line).is_some() => Weight::Third,
            line if class == ToolClass::Write && has(&line, NOT_IN_FILE) => Weight::TwoThirds,
            line if class == ToolClass::Read && has(&line, NOT_FOUND) => Weight::Half,
            _ => Weight::Full,
        };
        let timed_out = result.cause == Some(Cause::Timeout);
        let unless_timed_out = |weight| if timed_out { Weight::Third } else { weight };
        let Some(output) = result.output.as_deref() else {
            return Self { line: None, error: None, weight: unless_timed_out(Weight::Full) };
        };
        if let Some(line) = error_line(output) {
            let error = Some(Fingerprint::of_output(line));
            return Self { line: Some(line), error, weight: unless_timed_out(weight(line)) };
        }
        // Without an error line, whole results are compared.
        match first_line(output) {
            Some(line) => {
                let error = result.fingerprint.filter(|_| is_specific(line));
                Self { line: Some(line), error, weight: unless_timed_out(weight(line)) }
            }
            // `grep` and `test` report "no" without output.
            None => Self { line: None, error: None, weight: unless_timed_out(Weight::Half) },
        }
    }
}

/// Words in the result of an edit that requires the file to be read first.
const PRECONDITIONS: &[&str] = &[
    "not been read",
    "read it first",
    "read the file first",
    "must read",
    "must be read",
    "modified since",
    "changed since",
];
/// Words in the result of a read of something that does not exist.
const NOT_FOUND: &[&str] =
    &["not found", "no such", "not exist", "no match", "no files", "cannot find", "404"];
/// Words in the result of an edit of a text that the file does not contain.
const NOT_IN_FILE: &[&str] = &[
    "not found",
    "no match",
    "not match",
    "not contain",
    "not appear",
    "no replacement",
    "could not find",
    "cannot find",
    "failed to find",
];

/// Returns true if the error of a harness was caused by its provider.
pub(crate) fn is_provider_failure(message: &str) -> bool {
    Outage::of_provider(head(message)).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use watchkeeper_core::{ToolClass, ToolResult, author::Cause};

    use super::{Failure, Weight};
    use crate::error_line::LONGEST_LINE;

    fn result(output: &str) -> ToolResult {
        ToolResult::new("c1", false, Some(output.into()))
    }

    #[track_caller]
    fn assert_error_line(output: &str, line: Option<&str>) {
        assert_eq!(Failure::of(&result(output), ToolClass::Run).line, line, "{output}");
    }

    #[test]
    fn finds_the_line_with_the_error() {
        assert_error_line("Exit code 2\nls: cannot access 'x'", Some("ls: cannot access 'x'"));
        assert_error_line(
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nKeyError: 'name'",
            Some("KeyError: 'name'"),
        );
        assert_error_line(
            "<tool_use_error>File does not exist.</tool_use_error>",
            Some("File does not exist."),
        );
        assert_error_line("ok 10 passed; 0 failed\n10 failed in all", Some("10 failed in all"));
        assert_error_line("npm warn unknown key\nno such script", Some("no such script"));
        assert_error_line("error: 1\nerror in the parser", Some("error in the parser"));
        assert_error_line("Wrong flag!", Some("Wrong flag!"));
        assert_error_line(
            "12 | } catch (error) {\n13 |   throw unknown;\nTypeError: undefined is no function",
            Some("TypeError: undefined is no function"),
        );
        let long = |end: &str| format!("{}\n{end}\n", "compiling\n".repeat(2_000));
        assert_error_line(&long("error: no rule"), Some("error: no rule"));
        assert_error_line(&long("done"), Some("compiling"));
        for output in ["", "\n \n", "Exit code 1"] {
            assert_error_line(output, None);
        }
    }

    #[test]
    fn compares_errors_without_numbers() {
        let error = |output: &str| Failure::of(&result(output), ToolClass::Run).error;
        assert_eq!(
            error("3 built\nerror[E0038]: no trait"),
            error("50 of 90\nerror[E0038]: no trait")
        );
        assert_ne!(error("error: no such trait"), error("error: no such type"));
        // Without an error line, whole results are compared.
        assert_ne!(error("all is lost\nhere"), error("all is lost\nthere"));
        for output in ["", "Exit code 1", "nope", "E 1"] {
            assert_eq!(error(output), None, "{output}");
        }
    }

    #[test]
    fn weight_depends_on_class_and_error() {
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
            (Write, "File has not been read yet. Read it first", Weight::None),
            (Run, "the lock must be read before errors are", Weight::Full),
        ] {
            assert_eq!(Failure::of(&result(output), class).weight, weight, "{output}");
        }
        let mut timed_out = result("killed the process");
        timed_out.cause = Some(Cause::Timeout);
        assert_eq!(Failure::of(&timed_out, Run).weight, Weight::Third);
        let unknown = ToolResult::new("c1", false, None);
        assert_eq!(Failure::of(&unknown, Run).weight, Weight::Full);
    }

    proptest! {
        #[test]
        fn reads_any_result(
            output in prop_oneof![any::<String>(), "(é|error: |\n|no |0 fail|x){0,2000}"],
        ) {
            let result = result(&output);
            let failure = Failure::of(&result, ToolClass::Read);
            if let Some(line) = failure.line {
                prop_assert!(line.len() <= LONGEST_LINE && output.contains(line));
                prop_assert!(!line.contains('\n'));
            }
            prop_assert!(failure.error.is_none() || failure.line.is_some());
        }
    }
}
