//! The files of hooks in the state folder.
//!
//! ```text
//! hooks/lock              held while a process decides
//! hooks/session-HASH      the memory of a session
//! hooks/checkpoint-HASH   the place from which a session file is read
//! hooks/called-CLIENT     the time at which the client called last
//! hooks/actions.jsonl     the actions, as findings; actions.1.jsonl has the earlier ones
//! hooks/watch/PID         the socket of a running `watch`
//! hooks/log               the troubles of hooks; log.1 has the earlier ones
//! ```

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use watchkeeper_core::{Finding, Fingerprint, Timestamp};
use watchkeeper_delivery::{
    append_private_file, create_new_private_file, create_private_file, create_private_folder,
    open_private_file,
};

use super::client::Client;

/// The sessions whose files are kept. Of more, the least recently used ones are removed.
const MAX_SESSIONS: usize = 512;
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The largest length of a time, in bytes.
const MAX_TIME: u64 = 64;
/// The size from which a list is continued in a new file, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// The folder of hooks.
#[derive(Clone, Debug)]
pub(crate) struct HookFolder(PathBuf);

/// The sort of a file of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sort {
    Memory,
    Checkpoint,
}

impl HookFolder {
    /// Returns the folder in a state folder. Creates nothing.
    pub(crate) fn of(state: &Path) -> Self {
        Self(state.join("hooks"))
    }

    /// Returns the folder of the sockets of each running `watch`.
    #[cfg(unix)]
    pub(crate) fn sockets(&self) -> PathBuf {
        self.0.join("watch")
    }

