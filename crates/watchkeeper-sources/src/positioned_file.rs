//! Reads a session file from any of its lines on.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::de::IgnoredAny;
use watchkeeper_core::{
    Event,
    author::{DedupCache, SkippedLines},
    embed::{Kinds, SourceEntry},
};

use crate::{
    LineBuffer, LineBytes, OpenError, Position, ReadError, ReadMark,
    file::{HEAD, recognize, unrecognized},
    file_source::FileSource,
    kernel_files::refuse_kernel_file,
    lines::{first_line, trim_nul},
};

/// A session file whose whole lines can be read from any position on, in any order.
///
/// The source keeps its state when the position changes: lines that contain what the source has to
/// know, such as the id of the session, can be read before others.
pub struct PositionedFile {
    source: FileSource,
    is_document: bool,
    file: File,
    lines: LineBuffer,
    skipped_lines: SkippedLines,
    dedup_cache: DedupCache,
}

impl PositionedFile {
    /// Opens a regular file with the source `kind`, or with the source that recognizes its first
    /// 64 KiB.
    pub fn open(
        path: &Path,
        kind: Option<&'static SourceEntry>,
        kinds: &Kinds<SourceEntry>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        // Opening a pipe would wait for the other end.
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        refuse_kernel_file(&metadata).map_err(failed)?;
        let file = File::open(path).map_err(failed)?;
        let mut head = Vec::with_capacity(HEAD);
        (&file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        let kind = match kind {
            Some(kind) => kind,
            None => {
                let recognized = recognize(path, &head, kinds)?;
                recognized.ok_or_else(|| unrecognized(path, &head, kinds.iter()))?
            }
        };
        let source = FileSource::open(kind, path, path.to_string_lossy().into())?;
        let mut opened = Self {
            is_document: kind.is_rewritten() || is_document(path, &head),
            source,
            file,
            lines: LineBuffer::default(),
            skipped_lines: SkippedLines::default(),
            dedup_cache: DedupCache::default(),
        };
        opened.seek(Position::default()).map_err(failed)?;
        Ok(opened)
    }

    /// Returns the kind of the source that reads the file.
    pub fn kind(&self) -> &'static SourceEntry {
        self.source.entry()
    }

    /// Returns whether the lines are parts of one JSON document, which has to be read from its
    /// beginning.
    pub fn is_document(&self) -> bool {
        self.is_document
    }

    /// Returns the present size of the file, in bytes.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Returns the position of the next line.
    pub fn position(&self) -> Position {
        self.lines.position()
    }

    /// Continues at the beginning of another line.
    pub fn seek(&mut self, position: Position) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(position.offset))?;
        self.lines.restart(position);
        Ok(())
    }

    /// Makes a mark of the bytes before an offset; `None` if the file is shorter. The position of
    /// the next line has to be set again afterwards.
    pub fn mark(&self, offset: u64) -> io::Result<Option<ReadMark>> {
        ReadMark::at(&self.file, offset)
    }

    /// Reads the next line that has a line break at its end, and appends its events to `events`.
    /// Returns `false` if there is none.
    pub fn read_next(&mut self, events: &mut Vec<Event>) -> Result<bool, ReadError> {
        let Self { source, file, lines, skipped_lines, dedup_cache, .. } = self;
        let line = loop {
            if let Some(found) = lines.find() {
                break lines.line(&found);
            }
            if lines.fill(file)? == 0 {
                return Ok(false);
            }
        };
        match line.bytes {
            LineBytes::Whole(bytes) => {
                source.read_line(bytes, line.number, events, skipped_lines, dedup_cache)?;
            }
            LineBytes::TooLong => skipped_lines.count("too long", source.file(), line.number),
        }
        Ok(true)
    }

    /// Reads the rest of the file after the last line break, and appends its events to `events`, if
    /// it is a whole JSON object or the end of a document. Nothing else is read then: its agent may
    /// still write it.
    ///
    /// Call this after [`read_next`](Self::read_next) has returned `false`, as the last use of the
    /// file: the line is not the next one any more, and its agent may add the line break.
    pub fn read_last(&mut self, events: &mut Vec<Event>) -> Result<(), ReadError> {
        let is_document = self.is_document();
        let Self { source, lines, skipped_lines, dedup_cache, .. } = self;
        let Some(line) = lines.last_line() else { return Ok(()) };
        if let LineBytes::Whole(bytes) = line.bytes
            && (is_document || is_object(bytes))
        {
            source.read_line(bytes, line.number, events, skipped_lines, dedup_cache)?;
        }
        Ok(())
    }
}

