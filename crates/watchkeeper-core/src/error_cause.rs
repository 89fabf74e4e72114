//! The causes of unsuccessful steps: the missing or wrong thing behind a failure.
//!
//! Two steps have the same cause if they have the same class and the same subject, although the
//! calls, the line numbers and the words around the error differ. If a result contains several
//! causes, the class that is higher in this table wins, and then the earlier place: without a
//! program, other commands do not find its files, and without a network, no package is found.
//!
//! | class | recognized by | subject |
//! | --- | --- | --- |
//! | prose | a shell reports an error, and the command reads like a sentence | none: the words differ each time |
//! | missing program | `command not found`, `not recognized as`, `spawn x ENOENT`, `JAVA_HOME is not set` | the program |
//! | unreachable | `Could not resolve host`, `ENOTFOUND`, `Connection refused` | the host, if it is named |
//! | missing module | `No module named`, `Cannot find module`, `Unable to locate package` | the module or package |
//! | rejected edit | `String to replace not found`, `patch does not apply`, a no-op, a linter that refuses the edit | the file, if it is named |
//! | invalid arguments | a usage text, `InputValidationError`, `unrecognized option` | the tool or the option |
//! | denied | `Permission denied`, `EACCES`, `Read-only file system`, `401 Unauthorized` | the file or host, if it is named |
//! | exhausted | `No space left on device`, `Out of memory` | none |
//! | shell syntax | `unexpected EOF while looking for matching`, `parse error near` | none: the quoting is wrong |
//! | timeout | the tool or the command ran too long | the first program of the command, other than `cd` and the like |
//! | missing path | `No such file or directory`, `File not found`, `No rule to make target` | the last part of the path |
//! | syntax | `SyntaxError`, `E999`, `ParseError` in source code | the line without numbers |
//!
//! Failed builds and tests have no class: each error is a cause of its own there.
//!
//! Place decides if text is an error or quotes one. Numbered lines, comments and lines of a diff
//! never count. In a successful result, an error counts only if the call runs or writes something
//! and is no read, search or poll, the result is short, and the line begins with the error, after
//! nothing but the names of programs and line numbers (`bash: line 3: javac: command not found`).

mod class;
mod lines;
mod phrases;
mod prose;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::class::ErrorClass;
use self::{
    lines::{Line, is_anchored},
    phrases::{MATCHER, Phrase},
    prose::is_prose,
};
use crate::{Cause, Fingerprint, Purpose, ToolClass, ToolResult};

/// The cause of an unsuccessful step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorCause<'a> {
    /// The class.
    pub class: ErrorClass,
    /// Equal for two causes of one class with the same missing or wrong thing;
    /// [`Fingerprint::NONE`] if the result does not name the thing.
    pub subject: Fingerprint,
    /// The missing or wrong thing, such as `javac`. Not safe for a terminal.
    pub name: Option<&'a str>,
}

impl ErrorCause<'_> {
    /// Returns the fingerprint of the class and the subject.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.class.name()).and(self.subject)
    }
}

/// The call of a result, as far as it decides about the cause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CauseContext<'a> {
    pub(crate) class: ToolClass,
    pub(crate) purpose: Purpose,
    pub(crate) command: Option<&'a str>,
}

/// The cause of a step, without borrowing its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundCause {
    class: ErrorClass,
    subject: Fingerprint,
    name: Name,
}

/// The place of the name of a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    None,
    InOutput(Range<usize>),
    InCommand(Range<usize>),
    Known(&'static str),
}

/// The longest failed result, in bytes, that is searched whole. The beginning of a longer one is
/// progress rather than the error.
const LONGEST: usize = 4_096;
/// The bytes at the end of a longer result that are searched.
const TAIL: usize = 1_024;
/// The exit code of a shell for a command that does not exist.
const COMMAND_NOT_FOUND: i32 = 127;
/// The exit code of `timeout`.
const TIMED_OUT: i32 = 124;

impl FoundCause {
    /// Returns the cause of a result, if it reports one.
    pub(crate) fn of(result: &ToolResult, call: CauseContext<'_>) -> Option<Self> {
        if !result.ok && !result.failed() {
            return None;
        }
        let quotes_text = matches!(call.purpose, Purpose::Read | Purpose::Search | Purpose::Poll);
        let runs_or_writes = matches!(call.class, ToolClass::Run | ToolClass::Write);
        if result.ok && !(result.may_report_error && runs_or_writes && !quotes_text) {
            return None;
        }
        let output = result.output.as_deref().unwrap_or_default();
        let found = Self::in_output(output, result.ok, call);
        let timed_out = result.cause == Some(Cause::Timeout)
            || !result.ok && result.exit_code == Some(TIMED_OUT);
        match found {
            Some(found) if !timed_out || found.class == ErrorClass::Unreachable => Some(found),
            _ if timed_out => Some(Self::timeout(call)),
            _ if result.exit_code == Some(COMMAND_NOT_FOUND) && reads_like_prose(call) => {
                Some(Self::without_name(ErrorClass::Prose))
            }
            _ => None,
        }
    }

