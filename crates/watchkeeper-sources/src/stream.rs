//! Sessions that another program writes to a pipe, line by line.

use std::{
    io::{self, Read},
    path::Path,
};

use memchr::memrchr;
use watchkeeper_core::embed::SourceEntry;

use crate::{
    MAX_LINE,
    file::{HEAD, OpenError, SessionFile, unrecognized},
    file_source::recognize_among,
};

/// The size of a read, in bytes, until a source recognizes the lines.
const CHUNK: usize = 16 << 10;

/// Opens a session that arrives from a pipe, with the source `kind`, or with the first of `kinds`
/// that recognizes its first lines.
///
/// Waits for these lines: 64 KiB, and the line that ends after them up to [`MAX_LINE`]. `path` is
/// the name of the session. Each [read](SessionFile::read_next) waits for a line.
pub fn open_stream(
    path: &Path,
    mut reader: Box<dyn Read + Send>,
    kind: Option<&'static SourceEntry>,
    kinds: &[&'static SourceEntry],
) -> Result<SessionFile, OpenError> {
    if let Some(kind) = kind {
        return Ok(SessionFile::new(path, reader, kind)?);
    }
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let mut head = Vec::new();
    loop {
        let n_read = read_chunk(&mut reader, &mut head).map_err(failed)?;
        let is_end = n_read == 0 || HEAD + MAX_LINE <= head.len();
        let n_lines =
            if is_end { head.len() } else { memrchr(b'\n', &head).map_or(0, |at| at + 1) };
        let has_new_line = head.len() - n_read < n_lines;
        if (is_end || has_new_line)
            && let Some(kind) = recognize_among(kinds.iter().copied(), path, &head[..n_lines])?
        {
            let reader = Box::new(io::Cursor::new(head).chain(reader));
            return Ok(SessionFile::new(path, reader, kind)?);
        }
        if is_end || HEAD <= n_lines {
            return Err(unrecognized(path, &head, kinds.iter().copied()));
        }
    }
}

/// Appends the bytes of one read. Returns their number, which is zero at the end.
fn read_chunk(reader: &mut dyn Read, head: &mut Vec<u8>) -> io::Result<usize> {
    let n_before = head.len();
    head.resize(n_before + CHUNK, 0);
    let read = loop {
        match reader.read(&mut head[n_before..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    head.truncate(n_before + read.as_ref().map_or(0, |n| *n).min(CHUNK));
    read
}
