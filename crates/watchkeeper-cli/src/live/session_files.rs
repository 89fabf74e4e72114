//! The sessions of the followed files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use watchkeeper_core::{Event, SessionId};
use watchkeeper_sources::{EndReason, Update, has_compressed_form};

use crate::followed_paths::FollowedPaths;

/// The largest number of sessions of all files together. The findings of other sessions end at
/// the next start.
const MAX_SESSIONS: usize = 1 << 18;
/// The time for which a file may be missing or empty: programs that replace a file remove it
/// first, or write it after it is emptied.
const REPLACED: Duration = Duration::from_secs(2);

/// The sessions whose events were read from each file, to notice sessions that are gone.
///
/// A file that replaces another one at its path keeps the sessions of that one: a source passes
/// lines on once, so that the new file does not show which sessions it still has.
#[derive(Debug)]
pub(super) struct SessionFiles {
    paths: FollowedPaths,
    files: BTreeMap<Arc<str>, File>,
    /// The files that are missing or empty, each with the time since then and its sessions.
    lost: BTreeMap<Arc<str>, (Duration, BTreeSet<SessionId>)>,
    /// The number of files of each session, lost ones included.
    n_files: HashMap<SessionId, usize>,
    n_sessions: usize,
}

#[derive(Debug, Default)]
struct File {
    /// Two while a file replaces another one at the same path.
    n_readings: usize,
    sessions: BTreeSet<SessionId>,
}

impl SessionFiles {
    pub(super) fn new(paths: FollowedPaths) -> Self {
        let (files, lost, n_files) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Self { paths, files, lost, n_files, n_sessions: 0 }
    }

    /// Takes an event of a file.
    pub(super) fn observe(&mut self, event: &Event) {
        let Some(origin) = &event.origin else { return };
        let Some(file) = self.files.get_mut(&origin.file) else { return };
        if self.n_sessions < MAX_SESSIONS && !file.sessions.contains(&event.session) {
            file.sessions.insert(event.session.clone());
            self.add(&event.session);
        }
    }

    /// Takes a change of a file at a time since a fixed start.
    pub(super) fn follow(&mut self, update: &Update, now: Duration) {
        match update {
            Update::Began { file, .. } => self.begin(file, BTreeSet::new()),
            Update::Ended { file, reason } => {
                let Some(read) = self.files.get_mut(file) else { return };
                read.n_readings -= 1;
                if 0 < read.n_readings {
                    return;
                }
                let sessions = self.files.remove(file).unwrap_or_default().sessions;
                let path = Path::new(&**file);
                let may_return = !self.paths.are_present(path) || has_compressed_form(path);
                if *reason == EndReason::Gone && may_return {
                    for session in &sessions {
                        self.remove(session);
                    }
                } else {
                    self.lost.insert(file.clone(), (now, sessions));
                }
            }
            Update::Moved { from, to } => {
                let Some(read) = self.files.get_mut(from) else { return };
                let sessions = if 1 < read.n_readings {
                    // Another file is at the old path by now.
                    read.n_readings -= 1;
                    let sessions = read.sessions.clone();
                    for session in &sessions {
                        self.add(session);
                    }
                    sessions
                } else {
                    self.files.remove(from).unwrap_or_default().sessions
                };
                self.begin(to, sessions);
            }
            _ => {}
        }
    }

    /// Begins a file with these sessions, and with those of an earlier file at its path.
    fn begin(&mut self, file: &Arc<str>, sessions: BTreeSet<SessionId>) {
        let lost = self.lost.remove(file).map(|(_, sessions)| sessions);
        let read = self.files.entry(file.clone()).or_default();
        read.n_readings += 1;
        let added = sessions.into_iter().chain(lost.into_iter().flatten());
        let known: Vec<_> = added.filter_map(|session| read.sessions.replace(session)).collect();
        for session in &known {
            self.remove(session);
        }
    }

    /// Takes the sessions that are in no file any longer. Call it when all changes were read.
    pub(super) fn take_gone(&mut self, now: Duration) -> Vec<SessionId> {
        let is_due = |(_, (lost_at, _)): &(&Arc<str>, &(Duration, _))| *lost_at + REPLACED <= now;
        let due: Vec<_> = self.lost.iter().filter(is_due).map(|(file, _)| file.clone()).collect();
        let due: Vec<_> = due.iter().filter_map(|file| self.lost.remove(file)).collect();
        let sessions = due.into_iter().flat_map(|(_, sessions)| sessions);
        sessions.filter(|session| self.remove(session)).collect()
    }

    /// Returns the time until [`take_gone`](Self::take_gone) may return a session.
    pub(super) fn longest_wait(&self) -> Duration {
        if self.lost.is_empty() { Duration::MAX } else { REPLACED }
    }

