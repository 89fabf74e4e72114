//! Follows the session files of another machine, whose lists and bytes a connection brings.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    path::Path,
    sync::Arc,
};

use memchr::memchr;
use watchkeeper_core::{
    Fingerprint, SignedDuration, Timestamp,
    embed::{Entry as _, SourceEntry},
};

use super::{
    EndReason, FollowNotice, FollowReport, Update,
    arrival::{Arrival, TOLERANCE},
    interval::PAUSE,
    reading::{LONG, Reading, Shared},
};
use crate::{MAX_LINE, SourcePanic, database, file::HEAD, file_source::recognize_among};

/// The largest number of files that are followed on one machine.
const MAX_FILES: usize = 4096;
/// The number of bytes that are requested at once. A longer line needs more.
const CHUNK: u64 = 1 << 20;
/// The largest number of bytes that are requested at once.
const MAX_CHUNK: u64 = MAX_LINE as u64 + (64 << 10);
/// The number of bytes before the position of a file that are read again, and must be unchanged.
const OVERLAP: usize = 64;
/// The precision of the times of files, in seconds: a later change in this time may not be
/// visible.
const PRECISION: i64 = 2;

/// Returns whether a later change may leave the time of a file as it is.
fn may_change_unseen(entry: &RemoteEntry, clock: i64) -> bool {
    clock < entry.modified.saturating_add(PRECISION)
}

/// A file on another machine, as its list describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEntry {
    /// The path on the machine.
    pub path: String,
    /// The number of the file in its file system.
    pub inode: u64,
    /// The length in bytes.
    pub len: u64,
    /// The time of the last change in seconds, by the clock of the machine.
    pub modified: i64,
}

/// Bytes of a file that a [`RemoteFollower`] needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRequest {
    /// The path on the machine.
    pub path: Arc<str>,
    /// The offset of the first byte.
    pub offset: u64,
    /// The number of bytes.
    pub len: u64,
}

/// The answer to a [`RemoteRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteAnswer<'a> {
    /// The bytes. If the file has become shorter, anything may be in place of the missing bytes.
    Bytes(&'a [u8]),
    /// There is no file any longer.
    Gone,
    /// The file cannot be read.
    Unreadable,
}

/// Follows the session files of another machine.
///
/// It does no I/O: the caller lists files, requests the bytes that
/// [`next_request`](Self::next_request) names, and passes the answers on. Lists and answers are
/// hostile: at most 4096 files are followed, of which those that have ended count, and a request is at most a little longer than
/// [`MAX_LINE`].
///
/// As with a [`Follower`](super::Follower), each line is read once, after its line break has
/// arrived, and a file that was rewritten is read from the beginning. Databases are not read.
pub struct RemoteFollower {
    /// The name of the machine, which precedes the paths in the names of files.
    machine: String,
    /// The kind of all files; `None` recognizes each file.
    kind: Option<&'static SourceEntry>,
    kinds: Vec<&'static SourceEntry>,
    files: BTreeMap<Arc<str>, RemoteFile>,
    shared: Shared,
    /// The files that may have bytes to read.
    queue: VecDeque<Arc<str>>,
    n_rewritten: u64,
    is_full: bool,
    /// The time of the latest list.
    listed_at: Option<Timestamp>,
    /// Lines that are read now were added after this time; `None` until the first files are read.
    added_since: Option<Timestamp>,
}

struct RemoteFile {
    /// The name in the origins of events.
    name: Arc<str>,
    entry: RemoteEntry,
    state: State,
    changed_at: Timestamp,
    /// The latest list shows the same file as the one before.
    is_settled: bool,
    /// A change that the time of the file does not show is possible.
    is_doubtful: bool,
    is_queued: bool,
    is_paused: bool,
    is_unreadable: bool,
    /// The file was read to its end.
    is_at_end: bool,
    arrival: Option<Arrival>,
    /// The last bytes that were read.
    tail: Vec<u8>,
}

