//! Follows session files as they grow, and folders as files appear in them.

mod bell;
mod folders;
mod open_files;
mod platform;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    fs::{self, Metadata},
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use watchkeeper_core::{Event, SignedDuration, SkippedLines, SourceEntry, Timestamp, make_safe};

pub use self::bell::Waker;
use self::{
    bell::{Bell, Watch},
    folders::Folders,
    open_files::OpenFiles,
    platform::Identity,
    reading::{Progress, Reading, Shared, read_head},
};
use crate::file::is_session_name;

/// How much of a file is looked at to tell what it is, in bytes.
const PROBE: usize = 64 << 10;
/// How many files are kept in mind.
const MAX_FILES: usize = 1 << 18;
/// How long a file is looked at often after it changed.
const HOT: SignedDuration = SignedDuration::from_secs(60);
/// How often a file that changed a short while ago is looked at, where the
/// system tells of changes, and where it does not.
const GLANCE_WATCHED: SignedDuration = SignedDuration::from_secs(2);
const GLANCE_POLLED: SignedDuration = SignedDuration::from_millis(250);
/// The shortest time between two walks that were asked for by changes.
const WALK_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// How files are followed.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// The kind of all sources, whatever the files hold; `None` to tell by
    /// that.
    pub kind: Option<&'static SourceEntry>,
    /// Which files are read from their beginning when they are first seen:
    /// those that were written to within this time. A loop may be under way in
    /// them, and only the whole session has the totals that the agent itself
    /// shows.
    ///
    /// A file that was last written to longer ago is left alone until it
    /// changes, and is then read from its beginning, too. What is read from
    /// the beginning carries the times at which it happened.
    pub recent: SignedDuration,
    /// The longest time between two walks through all folders: how long what
    /// the system did not tell of stays unseen.
    pub rescan: SignedDuration,
    /// Ask for no watch by the system, and look at the files instead.
    pub poll_only: bool,
}

impl Default for FollowOptions {
    /// Any kind, an hour, ten seconds, watched.
    fn default() -> Self {
        Self {
            kind: None,
            recent: SignedDuration::from_hours(1),
            rescan: SignedDuration::from_secs(10),
            poll_only: false,
        }
    }
}

/// What a [`Follower`] hands out.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something happened in a session.
    Event(Event),
    /// A session file is read, from its beginning.
    Began {
        /// The file, as its events name it.
        file: Arc<str>,
        /// The kind of its source.
        source: &'static str,
    },
    /// A session file has another name. Nothing is read again.
    Moved {
        /// The name it had.
        from: Arc<str>,
        /// The name that its events carry from here on.
        to: Arc<str>,
    },
    /// A session file that was read is no more.
    Ended {
        /// The file, as its events named it.
        file: Arc<str>,
        /// What became of it.
        reason: EndReason,
    },
    /// A line was not read.
    UnreadLine {
        /// The file.
        file: Arc<str>,
        /// The number of the line, counted from 1.
        line: u64,
        /// Why, in a few words.
        reason: &'static str,
    },
    /// A file or a folder cannot be read. It is tried again at every walk, and
    /// this is said once until it succeeds.
    Unreadable {
        /// The file or the folder.
        file: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Something that whoever runs the program should know.
    Notice(String),
}

/// What became of a file that is no longer read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It was deleted, moved away, or replaced by something that is no file.
    Gone,
    /// It was cut or written anew. What it says is read from its beginning.
    Rewritten,
}

/// How a [`Follower`] fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowReport {
    /// Folders that are known.
    pub n_folders: usize,
    /// Session files that are read.
    pub n_followed: usize,
    /// Files that are left alone until they change.
    pub n_dormant: usize,
    /// Files that are no session, or none that can be told yet.
    pub n_unrecognized: usize,
    /// Files and folders that cannot be read.
    pub n_unreadable: usize,
    /// How often a file was cut or written anew.
    pub n_rewritten: u64,
    /// Lines that were read, those included that could not be.
    pub n_lines: u64,
    /// Bytes in those lines.
    pub n_bytes: u64,
    /// What was not read, by reason.
    pub unread: SkippedLines,
}

