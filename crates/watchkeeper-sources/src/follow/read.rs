//! Reading the files of a follower: recognizing them, and passing their lines to sources.

use std::{
    io::{self, Seek as _, SeekFrom},
    mem,
    sync::Arc,
};

use memchr::memchr;
use tracing::debug;
use watchkeeper_core::{Timestamp, author::make_safe};

use super::{
    EndReason, Follower, Update,
    interval::{PAUSE, has_passed},
    log::{TARGET, name, safe},
    platform::Identity,
    reading::{Progress, Reading, read_head},
    row_state::RowState,
    tracked::{State, Tracked},
};
use crate::{
    MAX_LINE, ReadError, SourcePanic, database,
    file::{HEAD, read_to_line_end},
    file_source::recognize_among,
    unsupported,
};

impl Follower {
    /// Reads a slice of the last lines of a deleted file that is still open. Returns whether
    /// there is more.
    pub(super) fn drain(&mut self, id: Identity, out: &mut dyn FnMut(Update)) -> bool {
        let Some(Tracked { path, state: State::Reading(reading), .. }) = self.files.get_mut(&id)
        else {
            return false;
        };
        // SQLite opens a database by its path, which is gone.
        let Some(open) = self.open.get(id).filter(|_| !reading.is_database()) else {
            return false;
        };
        match reading.read(path, open, &mut self.shared, out) {
            Ok(progress) => progress == Progress::More,
            Err(ReadError::Io(_)) => false,
            Err(ReadError::Panic(panic)) => {
                out(Update::SourceFailed { file: Arc::clone(reading.file()), panic });
                false
            }
        }
    }

    /// Reads a slice of the next file in the queue, if there is one.
    pub(super) fn read_next(&mut self, out: &mut dyn FnMut(Update)) {
        let Some(id) = self.queue.pop_front() else { return };
        let Some(file) = self.files.get_mut(&id) else { return };
        file.is_queued = false;
        match self.read(id, out) {
            Ok(true) => self.enqueue(id),
            Ok(false) => self.pause(id, out),
            Err(ReadError::Io(error)) => self.cannot_read(id, &error, out),
            Err(ReadError::Panic(panic)) => self.source_failed(id, panic, out),
        }
    }

    /// Reports a pause of a file to its source, if the file has not changed for a while.
    pub(super) fn pause(&mut self, id: Identity, out: &mut dyn FnMut(Update)) {
        let now = self.step_at;
        let Some(file) = self.files.get_mut(&id) else { return };
        let State::Reading(reading) = &mut file.state else { return };
        let is_due =
            file.is_at_end && !file.is_paused && has_passed(PAUSE, Some(file.changed_at), now);
        if !is_due {
            return;
        }
        file.is_paused = true;
        if let Err(panic) = reading.pause(&mut self.shared, out) {
            self.source_failed(id, panic, out);
        }
    }

    fn cannot_read(&mut self, id: Identity, error: &io::Error, out: &mut dyn FnMut(Update)) {
        self.open.close(id);
        self.has_blind_spot = true;
        let Some(file) = self.files.get_mut(&id) else { return };
        if !mem::replace(&mut file.is_unreadable, true) {
            debug!(target: TARGET, file = safe(&file.path), %error, "cannot read a file");
            out(Update::Unreadable { file: name(&file.path), reason: error.to_string() });
        }
    }

    fn source_failed(&mut self, id: Identity, panic: SourcePanic, out: &mut dyn FnMut(Update)) {
        self.open.close(id);
        let Some(file) = self.files.get_mut(&id) else { return };
        file.state = State::Failed;
        out(Update::SourceFailed { file: name(&file.path), panic });
    }

