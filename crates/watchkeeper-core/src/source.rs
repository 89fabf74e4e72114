use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rapidhash::fast::RandomState;

use crate::{AgentId, Event, EventKind, Fingerprint, Origin, SessionId, Tokens};

/// Reads one session file, line by line, and emits its events.
///
/// A source contains everything that is specific to one agent. It removes
/// duplicate usage, maps token counts to the common classes, classifies tools,
/// assigns sub-agents to their session, and distinguishes declined calls from
/// failed ones. A source has no errors: it counts a line that it cannot read,
/// with the reason, and continues with the next one. A panic ends the reading of
/// that file only, and is reported.
pub trait Source: Send {
    /// Reads the next line, which has no line break in it.
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>);

    /// Emits the events that follow from the end of a recorded file. Not called
    /// for a followed file.
    fn finish(&mut self, sink: &mut EventSink<'_>) {
        let _: &mut EventSink<'_> = sink;
    }

    /// Emits the events that follow from a pause: nothing was added to a followed file for
    /// half a minute. Lines may follow. Not called for a recorded file.
    fn pause(&mut self, sink: &mut EventSink<'_>) {
        let _: &mut EventSink<'_> = sink;
    }

    /// Returns the totals that the agent's client wrote to the file so far, if there are
    /// any: to compare them with the counted ones.
    fn client_total(&self) -> Option<ClientTotal> {
        None
    }
}

/// The totals of a session by its client's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClientTotal {
    /// The tokens.
    pub tokens: Option<Tokens>,
    /// The cost in US dollars.
    pub cost_usd: Option<f64>,
}

/// A kind of source: its name, its manual, and the files that it reads.
pub trait SourceKind: Source + Sized + 'static {
    /// The name, in kebab-case: the value of `--source`.
    const KIND: &'static str;

    /// The manual, in Markdown.
    const DOCS: &'static str;

    /// Patterns for the names of session files, without their folders. In a
    /// folder, only files that match one of the patterns are opened. `*` matches
    /// any text. A pattern that starts with `!` excludes names that match the
    /// others.
    ///
    /// A file that the user names is opened whatever its name is.
    const FILES: &'static [&'static str] = &["*.jsonl"];

    /// Whether the agent replaces the whole file instead of appending lines. A
    /// follower reads such a file from the beginning after every change, and the
    /// source skips the events that are not [new](EventSink::is_new).
    const IS_REWRITTEN: bool = false;

    /// The lines of the agent's database, if the agent has one. A follower may read rows again,
    /// and the source skips the events that are not [new](EventSink::is_new).
    const DATABASE: Option<Database> = None;

    /// Returns whether the file at `path` is of this kind. `head` is the first
    /// 64 KiB of the file, or all of it if it is shorter. It may end in the
    /// middle of a line. If no kind recognizes the file, this function is called again
    /// with the whole last line. Not called for a [database](Self::DATABASE).
    fn recognizes(path: &Path, head: &[u8]) -> bool;

    /// Returns the folders in which the agent keeps its sessions on this machine.
    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let _: &Environment<'_> = environment;
        Vec::new()
    }

    /// Creates a source that reads the file at `path`.
    fn new(path: &Path) -> Self;
}

/// The lines of a SQLite database: each row of a query is a line, and the id of the row is the
/// number of the line.
///
/// The ids are positive and unique, and a new row has the largest one. If the row that was read
/// last is gone or has changed, a follower reads the rows again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// The tables by which the kind recognizes its databases: all tables of the queries.
    pub tables: &'static [&'static str],
    /// The query of the rows, in order of their ids. A row consists of the id, the text of the
    /// line, and, if the query has a third column, more text at its end, which may change later.
    /// Its parameters are `?1`, a number that is less than the ids, and `?2`, the
    /// length of the longest line in bytes: the text of a longer one is `NULL`.
    pub rows: &'static str,
    /// The query of the id before the first row of the sessions that changed since `?1`, in
    /// milliseconds since 1970. A database can have the sessions of years, and a follower
    /// starts to read it there.
    pub start: &'static str,
}

