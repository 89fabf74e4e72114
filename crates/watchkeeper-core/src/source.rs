use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{AgentId, Event, EventKind, Fingerprint, Origin, SessionId};

/// Reads one session file, line by line.
///
/// A source knows the format and the habits of one agent: it makes usage
/// unique and its classes uniform, names what tools do, joins sub-agents to
/// their session, and tells declined calls from failed ones. It never fails: a
/// line that it cannot read is counted, with the reason, and the rest goes on.
pub trait Source: Send {
    /// Reads the next line, which has no line break in it.
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>);

    /// Says what the end of a recorded file makes known. Not called for a file
    /// that is being followed.
    fn finish(&mut self, sink: &mut EventSink<'_>) {
        let _: &mut EventSink<'_> = sink;
    }
}

/// A kind of source: what `--source` names.
pub trait SourceKind: Source + Sized + 'static {
    /// The name, in kebab-case.
    const KIND: &'static str;

    /// Its manual, in Markdown.
    const DOCS: &'static str;

    /// Whether the agent writes a file anew as a whole, rather than adding
    /// lines to it. A follower reads such a file from its beginning whenever it
    /// has changed, and the source hands on what [is new](EventSink::is_new).
    const IS_REWRITTEN: bool = false;

    /// Whether a file that begins with `head` is of this kind. `head` is the
    /// first 64 KiB at most, and may end inside a line.
    fn recognizes(path: &Path, head: &[u8]) -> bool;

    /// The folders in which the agent keeps its sessions on this machine.
    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let _: &Environment<'_> = environment;
        Vec::new()
    }

    /// Begins to read the file at `path`.
    fn new(path: &Path) -> Self;
}

/// Looks up a variable of the process's environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Takes in what a source reads from one file.
pub struct EventSink<'a> {
    source: &'static str,
    file: &'a Arc<str>,
    line: u64,
    events: &'a mut Vec<Event>,
    unread: &'a mut SkippedLines,
    seen: &'a mut DedupCache,
}

impl<'a> EventSink<'a> {
    /// Takes in what stands at a line of a file.
    pub fn new(
        source: &'static str,
        file: &'a Arc<str>,
        line: u64,
        events: &'a mut Vec<Event>,
        unread: &'a mut SkippedLines,
        seen: &'a mut DedupCache,
    ) -> Self {
        Self { source, file, line, events, unread, seen }
    }

    /// The line that is read.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Says at which line stands what is taken in next, for sources that put
    /// together what is written over many lines.
    pub fn at_line(&mut self, line: u64) {
        self.line = line;
    }

    /// Takes an event in, and notes where it was read.
    pub fn event(
        &mut self,
        at: Timestamp,
        session: &SessionId,
        agent: Option<&AgentId>,
        kind: EventKind,
    ) {
        let origin = Origin { source: self.source, file: self.file.clone(), line: self.line };
        self.events.push(Event {
            at,
            session: session.clone(),
            agent: agent.cloned(),
            origin: Some(origin),
            kind,
        });
    }

    /// Counts this line as not read, for a reason in a few words.
    pub fn unread(&mut self, reason: &'static str) {
        self.unread.count(reason);
    }

    /// Counts a detail that was not read in a line that was, or an event that
    /// the source does not know.
    pub fn skipped(&mut self, reason: &'static str) {
        *self.unread.skipped.entry(reason).or_default() += 1;
    }

    /// Whether `key` was first seen in this file, and not in another one: for
    /// history that an agent copies when a session is resumed.
    pub fn is_first_here(&mut self, key: Fingerprint) -> bool {
        let file = Fingerprint::of(&**self.file);
        self.seen.first(key, file) == file
    }

    /// Whether `key` was seen before, in this file or in another one.
    pub fn has_seen(&self, key: Fingerprint) -> bool {
        self.seen.has(key)
    }

    /// Whether `key` was not seen before, in this file or in another one: for
    /// files that are written anew as a whole.
    pub fn is_new(&mut self, key: Fingerprint) -> bool {
        !self.seen.has(key) && self.is_first_here(key)
    }
}

/// What was not read, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedLines {
    /// Lines of which nothing was read.
    pub lines: BTreeMap<&'static str, u64>,
    /// Details and unknown events in lines that were read.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl SkippedLines {
    /// Counts a line.
    pub fn count(&mut self, reason: &'static str) {
        *self.lines.entry(reason).or_default() += 1;
    }

    /// How many lines were not read.
    pub fn total(&self) -> u64 {
        self.lines.values().sum()
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for (reason, n) in &other.lines {
            *self.lines.entry(reason).or_default() += n;
        }
        for (reason, n) in &other.skipped {
            *self.skipped.entry(reason).or_default() += n;
        }
    }
}

/// What was seen in which file first, over all files of one run: the latest
/// keys, however many there are.
#[derive(Debug, Default)]
pub struct DedupCache {
    newer: HashMap<Fingerprint, Fingerprint, RandomState>,
    older: HashMap<Fingerprint, Fingerprint, RandomState>,
}

impl DedupCache {
    /// How many keys are held at least, once there were that many: more than
    /// the files that are copied from one another have lines.
    const ENOUGH: usize = 1 << 18;

    fn has(&self, key: Fingerprint) -> bool {
        self.newer.contains_key(&key) || self.older.contains_key(&key)
    }

    /// The file that `key` was first seen in, which is `file` if it is new.
    fn first(&mut self, key: Fingerprint, file: Fingerprint) -> Fingerprint {
        let Some(first) = self.older.get(&key) else {
            if self.newer.len() == Self::ENOUGH && !self.newer.contains_key(&key) {
                self.older = std::mem::take(&mut self.newer);
            }
            return *self.newer.entry(key).or_insert(file);
        };
        *first
    }
}

#[cfg(test)]
mod tests {
    use super::DedupCache;
    use crate::Fingerprint;

    #[test]
    fn what_was_seen_lately_is_held_and_no_more() {
        let mut seen = DedupCache::default();
        let [file, other] = [1, 2].map(Fingerprint::from);
        let n_keys = 3 * DedupCache::ENOUGH as u64;
        for key in 0..n_keys {
            assert_eq!(seen.first(Fingerprint::from(key), file), file);
        }
        assert!(seen.newer.len() + seen.older.len() <= 2 * DedupCache::ENOUGH);
        let lately = n_keys - DedupCache::ENOUGH as u64;
        assert_eq!(seen.first(Fingerprint::from(lately), other), file);
        assert_eq!(seen.first(Fingerprint::from(0), other), other);
    }
}
