use std::{
    collections::{BTreeMap, HashMap},
    io, mem,
    sync::Arc,
};

use watchkeeper_core::{Event, Fingerprint, SignedDuration, Timestamp, clock::Clock};

use crate::{
    record_file::{HEADER, NewBody, RecordFile},
    storage::Storage,
};

/// The name and the version of the format.
const NAME: &[u8; HEADER] = b"wk-cursors\0\x01";
/// The time for which the place in a file is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The size below which the file is not compacted, in bytes.
const MIN_COMPACTED: u64 = 1 << 20;
/// The length of a record.
const RECORD_LEN: u64 = 36;

/// The last lines of session files whose events a monitor has handled.
///
/// After a restart, the events behind them are new: no monitor has observed them. The lines may
/// be older than the last events that were handled: findings that were stored are not delivered
/// again.
#[derive(Debug)]
pub struct Cursors<S> {
    file: RecordFile<S>,
    /// By the hash of the path.
    lines: HashMap<Fingerprint, Cursor>,
    /// The second of the last commit of an earlier process; `None` at the first start.
    stopped_at: Option<i64>,
    /// The lines since the last commit.
    next: BTreeMap<Arc<str>, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    line: u64,
    /// The second of the commit, since 1970.
    second: i64,
}

impl Cursor {
    fn encode(self, path: Fingerprint) -> Vec<u8> {
        let mut body = path.get().to_le_bytes().to_vec();
        body.extend(self.line.to_le_bytes());
        body.extend(self.second.to_le_bytes());
        body
    }

    fn parse(body: &[u8]) -> Option<(Fingerprint, Self)> {
        let (path, rest) = body.split_first_chunk()?;
        let (line, rest) = rest.split_first_chunk()?;
        let second = i64::from_le_bytes(rest.try_into().ok()?);
        let cursor = Self { line: u64::from_le_bytes(*line), second };
        Some((Fingerprint::from(u64::from_le_bytes(*path)), cursor))
    }
}

impl<S: Storage> Cursors<S> {
    /// Reads the cursors of an earlier process; an empty file is a new one.
    pub fn open(storage: S, clock: &dyn Clock) -> io::Result<Self> {
        let mut lines = HashMap::new();
        let mut stopped_at = None;
        let file = RecordFile::open(storage, NAME, |_, body| {
            let Some((path, cursor)) = Cursor::parse(body) else { return false };
            stopped_at = stopped_at.max(Some(cursor.second));
            lines.insert(path, cursor);
            true
        })?;
        let mut opened = Self { file, lines, stopped_at, next: BTreeMap::new() };
        if stopped_at.is_none() {
            // A session that begins after the end of this process is new to the next one.
            let start = Cursor { line: 0, second: clock.now().as_second() };
            opened.file.append_or_keep(&start.encode(Fingerprint::NONE))?;
        }
        opened.compact_if_large(clock);
        Ok(opened)
    }

    /// Returns whether no earlier process has handled an event.
    ///
    /// Events of a file that was never read are new if their times are. At the first start
    /// nothing is new.
    pub fn is_new(&self, event: &Event) -> bool {
        let Some(stopped_at) = self.stopped_at else { return false };
        let origin = event.origin.as_ref();
        let cursor = origin.and_then(|origin| {
            let cursor = self.lines.get(&Fingerprint::of(&*origin.file))?;
            Some((cursor, origin))
        });
        match cursor {
            Some((cursor, origin)) => cursor.line < origin.line,
            None => stopped_at <= event.at.as_second(),
        }
    }

    /// Returns the time of the last commit of an earlier process; `None` at the first start.
    pub fn stopped_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.stopped_at?).ok()
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
        let second = clock.now().as_second();
        let mut written = Ok(());
        for (path, line) in mem::take(&mut self.next) {
            let (path, cursor) = (Fingerprint::of(&*path), Cursor { line, second });
            self.lines.insert(path, cursor);
            written = written.and(self.file.append_or_keep(&cursor.encode(path)));
        }
        self.compact_if_large(clock);
        written
    }

    fn compact_if_large(&mut self, clock: &dyn Clock) {
        let live_bytes = self.lines.len() as u64 * RECORD_LEN;
        if self.file.len() <= MIN_COMPACTED.max(3 * live_bytes) {
            return;
        }
        let oldest = clock.now().as_second() - REMEMBERED.as_secs();
        self.lines.retain(|_, cursor| oldest <= cursor.second);
        let bodies = self.lines.iter().map(|(path, cursor)| cursor.encode(*path));
        // A failure leaves the file unchanged; the next commit tries again.
        let _ = self.file.replace(bodies.map(NewBody::Bytes));
    }
}
