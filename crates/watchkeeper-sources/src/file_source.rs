//! The source of one file. Calls to a source pass through here, so that a panic
//! ends the reading of one file and not the program.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use thiserror::Error;
use tracing::{debug, enabled, trace, warn};
use watchkeeper_core::{
    Event, Finding, Fingerprint, Severity, Source, Timestamp,
    author::{ClientTotal, DedupCache, EventSink, SkippedLines, make_safe, panic_message},
    embed::{Entry as _, SourceEntry},
    quote,
};

use crate::lines::{BYTE_ORDER_MARK, trim_nul};

/// The `tracing` target of events about recognizing and reading files.
pub(crate) const TARGET: &str = "watchkeeper::source";

/// A panic of a source, which ended the reading of a file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("source `{kind}` panicked: {message}")]
#[non_exhaustive]
pub struct SourcePanic {
    /// The kind of the source.
    pub kind: &'static str,
    /// The message of the panic, quoted and safe for a terminal.
    pub message: String,
}

impl SourcePanic {
    fn new(entry: &SourceEntry, payload: &(dyn Any + Send)) -> Self {
        let message = panic_message(payload).unwrap_or("no message");
        Self { kind: entry.kind(), message: quote(message) }
    }

    /// Makes a finding of class `error` about the file that was not read to its
    /// end.
    ///
    /// There is one fingerprint for each source and file.
    pub fn finding(&self, at: Timestamp, file: &str) -> Finding {
        let message = format!("{self}; {} is not read any further", quote(file));
        let mut finding = Finding::about_monitor(at, "source", Severity::Medium, message);
        let subject = Fingerprint::of(self.kind).and(Fingerprint::of(file));
        finding.id = finding.id.and(subject);
        finding.fingerprint = finding.fingerprint.and(subject);
        finding.source = Some(self.kind);
        finding.data.insert("file".to_owned(), make_safe(file).into());
        finding
    }
}

/// The reason why a session file cannot be read any further.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The source of the file panicked.
    #[error(transparent)]
    Panic(#[from] SourcePanic),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            ReadError::Panic(panic) => Self::other(panic),
        }
    }
}

/// Returns the first of `kinds` that recognizes a file by its path and its first
/// bytes. A database is recognized by its tables instead.
///
/// A kind that panics is skipped. The panic is the error if no other kind
/// recognizes the file.
pub(crate) fn recognize_among(
    kinds: impl IntoIterator<Item = &'static SourceEntry>,
    path: &Path,
    head: &[u8],
) -> Result<Option<&'static SourceEntry>, SourcePanic> {
    // Readers of lines remove the mark, too.
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let mut first_panic = None;
    for kind in kinds {
        match guard(kind, path, || kind.recognizes(path, head)) {
            Ok(true) => {
                debug!(target: TARGET, file = safe(path), kind = kind.kind(), "recognized a file");
                return Ok(Some(kind));
            }
            Ok(false) => {
                trace!(target: TARGET, file = safe(path), kind = kind.kind(), "not of this kind");
            }
            Err(panic) => first_panic = first_panic.or(Some(panic)),
        }
    }
    debug!(target: TARGET, file = safe(path), n_bytes = head.len(), "no source recognizes a file");
    first_panic.map_or(Ok(None), Err)
}

/// Returns whether one of `kinds` reads files with the name of `path` in folders.
pub fn is_session_name<'a>(path: &Path, kinds: impl IntoIterator<Item = &'a SourceEntry>) -> bool {
    kinds.into_iter().any(|kind| kind.reads_name(path))
}

/// Calls a source, and returns its panic as an error.
///
/// A source that panicked must not be called again: its state is unspecified.
fn guard<T>(entry: &SourceEntry, path: &Path, call: impl FnOnce() -> T) -> Result<T, SourcePanic> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let panic = SourcePanic::new(entry, payload.as_ref());
        warn!(target: TARGET, file = safe(path), error = %panic, "a source panicked");
        panic
    })
}

fn safe(path: &Path) -> String {
    make_safe(&path.to_string_lossy())
}

/// Logs the number of skipped lines of a file by reason.
pub(crate) fn log_skipped_lines(file: &str, skipped: &SkippedLines) {
    if (skipped.lines.is_empty() && skipped.parts.is_empty())
        || !enabled!(target: TARGET, tracing::Level::DEBUG)
    {
        return;
    }
    let (file, n_lines) = (make_safe(file), skipped.total());
    let (lines, parts) = (&skipped.lines, &skipped.parts);
    debug!(target: TARGET, file, n_lines, ?lines, ?parts, "skipped lines or parts of lines");
}

/// The source of one file, with the panics of the source turned into errors.
pub(crate) struct FileSource {
    entry: &'static SourceEntry,
    source: Box<dyn Source>,
    /// The file name in the origins of events.
    file: Arc<str>,
}

impl FileSource {
    /// Creates the source of the file at `path`. `file` is the name in the
    /// origins of events.
    pub(crate) fn open(
        entry: &'static SourceEntry,
        path: &Path,
        file: Arc<str>,
    ) -> Result<Self, SourcePanic> {
        let source = guard(entry, path, || entry.open(path))?;
        Ok(Self { entry, source, file })
    }

    pub(crate) fn entry(&self) -> &'static SourceEntry {
        self.entry
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(crate) fn client_total(&self) -> Option<ClientTotal> {
        self.source.client_total()
    }

    /// Renames the file in the origins of later events. Returns the old name.
    pub(crate) fn rename(&mut self, file: Arc<str>) -> Arc<str> {
        std::mem::replace(&mut self.file, file)
    }

    /// Reads a line, and appends its events to `events`. A line that panics adds
    /// no events.
    pub(crate) fn read_line(
        &mut self,
        line: &[u8],
        number: u64,
        events: &mut Vec<Event>,
        skipped_lines: &mut SkippedLines,
        dedup_cache: &mut DedupCache,
    ) -> Result<(), SourcePanic> {
        self.call(number, events, skipped_lines, dedup_cache, |source, sink| {
            source.read_line(trim_nul(line), sink);
        })
    }

    /// Ends the file, of which `number` is the last line.
    pub(crate) fn finish(
        &mut self,
        number: u64,
        events: &mut Vec<Event>,
        skipped_lines: &mut SkippedLines,
        dedup_cache: &mut DedupCache,
    ) -> Result<(), SourcePanic> {
        self.call(number, events, skipped_lines, dedup_cache, |source, sink| source.finish(sink))
    }

    /// Reports a pause after the line `number`.
    pub(crate) fn pause(
        &mut self,
        number: u64,
        events: &mut Vec<Event>,
        skipped_lines: &mut SkippedLines,
        dedup_cache: &mut DedupCache,
    ) -> Result<(), SourcePanic> {
        self.call(number, events, skipped_lines, dedup_cache, |source, sink| source.pause(sink))
    }

    fn call(
        &mut self,
        number: u64,
        events: &mut Vec<Event>,
        skipped_lines: &mut SkippedLines,
        dedup_cache: &mut DedupCache,
        call: impl FnOnce(&mut dyn Source, &mut EventSink<'_>),
    ) -> Result<(), SourcePanic> {
        let Self { entry, source, file } = self;
        let n_before = events.len();
        let mut sink =
            EventSink::new(entry.kind(), file, number, events, skipped_lines, dedup_cache);
        let result = guard(entry, Path::new(&**file), || call(source.as_mut(), &mut sink));
        if result.is_err() {
            events.truncate(n_before);
        }
        result
    }
}
