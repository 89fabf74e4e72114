use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use watchkeeper_core::{
    Fingerprint, Timestamp, author::make_safe, clock::Clock, embed::Durability,
};

use crate::{Cursors, DiskStorage, FileLedger, private_file};

/// The state of one `watch`: a folder that one process uses at a time.
///
/// ```text
/// lock                     held while a process uses the folder; contains its id
/// cursors                  the lines of session files that were handled
/// sink-NAME-HASH.ledger    the findings of one sink
/// ```
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

/// A state folder cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process uses the folder.
    #[error("process {process} uses the state in `{path}`", path = shown(path))]
    #[non_exhaustive]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The id of the process, or `?`.
        process: String,
    },
    /// Other users could change the folder.
    #[error("other users can write to `{path}`; run `chmod go-w` on it, or use another folder", path = shown(path))]
    #[non_exhaustive]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// A file or a folder cannot be read or written.
    #[error("cannot use `{path}`", path = shown(path))]
    #[non_exhaustive]
    Io {
        /// The file or the folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

fn shown(path: &Path) -> String {
    make_safe(&path.display().to_string())
}

impl StateError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl StateFolder {
    /// Creates or opens a folder inside `base`, and locks it. `name` identifies the use, such
    /// as the followed paths: two processes with different names use different folders.
    pub fn open(base: &Path, name: &str) -> Result<Self, StateError> {
        let path = base.join(format!("watch-{}", Fingerprint::of(name)));
        private_file::create_private_folder(&path).map_err(StateError::io(&path))?;
        for folder in [base, &path] {
            let metadata = fs::metadata(folder).map_err(StateError::io(folder))?;
            if private_file::is_open_to_others(&metadata) {
                return Err(StateError::NotPrivate { path: folder.to_owned() });
            }
        }
        let lock_path = path.join("lock");
        let mut lock = private_file::options()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(StateError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Without the id the message is as true.
                let _ = lock.take(20).read_to_string(&mut process);
                let is_id = !process.is_empty() && process.bytes().all(|it| it.is_ascii_digit());
                let process = if is_id { process } else { "?".to_owned() };
                return Err(StateError::InUse { path, process });
            }
            Err(TryLockError::Error(err)) => return Err(StateError::io(&lock_path)(err)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
        // A full disk: the lock holds without the id.
        drop(written);
        Ok(Self { path, _lock: lock })
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the ledger of a sink.
    pub fn ledger(
        &self,
        sink: &str,
        clock: Arc<dyn Clock>,
        durability: Durability,
    ) -> Result<FileLedger<DiskStorage>, StateError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let plain: String = sink.chars().filter(|c| is_plain(*c)).take(32).collect();
        // Names that differ in other characters have different files.
        let path = self.path.join(format!("sink-{plain}-{}.ledger", Fingerprint::of(sink)));
        let storage = DiskStorage::open(&path).map_err(StateError::io(&path))?;
        FileLedger::open(storage, clock, durability).map_err(StateError::io(&path))
    }

    /// Opens the cursors of the session files; see [`Cursors::open`].
    pub fn cursors(
        &self,
        clock: &dyn Clock,
        worked_until: Option<Timestamp>,
    ) -> Result<Cursors<DiskStorage>, StateError> {
        let path = self.path.join("cursors");
        let storage = DiskStorage::open(&path).map_err(StateError::io(&path))?;
        Cursors::open(storage, clock, worked_until).map_err(StateError::io(&path))
    }
}
