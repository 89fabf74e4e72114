//! Recorded sessions: finding their files, telling what wrote them, and reading
//! them to the end.

use std::{
    collections::BTreeSet,
    fmt, fs,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use watchkeeper_core::{
    DedupCache, Entry, Event, EventSink, Kinds, SkippedLines, Source, SourceEntry,
};

use crate::{Line, LineBytes, Lines};

/// How much of a file tells what wrote it.
const HEAD: usize = 64 << 10;

/// A session file, to be read from beginning to end.
pub struct SessionFile {
    name: Arc<str>,
    kind: &'static SourceEntry,
    source: Box<dyn Source>,
    lines: Lines<Box<dyn Read + Send>>,
    /// The number of the latest line.
    number: u64,
    unread: SkippedLines,
    is_finished: bool,
}

/// Why a session file cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be opened, or read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// No kind of source recognizes it.
    #[error("{} is not a session of {}; name its kind with `--source`", .path.display(), one_of(.known))]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// The kinds there are, sorted.
        known: Vec<&'static str>,
    },
}

fn one_of(known: &[&str]) -> String {
    match known {
        [] => "any known agent".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Opens a session file. What wrote it is told by its first 64 KiB, unless
/// `kind` says it.
pub fn open(
    path: &Path,
    kind: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> Result<SessionFile, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    // Opening a pipe would wait for whoever writes to it, and a folder opens.
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut file = File::open(path).map_err(failed)?;
    if let Some(kind) = kind {
        return Ok(SessionFile::new(path, Box::new(file), kind));
    }
    let mut head = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    let kind = recognize(path, &head, kinds).ok_or_else(|| OpenError::Unrecognized {
        path: path.to_owned(),
        known: kinds.iter().map(Entry::kind).collect(),
    })?;
    let reader: Box<dyn Read + Send> = match file.seek(SeekFrom::Start(0)) {
        Ok(_) => Box::new(file),
        // A pipe: what was read is gone from it.
        Err(_) => Box::new(io::Cursor::new(head).chain(file)),
    };
    Ok(SessionFile::new(path, reader, kind))
}

/// The kind of source that recognizes a file by its path and how it begins;
/// the first in order of name if several do.
pub fn recognize(
    path: &Path,
    head: &[u8],
    kinds: &Kinds<SourceEntry>,
) -> Option<&'static SourceEntry> {
    kinds.iter().find(|it| it.recognizes(path, head))
}

impl SessionFile {
    /// Reads a session from `reader`; `path` is what it is called.
    pub fn new(path: &Path, reader: Box<dyn Read + Send>, kind: &'static SourceEntry) -> Self {
        Self {
            name: path.to_string_lossy().into(),
            kind,
            source: kind.open(path),
            lines: Lines::new(reader),
            number: 0,
            unread: SkippedLines::default(),
            is_finished: false,
        }
    }

    /// What wrote it.
    pub fn kind(&self) -> &'static SourceEntry {
        self.kind
    }

    /// Reads the next line, and appends its events to `events`: none, one or
    /// several. Says whether there may be more to read.
    pub fn read_next(
        &mut self,
        seen: &mut DedupCache,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        if self.is_finished {
            return Ok(false);
        }
        let (kind, name) = (self.kind.kind(), &self.name);
        match self.lines.next()? {
            Some(Line { bytes: LineBytes::Whole(bytes), number, .. }) => {
                self.number = number;
                let mut sink = EventSink::new(kind, name, number, events, &mut self.unread, seen);
                self.source.read_line(bytes, &mut sink);
            }
            Some(Line { bytes: LineBytes::TooLong, number, .. }) => {
                self.number = number;
                self.unread.count("too long");
            }
            None => {
                let number = self.number;
                let mut sink = EventSink::new(kind, name, number, events, &mut self.unread, seen);
                self.source.finish(&mut sink);
                self.is_finished = true;
            }
        }
        Ok(!self.is_finished)
    }

    /// Reads to the end. Every line's events are handed on before the next line
    /// is read.
    pub fn read(
        &mut self,
        seen: &mut DedupCache,
        on_event: &mut dyn FnMut(Event),
    ) -> io::Result<()> {
        let mut events = Vec::new();
        let mut has_more = true;
        while has_more {
            has_more = self.read_next(seen, &mut events)?;
            events.drain(..).for_each(&mut *on_event);
        }
        Ok(())
    }

    /// What was not read so far.
    pub fn unread(&self) -> &SkippedLines {
        &self.unread
    }
}

impl fmt::Debug for SessionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFile")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Finds session files: the named ones, and those in the named folders and the
/// folders in them.
///
/// In folders only names that end in `.jsonl`, `.ndjson`, `.json` and `.traj`
/// count.
/// Links are followed, each folder is walked once, and what cannot be looked
/// into is left out. The files come in order of their path, each once, with a
/// session's own before those in its folder.
pub fn discover(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Vec<PathBuf> {
    let mut walked = BTreeSet::new();
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for path in paths {
        let path = path.into();
        if path.is_dir() {
            folders.push(path);
        } else {
            files.push(path);
        }
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::canonicalize(&folder).and_then(|canonical| {
            if walked.insert(canonical) { fs::read_dir(&folder).map(Some) } else { Ok(None) }
        }) else {
            continue;
        };
        for path in entries.into_iter().flatten().flatten().map(|it| it.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if is_session_name(&path) && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    files.dedup();
    files
}

/// Whether a file in a folder is taken for a session, by its name.
pub fn is_session_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    matches!(extension, "jsonl" | "ndjson" | "json" | "traj") && !name.ends_with(".meta.json")
}
