//! Databases, which another connection writes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;
use watchkeeper_core::{
    EventKind, Fingerprint, SessionId, SignedDuration, Source, SourceKind, Timestamp,
    author::{Database, EventSink},
    clock::{Clock as _, SystemClock},
    embed::{Registry, SourceEntry},
};
use watchkeeper_sources::{FollowOptions, Follower, MAX_LINE, ReadMark, Update, open};

use crate::stage::Stage;

static NOTES: SourceEntry = SourceEntry::of::<Notes>("here");

/// A source for tests: every row is a message.
struct Notes;

impl Source for Notes {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let text = String::from_utf8_lossy(line);
        if sink.is_new(Fingerprint::of(line)) {
            let kind = EventKind::Message { text: text.into(), delta: false };
            sink.event(Timestamp::UNIX_EPOCH, &SessionId::from("s"), None, kind);
        }
    }
}

impl SourceKind for Notes {
    const KIND: &'static str = "notes";
    const DOCS: &'static str = "Rows.";
    const FILES: &'static [&'static str] = &["*.db"];
    const DATABASE: Option<Database> = Some(Database {
        tables: &["note"],
        rows: "SELECT rowid, iif(octet_length(text) <= ?2, text, NULL) FROM note \
               WHERE ?1 < rowid ORDER BY rowid",
        start: "SELECT min(rowid) - 1 FROM note WHERE ?1 <= at",
    });

    fn recognizes(_path: &Path, _head: &[u8]) -> bool {
        false
    }

    fn new(_path: &Path) -> Self {
        Self
    }
}

fn follow(roots: &[&str]) -> Stage {
    Stage::of(&NOTES, roots, |_| ())
}

/// Creates a database that keeps a log of changes, or none.
fn create(path: &Path, journal: &str) -> Connection {
    let writer = Connection::open(path).unwrap();
    writer.pragma_update(None, "journal_mode", journal).unwrap();
    writer.execute_batch("CREATE TABLE note(text TEXT, at INTEGER)").unwrap();
    writer
}

fn add(writer: &Connection, text: &str) {
    let now = SystemClock.now().as_millisecond();
    writer.execute("INSERT INTO note VALUES (?1, ?2)", (text, now)).unwrap();
}

/// Returns the names of the files in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Reads a recorded database.
fn recorded(path: &Path) -> Result<Vec<String>, String> {
    let kinds = Registry::builder().source::<Notes>().build().unwrap().sources;
    let mut file = open(path, None, &kinds).map_err(|error| error.to_string())?;
    let mut texts = Vec::new();
    let read = file.read(&mut watchkeeper_core::author::DedupCache::default(), &mut |event| {
        let EventKind::Message { text, .. } = event.kind else { unreachable!() };
        texts.push(format!("{} {text}", event.origin.unwrap().line));
    });
    read.map_err(|error| error.to_string())?;
    Ok(texts)
}

#[test]
fn reads_rows_while_they_are_written() {
    for journal in ["WAL", "DELETE"] {
        let mut stage = follow(&[""]);
        let writer = create(&stage.path("a.db"), journal);
        add(&writer, "one");
        assert_eq!(stage.scan(), "a.db began, notes\na.db:1 one\n", "{journal}");
        for text in ["two", "three"] {
            add(&writer, text);
        }
        assert_eq!(stage.scan(), "a.db:2 two\na.db:3 three\n", "{journal}");
        assert_eq!(stage.scan(), "");
        // A transaction counts when it is committed.
        writer.execute_batch("BEGIN").unwrap();
        add(&writer, "four");
        assert_eq!(stage.scan(), "");
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(stage.scan(), "a.db:4 four\n", "{journal}");
    }
}

#[test]
fn the_log_of_changes_wakes_the_follower() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    let writer = create(&path, "WAL");
    add(&writer, "one");
    let mut follower =
        Follower::new(vec![folder.path().to_owned()], [&NOTES], FollowOptions::default());
    let now = SystemClock.now();
    let mut n_events = 0;
    let mut count = |update| n_events += usize::from(matches!(update, Update::Event(_)));
    follower.scan(now, &mut count);
    add(&writer, "two");
    // Neither a walk nor a check is due: each step has the same time.
    let mut n_steps = 0;
    while follower.report().n_lines < 2 && n_steps < 100 {
        n_steps += 1;
        follower.step(now, Duration::from_secs(5), &mut count);
    }
    assert_eq!(n_events, 2);
}

