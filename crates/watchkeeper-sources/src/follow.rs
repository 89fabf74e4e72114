//! Follows session files as they grow, and folders as files appear in them.

mod arrival;
mod changes;
mod folders;
mod log;
mod open_files;
mod platform;
mod read;
mod reading;
mod stamp;
mod tracked;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    fs::{self, Metadata},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, trace};
use watchkeeper_core::{
    SignedDuration, Timestamp,
    author::{SkippedLines, make_safe},
    embed::SourceEntry,
};

use self::{
    arrival::{Arrival, TOLERANCE},
    changes::{ChangeNotifier, FolderWatcher},
    folders::Folders,
    log::TARGET,
    open_files::OpenFiles,
    reading::Shared,
    tracked::{State, Tracked, UnsupportedFiles},
};
pub use self::{
    changes::Waker,
    update::{EndReason, FollowNotice, Update},
};
pub(crate) use self::{
    log::safe,
    platform::{Identity, open, owner},
    stamp::Stamp,
};
use crate::file_source::is_session_name;

/// The largest number of files, read or not.
const MAX_FILES: usize = 1 << 18;
/// The time after a change during which a file is checked often.
const HOT: SignedDuration = SignedDuration::from_secs(60);
/// The interval between checks of recently changed files, with notifications by the
/// system.
const CHECK_WATCHED: SignedDuration = SignedDuration::from_secs(2);
/// The interval between checks of recently changed files, without notifications.
const CHECK_POLLED: SignedDuration = SignedDuration::from_millis(250);
/// The time without a change after which a source may take a turn for ended.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The shortest interval between two walks that changes requested.
const WALK_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// Options of a [`Follower`].
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// The kind of source of all files. With `None`, each file is recognized by its
    /// content.
    pub kind: Option<&'static SourceEntry>,
    /// The maximum age of the last change of a file that is read when it is first
    /// found.
    ///
    /// An older file in a folder is read when it changes. Both are read from the beginning: a
    /// loop may have started there, and only the whole session has the totals that
    /// the agent itself shows. The events have the times of the file.
    pub recent: SignedDuration,
    /// The longest interval between two walks through all folders: the maximum
    /// delay of a change without a notification by the system.
    pub rescan: SignedDuration,
    /// Check the files at intervals instead of using notifications of the system.
    pub poll_only: bool,
}

impl Default for FollowOptions {
    /// Any kind, one hour, ten seconds, with notifications.
    fn default() -> Self {
        Self {
            kind: None,
            recent: SignedDuration::from_hours(1),
            rescan: SignedDuration::from_secs(10),
            poll_only: false,
        }
    }
}

/// Counts of a [`Follower`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowReport {
    /// Folders that are followed.
    pub n_folders: usize,
    /// Session files that are being read.
    pub n_followed: usize,
    /// Files that are not read until they change.
    pub n_dormant: usize,
    /// Files that no source recognizes, or not yet, without those of `unsupported`.
    pub n_unrecognized: usize,
    /// The number of session files of each agent without a source.
    pub unsupported: BTreeMap<&'static str, usize>,
    /// Files and folders that cannot be read.
    pub n_unreadable: usize,
    /// Files whose source panicked.
    pub n_failed: usize,
    /// Truncations and rewrites of files.
    pub n_rewritten: u64,
    /// Lines, including skipped ones.
    pub n_lines: u64,
    /// Bytes in those lines.
    pub n_bytes: u64,
    /// Skipped lines and parts of lines, by reason.
    pub skipped_lines: SkippedLines,
}