enum State {
    /// Not recognized by any source from this number of bytes.
    Unrecognized(u64),
    Reading(Box<Reading>),
    /// Not a session of a known kind, or its source panicked.
    Ignored(Ignored),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ignored {
    Unknown,
    Database,
    Failed,
}

impl RemoteFollower {
    /// Creates a follower of the files of a machine. The names of files begin with `machine`.
    /// `kind` is the kind of all files; with `None`, the kind of each file is the first of `kinds`
    /// that recognizes it.
    pub fn new(
        machine: String,
        kind: Option<&'static SourceEntry>,
        kinds: impl IntoIterator<Item = &'static SourceEntry>,
    ) -> Self {
        Self {
            machine,
            kind,
            kinds: kinds.into_iter().collect(),
            files: BTreeMap::new(),
            shared: Shared::default(),
            queue: VecDeque::new(),
            n_rewritten: 0,
            is_full: false,
            listed_at: None,
            added_since: None,
        }
    }

    /// Takes a list of the files that have changed recently. `clock` is the time of the machine in
    /// seconds.
    pub fn take_list(
        &mut self,
        entries: impl IntoIterator<Item = RemoteEntry>,
        clock: i64,
        now: Timestamp,
        out: &mut dyn FnMut(Update),
    ) {
        let earlier = self.listed_at.replace(now);
        self.added_since = earlier.and_then(|at| at.min(now).checked_sub(TOLERANCE).ok());
        for entry in entries {
            self.take_entry(entry, clock, now, out);
        }
        self.pause(now, out);
    }

    fn take_entry(
        &mut self,
        entry: RemoteEntry,
        clock: i64,
        now: Timestamp,
        out: &mut dyn FnMut(Update),
    ) {
        let Some(file) = self.files.get_mut(&*entry.path) else {
            return self.add(entry, clock, now, out);
        };
        let before = mem::replace(&mut file.entry, entry);
        file.is_settled = before == file.entry;
        if !file.is_settled {
            (file.changed_at, file.is_paused) = (now, false);
            if mem::take(&mut file.is_at_end) {
                let is_new_file = !matches!(file.state, State::Reading(_));
                file.arrival = self.added_since.map(|since| Arrival::Live { since, is_new_file });
            }
        }
        let is_other = before.inode != file.entry.inode || file.entry.len < before.len;
        let is_doubtful = file.is_doubtful && !may_change_unseen(&file.entry, clock);
        match &file.state {
            State::Reading(reading) if reading.is_read_again() => {
                if !file.is_settled || is_doubtful {
                    self.n_rewritten += 1;
                    file.restart(out);
                }
                file.is_doubtful = may_change_unseen(&file.entry, clock);
            }
            State::Reading(reading)
                if before.inode != file.entry.inode || file.entry.len < reading.position.offset =>
            {
                self.n_rewritten += 1;
                file.restart(out);
            }
            State::Ignored(_) if is_other => file.state = State::Unrecognized(0),
            _ => {}
        }
        if file.request().is_some() {
            enqueue(&mut self.queue, file);
        }
    }

    fn add(&mut self, entry: RemoteEntry, clock: i64, now: Timestamp, out: &mut dyn FnMut(Update)) {
        if MAX_FILES <= self.files.len() {
            if !mem::replace(&mut self.is_full, true) {
                out(Update::Notice(FollowNotice::TooMany));
            }
            return;
        }
        let age = SignedDuration::from_secs(clock.saturating_sub(entry.modified).max(0));
        let changed_at = now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let arrival = self.added_since.filter(|since| *since <= changed_at);
        let mut file = RemoteFile {
            name: format!("{}{}", self.machine, entry.path).into(),
            state: State::Unrecognized(0),
            changed_at,
            is_settled: false,
            is_doubtful: may_change_unseen(&entry, clock),
            is_queued: false,
            is_paused: false,
            is_unreadable: false,
            is_at_end: entry.len == 0,
            arrival: arrival.map(|since| Arrival::Live { since, is_new_file: true }),
            tail: Vec::new(),
            entry,
        };
        enqueue(&mut self.queue, &mut file);
        self.files.insert(file.entry.path.as_str().into(), file);
    }

