//! Checks of a kind of source, and the events that a source reads from a text.
//!
//! | promise | requirement |
//! | --- | --- |
//! | documented | the manual starts with the name of the kind and a sentence |
//! | recognizing | the source recognizes its own samples, by name and by content, and no foreign file |
//! | productive | every sample contains at least one event |
//! | located | every event has a session, and a line of the file |
//! | total | no text makes the source panic |
//! | deterministic | the first lines of a file give the same events, whether or not more lines follow |
//! | counting | a line of another format is counted as skipped |
//! | rewritable | a file that is read again gives no event twice, if the agent rewrites files or has a database |
//!
//! [`check`] takes samples of the format, and also reads them with lines removed, repeated,
//! swapped, cut and filled with other values.
//!
//! [`read`] returns the events of one text. [`Reading::trace`] writes them as a
//! [`Trace`], for a comparison in a test:
//!
//! ```
//! # use std::path::Path;
//! # use watchkeeper_core::{EventKind, Source, SourceKind, Timestamp, author::EventSink};
//! use watchkeeper_testing::source;
//! # struct Chat;
//! # impl Source for Chat {
//! #     fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
//! #         let Some(text) = line.strip_prefix(b"user: ") else { return sink.skip_line("no user") };
//! #         let text = String::from_utf8_lossy(text).into();
//! #         let kind = EventKind::Prompt { text, synthetic: false };
//! #         sink.event(Timestamp::UNIX_EPOCH, &"s1".into(), None, kind);
//! #     }
//! # }
//! # impl SourceKind for Chat {
//! #     const KIND: &'static str = "acme-chat";
//! #     const DOCS: &'static str = "# acme-chat\n\nReads chats.\n";
//! #     const FILES: &'static [&'static str] = &["*.chat"];
//! #     fn recognizes(_: &Path, head: &[u8]) -> bool { head.starts_with(b"user: ") }
//! #     fn new(_: &Path) -> Self { Self }
//! # }
//!
//! let reading = source::read::<Chat>("a.chat", "user: fix the build\n???\n");
//! assert_eq!(reading.trace(), "0s prompt \"fix the build\"\n");
//! assert_eq!(reading.skipped_lines.total(), 1);
//! source::check::<Chat>(&[("a.chat", "user: fix the build\n")]);
//! ```
//!
//! # Environment variables
//!
//! * `PROPTEST_CASES`: the number of changed samples, 256 by default.
//! * `PROPTEST_RNG_SEED`: the seed of the changes.

use std::{path::Path, sync::Arc};

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use watchkeeper_core::{
    Event, SourceKind, Timestamp,
    author::{DedupCache, EventSink, SkippedLines},
    embed::{Entry as _, SourceEntry},
};

use crate::{
    Trace,
    promise::{Panic, Violation, guard},
};

/// The largest part of a file that [`SourceKind::recognizes`] receives, in bytes.
const HEAD: usize = 64 << 10;

/// The largest number of places at which a sample is split.
const MAX_SPLITS: usize = 100;

const PROMISE_DETERMINISTIC: &str =
    "the first lines of a file give the same events, whether or not more lines follow";
const PROMISE_TOTAL: &str = "no text makes a source panic";

/// Files that no source of another format recognizes.
const FOREIGN: &[(&str, &[u8])] = &[
    ("an empty file", b""),
    ("zero bytes", &[0; 1_000]),
    ("bytes that are not UTF-8", &[0x80, 0xff, 0xfe, b'\n', 0xc3]),
    ("plain text", b"to do:\n\n* buy milk\n"),
    ("JSON of another program", b"{\"name\":\"shop\",\"version\":\"1.0.0\"}\n"),
];

/// A session in the format of the source `ndjson`.
const NDJSON: &[u8] = b"{\"at\":\"2026-01-02T03:04:05Z\",\"session\":\"s1\",\"event\":\"prompt\",\
    \"text\":\"fix the build\"}\n";

