use std::io;

use clap::{Args, ValueEnum};
use watchkeeper_core::{Finding, Registry};

use crate::{Output, Status, timeline::Explanation};

/// Print a JSON schema, for editors and programs
#[derive(Debug, Args)]
pub(crate) struct PrintSchema {
    /// What to describe
    of: Described,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Described {
    /// A policy, with the options of every kind compiled in
    Policy,
    /// The tests of a policy, `*.test.toml`
    Test,
    /// A line of the source `ndjson`
    Event,
    /// A finding, as JSON sinks write it
    Finding,
    /// What `check --explain` writes as JSON
    Explanation,
}

impl PrintSchema {
    pub(crate) fn run(self, registry: &Registry, output: &mut Output<'_>) -> io::Result<Status> {
        let schema = match self.of {
            Described::Policy => watchkeeper_policy::schema(registry),
            Described::Test => watchkeeper_policy::test_schema(registry),
            Described::Event => watchkeeper_sources::event_schema(),
            Described::Finding => schemars::schema_for!(Finding),
            Described::Explanation => schemars::schema_for!(Explanation<'_>),
        };
        serde_json::to_writer_pretty(&mut *output.out, &schema)?;
        writeln!(output.out)?;
        Ok(Status::Success)
    }
}