/// Looks up a variable of the process's environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Returns whether the name of the file at `path` matches `patterns`, as
/// described at [`SourceKind::FILES`].
pub(crate) fn matches_name(patterns: &[&str], path: &Path) -> bool {
    let Some(name) = path.file_name().map(OsStr::to_string_lossy) else { return false };
    let matches = |pattern: &str| crate::Glob::new(pattern).matches(&name);
    patterns.iter().any(|pattern| !pattern.starts_with('!') && matches(pattern))
        && !patterns.iter().any(|pattern| pattern.strip_prefix('!').is_some_and(matches))
}

/// Receives the events that a source reads from one file.
pub struct EventSink<'a> {
    source: &'static str,
    file: &'a Arc<str>,
    line: u64,
    events: &'a mut Vec<Event>,
    skipped_lines: &'a mut SkippedLines,
    dedup_cache: &'a mut DedupCache,
}

impl<'a> EventSink<'a> {
    /// Creates a sink for one line of a file.
    ///
    /// `line` is the number of the line, counted from 1. `source` is the kind of
    /// the source.
    pub fn new(
        source: &'static str,
        file: &'a Arc<str>,
        line: u64,
        events: &'a mut Vec<Event>,
        skipped_lines: &'a mut SkippedLines,
        dedup_cache: &'a mut DedupCache,
    ) -> Self {
        Self { source, file, line, events, skipped_lines, dedup_cache }
    }

    /// Returns the number of the current line.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Sets the line of the next events, for sources that assemble an event from
    /// many lines.
    pub fn at_line(&mut self, line: u64) {
        self.line = line;
    }

    /// Emits an event, with the current line as its origin. Cuts long names; see [`Event`].
    pub fn event(
        &mut self,
        at: Timestamp,
        session: &SessionId,
        agent: Option<&AgentId>,
        mut kind: EventKind,
    ) {
        kind.limit_names();
        let origin = Origin { source: self.source, file: self.file.clone(), line: self.line };
        self.events.push(Event {
            at,
            session: session.clone(),
            agent: agent.cloned(),
            origin: Some(origin),
            kind,
        });
    }

    /// Counts the current line as skipped. `reason` is a few words.
    pub fn skip_line(&mut self, reason: &'static str) {
        self.skipped_lines.count(reason, self.file, self.line);
    }

    /// Counts a skipped part of a line, such as an event of an unknown type.
    /// `reason` is a few words.
    pub fn skip_part(&mut self, reason: &'static str) {
        *self.skipped_lines.parts.entry(reason).or_default() += 1;
    }

    /// Records `key`, and returns whether this file is the first that contains
    /// it: for history that an agent copies when a session is resumed.
    pub fn is_first_here(&mut self, key: Fingerprint) -> bool {
        self.record(key).0
    }

    /// Returns whether `key` was recorded before, for this file or another one.
    pub fn is_known(&mut self, key: Fingerprint) -> bool {
        self.dedup_cache.look_up(key)
    }

    /// Records `key`, and returns whether it was not recorded before, for this
    /// file or another one: for files that are rewritten as a whole.
    pub fn is_new(&mut self, key: Fingerprint) -> bool {
        let (is_first_here, is_known) = self.record(key);
        is_first_here && !is_known
    }

    /// Records `key`. Returns whether this file is the first that contains it, and whether it
    /// was recorded before.
    fn record(&mut self, key: Fingerprint) -> (bool, bool) {
        let file = self.dedup_cache.fingerprint(self.file);
        let (first, is_known) = self.dedup_cache.first(key, file);
        let is_first_here = first == file;
        self.dedup_cache.n_copies += u64::from(!is_first_here);
        (is_first_here, is_known)
    }
}

/// Counts of skipped input, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLines {
    /// Lines that were skipped as a whole.
    pub lines: BTreeMap<&'static str, u64>,
    /// Skipped parts and unknown events of lines that were read.
    pub parts: BTreeMap<&'static str, u64>,
    /// The first lines that were skipped as a whole, eight at most.
    pub first: Vec<SkippedLine>,
}

/// A line that was skipped as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLine {
    /// The name of the file in the origins of events.
    pub file: Arc<str>,
    /// The number of the line, counted from 1.
    pub line: u64,
    /// The reason, in a few words.
    pub reason: &'static str,
}

impl SkippedLines {
    /// The largest number of lines in `first`.
    const MAX_FIRST: usize = 8;