/// Returns whether a file has the name of a document, or its first line begins JSON that continues
/// in the next line.
fn is_document(path: &Path, head: &[u8]) -> bool {
    let line = first_line(head).trim_ascii();
    path.extension().is_some_and(|extension| extension == "json")
        || matches!(line, [b'{' | b'[', ..]) && matches!(line, [.., b'{' | b'[' | b','])
}

/// Returns whether a line is a JSON object. No part of an object is one.
fn is_object(line: &[u8]) -> bool {
    let line = trim_nul(line).trim_ascii();
    line.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

impl fmt::Debug for PositionedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PositionedFile")
            .field("name", self.source.file())
            .field("kind", self.kind())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::Path};

    use watchkeeper_core::{
        Event,
        embed::{Entry as _, Registry},
    };

    use super::{PositionedFile, is_document};
    use crate::Position;

    fn read(file: &mut PositionedFile) -> Vec<Event> {
        let mut events = Vec::new();
        while file.read_next(&mut events).unwrap() {}
        events
    }

    const LINES: [&str; 3] = [
        r#"{"at":"2026-11-22T10:00:00Z","session":"s","event":"prompt","text":"a"}"#,
        r#"{"at":"2026-11-22T10:00:01Z","session":"s","event":"message","text":"b"}"#,
        r#"{"at":"2026-11-22T10:00:02Z","session":"s","event":"turn_end"}"#,
    ];

    #[test]
    fn continues_at_a_line_and_leaves_an_unfinished_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        fs::write(&path, LINES.join("\n")).unwrap();
        let registry = Registry::linked().unwrap();
        let mut file = PositionedFile::open(&path, None, &registry.sources).unwrap();
        assert_eq!(file.kind().kind(), "ndjson");
        let first = read(&mut file);
        assert_eq!(first.len(), 2);
        let at = file.position();
        assert_eq!(at.lines, 2);
        let mark = file.mark(at.offset).unwrap();
        file.seek(Position { offset: LINES[0].len() as u64 + 1, lines: 1, skipped: 0 }).unwrap();
        // The first message of a file is new again after a seek, but not the other lines.
        assert_eq!(read(&mut file).last(), first.last());
        file.seek(at).unwrap();
        assert_eq!(read(&mut file), []);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
        let rest = read(&mut file);
        assert_eq!(rest[0].origin.as_ref().unwrap().line, 3);
        assert_eq!(file.mark(at.offset).unwrap(), mark);
        assert_eq!(file.mark(1 << 20).unwrap(), None);
    }

    #[test]
    fn reads_a_whole_object_without_a_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::linked().unwrap();
        let text = LINES.join("\n");
        for n_cut in 0..LINES[2].len() {
            let path = folder.path().join("s.jsonl");
            fs::write(&path, &text[..text.len() - n_cut]).unwrap();
            let mut file = PositionedFile::open(&path, None, &registry.sources).unwrap();
            assert_eq!(read(&mut file).len(), 2);
            let mut last = Vec::new();
            file.read_last(&mut last).unwrap();
            assert_eq!(last.len(), usize::from(n_cut == 0), "{n_cut}");
        }
    }

    #[test]
    fn tells_a_document_from_lines() {
        for (head, expected) in [
            (&b"{\n  \"sessionId\": \"s\",\n"[..], true),
            (b"\xef\xbb\xbf\n{\"messages\": [\r\n{", true),
            (b"{\"messages\": []}\n", false),
            (b"{\"event\":\"prompt\"}\n{", false),
            (b"{\"event\":\"prom", false),
            (b"", false),
        ] {
            assert_eq!(is_document(Path::new("s.jsonl"), head), expected, "{head:?}");
        }
        assert!(is_document(Path::new("s.json"), b""));
    }

    #[test]
    fn a_folder_is_no_session() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::linked().unwrap();
        let err = PositionedFile::open(folder.path(), None, &registry.sources).unwrap_err();
        assert!(err.to_string().starts_with("cannot read "), "{err}");
    }
}
