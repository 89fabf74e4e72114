use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use watchkeeper_core::{
    author::make_safe,
    embed::{Entry, Registry},
    quote,
};
use watchkeeper_policy::closest;

use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
};

/// Print the manual of a detector, a sink or a source
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name in the policy, or kind, as listed by `watchkeeper detectors`
    name: String,
}

impl Explain {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let docs = match docs(registry, &self.name) {
            Some(docs) => docs,
            None => self.docs_of_policy(global, registry, output)?,
        };
        writeln!(output.out, "{}", docs.trim_end())?;
        Ok(Status::Success)
    }

    /// Returns the manual of a detector or sink that the policy names.
    fn docs_of_policy(
        &self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<&'static str, Error> {
        let file = loading::find(global.policy.as_deref(), global, output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        let policy = loading::policy(&file, global, registry, output)?;
        let detectors = policy.detectors.iter().map(|it| (it.id.to_string(), it.kind.to_string()));
        let sinks = policy.sinks.iter().map(|sink| (sink.id.clone(), sink.kind.to_owned()));
        let kinds: BTreeMap<String, String> = sinks.chain(detectors).collect();
        let kind = kinds.get(&self.name);
        if let Some(docs) = kind.and_then(|kind| docs(registry, kind)) {
            return Ok(docs);
        }
        let Registry { detectors, sinks, sources } = registry;
        let linked = detectors.iter().map(Entry::kind);
        let linked = linked.chain(sinks.iter().map(Entry::kind));
        let linked = linked.chain(sources.iter().map(Entry::kind));
        let mut known: BTreeSet<String> = linked.map(str::to_owned).collect();
        known.extend(kinds.into_keys());
        Err(Error::UnknownName {
            name: quote(&self.name),
            similar: closest(&self.name, known.iter().map(String::as_str)).map(make_safe),
            known: known.iter().map(|name| make_safe(name)).collect(),
        })
    }
}

/// Returns the manual of a kind.
fn docs(registry: &Registry, kind: &str) -> Option<&'static str> {
    let Registry { detectors, sinks, sources } = registry;
    let detector = detectors.get(kind).ok().map(Entry::docs);
    let sink = || sinks.get(kind).ok().map(Entry::docs);
    let source = || sources.get(kind).ok().map(Entry::docs);
    detector.or_else(sink).or_else(source)
}
