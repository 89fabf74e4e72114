//! Where agents keep their sessions on this machine.

use std::path::PathBuf;

use watchkeeper_core::{Entry as _, Registry, SourceEntry};

/// The folders of every linked kind of source, or of one, that exist here.
pub(crate) fn known(registry: &Registry, only: Option<&SourceEntry>) -> Vec<PathBuf> {
    let environment = |name: &str| std::env::var_os(name);
    let kinds =
        registry.sources.iter().filter(|it| only.is_none_or(|only| only.kind() == it.kind()));
    let mut res: Vec<PathBuf> = kinds.flat_map(|it| it.folders(&environment)).collect();
    res.retain(|it| it.is_dir());
    res.sort();
    res.dedup();
    res
}