/// Follows session files and folders of them.
///
/// What it promises:
///
/// * A line is handed on when its line break has arrived, once, and in order.
///   A file that is renamed goes on where it was; one that was cut or written
///   anew is read from its beginning. One that its agent writes anew as a
///   whole is read so whenever it has changed, with or without a last break.
/// * Files and folders are found at any depth when they appear, also through
///   symbolic links. What can be reached in several ways is followed once. In
///   folders the same names count as for [`discover`](crate::discover); a file
///   that is followed may take any name.
/// * It holds at most 64 files open, and of unfinished lines nothing in
///   memory. A FIFO, a device or a folder in the place of a file does no harm.
/// * Trouble is told as an [`Update`], and the rest goes on.
///
/// A thread is to call [`step`](Self::step) again and again. The system tells
/// which files change; where it cannot, they are looked at instead: those that
/// changed in the last minute four times a second, others at every walk.
pub struct Follower {
    roots: Vec<PathBuf>,
    kinds: Vec<&'static SourceEntry>,
    options: FollowOptions,
    bell: Arc<Bell>,
    watch: Option<Watch>,
    folders: Folders,
    files: BTreeMap<Identity, Tracked>,
    paths: HashMap<Arc<Path>, Identity>,
    open: OpenFiles,
    shared: Shared,
    /// Files that are to be read.
    queue: VecDeque<Identity>,
    /// Files that changed a short while ago.
    hot: BTreeSet<Identity>,
    notices: Vec<String>,
    is_full: bool,
    n_rewritten: u64,
    /// The number of the latest walk.
    walk: u64,
    wants_walk: bool,
    walked_at: Option<Timestamp>,
    glanced_at: Option<Timestamp>,
}

/// A file that is known.
struct Tracked {
    path: Arc<Path>,
    stamp: Stamp,
    state: State,
    /// The latest walk that met it.
    walk: u64,
    changed_at: Timestamp,
    is_queued: bool,
    /// Nothing of this identity stands at the path any more.
    is_lost: bool,
    /// It could not be read when it was last tried.
    is_unreadable: bool,
}

/// What a file that did not change still says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok() }
    }
}

enum State {
    /// Not written to for long, and not read.
    Dormant,
    /// Not known to be a session after so many bytes of it.
    Unrecognized(usize),
    Reading(Box<Reading>),
}

impl Follower {
    /// Prepares to follow files and folders, which need not exist yet. A file
    /// is of the first kind that recognizes it. Reads nothing before the first
    /// step.
    pub fn new(
        paths: Vec<PathBuf>,
        kinds: impl IntoIterator<Item = &'static SourceEntry>,
        options: FollowOptions,
    ) -> Self {
        let bell = Arc::<Bell>::default();
        let mut notices = Vec::new();
        let watch = if options.poll_only {
            None
        } else {
            let watch = Watch::new(&bell);
            watch.inspect_err(|error| notices.push(cannot_watch(error))).ok()
        };
        Self {
            roots: paths.into_iter().map(absolute).collect(),
            kinds: kinds.into_iter().collect(),
            options,
            bell,
            watch,
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
            glanced_at: None,
        }
    }

    /// Whether everything was read that is known to have been written.
    pub fn is_caught_up(&self) -> bool {
        self.queue.is_empty()
    }

    /// What makes a step return at once, from any thread.
    pub fn waker(&self) -> Waker {
        self.bell.waker()
    }

    /// Whether the system tells of changes. Where it does not, a change is
    /// seen later, and looking for it costs more.
    pub fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// How it fares.
    pub fn report(&self) -> FollowReport {
        let mut res = FollowReport {
            n_folders: self.folders.len(),
            n_unreadable: self.folders.n_unreadable(),
            n_rewritten: self.n_rewritten,
            n_lines: self.shared.n_lines,
            n_bytes: self.shared.n_bytes,
            unread: self.shared.unread.clone(),
            ..FollowReport::default()
        };
        for file in self.files.values() {
            res.n_unreadable += usize::from(file.is_unreadable);
            *match file.state {
                State::Dormant => &mut res.n_dormant,
                State::Unrecognized(_) => &mut res.n_unrecognized,
                State::Reading(_) => &mut res.n_followed,
            } += 1;
        }
        res
    }

    /// Looks at what is due at `now`, waits for changes for at most `wait`,
    /// and hands out what was added to files.
    ///
    /// Returns early when something changed, when something else is due, and
    /// when it is woken. A file that grows fast is read a few megabytes at a
    /// time, so that all files have their turn.
    pub fn step(&mut self, now: Timestamp, wait: Duration, out: &mut dyn FnMut(Update)) {
        if self.is_walk_due(now) {
            self.walk(now, out);
        } else if self.glance_pause().is_some_and(|it| is_over(it, self.glanced_at, now)) {
            self.glance(now);
        }
        let wait =
            if self.queue.is_empty() { wait.min(self.idle_for(now)) } else { Duration::ZERO };
        if self.take_changes(now, wait) {
            return;
        }
        let n_queued = self.queue.len();
        for _ in 0..n_queued {
            if self.bell.is_woken() {
                return;
            }
            self.read_next(out);
        }
    }

