use clap::Args;
use watchkeeper_core::{
    embed::{Entry, Registry},
    quote,
};

use crate::{
    error::Error,
    output::{Output, Status},
};

/// Print the manual of a detector, a sink or a source
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Kind, as listed by `watchkeeper detectors`
    kind: String,
}

impl Explain {
    pub(crate) fn run(self, registry: &Registry, output: &mut Output<'_>) -> Result<Status, Error> {
        let Registry { detectors, sinks, sources } = registry;
        let detector = detectors.get(&self.kind).map(Entry::docs);
        let docs = detector
            .or_else(|err| sinks.get(&self.kind).map(Entry::docs).map_err(|_| err))
            .or_else(|err| sources.get(&self.kind).map(Entry::docs).map_err(|_| err));
        let docs = docs.map_err(|err| Error::UnknownKind {
            kind: quote(&self.kind),
            known: err
                .known
                .into_iter()
                .chain(sinks.iter().map(Entry::kind))
                .chain(sources.iter().map(Entry::kind))
                .collect(),
        })?;
        writeln!(output.out, "{}", docs.trim_end())?;
        Ok(Status::Success)
    }
}
