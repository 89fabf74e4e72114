//! Notices that files have changed: those of a policy, and the silences.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use watchkeeper_core::clock::Deadline;

/// The times after which a change is complete.
#[derive(Clone, Copy)]
struct Pauses {
    /// The time without a further change: editors write a file in several steps.
    settled: Duration,
    /// The time since the first change, for a file that changes all the time.
    longest: Duration,
}

const PAUSES: Pauses =
    Pauses { settled: Duration::from_millis(250), longest: Duration::from_secs(5) };
/// The time between two looks at the files where the system reports no changes.
const POLL: Duration = Duration::from_secs(5);
/// The same where the system does: a folder above may become another one, through a link.
const POLL_WATCHED: Duration = Duration::from_secs(60);

/// A thread that watches files, until it is dropped.
pub(crate) struct FileWatcher {
    messages: Sender<Message>,
}

enum Message {
    /// Something has changed in a folder of the files.
    Changed,
    /// Watch these files from now on.
    Files(Stamps),
    End,
}

/// The properties of a file that change when it is written or replaced, or when a symbolic link
/// to it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    real_path: PathBuf,
    modified: Option<SystemTime>,
    len: u64,
    /// Distinguishes files of the same length and time.
    inode: u64,
    /// The time of the last change of the file or of its properties, which programs cannot set.
    changed: (i64, i64),
}

/// A change that may not be complete.
struct Unsettled {
    changed: Stamps,
    /// The time until which there must be no other change.
    pause: Deadline,
    /// The time at which the change counts as complete in any case.
    limit: Deadline,
}

impl Unsettled {
    fn remaining(&self) -> Duration {
        self.pause.remaining().min(self.limit.remaining())
    }
}

/// The watched files; `None` for one that cannot be read.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

impl FileWatcher {
    /// Starts to watch files. `on_change` is called for changes after this call, once no other
    /// one has followed for a moment, and at the latest after some seconds.
    pub(crate) fn start(files: Vec<PathBuf>, on_change: impl Fn() + Send + 'static) -> Self {
        Self::with_pauses(PAUSES, files, on_change)
    }

    fn with_pauses(
        pauses: Pauses,
        files: Vec<PathBuf>,
        on_change: impl Fn() + Send + 'static,
    ) -> Self {
        let (messages, inbox) = mpsc::channel();
        let (changes, known) = (messages.clone(), stamps(files));
        // Without the thread, SIGHUP still loads the policy again.
        let _ = thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || watch(pauses, known, &inbox, &changes, &on_change));
        Self { messages }
    }

    /// Watches other files from now on.
    pub(crate) fn set_files(&self, files: Vec<PathBuf>) {
        let _ = self.messages.send(Message::Files(stamps(files)));
    }
}

impl Drop for FileWatcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
    }
}

fn watch(
    pauses: Pauses,
    mut known: Stamps,
    inbox: &Receiver<Message>,
    changes: &Sender<Message>,
    on_change: &dyn Fn(),
) {
    let mut folders = watch_folders(&known, changes);
    let mut unsettled: Option<Unsettled> = None;
    loop {
        let latest = stamps(known.keys().cloned());
        unsettled = match unsettled {
            _ if latest == known => None,
            Some(unsettled) if unsettled.changed == latest => Some(unsettled),
            earlier => Some(Unsettled {
                changed: latest,
                pause: Deadline::after(pauses.settled),
                limit: earlier.map_or_else(|| Deadline::after(pauses.longest), |it| it.limit),
            }),
        };
        if let Some(complete) = unsettled.take_if(|it| it.remaining().is_zero()) {
            known = complete.changed;
            folders = watch_folders(&known, changes);
            on_change();
        }
        let timeout = match &unsettled {
            Some(unsettled) => unsettled.remaining(),
            None if folders.is_none() => POLL,
            None => POLL_WATCHED,
        };
        match receive(inbox, timeout) {
            Message::Changed => {}
            Message::Files(next) => {
                // A file that stays may have changed since it was read.
                let earlier = |path: &PathBuf| known.get(path).cloned();
                let next = next.into_iter().map(|(path, stamp)| {
                    let stamp = earlier(&path).unwrap_or(stamp);
                    (path, stamp)
                });
                known = next.collect();
                folders = watch_folders(&known, changes);
            }
            Message::End => return,
        }
    }
}

