use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use watchkeeper_core::author::make_safe;

/// Destinations of a command's output. Tests pass buffers.
pub struct Output<'a> {
    /// Data: reports, schemas, help.
    pub out: &'a mut dyn Write,
    /// Diagnostics: errors, warnings, progress.
    pub err: &'a mut dyn Write,
    /// Styles of both.
    pub styles: Styles,
}

/// A writer for diagnostics that ignores errors: a closed standard error ends no
/// command.
pub(crate) struct BestEffort<'a>(pub(crate) &'a mut dyn Write);

impl Write for BestEffort<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// Properties of the destinations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Styles {
    /// `true` if standard output is colored.
    pub out: bool,
    /// `true` if standard output is a terminal.
    pub out_is_terminal: bool,
    /// `true` if standard error is colored.
    pub err: bool,
    /// `true` if standard error is a terminal, where a progress bar can be drawn.
    pub err_is_terminal: bool,
}

/// Exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The command succeeded.
    Success,
    /// The command succeeded, and there are findings, failed policy tests or names to migrate.
    Findings,
    /// Usage or I/O error.
    Failure,
    /// The policy is invalid (`EX_CONFIG` of `sysexits.h`).
    InvalidPolicy,
    /// The status of the command line that `run` ran.
    OfCommand(u8),
}

impl Status {
    /// Returns the number that the program exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Findings => 1,
            Self::Failure => 2,
            Self::InvalidPolicy => 78,
            Self::OfCommand(code) => code,
        }
    }

    /// Returns the worse of two exit statuses.
    pub(crate) fn worse(self, other: Self) -> Self {
        if self.code() < other.code() { other } else { self }
    }
}

impl Styles {
    /// Detects terminals and reads the environment: `NO_COLOR` and `TERM=dumb`
    /// disable colors, `CLICOLOR_FORCE` enables them.
    pub fn detect() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let never =
            variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|it| it == "dumb");
        let always = variable("CLICOLOR_FORCE").is_some_and(|it| it != "0");
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        Self {
            out: !never && (always || out_is_terminal),
            out_is_terminal,
            err: !never && (always || err_is_terminal),
            err_is_terminal,
        }
    }
}

impl Output<'_> {
    /// Writes `text` to standard output.
    pub(crate) fn succeed(&mut self, text: &str) -> Status {
        self.out.write_all(text.as_bytes()).map_or(Status::Failure, |()| Status::Success)
    }

    /// Writes `text` to standard error.
    pub(crate) fn fail(&mut self, text: &str) -> Status {
        // If writing fails, only the exit status is left to report the failure.
        self.err.write_all(text.as_bytes()).ok();
        Status::Failure
    }
}

/// Returns a path between backticks, uncut and safe for a terminal.
pub(crate) fn quoted_path(path: &Path) -> String {
    format!("`{}`", safe_path(path))
}

/// Returns a path that is safe for a terminal.
pub(crate) fn safe_path(path: &Path) -> String {
    make_safe(&path.display().to_string())
}

/// Text style, as an SGR code of ECMA-48.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    /// Wraps `text` in the codes of this style if `styled`.
    pub(crate) fn paint(self, text: &str, styled: bool) -> String {
        if !styled {
            return text.to_owned();
        }
        let code = match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
