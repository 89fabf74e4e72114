//! Finding session files in folders.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use tracing::{debug, trace};
use watchkeeper_core::{author::make_safe, embed::SourceEntry};

use crate::{
    file_source::{TARGET, is_session_name},
    follow::Identity,
    kernel_files::refuse_kernel_file,
    unsupported,
};

/// The result of [`discover`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Discovery {
    /// Files that a source may read, sorted and unique, so that a session precedes
    /// the files in its folder.
    pub files: Vec<PathBuf>,
    /// Session files of agents without a source, each with the name of its agent:
    /// those whose names no source reads. [`open`](crate::open) recognizes others.
    pub unsupported: Vec<(PathBuf, &'static str)>,
    /// Folders that cannot be listed, and the error of the system.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Finds session files: the files in `paths`, and the files with a
/// [session name](crate::is_session_name) in the folders in `paths` and their
/// subfolders.
///
/// Symbolic links are followed, and each folder is searched once. Takes time
/// linear in the number of files.
pub fn discover(
    paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    kinds: impl IntoIterator<Item = &'static SourceEntry>,
) -> Discovery {
    let kinds: Vec<&SourceEntry> = kinds.into_iter().collect();
    let mut found = Discovery::default();
    let mut folders = Vec::new();
    for path in paths {
        let path = path.into();
        if path.is_dir() {
            folders.push(path);
        } else {
            found.files.push(path);
        }
    }
    let mut searched = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::metadata(&folder).and_then(|metadata| {
            // A canonical path would take time linear in the depth of the folder,
            // for each component.
            refuse_kernel_file(&metadata)?;
            let is_new = searched.insert(Identity::of(&folder, &metadata));
            if is_new { fs::read_dir(&folder).map(Some) } else { Ok(None) }
        });
        match entries {
            Ok(entries) => {
                for entry in entries.into_iter().flatten().flatten() {
                    found.add(&entry, &kinds, &mut folders);
                }
            }
            Err(error) => {
                let name = make_safe(&folder.to_string_lossy());
                debug!(target: TARGET, folder = name, %error, "skipped a folder");
                found.unreadable.push((folder, error));
            }
        }
    }
    found.files.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    found.files.dedup();
    found
}

impl Discovery {
    /// Adds an entry of a folder, or puts a subfolder into `folders`.
    fn add(&mut self, entry: &fs::DirEntry, kinds: &[&SourceEntry], folders: &mut Vec<PathBuf>) {
        let path = entry.path();
        // The type of an entry costs no system call, except behind a link.
        let Ok(kind) = entry.file_type() else { return };
        let is_link = kind.is_symlink();
        if kind.is_dir() || is_link && path.is_dir() {
            folders.push(path);
        } else if is_session_name(&path, kinds.iter().copied()) {
            if kind.is_file() || is_link && path.is_file() {
                trace!(target: TARGET, file = make_safe(&path.to_string_lossy()), "found a file");
                self.files.push(path);
            }
        } else if let Some(agent) = unsupported::agent_of_name(&path) {
            self.unsupported.push((path, agent));
        }
    }
}
