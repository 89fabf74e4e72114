//! Groups files by session, and opens them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use memchr::memmem;

use watchkeeper_core::{
    Event, SessionId, SourceKind as _, Timestamp,
    author::{ClientTotal, DedupCache, SkippedLines},
    embed::{Entry as _, Kinds, SourceEntry, SpecialFile},
};
use watchkeeper_sources::{OpenError, Otlp, SessionFile};

use super::{cursor::Cursor, misdated::MisdatedLines, pipe, read_error::ReadError};

/// The files of one session and of its sub-agents. There can be thousands. A file with the telemetry
/// of several sessions connects them: then these are the files of all of them.
#[derive(Debug)]
pub(crate) struct Group {
    /// Session of the first event.
    pub(crate) session: SessionId,
    /// In order of their first event.
    pub(crate) files: Vec<PathBuf>,
    /// Time of the first event of each file, and the source that recognized it.
    pub(super) starts: Vec<(Timestamp, &'static SourceEntry)>,
    /// Contents of the files that are pipes. A pipe cannot be read twice.
    pub(super) pipes: BTreeMap<PathBuf, Arc<[u8]>>,
    pub(crate) started_at: Timestamp,
    /// Whether sources of several kinds read the files. Then they may contain the same events.
    pub(super) has_several_sources: bool,
}

/// A file that was not read to its end.
#[derive(Debug)]
pub(crate) struct UnreadFile {
    pub(crate) file: PathBuf,
    pub(crate) error: ReadError,
    /// Skipped lines of a file without a session.
    pub(crate) skipped: SkippedLines,
}

/// The result of reading the files of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupRead {
    pub(crate) skipped: SkippedLines,
    /// Files whose reading failed partway. `skipped` includes their skipped lines.
    pub(crate) failed: Vec<UnreadFile>,
    /// Files with lines whose time is wrong.
    pub(crate) misdated: Vec<(PathBuf, MisdatedLines)>,
    /// Totals by the count of the agent's client, if they are of the whole session.
    pub(crate) client_total: Option<ClientTotal>,
}

/// Groups files by the session of their first event, in order of time; files with telemetry by all
/// of their sessions, since the same sessions may have files of their own. Returns the files
/// without a session separately.
pub(crate) fn group(
    files: Vec<PathBuf>,
    only: Option<&'static SourceEntry>,
    kinds: &Kinds<SourceEntry>,
) -> (Vec<Group>, Vec<UnreadFile>) {
    let mut groups: BTreeMap<SessionId, Vec<_>> = BTreeMap::new();
    let mut connected = ConnectedSessions::default();
    let mut pipes = BTreeMap::new();
    let mut without = Vec::new();
    for path in files {
        let mut skipped = SkippedLines::default();
        let opened = read_pipe(&path, &mut pipes);
        let opened = opened.and_then(|()| open(&path, only, kinds, &pipes));
        let first = opened.map_err(Into::into).and_then(|file| {
            let kind = file.kind();
            Ok(first_event(file, &mut skipped)?.map(|event| (event, kind)))
        });
        let error = match first {
            Ok(Some((event, kind))) => {
                if kind.kind() == Otlp::KIND {
                    connected.read(&event.session, &path, kind, kinds, &pipes);
                }
                groups.entry(event.session).or_default().push((path, (event.at, kind)));
                continue;
            }
            Ok(None) => ReadError::NoSession,
            Err(error) => error,
        };
        without.push(UnreadFile { file: path, error, skipped });
    }
    let mut groups: Vec<Group> = connected
        .join(groups)
        .into_iter()
        .map(|(session, mut files)| {
            files.sort_by(|(a, (a_at, _)), (b, (b_at, _))| (a_at, a).cmp(&(b_at, b)));
            let (files, starts): (Vec<PathBuf>, Vec<_>) = files.into_iter().unzip();
            let started_at = starts[0].0;
            let pipes = files.iter().filter_map(|path| pipes.remove_entry(path)).collect();
            let kinds = || starts.iter().map(|(_, kind): &(_, &SourceEntry)| kind.kind());
            let has_several_sources = kinds().ne(kinds().map(|_| starts[0].1.kind()));
            Group { session, files, starts, pipes, started_at, has_several_sources }
        })
        .collect();
    groups.sort_by(|a, b| (a.started_at, &a.files).cmp(&(b.started_at, &b.files)));
    groups
        .chunk_by_mut(|a, b| a.started_at == b.started_at)
        .filter(|copies| (2..=MAX_COPIES).contains(&copies.len()))
        .for_each(|copies| copies.sort_by_cached_key(Group::originality));
    (groups, without)
}

/// The sessions that files have in common: each with an earlier one, up to the first.
#[derive(Default)]
struct ConnectedSessions(BTreeMap<SessionId, SessionId>);

impl ConnectedSessions {
    /// Connects the sessions of a file with its first one. A file that cannot be read to its end
    /// is read, and reported, later.
    fn read(
        &mut self,
        first: &SessionId,
        path: &Path,
        kind: &'static SourceEntry,
        kinds: &Kinds<SourceEntry>,
        pipes: &BTreeMap<PathBuf, Arc<[u8]>>,
    ) {
        let Ok(file) = open(path, Some(kind), kinds, pipes) else { return };
        let (mut cursor, mut seen) = (Cursor::of_file(file), DedupCache::default());
        while let Ok(Some(_)) = cursor.peek(&mut seen) {
            let Some(event) = cursor.pop() else { break };
            self.connect(first, &event.session);
        }
    }

