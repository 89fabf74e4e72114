//! The command line of watchkeeper, as a library.
//!
//! A program is a list of detectors, each named so that it is linked in
//! (`use acme_detector as _;`), and one call:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     watchkeeper_cli::main()
//! }
//! ```
//!
//! The sinks and sources that ship with watchkeeper come with this crate; the
//! detectors are for the program to name.

mod commands;
mod counted;
mod live;
mod loading;
mod output;
mod places;
mod question;
mod recorded;
mod report;
mod timeline;
mod trials;

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use watchkeeper_core::{DetectorKind, RegistryBuilder, SinkKind, SourceKind};
// Named, so that they are linked in.
use watchkeeper_sinks as _;
use watchkeeper_sources as _;

use crate::commands::Command;

pub use crate::output::{Output, Status, Styles};

const AFTER_HELP: &str = "\
Exit status:
  0   it did what was asked
  1   `check` found something at or above --fail-on, or a `test` failed
  2   it could not: the arguments, a file, or the machine are at fault
  78  the policy is wrong";

/// Watches LLM agent sessions, and says in time when one loops, stalls, or
/// burns money
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// The policy to use in place of the built-in one
    #[arg(long, value_name = "FILE", global = true)]
    policy: Option<PathBuf>,

    /// Say nothing but what was asked for
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more of what is going on
    #[arg(short, long, global = true)]
    verbose: bool,

    /// When to use colours; `auto` heeds the terminal and `NO_COLOR`
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// The program, with the kinds that it registers.
///
/// Kinds of linked crates register themselves; this adds kinds of the program,
/// which need no macro:
///
/// ```no_run
/// # use watchkeeper_core::{Context, Detector, DetectorKind, Event, InvalidOption};
/// # #[derive(Clone, Debug)]
/// # struct BannedTool;
/// # impl Detector for BannedTool {
/// #     fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
/// # }
/// # impl DetectorKind for BannedTool {
/// #     const KIND: &'static str = "banned-tool";
/// #     const DOCS: &'static str = "# banned-tool\n\nReports banned tools.\n";
/// #     const CLASS: &'static str = "banned";
/// #     type Options = ();
/// #     fn new((): ()) -> Result<Self, InvalidOption> {
/// #         Ok(Self)
/// #     }
/// # }
/// use watchkeeper_cli::App;
///
/// fn main() -> std::process::ExitCode {
///     App::new().detector::<BannedTool>().run()
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "an `App` does nothing until `run` is called"]
pub struct App {
    registry: RegistryBuilder,
}

impl App {
    /// Makes a program with the kinds that linked crates register.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind of detector.
    pub fn detector<D: DetectorKind>(self) -> Self {
        Self { registry: self.registry.detector::<D>() }
    }

    /// Adds a kind of sink.
    pub fn sink<S: SinkKind>(self) -> Self {
        Self { registry: self.registry.sink::<S>() }
    }

    /// Adds a kind of source.
    pub fn source<S: SourceKind>(self) -> Self {
        Self { registry: self.registry.source::<S>() }
    }

    /// Runs the program with the arguments and the standard streams of this
    /// process.
    pub fn run(self) -> ExitCode {
        // A detector or a sink that panics is caught and becomes a finding; the
        // text of a panic may hold anything and does not go to the terminal raw.
        std::panic::set_hook(Box::new(|info| {
            let text = watchkeeper_core::make_safe(&info.to_string());
            let _ = io::Write::write_all(&mut io::stderr(), format!("panic: {text}\n").as_bytes());
        }));
        let mut output = Output {
            out: &mut io::stdout().lock(),
            err: &mut io::stderr(),
            styles: Styles::detect(),
        };
        let status = self.run_with(std::env::args_os(), &mut output);
        ExitCode::from(status as u8)
    }

    /// Runs the program with other arguments and other streams.
    pub fn run_with(
        self,
        args: impl IntoIterator<Item = OsString>,
        output: &mut Output<'_>,
    ) -> Status {
        let args = match Args::try_parse_from(args) {
            Ok(it) => it,
            Err(err) => {
                let is_error = err.use_stderr();
                let styled = if is_error { output.styles.err } else { output.styles.out };
                let text = err.render();
                let text = if styled { text.ansi().to_string() } else { text.to_string() };
                return if is_error { output.fail(&text) } else { output.succeed(&text) };
            }
        };
        match args.global.color {
            Color::Auto => {}
            Color::Always => output.styles.set_all(true),
            Color::Never => output.styles.set_all(false),
        }
        let registry = match self.registry.build() {
            Ok(it) => it,
            Err(err) => return output.fail(&format!("error: {err}\n")),
        };
        match args.command.run(&args.global, &registry, output) {
            Ok(status) => status,
            // A reader that has read enough is no failure.
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Status::Success,
            Err(err) => output.fail(&format!("error: {err}\n")),
        }
    }
}

/// Runs the program with the kinds that linked crates register.
pub fn main() -> ExitCode {
    App::new().run()
}

/// Runs the program like [`main`], with other arguments and other streams.
pub fn run(args: impl IntoIterator<Item = OsString>, output: &mut Output<'_>) -> Status {
    App::new().run_with(args, output)
}
