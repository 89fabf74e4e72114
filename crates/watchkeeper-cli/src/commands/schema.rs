use std::io;

use clap::{Args, ValueEnum};
use watchkeeper_core::{Finding, embed::Registry};

use crate::{
    output::{Output, Status},
    report::Explanation,
};

/// Print a JSON schema
#[derive(Debug, Args)]
pub(crate) struct PrintSchema {
    /// Document to describe
    of: Document,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Document {
    /// A policy, with the options of all linked kinds
    Policy,
    /// The tests of a policy, `*.test.toml`
    Test,
    /// A line of an `ndjson` session
    Event,
    /// A finding, as sinks write it
    Finding,
    /// The JSON output of `check --explain`
    Explanation,
}

impl PrintSchema {
    pub(crate) fn run(self, registry: &Registry, output: &mut Output<'_>) -> io::Result<Status> {
        let schema = match self.of {
            Document::Policy => watchkeeper_policy::schema(registry),
            Document::Test => watchkeeper_policy::test_schema(registry),
            Document::Event => watchkeeper_sources::event_schema(),
            Document::Finding => schemars::schema_for!(Finding),
            Document::Explanation => schemars::schema_for!(Explanation<'_>),
        };
        serde_json::to_writer_pretty(&mut *output.out, &schema)?;
        writeln!(output.out)?;
        Ok(Status::Success)
    }
}