/// Lines of no format.
const JUNK: &str = "\u{1}\u{2} no session \u{3}\n{\"\": [}\n";

/// The events of one file.
#[derive(Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Reading {
    /// The events, in the order in which the source emitted them.
    pub events: Vec<Event>,
    /// The counts of skipped lines, by reason.
    pub skipped_lines: SkippedLines,
}

impl Reading {
    /// Writes the events in the syntax of [`Trace`], one to a line. Times count from the first
    /// event.
    pub fn trace(&self) -> String {
        let mut events = self.events.clone();
        if let Some(start) = events.first().map(|event| event.at) {
            for event in &mut events {
                let since_start = event.at.duration_since(start);
                event.at = Timestamp::UNIX_EPOCH.checked_add(since_start).unwrap_or(event.at);
            }
        }
        Trace::from(events).to_string()
    }
}

/// Reads a text to its end. `file` is the path of the file, which is not opened.
pub fn read<S: SourceKind>(file: &str, text: impl AsRef<[u8]>) -> Reading {
    let mut reader = FileReader::<S>::new(file);
    for line in lines(text.as_ref()) {
        reader.read_line(line);
    }
    reader.finish();
    reader.reading
}

/// Checks the promises of a kind of source. A sample consists of a file name and a text.
///
/// # Panics
///
/// If the source breaks a promise. The message contains the promise, and a test that repeats the
/// failure with the shortest text that was found.
#[track_caller]
pub fn check<S: SourceKind>(samples: &[(&str, &str)]) {
    assert!(!samples.is_empty(), "name at least one sample of `{}`", S::KIND);
    let violation = check_manual::<S>()
        .or_else(|| samples.iter().find_map(|sample| check_recognition::<S>(sample)))
        .or_else(|| samples.iter().find_map(|sample| check_reading::<S>(sample)))
        .or_else(|| check_changed_samples::<S>(samples));
    if let Some(violation) = violation {
        panic!("{violation}");
    }
}

fn violation<S: SourceKind>(
    promise: &'static str,
    message: String,
    code: Option<String>,
) -> Violation {
    Violation { kind: S::KIND, promise, message, code }
}

/// Returns the statement that reads `text`.
fn read_code<S: SourceKind>(file: &str, text: &[u8]) -> String {
    let literal = match std::str::from_utf8(text) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", text.escape_ascii()),
    };
    format!("source::read::<{}>({file:?}, {literal});", type_name::<S>())
}

fn type_name<S>() -> &'static str {
    std::any::type_name::<S>().rsplit("::").next().unwrap_or_default()
}

fn check_manual<S: SourceKind>() -> Option<Violation> {
    let entry = SourceEntry::of::<S>("");
    let title = format!("# {}\n", S::KIND);
    let message = if !S::DOCS.starts_with(&title) {
        format!("the manual does not start with the line `{}`", title.trim_end())
    } else if entry.summary().is_empty() {
        "the manual has no first sentence".to_owned()
    } else {
        return None;
    };
    Some(violation::<S>("the manual starts with the name and a sentence", message, None))
}

