mod check;
mod completions;
mod demo;
mod detectors;
mod explain;
mod new;
mod policy;
mod schema;
mod test;
mod validate;
mod watch;

use std::io;

use clap::Subcommand;
use watchkeeper_core::Registry;

use crate::{Global, Output, Status};

/// What to do. Each command is one file, and one `run`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Watch(watch::Watch),
    Check(check::Check),
    Demo(demo::Demo),
    Validate(validate::Validate),
    Test(test::Test),
    Policy(policy::ShowPolicy),
    Detectors(detectors::Detectors),
    Explain(explain::Explain),
    Schema(schema::PrintSchema),
    New(new::New),
    Completions(completions::Completions),
}

impl Command {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        match self {
            Self::Watch(it) => it.run(global, registry, output),
            Self::Check(it) => it.run(global, registry, output),
            Self::Demo(it) => it.run(global, registry, output),
            Self::Validate(it) => it.run(global, registry, output),
            Self::Test(it) => it.run(global, registry, output),
            Self::Policy(it) => it.run(global, registry, output),
            Self::Detectors(it) => it.run(registry, output),
            Self::Explain(it) => it.run(registry, output),
            Self::Schema(it) => it.run(registry, output),
            Self::New(it) => it.run(global, registry, output),
            Self::Completions(it) => it.run(output),
        }
    }
}
