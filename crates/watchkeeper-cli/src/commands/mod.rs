mod backtest;
mod check;
mod completions;
mod demo;
mod detectors;
mod doctor;
mod explain;
mod hook;
mod init;
mod install;
mod migrate;
mod new;
mod policy;
mod routes;
#[cfg(unix)]
mod run;
mod schema;
mod silence;
mod sink;
mod test;
mod tune;
mod uninstall;
mod validate;
mod watch;

use std::ffi::OsString;

use clap::Subcommand;
use watchkeeper_core::embed::Registry;

pub(crate) use self::{
    hook::log_failure as log_hook_failure, new::NewError, routes::FactError, silence::SilenceError,
    watch::UiError,
};

use crate::{
    error::Error,
    global::Global,
    output::{Output, Status},
};

/// Commands of the program. Each command is one file with one `run` method.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Watch(watch::Watch),
    Check(check::Check),
    Demo(demo::Demo),
    Init(init::Init),
    Validate(validate::Validate),
    Migrate(migrate::Migrate),
    Test(test::Test),
    Tune(tune::Tune),
    Backtest(backtest::Backtest),
    Policy(policy::ShowPolicy),
    Routes(routes::TestRoutes),
    Silence(silence::SilenceFindings),
    Sink(sink::Sink),
    #[cfg(unix)]
    Run(run::Run),
    Install(install::Install),
    Uninstall(uninstall::Uninstall),
    Doctor(doctor::Doctor),
    Hook(hook::RunHook),
    Detectors(detectors::Detectors),
    Explain(explain::Explain),
    Schema(schema::PrintSchema),
    New(new::New),
    Completions(completions::Completions),
}

/// Returns whether arguments call `hook`, also if they are invalid.
pub(crate) fn is_hook(args: &[OsString]) -> bool {
    let mut args = args.iter().skip(1).map(|arg| arg.to_str().unwrap_or_default());
    while let Some(arg) = args.next() {
        match arg {
            // Options before the command, with a value.
            "--policy" | "--color" | "--log-format" => _ = args.next(),
            _ if arg.starts_with('-') => {}
            _ => return arg == "hook",
        }
    }
    false
}

impl Command {
    /// Runs the command. `parser` is the parser of the program's arguments, for
    /// shell completions.
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        parser: clap::Command,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        match self {
            Self::Watch(command) => command.run(global, registry, output),
            Self::Check(command) => command.run(global, registry, output),
            Self::Demo(command) => command.run(global, registry, output),
            Self::Init(command) => command.run(global, registry, output),
            Self::Validate(command) => command.run(global, registry, output),
            Self::Migrate(command) => command.run(global, output),
            Self::Test(command) => command.run(global, registry, output),
            Self::Tune(command) => command.run(global, registry, output),
            Self::Backtest(command) => command.run(global, registry, output),
            Self::Policy(command) => command.run(global, registry, output),
            Self::Routes(command) => command.run(global, registry, output),
            Self::Silence(command) => command.run(global, registry, output),
            Self::Sink(command) => command.run(global, registry, output),
            #[cfg(unix)]
            Self::Run(command) => command.run(global, registry, output),
            Self::Install(command) => command.run(global, registry, output),
            Self::Uninstall(command) => command.run(global, registry, output),
            Self::Doctor(command) => command.run(global, registry, output),
            Self::Hook(command) => Ok(command.run(global, registry, output)),
            Self::Detectors(command) => Ok(command.run(registry, output)?),
            Self::Explain(command) => command.run(global, registry, output),
            Self::Schema(command) => Ok(command.run(registry, output)?),
            Self::New(command) => command.run(global, registry, output),
            Self::Completions(command) => Ok(command.run(parser, output)?),
        }
    }
}
