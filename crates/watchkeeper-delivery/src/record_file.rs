//! A file of records to which records are appended.

use std::io::{self, ErrorKind};

use crate::{
    record::{self, Records},
    storage::Storage,
};

/// The length of a header.
pub(crate) const HEADER_LEN: usize = 12;
/// The largest number of bytes that wait until the file can be written.
const MAX_UNWRITTEN: usize = 1 << 20;
/// The number of bytes that are written to a replacement at once.
const CHUNK: usize = 1 << 16;

/// The start of a file: a name, the version of the format, and a checksum of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) name: [u8; 8],
    pub(crate) version: u16,
}

impl Header {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = self.name.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(&crc32fast::hash(&bytes).to_le_bytes()[..2]);
        bytes
    }

    /// Returns whether `bytes` begin with the intact header of another version.
    fn is_other_version(self, bytes: &[u8]) -> bool {
        let Some(version) = bytes.get(8..).and_then(|rest| rest.first_chunk()) else {
            return false;
        };
        let other = Self { version: u16::from_le_bytes(*version), ..self };
        other.version != self.version && bytes.starts_with(&other.encode())
    }
}

/// A file with a header and records. A file that a crash has cut off is repaired when it is
/// opened.
#[derive(Debug)]
pub(crate) struct RecordFile<S> {
    storage: S,
    header: Header,
    /// The end of the last record.
    len: u64,
    /// Records that could not be written.
    unwritten: Vec<u8>,
    n_damaged: u64,
    has_damaged_header: bool,
}

/// A body for a replacement of the file.
pub(crate) enum NewBody {
    Bytes(Vec<u8>),
    /// The body at an offset of the present file.
    Copy {
        offset: u64,
        len: usize,
    },
}

impl<S: Storage> RecordFile<S> {
    /// Reads a file; an empty file is a new one. Passes each body and its offset to `each`,
    /// which returns `false` for a body that is not valid.
    ///
    /// A damaged header counts as damage: the caller has to [replace](Self::replace) the file.
    /// Fails for another version of the format.
    pub(crate) fn open(
        storage: S,
        header: Header,
        mut each: impl FnMut(u64, &[u8]) -> bool,
    ) -> io::Result<Self> {
        let (unwritten, n_damaged) = (Vec::new(), 0);
        let mut file =
            Self { storage, header, len: 0, unwritten, n_damaged, has_damaged_header: false };
        let (bytes, header) = (file.storage.read_all()?, header.encode());
        if header.starts_with(&bytes) {
            // New, or cut off by a crash.
            file.storage.truncate(0)?;
            file.storage.append(0, &header)?;
            file.len = HEADER_LEN as u64;
            return Ok(file);
        }
        if file.header.is_other_version(&bytes) {
            let reason = "another version of the program has written it";
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        file.has_damaged_header = !bytes.starts_with(&header);
        let start = if file.has_damaged_header { 0 } else { HEADER_LEN };
        let mut records = Records::new(&bytes, start);
        for (offset, body) in records.by_ref() {
            file.n_damaged += u64::from(!each(offset as u64, body));
        }
        file.n_damaged += records.n_damaged;
        file.len = records.intact_len as u64;
        if file.len < bytes.len() as u64 {
            file.storage.truncate(file.len)?;
        }
        Ok(file)
    }

    /// Returns whether the header is damaged.
    pub(crate) const fn has_damaged_header(&self) -> bool {
        self.has_damaged_header
    }

    /// Returns the size in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of damaged places and invalid bodies that were skipped.
    pub(crate) const fn n_damaged(&self) -> u64 {
        self.n_damaged
    }

    /// Returns `len` bytes at `offset`.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.storage.read_at(offset, len)
    }

    /// Appends a record, and returns the offset of its body. After an error the file is
    /// unchanged.
    pub(crate) fn append(&mut self, body: &[u8]) -> io::Result<u64> {
        let n_late = self.unwritten.len();
        let mut bytes = std::mem::take(&mut self.unwritten);
        record::encode(body, &mut bytes);
        let written = self.storage.append(self.len, &bytes);
        if let Err(err) = written {
            bytes.truncate(n_late);
            self.unwritten = bytes;
            // What cannot be cut off is overwritten, or skipped by the next reader.
            let _ = self.storage.truncate(self.len);
            return Err(err);
        }
        self.len += bytes.len() as u64;
        Ok(self.len - body.len() as u64)
    }

    /// Appends a record; after an error, writes it together with the next one.
    pub(crate) fn append_or_keep(&mut self, body: &[u8]) -> io::Result<()> {
        let written = self.append(body);
        if written.is_err() && self.unwritten.len() < MAX_UNWRITTEN {
            record::encode(body, &mut self.unwritten);
        }
        written.map(drop)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.storage.sync()
    }

    /// Replaces all records. Returns the offsets of the bodies. After an error the file is
    /// unchanged.
    pub(crate) fn replace(
        &mut self,
        bodies: impl IntoIterator<Item = NewBody>,
    ) -> io::Result<Vec<u64>> {
        self.storage.begin_replacement()?;
        let (mut chunk, mut n_written) = (self.header.encode(), 0);
        let mut offsets = Vec::new();
        for body in bodies {
            let body = match body {
                NewBody::Bytes(bytes) => bytes,
                NewBody::Copy { offset, len } => self.storage.read_at(offset, len)?,
            };
            record::encode(&body, &mut chunk);
            offsets.push(n_written + (chunk.len() - body.len()) as u64);
            if CHUNK <= chunk.len() {
                self.storage.append_replacement(&chunk)?;
                n_written += chunk.len() as u64;
                chunk.clear();
            }
        }
        self.storage.append_replacement(&chunk)?;
        self.storage.replace()?;
        self.len = n_written + chunk.len() as u64;
        self.unwritten.clear();
        self.has_damaged_header = false;
        Ok(offsets)
    }
}
