//! Reads recorded sessions. The files of a session are read together, in order of
//! time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use watchkeeper_core::{
    Event, SessionId, Timestamp,
    author::{ClientTotal, DedupCache, SkippedLines},
    embed::{Kinds, SourceEntry},
};
use watchkeeper_sources::{OpenError, SessionFile};

/// The files of one session and of its sub-agents. There can be thousands.
#[derive(Debug)]
pub(crate) struct Group {
    /// Session of the first event.
    pub(crate) session: SessionId,
    /// In order of their first event.
    pub(crate) files: Vec<PathBuf>,
    /// Time of the first event of each file, and the source that recognized it.
    starts: Vec<(Timestamp, &'static SourceEntry)>,
    /// Contents of the files that are pipes. A pipe cannot be read twice.
    pipes: BTreeMap<PathBuf, Arc<[u8]>>,
    pub(crate) started_at: Timestamp,
}

/// A file that was not read to its end.
#[derive(Debug)]
pub(crate) struct UnreadFile {
    pub(crate) file: PathBuf,
    pub(crate) error: ReadError,
    /// Number of skipped lines of a file without a session.
    pub(crate) skipped_lines: u64,
}

/// The reason why a file was not read to its end.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] watchkeeper_sources::ReadError),
    #[error("contains no session")]
    NoSession,
}

/// The result of reading the files of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupRead {
    pub(crate) skipped: SkippedLines,
    /// Files whose reading failed partway. `skipped` includes their skipped lines.
    pub(crate) failed: Vec<UnreadFile>,
    /// Totals by the count of the agent's client, if they are of the whole session.
    pub(crate) client_total: Option<ClientTotal>,
}

/// Groups files by the session of their first event, in order of time. Returns the
/// files without a session separately.
pub(crate) fn group(
    files: Vec<PathBuf>,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> (Vec<Group>, Vec<UnreadFile>) {
    let mut groups: BTreeMap<SessionId, Vec<_>> = BTreeMap::new();
    let mut pipes = BTreeMap::new();
    let mut without = Vec::new();
    for path in files {
        let mut skipped_lines = 0;
        let opened = read_pipe(&path, &mut pipes);
        let opened = opened.and_then(|()| open(&path, only, kinds, &pipes));
        let first = opened.map_err(Into::into).and_then(|file| {
            let kind = file.kind();
            Ok(first_event(file, &mut skipped_lines)?.map(|event| (event, kind)))
        });
        let error = match first {
            Ok(Some((event, kind))) => {
                groups.entry(event.session).or_default().push((path, (event.at, kind)));
                continue;
            }
            Ok(None) => ReadError::NoSession,
            Err(error) => error,
        };
        without.push(UnreadFile { file: path, error, skipped_lines });
    }
    let mut groups: Vec<Group> = groups
        .into_iter()
        .map(|(session, mut files)| {
            files.sort_by(|(a, (a_at, _)), (b, (b_at, _))| (a_at, a).cmp(&(b_at, b)));
            let (files, starts): (Vec<PathBuf>, Vec<_>) = files.into_iter().unzip();
            let started_at = starts[0].0;
            let pipes = files.iter().filter_map(|path| pipes.remove_entry(path)).collect();
            Group { session, files, starts, pipes, started_at }
        })
        .collect();
    groups.sort_by(|a, b| (a.started_at, &a.files).cmp(&(b.started_at, &b.files)));
    (groups, without)
}

/// Reads a pipe, or standard input for the path `-`, to its end. Leaves files and
/// folders alone.
fn read_pipe(path: &Path, pipes: &mut BTreeMap<PathBuf, Arc<[u8]>>) -> Result<(), OpenError> {
    /// Larger inputs, such as `/dev/zero`, are not sessions.
    const MAX_PIPE: u64 = 1 << 30;
    let read = || -> io::Result<Option<Vec<u8>>> {
        let reader: Box<dyn Read> = if is_standard_input(path) {
            Box::new(io::stdin().lock())
        } else if fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
            Box::new(File::open(path)?)
        } else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        reader.take(MAX_PIPE + 1).read_to_end(&mut bytes)?;
        if MAX_PIPE < bytes.len() as u64 {
            return Err(io::Error::other("more than 1 GiB; save the session to a file"));
        }
        Ok(Some(bytes))
    };
    if !pipes.contains_key(path)
        && let Some(bytes) =
            read().map_err(|source| OpenError::Io { path: path.to_owned(), source })?
    {
        pipes.insert(path.to_owned(), bytes.into());
    }
    Ok(())
}

