use std::{
    collections::{BTreeMap, HashMap},
    io, mem,
    sync::Arc,
};

use watchkeeper_core::{Event, Fingerprint, SignedDuration, Timestamp, clock::Clock};

use crate::{
    record_file::{Header, NewBody, RecordFile},
    storage::Storage,
};

const FORMAT: Header = Header { name: *b"wkcursor", version: 1 };
/// The longest time that a follower needs to notice a new file.
const UNNOTICED: i64 = 60;
/// The time for which the place in a file is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The size below which the file is not compacted, in bytes.
const MIN_COMPACTED: u64 = 1 << 20;
/// The largest number of files whose identities are kept.
const MAX_FILES: usize = 1 << 18;
/// The length of a record.
const RECORD_LEN: u64 = 36;

/// The last lines of session files whose events a monitor has handled.
///
/// After a restart, the events behind them are new: no monitor has observed them. The lines may
/// be older than the last events that were handled: findings that were stored are not delivered
/// again.
///
/// A file keeps its place under another name if it has an [identity](Self::identify). A file
/// that replaces another one at the same path has no place.
#[derive(Debug)]
pub struct Cursors<S> {
    file: RecordFile<S>,
    /// By the identity of the file, or by the hash of the path if that is unknown: the first line
    /// may not be complete.
    lines: HashMap<Fingerprint, Cursor>,
    /// The identities of files, by the hash of the path.
    identities: HashMap<Fingerprint, Fingerprint>,
    /// `None` at the first start.
    earlier: Option<Earlier>,
    /// The file of an earlier process was empty.
    is_lost: bool,
    /// The second of the last commit, of this process or an earlier one.
    committed: i64,
    /// The lines since the last commit, by path.
    next: BTreeMap<Arc<str>, u64>,
}

/// The seconds, since 1970, of the first start and of the last commit of earlier processes.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    started: i64,
    stopped: i64,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    line: u64,
    /// The second of the commit, since 1970.
    second: i64,
}

impl Cursor {
    fn encode(self, file: Fingerprint) -> Vec<u8> {
        let mut body = file.get().to_le_bytes().to_vec();
        body.extend(self.line.to_le_bytes());
        body.extend(self.second.to_le_bytes());
        body
    }

    fn parse(body: &[u8]) -> Option<(Fingerprint, Self)> {
        let (file, rest) = body.split_first_chunk()?;
        let (line, rest) = rest.split_first_chunk()?;
        let second = i64::from_le_bytes(rest.try_into().ok()?);
        let cursor = Self { line: u64::from_le_bytes(*line), second };
        Some((Fingerprint::from(u64::from_le_bytes(*file)), cursor))
    }
}

impl<S: Storage> Cursors<S> {
    /// Reads the cursors of an earlier process. An empty file is a new one, unless an earlier
    /// process is known to have worked until `worked_until`: then the file was lost.
    pub fn open(
        storage: S,
        clock: &dyn Clock,
        worked_until: Option<Timestamp>,
    ) -> io::Result<Self> {
        let mut lines = HashMap::new();
        let mut earlier: Option<Earlier> = None;
        let file = RecordFile::open(storage, FORMAT, |_, body| {
            let Some((file, cursor)) = Cursor::parse(body) else { return false };
            // The last record, since the clock may have been set back.
            let started = earlier.map_or(cursor.second, |earlier| earlier.started);
            earlier = Some(Earlier { started, stopped: cursor.second });
            lines.insert(file, cursor);
            true
        })?;
        let now = clock.now().as_second();
        let is_lost = earlier.is_none() && worked_until.is_some();
        if let Some(worked_until) = worked_until.filter(|_| is_lost) {
            let stopped = worked_until.as_second();
            earlier = Some(Earlier { started: stopped, stopped });
        }
        let committed = earlier.map_or(now, |earlier| earlier.stopped.min(now));
        let (identities, next) = (HashMap::new(), BTreeMap::new());
        let mut opened = Self { file, lines, identities, earlier, is_lost, committed, next };
        if opened.file.has_damaged_header() {
            opened.compact(now)?;
        }
        match &mut opened.earlier {
            Some(earlier) => earlier.stopped = earlier.stopped.min(now),
            // A session that begins after the end of this process is new to the next one.
            None => {
                let start = Cursor { line: 0, second: now };
                opened.lines.insert(Fingerprint::NONE, start);
                opened.file.append_or_keep(&start.encode(Fingerprint::NONE))?;
                // Lost with the power, it would make the next start the first one. Lines that
                // are lost later are only read again.
                opened.file.sync()?;
            }
        }
        opened.compact_if_large(now);
        Ok(opened)
    }

