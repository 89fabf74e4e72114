//! Which sessions a command is about.

use std::path::PathBuf;

use clap::Args;
use watchkeeper_core::{Entry as _, Registry, SourceEntry, UnknownKind, quote};

/// Which sessions a command is about.
#[derive(Debug, Args)]
pub(crate) struct Places {
    /// Session files, and folders of them
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// What the files are, where their content does not tell
    #[arg(long, value_name = "KIND")]
    source: Option<String>,
}

/// Where to look, and what for.
pub(crate) struct Found {
    pub(crate) paths: Vec<PathBuf>,
    /// What the files are, where that was said.
    pub(crate) source: Option<&'static SourceEntry>,
}

impl Places {
    /// The places that were named, or else where the agents on this machine
    /// keep their sessions. The error is for a person, as it stands.
    pub(crate) fn find(&self, registry: &Registry) -> Result<Found, String> {
        let source = self.source.as_deref().map(|it| registry.sources.get(it)).transpose();
        let source = source.map_err(|UnknownKind { kind, known, .. }| {
            let (kind, known) = (quote(&kind), known.join(", "));
            format!("error: source kind {kind} is not compiled in; compiled in: {known}\n")
        })?;
        let paths =
            if self.paths.is_empty() { known(registry, source) } else { self.paths.clone() };
        if paths.is_empty() {
            let message = "error: no agent keeps sessions in a place we know on this machine; \
                           name a file or a folder\n";
            return Err(message.to_owned());
        }
        Ok(Found { paths, source })
    }
}

/// The folders of every linked kind of source, or of one, that exist here.
fn known(registry: &Registry, only: Option<&SourceEntry>) -> Vec<PathBuf> {
    let environment = |name: &str| std::env::var_os(name);
    let is_meant = |it: &&SourceEntry| only.is_none_or(|only| only.kind() == it.kind());
    let kinds = registry.sources.iter().filter(is_meant);
    let mut res: Vec<PathBuf> = kinds.flat_map(|it| it.folders(&environment)).collect();
    res.retain(|it| it.is_dir());
    res.sort();
    res.dedup();
    res
}
