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
use watchkeeper_core::Registry;
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

/// The whole program.
pub fn main() -> ExitCode {
    // A detector or a sink that panics is caught and becomes a finding; the
    // text of a panic may hold anything and does not go to the terminal raw.
    std::panic::set_hook(Box::new(|info| {
        let text = watchkeeper_core::make_safe(&info.to_string());
        let _ = io::Write::write_all(&mut io::stderr(), format!("panic: {text}\n").as_bytes());
    }));
    let mut output =
        Output { out: &mut io::stdout().lock(), err: &mut io::stderr(), styles: Styles::detect() };
    let status = run(std::env::args_os(), &mut output);
    ExitCode::from(status as u8)
}

/// The whole program, but for the process around it.
pub fn run(args: impl IntoIterator<Item = OsString>, output: &mut Output<'_>) -> Status {
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
    let registry = match Registry::linked() {
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