fn check_recognition<S: SourceKind>(&(file, text): &(&str, &str)) -> Option<Violation> {
    let entry = SourceEntry::of::<S>("");
    if !entry.reads_name(Path::new(file)) {
        let message = format!("`FILES` = {:?} does not match `{file}`", S::FILES);
        return Some(violation::<S>("`FILES` matches the names of session files", message, None));
    }
    let recognizes = |head: &[u8]| guard(|| S::recognizes(Path::new(file), head));
    let code = |head: &[u8]| {
        let (kind, head) = (type_name::<S>(), head.escape_ascii());
        Some(format!("{kind}::recognizes(Path::new({file:?}), b\"{head}\");"))
    };
    let head = &text.as_bytes()[..text.len().min(HEAD)];
    match recognizes(head) {
        Ok(true) => {}
        Ok(false) => {
            let message = format!("`recognizes` returns false for the sample `{file}`");
            let promise = "a source recognizes its own files";
            return Some(violation::<S>(promise, message, code(head)));
        }
        Err(panic) => {
            return Some(violation::<S>(
                PROMISE_TOTAL,
                format!("`recognizes` {panic}"),
                code(head),
            ));
        }
    }
    let is_ndjson = S::KIND == "ndjson";
    let ndjson = Some(("a session of the source `ndjson`", NDJSON)).filter(|_| !is_ndjson);
    for (name, head) in FOREIGN.iter().copied().chain(ndjson) {
        match recognizes(head) {
            Ok(false) => {}
            Ok(true) => {
                let message = format!("`recognizes` returns true for {name}, named `{file}`");
                let promise = "a source recognizes no file of another format";
                return Some(violation::<S>(promise, message, code(head)));
            }
            Err(panic) => {
                let message = format!("`recognizes` {panic}");
                return Some(violation::<S>(PROMISE_TOTAL, message, code(head)));
            }
        }
    }
    let folders = guard(|| {
        S::folders(&|_| None);
        S::folders(&|_| Some("/home/ada".into()));
    });
    let panic = folders.err()?;
    Some(violation::<S>("`folders` never panics", format!("`folders` {panic}"), None))
}

fn check_reading<S: SourceKind>(&(file, text): &(&str, &str)) -> Option<Violation> {
    let code = Some(read_code::<S>(file, text.as_bytes()));
    let whole = match guard(|| read::<S>(file, text)) {
        Ok(whole) => whole,
        Err(panic) => return Some(violation::<S>(PROMISE_TOTAL, panic.to_string(), code)),
    };
    if whole.events.is_empty() {
        let message = format!("the sample `{file}` gives no event");
        return Some(violation::<S>("every sample contains at least one event", message, code));
    }
    let lines: Vec<&[u8]> = lines(text.as_bytes()).collect();
    for event in &whole.events {
        let line = event.origin.as_ref().map(|origin| origin.line);
        let has_line = line.is_some_and(|line| (1..=lines.len() as u64).contains(&line));
        if !has_line || event.session.as_str().is_empty() {
            let (name, session) = (event.kind.name(), event.session.as_str());
            let message = format!("a `{name}` has the session {session:?} and the line {line:?}");
            let promise = "every event has a session, and a line of the file";
            return Some(violation::<S>(promise, message, code));
        }
    }
    check_splits::<S>(file, &lines)
        .or_else(|| check_skipped_lines::<S>(file))
        .or_else(|| check_rewritten_file::<S>(file, &lines))
}

/// Reads the first lines alone, and compares the events with those of the whole file.
fn check_splits<S: SourceKind>(file: &str, lines: &[&[u8]]) -> Option<Violation> {
    let mut reader = FileReader::<S>::new(file);
    let step = lines.len().div_ceil(MAX_SPLITS).max(1);
    for (idx, line) in lines.iter().enumerate() {
        let n_lines = idx + 1;
        reader.read_line(line);
        if !n_lines.is_multiple_of(step) && n_lines != lines.len() {
            continue;
        }
        let mut other = FileReader::<S>::new(file);
        for line in &lines[..n_lines] {
            other.read_line(line);
        }
        if other.reading != reader.reading {
            let message = format!("two readings of the first {n_lines} lines differ");
            let text = [lines[..n_lines].join(&b'\n'), b"\n".to_vec()].concat();
            let code = read_code::<S>(file, &text);
            return Some(violation::<S>(PROMISE_DETERMINISTIC, message, Some(code)));
        }
    }
    None
}