    /// Returns the bytes that are needed next. `None` if everything in the latest list is read.
    pub fn next_request(&mut self) -> Option<RemoteRequest> {
        loop {
            let path = self.queue.pop_front()?;
            let Some(file) = self.files.get_mut(&path) else { continue };
            file.is_queued = false;
            if let Some((offset, len)) = file.request() {
                return Some(RemoteRequest { path, offset, len });
            }
        }
    }

    /// Takes the answer to a request.
    pub fn take(
        &mut self,
        request: &RemoteRequest,
        answer: RemoteAnswer<'_>,
        out: &mut dyn FnMut(Update),
    ) {
        let Some(file) = self.files.get_mut(&request.path) else { return };
        let bytes = match answer {
            RemoteAnswer::Bytes(bytes) => bytes,
            RemoteAnswer::Gone => {
                if let Some(RemoteFile { name, state: State::Reading(_), .. }) =
                    self.files.remove(&request.path)
                {
                    out(Update::Ended { file: name, reason: EndReason::Gone });
                }
                return;
            }
            RemoteAnswer::Unreadable => {
                file.cannot_be_read("permission denied", out);
                return;
            }
        };
        file.is_unreadable = false;
        let result = if let State::Reading(_) = file.state {
            let mut updates = Vec::new();
            let result = file.read(bytes, &mut self.shared, &mut |update| updates.push(update));
            if let Some(arrival) = &mut file.arrival {
                arrival.correct(&mut updates);
            }
            updates.into_iter().for_each(&mut *out);
            result.map(|is_rewritten| self.n_rewritten += u64::from(is_rewritten))
        } else {
            file.recognize(request, bytes, self.kind, &self.kinds, out)
        };
        if let Err(panic) = result {
            file.state = State::Ignored(Ignored::Failed);
            out(Update::SourceFailed { file: file.name.clone(), panic });
        }
        if file.request().is_some() {
            enqueue(&mut self.queue, file);
        } else {
            file.is_at_end = true;
            file.arrival = None;
        }
    }

    /// Reports a pause of the files that have not changed for a while to their sources.
    fn pause(&mut self, now: Timestamp, out: &mut dyn FnMut(Update)) {
        for file in self.files.values_mut() {
            let State::Reading(reading) = &mut file.state else { continue };
            let is_due = file.is_at_end && !file.is_paused;
            if !is_due || now.duration_since(file.changed_at) < PAUSE {
                continue;
            }
            file.is_paused = true;
            if let Err(panic) = reading.pause(&mut self.shared, out) {
                file.state = State::Ignored(Ignored::Failed);
                out(Update::SourceFailed { file: file.name.clone(), panic });
            }
        }
    }

    /// Adds the counts to those of a follower.
    pub fn add_to(&self, report: &mut FollowReport) {
        report.n_rewritten += self.n_rewritten;
        report.n_lines += self.shared.n_lines;
        report.n_bytes += self.shared.n_bytes;
        report.skipped_lines.add(&self.shared.skipped_lines);
        for file in self.files.values() {
            report.n_unreadable += usize::from(file.is_unreadable);
            *match file.state {
                State::Reading(_) => &mut report.n_followed,
                State::Ignored(Ignored::Failed) => &mut report.n_failed,
                // It is reported as unreadable.
                State::Ignored(Ignored::Database) => continue,
                State::Unrecognized(_) | State::Ignored(Ignored::Unknown) => {
                    &mut report.n_unrecognized
                }
            } += 1;
        }
    }
}

fn enqueue(queue: &mut VecDeque<Arc<str>>, file: &mut RemoteFile) {
    if !mem::replace(&mut file.is_queued, true) {
        queue.push_back(file.entry.path.as_str().into());
    }
}

impl RemoteFile {
    /// Returns the offset and the number of the bytes to request; `None` if there are none.
    fn request(&self) -> Option<(u64, u64)> {
        let len = self.entry.len;
        match &self.state {
            State::Ignored(_) => None,
            State::Unrecognized(n_probed) => {
                let wanted = (n_probed * 2).clamp(HEAD as u64, MAX_CHUNK);
                (*n_probed < len).then_some((0, len.min(wanted)))
            }
            State::Reading(reading) => {
                let position = reading.position;
                let held = reading.n_searched.saturating_sub(position.offset);
                let new_len = len.saturating_sub(position.offset);
                // A long unfinished line is requested again when it has doubled, or is complete.
                let is_growing = !reading.is_read_again() && !self.is_settled;
                let is_growing = is_growing && LONG <= held && new_len < held * 2;
                if new_len <= held || is_growing {
                    return None;
                }
                let start = position.offset - self.tail.len() as u64;
                let wanted = (held * 2).clamp(CHUNK, MAX_CHUNK);
                Some((start, (len - start).min(wanted)))
            }
        }
    }