fn receive(inbox: &Receiver<Message>, timeout: Duration) -> Message {
    match inbox.recv_timeout(timeout) {
        Ok(message) => message,
        Err(RecvTimeoutError::Timeout) => Message::Changed,
        Err(RecvTimeoutError::Disconnected) => Message::End,
    }
}

fn stamps(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    let stamp = |path: &Path| {
        let real_path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&real_path).ok()?;
        Some(Stamp {
            real_path,
            modified: metadata.modified().ok(),
            len: metadata.len(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}

/// Watches the folders of files, and those of the files that symbolic links name. Returns `None`
/// if the system cannot report their changes.
fn watch_folders(files: &Stamps, changes: &Sender<Message>) -> Option<RecommendedWatcher> {
    let changes = changes.clone();
    let mut watcher = notify::recommended_watcher(move |_| {
        let _ = changes.send(Message::Changed);
    })
    .ok()?;
    for (path, stamp) in files {
        let real_path = stamp.as_ref().map(|stamp| &stamp.real_path);
        for file in [Some(path), real_path].into_iter().flatten() {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
        }
    }
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use super::{FileWatcher, Pauses};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn notices_files_that_are_written_replaced_and_linked() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.toml"), "1").unwrap();
        let (sender, changes) = mpsc::channel();
        let watcher = FileWatcher::start(vec![path("a.toml")], move || {
            let _ = sender.send(());
        });
        let next = || changes.recv_timeout(LONG).expect("a change is noticed");
        watcher.set_files(vec![path("a.toml"), path("missing.toml")]);
        fs::write(path("missing.toml"), "1").unwrap();
        next();
        fs::write(path("other.toml"), "22").unwrap();
        fs::rename(path("other.toml"), path("a.toml")).unwrap();
        next();
        // A folder of versions and a link to the present one, as Kubernetes mounts them.
        fs::create_dir_all(path("v1")).unwrap();
        fs::create_dir_all(path("v2")).unwrap();
        fs::write(path("v1/p.toml"), "1").unwrap();
        fs::write(path("v2/p.toml"), "1").unwrap();
        std::os::unix::fs::symlink("v1", path("data")).unwrap();
        std::os::unix::fs::symlink("data/p.toml", path("p.toml")).unwrap();
        watcher.set_files(vec![path("p.toml"), path("gone.toml")]);
        fs::write(path("gone.toml"), "1").unwrap();
        next();
        std::os::unix::fs::symlink("v2", path("next")).unwrap();
        fs::rename(path("next"), path("data")).unwrap();
        next();
    }

    #[test]
    fn notices_a_file_of_the_same_length_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "1").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let (sender, changes) = mpsc::channel();
        let _watcher = FileWatcher::start(vec![path.clone()], move || {
            let _ = sender.send(());
        });
        let next = folder.path().join("next");
        fs::write(&next, "2").unwrap();
        fs::File::open(&next).unwrap().set_modified(modified).unwrap();
        fs::rename(&next, &path).unwrap();
        changes.recv_timeout(LONG).expect("a change is noticed");
    }

    #[test]
    fn a_change_counts_although_others_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let (sender, changes) = mpsc::channel();
        // Every moment is one in which another change may follow.
        let pauses = Pauses { settled: LONG * 60, longest: Duration::ZERO };
        let _watcher = FileWatcher::with_pauses(pauses, vec![path.clone()], move || {
            let _ = sender.send(());
        });
        fs::write(&path, "1").unwrap();
        changes.recv_timeout(LONG).expect("the change is complete");
    }
}
