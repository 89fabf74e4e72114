use clap::{Args, Subcommand};
use watchkeeper_core::{
    Finding, Severity,
    author::make_safe,
    clock::{Clock as _, SystemClock},
    embed::Registry,
    quote,
};
use watchkeeper_policy::{NamedSink, closest};

use crate::{
    causes::with_causes,
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
};

/// Test the sinks of a policy
#[derive(Debug, Args)]
pub(crate) struct Sink {
    #[command(subcommand)]
    command: SinkCommand,
}

#[derive(Debug, Subcommand)]
enum SinkCommand {
    Test(TestSink),
}

/// Send a test finding to sinks of the policy
///
/// Each sink receives one finding of the detector `watchkeeper-test`, in one attempt. Routes
/// do not apply. The exit status is 2 if a sink fails.
#[derive(Debug, Args)]
struct TestSink {
    /// Names of sinks in the policy
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Vec<String>,

    /// Test every sink of the policy
    #[arg(long)]
    all: bool,
}

impl Sink {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let SinkCommand::Test(command) = self.command;
        command.run(global, registry, output)
    }
}

impl TestSink {
    fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let file = loading::find(global.policy.as_deref(), output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        let policy = loading::policy_with_secrets(&file, global, registry, |_| false, output)?;
        let known = || policy.sinks.iter().map(|sink| sink.id.as_str());
        if let Some(name) = self.name.iter().find(|name| !known().any(|id| id == **name)) {
            return Err(Error::UnknownSink {
                name: quote(name),
                similar: closest(name, known()).map(make_safe),
                known: known().map(make_safe).collect(),
            });
        }
        let is_selected = |sink: &NamedSink| self.all || self.name.contains(&sink.id);
        let mut status = Status::Success;
        for sink in policy.sinks.into_iter().filter(is_selected) {
            status = status.worse(test(sink, global, output)?);
        }
        Ok(status)
    }
}

/// Delivers a test finding to a sink, and prints the outcome.
fn test(
    NamedSink { id, kind, mut sink, .. }: NamedSink,
    global: &Global,
    output: &mut Output<'_>,
) -> Result<Status, Error> {
    let name = quote(&id);
    let finding = test_finding(&name);
    match sink.open().and_then(|()| sink.deliver(&finding)) {
        Ok(()) => {
            if !global.quiet {
                writeln!(output.out, "sink {name} ({kind}): delivered")?;
            }
            Ok(Status::Success)
        }
        Err(err) => {
            let error = make_safe(&with_causes(&err));
            output.fail(&format!("error: sink {name} ({kind}): {error}\n"));
            Ok(Status::Failure)
        }
    }
}

/// Returns a finding that nobody takes for a real one. Each call returns another id, so that
/// no receiver ignores it as a duplicate.
fn test_finding(sink: &str) -> Finding {
    let message = format!("test of the sink {sink}, sent by `watchkeeper sink test`");
    let now = SystemClock.now();
    let mut finding = Finding::about_monitor(now, "test", Severity::Low, message);
    finding.data.insert("test".to_owned(), true.into());
    finding
}
