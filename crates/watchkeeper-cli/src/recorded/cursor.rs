use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::PathBuf,
};

use watchkeeper_core::{Event, Timestamp, author::DedupCache};
use watchkeeper_sources::SessionFile;

use super::group::ReadError;

/// A file that is read up to its next event, or events that were read before.
pub(super) struct Cursor {
    pub(super) file: Option<SessionFile>,
    events: VecDeque<Event>,
    /// Latest timestamp so far. Events of a file keep their order even if a
    /// timestamp goes back.
    clock: Timestamp,
}

impl Cursor {
    pub(super) fn of_file(file: SessionFile) -> Self {
        Self { file: Some(file), events: VecDeque::new(), clock: Timestamp::MIN }
    }

    pub(super) fn of_events(events: Vec<Event>) -> Self {
        Self { file: None, events: events.into(), clock: Timestamp::MIN }
    }

    /// Returns the time of the next event, or `None` at the end of the file.
    pub(super) fn peek(&mut self, seen: &mut DedupCache) -> Result<Option<Timestamp>, ReadError> {
        let mut events = Vec::new();
        while self.events.is_empty() {
            let Some(file) = &mut self.file else { return Ok(None) };
            let more = file.read_next(seen, &mut events)?;
            self.events.extend(events.drain(..));
            if !more && self.events.is_empty() {
                return Ok(None);
            }
        }
        let at = self.events.front().map_or(self.clock, |it| it.at);
        self.clock = self.clock.max(at);
        Ok(Some(self.clock))
    }

    /// Removes and returns the event of the last [`peek`](Self::peek).
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// A reader that opens its file for each read: the number of files that a process may
/// have open is small.
pub(super) struct ReopeningFile {
    path: PathBuf,
    offset: u64,
}

impl ReopeningFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }
}

impl Read for ReopeningFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let n = file.read(buffer)?;
        self.offset += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use super::ReopeningFile;

    #[test]
    fn reads_the_bytes_of_a_file_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("a");
        fs::write(&path, "abcdefgh").expect("the file can be written");
        let (mut file, mut buffer) = (ReopeningFile::new(path), [0; 3]);
        let mut bytes = Vec::new();
        while let n @ 1.. = file.read(&mut buffer).expect("the file can be read") {
            bytes.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(bytes, b"abcdefgh");
    }
}
