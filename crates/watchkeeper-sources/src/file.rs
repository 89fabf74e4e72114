//! Recorded sessions: finding their files, recognizing their source, and reading
//! them to the end.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use memchr::memchr;
use thiserror::Error;
use watchkeeper_core::{
    Event, Timestamp,
    author::{ClientTotal, DedupCache, SkippedLines, make_safe},
    embed::{Entry, Kinds, SourceEntry},
};

use crate::{
    Line, LineBytes, Lines, MAX_LINE, ReadError, SourcePanic, compressed,
    database::{self, Row, Rows},
    file_source::{FileSource, log_skipped_lines, recognize_among},
    kernel_files::refuse_kernel_file,
    unsupported,
};

/// The part of a file that [`recognize`] receives first, in bytes. If no source
/// recognizes the file, `recognize` receives the whole line at its end, too.
pub(crate) const HEAD: usize = 64 << 10;

/// A session file that is read from beginning to end.
pub struct SessionFile {
    source: FileSource,
    content: FileContent,
    /// The number of the latest line.
    line_number: u64,
    skipped_lines: SkippedLines,
    is_finished: bool,
}

/// The source of the lines of a session file.
enum FileContent {
    Lines(Lines<Box<dyn Read + Send>>),
    Rows(Rows),
}

/// The reason why a session file cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be opened or read.
    #[error("cannot read {}", make_safe(&.path.to_string_lossy()))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// No source recognizes the file.
    #[error("{} {}", make_safe(&.path.to_string_lossy()), not_recognized(*.content, *.agent))]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// The available kinds of source, sorted.
        known: Vec<&'static str>,
        /// The agent without a source that writes such files.
        agent: Option<&'static str>,
        /// The content of the file.
        content: Content,
    },
    /// A source panicked while it recognized or opened the file.
    #[error(transparent)]
    Panic(#[from] SourcePanic),
}

/// The content of a file that no source recognizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// No bytes.
    Empty,
    /// Text, as far as the file was read.
    Text,
    /// Bytes that are no text.
    Binary,
}

impl Content {
    pub(crate) fn of(head: &[u8]) -> Self {
        /// Length of the longest character. A head can end within one.
        const MAX_CHAR: usize = 4;
        match head.utf8_chunks().next() {
            None => Self::Empty,
            Some(chunk)
                if chunk.valid().contains('\0') || chunk.valid().len() + MAX_CHAR < head.len() =>
            {
                Self::Binary
            }
            Some(_) => Self::Text,
        }
    }
}

fn not_recognized(content: Content, agent: Option<&str>) -> String {
    match (agent, content) {
        (Some(agent), _) => format!("is a session of {agent}, which is not supported"),
        (None, Content::Empty) => "is empty".to_owned(),
        (None, Content::Binary) => "is a binary file".to_owned(),
        (None, Content::Text) => {
            "is not a session of a known agent; name its kind with `--source`".to_owned()
        }
    }
}

/// Opens a session file with the source `kind`, or with the source that
/// recognizes its first lines: 64 KiB, and the line that ends after them up to
/// [`MAX_LINE`].
///
/// A file with a name such as `rollout.jsonl.zst` is decompressed, up to 1 GiB.
///
/// A pipe is read from its present position, and can be opened only once; see
/// [`open_bytes`].
pub fn open(
    path: &Path,
    kind: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> Result<SessionFile, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    // Opening a FIFO would block until another process writes to it, and opening
    // a folder succeeds.
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    refuse_kernel_file(&metadata).map_err(failed)?;
    if metadata.is_file()
        && let Some(original) = compressed::original(path)
    {
        return open_compressed(path, &original, kind, kinds);
    }
    let mut file = File::open(path).map_err(failed)?;
    if let Some(kind) = kind {
        return match open_database(path, kind)? {
            Some(database) => Ok(database),
            None => Ok(SessionFile::new(path, Box::new(file), kind)?),
        };
    }
    let mut head = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    if metadata.is_file() && database::is_database(&head) {
        let kind = database::kind_of(kinds.iter(), path).map_err(failed)?;
        let database = kind.map(|kind| open_database(path, kind)).transpose()?.flatten();
        return database.ok_or_else(|| unrecognized(path, &head, kinds.iter()));
    }
    let kind = recognize_rest(path, &mut file, &mut head, kinds)?;
    let kind = kind.ok_or_else(|| unrecognized(path, &head, kinds.iter()))?;
    let reader: Box<dyn Read + Send> = match file.seek(SeekFrom::Start(0)) {
        Ok(_) => Box::new(file),
        // A pipe cannot be read again.
        Err(_) => Box::new(io::Cursor::new(head).chain(file)),
    };
    Ok(SessionFile::new(path, reader, kind)?)
}

