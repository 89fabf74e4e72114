//! Selection of session files by command-line arguments.

use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;
use watchkeeper_core::{
    embed::{Entry as _, Registry, SourceEntry},
    quote,
};

use crate::{
    live::{AddressError, is_remote},
    output::{quoted_path, safe_path},
    recorded::is_standard_input,
};

/// Arguments that select session files.
#[derive(Debug, Args)]
pub(crate) struct SessionPaths {
    /// Session files or folders; `-` is standard input, for `watch` as the only path;
    /// `ssh://HOST` is another machine, for `watch`
    /// [default: sessions of all known agents]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Kind of source of the files [default: recognized from their content]
    #[arg(long, value_name = "KIND")]
    source: Option<String>,
}

/// Files and folders to read.
pub(crate) struct Selection {
    pub(crate) paths: Vec<PathBuf>,
    /// Source of all files; `None` recognizes each file.
    pub(crate) source: Option<&'static SourceEntry>,
}

/// No files were selected.
#[derive(Debug, Error)]
pub(crate) enum SessionPathsError {
    #[error("unknown source kind {kind}; known kinds: {}", .known.join(", "))]
    UnknownSource {
        /// The kind, quoted.
        kind: String,
        known: Vec<&'static str>,
    },
    #[error("no agent sessions found; name a file or a folder\nLooked in: {}", list(.looked_in))]
    NotFound { looked_in: Vec<PathBuf> },
    #[error(
        "{} is on another machine, which `watch` alone reads; copy the files, such as with `scp -r`",
        quoted_path(.path)
    )]
    Remote { path: PathBuf },
    #[error("{} is no address of another machine", quoted_path(.path))]
    Address { path: PathBuf, source: AddressError },
    #[error("{} does not exist", quoted_path(.path))]
    Missing { path: PathBuf },
}

fn list(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no folders".to_owned(),
        _ => paths.iter().map(|path| safe_path(path)).collect::<Vec<_>>().join(", "),
    }
}

impl SessionPaths {
    /// Returns the paths of the arguments, or else the session folders of all known
    /// agents on this machine.
    pub(crate) fn select(&self, registry: &Registry) -> Result<Selection, SessionPathsError> {
        let source = self.source(registry)?;
        if !self.paths.is_empty() {
            return Ok(Selection { paths: self.paths.clone(), source });
        }
        let looked_in = default_folders(registry, source);
        let paths: Vec<PathBuf> = looked_in.iter().filter(|it| it.is_dir()).cloned().collect();
        if paths.is_empty() {
            return Err(SessionPathsError::NotFound { looked_in });
        }
        Ok(Selection { paths, source })
    }

    /// Returns the paths of the arguments, and the source of their files.
    pub(crate) fn named(
        &self,
        registry: &Registry,
    ) -> Result<(&[PathBuf], Option<&'static SourceEntry>), SessionPathsError> {
        Ok((&self.paths, self.source(registry)?))
    }

    /// Returns a note about the agents on this machine whose sessions are not read, if no
    /// path is named.
    pub(crate) fn unsupported_note(&self) -> Option<String> {
        let home = std::env::var_os("HOME").filter(|_| self.paths.is_empty())?;
        let agents = watchkeeper_sources::unsupported_agents_in(Path::new(&home));
        let agents = Some(agents.join(", ")).filter(|agents| !agents.is_empty())?;
        Some(format!("note: agents on this machine that are not supported: {agents}"))
    }

    fn source(
        &self,
        registry: &Registry,
    ) -> Result<Option<&'static SourceEntry>, SessionPathsError> {
        let source = self.source.as_deref().map(|kind| registry.sources.get(kind)).transpose();
        source.map_err(|err| SessionPathsError::UnknownSource {
            kind: quote(&err.kind),
            known: err.known,
        })
    }
}

impl SessionPaths {
    /// Returns the paths of the arguments, or else the session folders of all known
    /// agents, whether or not they exist yet.
    pub(crate) fn select_all(&self, registry: &Registry) -> Result<Selection, SessionPathsError> {
        match self.select(registry) {
            Err(SessionPathsError::NotFound { looked_in }) if !looked_in.is_empty() => {
                Ok(Selection { paths: looked_in, source: self.source(registry)? })
            }
            Ok(selection) if self.paths.is_empty() => {
                let paths = default_folders(registry, selection.source);
                Ok(Selection { paths, ..selection })
            }
            selected => selected,
        }
    }
}

/// Returns an error that names the first path that does not exist.
pub(crate) fn require_all(paths: &[PathBuf]) -> Result<(), SessionPathsError> {
    refuse_remote(paths)?;
    match paths.iter().find(|path| !is_standard_input(path) && !path.exists()) {
        Some(path) => Err(SessionPathsError::Missing { path: path.clone() }),
        None => Ok(()),
    }
}

/// Returns an error that names the first path on another machine.
fn refuse_remote(paths: &[PathBuf]) -> Result<(), SessionPathsError> {
    match paths.iter().find(|path| is_remote(path)) {
        Some(path) => Err(SessionPathsError::Remote { path: path.clone() }),
        None => Ok(()),
    }
}

/// Returns the paths that do not exist, or an error if there is no other path.
pub(crate) fn require_any(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SessionPathsError> {
    refuse_remote(paths)?;
    let missing = paths.iter().filter(|path| !is_standard_input(path) && !path.exists());
    let missing: Vec<PathBuf> = missing.cloned().collect();
    match missing.first() {
        Some(path) if missing.len() == paths.len() => {
            Err(SessionPathsError::Missing { path: path.clone() })
        }
        _ => Ok(missing),
    }
}

/// Returns the session folders of every linked source, or of one source.
pub(crate) fn default_folders(registry: &Registry, only: Option<&SourceEntry>) -> Vec<PathBuf> {
    let environment = |name: &str| std::env::var_os(name);
    let sources = registry.sources.iter();
    let selected = sources.filter(|it| only.is_none_or(|only| only.kind() == it.kind()));
    let mut folders: Vec<PathBuf> = selected.flat_map(|it| it.folders(&environment)).collect();
    folders.sort();
    folders.dedup();
    folders
}
