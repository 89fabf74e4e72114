//! Where the follower waits: for files to change, and for being woken.

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

/// How many changed paths are kept for a follower that is busy. With more than
/// these it looks at everything.
const MAX_CHANGES: usize = 4096;

/// Makes a [`Follower`](crate::Follower) that waits return at once.
#[derive(Clone)]
pub struct Waker(Arc<Bell>);

impl Waker {
    /// Wakes the follower: a [`step`](crate::Follower::step) that waits, or
    /// reads, returns soon. If none does, the next one will not wait.
    pub fn wake(&self) {
        self.0.ring(|changes| changes.is_woken = true);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// What happened since the follower last asked.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Where something changed.
    pub(super) paths: BTreeSet<PathBuf>,
    /// More changed than is known.
    pub(super) is_incomplete: bool,
    /// Somebody woke the follower.
    pub(super) is_woken: bool,
}

impl Changes {
    fn is_any(&self) -> bool {
        self.is_woken || self.is_incomplete || !self.paths.is_empty()
    }
}

#[derive(Debug, Default)]
pub(super) struct Bell {
    changes: Mutex<Changes>,
    rung: Condvar,
}

impl Bell {
    /// Takes what changed; waits for it if nothing did.
    pub(super) fn wait(&self, at_most: Duration) -> Changes {
        let changes = self.lock();
        let (mut changes, _) = self
            .rung
            .wait_timeout_while(changes, at_most, |it| !it.is_any())
            .unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut changes)
    }

    pub(super) fn is_woken(&self) -> bool {
        self.lock().is_woken
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker(Arc::clone(self))
    }

    fn ring(&self, change: impl FnOnce(&mut Changes)) {
        change(&mut self.lock());
        self.rung.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        // Nothing that panics is done under the lock.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<Event>) {
        match event {
            // Our own reading is an access, too.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) if !event.need_rescan() => self.ring(|changes| {
                changes.paths.extend(event.paths);
                if MAX_CHANGES < changes.paths.len() {
                    changes.paths.clear();
                    changes.is_incomplete = true;
                }
            }),
            Ok(_) | Err(_) => self.ring(|changes| changes.is_incomplete = true),
        }
    }
}

/// The system's own watch over folders.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Whether a watch over a folder is one over all that is in it.
    is_recursive: bool,
    /// Folders by the name that the system uses, where that is another one.
    renamed: Vec<(PathBuf, PathBuf)>,
}

impl Watch {
    pub(super) fn new(bell: &Arc<Bell>) -> notify::Result<Self> {
        let bell = Arc::clone(bell);
        let watcher = RecommendedWatcher::new(move |event| bell.hear(event), Config::default())?;
        // Inotify knows single folders only. To watch each as it is listed
        // leaves no gap in which a file can appear unseen.
        let is_recursive = RecommendedWatcher::kind() != WatcherKind::Inotify;
        Ok(Self { watcher, is_recursive, renamed: Vec::new() })
    }

    /// Watches what appears in a folder, and no deeper.
    pub(super) fn add_shallow(&mut self, folder: &Path) -> notify::Result<()> {
        self.learn_name(folder);
        self.watcher.watch(folder, RecursiveMode::NonRecursive)
    }

    /// Watches a folder, which may be one of the roots.
    pub(super) fn add(&mut self, folder: &Path, is_root: bool) -> notify::Result<()> {
        if !self.is_recursive {
            return self.watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        if !is_root {
            return Ok(());
        }
        self.learn_name(folder);
        self.watcher.watch(folder, RecursiveMode::Recursive)
    }

    fn learn_name(&mut self, folder: &Path) {
        if self.is_recursive
            && let Ok(canonical) = folder.canonicalize()
            && canonical != folder
            && self.renamed.iter().all(|(_, it)| it != folder)
        {
            self.renamed.push((canonical, folder.to_owned()));
        }
    }

    pub(super) fn remove(&mut self, folder: &Path) {
        // A folder that is gone has no watch to remove.
        let _ = self.watcher.unwatch(folder);
    }

    /// The path under which the follower knows what the system names `path`.
    pub(super) fn name(&self, path: PathBuf) -> PathBuf {
        let known = self.renamed.iter().find_map(|(canonical, folder)| {
            path.strip_prefix(canonical).ok().map(|rest| folder.join(rest))
        });
        known.unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use notify::{
        Event, EventKind,
        event::{AccessKind, CreateKind, Flag},
    };

    use super::{Bell, MAX_CHANGES};

    #[test]
    fn changes_are_kept_until_there_are_too_many() {
        let bell = Bell::default();
        let created = |n: usize| {
            Event::new(EventKind::Create(CreateKind::File)).add_path(n.to_string().into())
        };
        for n in 0..MAX_CHANGES {
            bell.hear(Ok(created(n)));
            bell.hear(Ok(created(0)));
        }
        let changes = bell.wait(Duration::ZERO);
        assert_eq!((changes.paths.len(), changes.is_incomplete), (MAX_CHANGES, false));
        for n in 0..=MAX_CHANGES {
            bell.hear(Ok(created(n)));
        }
        let changes = bell.wait(Duration::ZERO);
        assert_eq!((changes.paths.len(), changes.is_incomplete), (0, true));
        assert!(!bell.wait(Duration::ZERO).is_any());
    }

    #[test]
    fn what_the_system_lost_is_looked_for_and_what_we_do_is_not() {
        let bell = Bell::default();
        bell.hear(Ok(Event::new(EventKind::Access(AccessKind::Any)).add_path("a".into())));
        assert!(!bell.wait(Duration::ZERO).is_any());
        bell.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(bell.wait(Duration::ZERO).is_incomplete);
        bell.hear(Err(notify::Error::generic("trouble")));
        assert!(bell.wait(Duration::ZERO).is_incomplete);
    }
}
