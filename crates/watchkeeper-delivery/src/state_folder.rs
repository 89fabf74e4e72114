use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use watchkeeper_core::{
    Fingerprint, Timestamp, author::make_safe, clock::Clock, embed::Durability,
};

use crate::{
    Cursors, DiskStorage, FileLedger, private_file,
    record_file::{Header, NewBody, RecordFile},
};

const SINKS: Header = Header { name: *b"wksinks\0", version: 1 };
/// The largest number of sinks that are known.
const MAX_SINKS: usize = 1 << 12;

/// The state of one `watch`: a folder that one process uses at a time.
///
/// ```text
/// lock                     held while a process uses the folder; contains its id
/// cursors                  the lines of session files that were handled
/// sinks                    the hashes of the names of sinks that have had a ledger
/// sink-NAME-HASH.ledger    the findings of one sink
/// ```
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    known_sinks: KnownSinks,
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
        if path.is_symlink() {
            return Err(StateError::io(&path)(private_file::is_link()));
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|it| !it.exists()).collect();
        private_file::create_private_folder(&path).map_err(StateError::io(&path))?;
        for parent in missing.into_iter().filter_map(Path::parent) {
            // A folder that this user cannot read is synced by the system some seconds later.
            let _ = private_file::sync_folder(parent);
        }
        for folder in [base, &path] {
            let metadata = fs::metadata(folder).map_err(StateError::io(folder))?;
            if private_file::is_open_to_others(&metadata) {
                return Err(StateError::NotPrivate { path: folder.to_owned() });
            }
        }
        let lock_path = path.join("lock");
        let mut lock =
            private_file::create_private_file(&lock_path).map_err(StateError::io(&lock_path))?;
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
        let sinks_path = path.join("sinks");
        let known_sinks = DiskStorage::open(&sinks_path).and_then(KnownSinks::open);
        let known_sinks = known_sinks.map_err(StateError::io(&sinks_path))?;
        Ok(Self { path, known_sinks, _lock: lock })
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the ledger of a sink.
    pub fn ledger(
        &mut self,
        sink: &str,
        clock: Arc<dyn Clock>,
        durability: Durability,
    ) -> Result<FileLedger<DiskStorage>, StateError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let plain: String = sink.chars().filter(|c| is_plain(*c)).take(32).collect();
        // Names that differ in other characters have different files.
        let path = self.path.join(format!("sink-{plain}-{}.ledger", Fingerprint::of(sink)));
        let is_new = fs::metadata(&path).map_or(0, |it| it.len()) == 0;
        let storage = DiskStorage::open(&path).map_err(StateError::io(&path))?;
        let ledger = FileLedger::open(storage, clock, durability);
        let ledger = ledger.map_err(StateError::io(&path))?;
        let was_known = self.known_sinks.add(sink, durability);
        Ok(if is_new && was_known { ledger.after_loss() } else { ledger })
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

/// The sinks that have had a ledger, which may be lost.
#[derive(Debug)]
struct KnownSinks {
    file: RecordFile<DiskStorage>,
    /// Hashes of the names.
    names: BTreeSet<Fingerprint>,
}

impl KnownSinks {
    fn open(storage: DiskStorage) -> io::Result<Self> {
        let mut names = BTreeSet::new();
        let mut file = RecordFile::open(storage, SINKS, |_, body| {
            let name = body.try_into().ok().map(u64::from_le_bytes);
            names.extend(name.map(Fingerprint::from));
            name.is_some()
        })?;
        if file.has_damaged_header() {
            let bodies = names.iter().map(|name| NewBody::Bytes(name.get().to_le_bytes().to_vec()));
            file.replace(bodies)?;
        }
        Ok(Self { file, names })
    }

    /// Adds a sink. Returns whether it was known.
    fn add(&mut self, sink: &str, durability: Durability) -> bool {
        let name = Fingerprint::of(sink);
        if self.names.contains(&name) || self.names.len() == MAX_SINKS {
            return self.names.contains(&name);
        }
        self.names.insert(name);
        // Without it, a loss of the ledger is not noticed.
        let _ = self.file.append_or_keep(&name.get().to_le_bytes());
        if durability == Durability::Power {
            let _ = self.file.sync();
        }
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        error::Error as _,
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
        sync::Arc,
    };

    use watchkeeper_core::{clock::SystemClock, embed::Durability};

    use super::StateFolder;

    #[test]
    fn links_and_files_of_others_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let open = || {
            let mut folder = StateFolder::open(base.path(), "name")?;
            let ledger = folder.ledger("sink", Arc::new(SystemClock), Durability::Process);
            ledger.map(|_| folder.path().to_owned())
        };
        let cause = || open().unwrap_err().source().unwrap().to_string();
        let folder = open().unwrap();
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, moved) = (entry.path(), base.path().join("moved"));
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
            assert!(cause().starts_with("other users can write to it"), "{entry:?}");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            fs::rename(&path, &moved).unwrap();
            symlink(&moved, &path).unwrap();
            assert_eq!(cause(), "it is a symbolic link; remove it", "{entry:?}");
            fs::rename(&moved, &path).unwrap();
        }
        let moved = base.path().join("moved");
        fs::rename(&folder, &moved).unwrap();
        symlink(&moved, &folder).unwrap();
        assert_eq!(cause(), "it is a symbolic link; remove it");
    }
}
