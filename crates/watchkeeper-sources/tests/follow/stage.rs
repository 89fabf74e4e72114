//! A folder in which files change, and a follower.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use watchkeeper_core::{
    EventKind, Timestamp,
    clock::{Clock as _, SystemClock},
    embed::SourceEntry,
};
use watchkeeper_sources::{EndReason, FollowOptions, Follower, Update};

use crate::plain::PLAIN;

/// A folder, its follower, and the time.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) follower: Follower,
    pub(crate) now: Timestamp,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(&[""], |_| ())
    }

    /// Follows some paths in the folder.
    pub(crate) fn with(roots: &[&str], change: impl FnOnce(&mut FollowOptions)) -> Self {
        Self::of(&PLAIN, roots, change)
    }

    /// Follows the files of a kind.
    pub(crate) fn of(
        kind: &'static SourceEntry,
        roots: &[&str],
        change: impl FnOnce(&mut FollowOptions),
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let mut options = FollowOptions { poll_only: true, ..FollowOptions::default() };
        change(&mut options);
        let roots = roots.iter().map(|it| folder.path().join(it)).collect();
        let follower = Follower::new(roots, [kind], options);
        Self { folder, follower, now: SystemClock.now() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a path with a session name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        if name.contains(".jsonl") { self.path(name) } else { self.path(&format!("{name}.jsonl")) }
    }

    pub(crate) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.file(from), self.file(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    pub(crate) fn date(&self, name: &str, at: Timestamp) {
        let file = File::options().append(true).open(self.file(name)).unwrap();
        file.set_modified(SystemTime::from(at)).unwrap();
    }

    pub(crate) fn link(&self, to: impl AsRef<Path>, name: &str) {
        std::os::unix::fs::symlink(to, self.path(name)).unwrap();
    }

    /// Scans, and renders the updates.
    pub(crate) fn scan(&mut self) -> String {
        let mut res = Vec::new();
        self.follower.scan(self.now, &mut |it| res.push(it));
        self.show(&res)
    }

    /// Makes a step that waits for at most `wait`, and renders the updates.
    pub(crate) fn step(&mut self, wait: Duration) -> String {
        let mut res = Vec::new();
        self.follower.step(self.now, wait, &mut |it| res.push(it));
        self.show(&res)
    }

    fn show(&self, updates: &[Update]) -> String {
        let folder = format!("{}/", self.folder.path().display());
        let mut res = String::new();
        let is_shown =
            |update: &&Update| !matches!(update, Update::FirstLine { .. } | Update::Read { .. });
        for update in updates.iter().filter(is_shown) {
            let line = match update {
                Update::Event(event) => {
                    let EventKind::Message { text, .. } = &event.kind else { unreachable!() };
                    let origin = event.origin.as_ref().unwrap();
                    format!("{}:{} {text}", origin.file, origin.line)
                }
                Update::Began { file, source } => format!("{file} began, {source}"),
                Update::Moved { from, to } => format!("{from} is {to}"),
                Update::Ended { file, reason: EndReason::Gone } => format!("{file} is gone"),
                Update::Ended { file, reason: EndReason::Rewritten } => format!("{file} is new"),
                Update::SkippedLine { file, line, reason } => {
                    format!("{file}:{line} not read: {reason}")
                }
                Update::Unreadable { file, .. } => format!("{file} not readable"),
                Update::Notice(notice) => notice.to_string(),
                Update::SourceFailed { file, panic } => format!("{file} failed, {panic}"),
                _ => unreachable!("{update:?}"),
            };
            res += &line.replace(&folder, "").replace(".jsonl", "");
            res.push('\n');
        }
        res
    }
}
