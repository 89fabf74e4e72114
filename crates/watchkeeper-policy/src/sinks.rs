//! Reads `[sinks]`.

use std::{fmt, path::PathBuf};

use toml::Spanned;
use watchkeeper_core::{Fingerprint, Sink, embed::Entry as _};

use crate::{
    diagnostic::{Diagnostic, Fix},
    options::KindContext,
    reader::{Count, Reader},
    secrets::Secrets,
    toml_text,
    tree::Table,
};

/// The keys of every sink, in addition to those of its kind.
pub(crate) const SINK_KEYS: &[&str] = &["enabled", "kind", "queue_capacity"];
/// The default of `queue_capacity`.
pub(crate) const QUEUE_CAPACITY: usize = 1024;

/// A sink, configured and named by a policy.
#[non_exhaustive]
pub struct NamedSink {
    /// The name in the policy.
    pub id: String,
    /// The kind, such as `webhook`.
    pub kind: &'static str,
    /// The sink, not yet opened.
    pub sink: Box<dyn Sink>,
    /// The maximum number of findings in the queue of the sink.
    pub queue_capacity: usize,
    /// A hash of the kind and the options, with the values of secrets: two sinks with the same
    /// hash work alike.
    pub options: Fingerprint,
    /// The files that the sink writes to: options whose JSON schema has the format `path`.
    /// Relative paths start at the folder of the policy, as for the format `input-path`.
    pub files: Vec<PathBuf>,
}

impl fmt::Debug for NamedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, sink: _, queue_capacity, options: _, files } = self;
        f.debug_struct("NamedSink")
            .field("id", id)
            .field("kind", kind)
            .field("queue_capacity", queue_capacity)
            .field("files", files)
            .finish_non_exhaustive()
    }
}

/// The name of a sink in the policy, whether or not the sink is enabled.
pub(crate) struct SinkName {
    pub(crate) id: Spanned<String>,
    pub(crate) is_on: bool,
    /// The largest number of findings in a notification; `None` if it is unknown.
    pub(crate) max_group: Option<usize>,
}

impl Reader<'_> {
    /// Reads a sink. The sink is `None` if it is disabled, invalid, or lacks an
    /// optional secret.
    pub(crate) fn sink(
        &mut self,
        id: Spanned<String>,
        mut table: Spanned<Table<'_>>,
        secrets: &mut Secrets,
    ) -> (SinkName, Option<NamedSink>) {
        if !self.may_read(&id, table.get_ref()) {
            return (SinkName { id, is_on: false, max_group: None }, None);
        }
        let keys = table.get_mut();
        let enabled = self.take(keys, "enabled").unwrap_or(true);
        let queue_capacity = self.take(keys, "queue_capacity");
        let queue_capacity = queue_capacity
            .map_or(QUEUE_CAPACITY, |Count(it)| usize::try_from(it).unwrap_or(usize::MAX));
        let kind = self.take_string(keys, "kind");
        let used = self.insert_secrets(keys, secrets, enabled);
        let is_on = enabled && !used.is_absent;
        let name = kind.as_ref().unwrap_or(&id);
        let entry = match self.registry.sinks.get(name.get_ref()) {
            Ok(entry) => entry,
            Err(err) => {
                if kind.is_some() {
                    self.unknown_kind(err, name.span());
                } else {
                    let message = format!("sink `{}` has no `kind`", id.get_ref());
                    let fix = Fix::key(id.get_ref(), id.span(), err.known.iter().copied());
                    let diagnostic = Diagnostic::error(id.span(), message)
                        .note("`kind` is optional only if the sink has the name of its kind")
                        .note(format!("known kinds: {}", err.known.join(", ")))
                        .fix(fix);
                    self.push(diagnostic);
                }
                return (SinkName { id, is_on, max_group: None }, None);
            }
        };
        let schema = entry.schema(&mut schemars::SchemaGenerator::default());
        let files = self.resolve_paths(table.get_mut(), &schema);
        // The URL of a webhook may decide.
        let is_resolved = used.unresolved.is_empty();
        let context = KindContext {
            kind: entry.kind(),
            schema: &|| schema.clone(),
            shared: SINK_KEYS,
            unresolved: used.unresolved,
            secrets: used.texts,
        };
        let options =
            Fingerprint::of(format!("{}\n{}", entry.kind(), toml_text::table(table.get_ref())));
        let sink = self.build(table, &context, |it| entry.build(it)).filter(|_| is_on);
        let sink = sink.map(|sink| NamedSink {
            id: id.get_ref().clone(),
            kind: entry.kind(),
            sink,
            queue_capacity,
            options,
            files,
        });
        let max_group = sink.as_ref().filter(|_| is_resolved).map(|it| it.sink.max_group());
        (SinkName { id, is_on, max_group }, sink)
    }
}