    /// Returns the number of damaged places of the file that were skipped when it was opened.
    pub fn n_damaged(&self) -> u64 {
        self.file.n_damaged().max(self.is_lost.into())
    }

    /// Sets the identity of the file at a path, before its events; `None` if that is unknown.
    pub fn identify(&mut self, path: &str, id: Option<Fingerprint>) {
        let path = Fingerprint::of(path);
        match id {
            Some(id) => {
                if MAX_FILES <= self.identities.len() {
                    self.identities.clear();
                }
                self.identities.insert(path, id);
            }
            None => {
                self.identities.remove(&path);
            }
        }
    }

    /// Gives a renamed file its identity at the new path. Events may still have the old one.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.identify(to, self.identities.get(&Fingerprint::of(from)).copied());
    }

    /// Returns whether the file at a path has an identity.
    pub fn identifies(&self, path: &str) -> bool {
        self.identities.contains_key(&Fingerprint::of(path))
    }

    /// Returns the key of the file at a path.
    fn key(&self, path: &str) -> Fingerprint {
        let path = Fingerprint::of(path);
        self.identities.get(&path).copied().unwrap_or(path)
    }

    /// Returns whether no earlier process has handled an event.
    ///
    /// Events of a file that was never read are new if they are later than the last commit,
    /// less the time that a follower needs to notice a file. Of a file that was read, only the
    /// later lines are new, whatever the times of the events: the clock of a session may be ahead.
    /// A file that was truncated has another identity if it begins with another line. At the
    /// first start nothing is new.
    pub fn is_new(&self, event: &Event) -> bool {
        let Some(Earlier { started, stopped }) = self.earlier else { return false };
        let cursor = event.origin.as_ref().and_then(|origin| {
            let cursor = self.lines.get(&self.key(&origin.file))?;
            Some((cursor, origin))
        });
        match cursor {
            Some((cursor, origin)) => cursor.line < origin.line,
            None => started.max(stopped - UNNOTICED) <= event.at.as_second(),
        }
    }

    /// Returns the time of the last commit of an earlier process; `None` at the first start.
    pub fn stopped_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.earlier?.stopped).ok()
    }

    /// Adds the line of an event to the next commit.
    pub fn advance(&mut self, event: &Event) {
        if let Some(origin) = &event.origin {
            match self.next.get_mut(&origin.file) {
                Some(line) => *line = origin.line.max(*line),
                None => _ = self.next.insert(origin.file.clone(), origin.line),
            }
        }
    }

    /// Returns whether lines were added since the last commit.
    pub fn is_dirty(&self) -> bool {
        !self.next.is_empty()
    }

    /// Stores the lines that were added: all events up to them are handled, and their findings
    /// are stored. Lines that cannot be written are written with the next ones.
    pub fn commit(&mut self, clock: &dyn Clock) -> io::Result<()> {
        let now = clock.now().as_second();
        let mut written = Ok(());
        let mut next = mem::take(&mut self.next).into_iter().peekable();
        while let Some((path, line)) = next.next() {
            // The last record alone is as late as the commit: to the next process, the events of
            // a file whose record is cut off are new.
            let second = if next.peek().is_some() { self.committed } else { now };
            let (file, cursor) = (self.key(&path), Cursor { line, second });
            self.lines.insert(file, cursor);
            written = written.and(self.file.append_or_keep(&cursor.encode(file)));
        }
        self.committed = now;
        self.compact_if_large(now);
        written
    }

    fn compact_if_large(&mut self, now: i64) {
        let live_bytes = self.lines.len() as u64 * RECORD_LEN;
        if MIN_COMPACTED.max(3 * live_bytes) < self.file.len() {
            // A failure leaves the file unchanged; the next commit tries again.
            let _ = self.compact(now);
        }
    }

    fn compact(&mut self, now: i64) -> io::Result<()> {
        let oldest = now - REMEMBERED.as_secs();
        let start = self.earlier.map(|earlier| earlier.started);
        self.lines.retain(|_, cursor| oldest <= cursor.second || Some(cursor.second) == start);
        let mut cursors: Vec<_> = self.lines.iter().collect();
        // The first record has the start, and the last one the last commit.
        cursors.sort_by_key(|(_, cursor)| cursor.second);
        let bodies = cursors.into_iter().map(|(file, cursor)| cursor.encode(*file));
        self.file.replace(bodies.map(NewBody::Bytes)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        time::Duration,
    };

    use watchkeeper_core::{
        Event, EventKind, Fingerprint, SignedDuration, Timestamp,
        author::Origin,
        clock::{Clock as _, ManualClock},
    };

    use super::{Cursors, RECORD_LEN};
    use crate::DiskStorage;

    /// Makes an event at a line of a file.
    fn event(file: &str, line: u64, at: Timestamp) -> Event {
        let mut event = Event::new(at, "s1", EventKind::TurnEnd);
        event.origin = Some(Origin { source: "ndjson", file: file.into(), line });
        event
    }

    #[test]
    fn only_lines_behind_the_last_commit_are_new() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || {
            let storage = DiskStorage::open(&folder.path().join("cursors")).unwrap();
            Cursors::open(storage, &clock, None).unwrap()
        };
        let secs = SignedDuration::from_secs;
        let start = clock.now();
        let mut cursors = open();
        assert_eq!(cursors.stopped_at(), None);
        assert!(!cursors.is_new(&event("a", 1, start)), "at the first start");
        for line in 1..=3 {
            cursors.advance(&event("a", line, start));
        }
        clock.advance(Duration::from_secs(300));
        cursors.commit(&clock).unwrap();
        cursors.advance(&event("a", 4, start));
        // The process is killed before the next commit.
        clock.advance(Duration::from_secs(300));
        let cursors = open();
        assert_eq!(cursors.stopped_at(), Some(start + secs(300)));
        for (event, is_new) in [
            (event("a", 3, start + secs(300)), false),
            (event("a", 4, start), true),
            (event("b", 1, start + secs(239)), false),
            (event("b", 1, start + secs(240)), true),
        ] {
            assert_eq!(cursors.is_new(&event), is_new, "{event:?}");
        }
    }

    #[test]
    fn a_place_belongs_to_the_file_and_not_to_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || {
            let storage = DiskStorage::open(&folder.path().join("cursors")).unwrap();
            Cursors::open(storage, &clock, None).unwrap()
        };
        let [one, two] = [1, 2].map(|n| Some(Fingerprint::from(n)));
        let start = clock.now();
        let mut cursors = open();
        clock.advance(Duration::from_secs(300));
        cursors.identify("a", one);
        cursors.advance(&event("a", 5, start));
        cursors.rename("a", "b");
        cursors.advance(&event("b", 6, start));
        cursors.advance(&event("unidentified", 7, start));
        cursors.commit(&clock).unwrap();
        let stopped = clock.now();

        let mut cursors = open();
        cursors.identify("a", two);
        cursors.identify("c", one);
        let secs = SignedDuration::from_secs;
        for (event, is_new) in [
            // Renamed.
            (event("c", 6, stopped), false),
            (event("c", 7, start), true),
            // Replaced.
            (event("a", 1, stopped), true),
            (event("a", 1, start), false),
            // By a clock that is ahead.
            (event("c", 6, stopped + secs(1)), false),
            // Without an identity.
            (event("unidentified", 7, start), false),
            (event("unidentified", 8, start), true),
        ] {
            assert_eq!(cursors.is_new(&event), is_new, "{event:?}");
        }
    }

    #[test]
    fn a_commit_that_is_cut_off_hides_no_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursors");
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || Cursors::open(DiskStorage::open(&path).unwrap(), &clock, None).unwrap();
        let mut cursors = open();
        let start = clock.now();
        clock.advance(Duration::from_secs(300));
        let at = clock.now();
        clock.advance(Duration::from_secs(300));
        cursors.advance(&event("a", 1, at));
        cursors.advance(&event("b", 1, at));
        cursors.commit(&clock).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(whole - RECORD_LEN).unwrap();
        let cursors = open();
        assert!(!cursors.is_new(&event("a", 1, start)));
        assert!(cursors.is_new(&event("b", 1, at)));
    }

    #[test]
    fn a_lost_file_is_no_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let storage = DiskStorage::open(&folder.path().join("cursors")).unwrap();
        let cursors = Cursors::open(storage, &clock, Some(clock.now())).unwrap();
        assert_eq!(cursors.n_damaged(), 1);
        assert!(cursors.is_new(&event("a", 1, clock.now())));
        assert!(!cursors.is_new(&event("a", 1, clock.now() - SignedDuration::from_secs(1))));
    }

    #[test]
    fn a_clock_that_was_ahead_hides_no_session() {
        let folder = tempfile::tempdir().unwrap();
        let open = |clock: &ManualClock| {
            let storage = DiskStorage::open(&folder.path().join("cursors")).unwrap();
            Cursors::open(storage, clock, None).unwrap()
        };
        let clock = ManualClock::new("2027-11-01T08:00:00Z".parse().unwrap());
        open(&clock).commit(&clock).unwrap();
        clock.adjust(SignedDuration::from_hours(-365 * 24));
        assert_eq!(open(&clock).stopped_at(), Some(clock.now()));
    }
}