/// Returns whether a path stands for standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens a file, or a pipe whose contents were read.
fn open(
    path: &Path,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
    pipes: &BTreeMap<PathBuf, Arc<[u8]>>,
) -> Result<SessionFile, OpenError> {
    match pipes.get(path) {
        Some(bytes) => watchkeeper_sources::open_bytes(path, Arc::clone(bytes), only, kinds),
        None => watchkeeper_sources::open(path, only, kinds),
    }
}

/// Returns the first event of a file. `skipped_lines` is set to the number of
/// skipped lines before it.
fn first_event(mut file: SessionFile, skipped_lines: &mut u64) -> Result<Option<Event>, ReadError> {
    // The file is read again later, with the cache of the whole run.
    let mut seen = DedupCache::default();
    let mut events = Vec::new();
    let mut has_more = Ok(true);
    while events.is_empty() && matches!(has_more, Ok(true)) {
        has_more = file.read_next(&mut seen, &mut events);
    }
    *skipped_lines = file.skipped_lines().total();
    has_more?;
    Ok(events.into_iter().next())
}

impl Group {
    /// Passes the events of all files to `on_event`, in order of time.
    ///
    /// A file that cannot be read any further does not affect the other files.
    pub(crate) fn read(
        &self,
        kinds: &Kinds<SourceEntry>,
        seen: &mut DedupCache,
        on_event: &mut dyn FnMut(Event),
    ) -> GroupRead {
        let mut result = GroupRead::default();
        // Of thousands of files, few overlap in time: each file is open only from
        // its first event to its last.
        let mut cursors: Vec<Option<Cursor>> = self.files.iter().map(|_| None).collect();
        // The file with the oldest next event is read next; of two, the file that
        // started first.
        let starts = self.starts.iter().zip(0..);
        let mut order: BinaryHeap<_> = starts.map(|((at, _), idx)| Reverse((*at, idx))).collect();
        while let Some(Reverse((_, cursor_idx))) = order.pop() {
            let next = order.peek().map_or((Timestamp::MAX, usize::MAX), |Reverse(next)| *next);
            let slot: &mut Option<Cursor> = &mut cursors[cursor_idx];
            let cursor = match slot {
                Some(cursor) => cursor,
                None => match self.open(cursor_idx, kinds) {
                    Ok(cursor) => slot.insert(cursor),
                    Err(error) => {
                        result.fail(&self.files[cursor_idx], error.into());
                        continue;
                    }
                },
            };
            loop {
                let next_at = cursor.peek(seen);
                let Ok(Some(at)) = next_at else {
                    result.skipped.add(cursor.file.skipped_lines());
                    // Only a cost includes the sub-agents, which have files of their own.
                    let total = cursor.file.client_total();
                    let is_whole =
                        |it: &ClientTotal| self.files.len() == 1 || it.cost_usd.is_some();
                    result.client_total = total.filter(is_whole).or(result.client_total);
                    *slot = None;
                    if let Err(error) = next_at {
                        result.fail(&self.files[cursor_idx], error);
                    }
                    break;
                };
                if next < (at, cursor_idx) {
                    order.push(Reverse((at, cursor_idx)));
                    break;
                }
                cursor.events.pop_front().into_iter().for_each(&mut *on_event);
            }
        }
        result
    }

    fn open(&self, file_idx: usize, kinds: &Kinds<SourceEntry>) -> Result<Cursor, OpenError> {
        let (_, kind) = self.starts[file_idx];
        let file = open(&self.files[file_idx], Some(kind), kinds, &self.pipes)?;
        Ok(Cursor { file, events: VecDeque::new(), clock: Timestamp::MIN })
    }
}

impl GroupRead {
    /// Returns the skipped lines, or the first file that could not be read to its
    /// end.
    pub(crate) fn complete(self) -> Result<SkippedLines, UnreadFile> {
        self.failed.into_iter().next().map_or(Ok(self.skipped), Err)
    }

    fn fail(&mut self, file: &Path, error: ReadError) {
        self.failed.push(UnreadFile { file: file.to_owned(), error, skipped_lines: 0 });
    }
}

struct Cursor {
    file: SessionFile,
    events: VecDeque<Event>,
    /// Latest timestamp so far. Events of a file keep their order even if a
    /// timestamp goes back.
    clock: Timestamp,
}

impl Cursor {
    /// Returns the time of the next event, or `None` at the end of the file.
    fn peek(&mut self, seen: &mut DedupCache) -> Result<Option<Timestamp>, ReadError> {
        let mut events = Vec::new();
        while self.events.is_empty() {
            let more = self.file.read_next(seen, &mut events)?;
            self.events.extend(events.drain(..));
            if !more && self.events.is_empty() {
                return Ok(None);
            }
        }
        let at = self.events.front().map_or(self.clock, |it| it.at);
        self.clock = self.clock.max(at);
        Ok(Some(self.clock))
    }
}
