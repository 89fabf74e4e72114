use std::{
    collections::{BTreeMap, HashMap},
    io, iter, mem,
};

use watchkeeper_core::{Event, Fingerprint, SignedDuration, Timestamp, clock::Clock};

use crate::{
    record::HEAD,
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
/// The largest number of files whose identities are kept, and of places from which the older half
/// is forgotten.
const MAX_FILES: usize = 1 << 18;
/// The number of fields of a record.
const N_FIELDS: usize = 6;
/// The length of a record.
const RECORD_LEN: u64 = (HEAD + N_FIELDS * size_of::<u64>()) as u64;

/// The last lines of session files whose events a monitor has handled.
///
/// After a restart, the events behind them are new: no monitor has observed them. The lines may
/// be older than the last events that were handled: findings that were stored are not delivered
/// again.
///
/// A file keeps its place under another name if it has an [identity](Self::identify). A file
/// that replaces another one at the same path has no place. The place of a file whose content was
/// replaced can be [forgotten](Self::forget): it has the end of the content that was read.
#[derive(Debug)]
pub struct Cursors<S> {
    file: RecordFile<S>,
    /// By the identity of the file, or by the hash of the path if that is unknown: the first line
    /// may not be complete.
    lines: HashMap<Fingerprint, Cursor>,
    /// The identities of files, by the hash of the path.
    identities: HashMap<Fingerprint, Fingerprint>,
    /// The keys of the places that earlier processes have stored, by the hash of the path.
    earlier_paths: HashMap<Fingerprint, Fingerprint>,
    /// `None` at the first start.
    earlier: Option<Earlier>,
    /// The file of an earlier process was empty.
    is_lost: bool,
    /// The second of the first start.
    started: i64,
    /// The second of the last commit, of this process or an earlier one.
    committed: i64,
    /// The places since the last commit, each with the hash of the path.
    next: BTreeMap<Fingerprint, (Fingerprint, Place)>,
}

/// A place in a session file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line of the last event that was handled; 0 without one.
    pub line: u64,
    /// The end of the bytes that were read, and a hash of the bytes before it; `None` if they may
    /// change.
    pub content: Option<(u64, Fingerprint)>,
}

/// The seconds, since 1970, of the first start and of the last commit of earlier processes.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    started: i64,
    stopped: i64,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    place: Place,
    /// The second of the commit, since 1970.
    second: i64,
    /// The hash of the path.
    path: Fingerprint,
}

impl Cursor {
    /// Makes a record without a file, which has the second of a start or of a commit.
    const fn mark(second: i64) -> Self {
        let place = Place { line: 0, content: None };
        Self { place, second, path: Fingerprint::NONE }
    }