/// Reads lines of no format.
fn check_skipped_lines<S: SourceKind>(file: &str) -> Option<Violation> {
    let promise = "a line of another format is counted as skipped";
    let code = Some(read_code::<S>(file, JUNK.as_bytes()));
    let reading = match guard(|| read::<S>(file, JUNK)) {
        Ok(reading) => reading,
        Err(panic) => return Some(violation::<S>(PROMISE_TOTAL, panic.to_string(), code)),
    };
    let is_counted = 0 < reading.skipped_lines.total() || !reading.skipped_lines.parts.is_empty();
    if is_counted || !reading.events.is_empty() {
        return None;
    }
    let message = "lines of no format give no event, and are not counted; call \
                   `EventSink::skip_line`"
        .to_owned();
    Some(violation::<S>(promise, message, code))
}

/// Reads a file twice, as a follower does after a change of a file that is rewritten, or of the
/// latest row of a database.
fn check_rewritten_file<S: SourceKind>(file: &str, lines: &[&[u8]]) -> Option<Violation> {
    if !S::IS_REWRITTEN && S::DATABASE.is_none() {
        return None;
    }
    let mut dedup_cache = DedupCache::default();
    let mut n_events = 0;
    for _ in 0..2 {
        let mut reader = FileReader::<S> { dedup_cache, ..FileReader::new(file) };
        for line in lines {
            reader.read_line(line);
        }
        reader.finish();
        n_events = reader.reading.events.len();
        dedup_cache = reader.dedup_cache;
    }
    if n_events == 0 {
        return None;
    }
    let message = format!("a second reading of `{file}` gives {n_events} events again");
    let promise = "a file that is read again gives no event twice: use `EventSink::is_new`";
    Some(violation::<S>(promise, message, None))
}

/// Reads samples with random changes.
fn check_changed_samples<S: SourceKind>(samples: &[(&str, &str)]) -> Option<Violation> {
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = (any::<Index>(), vec(Change::any(), 1..8));
    let text = |sample: &Index, changes: &[Change]| {
        let (file, text) = samples[sample.index(samples.len())];
        (file, changed(text, changes))
    };
    let result = TestRunner::new(config).run(&cases, |(sample, changes)| {
        let (file, text) = text(&sample, &changes);
        reading_panic::<S>(file, &text)
            .map_or(Ok(()), |panic| Err(TestCaseError::fail(panic.to_string())))
    });
    let case = match result {
        Ok(()) => return None,
        Err(TestError::Fail(_, case)) => case,
        Err(TestError::Abort(reason)) => {
            let message = format!("was not checked: {reason}");
            return Some(violation::<S>(PROMISE_TOTAL, message, None));
        }
    };
    let (file, text) = text(&case.0, &case.1);
    let text = without_needless_lines::<S>(file, text);
    let panic = reading_panic::<S>(file, &text)?;
    let code = Some(read_code::<S>(file, &text));
    Some(violation::<S>(PROMISE_TOTAL, panic.to_string(), code))
}

/// Returns the panic of a source that recognizes and reads `text`.
fn reading_panic<S: SourceKind>(file: &str, text: &[u8]) -> Option<Panic> {
    let head = &text[..text.len().min(HEAD)];
    let result = guard(|| {
        S::recognizes(Path::new(file), head);
        read::<S>(file, text)
    });
    result.err()
}

/// Removes the lines without which the source still panics.
fn without_needless_lines<S: SourceKind>(file: &str, text: Vec<u8>) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut idx = 0;
    while idx < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(idx);
        if reading_panic::<S>(file, &fewer.join(&b'\n')).is_some() {
            kept = fewer;
        } else {
            idx += 1;
        }
    }
    kept.join(&b'\n')
}

/// A change of a sample.
#[derive(Clone, Debug)]
enum Change {
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// Removes the end of a line.
    Cut(Index, Index),
    /// Fills a line with zero bytes.
    Erase(Index),
    /// Adds a line of random bytes.
    Insert(Index, Vec<u8>),
    /// Replaces a number or a string in a line.
    Replace(Index, Index, &'static str),
}

impl Change {
    /// Values that programs rarely expect, as JSON.
    const VALUES: &'static [&'static str] = &[
        "null",
        "true",
        "-1",
        "1e999",
        "18446744073709551616",
        "\"\"",
        "\"é\"",
        "\"a😀é\\u0000\"",
        "\"9999-99-99T99:99:99Z\"",
        "[]",
        "{}",
    ];