    /// Walks through all folders and hands out all that was added to files,
    /// without waiting for anything.
    pub fn scan(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.take_changes(now, Duration::ZERO);
        self.walk(now, out);
        while self.read_next(out) {}
    }

    fn is_walk_due(&self, now: Timestamp) -> bool {
        is_over(self.options.rescan, self.walked_at, now)
            || self.wants_walk && is_over(WALK_PAUSE, self.walked_at, now)
    }

    /// How often files that changed a short while ago are looked at. With the
    /// system's help that is only to be sure.
    fn glance_pause(&self) -> Option<SignedDuration> {
        match self.watch {
            Some(_) if self.hot.is_empty() => None,
            Some(_) => Some(GLANCE_WATCHED),
            None => Some(GLANCE_POLLED),
        }
    }

    /// How long there is nothing to do, if nothing changes.
    fn idle_for(&self, now: Timestamp) -> Duration {
        let until = |pause: SignedDuration, since: Option<Timestamp>| {
            let passed = since.map_or(pause, |since| now.duration_since(since));
            Duration::try_from(pause.saturating_sub(passed)).unwrap_or_default()
        };
        let walk = if self.wants_walk { WALK_PAUSE } else { self.options.rescan };
        let walk = until(walk, self.walked_at);
        self.glance_pause().map_or(walk, |pause| walk.min(until(pause, self.glanced_at)))
    }

    /// Waits for changes, and looks at what changed. Gives back whether it was
    /// woken.
    fn take_changes(&mut self, now: Timestamp, wait: Duration) -> bool {
        let changes = self.bell.wait(wait);
        self.wants_walk |= changes.is_incomplete;
        for path in changes.paths {
            let path = match &self.watch {
                Some(watch) => watch.name(path),
                None => path,
            };
            self.look(&path, now);
        }
        changes.is_woken
    }

