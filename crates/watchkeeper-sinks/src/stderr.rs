use std::{
    ffi::OsString,
    fmt,
    io::{self, IsTerminal, Write},
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{Finding, InvalidOption, Sink, SinkKind, author::SinkError};

use crate::{render_json, render_line, terminal};

/// Writes findings to standard error, one line each.
#[derive(Debug)]
pub struct Stderr {
    color: Color,
    lines: Lines<io::Stderr>,
}

/// The options of `kind = "stderr"`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StderrOptions {
    /// The format of a finding: a line for people, or a line of JSON.
    #[serde(default)]
    format: Format,
    /// Colours of the `text` format.
    #[serde(default)]
    color: Color,
}

/// The format of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A line for people; see [`render_line`].
    #[default]
    Text,
    /// A line of JSON; see [`render_json`].
    Json,
}

/// The use of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// Colours on a terminal, unless `NO_COLOR` is set; with `CLICOLOR_FORCE`
    /// everywhere.
    #[default]
    Auto,
    /// Colours everywhere.
    Always,
    /// No colours.
    Never,
}

watchkeeper_core::register_sink!(Stderr);

impl SinkKind for Stderr {
    const KIND: &'static str = "stderr";
    const DOCS: &'static str = include_str!("stderr.md");
    type Options = StderrOptions;

    fn new(StderrOptions { format, color }: StderrOptions) -> Result<Self, InvalidOption> {
        Ok(Self { color, lines: Lines::new(io::stderr(), format, false) })
    }
}

impl Sink for Stderr {
    fn open(&mut self) -> Result<(), SinkError> {
        let is_terminal = self.lines.writer.is_terminal();
        self.lines.styled = self.color.is_on(is_terminal, |name| std::env::var_os(name));
        Ok(())
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        terminal::check(&self.lines.writer)?;
        self.lines.deliver(finding)
    }

    fn is_display(&self) -> bool {
        true
    }
}

impl Color {
    /// Returns whether text has colours, given the environment variables.
    pub fn is_on(self, is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
        let is_set = |name| variable(name).is_some_and(|it| !it.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if is_set("NO_COLOR") => false,
            Self::Auto
                if is_set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE") != Some("0".into()) =>
            {
                true
            }
            Self::Auto => is_terminal && variable("TERM") != Some("dumb".into()),
        }
    }
}

/// Writes findings to a writer, one line each, each in one write.
pub struct Lines<W> {
    writer: W,
    format: Format,
    styled: bool,
}

impl<W: Write + Send> Lines<W> {
    /// Makes a sink that writes to `writer`; `styled` adds colours to text.
    pub fn new(writer: W, format: Format, styled: bool) -> Self {
        Self { writer, format, styled }
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let mut line = match self.format {
            Format::Text => render_line(finding, self.styled),
            Format::Json => render_json(finding),
        };
        line.push('\n');
        // One write, so that other output cannot split the line.
        let written = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.flush());
        written.map_err(|err| SinkError::unavailable("cannot write the line").with_source(err))
    }
}

impl<W> fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer: _, format, styled } = self;
        f.debug_struct("Lines")
            .field("format", format)
            .field("styled", styled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use insta::assert_snapshot;
    use proptest::prelude::*;
    use watchkeeper_core::{Sink, author::SinkError};

    use super::{Color, Format, Lines, Stderr};
    use crate::{
        MAX_LINE, render_json, render_line,
        samples::{any_finding, build, build_example, finding, is_harmless, mistake},
    };

    #[test]
    fn the_example_in_the_manual_is_valid() {
        let stderr = build_example::<Stderr>().unwrap();
        assert_eq!((stderr.lines.format, stderr.color), (Format::Text, Color::Auto));
    }

    #[test]
    fn the_defaults_are_text_and_auto() {
        let stderr = build::<Stderr>("").unwrap();
        assert_eq!((stderr.lines.format, stderr.color), (Format::Text, Color::Auto));
    }

    #[test]
    fn invalid_options_are_named() {
        assert_snapshot!(mistake::<Stderr>("format = 'yaml'"), @"unknown variant `yaml`, expected `text` or `json`");
        assert_snapshot!(mistake::<Stderr>("colour = 'auto'"), @"unknown field `colour`, expected `format` or `color`");
    }

    #[test]
    fn writes_each_finding_as_a_line_in_the_format() {
        for (format, line) in
            [(Format::Text, render_line(&finding(), true)), (Format::Json, render_json(&finding()))]
        {
            let mut written = Vec::new();
            let mut lines = Lines::new(&mut written, format, true);
            lines.deliver(&finding()).unwrap();
            lines.deliver(&finding()).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), format!("{line}\n{line}\n"));
        }
    }

    #[test]
    fn a_finding_is_one_write() {
        struct Counted(usize);
        impl Write for Counted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines::new(Counted(0), Format::Text, true);
        lines.deliver(&finding()).unwrap();
        assert_eq!(lines.writer.0, 1);
    }

    #[test]
    fn a_closed_pipe_is_unavailable() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let err = Lines::new(writer, Format::Text, false).deliver(&finding()).unwrap_err();
        assert!(matches!(err, SinkError::Unavailable { .. }), "{err:?}");
    }

    #[test]
    fn colours_depend_on_the_terminal_and_the_environment() {
        let is_on = |color: Color, is_terminal, variables: &[(&str, &str)]| {
            color.is_on(is_terminal, |name| {
                variables.iter().find(|it| it.0 == name).map(|it| it.1.into())
            })
        };
        for (is_terminal, variables, expected) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (true, &[("TERM", "dumb")], false),
            (true, &[("TERM", "xterm")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            assert_eq!(is_on(Color::Auto, is_terminal, variables), expected, "{variables:?}");
            assert!(is_on(Color::Always, is_terminal, variables));
            assert!(!is_on(Color::Never, is_terminal, variables));
        }
    }

    proptest! {
        #[test]
        fn no_finding_controls_the_terminal(finding in any_finding(), is_json in any::<bool>()) {
            let format = if is_json { Format::Json } else { Format::Text };
            let mut written = Vec::new();
            Lines::new(&mut written, format, false).deliver(&finding).expect("a vector accepts every write");
            let written = String::from_utf8(written).expect("the line is UTF-8");
            let line = written.strip_suffix('\n').expect("the line ends");
            prop_assert!(line.chars().all(is_harmless), "{:?}", line);
            prop_assert!(is_json || written.len() <= MAX_LINE);
        }
    }
}
