use std::collections::BTreeMap;

use clap::Args;
use watchkeeper_core::{
    author::{Annotations, make_safe},
    embed::{Entry, Registry},
    quote,
};
use watchkeeper_policy::{Policy, closest, reference, reference_names};

use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
};

/// Print the manual of a detector, a sink or a source, or of a key of a policy
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name in the policy, kind as listed by `watchkeeper detectors`, or section or key
    /// of a policy, such as `routes` or `per`
    name: String,
}

/// The sort of a kind.
#[derive(Clone, Copy)]
enum Sort {
    Detector,
    Sink,
    Source,
}

impl Explain {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let mut pages = manuals(registry, &self.name);
        if pages.is_empty() {
            pages = self.pages_of_policy(global, registry, output)?;
        }
        for (page_idx, page) in pages.iter().enumerate() {
            let separator = if page_idx == 0 { "" } else { "\n" };
            writeln!(output.out, "{separator}{}", page.trim_end())?;
        }
        Ok(Status::Success)
    }

    /// Returns the manual of a detector or sink that the policy names, or the reference of
    /// a key.
    fn pages_of_policy(
        &self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Vec<String>, Error> {
        let sections = reference(&self.name).into_iter().map(|section| format!("# {section}"));
        let sections: Vec<String> = sections.collect();
        let file = loading::find(global.policy.as_deref(), output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        let policy = match loading::policy(&file, global, registry, output) {
            Ok(policy) => policy,
            // The reference does not depend on the policy.
            Err(_) if !sections.is_empty() => return Ok(sections),
            Err(err) => return Err(err.into()),
        };
        let kinds = kinds(&policy);
        let kind = kinds.get(self.name.as_str());
        if let Some(mut page) = kind.and_then(|kind| manuals(registry, kind).into_iter().next()) {
            let detector = policy.detectors.iter().find(|it| *it.id == self.name);
            page.extend(detector.and_then(|it| annotations(&it.annotations)));
            return Ok(vec![page]);
        }
        if !sections.is_empty() {
            return Ok(sections);
        }
        let Registry { detectors, sinks, sources } = registry;
        let linked = detectors.iter().map(Entry::kind);
        let linked = linked.chain(sinks.iter().map(Entry::kind));
        let linked = linked.chain(sources.iter().map(Entry::kind));
        let known: Vec<&'static str> = linked.chain(reference_names()).collect();
        let known = kinds.keys().copied().chain(known.iter().copied());
        Err(Error::UnknownName {
            name: quote(&self.name),
            similar: closest(&self.name, known).map(make_safe),
        })
    }
}

/// Returns the kinds of the detectors and sinks of a policy, by name.
fn kinds(policy: &Policy) -> BTreeMap<&str, &str> {
    let detectors = policy.detectors.iter().map(|detector| (&*detector.id, &*detector.kind));
    policy.sinks.iter().map(|sink| (&*sink.id, sink.kind)).chain(detectors).collect()
}

/// Returns the annotations of a detector in the policy, for its manual.
fn annotations(annotations: &Annotations) -> Option<String> {
    let Annotations { runbook_url, tags, references, .. } = annotations;
    let runbook = runbook_url.iter().map(|link| format!("* runbook: {link}\n"));
    let tags: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
    let tags = (!tags.is_empty()).then(|| format!("* tags: {}\n", tags.join(", ")));
    let references = references.iter().map(|link| format!("* reference: {link}\n"));
    let lines: String = runbook.chain(tags).chain(references).collect();
    (!lines.is_empty()).then(|| format!("\n## Annotations of the policy\n\n{lines}"))
}

/// Returns the manuals of the kinds with a name: a sink and a source may share one.
fn manuals(registry: &Registry, kind: &str) -> Vec<String> {
    let Registry { detectors, sinks, sources } = registry;
    let detector = detectors.get(kind).ok().map(|entry| (entry.docs(), Sort::Detector));
    let sink = sinks.get(kind).ok().map(|entry| (entry.docs(), Sort::Sink));
    let source = sources.get(kind).ok().map(|entry| (entry.docs(), Sort::Source));
    let found = [detector, sink, source].into_iter().flatten();
    found.map(|(docs, sort)| manual(docs, sort)).collect()
}

/// Returns a manual, with a pointer to the keys that the policy adds.
fn manual(docs: &str, sort: Sort) -> String {
    let more = match sort {
        Sort::Detector => {
            "\n## Keys of every detector\n\n`enabled`, `exceptions`, `inhibited_by`, `kind`, \
             `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`: run `watchkeeper \
             explain detectors`.\n"
        }
        Sort::Sink => {
            "\n## Keys of every sink\n\n`enabled`, `kind`, `queue_capacity`: run `watchkeeper \
             explain sinks`.\n"
        }
        Sort::Source => "",
    };
    format!("{docs}{more}")
}
