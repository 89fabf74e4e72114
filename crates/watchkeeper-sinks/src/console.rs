use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{Finding, InvalidOption, Sink, SinkKind, author::SinkError};

use crate::{Color, Format, stderr::Lines};

/// The format of all console sinks, once they write to standard output.
static STDOUT: OnceLock<Option<Format>> = OnceLock::new();

/// Makes every sink of kind `console` write to standard output, in `format` if there is
/// one. For programs whose output is the findings. Has no effect on a sink that has
/// delivered a finding, and no effect after the first call.
pub fn print_to_stdout(format: Option<Format>) {
    let _ = STDOUT.set(format);
}

/// Prints findings, one line each: to standard output in `watch`, and to standard error in
/// other programs.
#[derive(Debug)]
pub struct Console {
    format: Format,
    color: Color,
    lines: Option<Printer>,
}

#[derive(Debug)]
enum Printer {
    Out(Lines<io::Stdout>),
    Err(Lines<io::Stderr>),
}

/// The options of `kind = "console"`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleOptions {
    /// The format of a finding: a line for people, or a line of JSON.
    #[serde(default)]
    format: Format,
    /// Colours of the `text` format.
    #[serde(default)]
    color: Color,
}

watchkeeper_core::register_sink!(Console);

impl SinkKind for Console {
    const KIND: &'static str = "console";
    const DOCS: &'static str = include_str!("console.md");
    type Options = ConsoleOptions;

    fn new(ConsoleOptions { format, color }: ConsoleOptions) -> Result<Self, InvalidOption> {
        Ok(Self { format, color, lines: None })
    }
}

impl Console {
    fn printer(&self) -> Printer {
        let is_on = |is_terminal| self.color.is_on(is_terminal, |name| std::env::var_os(name));
        match STDOUT.get() {
            Some(format) => {
                let out = io::stdout();
                let styled = is_on(out.is_terminal());
                Printer::Out(Lines::new(out, format.unwrap_or(self.format), styled))
            }
            None => {
                let err = io::stderr();
                let styled = is_on(err.is_terminal());
                Printer::Err(Lines::new(err, self.format, styled))
            }
        }
    }
}

impl Sink for Console {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let printer = match self.lines.take() {
            Some(printer) => printer,
            None => self.printer(),
        };
        match self.lines.insert(printer) {
            Printer::Out(lines) => lines.deliver(finding),
            Printer::Err(lines) => lines.deliver(finding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Printer};
    use crate::{Color, Format, samples::build};

    #[test]
    fn writes_to_standard_error_unless_the_program_prints_findings() {
        let console = build::<Console>("format = 'json'\ncolor = 'never'").unwrap();
        assert_eq!((console.format, console.color), (Format::Json, Color::Never));
        assert!(matches!(console.printer(), Printer::Err(_)));
    }
}
