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
    Event,
    author::{ClientTotal, DedupCache, SkippedLines, make_safe},
    embed::{Entry, Kinds, SourceEntry},
};

use crate::{
    Line, LineBytes, Lines, MAX_LINE, ReadError, SourcePanic,
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
    lines: Lines<Box<dyn Read + Send>>,
    /// The number of the latest line.
    line_number: u64,
    skipped_lines: SkippedLines,
    is_finished: bool,
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
    #[error("{} {}", make_safe(&.path.to_string_lossy()), not_recognized(*.content, *.agent, .known))]
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
    fn of(head: &[u8]) -> Self {
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

fn not_recognized(content: Content, agent: Option<&str>, known: &[&str]) -> String {
    match (agent, content) {
        (Some(agent), _) => {
            format!("is a session of {agent}, which is not supported; supported: {}", any_of(known))
        }
        (None, Content::Empty) => "is empty".to_owned(),
        (None, Content::Binary) => "is a binary file".to_owned(),
        (None, Content::Text) => {
            format!("is not a session of {}; name its kind with `--source`", any_of(known))
        }
    }
}

fn any_of(kinds: &[&str]) -> String {
    match kinds {
        [] => "any known agent".to_owned(),
        [kind] => (*kind).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Opens a session file with the source `kind`, or with the source that
/// recognizes its first lines: 64 KiB, and the line that ends after them up to
/// [`MAX_LINE`].
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
    let mut file = File::open(path).map_err(failed)?;
    if let Some(kind) = kind {
        return Ok(SessionFile::new(path, Box::new(file), kind)?);
    }
    let mut head = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    let mut recognized = recognize(path, &head, kinds)?;
    if recognized.is_none() && head.len() == HEAD {
        read_to_line_end(&mut file, &mut head).map_err(failed)?;
        recognized = recognize(path, &head, kinds)?;
    }
    let kind = recognized.ok_or_else(|| unrecognized(path, &head, kinds))?;
    let reader: Box<dyn Read + Send> = match file.seek(SeekFrom::Start(0)) {
        Ok(_) => Box::new(file),
        // A pipe cannot be read again.
        Err(_) => Box::new(io::Cursor::new(head).chain(file)),
    };
    Ok(SessionFile::new(path, reader, kind)?)
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
            recognize(path, head, kinds)?.ok_or_else(|| unrecognized(path, head, kinds))?
        }
    };
    Ok(SessionFile::new(path, Box::new(io::Cursor::new(bytes)), kind)?)
}

fn unrecognized(path: &Path, head: &[u8], kinds: &Kinds<SourceEntry>) -> OpenError {
    OpenError::Unrecognized {
        path: path.to_owned(),
        known: kinds.iter().map(Entry::kind).collect(),
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
        Ok(Self {
            source: FileSource::open(kind, path, path.to_string_lossy().into())?,
            lines: Lines::new(reader),
            line_number: 0,
            skipped_lines: SkippedLines::default(),
            is_finished: false,
        })
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
        let Some(Line { bytes, number, .. }) = self.lines.next()? else {
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
