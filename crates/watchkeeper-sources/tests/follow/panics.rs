use std::{fs, time::Duration};

use tempfile::TempDir;
use watchkeeper_core::{
    Event, Severity, SignedDuration, Timestamp,
    author::DedupCache,
    clock::{Clock as _, SystemClock},
    embed::{Kinds, SourceEntry},
};
use watchkeeper_sources::{FollowOptions, Follower, OpenError, ReadError, Update, discover, open};

use crate::{
    plain::PLAIN,
    unreliable::{
        PANICS_IN_FINISH, PANICS_IN_NEW, PANICS_IN_PAUSE, PANICS_IN_READ_LINE, PANICS_IN_RECOGNIZES,
    },
};

const TEXT: &str = "acme 1\nbad\nacme 2\n";

/// Reads a recorded file. Returns its events, or the error after them.
fn read(entry: &'static SourceEntry, text: &str) -> (Vec<Event>, Option<String>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.acme");
    fs::write(&path, text).unwrap();
    let kinds = Kinds::new("sources", [entry]).unwrap();
    let mut events = Vec::new();
    let mut file = match open(&path, None, &kinds) {
        Ok(file) => file,
        Err(OpenError::Panic(panic)) => return (events, Some(panic.to_string())),
        Err(error) => panic!("{error}"),
    };
    let mut dedup_cache = DedupCache::default();
    let result = file.read(&mut dedup_cache, &mut |event| events.push(event));
    assert!(!file.read_next(&mut dedup_cache, &mut Vec::new()).unwrap(), "ends after a panic");
    let error = result.err().map(|error| {
        assert!(matches!(error, ReadError::Panic(_)), "{error}");
        error.to_string()
    });
    (events, error)
}

#[test]
fn returns_a_panic_of_a_source_as_an_error() {
    for (entry, n_events, expected) in [
        (&PANICS_IN_RECOGNIZES, 0, "source `acme-0` panicked: `stage 0\\u{1b}[2J`"),
        (&PANICS_IN_NEW, 0, "source `acme-1` panicked: `stage 1\\u{1b}[2J`"),
        (&PANICS_IN_READ_LINE, 1, "source `acme-2` panicked: `stage 2\\u{1b}[2J`"),
        (&PANICS_IN_FINISH, 3, "source `acme-3` panicked: `stage 3\\u{1b}[2J`"),
    ] {
        let (events, error) = read(entry, TEXT);
        assert_eq!((events.len(), error.as_deref()), (n_events, Some(expected)));
    }
    assert_eq!(read(&PANICS_IN_READ_LINE, "acme 1\n").1, None);
}

#[test]
fn recognizes_a_file_although_another_source_panics() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.acme");
    fs::write(&path, TEXT).unwrap();
    let kinds = Kinds::new("sources", [&PANICS_IN_RECOGNIZES, &PANICS_IN_FINISH]).unwrap();
    assert!(open(&path, None, &kinds).is_ok());
}

#[test]
fn finds_files_with_the_names_that_a_source_reads() {
    let folder = TempDir::new().unwrap();
    for name in ["a.acme", "b.jsonl", "c.txt"] {
        fs::write(folder.path().join(name), TEXT).unwrap();
    }
    let n_found = |kinds: &[&'static SourceEntry]| {
        discover([folder.path()], kinds.iter().copied()).files.len()
    };
    assert_eq!(n_found(&[]), 0);
    assert_eq!(n_found(&[&PANICS_IN_FINISH]), 1);
    assert_eq!(n_found(&[&PANICS_IN_FINISH, &PLAIN]), 2);
}

#[test]
fn follows_other_files_after_a_source_panics() {
    for entry in [&PANICS_IN_RECOGNIZES, &PANICS_IN_NEW, &PANICS_IN_READ_LINE] {
        let folder = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let options = FollowOptions { poll_only: true, ..FollowOptions::default() };
        let mut follower = Follower::new(vec![folder.path().to_owned()], [entry, &PLAIN], options);
        let scan = |follower: &mut Follower| {
            let (mut panics, mut n_plain) = (Vec::new(), 0);
            follower.scan(SystemClock.now(), &mut |update| match update {
                Update::SourceFailed { file, panic } => {
                    panics.push(panic.finding(Timestamp::UNIX_EPOCH, &file));
                }
                Update::Event(event) if event.session.as_str() == "s" => n_plain += 1,
                _ => {}
            });
            (panics, n_plain)
        };
        write("a.acme", TEXT);
        write("b.acme", TEXT);
        write("c.jsonl", "line 1\nline 2\n");
        let (panics, n_plain) = scan(&mut follower);
        assert_eq!(n_plain, 2);
        let [first, second] = &panics[..] else { panic!("{panics:?}") };
        assert_eq!((&*first.class, first.severity), ("error", Severity::Medium));
        assert!(first.message.starts_with("source `acme-"), "{}", first.message);
        assert!(first.message.ends_with("a.acme` is not read any further"), "{}", first.message);
        assert_ne!((first.id, first.fingerprint), (second.id, second.fingerprint));
        assert_eq!(follower.report().n_failed, 2);

        // A failed file stays failed when it grows.
        write("a.acme", &TEXT.repeat(2));
        write("c.jsonl", "line 1\nline 2\nline 3\n");
        let (panics, n_plain) = scan(&mut follower);
        assert_eq!((panics.len(), n_plain), (0, 1));
    }
}

#[test]
fn reports_a_panic_of_a_source_in_a_pause_once() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.acme"), TEXT).unwrap();
    let options = FollowOptions { poll_only: true, ..FollowOptions::default() };
    let mut follower = Follower::new(vec![folder.path().to_owned()], [&PANICS_IN_PAUSE], options);
    let now = SystemClock.now();
    let mut n_panics = 0;
    for secs in [0, 40, 80] {
        follower.scan(now + SignedDuration::from_secs(secs), &mut |update| {
            n_panics += usize::from(matches!(update, Update::SourceFailed { .. }));
        });
        follower.step(now + SignedDuration::from_secs(secs + 2), Duration::ZERO, &mut |update| {
            n_panics += usize::from(matches!(update, Update::SourceFailed { .. }));
        });
    }
    assert_eq!((n_panics, follower.report().n_failed), (1, 1));
}