/// Follows session files and folders of session files.
///
/// # Guarantees
///
/// * Each line is read once and in order, after its line break has arrived. A
///   renamed file continues at its position. A truncated or rewritten file is read
///   from the beginning. A file whose agent
///   [rewrites it](watchkeeper_core::SourceKind::IS_REWRITTEN) is read from the
///   beginning after each change, and its last line needs no line break.
/// * New files and folders are found at any depth, also behind symbolic links. A
///   file with several paths is followed once. A file in a folder needs a
///   [session name](crate::is_session_name) to be found, and keeps being followed
///   under any name.
/// * At most 64 files are open at a time. Unfinished lines are not kept in memory.
///   A FIFO, a device or a folder at the path of a file is skipped.
/// * Lines that are added to a file that was read to its end are new, also if the clock of
///   their agent is slow: events that are dated much earlier than the previous step are
///   moved to it, together with the others of the same lines. So are the events of a file
///   that has just been created.
/// * Half a minute after the last change of a file,
///   [`Source::pause`](watchkeeper_core::Source::pause) is called.
/// * An error of one file is reported as an [`Update`] and does not affect others.
///
/// A thread calls [`step`](Self::step) repeatedly. Notifications of the system
/// identify changed files. Without notifications, files that changed in the last
/// minute are checked four times a second, and others at every walk.
pub struct Follower {
    roots: Vec<PathBuf>,
    kinds: Vec<&'static SourceEntry>,
    options: FollowOptions,
    notifier: Arc<ChangeNotifier>,
    watcher: Option<FolderWatcher>,
    folders: Folders,
    files: BTreeMap<Identity, Tracked>,
    paths: HashMap<Arc<Path>, Identity>,
    open: OpenFiles,
    shared: Shared,
    /// Files to read.
    queue: VecDeque<Identity>,
    /// Recently changed files.
    hot: BTreeSet<Identity>,
    notices: Vec<FollowNotice>,
    is_full: bool,
    n_rewritten: u64,
    /// The number of the latest walk.
    walk: u64,
    wants_walk: bool,
    walked_at: Option<Timestamp>,
    checked_at: Option<Timestamp>,
    /// The time of the current step, or of the latest one.
    step_at: Timestamp,
    /// Lines that the current step finds were added after this time; `None` in the first
    /// step.
    added_since: Option<Timestamp>,
    unsupported: UnsupportedFiles,
}

impl Follower {
    /// Creates a follower of files and folders, which need not exist yet.
    ///
    /// The source of a file is the first kind that recognizes it. Nothing is read
    /// before the first step.
    pub fn new(
        paths: Vec<PathBuf>,
        kinds: impl IntoIterator<Item = &'static SourceEntry>,
        options: FollowOptions,
    ) -> Self {
        let notifier = Arc::<ChangeNotifier>::default();
        let mut notices = Vec::new();
        let watcher = if options.poll_only {
            None
        } else {
            let watcher = FolderWatcher::new(&notifier);
            watcher.inspect_err(|error| notices.push(FollowNotice::not_watched(error))).ok()
        };
        Self {
            roots: paths.into_iter().map(absolute).collect(),
            kinds: kinds.into_iter().collect(),
            options,
            notifier,
            watcher,
            folders: Folders::default(),
            files: BTreeMap::new(),
            paths: HashMap::new(),
            open: OpenFiles::default(),
            shared: Shared::default(),
            queue: VecDeque::new(),
            hot: BTreeSet::new(),
            notices,
            is_full: false,
            n_rewritten: 0,
            walk: 0,
            wants_walk: false,
            walked_at: None,
            checked_at: None,
            step_at: Timestamp::MAX,
            added_since: None,
            unsupported: UnsupportedFiles::default(),
        }
    }

