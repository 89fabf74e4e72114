//! The files at paths: files that appear, change, move and disappear.

use std::{
    fs::{self, Metadata},
    mem,
    path::Path,
    sync::Arc,
};

use tracing::{debug, trace};
use watchkeeper_core::Timestamp;

use super::{
    Follower,
    arrival::Arrival,
    interval::has_passed,
    log::{TARGET, safe},
    platform::Identity,
    stamp::Stamp,
    timing::HOT,
    tracked::{State, Tracked},
    update::FollowNotice,
};
use crate::{compressed, database, file_source::is_session_name};

/// The largest number of files, read or not.
const MAX_FILES: usize = 1 << 18;

impl Follower {
    /// Checks the changed paths. Returns whether the follower was woken.
    pub(super) fn take_changes(&mut self, now: Timestamp) -> bool {
        let changes = self.notifier.take();
        self.wants_walk |= changes.is_incomplete;
        for path in changes.paths {
            let path = match &self.watcher {
                Some(watcher) => watcher.followed_path(path),
                None => path,
            };
            let database = database::of_log(&path).filter(|it| self.paths.contains_key(&**it));
            self.check_path(&database.unwrap_or(path), now);
        }
        changes.is_woken
    }

    /// Checks a path that may have changed.
    pub(super) fn check_path(&mut self, path: &Path, now: Timestamp) {
        if !self.paths.contains_key(path) && !self.is_followed(path) {
            // A folder above a path that did not exist.
            self.wants_walk |= self.roots.iter().any(|root| root.starts_with(path));
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => self.found(path, &metadata, now),
            // The next walk finds any other change of the folder.
            Ok(metadata) if metadata.is_dir() => {
                self.lost(path);
                self.wants_walk |= self.folders.remove(path, &mut self.watcher);
                self.visit([path.to_owned()], now);
            }
            Ok(_) | Err(_) => {
                self.lost(path);
                self.wants_walk |= self.folders.contains(path);
            }
        }
    }

    /// Returns whether the path is in a followed folder, or is followed itself.
    fn is_followed(&self, path: &Path) -> bool {
        self.is_root(path) || path.parent().is_some_and(|parent| self.folders.contains(parent))
    }

    fn is_root(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| root == path)
    }

    /// Handles a file at a path.
    pub(super) fn found(&mut self, path: &Path, metadata: &Metadata, now: Timestamp) {
        let id = Identity::of(path, metadata);
        let mut stamp = Stamp::of(metadata);
        let Some(file) = self.files.get_mut(&id) else {
            self.lost(path);
            let created = metadata.created().ok().and_then(|it| Timestamp::try_from(it).ok());
            self.add(id, path, stamp, created, now);
            return;
        };
        if *file.path != *path {
            // The file has two paths, or was renamed.
            let is_still_there =
                fs::metadata(&file.path).is_ok_and(|it| Identity::of(&file.path, &it) == id);
            if !file.is_lost && is_still_there {
                self.lost(path);
                return;
            }
            self.moved(id, path);
        }
        let Some(file) = self.files.get_mut(&id) else { return };
        file.walk = self.walk;
        if file.has_log {
            stamp = stamp.with_log(path);
        }
        if mem::take(&mut file.is_lost) {
            self.paths.insert(Arc::clone(&file.path), id);
        }
        if file.stamp == stamp {
            if file.is_unreadable {
                // Its permissions may have changed.
                self.enqueue(id);
            }
            return;
        }
        file.stamp = stamp;
        file.changed_at = now;
        file.is_paused = false;
        if mem::take(&mut file.is_at_end) {
            // A file that is copied may be empty when it is found.
            let is_new_file = !matches!(file.state, State::Reading(_));
            file.arrival = self.added_since.map(|since| Arrival::Live { since, is_new_file });
        }
        if let State::Dormant = file.state {
            file.state = State::Unrecognized(0);
        }
        self.hot.insert(id);
        self.enqueue(id);
    }

    /// Adds a file with a session name.
    fn add(
        &mut self,
        id: Identity,
        path: &Path,
        mut stamp: Stamp,
        created: Option<Timestamp>,
        now: Timestamp,
    ) {
        let kinds = || self.options.kind.into_iter().chain(self.kinds.iter().copied());
        if !is_session_name(path, kinds()) && !self.is_root(path) {
            self.unsupported.find(path, self.walk);
            return;
        }
        // It does not grow, and was followed before it was compressed.
        if compressed::original(path).is_some() {
            return;
        }
        if MAX_FILES <= self.files.len() {
            self.notify_full();
            return;
        }
        let has_log = self.is_root(path)
            || is_session_name(path, kinds().filter(|kind| kind.database().is_some()));
        if has_log {
            stamp = stamp.with_log(path);
        }
        let modified = stamp.modified.and_then(|it| Timestamp::try_from(it).ok());
        // A file without a time of change may be recent.
        let is_recent = self.is_root(path)
            || self.options.wanted.contains(path)
            || modified.is_none_or(|modified| now.duration_since(modified) <= self.options.recent);
        let changed_at = modified.map_or(now, |it| it.min(now));
        let arrival = match self.added_since {
            Some(since) => modified
                .filter(|modified| since <= *modified)
                .map(|_| Arrival::Live { since, is_new_file: true }),
            None => {
                let created =
                    created.filter(|it| self.options.new_since.is_some_and(|new| new <= *it));
                created.zip(modified).map(|(created, modified)| {
                    let written_in = modified.duration_since(created);
                    Arrival::Recorded { created, written_in, late: None }
                })
            }
        };
        let path = Arc::<Path>::from(path);
        self.paths.insert(Arc::clone(&path), id);
        trace!(target: TARGET, file = safe(&path), is_recent, "found a file");
        self.files.insert(
            id,
            Tracked {
                path,
                stamp,
                state: if is_recent { State::Unrecognized(0) } else { State::Dormant },
                has_log,
                walk: self.walk,
                changed_at,
                is_queued: false,
                is_lost: false,
                is_unreadable: false,
                is_at_end: false,
                is_paused: false,
                arrival,
                agent: None,
            },
        );
        if is_recent {
            if !has_passed(HOT, Some(changed_at), now) {
                self.hot.insert(id);
            }
            self.enqueue(id);
        }
    }

    pub(super) fn notify_full(&mut self) {
        if !mem::replace(&mut self.is_full, true) {
            self.notices.push(FollowNotice::TooMany);
        }
    }

    /// Handles a file that is no longer at its path. It may have been renamed.
    pub(super) fn lost(&mut self, path: &Path) {
        let Some(id) = self.paths.remove(path) else { return };
        let Some(file) = self.files.get_mut(&id) else { return };
        file.is_lost = true;
        // The next walk decides whether it is gone.
        self.has_blind_spot = true;
        debug!(target: TARGET, file = safe(path), "file moved or removed");
        // If the file is still open, its last lines are still to be read.
        self.enqueue(id);
    }

    fn moved(&mut self, id: Identity, path: &Path) {
        self.lost(path);
        let Some(file) = self.files.get_mut(&id) else { return };
        let from = mem::replace(&mut file.path, path.into());
        if self.paths.get(&from) == Some(&id) {
            self.paths.remove(&from);
        }
        self.paths.insert(Arc::clone(&file.path), id);
        // The system may have reused the inode for another file. Reading detects that.
        self.enqueue(id);
    }

    pub(super) fn enqueue(&mut self, id: Identity) {
        if let Some(file) = self.files.get_mut(&id)
            && !mem::replace(&mut file.is_queued, true)
        {
            self.queue.push_back(id);
        }
    }
}
