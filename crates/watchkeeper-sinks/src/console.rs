use std::{
    io::{self, IsTerminal as _, Write},
    sync::OnceLock,
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{Finding, InvalidOption, Sink, SinkKind, author::SinkError};

use crate::{Color, Format, stderr::Lines, terminal};

/// The format of all console sinks, once they write to standard output.
static STDOUT: OnceLock<Option<Format>> = OnceLock::new();

/// Makes every sink of kind `console` write to standard output, in `format` if there is
/// one. For programs whose output is the findings. Has no effect on a sink that has
/// delivered a finding, and no effect after the first call.
pub fn print_to_stdout(format: Option<Format>) {
    let _ = STDOUT.set(format);
}

/// The function of [`on_closed_stdout`].
static ON_CLOSED: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Sets a function that each [`Stdout`] calls once, when a write shows that the reader of
/// standard output is gone. Has no effect after the first call.
pub fn on_closed_stdout(on_closed: impl Fn() + Send + Sync + 'static) {
    let _ = ON_CLOSED.set(Box::new(on_closed));
}

/// Standard output. Calls the function of [`on_closed_stdout`] if its reader is gone.
#[derive(Debug, Default)]
pub struct Stdout {
    watcher: PipeWatcher,
}

/// Recognizes the first write to a pipe without a reader.
#[derive(Debug, Default)]
struct PipeWatcher {
    is_closed: bool,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watcher.look_at(io::stdout().write(bytes), call_on_closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.watcher.look_at(io::stdout().flush(), call_on_closed)
    }
}

fn call_on_closed() {
    if let Some(on_closed) = ON_CLOSED.get() {
        on_closed();
    }
}

impl PipeWatcher {
    /// Calls `on_closed` at the first result that shows a pipe without a reader.
    fn look_at<T>(&mut self, result: io::Result<T>, on_closed: impl FnOnce()) -> io::Result<T> {
        if !self.is_closed
            && result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            self.is_closed = true;
            on_closed();
        }
        result
    }
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
    Out(Lines<Stdout>),
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
                let styled = is_on(io::stdout().is_terminal());
                Printer::Out(Lines::new(Stdout::default(), format.unwrap_or(self.format), styled))
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
            Printer::Out(lines) => {
                terminal::check(&io::stdout())?;
                lines.deliver(finding)
            }
            Printer::Err(lines) => {
                terminal::check(&io::stderr())?;
                lines.deliver(finding)
            }
        }
    }

    fn is_display(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::{Console, PipeWatcher, Printer};
    use crate::{Color, Format, samples::build};

    #[test]
    fn recognizes_once_that_the_reader_is_gone() {
        let (mut watcher, mut n_calls) = (PipeWatcher::default(), 0);
        for kind in [None, Some(ErrorKind::Interrupted), Some(ErrorKind::BrokenPipe), None]
            .into_iter()
            .chain([Some(ErrorKind::BrokenPipe)])
        {
            let result = kind.map_or(Ok(1), |kind| Err(io::Error::from(kind)));
            let returned = watcher.look_at(result, || n_calls += 1);
            assert_eq!(
                returned.map_err(|error| Some(error.kind())),
                kind.map_or(Ok(1), |kind| Err(Some(kind)))
            );
        }
        assert_eq!(n_calls, 1);
    }

    #[test]
    fn writes_to_standard_error_unless_the_program_prints_findings() {
        let console = build::<Console>("format = 'json'\ncolor = 'never'").unwrap();
        assert_eq!((console.format, console.color), (Format::Json, Color::Never));
        assert!(matches!(console.printer(), Printer::Err(_)));
    }
}