    /// Returns whether every known change was read.
    pub fn is_caught_up(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns a handle that makes a step return at once, from any thread.
    pub fn waker(&self) -> Waker {
        self.notifier.waker()
    }

    /// Returns whether the system notifies the follower of changes. Without
    /// notifications, changes are found later and at a higher cost.
    pub fn is_watched(&self) -> bool {
        self.watcher.is_some()
    }

    /// Returns the current counts.
    pub fn report(&self) -> FollowReport {
        let mut report = FollowReport {
            n_folders: self.folders.len(),
            n_unreadable: self.folders.n_unreadable(),
            n_rewritten: self.n_rewritten,
            n_lines: self.shared.n_lines,
            n_bytes: self.shared.n_bytes,
            skipped_lines: self.shared.skipped_lines.clone(),
            unsupported: self.unsupported.counts(),
            ..FollowReport::default()
        };
        for file in self.files.values() {
            report.n_unreadable += usize::from(file.is_unreadable);
            *match (&file.state, file.agent) {
                (State::Dormant, _) => &mut report.n_dormant,
                (State::Unrecognized(_) | State::Unknown(_), Some(agent)) => {
                    report.unsupported.entry(agent).or_default()
                }
                (State::Unrecognized(_) | State::Unknown(_), None) => &mut report.n_unrecognized,
                (State::Reading(_), _) => &mut report.n_followed,
                (State::Failed, _) => &mut report.n_failed,
            } += 1;
        }
        report
    }

    /// Does the checks that are due at `now`, waits for changes for at most `wait`,
    /// and passes the added events to `out`.
    ///
    /// Returns early after a change, when a check is due, and after a wake-up. A
    /// file that grows fast is read a few megabytes at a time, so that other files
    /// are not delayed.
    pub fn step(&mut self, now: Timestamp, wait: Duration, out: &mut dyn FnMut(Update)) {
        self.begin_step(now);
        if self.is_walk_due(now) {
            self.walk(now, out);
        } else if self
            .check_interval()
            .is_some_and(|interval| has_passed(interval, self.checked_at, now))
        {
            self.check_hot(now, out);
        }
        let wait =
            if self.queue.is_empty() { wait.min(self.idle_for(now)) } else { Duration::ZERO };
        if self.take_changes(now, wait) {
            return;
        }
        let n_queued = self.queue.len();
        for _ in 0..n_queued {
            if self.notifier.is_woken() {
                return;
            }
            self.read_next(out);
        }
    }

    /// Walks through all folders and reads every file to its end, without waiting.
    /// Passes the events to `out`.
    pub fn scan(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.begin_step(now);
        self.take_changes(now, Duration::ZERO);
        self.walk(now, out);
        while self.read_next(out) {}
    }

    fn begin_step(&mut self, now: Timestamp) {
        if self.walked_at.is_some() {
            // A change without a notification is found by the next walk.
            let latest = TOLERANCE.saturating_add(self.options.rescan);
            self.added_since = self.step_at.min(now).checked_sub(latest).ok();
        }
        self.step_at = now;
    }

    fn is_walk_due(&self, now: Timestamp) -> bool {
        has_passed(self.options.rescan, self.walked_at, now)
            || self.wants_walk && has_passed(WALK_PAUSE, self.walked_at, now)
    }

    /// Returns the interval between checks of recently changed files. With
    /// notifications, the checks find changes whose notification was lost.
    fn check_interval(&self) -> Option<SignedDuration> {
        match self.watcher {
            Some(_) if self.hot.is_empty() => None,
            Some(_) => Some(CHECK_WATCHED),
            None => Some(CHECK_POLLED),
        }
    }

    /// Returns the time until the next check is due.
    fn idle_for(&self, now: Timestamp) -> Duration {
        let until = |interval: SignedDuration, since: Option<Timestamp>| {
            let passed = since.map_or(interval, |since| now.duration_since(since));
            Duration::try_from(interval.saturating_sub(passed)).unwrap_or_default()
        };
        let walk = if self.wants_walk { WALK_PAUSE } else { self.options.rescan };
        let walk = until(walk, self.walked_at);
        self.check_interval().map_or(walk, |interval| walk.min(until(interval, self.checked_at)))
    }

    /// Waits for changes, and checks the changed paths. Returns whether the follower
    /// was woken.
    fn take_changes(&mut self, now: Timestamp, wait: Duration) -> bool {
        let changes = self.notifier.wait(wait);
        self.wants_walk |= changes.is_incomplete;
        for path in changes.paths {
            let path = match &self.watcher {
                Some(watcher) => watcher.followed_path(path),
                None => path,
            };
            self.check_path(&path, now);
        }
        changes.is_woken
    }

    /// Checks a path that may have changed.
    fn check_path(&mut self, path: &Path, now: Timestamp) {
        if !self.paths.contains_key(path) && !self.is_followed(path) {
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
    fn found(&mut self, path: &Path, metadata: &Metadata, now: Timestamp) {
        let id = Identity::of(path, metadata);
        let stamp = Stamp::of(metadata);
        let Some(file) = self.files.get_mut(&id) else {
            self.lost(path);
            self.add(id, path, stamp, now);
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
        if mem::take(&mut file.is_lost) {
            self.paths.insert(Arc::clone(&file.path), id);
        }
        if file.stamp == stamp {
            return;
        }
        file.stamp = stamp;
        file.changed_at = now;
        file.is_paused = false;
        if mem::take(&mut file.is_at_end) {
            // A file that is copied may be empty when it is found.
            let is_new_file = !matches!(file.state, State::Reading(_));
            file.arrival = self.added_since.map(|since| Arrival { since, is_new_file });
        }
        if let State::Dormant = file.state {
            file.state = State::Unrecognized(0);
        }
        self.hot.insert(id);
        self.enqueue(id);
    }

    /// Adds a file with a session name.
    fn add(&mut self, id: Identity, path: &Path, stamp: Stamp, now: Timestamp) {
        let kinds = self.options.kind.into_iter().chain(self.kinds.iter().copied());
        if !is_session_name(path, kinds) && !self.is_root(path) {
            self.unsupported.find(path, self.walk);
            return;
        }
        if MAX_FILES <= self.files.len() {
            self.notify_full();
            return;
        }
        let modified = stamp.modified.and_then(|it| Timestamp::try_from(it).ok());
        // A file without a time of change may be recent. A file that was named is read
        // whatever its age.
        let is_recent = self.is_root(path)
            || modified.is_none_or(|modified| now.duration_since(modified) <= self.options.recent);
        let changed_at = modified.map_or(now, |it| it.min(now));
        let arrival = self
            .added_since
            .filter(|since| modified.is_some_and(|modified| *since <= modified))
            .map(|since| Arrival { since, is_new_file: true });
        let path = Arc::<Path>::from(path);
        self.paths.insert(Arc::clone(&path), id);
        trace!(target: TARGET, file = safe(&path), is_recent, "found a file");
        self.files.insert(
            id,
            Tracked {
                path,
                stamp,
                state: if is_recent { State::Unrecognized(0) } else { State::Dormant },
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

    fn notify_full(&mut self) {
        if !mem::replace(&mut self.is_full, true) {
            self.notices.push(FollowNotice::TooMany);
        }
    }

    /// Handles a file that is no longer at its path. It may have been renamed.
    fn lost(&mut self, path: &Path) {
        let Some(id) = self.paths.remove(path) else { return };
        let Some(file) = self.files.get_mut(&id) else { return };
        file.is_lost = true;
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

    fn enqueue(&mut self, id: Identity) {
        if let Some(file) = self.files.get_mut(&id)
            && !mem::replace(&mut file.is_queued, true)
        {
            self.queue.push_back(id);
        }
    }

    /// Checks recently changed files.
    fn check_hot(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
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
    fn walk(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.walk += 1;
        self.wants_walk = false;
        self.walked_at = Some(now);
        self.folders.begin_walk(&mut self.watcher);
        let mut folders = Vec::new();
        for root in self.roots.clone() {
            let metadata = fs::metadata(&root);
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

    /// Requests a notification when a file appears at `path`.
    fn watch_parent(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            let result = self.folders.watch_only(parent, &mut self.watcher);
            self.watch_failed(result);
        }
    }

    /// Checks all files in some folders and their subfolders.
    fn visit(&mut self, folders: impl IntoIterator<Item = PathBuf>, now: Timestamp) {
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
                    Ok(metadata) if metadata.is_file() => self.found(&link, &metadata, now),
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
        for id in unreadable {
            self.enqueue(id);
        }
        // By path: the order of inodes has no meaning.
        gone.sort_by_key(|id| self.files.get(id).map(|file| Arc::clone(&file.path)));
        for id in gone {
            self.drain(id, out);
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
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("roots", &self.roots)
            .field("is_watched", &self.is_watched())
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}

/// Returns whether `interval` has passed since `since`. True if the clock was set
/// back.
pub(crate) fn has_passed(
    interval: SignedDuration,
    since: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    since.is_none_or(|since| now < since || interval <= now.duration_since(since))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tempfile::TempDir;
    use watchkeeper_core::{SignedDuration, Timestamp, embed::SourceEntry};

    use super::{FollowOptions, Follower, Update};
    use crate::ClaudeCode;

    static CLAUDE_CODE: SourceEntry = SourceEntry::of::<ClaudeCode>("watchkeeper-sources");

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
