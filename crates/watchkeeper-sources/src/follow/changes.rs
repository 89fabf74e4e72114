//! Waits for changes of files and for wake-ups.

use std::{
    collections::BTreeSet,
    fmt, mem,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, WatcherKind,
};

/// The largest number of changed paths that are kept for a busy follower. Beyond
/// this number the follower checks all folders.
const MAX_CHANGES: usize = 4096;

/// Makes a waiting [`Follower`](crate::Follower) return at once.
#[derive(Clone)]
pub struct Waker(Arc<ChangeNotifier>);

impl Waker {
    /// Wakes the follower. A [`step`](crate::Follower::step) that waits or reads
    /// returns soon. If no step is running, the next one does not wait.
    pub fn wake(&self) {
        self.0.notify(|changes| changes.is_woken = true);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// The changes since the previous [`ChangeNotifier::take`].
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The changed paths.
    pub(super) paths: BTreeSet<PathBuf>,
    /// Some changed paths are missing from `paths`.
    pub(super) is_incomplete: bool,
    /// A [`Waker`] was used.
    pub(super) is_woken: bool,
}

impl Changes {
    fn is_any(&self) -> bool {
        self.is_woken || self.is_incomplete || !self.paths.is_empty()
    }
}

/// Collects changes from the watcher thread and wakes the follower.
#[derive(Debug, Default)]
pub(super) struct ChangeNotifier {
    changes: Mutex<Changes>,
    has_changed: Condvar,
}

impl ChangeNotifier {
    /// Waits until there are changes or a wake-up.
    pub(super) fn wait(&self, timeout: Duration) {
        let changes = self.lock();
        let waited =
            self.has_changed.wait_timeout_while(changes, timeout, |changes| !changes.is_any());
        drop(waited);
    }

    /// Takes the collected changes.
    pub(super) fn take(&self) -> Changes {
        mem::take(&mut self.lock())
    }

    pub(super) fn is_woken(&self) -> bool {
        self.lock().is_woken
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker(Arc::clone(self))
    }

    fn notify(&self, change: impl FnOnce(&mut Changes)) {
        change(&mut self.lock());
        self.has_changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        // No code that can panic runs under the lock.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: notify::Result<Event>) {
        match event {
            // The reads of the follower itself are accesses, too.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) if !event.need_rescan() => self.notify(|changes| {
                changes.paths.extend(event.paths);
                if MAX_CHANGES < changes.paths.len() {
                    changes.paths.clear();
                    changes.is_incomplete = true;
                }
            }),
            Ok(_) | Err(_) => self.notify(|changes| changes.is_incomplete = true),
        }
    }
}

/// Watches folders with the notifications of the system.
#[derive(Debug)]
pub(super) struct FolderWatcher {
    watcher: RecommendedWatcher,
    /// Whether watching a folder includes its subfolders.
    is_recursive: bool,
    /// Pairs of canonical path and followed path, for watched folders whose paths
    /// differ.
    aliases: Vec<(PathBuf, PathBuf)>,
}

impl FolderWatcher {
    pub(super) fn new(notifier: &Arc<ChangeNotifier>) -> notify::Result<Self> {
        let notifier = Arc::clone(notifier);
        let watcher =
            RecommendedWatcher::new(move |event| notifier.on_event(event), Config::default())?;
        // Inotify watches single folders. Watching each folder just before it is
        // listed leaves no gap in which a new file is missed.
        let is_recursive = RecommendedWatcher::kind() != WatcherKind::Inotify;
        Ok(Self { watcher, is_recursive, aliases: Vec::new() })
    }

    /// Watches a folder without its subfolders.
    pub(super) fn add_shallow(&mut self, folder: &Path) -> notify::Result<()> {
        self.add_alias(folder);
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }

    /// Watches a followed folder.
    pub(super) fn add(&mut self, folder: &Path, is_root: bool) -> notify::Result<()> {
        if !self.is_recursive {
            return self.watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        if !is_root {
            return Ok(());
        }
        self.add_alias(folder);
        self.watcher.watch(folder, RecursiveMode::Recursive)
    }

    fn add_alias(&mut self, folder: &Path) {
        if self.is_recursive
            && let Ok(canonical) = folder.canonicalize()
            && canonical != folder
            && self.aliases.iter().all(|(_, followed)| followed != folder)
        {
            self.aliases.push((canonical, folder.to_owned()));
        }
    }

    pub(super) fn remove(&mut self, folder: &Path) {
        // A deleted folder has no watch to remove.
        let _ = self.watcher.unwatch(folder);
    }

    /// Returns the followed path for a `path` from the system.
    pub(super) fn followed_path(&self, path: PathBuf) -> PathBuf {
        let followed = self.aliases.iter().find_map(|(canonical, folder)| {
            path.strip_prefix(canonical).ok().map(|rest| folder.join(rest))
        });
        followed.unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use notify::{
        Event, EventKind,
        event::{AccessKind, CreateKind, Flag},
    };

    use super::{ChangeNotifier, MAX_CHANGES};

    #[test]
    fn keeps_changed_paths_up_to_a_maximum() {
        let notifier = ChangeNotifier::default();
        let created = |n: usize| {
            Event::new(EventKind::Create(CreateKind::File)).add_path(n.to_string().into())
        };
        for n in 0..MAX_CHANGES {
            notifier.on_event(Ok(created(n)));
            notifier.on_event(Ok(created(0)));
        }
        let changes = notifier.take();
        assert_eq!((changes.paths.len(), changes.is_incomplete), (MAX_CHANGES, false));
        for n in 0..=MAX_CHANGES {
            notifier.on_event(Ok(created(n)));
        }
        let changes = notifier.take();
        assert_eq!((changes.paths.len(), changes.is_incomplete), (0, true));
        assert!(!notifier.take().is_any());
    }

    #[test]
    fn reports_lost_events_and_ignores_reads() {
        let notifier = ChangeNotifier::default();
        notifier.on_event(Ok(Event::new(EventKind::Access(AccessKind::Any)).add_path("a".into())));
        assert!(!notifier.take().is_any());
        notifier.on_event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(notifier.take().is_incomplete);
        notifier.on_event(Err(notify::Error::generic("the watcher failed")));
        assert!(notifier.take().is_incomplete);
    }
}