    fn any() -> impl Strategy<Value = Self> {
        let idx = any::<Index>;
        prop_oneof![
            1 => idx().prop_map(Self::Remove),
            1 => idx().prop_map(Self::Repeat),
            1 => (idx(), idx()).prop_map(|(a, b)| Self::Swap(a, b)),
            1 => (idx(), idx()).prop_map(|(line, at)| Self::Cut(line, at)),
            1 => idx().prop_map(Self::Erase),
            1 => (idx(), vec(any::<u8>(), 0..40)).prop_map(|(line, bytes)| Self::Insert(line, bytes)),
            8 => (idx(), idx(), prop::sample::select(Self::VALUES))
                .prop_map(|(line, token, value)| Self::Replace(line, token, value)),
        ]
    }

    fn apply(&self, lines: &mut Vec<Vec<u8>>) {
        if lines.is_empty() {
            return;
        }
        let n_lines = lines.len();
        match self {
            Self::Remove(line) => {
                lines.remove(line.index(n_lines));
            }
            Self::Repeat(line) => {
                let line = line.index(n_lines);
                lines.insert(line, lines[line].clone());
            }
            Self::Swap(a, b) => lines.swap(a.index(n_lines), b.index(n_lines)),
            Self::Cut(line, at) => {
                let line = &mut lines[line.index(n_lines)];
                line.truncate(at.index(line.len() + 1));
            }
            Self::Erase(line) => lines[line.index(n_lines)].fill(0),
            Self::Insert(line, bytes) => lines.insert(line.index(n_lines + 1), bytes.clone()),
            Self::Replace(line, token, value) => {
                let line = &mut lines[line.index(n_lines)];
                let tokens = tokens(line);
                if !tokens.is_empty() {
                    let (start, end) = tokens[token.index(tokens.len())];
                    line.splice(start..end, value.bytes());
                }
            }
        }
    }
}

/// Returns the ranges of the strings and numbers in a line.
fn tokens(line: &[u8]) -> Vec<(usize, usize)> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < line.len() {
        let rest = &line[start + 1..];
        let len = match line[start] {
            b'"' => rest.iter().position(|byte| *byte == b'"').map_or(rest.len(), |end| end + 1),
            b'0'..=b'9' => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
            _ => {
                start += 1;
                continue;
            }
        };
        tokens.push((start, start + 1 + len));
        start += 1 + len;
    }
    tokens
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = lines(text.as_bytes()).map(<[u8]>::to_vec).collect();
    for change in changes {
        change.apply(&mut lines);
    }
    lines.join(&b'\n')
}

/// Splits a text into lines, as the readers of files do.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

/// A source that reads a file of the test.
struct FileReader<S> {
    source: S,
    file: Arc<str>,
    line: u64,
    reading: Reading,
    dedup_cache: DedupCache,
}

impl<S: SourceKind> FileReader<S> {
    fn new(file: &str) -> Self {
        Self {
            source: S::new(Path::new(file)),
            file: file.into(),
            line: 0,
            reading: Reading::default(),
            dedup_cache: DedupCache::default(),
        }
    }

    fn read_line(&mut self, line: &[u8]) {
        self.line += 1;
        self.call(|source, sink| source.read_line(line, sink));
    }

    fn finish(&mut self) {
        self.call(S::finish);
    }

    fn call(&mut self, call: impl FnOnce(&mut S, &mut EventSink<'_>)) {
        let Self { source, file, line, reading, dedup_cache } = self;
        let Reading { events, skipped_lines } = reading;
        let mut sink = EventSink::new(S::KIND, file, *line, events, skipped_lines, dedup_cache);
        call(source, &mut sink);
    }
}