    fn connect(&mut self, a: &SessionId, b: &SessionId) {
        if a == b {
            return;
        }
        let (a, b) = (self.first(a), self.first(b));
        if a != b {
            self.0.insert(a.clone().max(b.clone()), a.min(b));
        }
    }

    /// Returns the session that stands for all that are connected with this one.
    fn first(&self, session: &SessionId) -> SessionId {
        let mut first = session;
        while let Some(earlier) = self.0.get(first) {
            first = earlier;
        }
        first.clone()
    }

    /// Joins the groups of sessions that are connected. The joined group has the first of their ids.
    fn join<T>(&self, groups: BTreeMap<SessionId, Vec<T>>) -> BTreeMap<SessionId, Vec<T>> {
        let mut joined: BTreeMap<SessionId, (SessionId, Vec<T>)> = BTreeMap::new();
        for (session, files) in groups {
            let entry = joined.entry(self.first(&session));
            entry.or_insert_with(|| (session, Vec::new())).1.extend(files);
        }
        joined.into_values().collect()
    }
}

/// Largest number of sessions, or of files of one, with the same start that are examined
/// for copies.
const MAX_COPIES: usize = 64;

/// Reads a pipe, or standard input for the path `-`, to its end. Leaves files and
/// folders alone.
fn read_pipe(path: &Path, pipes: &mut BTreeMap<PathBuf, Arc<[u8]>>) -> Result<(), OpenError> {
    /// Larger inputs, such as `/dev/zero`, are not sessions.
    const MAX_PIPE: u64 = 1 << 30;
    const WRITER_TIMEOUT: Duration = Duration::from_secs(2);
    let read = || -> io::Result<Option<Vec<u8>>> {
        let reader: Box<dyn Read> = if is_standard_input(path) {
            Box::new(io::stdin().lock())
        } else {
            let metadata = fs::metadata(path)?;
            if metadata.is_file() || metadata.is_dir() {
                return Ok(None);
            }
            match SpecialFile::of(path, &metadata) {
                None => Box::new(File::open(path)?),
                Some(SpecialFile::Pipe) => pipe::open(path, WRITER_TIMEOUT)?,
                Some(kind) => {
                    return Err(io::Error::other(format!("it is {kind}; name a session file")));
                }
            }
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
pub(super) fn open(
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

/// Returns the first event of a file. `skipped` is set to the skipped lines before it.
fn first_event(file: SessionFile, skipped: &mut SkippedLines) -> Result<Option<Event>, ReadError> {
    // The file is read again later, with the cache of the whole run.
    let mut cursor = Cursor::of_file(file);
    let next_at = cursor.peek(&mut DedupCache::default());
    if let Some(file) = &cursor.file {
        skipped.clone_from(file.skipped_lines());
    }
    next_at?;
    Ok(cursor.pop())
}

impl Group {
    /// Returns a key that sorts an original session before its copies: a session that
    /// is resumed can begin with a copy of the earlier session, and only the file that
    /// is read first keeps the lines that both contain.
    ///
    /// Agents name a file by its session id. An original contains this id earlier than a
    /// copy, whose first lines have the id of the original. If the copy has replaced that
    /// id, the copy is the longer file, since its session continued.
    fn originality(&self) -> (usize, u64, PathBuf) {
        let starts = self.files.iter().zip(&self.starts);
        let first = starts.filter(|(_, (at, _))| *at == self.started_at).take(MAX_COPIES);
        let keys = first.map(|(path, _)| {
            let is_pipe = self.pipes.contains_key(path);
            let position = if is_pipe { None } else { id_position(path).ok().flatten() };
            (position.unwrap_or(usize::MAX), size_of(path), path.clone())
        });
        keys.min().unwrap_or_default()
    }
}

/// Returns the position of a file's name near its beginning, if the name can be a session
/// id.
fn id_position(path: &Path) -> io::Result<Option<usize>> {
    /// Shorter names are no ids, and could be in a file by chance.
    const MIN_ID: usize = 16;
    let name = path.file_stem().unwrap_or_default().as_encoded_bytes();
    if name.len() < MIN_ID {
        return Ok(None);
    }
    let mut head = Vec::new();
    File::open(path)?.take(16 << 10).read_to_end(&mut head)?;
    Ok(memmem::find(&head, name))
}

/// Returns the size of a file in bytes, or 0 if the file cannot be read.
pub(crate) fn size_of(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

impl GroupRead {
    /// Returns the skipped lines, or the first file that could not be read to its
    /// end.
    pub(crate) fn complete(self) -> Result<SkippedLines, UnreadFile> {
        self.failed.into_iter().next().map_or(Ok(self.skipped), Err)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.skipped.add(&other.skipped);
        self.failed.extend(other.failed);
        self.misdated.extend(other.misdated);
        self.client_total = other.client_total.or(self.client_total);
    }

    pub(super) fn fail(&mut self, file: &Path, error: ReadError) {
        let skipped = SkippedLines::default();
        self.failed.push(UnreadFile { file: file.to_owned(), error, skipped });
    }
}
