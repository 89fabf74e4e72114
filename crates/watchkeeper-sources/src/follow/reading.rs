//! One file that is being read, a slice at a time.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    mem,
    path::Path,
    sync::Arc,
};

use memchr::memchr;
use watchkeeper_core::{
    DedupCache, Entry as _, Event, EventSink, Fingerprint, SkippedLines, Source, SourceEntry,
};

use super::{Stamp, Update};
use crate::lines::{Line, LineBuffer, LineBytes, Position};

/// How much of a file's beginning tells it from another one, in bytes.
const HEAD: usize = 256;
/// How much is read of one file before it is another one's turn, in bytes. A
/// line that is longer is read to its end.
const SLICE: u64 = 4 << 20;
/// A line without end that is longer than this is not read again before its
/// end has come, in bytes.
const LONG: u64 = 256 << 10;

/// What reading takes that all files share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// What is held of the file that is being read. Of all others nothing is
    /// held: the part of a line that has no end yet stays on the disk.
    lines: LineBuffer,
    events: Vec<Event>,
    seen: DedupCache,
    pub(super) n_lines: u64,
    pub(super) n_bytes: u64,
    pub(super) unread: SkippedLines,
}

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// To the end of the file.
    End,
    /// There is more.
    More,
    /// Nowhere: what was read is no longer there.
    Rewritten,
}

/// A session that is being read.
pub(super) struct Reading {
    kind: &'static SourceEntry,
    source: Box<dyn Source>,
    /// The name that its events carry.
    pub(super) file: Arc<str>,
    /// The end of the last line that was read.
    position: Position,
    head: Head,
    /// Up to where there is no line break after the position.
    n_searched: u64,
    /// The file as it was read, if it is one that is written anew as a whole.
    stamp: Option<Stamp>,
}

/// The beginning of what was read: what tells a file that grew from one that
/// was written anew.
#[derive(Clone, Copy)]
struct Head {
    len: usize,
    fingerprint: Fingerprint,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), fingerprint: Fingerprint::of(bytes) }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.len).is_some_and(|it| Fingerprint::of(it) == self.fingerprint)
    }
}

impl Reading {
    pub(super) fn kind(&self) -> &'static str {
        self.kind.kind()
    }

    pub(super) fn new(kind: &'static SourceEntry, path: &Path, file: Arc<str>) -> Self {
        Self {
            kind,
            source: kind.open(path),
            file,
            position: Position::default(),
            head: Head::of(b""),
            n_searched: 0,
            stamp: None,
        }
    }

    /// Reads the lines that were added.
    pub(super) fn read(
        &mut self,
        mut file: &File,
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> io::Result<Progress> {
        let mut bytes = [0; HEAD];
        let n_bytes = read_head(file, &mut bytes)?;
        let head = &bytes[..n_bytes];
        let metadata = file.metadata()?;
        let len = metadata.len();
        if len < self.position.offset || !self.head.is_in(head) {
            return Ok(Progress::Rewritten);
        }
        let is_whole = self.kind.is_rewritten();
        if is_whole {
            let stamp = Stamp::of(&metadata);
            if self.stamp.replace(stamp).is_some_and(|it| it != stamp) {
                return Ok(Progress::Rewritten);
            }
        }
        if !self.has_line(file, len)? {
            return Ok(Progress::End);
        }

        let start = self.position;
        file.seek(SeekFrom::Start(start.offset))?;
        shared.lines.restart(start);
        let mut n_read = 0;
        let result = loop {
            match shared.lines.fill(&mut file) {
                Ok(0) => {
                    if is_whole {
                        self.take_last_line(shared, out);
                    }
                    break Ok(Progress::End);
                }
                Ok(n) => n_read += n as u64,
                Err(error) => break Err(error),
            }
            self.take_lines(shared, out);
            if SLICE <= n_read && self.position != start {
                break Ok(Progress::More);
            }
        };
        shared.n_bytes += self.position.offset - start.offset;
        self.n_searched = start.offset + n_read;
        if self.head.len < HEAD {
            // Only what was handed on: the rest may yet be taken back.
            let len = usize::try_from(self.position.offset).unwrap_or(HEAD).min(n_bytes);
            self.head = Head::of(&head[..len]);
        }
        result
    }

    /// Whether it is worth reading on: a long line whose end has not come
    /// would be read again and again, as it grows.
    fn has_line(&mut self, mut file: &File, len: u64) -> io::Result<bool> {
        let n_held = self.n_searched.saturating_sub(self.position.offset);
        if n_held < LONG || len <= self.n_searched || 0 < self.position.passed_over {
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
        }
    }

    fn take_lines(&mut self, shared: &mut Shared, out: &mut dyn FnMut(Update)) {
        let mut lines = mem::take(&mut shared.lines);
        while let Some(line) = lines.next_line() {
            self.take_line(line, shared, out);
        }
        self.position = lines.position();
        shared.lines = lines;
    }

    /// Takes a line without a break: should it go on, all is read anew.
    fn take_last_line(&mut self, shared: &mut Shared, out: &mut dyn FnMut(Update)) {
        let mut lines = mem::take(&mut shared.lines);
        if let Some(line) = lines.last_line() {
            self.take_line(line, shared, out);
        }
        self.position = lines.position();
        shared.lines = lines;
    }

    fn take_line(&mut self, line: Line<'_>, shared: &mut Shared, out: &mut dyn FnMut(Update)) {
        shared.n_lines += 1;
        let mut unread = SkippedLines::default();
        if let LineBytes::Whole(bytes) = line.bytes {
            let mut sink = EventSink::new(
                self.kind.kind(),
                &self.file,
                line.number,
                &mut shared.events,
                &mut unread,
                &mut shared.seen,
            );
            self.source.read_line(bytes, &mut sink);
        } else {
            unread.count("too long");
        }
        report(&unread, line.number, &self.file, out);
        shared.unread.add(&unread);
        for event in shared.events.drain(..) {
            out(Update::Event(event));
        }
    }
}

fn report(unread: &SkippedLines, line: u64, file: &Arc<str>, out: &mut dyn FnMut(Update)) {
    for reason in unread.lines.keys() {
        out(Update::UnreadLine { file: Arc::clone(file), line, reason });
    }
}

/// Reads the beginning of a file, as far as there is room for it.
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