    fn encode(self, file: Fingerprint) -> Vec<u8> {
        let Self { place: Place { line, content }, second, path } = self;
        // Where something was read, the end is not zero.
        let (end, hash) = content.unwrap_or_default();
        let fields: [u64; N_FIELDS] =
            [file.get(), line, second.cast_unsigned(), path.get(), end, hash.get()];
        fields.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    fn parse(body: &[u8]) -> Option<(Fingerprint, Self)> {
        let (fields, []) = body.as_chunks() else { return None };
        let fields: Vec<u64> = fields.iter().copied().map(u64::from_le_bytes).collect();
        let [file, line, second, path, end, hash] = fields[..].try_into().ok()?;
        let content = (0 < end).then_some((end, Fingerprint::from(hash)));
        let (place, path) = (Place { line, content }, Fingerprint::from(path));
        let cursor = Self { place, second: second.cast_signed(), path };
        Some((Fingerprint::from(file), cursor))
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
        let (mut lines, mut earlier_paths) = (HashMap::new(), HashMap::new());
        let mut earlier: Option<Earlier> = None;
        let file = RecordFile::open(storage, FORMAT, |_, body| {
            let Some((file, cursor)) = Cursor::parse(body) else { return false };
            // The last record, since the clock may have been set back.
            let started = earlier.map_or(cursor.second, |earlier| earlier.started);
            earlier = Some(Earlier { started, stopped: cursor.second });
            if file != Fingerprint::NONE {
                earlier_paths.insert(cursor.path, file);
                lines.insert(file, cursor);
            }
            true
        })?;
        let now = clock.now().as_second();
        let is_lost = earlier.is_none() && worked_until.is_some();
        if let Some(worked_until) = worked_until.filter(|_| is_lost) {
            let stopped = worked_until.as_second();
            earlier = Some(Earlier { started: stopped, stopped });
        }
        let started = earlier.map_or(now, |earlier| earlier.started);
        let committed = earlier.map_or(now, |earlier| earlier.stopped.min(now));
        let mut opened = Self {
            file,
            lines,
            identities: HashMap::new(),
            earlier_paths,
            earlier,
            is_lost,
            started,
            committed,
            next: BTreeMap::new(),
        };
        if opened.file.has_damaged_header() {
            opened.compact(now)?;
        }
        match &mut opened.earlier {
            Some(earlier) => earlier.stopped = earlier.stopped.min(now),
            // A session that begins after the end of this process is new to the next one.
            None => {
                opened.file.append_or_keep(&Cursor::mark(now).encode(Fingerprint::NONE))?;
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

    /// Returns the place that earlier processes have stored for the file that was at a path.
    pub fn earlier_place(&self, path: &str) -> Option<Place> {
        self.place(*self.earlier_paths.get(&Fingerprint::of(path))?)
    }

    /// Returns the stored place of the file with an identity.
    pub fn place(&self, id: Fingerprint) -> Option<Place> {
        self.lines.get(&id).map(|cursor| cursor.place)
    }

    /// Forgets the place of the file with an identity, since its content was replaced.
    pub fn forget(&mut self, id: Fingerprint) {
        self.lines.remove(&id);
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
            Some((cursor, origin)) => cursor.place.line < origin.line,
            None => started.max(stopped - UNNOTICED) <= event.at.as_second(),
        }
    }

    /// Returns the time of the last commit of an earlier process; `None` at the first start.
    pub fn stopped_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.earlier?.stopped).ok()
    }

    /// Adds the place up to which a file was read to the next commit. `id` is the identity of the
    /// file; `None` if that is unknown.
    pub fn advance(&mut self, path: &str, id: Option<Fingerprint>, place: Place) {
        let path = Fingerprint::of(path);
        self.next.insert(id.unwrap_or(path), (path, place));
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
        while let Some((file, (path, place))) = next.next() {
            // The last record alone is as late as the commit: to the next process, the events of
            // a file whose record is cut off are new.
            let second = if next.peek().is_some() { self.committed } else { now };
            let cursor = Cursor { place, second, path };
            self.lines.insert(file, cursor);
            written = written.and(self.file.append_or_keep(&cursor.encode(file)));
        }
        self.committed = now;
        if MAX_FILES < self.lines.len() {
            let mut oldest: Vec<_> = self.lines.iter().map(|(id, it)| (it.second, *id)).collect();
            let (_, median, _) = oldest.select_nth_unstable(MAX_FILES / 2);
            let median = *median;
            self.lines.retain(|id, it| median < (it.second, *id));
        }
        self.compact_if_large(now);
        written
    }

    fn compact_if_large(&mut self, now: i64) {
        // With the start and the last commit.
        let live_bytes = (self.lines.len() as u64 + 2) * RECORD_LEN;
        if MIN_COMPACTED.max(3 * live_bytes) < self.file.len() {
            // A failure leaves the file unchanged; the next commit tries again.
            let _ = self.compact(now);
        }
    }

    fn compact(&mut self, now: i64) -> io::Result<()> {
        let oldest = now - REMEMBERED.as_secs();
        self.lines.retain(|_, it| oldest <= it.second);
        // The first record has the start and the last one the last commit, also if no place is as
        // late or the clock was set back.
        let [start, commit] = [self.started, self.committed]
            .map(|second| Cursor::mark(second).encode(Fingerprint::NONE));
        let cursors = self.lines.iter().map(|(file, cursor)| cursor.encode(*file));
        let bodies = iter::once(start).chain(cursors).chain([commit]);
        self.file.replace(bodies.map(NewBody::Bytes)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        path::Path,
        time::Duration,
    };

    use watchkeeper_core::{
        Event, EventKind, Fingerprint, SignedDuration, Timestamp,
        author::Origin,
        clock::{Clock as _, ManualClock},
    };

    use super::{Cursors, MAX_FILES, Place, RECORD_LEN};
    use crate::DiskStorage;

    /// Opens the cursors of a folder, as a start of the program does.
    fn open_in(folder: &Path, clock: &ManualClock) -> Cursors<DiskStorage> {
        let storage = DiskStorage::open(&folder.join("cursors")).unwrap();
        Cursors::open(storage, clock, None).unwrap()
    }

    /// Makes an event at a line of a file.
    fn event(file: &str, line: u64, at: Timestamp) -> Event {
        let mut event = Event::new(at, "s1", EventKind::TurnEnd);
        event.origin = Some(Origin { source: "ndjson", file: file.into(), line });
        event
    }

    /// Returns the place behind an event at a line.
    fn at_line(line: u64) -> Place {
        Place { line, content: None }
    }

    #[test]
    fn only_lines_behind_the_last_commit_are_new() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || open_in(folder.path(), &clock);
        let secs = SignedDuration::from_secs;
        let start = clock.now();
        let mut cursors = open();
        assert_eq!(cursors.stopped_at(), None);
        assert!(!cursors.is_new(&event("a", 1, start)), "at the first start");
        for line in 1..=3 {
            cursors.advance("a", None, at_line(line));
        }
        clock.advance(Duration::from_secs(300));
        cursors.commit(&clock).unwrap();
        cursors.advance("a", None, at_line(4));
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
        let open = || open_in(folder.path(), &clock);
        let [one, two] = [1, 2].map(|n| Some(Fingerprint::from(n)));
        let start = clock.now();
        let mut cursors = open();
        clock.advance(Duration::from_secs(300));
        cursors.identify("a", one);
        cursors.advance("a", one, at_line(5));
        cursors.rename("a", "b");
        cursors.advance("b", one, at_line(6));
        cursors.advance("unidentified", None, at_line(7));
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
        let open = || open_in(folder.path(), &clock);
        let mut cursors = open();
        let start = clock.now();
        clock.advance(Duration::from_secs(300));
        let at = clock.now();
        clock.advance(Duration::from_secs(300));
        // In the order of their keys.
        cursors.advance("a", Some(Fingerprint::from(1)), at_line(1));
        cursors.advance("b", Some(Fingerprint::from(2)), at_line(1));
        cursors.commit(&clock).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(whole - RECORD_LEN).unwrap();
        let mut cursors = open();
        cursors.identify("a", Some(Fingerprint::from(1)));
        cursors.identify("b", Some(Fingerprint::from(2)));
        assert!(!cursors.is_new(&event("a", 1, start)));
        assert!(cursors.is_new(&event("b", 1, at)));
    }

    #[test]
    fn a_place_that_is_stored_late_belongs_to_the_file_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || open_in(folder.path(), &clock);
        let [one, two] = [1, 2].map(|n| Some(Fingerprint::from(n)));
        let content = Some((9, Fingerprint::from(7)));
        let mut cursors = open();
        cursors.identify("a", one);
        cursors.advance("a", one, Place { line: 5, content });
        // Replaced before the commit.
        cursors.identify("a", two);
        cursors.advance("a", two, at_line(1));
        cursors.commit(&clock).unwrap();
        let mut cursors = open();
        cursors.identify("a", two);
        assert!(cursors.is_new(&event("a", 2, clock.now())));
        assert_eq!(cursors.place(Fingerprint::from(1)), Some(Place { line: 5, content }));
        assert_eq!(cursors.earlier_place("a"), Some(at_line(1)));
        cursors.forget(Fingerprint::from(2));
        assert_eq!(cursors.earlier_place("a"), None);
    }

