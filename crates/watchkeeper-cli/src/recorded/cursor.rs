use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::PathBuf,
};

use watchkeeper_core::{Event, Timestamp, author::DedupCache};
use watchkeeper_sources::SessionFile;

use super::{
    misdated::{MisdatedLines, TimeCorrection},
    read_error::ReadError,
};

/// A file that is read up to its next event, or events that were read before.
pub(super) struct Cursor {
    pub(super) file: Option<SessionFile>,
    /// The events of one line. Empty between two lines.
    line: Vec<Event>,
    correction: TimeCorrection,
    events: VecDeque<Event>,
    /// The error that ended the file, until the events before it are read.
    error: Option<ReadError>,
    /// Latest timestamp so far. Events of a file keep their order even if a
    /// timestamp goes back.
    clock: Timestamp,
}

impl Cursor {
    pub(super) fn of_file(file: SessionFile) -> Self {
        Self { file: Some(file), ..Self::of_events(Vec::new()) }
    }

    pub(super) fn of_events(events: Vec<Event>) -> Self {
        Self {
            file: None,
            line: Vec::new(),
            correction: TimeCorrection::default(),
            events: events.into(),
            error: None,
            clock: Timestamp::MIN,
        }
    }

    /// Returns the time of the next event, or `None` at the end of the file.
    pub(super) fn peek(&mut self, seen: &mut DedupCache) -> Result<Option<Timestamp>, ReadError> {
        while self.events.is_empty() {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            let has_more = file.read_next(seen, &mut self.line);
            for event in self.line.drain(..) {
                self.correction.push(event, &mut self.events);
            }
            if !matches!(has_more, Ok(true)) {
                self.correction.finish(&mut self.events);
            }
            match has_more {
                Ok(false) if self.events.is_empty() => return Ok(None),
                Ok(_) => {}
                Err(error) => self.error = Some(error.into()),
            }
        }
        let at = self.events.front().map_or(self.clock, |it| it.at);
        self.clock = self.clock.max(at);
        Ok(Some(self.clock))
    }

    /// Returns the lines with a wrong time so far.
    pub(super) fn misdated(&self) -> MisdatedLines {
        self.correction.corrected()
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

    use watchkeeper_core::{author::DedupCache, embed::Registry};

    use super::ReopeningFile;
    use crate::recorded::{group, read_group};

    #[test]
    fn reads_a_line_with_a_wrong_time_at_the_time_of_its_neighbour() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("s.ndjson");
        let times = [
            "0001-01-01T00:00:00Z",
            "2026-03-01T10:00:00Z",
            "2031-03-01T10:00:00Z",
            "2026-03-01T10:00:02Z",
        ];
        let line = |at| format!("{{\"at\":\"{at}\",\"session\":\"s\",\"event\":\"turn_end\"}}\n");
        fs::write(&path, times.map(line).concat()).expect("the file can be written");
        let sources = Registry::linked().expect("the names differ").sources;
        let (groups, _) = group(vec![path], None, &sources);
        assert_eq!(groups[0].started_at.to_string(), times[1]);
        let (mut cache, mut read_times) = (DedupCache::default(), Vec::new());
        let on_event = &mut |event: watchkeeper_core::Event| read_times.push(event.at.to_string());
        let read = read_group(&groups[0], &sources, &mut cache, on_event);
        assert_eq!(read_times, [times[1], times[1], times[1], times[3]]);
        let misdated = read.misdated[0].1;
        assert_eq!(misdated.n_lines, 2);
        assert_eq!(
            misdated.first.map(|(line, at)| (line, at.to_string())),
            Some((1, times[0].into()))
        );
    }

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
