//! Reads recorded sessions: files that belong together are read together, in
//! the order in which things happened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    io,
    path::{Path, PathBuf},
};

use watchkeeper_core::{DedupCache, Event, Kinds, SessionId, SkippedLines, SourceEntry, Timestamp};
use watchkeeper_sources::SessionFile;

/// The files of one session: its own, be they one or thousands, and those of its
/// sub-agents.
#[derive(Debug)]
pub(crate) struct Group {
    /// The session that they begin with.
    pub(crate) session: SessionId,
    /// In order of when they begin.
    pub(crate) files: Vec<PathBuf>,
    /// When each of them begins.
    begins: Vec<Timestamp>,
    pub(crate) started_at: Timestamp,
}

/// Sorts files by the session that they begin with, and sessions by when they
/// begin. Gives the files that begin with none, too, and why.
pub(crate) fn group(
    files: Vec<PathBuf>,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> (Vec<Group>, Vec<(PathBuf, String)>) {
    let mut groups: BTreeMap<SessionId, Vec<(Timestamp, PathBuf)>> = BTreeMap::new();
    let mut without = Vec::new();
    for path in files {
        match first_event(&path, only, kinds) {
            Ok(Some(event)) => groups.entry(event.session).or_default().push((event.at, path)),
            Ok(None) => without.push((path, "no session in it".to_owned())),
            Err(reason) => without.push((path, reason)),
        }
    }
    let mut res: Vec<Group> = groups
        .into_iter()
        .map(|(session, mut files)| {
            files.sort();
            let started_at = files[0].0;
            let (begins, files) = files.into_iter().unzip();
            Group { session, files, begins, started_at }
        })
        .collect();
    res.sort_by(|a, b| (a.started_at, &a.files).cmp(&(b.started_at, &b.files)));
    (res, without)
}

fn first_event(
    path: &Path,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> Result<Option<Event>, String> {
    let mut file = watchkeeper_sources::open(path, only, kinds).map_err(|err| err.to_string())?;
    // What is seen here is read again in earnest.
    let mut seen = DedupCache::default();
    let mut events = Vec::new();
    while file.read_next(&mut seen, &mut events).map_err(|err| err.to_string())? {
        if !events.is_empty() {
            return Ok(events.into_iter().next());
        }
    }
    Ok(None)
}

impl Group {
    /// Reads all files of the group, in order of time. Gives what was not read.
    pub(crate) fn read(
        &self,
        only: Option<&'static SourceEntry>,
        kinds: &Kinds<SourceEntry>,
        seen: &mut DedupCache,
        on_event: &mut dyn FnMut(Event),
    ) -> io::Result<SkippedLines> {
        let mut unread = SkippedLines::default();
        // A session may be spread over thousands of files, of which few overlap:
        // a file is open from the time at which it begins to its end.
        let mut cursors: Vec<Option<Cursor>> = self.files.iter().map(|_| None).collect();
        // The file whose next event is the oldest goes next; of two, the one
        // that began first.
        let begins = self.begins.iter().zip(0..);
        let mut order: BinaryHeap<_> = begins.map(|(at, idx)| Reverse((*at, idx))).collect();
        while let Some(Reverse((_, cursor_idx))) = order.pop() {
            let next = order.peek().map_or((Timestamp::MAX, usize::MAX), |Reverse(it)| *it);
            let slot: &mut Option<Cursor> = &mut cursors[cursor_idx];
            let cursor = match slot {
                Some(it) => it,
                None => slot.insert(Cursor::open(&self.files[cursor_idx], only, kinds)?),
            };
            loop {
                let Some(at) = cursor.peek(seen)? else {
                    unread.add(cursor.file.skipped_lines());
                    *slot = None;
                    break;
                };
                if next < (at, cursor_idx) {
                    order.push(Reverse((at, cursor_idx)));
                    break;
                }
                cursor.events.pop_front().into_iter().for_each(&mut *on_event);
            }
        }
        Ok(unread)
    }
}

struct Cursor {
    file: SessionFile,
    events: VecDeque<Event>,
    /// The latest time in the file so far: what follows in a file follows in
    /// time, whatever its stamp says.
    clock: Timestamp,
}

impl Cursor {
    fn open(
        path: &Path,
        only: Option<&'static SourceEntry>,
        kinds: &Kinds<SourceEntry>,
    ) -> io::Result<Self> {
        let file = watchkeeper_sources::open(path, only, kinds).map_err(io::Error::other)?;
        Ok(Self { file, events: VecDeque::new(), clock: Timestamp::MIN })
    }

    fn peek(&mut self, seen: &mut DedupCache) -> io::Result<Option<Timestamp>> {
        let mut events = Vec::new();
        while self.events.is_empty() {
            let more = self.file.read_next(seen, &mut events)?;
            self.events.extend(events.drain(..));
            if !more && self.events.is_empty() {
                return Ok(None);
            }
        }
        let at = self.events.front().map_or(self.clock, |it| it.at);
        self.clock = self.clock.max(at);
        Ok(Some(self.clock))
    }
}

/// How many lines of a file without a session were not read.
pub(crate) fn count_unread(
    path: &Path,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> u64 {
    let Ok(mut file) = watchkeeper_sources::open(path, only, kinds) else { return 0 };
    let (mut seen, mut events) = (DedupCache::default(), Vec::new());
    while let Ok(true) = file.read_next(&mut seen, &mut events) {
        events.clear();
    }
    file.skipped_lines().total()
}