    /// Counts a skipped line of a file. `line` is the number of the line, counted from 1.
    pub fn count(&mut self, reason: &'static str, file: &Arc<str>, line: u64) {
        *self.lines.entry(reason).or_default() += 1;
        if self.first.len() < Self::MAX_FIRST {
            self.first.push(SkippedLine { file: file.clone(), line, reason });
        }
    }

    /// Returns the number of skipped lines.
    pub fn total(&self) -> u64 {
        self.lines.values().sum()
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (reason, n) in &other.lines {
            *self.lines.entry(reason).or_default() += n;
        }
        for (reason, n) in &other.parts {
            *self.parts.entry(reason).or_default() += n;
        }
        let room = Self::MAX_FIRST.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }
}

/// The first file of each recorded key, over all files of one run.
///
/// Memory is bounded: the oldest keys are dropped.
#[derive(Debug, Default)]
pub struct DedupCache {
    newer: HashMap<Fingerprint, Fingerprint, RandomState>,
    older: HashMap<Fingerprint, Fingerprint, RandomState>,
    /// The latest file and its fingerprint.
    latest_file: Option<(Arc<str>, Fingerprint)>,
    n_copies: u64,
    /// The keys in order, if the cache is [separate](Self::separate).
    separate: Option<SeparateKeys>,
}

/// The keys of files that were read separately.
#[derive(Debug, Default)]
struct SeparateKeys {
    /// The recorded keys and their files.
    recorded: Vec<(Fingerprint, Fingerprint)>,
    /// The keys that were looked up and not recorded before.
    missing: Vec<Fingerprint>,
    /// Whether there were too many keys. Then none are kept.
    has_overflowed: bool,
}

impl SeparateKeys {
    fn record(&mut self, key: Fingerprint, file: Fingerprint) {
        if self.has_room() {
            self.recorded.push((key, file));
        }
    }

    fn miss(&mut self, key: Fingerprint) {
        if self.has_room() {
            self.missing.push(key);
        }
    }

    /// Returns whether another key can be added. Of more keys, the cache drops the oldest, and
    /// not the same ones as the cache of the run.
    fn has_room(&mut self) -> bool {
        if DedupCache::CAPACITY <= self.recorded.len().max(self.missing.len()) {
            *self = Self { has_overflowed: true, ..Self::default() };
        }
        !self.has_overflowed
    }
}

impl DedupCache {
    /// The smallest number of recent keys that are kept: more than the number of
    /// lines in files that are copied from one another.
    const CAPACITY: usize = 1 << 18;

    /// Creates a cache for files that are read independently of earlier ones, on another
    /// thread: their keys can be [added](Self::add_separate) to the cache of the run.
    pub fn separate() -> Self {
        Self { separate: Some(SeparateKeys::default()), ..Self::default() }
    }

    /// Adds the keys of files that were read with a [separate](Self::separate) cache.
    ///
    /// Returns `false` and adds none if the files could have other events when they are read
    /// with this cache: because they contain a key of an earlier file, or too many keys.
    #[must_use]
    pub fn add_separate(&mut self, separate: Self) -> bool {
        let Some(keys) = separate.separate else { return false };
        let mut all = keys.recorded.iter().map(|(key, _)| key).chain(&keys.missing);
        if keys.has_overflowed || all.any(|key| self.has(*key)) {
            return false;
        }
        for (key, file) in keys.recorded {
            self.first(key, file);
        }
        self.n_copies += separate.n_copies;
        true
    }

    /// Returns how often a file contained a key of an earlier file.
    pub fn n_copies(&self) -> u64 {
        self.n_copies
    }

    /// Returns the fingerprint of a file's name. Most files have many lines.
    fn fingerprint(&mut self, file: &Arc<str>) -> Fingerprint {
        match &self.latest_file {
            Some((latest, fingerprint)) if Arc::ptr_eq(latest, file) => *fingerprint,
            _ => {
                let fingerprint = Fingerprint::of(&**file);
                self.latest_file = Some((file.clone(), fingerprint));
                fingerprint
            }
        }
    }

    fn look_up(&mut self, key: Fingerprint) -> bool {
        let is_known = self.has(key);
        if let Some(keys) = &mut self.separate
            && !is_known
        {
            keys.miss(key);
        }
        is_known
    }

