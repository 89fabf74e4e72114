//! The followed folders.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry},
    path::{Path, PathBuf},
    time::SystemTime,
};

use tracing::{debug, trace};

use super::{
    changes::FolderWatcher,
    log::{TARGET, name, safe},
    platform::{self, Identity},
    update::Update,
};

/// The largest number of followed folders: a symbolic link may lead anywhere.
const MAX_FOLDERS: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Folders {
    followed: BTreeMap<PathBuf, Folder>,
    /// The path of each followed folder. A folder is followed by one path only.
    paths: BTreeMap<Identity, PathBuf>,
    /// Folders that are watched for new entries but not listed.
    watched_only: BTreeMap<PathBuf, WatchedOnly>,
    walk: u64,
}

#[derive(Debug)]
struct WatchedOnly {
    id: Identity,
    is_local: bool,
}

#[derive(Debug)]
struct Folder {
    id: Identity,
    /// All changes of the folder cause notifications.
    is_local: bool,
    /// The time of the last change of its entries.
    modified: Option<SystemTime>,
    /// The latest walk that listed the folder.
    walk: u64,
    list_error: Option<ListError>,
}

/// The reason why a folder could not be listed.
#[derive(Debug)]
struct ListError {
    reason: String,
    is_reported: bool,
}

impl Folders {
    pub(super) fn len(&self) -> usize {
        self.followed.len()
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.followed.contains_key(path)
    }

    pub(super) fn is_full(&self) -> bool {
        MAX_FOLDERS <= self.followed.len()
    }

    pub(super) fn n_unreadable(&self) -> usize {
        self.followed.values().filter(|folder| folder.list_error.is_some()).count()
    }

    /// Returns whether a folder may change without a notification, or may become readable.
    pub(super) fn have_blind_spot(&self) -> bool {
        self.followed.values().any(|folder| !folder.is_local || folder.list_error.is_some())
            || self.watched_only.values().any(|folder| !folder.is_local)
    }

    /// Starts a walk. Removes folders that are gone or were replaced.
    pub(super) fn begin_walk(&mut self, watcher: &mut Option<FolderWatcher>) {
        self.walk += 1;
        let stale = self.followed.iter().filter(|(path, folder)| id_at(path) != Some(folder.id));
        let stale: Vec<PathBuf> = stale.map(|(path, _)| path.clone()).collect();
        for path in stale {
            self.remove(&path, watcher);
        }
        self.watched_only.retain(|path, folder| id_at(path) == Some(folder.id));
    }

    /// Ends a walk. Reports folders that cannot be listed, once each.
    pub(super) fn end_walk(&mut self, out: &mut dyn FnMut(Update)) {
        for (path, folder) in &mut self.followed {
            if let Some(error) = folder.list_error.as_mut().filter(|error| !error.is_reported) {
                error.is_reported = true;
                out(Update::Unreadable { file: name(path), reason: error.reason.clone() });
            }
        }
    }

    /// Stops following a folder. Returns whether it was followed.
    pub(super) fn remove(&mut self, path: &Path, watcher: &mut Option<FolderWatcher>) -> bool {
        let Some(folder) = self.followed.remove(path) else { return false };
        debug!(target: TARGET, folder = safe(path), "no longer follows a folder");
        self.paths.remove(&folder.id);
        if let Some(watcher) = watcher {
            watcher.remove(path);
        }
        true
    }

    /// Watches a folder for new entries without listing it.
    pub(super) fn watch_only(
        &mut self,
        path: &Path,
        watcher: &mut Option<FolderWatcher>,
    ) -> notify::Result<()> {
        let Some(id) = id_at(path) else { return Ok(()) };
        if self.followed.contains_key(path) || self.watched_only.contains_key(path) {
            return Ok(());
        }
        let is_local = platform::is_local(path);
        self.watched_only.insert(path.to_owned(), WatchedOnly { id, is_local });
        watcher.as_mut().map_or(Ok(()), |watcher| watcher.add_shallow(path))
    }

    /// Returns the entries of a folder, in order of name, and the result of
    /// watching it.
    ///
    /// There are no entries if the current walk has listed the folder before, or
    /// if the folder is followed by another path.
    pub(super) fn list(
        &mut self,
        path: &Path,
        is_root: bool,
        watcher: &mut Option<FolderWatcher>,
    ) -> (Vec<DirEntry>, notify::Result<()>) {
        let mut watched = Ok(());
        let Ok(metadata) = fs::metadata(path) else { return (Vec::new(), watched) };
        let id = Identity::of(path, &metadata);
        let modified = metadata.modified().ok();
        if let Some(other) = self.paths.get(&id).filter(|other| *other != path).cloned() {
            if id_at(&other) == Some(id) {
                return (Vec::new(), watched);
            }
            // The folder was renamed.
            self.remove(&other, watcher);
        }
        if !self.followed.contains_key(path) {
            if self.is_full() {
                return (Vec::new(), watched);
            }
            debug!(target: TARGET, folder = safe(path), "follows a folder");
            // Before listing, so that later entries cause a notification.
            if let Some(watcher) = watcher {
                watched = watcher.add(path, is_root);
            }
            self.watched_only.remove(path);
            self.paths.insert(id, path.to_owned());
            let is_local = platform::is_local(path);
            let folder = Folder { id, is_local, modified: None, walk: 0, list_error: None };
            self.followed.insert(path.to_owned(), folder);
        }
        let Some(folder) = self.followed.get_mut(path) else { return (Vec::new(), watched) };
        if folder.walk == self.walk && folder.modified == modified {
            return (Vec::new(), watched);
        }
        folder.walk = self.walk;
        folder.modified = modified;
        match fs::read_dir(path) {
            Ok(entries) => {
                folder.list_error = None;
                let mut entries: Vec<DirEntry> = entries.filter_map(Result::ok).collect();
                entries.sort_by_cached_key(DirEntry::file_name);
                trace!(target: TARGET, folder = safe(path), n_entries = entries.len(), "listed");
                (entries, watched)
            }
            Err(error) => {
                let is_reported = folder.list_error.as_ref().is_some_and(|it| it.is_reported);
                folder.list_error = Some(ListError { reason: error.to_string(), is_reported });
                (Vec::new(), watched)
            }
        }
    }

    /// Returns the folders whose entries changed since they were listed.
    pub(super) fn changed(&self) -> Vec<PathBuf> {
        let changed = self.followed.iter().filter(|(path, folder)| {
            fs::metadata(path).is_ok_and(|it| it.modified().ok() != folder.modified)
        });
        changed.map(|(path, _)| path.clone()).collect()
    }
}

fn id_at(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    Some(Identity::of(path, &metadata))
}