/// Opens a compressed file, which its source knows by the path of the original.
fn open_compressed(
    path: &Path,
    original: &Path,
    kind: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> Result<SessionFile, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let mut reader = compressed::open(path).map_err(failed)?;
    let mut head = Vec::new();
    let kind = match kind {
        Some(kind) => kind,
        None => {
            (&mut reader).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
            let recognized = recognize_rest(original, &mut reader, &mut head, kinds)?;
            recognized.ok_or_else(|| unrecognized(path, &head, kinds.iter()))?
        }
    };
    let lines = Lines::new(Box::new(io::Cursor::new(head).chain(reader)) as Box<dyn Read + Send>);
    let source = FileSource::open(kind, original, path.to_string_lossy().into())?;
    Ok(SessionFile::of(source, FileContent::Lines(lines)))
}

/// Returns the kind that recognizes the beginning of a file, with the rest of its last line if that
/// is necessary. `rest` reads on after the beginning.
fn recognize_rest(
    path: &Path,
    rest: impl Read,
    head: &mut Vec<u8>,
    kinds: &Kinds<SourceEntry>,
) -> Result<Option<&'static SourceEntry>, OpenError> {
    let recognized = recognize(path, head, kinds)?;
    if recognized.is_some() || head.len() < HEAD {
        return Ok(recognized);
    }
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    read_to_line_end(rest, head).map_err(failed)?;
    Ok(recognize(path, head, kinds)?)
}

/// Opens a database of the agent of `kind`. Returns `None` if the file at `path` is no database,
/// or if the agent has none.
///
/// No file stays open: the database is opened for each read.
pub fn open_database(
    path: &Path,
    kind: &'static SourceEntry,
) -> Result<Option<SessionFile>, OpenError> {
    let Some(database) = kind.database() else { return Ok(None) };
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    if !database::is_at(path).map_err(failed)? {
        return Ok(None);
    }
    let rows = Rows::new(path.to_owned(), database);
    Ok(Some(SessionFile::with_content(path, FileContent::Rows(rows), kind)?))
}

/// Opens the sessions of a database that have changed since a time, and those that began after the
/// first of them. Returns `None` if the file at `path` is no database.
pub fn open_recent(
    path: &Path,
    kinds: &Kinds<SourceEntry>,
    since: Timestamp,
) -> Result<Option<SessionFile>, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    if !database::is_at(path).map_err(failed)? {
        return Ok(None);
    }
    let kind = database::kind_of(kinds.iter(), path).map_err(failed)?;
    let kind = kind.ok_or_else(|| unrecognized(path, b"", kinds.iter()))?;
    let Some(database) = kind.database() else { return Ok(None) };
    let start = database::start(path, database, since).map_err(failed)?;
    let rows = Rows::after(path.to_owned(), database, start);
    Ok(Some(SessionFile::with_content(path, FileContent::Rows(rows), kind)?))
}

/// Opens a session whose bytes are in memory, such as the contents of a pipe.
///
/// `path` is the name of the session. The source is `kind`, or the source that
/// recognizes the bytes.
pub fn open_bytes(
    path: &Path,
    bytes: Arc<[u8]>,
    kind: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> Result<SessionFile, OpenError> {
    let kind = match kind {
        Some(kind) => kind,
        None => {
            let head = &bytes[..head_len(&bytes)];
            recognize(path, head, kinds)?.ok_or_else(|| unrecognized(path, head, kinds.iter()))?
        }
    };
    Ok(SessionFile::new(path, Box::new(io::Cursor::new(bytes)), kind)?)
}

/// Makes the error about a file that begins with `head`, which none of `kinds` recognizes.
pub(crate) fn unrecognized(
    path: &Path,
    head: &[u8],
    kinds: impl Iterator<Item = &'static SourceEntry>,
) -> OpenError {
    OpenError::Unrecognized {
        path: path.to_owned(),
        known: kinds.map(Entry::kind).collect(),
        agent: unsupported::agent_of(path, head),
        content: Content::of(head),
    }
}

/// Returns the length of the whole lines that begin in the first [`HEAD`] bytes, at most
/// `HEAD` and [`MAX_LINE`] bytes.
fn head_len(bytes: &[u8]) -> usize {
    let Some(after) = bytes.get(HEAD..) else { return bytes.len() };
    let after = &after[..after.len().min(MAX_LINE)];
    HEAD + memchr(b'\n', after).unwrap_or(after.len())
}

/// Appends the remaining bytes of a line to its beginning, at most [`MAX_LINE`] bytes.
pub(crate) fn read_to_line_end(mut file: impl Read, head: &mut Vec<u8>) -> io::Result<()> {
    const STEP: u64 = 256 << 10;
    let max_len = head.len() + MAX_LINE;
    while head.len() < max_len {
        let n_before = head.len();
        (&mut file).take(STEP).read_to_end(head)?;
        if head.len() == n_before || memchr(b'\n', &head[n_before..]).is_some() {
            break;
        }
    }
    Ok(())
}

/// Returns the kind of source that recognizes a file by its path and its first
/// bytes: the first one in order of name.
///
/// A kind that panics is skipped. The panic is the error if no other kind
/// recognizes the file.
pub fn recognize(
    path: &Path,
    head: &[u8],
    kinds: &Kinds<SourceEntry>,
) -> Result<Option<&'static SourceEntry>, SourcePanic> {
    recognize_among(kinds.iter(), path, head)
}