    #[test]
    fn of_too_many_places_the_latest_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let storage = DiskStorage::open(&folder.path().join("cursors")).unwrap();
        let mut cursors = Cursors::open(storage, &clock, None).unwrap();
        for part in 0..2 {
            clock.advance(Duration::from_secs(60));
            for n in 0..=MAX_FILES as u64 / 2 {
                let id = Fingerprint::from(1 + 2 * n + part);
                cursors.advance("a", Some(id), at_line(1));
            }
            cursors.commit(&clock).unwrap();
        }
        assert!(cursors.lines.len() <= MAX_FILES);
        assert_eq!(cursors.place(Fingerprint::from(1)), None);
        let last = Fingerprint::from(MAX_FILES as u64 + 2);
        assert_eq!(cursors.place(last), Some(at_line(1)));
    }

    #[test]
    fn the_start_and_the_last_commit_outlive_the_places() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-11-01T08:00:00Z".parse().unwrap());
        let open = || open_in(folder.path(), &clock);
        let mut cursors = open();
        let commit = |cursors: &mut Cursors<_>, file: &str| {
            cursors.advance(file, None, at_line(1));
            cursors.commit(&clock).unwrap();
        };
        clock.advance(Duration::from_secs(7_200));
        commit(&mut cursors, "a");
        // The clock is set back.
        clock.adjust(SignedDuration::from_hours(-1));
        commit(&mut cursors, "b");
        let stopped = clock.now();
        for pause in [Duration::ZERO, Duration::from_hours(91 * 24)] {
            clock.advance(pause);
            let mut cursors = open();
            cursors.compact(clock.now().as_second()).unwrap();
            let cursors = open();
            assert_eq!(cursors.stopped_at(), Some(stopped));
            let before = stopped - SignedDuration::from_secs(300);
            assert!(!cursors.is_new(&event("c", 1, before)), "after {pause:?}");
            assert!(cursors.is_new(&event("c", 1, stopped)), "after {pause:?}");
        }
        assert_eq!(open().earlier_place("a"), None);
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