    /// Returns the cause with the texts of its result and call.
    pub(crate) fn resolve<'a>(
        &self,
        output: Option<&'a str>,
        command: Option<&'a str>,
    ) -> ErrorCause<'a> {
        let name = match &self.name {
            Name::None => None,
            Name::InOutput(range) => output.and_then(|text| text.get(range.clone())),
            Name::InCommand(range) => command.and_then(|text| text.get(range.clone())),
            Name::Known(name) => Some(*name),
        };
        ErrorCause { class: self.class, subject: self.subject, name }
    }

    fn in_output(output: &str, ok: bool, call: CauseContext<'_>) -> Option<Self> {
        let start = if LONGEST < output.len() { tail_start(output) } else { 0 };
        let searched = output[start..].to_ascii_lowercase();
        let mut best: Option<(Rank, Found)> = None;
        for matched in MATCHER.automaton.find_overlapping_iter(&searched) {
            let phrase = &MATCHER.phrases[matched.pattern()];
            let at = start + matched.start();
            let named = Rank { class: phrase.class, has_no_name: false, at };
            if best.as_ref().is_some_and(|(rank, _)| *rank < named) {
                continue;
            }
            let line = Line::around(output, at..start + matched.end());
            let Some(found) = phrase.find(&line, ok, call) else { continue };
            let rank = Rank { has_no_name: matches!(found, Found::Nothing), ..named };
            // Of two phrases that start at the same place, the longer one is more specific.
            if best.as_ref().is_none_or(|(best, _)| rank <= *best) {
                best = Some((rank, found));
            }
        }
        let (Rank { class, .. }, found) = best?;
        let is_shell_error = matches!(class, ErrorClass::MissingProgram | ErrorClass::ShellSyntax);
        let is_prose = is_shell_error && reads_like_prose(call);
        Some(match found {
            _ if is_prose => Self::without_name(ErrorClass::Prose),
            Found::Name(range) => {
                let subject = Fingerprint::of(&output[range.clone()]);
                Self { class, subject, name: Name::InOutput(range) }
            }
            Found::Known(name) => {
                Self { class, subject: Fingerprint::of(name), name: Name::Known(name) }
            }
            Found::Line(range) => {
                let subject = Fingerprint::of_output(&output[range]);
                Self { class, subject, name: Name::None }
            }
            Found::Nothing => Self::without_name(class),
        })
    }

    fn without_name(class: ErrorClass) -> Self {
        Self { class, subject: Fingerprint::NONE, name: Name::None }
    }

    fn timeout(call: CauseContext<'_>) -> Self {
        let class = ErrorClass::Timeout;
        let command = call.command.unwrap_or_default();
        let Some(range) = lines::program(command) else { return Self::without_name(class) };
        let subject = Fingerprint::of(&command[range.clone()]);
        Self { class, subject, name: Name::InCommand(range) }
    }
}

/// The rank of a cause among several in one result: the least one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: ErrorClass,
    has_no_name: bool,
    at: usize,
}

/// The error that a line reports.
enum Found {
    /// The range of the name in the output.
    Name(Range<usize>),
    Known(&'static str),
    /// The range of the line in the output.
    Line(Range<usize>),
    Nothing,
}

impl Phrase {
    /// Returns the error that this phrase reports in its line, if it reports one there.
    fn find(&self, line: &Line<'_>, ok: bool, call: CauseContext<'_>) -> Option<Found> {
        use phrases::Subject;

        if line.is_quoted() || ok && !self.is_certain || !self.needs.are_met(line, call.class) {
            return None;
        }
        let name = match self.subject {
            Subject::Before => line.name_before(),
            Subject::After => line.name_after(),
            Subject::Known(_) | Subject::Line | Subject::None => None,
        };
        if ok {
            let begins = name.as_ref().map_or(line.phrase.start, |name| name.start);
            let begins = begins.min(line.phrase.start);
            if !is_anchored(line.text_until(begins)) {
                return None;
            }
        }
        let name = name.and_then(|name| lines::essence(self.class, line.output, name));
        Some(match (name, self.subject) {
            (Some(name), _) => Found::Name(name),
            (None, Subject::Known(name)) => Found::Known(name),
            (None, Subject::Line) => Found::Line(line.range.clone()),
            (None, Subject::None) => Found::Nothing,
            (None, Subject::Before | Subject::After) => return None,
        })
    }
}

fn reads_like_prose(call: CauseContext<'_>) -> bool {
    call.class == ToolClass::Run && call.command.is_some_and(is_prose)
}

fn tail_start(output: &str) -> usize {
    let from = output.len() - TAIL;
    (from..output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(output.len())
}