    /// Adds a session to one more file.
    fn add(&mut self, session: &SessionId) {
        self.n_sessions += 1;
        *self.n_files.entry(session.clone()).or_default() += 1;
    }

    /// Removes a session from one file. Returns whether no other one has it.
    fn remove(&mut self, session: &SessionId) -> bool {
        let Some(n_files) = self.n_files.get_mut(session) else { return true };
        self.n_sessions -= 1;
        *n_files -= 1;
        let is_gone = *n_files == 0;
        if is_gone {
            self.n_files.remove(session);
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{EventKind, Timestamp, author::Origin};

    use super::*;

    const START: Duration = Duration::from_secs(1);

    /// The files of one folder.
    struct Folder(SessionFiles, tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let paths = FollowedPaths::new(&[folder.path().to_owned()]);
            Self(SessionFiles::new(paths), folder)
        }

        fn path(&self, file: &str) -> Arc<str> {
            self.1.path().join(file).to_str().unwrap().into()
        }

        fn read(&mut self, file: &str, session: &str) {
            let origin = Origin { source: "test", file: self.path(file), line: 1 };
            let mut event = Event::new(Timestamp::UNIX_EPOCH, session, EventKind::TurnEnd);
            event.origin = Some(origin);
            self.0.observe(&event);
        }

        fn begin(&mut self, file: &str) {
            let file = self.path(file);
            self.0.follow(&Update::Began { file, source: "test" }, START);
        }

        fn end(&mut self, file: &str, reason: EndReason) {
            let file = self.path(file);
            self.0.follow(&Update::Ended { file, reason }, START);
        }

        fn rename(&mut self, from: &str, to: &str) {
            let (from, to) = (self.path(from), self.path(to));
            self.0.follow(&Update::Moved { from, to }, START);
        }

        fn gone(&mut self) -> Vec<String> {
            assert!(self.0.take_gone(START).is_empty(), "they may return");
            let gone = self.0.take_gone(START + REPLACED);
            gone.iter().map(|session| session.as_str().to_owned()).collect()
        }
    }

    #[test]
    fn the_sessions_of_a_removed_file_are_gone_unless_another_file_has_them() {
        let mut folder = Folder::new();
        for (file, session) in [("a", "s1"), ("a", "s2"), ("b", "s2")] {
            if session != "s2" || file == "b" {
                folder.begin(file);
            }
            folder.read(file, session);
        }
        folder.end("a", EndReason::Gone);
        assert_eq!(folder.gone(), ["s1"]);
        folder.end("b", EndReason::Gone);
        assert_eq!(folder.gone(), ["s2"]);
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_sessions() {
        let mut folder = Folder::new();
        folder.begin("a");
        folder.read("a", "s1");
        folder.begin("a");
        folder.end("a", EndReason::Gone);
        folder.end("a", EndReason::Rewritten);
        folder.begin("a");
        folder.read("a", "s2");
        assert!(folder.gone().is_empty());
        folder.end("a", EndReason::Gone);
        folder.begin("a");
        assert!(folder.gone().is_empty(), "it was missing for a moment");
        folder.end("a", EndReason::Rewritten);
        assert_eq!(folder.gone(), ["s1", "s2"], "it is empty");
    }

    #[test]
    fn a_renamed_file_keeps_its_sessions_also_when_another_one_has_its_path() {
        let mut folder = Folder::new();
        folder.begin("a");
        folder.read("a", "s1");
        folder.rename("a", "b");
        folder.begin("a");
        folder.read("a", "s2");
        // The new file is found first.
        folder.begin("a");
        folder.read("a", "s3");
        folder.rename("a", "c");
        folder.end("a", EndReason::Gone);
        assert!(folder.gone().is_empty());
        folder.end("c", EndReason::Gone);
        folder.end("b", EndReason::Gone);
        assert_eq!(folder.gone(), ["s1", "s2", "s3"]);
    }

    #[test]
    fn the_sessions_of_a_compressed_file_are_not_gone() {
        let mut folder = Folder::new();
        folder.begin("a.jsonl");
        folder.read("a.jsonl", "s1");
        std::fs::write(folder.1.path().join("a.jsonl.zst"), "").unwrap();
        folder.end("a.jsonl", EndReason::Gone);
        assert!(folder.gone().is_empty());
        folder.begin("a.jsonl");
        folder.read("a.jsonl", "s1");
        std::fs::remove_file(folder.1.path().join("a.jsonl.zst")).unwrap();
        folder.end("a.jsonl", EndReason::Gone);
        assert_eq!(folder.gone(), ["s1"]);
    }

    #[test]
    fn a_folder_that_is_not_there_may_return() {
        let mut folder = Folder::new();
        folder.begin("a");
        folder.read("a", "s1");
        std::fs::remove_dir(folder.1.path()).unwrap();
        folder.end("a", EndReason::Gone);
        assert!(folder.gone().is_empty());
    }
}
