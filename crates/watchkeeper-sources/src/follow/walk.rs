//! Walks through all folders, and checks of recently changed files.

use std::{
    collections::VecDeque,
    fs::{self, Metadata},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::debug;
use watchkeeper_core::{Timestamp, author::make_safe};

use super::{
    Follower,
    arrival::TOLERANCE,
    interval::has_passed,
    log::TARGET,
    platform::Identity,
    timing::HOT,
    tracked::State,
    update::{EndReason, FollowNotice, Update},
};

impl Follower {
    /// Checks recently changed files.
    pub(super) fn check_hot(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.checked_at = Some(now);
        let mut hot = mem::take(&mut self.hot);
        hot.retain(|id| {
            let Some(file) = self.files.get(id) else { return false };
            let path = Arc::clone(&file.path);
            let is_hot = !has_passed(HOT, Some(file.changed_at), now);
            self.check_path(&path, now);
            self.pause(*id, out);
            is_hot
        });
        self.hot.append(&mut hot);
        if self.watcher.is_none() {
            self.visit(self.folders.changed(), now);
        }
    }

    /// Checks all paths.
    pub(super) fn walk(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.walk += 1;
        self.wants_walk = false;
        self.has_blind_spot = false;
        if let (Some(since), Some(walked_at)) = (&mut self.added_since, self.walked_at) {
            let since_walk = walked_at.checked_sub(TOLERANCE).unwrap_or(walked_at);
            *since = since_walk.min(*since);
        }
        self.walked_at = Some(now);
        self.folders.begin_walk(&mut self.watcher);
        let mut folders = Vec::new();
        for root in self.roots.clone() {
            let metadata = fs::metadata(&root);
            self.has_blind_spot |= root.is_symlink();
            if metadata.as_ref().is_ok_and(Metadata::is_dir) {
                folders.push(root);
                continue;
            }
            self.watch_parent(&root);
            if let Ok(metadata) = metadata
                && metadata.is_file()
            {
                self.found(&root, &metadata, now);
            }
        }
        self.visit(folders, now);
        self.folders.end_walk(out);
        self.end_walk(out);
    }

    /// Requests a notification when a file, or a folder above it, appears at `path`.
    fn watch_parent(&mut self, path: &Path) {
        let parent = || path.ancestors().skip(1).find(|parent| parent.is_dir());
        let mut watched = None;
        // A folder that appeared before its parent was watched caused no notification.
        while let Some(parent) = parent().filter(|parent| watched != Some(*parent)) {
            let result = self.folders.watch_only(parent, &mut self.watcher);
            self.watch_failed(result);
            watched = Some(parent);
        }
        self.wants_walk |= path.exists();
    }

    /// Checks all files in some folders and their subfolders.
    pub(super) fn visit(&mut self, folders: impl IntoIterator<Item = PathBuf>, now: Timestamp) {
        let mut folders: VecDeque<PathBuf> = folders.into_iter().collect();
        // Last, so that a file with a path without links is followed by that path.
        let mut links = VecDeque::new();
        loop {
            if let Some(folder) = folders.pop_front() {
                let is_root = self.roots.contains(&folder);
                let (entries, result) = self.folders.list(&folder, is_root, &mut self.watcher);
                self.watch_failed(result);
                for entry in entries {
                    let Ok(kind) = entry.file_type() else { continue };
                    if kind.is_dir() {
                        folders.push_back(entry.path());
                    } else if kind.is_symlink() {
                        links.push_back(entry.path());
                    } else if kind.is_file()
                        && let Ok(metadata) = entry.metadata()
                    {
                        self.found(&entry.path(), &metadata, now);
                    }
                }
            } else if let Some(link) = links.pop_front() {
                match fs::metadata(&link) {
                    Ok(metadata) if metadata.is_file() => {
                        self.has_blind_spot = true;
                        self.found(&link, &metadata, now);
                    }
                    Ok(metadata) if metadata.is_dir() => folders.push_back(link),
                    Ok(_) | Err(_) => {}
                }
            } else {
                return;
            }
        }
    }

    fn watch_failed(&mut self, result: notify::Result<()>) {
        let Err(error) = result else { return };
        // A folder that was deleted meanwhile needs no watch.
        if !matches!(error.kind, notify::ErrorKind::PathNotFound) && self.watcher.take().is_some() {
            self.notices.push(FollowNotice::not_watched(&error));
        }
    }

    /// Ends a walk. Removes the files that it did not find, and tries unreadable
    /// files again.
    fn end_walk(&mut self, out: &mut dyn FnMut(Update)) {
        if self.folders.is_full() {
            self.notify_full();
        }
        for notice in self.notices.drain(..) {
            out(Update::Notice(notice));
        }
        let mut unreadable = Vec::new();
        let mut gone = Vec::new();
        for (id, file) in &self.files {
            if file.walk != self.walk {
                gone.push(*id);
            } else if file.is_unreadable {
                unreadable.push(*id);
            }
        }
        self.unsupported.end_walk(self.walk);
        self.has_blind_spot |=
            self.watcher.is_none() || !unreadable.is_empty() || self.folders.have_blind_spot();
        for id in unreadable {
            self.enqueue(id);
        }
        // By path: the order of inodes has no meaning.
        gone.sort_by_key(|id| self.files.get(id).map(|file| Arc::clone(&file.path)));
        for id in gone {
            if self.drain(id, out) {
                self.read_to_end(id);
                continue;
            }
            self.open.close(id);
            self.hot.remove(&id);
            let Some(file) = self.files.remove(&id) else { continue };
            if self.paths.get(&file.path) == Some(&id) {
                self.paths.remove(&file.path);
            }
            if let State::Reading(reading) = file.state {
                debug!(target: TARGET, file = make_safe(reading.file()), "file gone");
                out(Update::Ended { file: Arc::clone(reading.file()), reason: EndReason::Gone });
            }
        }
    }

    /// Keeps a deleted file until its last lines are read.
    fn read_to_end(&mut self, id: Identity) {
        let Some(file) = self.files.get_mut(&id) else { return };
        file.is_lost = true;
        if self.paths.get(&file.path) == Some(&id) {
            self.paths.remove(&file.path);
        }
        self.has_blind_spot = true;
        self.enqueue(id);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tempfile::TempDir;
    use watchkeeper_core::{SignedDuration, Timestamp, embed::SourceEntry};

    use crate::{
        ClaudeCode,
        follow::{FollowOptions, Follower, Update},
    };

    static CLAUDE_CODE: SourceEntry = SourceEntry::of::<ClaudeCode>("watchkeeper-sources");

    #[test]
    fn a_folder_that_appears_before_its_parent_is_watched_is_found_by_another_walk() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("a/projects");
        let options = FollowOptions::default();
        let mut follower = Follower::new(vec![root.clone()], [&CLAUDE_CODE], options);
        follower.scan(Timestamp::UNIX_EPOCH, &mut |update| panic!("{update:?}"));
        assert!(!follower.wants_walk);
        fs::create_dir_all(&root).unwrap();
        follower.watch_parent(&root);
        assert!(follower.wants_walk);
    }

    #[test]
    fn checks_files_at_intervals_when_the_system_has_no_watches_left() {
        let folder = TempDir::new().unwrap();
        let options = FollowOptions::default();
        let mut follower = Follower::new(vec![folder.path().to_owned()], [&CLAUDE_CODE], options);
        let mut now = Timestamp::UNIX_EPOCH;
        follower.scan(now, &mut |update| panic!("{update:?}"));
        assert!(follower.is_watched());

        follower.watch_failed(Err(notify::Error::new(notify::ErrorKind::PathNotFound)));
        assert!(follower.is_watched());
        for _ in 0..2 {
            follower.watch_failed(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        }
        assert!(!follower.is_watched());
        let mut notices = Vec::new();
        follower.scan(now, &mut |update| notices.push(update));
        let [Update::Notice(notice)] = &notices[..] else { panic!("{notices:?}") };
        assert!(notice.to_string().contains("limit"), "{notice}");

        // The next check finds a new file, before the next walk.
        fs::write(folder.path().join("a.jsonl"), "{}").unwrap();
        now += SignedDuration::from_millis(250);
        follower.step(now, Duration::ZERO, &mut |update| panic!("{update:?}"));
        assert_eq!(follower.report().n_unrecognized, 1);
    }
}
