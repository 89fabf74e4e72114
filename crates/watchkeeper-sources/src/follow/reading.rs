//! One followed file, read a slice at a time.

use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    mem,
    path::Path,
    sync::Arc,
};

use memchr::memchr;
use watchkeeper_core::{
    Event, Fingerprint,
    author::{DedupCache, SkippedLines},
    embed::{Entry as _, SourceEntry},
};

use super::{
    mark::ReadMark, platform::Identity, row_state::RowState, stamp::Stamp, update::Update,
};
use crate::{
    MAX_LINE, ReadError, SourcePanic,
    file_source::{FileSource, log_skipped_lines},
    lines::{Line, LineBuffer, LineBytes, Position},
};

/// The length of the beginning of a file that identifies its content, in bytes.
const HEAD: usize = 256;
/// The number of bytes that are read from one file before the next file's turn. A
/// longer line is read to its end.
pub(super) const SLICE: u64 = 4 << 20;
/// An unfinished line that is longer than this is read again only when its end
/// has arrived, in bytes.
pub(super) const LONG: u64 = 256 << 10;

/// Buffers and counts that all followed files share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The bytes of the file that is being read. Unfinished lines are not kept
    /// between reads: they are read from the file again.
    lines: LineBuffer,
    events: Vec<Event>,
    dedup_cache: DedupCache,
    pub(super) n_lines: u64,
    pub(super) n_bytes: u64,
    pub(super) skipped_lines: SkippedLines,
}

/// The result of reading a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The file was read to its end.
    End,
    /// There is more to read.
    More,
    /// Nothing was read: the content that was read before has changed.
    Rewritten,
}

/// A session file that is being read.
pub(super) struct Reading {
    source: FileSource,
    /// The end of the last line that was read.
    pub(super) position: Position,
    head: Head,
    /// The end of the lines that were read; `None` for files that are rewritten as a whole.
    pub(super) mark: Option<ReadMark>,
    /// The identity for later processes, once the first line was read.
    pub(super) id: Option<Fingerprint>,
    /// The line of the last event.
    event_line: u64,
    /// The offset up to which there is no line break after the position.
    pub(super) n_searched: u64,
    /// The stamp of the file when it was read, for files that are rewritten as a
    /// whole.
    stamp: Option<Stamp>,
    /// The rest of the state of a database.
    pub(super) rows: Option<RowState>,
    skipped_lines: SkippedLines,
}

/// The beginning of a file as it was read. It differs if the file was rewritten,
/// and is equal if the file only grew.
#[derive(Clone, Copy)]
struct Head {
    len: usize,
    fingerprint: Fingerprint,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), fingerprint: Fingerprint::of(bytes) }
    }

    fn is_start_of(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.len).is_some_and(|head| Fingerprint::of(head) == self.fingerprint)
    }
}