    /// Looks at a path where something may have changed.
    fn look(&mut self, path: &Path, now: Timestamp) {
        if !self.paths.contains_key(path) && !self.is_ours(path) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => self.found(path, &metadata, now),
            // Whatever happened to a folder, a walk finds out.
            Ok(metadata) if metadata.is_dir() => {
                self.lost(path);
                self.wants_walk |= self.folders.forget(path, &mut self.watch);
                self.visit([path.to_owned()], now);
            }
            Ok(_) | Err(_) => {
                self.lost(path);
                self.wants_walk |= self.folders.contains(path);
            }
        }
    }

    /// Whether what stands at a path is to be followed.
    fn is_ours(&self, path: &Path) -> bool {
        self.is_root(path) || path.parent().is_some_and(|it| self.folders.contains(it))
    }

    fn is_root(&self, path: &Path) -> bool {
        self.roots.iter().any(|it| it == path)
    }

    /// A file stands at a path.
    fn found(&mut self, path: &Path, metadata: &Metadata, now: Timestamp) {
        let id = Identity::of(path, metadata);
        let stamp = Stamp::of(metadata);
        let Some(file) = self.files.get_mut(&id) else {
            self.lost(path);
            self.add(id, path, stamp, now);
            return;
        };
        if *file.path != *path {
            // It has two names, or it had another one.
            let is_at =
                |path: &Path| fs::metadata(path).is_ok_and(|it| Identity::of(path, &it) == id);
            if !file.is_lost && is_at(&file.path) {
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
        if let State::Dormant = file.state {
            file.state = State::Unrecognized(0);
        }
        self.hot.insert(id);
        self.enqueue(id);
    }

    /// Keeps a file in mind, if by its name it may be a session.
    fn add(&mut self, id: Identity, path: &Path, stamp: Stamp, now: Timestamp) {
        if !is_session_name(path) && !self.is_root(path) {
            return;
        }
        if MAX_FILES <= self.files.len() {
            self.tell_full();
            return;
        }
        let modified = stamp.modified.and_then(|it| Timestamp::try_from(it).ok());
        // A file whose time is not known may be of any time.
        let is_recent = modified.is_none_or(|it| now.duration_since(it) <= self.options.recent);
        let changed_at = modified.map_or(now, |it| it.min(now));
        let path = Arc::<Path>::from(path);
        self.paths.insert(Arc::clone(&path), id);
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
            },
        );
        if is_recent {
            if !is_over(HOT, Some(changed_at), now) {
                self.hot.insert(id);
            }
            self.enqueue(id);
        }
    }

    fn tell_full(&mut self) {
        if !mem::replace(&mut self.is_full, true) {
            let notice = "there are more files or folders than can be followed; name fewer of them";
            self.notices.push(notice.to_owned());
        }
    }

    /// What stood at a path no longer does. It may turn up at another one.
    fn lost(&mut self, path: &Path) {
        let Some(id) = self.paths.remove(path) else { return };
        let Some(file) = self.files.get_mut(&id) else { return };
        file.is_lost = true;
        // What was written to it before, if it is still open.
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
        // It may be another file of the same number: that shows when it is read.
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: Identity) {
        if let Some(file) = self.files.get_mut(&id)
            && !mem::replace(&mut file.is_queued, true)
        {
            self.queue.push_back(id);
        }
    }

    /// Looks at the files that changed a short while ago.
    fn glance(&mut self, now: Timestamp) {
        self.glanced_at = Some(now);
        let mut hot = mem::take(&mut self.hot);
        hot.retain(|id| {
            let Some(file) = self.files.get(id) else { return false };
            let path = Arc::clone(&file.path);
            let is_hot = !is_over(HOT, Some(file.changed_at), now);
            self.look(&path, now);
            is_hot
        });
        self.hot.append(&mut hot);
        if self.watch.is_none() {
            self.visit(self.folders.changed(), now);
        }
    }

    /// Looks at all there is.
    fn walk(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        self.walk += 1;
        self.wants_walk = false;
        self.walked_at = Some(now);
        self.folders.begin_walk(&mut self.watch);
        let mut folders = Vec::new();
        for root in self.roots.clone() {
            let metadata = fs::metadata(&root);
            if metadata.as_ref().is_ok_and(Metadata::is_dir) {
                folders.push(root);
                continue;
            }
            self.watch_for(&root);
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

    /// Sees that it is told of when something appears at a path.
    fn watch_for(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            let result = self.folders.watch_only(parent, &mut self.watch);
            self.watch_failed(result);
        }
    }

    /// Looks at all that is in some folders, and in those below them.
    fn visit(&mut self, folders: impl IntoIterator<Item = PathBuf>, now: Timestamp) {
        let mut folders: VecDeque<PathBuf> = folders.into_iter().collect();
        // Last, so that what can be reached without them has its own name.
        let mut links = VecDeque::new();
        loop {
            if let Some(folder) = folders.pop_front() {
                let is_root = self.roots.contains(&folder);
                let (entries, result) = self.folders.list(&folder, is_root, &mut self.watch);
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
        // A folder that is gone by now needs no watch.
        if !matches!(error.kind, notify::ErrorKind::PathNotFound) && self.watch.take().is_some() {
            self.notices.push(cannot_watch(&error));
        }
    }

    /// Lets go of what the walk did not meet, and tries what could not be read.
    fn end_walk(&mut self, out: &mut dyn FnMut(Update)) {
        if self.folders.is_full() {
            self.tell_full();
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
        for id in unreadable {
            self.enqueue(id);
        }
        // By name: inodes have no order that means something.
        gone.sort_by_key(|id| self.files.get(id).map(|it| Arc::clone(&it.path)));
        for id in gone {
            self.drain(id, out);
            self.open.close(id);
            self.hot.remove(&id);
            let Some(file) = self.files.remove(&id) else { continue };
            if self.paths.get(&file.path) == Some(&id) {
                self.paths.remove(&file.path);
            }
            if let State::Reading(reading) = file.state {
                out(Update::Ended { file: reading.file, reason: EndReason::Gone });
            }
        }
    }

    /// Reads what is left of a file that is gone but open.
    fn drain(&mut self, id: Identity, out: &mut dyn FnMut(Update)) {
        if let Some(Tracked { state: State::Reading(reading), .. }) = self.files.get_mut(&id)
            && let Some(open) = self.open.get(id)
        {
            while let Ok(Progress::More) = reading.read(open, &mut self.shared, out) {}
        }
    }

    /// Reads a slice of the next file whose turn it is.
    fn read_next(&mut self, out: &mut dyn FnMut(Update)) -> bool {
        let Some(id) = self.queue.pop_front() else { return false };
        let Some(file) = self.files.get_mut(&id) else { return true };
        file.is_queued = false;
        match self.read(id, out) {
            Ok(true) => self.enqueue(id),
            Ok(false) => {}
            Err(error) => self.cannot_read(id, &error, out),
        }
        true
    }

    fn cannot_read(&mut self, id: Identity, error: &io::Error, out: &mut dyn FnMut(Update)) {
        self.open.close(id);
        let Some(file) = self.files.get_mut(&id) else { return };
        if !mem::replace(&mut file.is_unreadable, true) {
            out(Update::Unreadable { file: name(&file.path), reason: error.to_string() });
        }
    }

    /// Reads a slice of a file. Gives back whether there is more.
    fn read(&mut self, id: Identity, out: &mut dyn FnMut(Update)) -> io::Result<bool> {
        if !self.probe(id, out)? {
            return Ok(false);
        }
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        let open =
            if file.is_lost { self.open.get(id) } else { self.open.get_or_open(id, &file.path)? };
        let (Some(open), State::Reading(reading)) = (open, &mut file.state) else {
            return Ok(false);
        };
        if !file.is_lost && *reading.file != *file.path.to_string_lossy() {
            let from = mem::replace(&mut reading.file, name(&file.path));
            out(Update::Moved { from, to: Arc::clone(&reading.file) });
        }
        let progress = reading.read(open, &mut self.shared, out)?;
        file.is_unreadable = false;
        if progress == Progress::Rewritten {
            self.n_rewritten += 1;
            out(Update::Ended { file: Arc::clone(&reading.file), reason: EndReason::Rewritten });
            file.state = State::Unrecognized(0);
        }
        Ok(progress != Progress::End)
    }

    /// Finds out whether a file is a session. Gives back whether it is.
    fn probe(&mut self, id: Identity, out: &mut dyn FnMut(Update)) -> io::Result<bool> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        let n_seen = match &mut file.state {
            State::Dormant => return Ok(false),
            State::Unrecognized(n_seen) => n_seen,
            State::Reading(_) => return Ok(true),
        };
        if file.stamp.len < *n_seen as u64 {
            *n_seen = 0;
        }
        if file.is_lost || file.stamp.len == 0 || PROBE <= *n_seen {
            return Ok(false);
        }
        let Some(open) = self.open.get_or_open(id, &file.path)? else { return Ok(false) };
        let mut head = vec![0; PROBE];
        let n_bytes = read_head(open, &mut head)?;
        head.truncate(n_bytes);
        *n_seen = n_bytes;
        file.is_unreadable = false;
        let kinds = &mut self.kinds.iter().copied();
        let recognized = || kinds.find(|it| it.recognizes(&file.path, &head));
        let kind = self.options.kind.or_else(recognized);
        let Some(kind) = kind else {
            // It may be one of many that never are a session.
            self.open.close(id);
            return Ok(false);
        };
        let reading = Reading::new(kind, &file.path, name(&file.path));
        out(Update::Began { file: Arc::clone(&reading.file), source: reading.kind() });
        file.state = State::Reading(Box::new(reading));
        Ok(true)
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

/// Whether a time has passed. A clock that was set back has passed any.
fn is_over(pause: SignedDuration, since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_none_or(|since| now < since || pause <= now.duration_since(since))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn cannot_watch(error: &notify::Error) -> String {
    let error = make_safe(&error.to_string());
    format!("the system does not tell of changes ({error}); files are looked at instead")
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tempfile::TempDir;
    use watchkeeper_core::{SignedDuration, Timestamp};

    use super::{FollowOptions, Follower, Update};

    #[test]
    fn files_are_looked_at_when_there_are_no_watches_left() {
        let folder = TempDir::new().unwrap();
        let options = FollowOptions::default();
        let mut follower = Follower::new(vec![folder.path().to_owned()], [], options);
        let mut now = Timestamp::UNIX_EPOCH;
        follower.scan(now, &mut |it| panic!("{it:?}"));
        assert!(follower.is_watched());

        follower.watch_failed(Err(notify::Error::new(notify::ErrorKind::PathNotFound)));
        assert!(follower.is_watched());
        for _ in 0..2 {
            follower.watch_failed(Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch)));
        }
        assert!(!follower.is_watched());
        let mut notices = Vec::new();
        follower.scan(now, &mut |it| notices.push(it));
        let [Update::Notice(notice)] = &notices[..] else { panic!("{notices:?}") };
        assert!(notice.contains("limit"), "{notice}");

        // What is new in a folder shows at the next glance, before the next walk.
        fs::write(folder.path().join("a.jsonl"), "{}").unwrap();
        now += SignedDuration::from_millis(250);
        follower.step(now, Duration::ZERO, &mut |it| panic!("{it:?}"));
        assert_eq!(follower.report().n_unrecognized, 1);
    }
}
