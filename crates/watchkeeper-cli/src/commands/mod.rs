mod backtest;
mod check;
mod completions;
mod demo;
mod detectors;
mod explain;
mod init;
mod migrate;
mod new;
mod policy;
mod routes;
mod schema;
mod silence;
mod sink;
mod test;
mod tune;
mod validate;
mod watch;

use clap::Subcommand;
use watchkeeper_core::embed::Registry;

pub(crate) use self::{new::NewError, routes::FactError, silence::SilenceError, watch::UiError};

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
    Detectors(detectors::Detectors),
    Explain(explain::Explain),
    Schema(schema::PrintSchema),
    New(new::New),
    Completions(completions::Completions),
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
            Self::Detectors(command) => Ok(command.run(registry, output)?),
            Self::Explain(command) => command.run(global, registry, output),
            Self::Schema(command) => Ok(command.run(registry, output)?),
            Self::New(command) => command.run(global, registry, output),
            Self::Completions(command) => Ok(command.run(parser, output)?),
        }
    }
}