#[test]
fn rows_that_are_read_again_give_no_event_twice() {
    let mut stage = follow(&[""]);
    let writer = create(&stage.path("a.db"), "WAL");
    for text in ["one", "two", "three"] {
        add(&writer, text);
    }
    stage.scan();
    // An earlier row changes nothing.
    writer.execute_batch("DELETE FROM note WHERE text = 'one'").unwrap();
    assert_eq!(stage.scan(), "");
    // The ids of deleted rows at the end are used again.
    writer.execute_batch("DELETE FROM note WHERE text = 'three'").unwrap();
    add(&writer, "four");
    assert_eq!(stage.scan(), "a.db is new\na.db began, notes\na.db:3 four\n");
    // Rows get other ids.
    writer.execute_batch("VACUUM").unwrap();
    add(&writer, "five");
    let read = stage.scan();
    assert!(read.ends_with("a.db:3 five\n") && !read.contains("four"), "{read}");
}

#[test]
fn a_replaced_database_is_read_from_the_beginning() {
    let mut stage = follow(&["a.db"]);
    let writer = create(&stage.path("a.db"), "WAL");
    add(&writer, "one");
    stage.scan();
    drop(writer);
    let writer = create(&stage.path("b.db"), "WAL");
    add(&writer, "other");
    drop(writer);
    fs::rename(stage.path("b.db"), stage.path("a.db")).unwrap();
    let read = stage.scan();
    assert!(read.contains("a.db:1 other\n"), "{read}");
}

#[test]
fn sessions_that_have_not_changed_recently_are_not_read() {
    let mut stage = follow(&[""]);
    let writer = create(&stage.path("a.db"), "WAL");
    writer.execute_batch("INSERT INTO note VALUES ('old', 0)").unwrap();
    add(&writer, "new");
    assert_eq!(stage.scan(), "a.db began, notes\na.db:2 new\n");

    let path = stage.path("a.db");
    let mut wanted = Stage::of(&NOTES, &[""], |options| _ = options.wanted.insert(path.clone()));
    wanted.follower = Follower::new(
        vec![stage.folder.path().to_owned()],
        [&NOTES],
        FollowOptions { wanted: [path].into(), ..FollowOptions::default() },
    );
    assert!(wanted.scan().contains("a.db:1 old"), "a session with an open finding is read");
}

#[test]
fn a_database_becomes_recent_by_its_log() {
    let mut stage = follow(&[""]);
    let writer = create(&stage.path("a.db"), "WAL");
    let old = stage.now - SignedDuration::from_hours(50);
    for name in ["a.db", "a.db-wal"] {
        fs::File::options()
            .append(true)
            .open(stage.path(name))
            .unwrap()
            .set_modified(old.into())
            .unwrap();
    }
    assert_eq!(stage.scan(), "");
    add(&writer, "one");
    assert_eq!(stage.scan(), "a.db began, notes\na.db:1 one\n");
}

#[test]
fn a_database_without_its_tables_is_read_once_it_has_them() {
    let mut stage = follow(&[""]);
    let writer = Connection::open(stage.path("a.db")).unwrap();
    writer
        .execute_batch("CREATE TABLE other(a); INSERT INTO other VALUES (zeroblob(200000))")
        .unwrap();
    assert_eq!(stage.scan(), "");
    writer.execute_batch("CREATE TABLE note(text TEXT, at INTEGER)").unwrap();
    add(&writer, "one");
    assert_eq!(stage.scan(), "a.db began, notes\na.db:1 one\n");
}

#[test]
fn a_locked_database_is_read_later() {
    let mut stage = follow(&[""]);
    let writer = create(&stage.path("a.db"), "DELETE");
    add(&writer, "one");
    stage.scan();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    add(&writer, "two");
    fs::File::options()
        .append(true)
        .open(stage.path("a.db"))
        .unwrap()
        .set_modified((stage.now + SignedDuration::from_secs(1)).into())
        .unwrap();
    assert_eq!(stage.scan(), "a.db not readable\n");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(stage.scan(), "a.db:2 two\n");
}

