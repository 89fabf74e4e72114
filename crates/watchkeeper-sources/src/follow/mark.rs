use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use watchkeeper_core::Fingerprint;

use super::platform::open;

/// The number of bytes before a mark that identify it.
const LEN: usize = 256;

/// The end of the lines of a file that were read, and a hash of the bytes before it. A file that
/// only grows has the same bytes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMark {
    /// The number of bytes that were read.
    pub end: u64,
    /// The hash of the last of these bytes.
    pub hash: Fingerprint,
}

impl ReadMark {
    /// Makes the mark at an offset of a file. `None` if the file is shorter.
    pub(super) fn at(mut file: &File, end: u64) -> io::Result<Option<Self>> {
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

    /// Returns whether the file at a path has the bytes before the mark.
    pub fn is_in(self, path: &Path) -> io::Result<bool> {
        let file = open(path)?;
        Ok(file.metadata()?.is_file() && self.is_in_file(&file)?)
    }
}
