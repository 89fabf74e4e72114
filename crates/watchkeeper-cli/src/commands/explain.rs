use std::io;

use clap::Args;
use watchkeeper_core::{Entry, Registry};

use crate::{Output, Status};

/// Explain what a detector finds, or how a sink or a source is used
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The kind, as `watchkeeper detectors` lists it
    kind: String,
}

impl Explain {
    pub(crate) fn run(self, registry: &Registry, output: &mut Output<'_>) -> io::Result<Status> {
        let detector = registry.detectors.get(&self.kind).map(Entry::docs);
        let docs = detector
            .or_else(|err| registry.sinks.get(&self.kind).map(Entry::docs).map_err(|_| err))
            .or_else(|err| registry.sources.get(&self.kind).map(Entry::docs).map_err(|_| err));
        match docs {
            Ok(docs) => {
                writeln!(output.out, "{}", docs.trim_end())?;
                Ok(Status::Success)
            }
            Err(err) => {
                let sinks = registry.sinks.iter().map(Entry::kind);
                let sources = registry.sources.iter().map(Entry::kind);
                let known: Vec<_> = err.known.iter().copied().chain(sinks).chain(sources).collect();
                let kind = watchkeeper_core::quote(&self.kind);
                let known = known.join(", ");
                Ok(output.fail(&format!(
                    "error: kind {kind} is not compiled in; compiled in: {known}\n"
                )))
            }
        }
    }
}
