//! The folders that are followed.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Update, bell::Watch, name, platform::Identity};

/// How many folders are kept in mind: a link may lead anywhere.
const MAX_FOLDERS: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Folders {
    known: BTreeMap<PathBuf, Folder>,
    /// The one path by which each folder is followed.
    paths: BTreeMap<Identity, PathBuf>,
    /// Folders that are not listed, and watched for what appears in them.
    watched_only: BTreeMap<PathBuf, Identity>,
    walk: u64,
}

#[derive(Debug)]
struct Folder {
    id: Identity,
    /// When something in it was last added or removed.
    modified: Option<SystemTime>,
    /// The latest walk that listed it.
    walk: u64,
    trouble: Option<Trouble>,
}

/// Why a folder could not be listed.
#[derive(Debug)]
struct Trouble {
    reason: String,
    is_told: bool,
}

impl Folders {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    pub(super) fn is_full(&self) -> bool {
        MAX_FOLDERS <= self.known.len()
    }

    pub(super) fn n_unreadable(&self) -> usize {
        self.known.values().filter(|it| it.trouble.is_some()).count()
    }

    /// Lets go of folders that are gone, or are others by now.
    pub(super) fn begin_walk(&mut self, watch: &mut Option<Watch>) {
        self.walk += 1;
        let stale = self.known.iter().filter(|(path, it)| id_at(path) != Some(it.id));
        let stale: Vec<PathBuf> = stale.map(|(path, _)| path.clone()).collect();
        for path in stale {
            self.forget(&path, watch);
        }
        self.watched_only.retain(|path, id| id_at(path) == Some(*id));
    }

    /// Tells of folders that cannot be listed, once.
    pub(super) fn end_walk(&mut self, out: &mut dyn FnMut(Update)) {
        for (path, folder) in &mut self.known {
            if let Some(trouble) = folder.trouble.as_mut().filter(|it| !it.is_told) {
                trouble.is_told = true;
                out(Update::Unreadable { file: name(path), reason: trouble.reason.clone() });
            }
        }
    }

    /// Lets go of a folder. Gives back whether it was followed.
    pub(super) fn forget(&mut self, path: &Path, watch: &mut Option<Watch>) -> bool {
        let Some(folder) = self.known.remove(path) else { return false };
        self.paths.remove(&folder.id);
        if let Some(watch) = watch {
            watch.remove(path);
        }
        true
    }

    /// Watches a folder for what appears in it, without listing it.
    pub(super) fn watch_only(
        &mut self,
        path: &Path,
        watch: &mut Option<Watch>,
    ) -> notify::Result<()> {
        let Some(id) = id_at(path) else { return Ok(()) };
        if self.known.contains_key(path) || self.watched_only.contains_key(path) {
            return Ok(());
        }
        self.watched_only.insert(path.to_owned(), id);
        watch.as_mut().map_or(Ok(()), |watch| watch.add_shallow(path))
    }

    /// What is in a folder, in order of name: nothing, if this walk has listed
    /// it before, or if it is followed by another path.
    pub(super) fn list(
        &mut self,
        path: &Path,
        is_root: bool,
        watch: &mut Option<Watch>,
    ) -> (Vec<DirEntry>, notify::Result<()>) {
        let mut watched = Ok(());
        let Ok(metadata) = fs::metadata(path) else { return (Vec::new(), watched) };
        let id = Identity::of(path, &metadata);
        let modified = metadata.modified().ok();
        if let Some(other) = self.paths.get(&id).filter(|it| *it != path).cloned() {
            if id_at(&other) == Some(id) {
                return (Vec::new(), watched);
            }
            // It was renamed.
            self.forget(&other, watch);
        }
        if !self.known.contains_key(path) {
            if self.is_full() {
                return (Vec::new(), watched);
            }
            // Before it is listed: what appears in between is told of.
            if let Some(watch) = watch {
                watched = watch.add(path, is_root);
            }
            self.watched_only.remove(path);
            self.paths.insert(id, path.to_owned());
            let folder = Folder { id, modified: None, walk: 0, trouble: None };
            self.known.insert(path.to_owned(), folder);
        }
        let Some(folder) = self.known.get_mut(path) else { return (Vec::new(), watched) };
        if folder.walk == self.walk && folder.modified == modified {
            return (Vec::new(), watched);
        }
        folder.walk = self.walk;
        folder.modified = modified;
        match fs::read_dir(path) {
            Ok(entries) => {
                folder.trouble = None;
                let mut entries: Vec<DirEntry> = entries.filter_map(Result::ok).collect();
                entries.sort_by_cached_key(DirEntry::file_name);
                (entries, watched)
            }
            Err(error) => {
                let is_told = folder.trouble.as_ref().is_some_and(|it| it.is_told);
                folder.trouble = Some(Trouble { reason: error.to_string(), is_told });
                (Vec::new(), watched)
            }
        }
    }

    /// The folders to which something was added, or from which something was
    /// taken, since they were listed.
    pub(super) fn changed(&self) -> Vec<PathBuf> {
        let changed = self.known.iter().filter(|(path, folder)| {
            fs::metadata(path).is_ok_and(|it| it.modified().ok() != folder.modified)
        });
        changed.map(|(path, _)| path.clone()).collect()
    }
}

fn id_at(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    Some(Identity::of(path, &metadata))
}