    fn has(&self, key: Fingerprint) -> bool {
        self.newer.contains_key(&key) || self.older.contains_key(&key)
    }

    /// Returns the first file of `key`, which is `file` if the key is new, and whether the key
    /// was known.
    fn first(&mut self, key: Fingerprint, file: Fingerprint) -> (Fingerprint, bool) {
        if let Some(first) = self.older.get(&key) {
            return (*first, true);
        }
        if self.newer.len() == Self::CAPACITY && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        match self.newer.entry(key) {
            Entry::Occupied(first) => (*first.get(), true),
            Entry::Vacant(entry) => {
                if let Some(keys) = &mut self.separate {
                    keys.record(key, file);
                }
                (*entry.insert(file), false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DedupCache, SkippedLines, matches_name};
    use crate::Fingerprint;

    #[test]
    fn keeps_the_places_of_the_first_skipped_lines() {
        let [mut all, mut other] = [SkippedLines::default(), SkippedLines::default()];
        let file = "a.jsonl".into();
        (1..=5).for_each(|line| all.count("too long", &file, line));
        (6..=20).for_each(|line| other.count("no `event`", &file, line));
        all.add(&other);
        assert_eq!(all.total(), 20);
        let lines: Vec<_> = all.first.iter().map(|it| (it.line, it.reason)).collect();
        let expected = (1..=8).map(|line| (line, if line < 6 { "too long" } else { "no `event`" }));
        assert_eq!(lines, expected.collect::<Vec<_>>());
    }

    #[test]
    fn keeps_recent_keys_in_bounded_memory() {
        let mut cache = DedupCache::default();
        let [file, other] = [1, 2].map(Fingerprint::from);
        let n_keys = 3 * DedupCache::CAPACITY as u64;
        for key in 0..n_keys {
            assert_eq!(cache.first(Fingerprint::from(key), file), (file, false));
        }
        assert!(cache.newer.len() + cache.older.len() <= 2 * DedupCache::CAPACITY);
        let recent = n_keys - DedupCache::CAPACITY as u64;
        assert_eq!(cache.first(Fingerprint::from(recent), other), (file, true));
        assert_eq!(cache.first(Fingerprint::from(0), other), (other, false));
    }

    #[test]
    fn adds_the_keys_of_a_separate_cache_unless_a_file_could_have_other_events() {
        let [file, other] = [1, 2].map(Fingerprint::from);
        let separate = |keys: std::ops::Range<u64>, looked_up: u64| {
            let mut cache = DedupCache::separate();
            for key in keys {
                cache.first(Fingerprint::from(key), other);
            }
            cache.look_up(Fingerprint::from(looked_up));
            cache
        };
        let mut cache = DedupCache::default();
        cache.first(Fingerprint::from(0), file);
        assert!(!cache.add_separate(separate(0..3, 1)), "it contains a key of an earlier file");
        assert!(!cache.add_separate(separate(1..3, 0)), "it looked up a key of an earlier file");
        assert!(!cache.has(Fingerprint::from(1)), "no key was added");
        assert!(cache.add_separate(separate(1..3, 9)));
        assert_eq!(cache.first(Fingerprint::from(1), file), (other, true));
        let n_keys = DedupCache::CAPACITY as u64 + 1;
        let many = separate(10..10 + n_keys, 9);
        assert!(many.separate.as_ref().is_some_and(|keys| keys.recorded.capacity() == 0));
        assert!(!cache.add_separate(many), "it has too many keys");
        assert!(!DedupCache::default().add_separate(DedupCache::default()), "it is not separate");
    }

    #[test]
    fn matches_names_of_files_and_excludes_others() {
        let patterns = ["*.json", "!*.meta.json", "trace-*"];
        for (path, expected) in [
            ("/sessions/a.json", true),
            ("/sessions/a.meta.json", false),
            ("/sessions/trace-1", true),
            ("/sessions.json/a", false),
            ("/sessions/a.JSON", false),
        ] {
            assert_eq!(matches_name(&patterns, Path::new(path)), expected, "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn matches_names_that_are_not_utf8() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

        let path = Path::new(OsStr::from_bytes(b"/sessions/\xff.json"));
        assert!(matches_name(&["*.json"], path));
    }
}