impl SessionFile {
    /// Creates a session file that reads from `reader`. `path` is its name.
    ///
    /// Fails if the source panics.
    pub fn new(
        path: &Path,
        reader: Box<dyn Read + Send>,
        kind: &'static SourceEntry,
    ) -> Result<Self, SourcePanic> {
        Self::with_content(path, FileContent::Lines(Lines::new(reader)), kind)
    }

    fn with_content(
        path: &Path,
        content: FileContent,
        kind: &'static SourceEntry,
    ) -> Result<Self, SourcePanic> {
        Ok(Self::of(FileSource::open(kind, path, path.to_string_lossy().into())?, content))
    }

    fn of(source: FileSource, content: FileContent) -> Self {
        Self {
            source,
            content,
            line_number: 0,
            skipped_lines: SkippedLines::default(),
            is_finished: false,
        }
    }

    /// Returns the kind of the source that reads the file.
    pub fn kind(&self) -> &'static SourceEntry {
        self.source.entry()
    }

    /// Reads the next line, and appends its events to `events`: none, one or
    /// several. Returns whether there may be more lines.
    ///
    /// After an error the file is at its end.
    pub fn read_next(
        &mut self,
        dedup_cache: &mut DedupCache,
        events: &mut Vec<Event>,
    ) -> Result<bool, ReadError> {
        if self.is_finished {
            return Ok(false);
        }
        let result = self.try_read_next(dedup_cache, events);
        self.is_finished = !matches!(result, Ok(true));
        if self.is_finished {
            log_skipped_lines(self.source.file(), &self.skipped_lines);
        }
        result
    }

    fn try_read_next(
        &mut self,
        dedup_cache: &mut DedupCache,
        events: &mut Vec<Event>,
    ) -> Result<bool, ReadError> {
        let skipped_lines = &mut self.skipped_lines;
        let row;
        let line = match &mut self.content {
            FileContent::Lines(lines) => lines.next()?,
            FileContent::Rows(rows) => {
                row = rows.next()?;
                row.as_ref().map(Row::line)
            }
        };
        let Some(Line { bytes, number, .. }) = line else {
            self.source.finish(self.line_number, events, skipped_lines, dedup_cache)?;
            return Ok(false);
        };
        self.line_number = number;
        match bytes {
            LineBytes::Whole(bytes) => {
                self.source.read_line(bytes, number, events, skipped_lines, dedup_cache)?;
            }
            LineBytes::TooLong => skipped_lines.count("too long", self.source.file(), number),
        }
        Ok(true)
    }

    /// Reads all lines. Passes the events of each line to `on_event` before it
    /// reads the next line.
    pub fn read(
        &mut self,
        dedup_cache: &mut DedupCache,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), ReadError> {
        let mut events = Vec::new();
        let mut has_more = true;
        while has_more {
            has_more = self.read_next(dedup_cache, &mut events)?;
            events.drain(..).for_each(&mut *on_event);
        }
        Ok(())
    }

    /// Returns the totals that the agent's client wrote to the file so far.
    pub fn client_total(&self) -> Option<ClientTotal> {
        self.source.client_total()
    }

    /// Returns the counts of skipped lines so far.
    pub fn skipped_lines(&self) -> &SkippedLines {
        &self.skipped_lines
    }
}

impl fmt::Debug for SessionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFile")
            .field("name", self.source.file())
            .field("kind", self.kind())
            .finish_non_exhaustive()
    }
}