    /// Reads the beginning of the file if a source recognizes it.
    fn recognize(
        &mut self,
        request: &RemoteRequest,
        head: &[u8],
        kind: Option<&'static SourceEntry>,
        kinds: &[&'static SourceEntry],
        out: &mut dyn FnMut(Update),
    ) -> Result<(), SourcePanic> {
        if database::is_database(head) {
            self.state = State::Ignored(Ignored::Database);
            self.cannot_be_read("databases of other machines are not read", out);
            return Ok(());
        }
        let path = Path::new(&*self.name).to_owned();
        let kind = match kind {
            Some(kind) => Some(kind),
            None => recognize_among(kinds.iter().copied(), &path, head)?,
        };
        let Some(kind) = kind else {
            let has_whole_lines = head.get(HEAD..).is_some_and(|it| memchr(b'\n', it).is_some());
            let is_whole = has_whole_lines || MAX_CHUNK <= head.len() as u64;
            self.state = if is_whole {
                State::Ignored(Ignored::Unknown)
            } else {
                State::Unrecognized(request.len)
            };
            return Ok(());
        };
        let reading = Reading::new(kind, &path, self.name.clone(), None)?;
        out(Update::Began { file: self.name.clone(), source: kind.kind() });
        self.state = State::Reading(Box::new(reading));
        Ok(())
    }

    /// Reads the lines of an answer. Returns whether the file was rewritten, so that it is read
    /// from the beginning.
    fn read(
        &mut self,
        bytes: &[u8],
        shared: &mut Shared,
        out: &mut dyn FnMut(Update),
    ) -> Result<bool, SourcePanic> {
        let State::Reading(reading) = &mut self.state else { return Ok(false) };
        let Some(added) = bytes.strip_prefix(&*self.tail) else {
            self.restart(out);
            return Ok(true);
        };
        let start = reading.position.offset;
        let is_end = self.entry.len <= start + added.len() as u64;
        if start == 0 {
            let machine = self.name.strip_suffix(&*self.entry.path).unwrap_or(&self.name);
            let machine_file = Fingerprint::of(machine).and(self.entry.inode.into());
            reading.identify_by(machine_file, added, out);
        }
        let result = reading.read_slice(added, is_end, shared, out);
        let n_taken = usize::try_from(reading.position.offset - start).unwrap_or(added.len());
        self.tail.extend_from_slice(&added[n_taken.saturating_sub(OVERLAP)..n_taken]);
        self.tail.drain(..self.tail.len().saturating_sub(OVERLAP));
        result.map(|()| false)
    }

    /// Reads the file from the beginning.
    fn restart(&mut self, out: &mut dyn FnMut(Update)) {
        if let State::Reading(reading) = &self.state
            && !reading.is_read_again()
        {
            self.arrival = None;
        }
        self.state = State::Unrecognized(0);
        self.tail.clear();
        out(Update::Ended { file: self.name.clone(), reason: EndReason::Rewritten });
    }

    fn cannot_be_read(&mut self, reason: &str, out: &mut dyn FnMut(Update)) {
        if !mem::replace(&mut self.is_unreadable, true) {
            out(Update::Unreadable { file: self.name.clone(), reason: reason.to_owned() });
        }
    }
}
