//! The command line of Watchkeeper as a library.
//!
//! A program names the detector crates to link (`use acme_detector as _;`)
//! and calls [`main`]:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     watchkeeper_cli::main()
//! }
//! ```
//!
//! The built-in sinks and sources are linked with this crate. The built-in
//! detectors are not: the program chooses them.

mod backtest;
mod causes;
mod client_files;
mod commands;
mod conditions;
mod demo;
mod error;
mod explain_request;
mod explanation;
mod file_watcher;
mod followed_paths;
mod global;
mod hook;
mod hook_settings;
#[cfg(unix)]
mod hook_socket;
mod hook_switches;
mod hook_trial;
mod installation;
mod live;
mod loading;
mod logging;
mod numbers;
mod open_files;
mod opencode_plugin;
mod output;
mod pages;
mod policy_file;
mod policy_tests;
#[cfg(unix)]
mod progress;
mod recorded;
mod recorded_check;
mod replace_file;
mod replay;
mod report;
mod service_manager;
mod session_paths;
mod silences_file;
mod similar;
mod standard_error;
mod state_folder;
mod state_lines;
mod stored_silences;
#[cfg(unix)]
mod supervised_command;
#[cfg(feature = "top")]
mod top;
mod tune;
mod ui_findings;
mod ui_silences;
mod usage_error;
mod watch_state;

use std::{ffi::OsString, io, path::Path, process::ExitCode};

use clap::{CommandFactory as _, Parser};
use watchkeeper_core::{DetectorKind, SinkKind, SourceKind, embed::RegistryBuilder};
// Imported to link their sinks and sources.
use watchkeeper_sinks as _;
use watchkeeper_sources as _;

use crate::{
    commands::Command,
    error::Error,
    global::{Color, Global},
    logging::LoggingError,
    output::BestEffort,
};

pub use crate::{
    output::{Output, Status, Styles},
    recorded_check::{RecordedCheckError, RecordedReport, RecordedSessions},
};

const AFTER_HELP: &str = "\
Exit status:
  0   success
  1   findings at or above --fail-on, a failed policy test, or names to migrate
  2   usage or I/O error
  78  invalid policy

Policy:
  The first that exists: the file of --policy; `.watchkeeper.toml` in the working
  folder, or above it in the same repository; `watchkeeper/policy.toml` in
  $XDG_CONFIG_HOME or ~/.config; the built-in policy. `watchkeeper init` writes one.

Environment:
  WATCHKEEPER_LOG  diagnostics to log to stderr, such as `watchkeeper::source=debug,info`
  NO_COLOR         disables colors; CLICOLOR_FORCE=1 forces them";

/// Monitor LLM agent sessions and report loops, stalls and overspending
#[derive(Debug, Parser)]
#[command(name = "watchkeeper", version, after_help = AFTER_HELP)]
struct Args {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// The program, with the kinds that it registers.
///
/// Kinds of linked crates register themselves. An `App` adds kinds of the program
/// itself, which need no macro:
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
    /// Creates a program with the kinds of the linked crates.
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

    /// Runs the program with the arguments and standard streams of this process.
    ///
    /// Installs a panic hook that escapes messages, and a log subscriber if `-v` or
    /// `WATCHKEEPER_LOG` enables diagnostics.
    pub fn run(self) -> ExitCode {
        // Panics of detectors and sinks are caught and become findings. A panic
        // message can contain text from an agent, so it is escaped.
        std::panic::set_hook(Box::new(|info| {
            let text = watchkeeper_core::author::make_safe(&info.to_string());
            standard_error::write_line(&format!("panic: {text}\n"));
        }));
        let mut output = Output {
            // Without a lock: `watch` prints findings from other threads.
            out: &mut io::stdout(),
            err: &mut io::stderr(),
            styles: Styles::detect(),
        };
        let status = self.run_command(std::env::args_os(), &mut output, logging::install);
        ExitCode::from(status.code())
    }

    /// Runs the program with other arguments, of which the first is the program's
    /// name, and other streams. Installs neither a panic hook nor a log subscriber.
    pub fn run_with(
        self,
        args: impl IntoIterator<Item = OsString>,
        output: &mut Output<'_>,
    ) -> Status {
        self.run_command(args, output, |_, _| Ok(()))
    }

    fn run_command(
        self,
        args: impl IntoIterator<Item = OsString>,
        output: &mut Output<'_>,
        install_logging: impl FnOnce(&Global, Styles) -> Result<(), LoggingError>,
    ) -> Status {
        let args: Vec<OsString> = args.into_iter().collect();
        if !commands::is_hook(&args) {
            return self.run_args(args, output, install_logging);
        }
        let mut printed = Vec::new();
        let styles = Styles { err: false, ..output.styles };
        let captured = &mut Output { out: &mut *output.out, err: &mut printed, styles };
        if self.run_args(args.clone(), captured, install_logging) != Status::Success {
            commands::log_hook_failure(&args, &printed);
        }
        output.fail(&String::from_utf8_lossy(&printed));
        // Clients take the status 2, of a usage error, for a refusal.
        Status::Success
    }

    fn run_args(
        self,
        args: Vec<OsString>,
        output: &mut Output<'_>,
        install_logging: impl FnOnce(&Global, Styles) -> Result<(), LoggingError>,
    ) -> Status {
        let output = &mut Output {
            out: &mut *output.out,
            err: &mut BestEffort(&mut *output.err),
            styles: output.styles,
        };
        // Help and errors of the parser have colors, too.
        if let Some(color) = Color::of_args(&args) {
            color.apply(&mut output.styles);
        }
        let program_name = args.first().and_then(|arg| Path::new(arg).file_stem()?.to_str());
        let program_name = program_name.unwrap_or("watchkeeper").to_owned();
        let Args { global, command } = match Args::try_parse_from(&args) {
            Ok(args) => args,
            Err(err) => return usage_error::print(err, &args, output),
        };
        global.color.apply(&mut output.styles);
        if let Err(err) = install_logging(&global, output.styles) {
            return print_error(&err.into(), output);
        }
        let registry = match self.registry.build() {
            Ok(registry) => registry,
            Err(err) => return output.fail(&format!("error: {}\n", causes::with_causes(&err))),
        };
        let parser = Args::command().bin_name(program_name);
        match command.run(&global, &registry, parser, output) {
            Ok(status) => status,
            // The reader of standard output, such as `head`, has closed the pipe.
            // Writing to standard error cannot fail.
            Err(Error::Io(err)) if err.kind() == io::ErrorKind::BrokenPipe => Status::Success,
            Err(err) => print_error(&err, output),
        }
    }
}

/// Runs the program with the kinds of the linked crates.
pub fn main() -> ExitCode {
    App::new().run()
}

/// Runs the program like [`main`], with other arguments and streams; see
/// [`App::run_with`].
pub fn run(args: impl IntoIterator<Item = OsString>, output: &mut Output<'_>) -> Status {
    App::new().run_with(args, output)
}

fn print_error(err: &Error, output: &mut Output<'_>) -> Status {
    output.fail(&format!("{}\n", err.render()));
    err.status()
}
