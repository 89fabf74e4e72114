use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use watchkeeper_core::{Fingerprint, embed::SourceEntry};

use super::platform::open;
use crate::database::{self, Row};

/// The number of bytes before a mark that identify it.
const LEN: usize = 256;

/// The end of the lines of a file that were read, and a hash of the bytes before it. A file that
/// only grows has the same bytes there. Of a database, the last row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMark {
    /// The number of bytes that were read, or the id of the row.
    pub end: u64,
    /// The hash of the last of these bytes, or of the row.
    pub hash: Fingerprint,
}

impl ReadMark {
    /// Makes the mark at an offset of a file. `None` if the file is shorter.
    pub(crate) fn at(mut file: &File, end: u64) -> io::Result<Option<Self>> {
        let len = LEN.min(usize::try_from(end).unwrap_or(LEN));
        let mut bytes = [0; LEN];
        file.seek(SeekFrom::Start(end - len as u64))?;
        match file.read_exact(&mut bytes[..len]) {
            Ok(()) => Ok(Some(Self { end, hash: Fingerprint::of(&bytes[..len]) })),
            Err(err) if err.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub(super) fn is_in_file(self, file: &File) -> io::Result<bool> {
        Ok(Self::at(file, self.end)? == Some(self))
    }

    /// Makes the mark of a row of a database.
    pub(super) fn of_row(row: &Row) -> Self {
        Self { end: row.id, hash: row.hash() }
    }

    /// Returns whether the file at a path has the bytes before the mark, or the row of the mark
    /// if it is a database of one of `kinds`.
    pub fn is_in(
        self,
        path: &Path,
        kinds: impl IntoIterator<Item = &'static SourceEntry>,
    ) -> io::Result<bool> {
        let file = open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        if !database::is_at(path)? {
            return self.is_in_file(&file);
        }
        let kind = database::kind_of(kinds, path)?;
        let Some(database) = kind.and_then(SourceEntry::database) else { return Ok(false) };
        let row = database::row(path, database, self.end)?;
        Ok(row.is_some_and(|row| Self::of_row(&row) == self))
    }
}
