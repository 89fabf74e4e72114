//! Options of every command.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, ValueEnum};

use crate::output::Styles;

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Policy file [default: the first policy at the usual places]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) policy: Option<PathBuf>,

    /// Print only findings and errors; `check` prints only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Print more details, and log diagnostics to stderr; repeat for more
    ///
    /// `-v` logs the level info, `-vv` debug, `-vvv` trace. The variable
    /// `WATCHKEEPER_LOG` takes precedence.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// When to use colors
    ///
    /// `auto` uses colors on a terminal, unless `NO_COLOR` is set.
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: Color,

    /// Format of diagnostics
    ///
    /// Each diagnostic is one line: text for people, or a JSON object.
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// When to use colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// Format of diagnostics on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Global {
    /// Returns `true` if the command prints details, such as sessions without
    /// findings.
    pub(crate) fn is_verbose(&self) -> bool {
        0 < self.verbose
    }

    /// Number of `-v` flags.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbose
    }
}

impl Color {
    /// Returns the value of `--color` in arguments that were not parsed yet, if the value
    /// is valid.
    pub(crate) fn of_args(args: &[OsString]) -> Option<Self> {
        let mut args = args.iter().skip(1).map_while(|arg| match arg.to_str() {
            Some("--") => None,
            text => Some(text.unwrap_or_default()),
        });
        while let Some(arg) = args.next() {
            let value = match arg.strip_prefix("--color") {
                Some("") => args.next(),
                Some(value) => value.strip_prefix('='),
                None => None,
            };
            if let Some(color) = value.and_then(|value| Self::from_str(value, false).ok()) {
                return Some(color);
            }
        }
        None
    }

    /// Overrides the detected styles, except for `auto`.
    pub(crate) fn apply(self, styles: &mut Styles) {
        match self {
            Self::Auto => {}
            Self::Always => (styles.out, styles.err) = (true, true),
            Self::Never => (styles.out, styles.err) = (false, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Color;

    #[test]
    fn finds_the_color_before_the_arguments_are_parsed() {
        for (args, expected) in [
            (&["check", "--color", "never", "--nonsense"][..], Some(Color::Never)),
            (&["--color=always", "--help"], Some(Color::Always)),
            (&["check", "--color", "pink", "--color=auto"], Some(Color::Auto)),
            (&["check", "--", "--color=never"], None),
            (&["check", "--color"], None),
            (&["check", "--colors=never"], None),
        ] {
            let args: Vec<_> = ["watchkeeper"].iter().chain(args).map(|&arg| arg.into()).collect();
            assert_eq!(Color::of_args(&args), expected, "{args:?}");
        }
    }
}
