//! Follows session files as they grow, and folders as files appear in them.

mod arrival;
mod changes;
mod folders;
mod interval;
mod log;
mod mark;
mod open_files;
mod options;
mod paths;
mod platform;
mod read;
mod reading;
mod remote;
mod report;
mod row_state;
mod rows;
mod stamp;
mod timing;
mod tracked;
mod update;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use watchkeeper_core::{Timestamp, embed::SourceEntry};

pub use self::{
    changes::Waker,
    mark::ReadMark,
    options::FollowOptions,
    remote::{RemoteAnswer, RemoteEntry, RemoteFollower, RemoteRequest},
    report::FollowReport,
    update::{EndReason, FollowNotice, Update},
};
use self::{
    changes::{ChangeNotifier, FolderWatcher},
    folders::Folders,
    open_files::OpenFiles,
    reading::Shared,
    tracked::{State, Tracked, UnsupportedFiles},
};
pub(crate) use self::{
    interval::has_passed,
    log::safe,
    platform::{Identity, open, owner},
    stamp::Stamp,
};

/// The number of bytes after which a step leaves the other files to the next one.
const MAX_STEP: u64 = 16 << 20;

/// Follows session files and folders of session files.
///
/// # Guarantees
///
/// * Each line is read once and in order, after its line break has arrived. A
///   renamed file continues at its position. A truncated or rewritten file is read
///   from the beginning. A file whose agent
///   [rewrites it](watchkeeper_core::SourceKind::IS_REWRITTEN) is read from the
///   beginning after each change, and its last line needs no line break.
/// * Each row of a [database](watchkeeper_core::author::Database) is read once, as a line, and
///   the log of its changes is followed with it. Of the sessions in it, those that have changed
///   recently are read. If the latest row has changed, they are read again.
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
/// identify changed files, and there are no checks while nothing changes, except for a
/// walk through all folders every five minutes. Files and folders whose changes cause no
/// notification are checked by more frequent walks: those on file systems that other
/// machines change, and files behind symbolic links. If the system has no notifications
/// left, files that changed in the last minute are checked four times a second, and
/// others at every walk.
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
    /// Some changes are found by walks only.
    has_blind_spot: bool,
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
            has_blind_spot: true,
            walked_at: None,
            checked_at: None,
            step_at: Timestamp::MAX,
            added_since: None,
            unsupported: UnsupportedFiles::default(),
        }
    }

    /// Returns whether every known change was read, apart from lines that are too long: to skip
    /// one can take hours, and adds no event.
    pub fn is_caught_up(&self) -> bool {
        self.queue.iter().all(|id| self.files.get(id).is_none_or(Tracked::is_skipping))
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

    /// Does the checks that are due at `now`, and passes the added events to `out`. If
    /// there is nothing to read, waits for a change for at most `wait`.
    ///
    /// The next step reads the change, at its own time. A wait ends early when a check is
    /// due, and after a wake-up. A file that grows fast is read a few megabytes at a time,
    /// so that other files are not delayed; a step reads a few of them.
    pub fn step(&mut self, now: Timestamp, wait: Duration, out: &mut dyn FnMut(Update)) {
        self.begin_step(now);
        let mut is_idle = true;
        let out = &mut |update| {
            is_idle = false;
            out(update);
        };
        let is_woken = self.take_changes(now);
        if self.is_walk_due(now) {
            self.walk(now, out);
        } else if self
            .check_interval()
            .is_some_and(|interval| has_passed(interval, self.checked_at, now))
        {
            self.check_hot(now, out);
        }
        let n_bytes = self.shared.n_bytes;
        let n_queued = self.queue.len();
        for _ in 0..n_queued {
            if self.notifier.is_woken() || MAX_STEP <= self.shared.n_bytes - n_bytes {
                return;
            }
            self.read_next(out);
        }
        if is_idle && !is_woken && n_queued == 0 {
            self.notifier.wait(wait.min(self.idle_for(now)));
            // There was no notification until the end of the wait.
            self.step_at = Timestamp::MAX;
        }
    }

    /// Walks through all folders and reads every file to its end, or to a line that is too long,
    /// without waiting. Passes the events to `out`.
    pub fn scan(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.begin_step(now);
        self.take_changes(now);
        self.walk(now, out);
        // A turn of each file, and then of those with more.
        for _ in 0..self.queue.len() {
            self.read_next(out);
        }
        while !self.is_caught_up() {
            self.read_next(out);
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

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