    /// Reads a slice of a file. Returns whether there is more.
    fn read(&mut self, id: Identity, out: &mut dyn FnMut(Update)) -> Result<bool, ReadError> {
        if !self.probe(id, out)? {
            return Ok(false);
        }
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        let open =
            if file.is_lost { self.open.get(id) } else { self.open.get_or_open(id, &file.path)? };
        let (Some(open), State::Reading(reading)) = (open, &mut file.state) else {
            return Ok(false);
        };
        if file.is_lost && reading.is_database() {
            return Ok(false);
        }
        if !file.is_lost && **reading.file() != *file.path.to_string_lossy() {
            let from = reading.rename(name(&file.path));
            let to = Arc::clone(reading.file());
            debug!(target: TARGET, from = make_safe(&from), to = make_safe(&to), "file renamed");
            out(Update::Moved { from, to });
        }
        let progress = match &mut file.arrival {
            Some(arrival) => {
                let mut updates = Vec::new();
                let result =
                    reading.read(&file.path, open, &mut self.shared, &mut |it| updates.push(it));
                arrival.correct(&mut updates);
                updates.into_iter().for_each(&mut *out);
                result?
            }
            None => reading.read(&file.path, open, &mut self.shared, out)?,
        };
        file.is_unreadable = false;
        file.is_at_end = progress == Progress::End;
        if file.is_at_end {
            file.arrival = None;
        }
        if progress == Progress::Rewritten {
            self.n_rewritten += 1;
            let file_name = Arc::clone(reading.file());
            debug!(target: TARGET, file = make_safe(&file_name), "file truncated or rewritten");
            out(Update::Ended { file: file_name, reason: EndReason::Rewritten });
            if !reading.is_read_again() {
                file.arrival = None;
            }
            file.state = State::Unrecognized(0);
        }
        Ok(progress != Progress::End)
    }

    /// Starts to read a file if a source recognizes it. Returns whether the file is
    /// being read.
    fn probe(&mut self, id: Identity, out: &mut dyn FnMut(Update)) -> Result<bool, ReadError> {
        let Some(file) = self.files.get_mut(&id) else { return Ok(false) };
        let len = file.stamp.len;
        let n_probed = match file.state {
            State::Dormant | State::Failed => return Ok(false),
            State::Unknown(n_probed) if n_probed as u64 <= len => return Ok(false),
            State::Unrecognized(n_probed) if n_probed as u64 <= len => n_probed,
            // The file was truncated.
            State::Unknown(_) | State::Unrecognized(_) => 0,
            State::Reading(_) => return Ok(true),
        };
        if file.is_lost || len == 0 {
            // Of an empty file, everything is still to arrive.
            file.is_at_end = len == 0;
            return Ok(false);
        }
        let Some(mut open) = self.open.get_or_open(id, &file.path)? else { return Ok(false) };
        file.is_unreadable = false;
        if HEAD <= n_probed && self.options.kind.is_none() {
            // Only the added bytes can end the long first line.
            let mut added = Vec::new();
            open.seek(SeekFrom::Start(n_probed as u64))?;
            read_to_line_end(open, &mut added)?;
            let n_probed = n_probed + added.len();
            if n_probed < MAX_LINE && memchr(b'\n', &added).is_none() {
                file.state = State::Unrecognized(n_probed);
                return Ok(false);
            }
        }
        let mut head = vec![0; HEAD];
        let n_bytes = read_head(open, &mut head)?;
        head.truncate(n_bytes);
        let is_database = database::is_database(&head);
        let recognized = |head: &[u8]| match self.options.kind {
            Some(kind) => Ok::<_, ReadError>(Some(kind)),
            None if is_database => Ok(database::kind_of(self.kinds.iter().copied(), &file.path)?),
            None => Ok(recognize_among(self.kinds.iter().copied(), &file.path, head)?),
        };
        let mut kind = recognized(&head)?;
        let mut is_whole = false;
        if kind.is_none() && n_bytes == HEAD && !is_database {
            read_to_line_end(open, &mut head)?;
            is_whole = MAX_LINE <= head.len() || memchr(b'\n', &head[HEAD..]).is_some();
            kind = recognized(&head)?;
        }
        // The tables of a database can be added later, anywhere in it.
        file.state = if is_database {
            State::Unrecognized(0)
        } else if is_whole {
            State::Unknown(head.len())
        } else {
            State::Unrecognized(head.len())
        };
        let Some(kind) = kind else {
            file.agent = unsupported::agent_of(&file.path, &head);
            // The folder may contain many files that are not sessions.
            self.open.close(id);
            return Ok(false);
        };
        let since = self.step_at.checked_sub(self.options.recent).unwrap_or(Timestamp::MIN);
        let is_wanted = self.options.wanted.contains(&*file.path);
        let since = if is_wanted { Timestamp::MIN } else { since };
        let rows = kind.database().filter(|_| is_database);
        let rows = rows.map(|database| RowState::new(database, since));
        let reading = Reading::new(kind, &file.path, name(&file.path), rows)?;
        debug!(target: TARGET, file = safe(&file.path), kind = reading.kind(), "reading a file");
        out(Update::Began { file: Arc::clone(reading.file()), source: reading.kind() });
        file.state = State::Reading(Box::new(reading));
        Ok(true)
    }
}