impl Reading {
    pub(super) fn kind(&self) -> &'static str {
        self.source.entry().kind()
    }

    /// Returns whether it is amid a line that is too long.
    pub(super) fn is_skipping(&self) -> bool {
        0 < self.position.skipped
    }

    /// Returns the file name in the origins of events.
    pub(super) fn file(&self) -> &Arc<str> {
        self.source.file()
    }

    /// Renames the file in the origins of later events. Returns the old name.
    pub(super) fn rename(&mut self, file: Arc<str>) -> Arc<str> {
        self.source.rename(file)
    }

    /// Starts to read a file, or a database from the sessions that have changed since a time.
    pub(super) fn new(
        kind: &'static SourceEntry,
        path: &Path,
        file: Arc<str>,
        rows: Option<RowState>,
    ) -> Result<Self, SourcePanic> {
        Ok(Self {
            source: FileSource::open(kind, path, file)?,
            position: Position::default(),
            head: Head::of(b""),
            mark: None,
            id: None,
            event_line: 0,
            n_searched: 0,
            stamp: None,
            rows,
            skipped_lines: SkippedLines::default(),
        })
    }

    /// Returns whether the agent replaces the whole file.
    fn is_rewritten(&self) -> bool {
        self.source.entry().is_rewritten()
    }

    pub(super) fn is_database(&self) -> bool {
        self.rows.is_some()
    }

    /// Returns whether lines that are read again give no events again.
    pub(super) fn is_read_again(&self) -> bool {
        self.is_database() || self.is_rewritten()
    }

    /// Reports a pause to the source.
    pub(super) fn pause(
        &mut self,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        let mut skipped_lines = SkippedLines::default();
        let Shared { events, dedup_cache, .. } = shared;
        let line = self.position.lines;
        let result = self.source.pause(line, events, &mut skipped_lines, dedup_cache);
        shared.skipped_lines.add(&skipped_lines);
        self.skipped_lines.add(&skipped_lines);
        if self.pass_events(shared, out) {
            out(self.read_update());
        }
        result
    }

    /// Reads a slice of the lines that were added to the file at `path`, which is open.
    pub(super) fn read(
        &mut self,
        path: &Path,
        file: &File,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<Progress, ReadError> {
        match self.rows {
            Some(rows) => self.read_rows(rows, path, file, shared, out),
            None => self.read_bytes(file, shared, out),
        }
    }

    fn read_bytes(
        &mut self,
        mut file: &File,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<Progress, ReadError> {
        let mut bytes = [0; HEAD];
        let n_bytes = read_head(file, &mut bytes)?;
        let head = &bytes[..n_bytes];
        let metadata = file.metadata()?;
        let len = metadata.len();
        if len < self.position.offset || !self.head.is_start_of(head) {
            return Ok(Progress::Rewritten);
        }
        let is_same = self.mark.map_or(Ok(true), |mark| mark.is_in_file(file))?;
        if !is_same {
            return Ok(Progress::Rewritten);
        }
        let is_whole = self.is_rewritten();
        if is_whole {
            let stamp = Stamp::of(&metadata);
            if self.stamp.replace(stamp).is_some_and(|before| before != stamp) {
                return Ok(Progress::Rewritten);
            }
        }
        if !self.may_have_line(file, len)? {
            return Ok(Progress::End);
        }

        let start = self.position;
        file.seek(SeekFrom::Start(start.offset))?;
        shared.lines.restart(start);
        let mut n_read = 0;
        let result = loop {
            match shared.lines.fill(&mut file) {
                Ok(0) => {
                    let read = if is_whole { self.read_last_line(shared, out) } else { Ok(()) };
                    break read.map(|()| Progress::End).map_err(ReadError::from);
                }
                Ok(n) => n_read += n as u64,
                Err(error) => break Err(error.into()),
            }
            if let Err(panic) = self.read_lines(shared, out) {
                break Err(panic.into());
            }
            if SLICE <= n_read && self.position != start {
                break Ok(Progress::More);
            }
        };
        if self.position != start {
            if self.id.is_none()
                && let Some(first_line) = beginning_of_first_line(head)
            {
                self.identify(&metadata, first_line, out);
            }
            if !is_whole {
                self.mark = ReadMark::at(file, self.position.offset)?;
            }
            out(self.read_update());
        }
        shared.n_bytes += self.position.offset - start.offset;
        self.n_searched = start.offset + n_read;
        if self.head.len < HEAD {
            // Only lines that were read: unfinished ones may still change.
            let len = usize::try_from(self.position.offset).unwrap_or(HEAD).min(n_bytes);
            self.head = Head::of(&head[..len]);
        }
        result
    }

    /// Reports the identity of the file for later processes.
    pub(super) fn identify(
        &mut self,
        metadata: &Metadata,
        first_line: &[u8],
        out: &mut dyn FnMut(Update),
    ) {
        let identity = Identity::of(Path::new(&**self.file()), metadata);
        self.identify_as(identity.lasting().and(Fingerprint::of(first_line)), out);
    }

    /// Reports an identity of the file by its number and its first bytes.
    pub(super) fn identify_by(
        &mut self,
        number: Fingerprint,
        bytes: &[u8],
        out: &mut dyn FnMut(Update),
    ) {
        let first_line = beginning_of_first_line(&bytes[..bytes.len().min(HEAD)]);
        if let Some(first_line) = first_line.filter(|_| self.id.is_none()) {
            self.identify_as(number.and(Fingerprint::of(first_line)), out);
        }
    }

    fn identify_as(&mut self, id: Fingerprint, out: &mut dyn FnMut(Update)) {
        self.id = Some(id);
        out(Update::FirstLine { file: Arc::clone(self.file()), id });
    }

    /// Reads lines from the bytes that follow the position. `is_end` is whether the file ends with
    /// them.
    pub(super) fn read_slice(
        &mut self,
        mut bytes: &[u8],
        is_end: bool,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        let start = self.position;
        let n_read = bytes.len() as u64;
        shared.lines.restart(start);
        let mut result = Ok(());
        // Memory is read without errors.
        while result.is_ok() && shared.lines.fill(&mut bytes).is_ok_and(|n| 0 < n) {
            result = self.read_lines(shared, out);
        }
        if is_end && self.is_rewritten() && result.is_ok() {
            result = self.read_last_line(shared, out);
        }
        if self.position != start {
            out(self.read_update());
        }
        shared.n_bytes += self.position.offset - start.offset;
        self.n_searched = start.offset + n_read;
        result
    }

    /// Returns whether the file may contain a complete line after the position. A
    /// long unfinished line is not read again each time that it grows.
    fn may_have_line(&mut self, mut file: &File, len: u64) -> io::Result<bool> {
        let n_held = self.n_searched.saturating_sub(self.position.offset);
        if n_held < LONG || len <= self.n_searched || 0 < self.position.skipped {
            return Ok(true);
        }
        let mut chunk = vec![0; 64 << 10];
        file.seek(SeekFrom::Start(self.n_searched))?;
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(false),
                n if memchr(b'\n', &chunk[..n]).is_some() => return Ok(true),
                n => self.n_searched += n as u64,
            }
            // The line is too long: its bytes are skipped a slice at a time.
            if self.position.offset + (MAX_LINE as u64) < self.n_searched {
                return Ok(true);
            }
        }
    }

    fn read_lines(
        &mut self,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        let mut lines = mem::take(&mut shared.lines);
        let mut result = Ok(());
        while result.is_ok()
            && let Some(line) = lines.next_line()
        {
            result = self.read_line(line, shared, out);
        }
        self.position = lines.position();
        shared.lines = lines;
        result
    }

    /// Reads a line without a line break. If the line grows later, the whole file
    /// is read again.
    fn read_last_line(
        &mut self,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        let mut lines = mem::take(&mut shared.lines);
        let result = lines.last_line().map_or(Ok(()), |line| self.read_line(line, shared, out));
        self.position = lines.position();
        shared.lines = lines;
        result
    }

    pub(super) fn read_line(
        &mut self,
        line: Line<'_>,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        shared.n_lines += 1;
        let mut skipped_lines = SkippedLines::default();
        let result = if let LineBytes::Whole(bytes) = line.bytes {
            let Shared { events, dedup_cache, .. } = shared;
            self.source.read_line(bytes, line.number, events, &mut skipped_lines, dedup_cache)
        } else {
            skipped_lines.count("too long", self.source.file(), line.number);
            Ok(())
        };
        for reason in skipped_lines.lines.keys() {
            let file = Arc::clone(self.file());
            out(Update::SkippedLine { file, line: line.number, reason });
        }
        shared.skipped_lines.add(&skipped_lines);
        self.skipped_lines.add(&skipped_lines);
        self.pass_events(shared, out);
        result
    }

    /// Passes the events that were made. Returns whether there were any.
    fn pass_events(&mut self, shared: &mut Shared, out: &mut dyn FnMut(Update)) -> bool {
        let has_events = !shared.events.is_empty();
        for event in shared.events.drain(..) {
            let line = event.origin.as_ref().map_or(0, |origin| origin.line);
            self.event_line = self.event_line.max(line);
            out(Update::Event(event));
        }
        has_events
    }

    pub(super) fn read_update(&self) -> Update {
        let Self { id, event_line: line, mark, position, .. } = *self;
        Update::Read { file: Arc::clone(self.file()), id, line, n_lines: position.lines, mark }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        log_skipped_lines(self.source.file(), &self.skipped_lines);
    }
}

/// Returns the part of the first line that identifies a file: all of it, or as much as `head`
/// can have. `None` if more of it may follow.
fn beginning_of_first_line(head: &[u8]) -> Option<&[u8]> {
    let end = memchr(b'\n', head);
    end.or_else(|| (HEAD == head.len()).then_some(HEAD)).map(|end| &head[..end])
}

/// Reads the beginning of a file into `bytes`. Returns the number of bytes.
pub(super) fn read_head(mut file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(0))?;
    let mut n_bytes = 0;
    while n_bytes < bytes.len() {
        match file.read(&mut bytes[n_bytes..]) {
            Ok(0) => break,
            Ok(n) => n_bytes += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n_bytes)
}
