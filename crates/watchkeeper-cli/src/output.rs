use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use watchkeeper_core::make_safe;

/// Where a command writes. Passed in, so that tests can read it back.
pub struct Output<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What else there is to say.
    pub err: &'a mut dyn Write,
    /// How to write to each.
    pub styles: Styles,
}

/// Whether a person looks at what is written, in colours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Styles {
    /// Whether standard output is styled.
    pub out: bool,
    /// Whether standard error is styled.
    pub err: bool,
    /// Whether standard error is a terminal, on which a line can be rewritten.
    pub err_is_terminal: bool,
}

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what was asked.
    Success = 0,
    /// It did, and something was found, or a test failed.
    Findings = 1,
    /// It could not: the arguments, a file, or the machine are at fault.
    Failure = 2,
    /// The policy is wrong (`EX_CONFIG` of `sysexits.h`).
    BadPolicy = 78,
}

impl Status {
    /// What a command says that did two things.
    pub(crate) fn worse(self, other: Self) -> Self {
        if (self as u8) < other as u8 { other } else { self }
    }
}

impl Styles {
    /// Looks at the terminal, and at what the environment says of colours:
    /// `NO_COLOR` switches them off, `CLICOLOR_FORCE` on.
    pub fn detect() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|it| !it.is_empty() && it != "0");
        let never = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty())
            || std::env::var_os("TERM").is_some_and(|it| it == "dumb");
        let always = is_set("CLICOLOR_FORCE");
        let err_is_terminal = io::stderr().is_terminal();
        Self {
            out: !never && (always || io::stdout().is_terminal()),
            err: !never && (always || err_is_terminal),
            err_is_terminal,
        }
    }

    pub(crate) fn set_all(&mut self, styled: bool) {
        self.out = styled;
        self.err = styled;
    }
}

impl Output<'_> {
    pub(crate) fn succeed(&mut self, text: &str) -> Status {
        self.out.write_all(text.as_bytes()).map_or(Status::Failure, |()| Status::Success)
    }

    pub(crate) fn fail(&mut self, text: &str) -> Status {
        // If even this can't be written, the exit status says it all.
        self.err.write_all(text.as_bytes()).ok();
        Status::Failure
    }
}

/// A path as a person wrote it: whole, between backticks, and safe for a terminal.
pub(crate) fn quoted_path(path: &Path) -> String {
    format!("`{}`", make_safe(&path.display().to_string()))
}

/// A way to write text, as an SGR code of ECMA-48.
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
    /// Dresses `text`, where it is `styled`.
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