    /// Creates the folder if it is missing, and waits until no other process holds its lock.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let lock = self.open_lock()?;
        lock.lock()?;
        Ok(lock)
    }

    fn open_lock(&self) -> io::Result<File> {
        create_private_folder(&self.0)?;
        create_private_file(&self.0.join("lock"))
    }

    fn path(&self, sort: Sort, key: Fingerprint) -> PathBuf {
        let name = match sort {
            Sort::Memory => "session",
            Sort::Checkpoint => "checkpoint",
        };
        self.0.join(format!("{name}-{key}"))
    }

    /// Reads a file. `None` if there is none, or if it is damaged.
    pub(crate) fn read<T: DeserializeOwned>(&self, sort: Sort, key: Fingerprint) -> Option<T> {
        let file = open_private_file(&self.path(sort, key)).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces a file at once. A reader sees the former content or the new one.
    pub(crate) fn write<T: Serialize>(
        &self,
        sort: Sort,
        key: Fingerprint,
        content: &T,
    ) -> io::Result<()> {
        self.prepare(sort, key, content)?.replace()
    }

    /// Writes the new content of a file beside it.
    pub(crate) fn prepare<T: Serialize>(
        &self,
        sort: Sort,
        key: Fingerprint,
        content: &T,
    ) -> io::Result<Prepared> {
        create_private_folder(&self.0)?;
        let path = self.path(sort, key);
        if !path.exists() {
            self.make_room();
        }
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = create_new_private_file(&new)?;
        let prepared = Prepared { new, path };
        file.write_all(&serde_json::to_vec(content)?)?;
        Ok(prepared)
    }

    /// Removes the files of the sessions that were not used for longest.
    fn make_room(&self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let is_of_session = |name: &str| name.starts_with("session-") || name.starts_with("check");
        let mut files: Vec<_> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_of_session))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        if files.len() < 2 * MAX_SESSIONS {
            return;
        }
        files.sort();
        for (_, path) in &files[..files.len() / 2] {
            let _ = fs::remove_file(path);
        }
    }

    /// Returns the time at which a client called last; `None` if it has not, or the time cannot be
    /// read.
    pub(crate) fn called_at(&self, client: Client) -> Option<Timestamp> {
        let mut text = String::new();
        let file = open_private_file(&self.called(client)).ok()?;
        file.take(MAX_TIME).read_to_string(&mut text).ok()?;
        text.parse().ok()
    }

    /// Stores the time at which a client called last.
    pub(crate) fn set_called_at(&self, client: Client, at: Timestamp) -> io::Result<()> {
        create_private_folder(&self.0)?;
        // All times have the same length, so that none remains in part.
        create_private_file(&self.called(client))?.write_all(format!("{at:.3}").as_bytes())
    }

    fn called(&self, client: Client) -> PathBuf {
        self.0.join(format!("called-{}", client.name()))
    }

    /// Adds an action to the ledger. Needs the lock.
    pub(crate) fn add_action(&self, action: &Finding) -> io::Result<()> {
        let line = serde_json::to_string(action)?;
        self.limit("actions.jsonl", "actions.1.jsonl")?;
        self.append("actions.jsonl", &line)
    }

    /// Adds a trouble to the log. Does not wait for other processes.
    pub(crate) fn log(&self, line: &str) -> io::Result<()> {
        let lock = self.open_lock()?;
        // If another process holds the lock, a later trouble continues in a new file.
        if lock.try_lock().is_ok() {
            self.limit("log", "log.1")?;
        }
        self.append("log", line)
    }

    /// Moves a list that is too long to the name of the earlier ones. Needs the lock.
    fn limit(&self, name: &str, earlier: &str) -> io::Result<()> {
        let path = self.0.join(name);
        if fs::metadata(&path).is_ok_and(|metadata| MAX_LIST < metadata.len()) {
            match fs::rename(&path, self.0.join(earlier)) {
                Err(err) if err.kind() != ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }

    fn append(&self, name: &str, line: &str) -> io::Result<()> {
        let mut file = append_private_file(&self.0.join(name))?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// The new content of a file, which was written beside it. Without [`Self::replace`], it is
/// removed.
#[derive(Debug)]
pub(crate) struct Prepared {
    new: PathBuf,
    path: PathBuf,
}

impl Prepared {
    /// Replaces the file at once.
    pub(crate) fn replace(self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Has no effect after the file was replaced.
        let _ = fs::remove_file(&self.new);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use watchkeeper_core::{Finding, Fingerprint, Severity, Timestamp};

    use super::{Client, HookFolder, MAX_LIST, MAX_SESSIONS, Sort};

    #[test]
    fn the_number_of_files_and_their_size_are_bounded() {
        let state = tempfile::tempdir().unwrap();
        let folder = HookFolder::of(state.path());
        let _lock = folder.lock().unwrap();
        for key in 0..2 * MAX_SESSIONS as u64 + 8 {
            folder.write(Sort::Memory, Fingerprint::from(key), &key).unwrap();
        }
        let n_files = fs::read_dir(&folder.0).unwrap().count();
        assert!(n_files < 2 * MAX_SESSIONS, "{n_files}");
        let last = 2 * MAX_SESSIONS as u64 + 7;
        let read = folder.read::<u64>(Sort::Memory, Fingerprint::from(last));
        assert_eq!(read, Some(last));

        let message = "x".repeat(100 << 10);
        let action = Finding::new(Timestamp::UNIX_EPOCH, "d", "s", Severity::Low, message);
        for _ in 0..30 {
            folder.add_action(&action).unwrap();
        }
        let size = |name: &str| fs::metadata(folder.0.join(name)).unwrap().len();
        assert!(size("actions.jsonl").max(size("actions.1.jsonl")) < MAX_LIST + (200 << 10));
    }

    #[test]
    fn the_time_of_the_last_call_is_kept_for_each_client() {
        let state = tempfile::tempdir().unwrap();
        let folder = HookFolder::of(state.path());
        assert_eq!(folder.called_at(Client::Codex), None);
        for millis in [1_500, 2_000] {
            let at = Timestamp::from_millisecond(millis).unwrap();
            folder.set_called_at(Client::Codex, at).unwrap();
            assert_eq!(folder.called_at(Client::Codex), Some(at));
        }
        assert_eq!(folder.called_at(Client::Cursor), None);
    }

    #[test]
    fn a_damaged_file_is_none() {
        let state = tempfile::tempdir().unwrap();
        let folder = HookFolder::of(state.path());
        folder.write(Sort::Checkpoint, Fingerprint::NONE, &"text").unwrap();
        assert_eq!(folder.read::<u64>(Sort::Checkpoint, Fingerprint::NONE), None);
        assert_eq!(folder.read::<u64>(Sort::Memory, Fingerprint::NONE), None);
    }
}