#[test]
fn reading_creates_and_changes_no_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    let writer = create(&path, "WAL");
    add(&writer, "one");
    // As after a crash, with and without the memory that the writers shared.
    let copies = ["crashed", "copied"].map(|name| {
        let copy = folder.path().join(name);
        fs::create_dir(&copy).unwrap();
        for file in ["a.db", "a.db-wal", "a.db-shm"] {
            if name == "crashed" || file != "a.db-shm" {
                fs::copy(folder.path().join(file), copy.join(file)).unwrap();
            }
        }
        copy
    });
    drop(writer);
    assert_eq!(files(folder.path()), ["a.db", "copied", "crashed"]);
    let bytes = |folder: &Path| -> Vec<_> {
        files(folder).iter().map(|name| fs::read(folder.join(name)).ok()).collect()
    };
    for folder in [folder.path(), &copies[0], &copies[1]] {
        let before = (files(folder), bytes(folder));
        assert_eq!(recorded(&folder.join("a.db")).unwrap(), ["1 one"]);
        assert!(before == (files(folder), bytes(folder)), "{}", folder.display());
    }
}

#[test]
fn odd_names_and_links_lead_to_their_databases() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a?mode=rw#%41 é.db");
    let writer = create(&path, "WAL");
    add(&writer, "one");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [path, link] {
        assert_eq!(recorded(&path).unwrap(), ["1 one"]);
    }
}

#[test]
fn a_row_that_is_too_long_is_skipped() {
    let mut stage = follow(&[""]);
    let writer = create(&stage.path("a.db"), "WAL");
    writer
        .execute_batch(&format!(
            "INSERT INTO note VALUES (hex(zeroblob({})), 9e15), ('after', 9e15)",
            MAX_LINE / 2 + 1
        ))
        .unwrap();
    assert_eq!(stage.scan(), "a.db began, notes\na.db:1 not read: too long\na.db:2 after\n");
    add(&writer, "more");
    assert_eq!(stage.scan(), "a.db:3 more\n");
}

#[test]
fn many_rows_are_read_in_order() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    let writer = create(&path, "WAL");
    writer
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
         INSERT INTO note SELECT i || ' ' || hex(zeroblob(500)), 0 FROM n",
        )
        .unwrap();
    let texts = recorded(&path).unwrap();
    let numbers = texts.iter().map(|text| text.split(' ').nth(1).unwrap().parse::<u32>().unwrap());
    assert!(numbers.eq(1..=5000));
}

#[test]
fn damaged_databases_have_a_reason() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    fs::write(&path, "").unwrap();
    assert!(recorded(&path).unwrap_err().ends_with("is empty"));
    let writer = create(&path, "DELETE");
    writer
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
         INSERT INTO note SELECT hex(zeroblob(500)), 0 FROM n",
        )
        .unwrap();
    drop(writer);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(recorded(&path).is_err());
    for at in [20, 100, 4096, 9000] {
        let mut damaged = whole.clone();
        damaged[at..at + 200].fill(0xff);
        fs::write(&path, &damaged).unwrap();
        // Any result but a panic.
        let _: Result<Vec<String>, String> = recorded(&path);
    }
}

#[test]
fn a_mark_is_that_of_its_row() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.db");
    let writer = create(&path, "WAL");
    for text in ["one", "two"] {
        add(&writer, text);
    }
    let mut marks = Vec::new();
    let root: Vec<PathBuf> = vec![path.clone()];
    let mut follower = Follower::new(root, [&NOTES], FollowOptions::default());
    follower.scan(SystemClock.now(), &mut |update| {
        if let Update::Read { mark, .. } = update {
            marks.extend(mark);
        }
    });
    let [mark] = marks[..] else { panic!("{marks:?}") };
    assert_eq!(mark.end, 2);
    let is_in = |mark: ReadMark| mark.is_in(&path, [&NOTES]).unwrap();
    assert!(is_in(mark));
    add(&writer, "three");
    assert!(is_in(mark));
    writer.execute_batch("UPDATE note SET text = 'TWO' WHERE rowid = 2").unwrap();
    assert!(!is_in(mark));
    writer.execute_batch("DELETE FROM note").unwrap();
    assert!(!is_in(mark));
}
