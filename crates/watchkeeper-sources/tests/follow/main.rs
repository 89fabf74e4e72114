//! Tests of following files, one step at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arrival;
mod identity;
mod model;
mod panics;
mod plain;
mod unreliable;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use insta::assert_snapshot;
use tempfile::TempDir;
use watchkeeper_core::{
    EventKind, SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
    embed::Registry,
};
use watchkeeper_sources::{EndReason, FollowOptions, Follower, MAX_LINE, Update};

use crate::plain::PLAIN;

/// A folder, its follower, and the time.
struct Stage {
    folder: TempDir,
    follower: Follower,
    now: Timestamp,
}

impl Stage {
    fn new() -> Self {
        Self::with(&[""], |_| ())
    }

    /// Follows some paths in the folder.
    fn with(roots: &[&str], change: impl FnOnce(&mut FollowOptions)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut options = FollowOptions { poll_only: true, ..FollowOptions::default() };
        change(&mut options);
        let roots = roots.iter().map(|it| folder.path().join(it)).collect();
        let follower = Follower::new(roots, [&PLAIN], options);
        Self { folder, follower, now: SystemClock.now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a path with a session name.
    fn file(&self, name: &str) -> PathBuf {
        if name.contains(".jsonl") { self.path(name) } else { self.path(&format!("{name}.jsonl")) }
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.file(from), self.file(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    fn date(&self, name: &str, at: Timestamp) {
        let file = File::options().append(true).open(self.file(name)).unwrap();
        file.set_modified(SystemTime::from(at)).unwrap();
    }

    fn link(&self, to: impl AsRef<Path>, name: &str) {
        std::os::unix::fs::symlink(to, self.path(name)).unwrap();
    }

    /// Scans, and renders the updates.
    fn scan(&mut self) -> String {
        let mut res = Vec::new();
        self.follower.scan(self.now, &mut |it| res.push(it));
        self.show(&res)
    }

    /// Makes a step that waits for at most `wait`, and renders the updates.
    fn step(&mut self, wait: Duration) -> String {
        let mut res = Vec::new();
        self.follower.step(self.now, wait, &mut |it| res.push(it));
        self.show(&res)
    }

    fn show(&self, updates: &[Update]) -> String {
        let folder = format!("{}/", self.folder.path().display());
        let mut res = String::new();
        let is_shown = |update: &&Update| !matches!(update, Update::FirstLine { .. });
        for update in updates.iter().filter(is_shown) {
            let line = match update {
                Update::Event(event) => {
                    let EventKind::Message { text, .. } = &event.kind else { unreachable!() };
                    let origin = event.origin.as_ref().unwrap();
                    format!("{}:{} {text}", origin.file, origin.line)
                }
                Update::Began { file, source } => format!("{file} began, {source}"),
                Update::Moved { from, to } => format!("{from} is {to}"),
                Update::Ended { file, reason: EndReason::Gone } => format!("{file} is gone"),
                Update::Ended { file, reason: EndReason::Rewritten } => format!("{file} is new"),
                Update::SkippedLine { file, line, reason } => {
                    format!("{file}:{line} not read: {reason}")
                }
                Update::Unreadable { file, .. } => format!("{file} not readable"),
                Update::Notice(notice) => notice.to_string(),
                Update::SourceFailed { file, panic } => format!("{file} failed, {panic}"),
                _ => unreachable!("{update:?}"),
            };
            res += &line.replace(&folder, "").replace(".jsonl", "");
            res.push('\n');
        }
        res
    }
}

#[test]
fn reads_existing_lines_and_then_added_lines() {
    let mut stage = Stage::new();
    stage.append("b", "line 1\nline 2\n");
    stage.append("a", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 3
    b began, plain
    b:1 line 1
    b:2 line 2
    ");
    assert_eq!(stage.scan(), "");
    stage.append("b", "line 4\n");
    assert_snapshot!(stage.scan(), @"b:3 line 4");
    let report = stage.follower.report();
    assert_eq!((report.n_folders, report.n_followed, report.n_lines), (1, 2, 4));
    assert_eq!(report.n_bytes, 28);
}

#[test]
fn reads_a_line_when_its_line_break_arrives() {
    let text = "line é\r\nline …🦀\n\nline z\n".as_bytes();
    for cut in 0..=text.len() {
        let mut stage = Stage::new();
        stage.append("a", &text[..cut]);
        let mut seen = stage.scan();
        stage.append("a", &text[cut..]);
        seen += &stage.scan();
        assert_eq!(
            seen, "a began, plain\na:1 line é\na:2 line …🦀\na:3 \na:4 line z\n",
            "cut at {cut}"
        );
    }
}

#[test]
fn finds_folders_and_files_at_any_depth() {
    let mut stage = Stage::new();
    assert_eq!(stage.scan(), "");
    stage.append("x/y/z/a", "line 1\n");
    stage.append("x/b", "line 2\n");
    assert_snapshot!(stage.scan(), @"
    x/b began, plain
    x/b:1 line 2
    x/y/z/a began, plain
    x/y/z/a:1 line 1
    ");
    fs::rename(stage.path("x"), stage.path("w")).unwrap();
    stage.append("w/y/z/a", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    x/b is w/b
    x/y/z/a is w/y/z/a
    w/y/z/a:2 line 3
    ");
    fs::remove_dir_all(stage.path("w")).unwrap();
    assert_snapshot!(stage.scan(), @"
    w/b is gone
    w/y/z/a is gone
    ");
    assert_eq!(stage.follower.report().n_folders, 1);
}

#[test]
fn reads_an_old_file_from_the_beginning_when_it_changes() {
    let mut stage = Stage::new();
    stage.append("old", "line 1\n");
    stage.append("new", "line 2\n");
    stage.date("old", stage.now - SignedDuration::from_mins(61));
    stage.date("new", stage.now - SignedDuration::from_mins(59));
    assert_snapshot!(stage.scan(), @"
    new began, plain
    new:1 line 2
    ");
    assert_eq!(stage.follower.report().n_dormant, 1);
    stage.rename("old", "older");
    assert_eq!(stage.scan(), "");
    stage.append("older", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    older began, plain
    older:1 line 1
    older:2 line 3
    ");
    assert_eq!(stage.follower.report().n_dormant, 0);
}

#[test]
fn reads_a_named_file_whatever_its_age() {
    let mut stage = Stage::with(&["named.jsonl"], |_| ());
    stage.append("named", "line 1\n");
    stage.date("named", stage.now - SignedDuration::from_hours(1_000));
    assert_snapshot!(stage.scan(), @"
    named began, plain
    named:1 line 1
    ");
}

#[test]
fn continues_a_renamed_file_and_reads_its_replacement() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\nline");
    stage.scan();
    stage.rename("a", "a.jsonl.1");
    stage.append("a.jsonl.1", " 2\n");
    stage.append("a", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    a is a.1
    a.1:2 line 2
    a began, plain
    a:1 line 3
    ");
}

#[test]
fn distinguishes_files_that_swap_names() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n");
    stage.append("b", "line 2\n");
    stage.scan();
    stage.rename("a", "c");
    stage.rename("b", "a");
    stage.rename("c", "b");
    stage.append("a", "line 3\n");
    stage.append("b", "line 4\n");
    assert_snapshot!(stage.scan(), @"
    a is b
    b:2 line 4
    b is a
    a:2 line 3
    ");
}

#[test]
fn reads_a_truncated_or_rewritten_file_from_the_beginning() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\nline 2\n");
    stage.scan();
    fs::write(stage.file("a"), "line 3\n").unwrap();
    assert_snapshot!(stage.scan(), @"
    a is new
    a began, plain
    a:1 line 3
    ");
    // The new content is longer: only the beginning differs.
    fs::write(stage.file("a"), "line 4\nline 5\n").unwrap();
    assert_snapshot!(stage.scan(), @"
    a is new
    a began, plain
    a:1 line 4
    a:2 line 5
    ");
    fs::write(stage.file("a"), "").unwrap();
    assert_snapshot!(stage.scan(), @"a is new");
    stage.append("a", "line 6\n");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 6
    ");
    assert_eq!(stage.follower.report().n_rewritten, 3);
}

#[test]
fn reads_a_document_again_after_each_change() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run/task.traj");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let kinds = Registry::linked().unwrap().sources;
    let options = FollowOptions { poll_only: true, ..FollowOptions::default() };
    let mut follower = Follower::new(vec![folder.path().to_owned()], kinds.iter(), options);
    let mut now = SystemClock.now();
    let mut look = |text: &str| {
        fs::write(&path, text).unwrap();
        // Times that the file system distinguishes.
        now += SignedDuration::from_secs(5);
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::from(now)).unwrap();
        let mut updates = String::new();
        follower.scan(now, &mut |update| match update {
            Update::Event(event) => {
                let line = event.origin.map_or(0, |origin| origin.line);
                writeln!(updates, "{line} {}", event.kind.name()).unwrap();
            }
            Update::SkippedLine { reason, .. } => writeln!(updates, "not read: {reason}").unwrap(),
            _ => {}
        });
        updates
    };
    // Contents of equal or growing length, without a final line break.
    let step = |action: &str| format!("{{\"action\":\"{action}\",\"observation\":\"ok\"}}");
    let write = |steps: &[String]| format!("{{\"trajectory\":[\n{}]}}", steps.join(",\n"));
    let steps = ["ls", "pwd", "cat"].map(step);
    assert_eq!(look(&write(&steps[..1])), "2 session_start\n2 tool_call\n2 tool_result\n");
    assert_eq!(look(&write(&steps[..1])), "");
    assert_eq!(look(&write(&steps[..2])), "3 tool_call\n3 tool_result\n");
    // The file is read while it is written.
    let whole = write(&steps);
    assert_eq!(look(&whole[..whole.len() - 9]), "");
    assert_eq!(look(&whole), "4 tool_call\n4 tool_result\n");
    let other = [&steps[..2], &[step("rm x")]].concat();
    assert_eq!(look(&write(&other)), "4 tool_call\n4 tool_result\n");
}

#[test]
fn reads_a_shortened_file_from_the_beginning() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n".repeat(100));
    stage.scan();
    File::options().write(true).open(stage.file("a")).unwrap().set_len(70 * 7).unwrap();
    let seen = stage.scan();
    assert!(seen.starts_with("a is new\na began, plain\na:1 line 1\n"), "{seen}");
    assert!(seen.ends_with("a:70 line 1\n"), "{seen}");
}

#[test]
fn ignores_an_unfinished_line_that_is_removed() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\nline two that");
    stage.scan();
    File::options().write(true).open(stage.file("a")).unwrap().set_len(7).unwrap();
    stage.append("a", "line 2\n");
    assert_snapshot!(stage.scan(), @"a:2 line 2");
}

#[test]
fn reads_the_last_lines_of_a_deleted_file() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n");
    stage.scan();
    stage.append("a", "line 2\n");
    stage.remove("a");
    assert_snapshot!(stage.scan(), @"
    a:2 line 2
    a is gone
    ");
    stage.append("a", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 3
    ");
}

#[test]
fn follows_a_file_with_several_paths_once() {
    let mut stage = Stage::with(&["", "x/b.jsonl", "x"], |_| ());
    stage.append("x/b", "line 1\n");
    stage.link(stage.path("x"), "to-x");
    stage.link(stage.path(""), "x/loop");
    stage.link("self", "self");
    stage.link(stage.file("x/b"), "a.jsonl");
    fs::hard_link(stage.file("x/b"), stage.file("x/c")).unwrap();
    assert_snapshot!(stage.scan(), @"
    x/b began, plain
    x/b:1 line 1
    ");
    stage.append("to-x/b", "line 2\n");
    assert_snapshot!(stage.scan(), @"x/b:2 line 2");
    // The other name of the file replaces the first one.
    stage.remove("x/b");
    stage.append("x/c", "line 3\n");
    assert_snapshot!(stage.scan(), @"
    x/b is x/c
    x/c:3 line 3
    ");
}

#[test]
fn follows_symbolic_links_that_change() {
    let elsewhere = Stage::new();
    elsewhere.append("1", "line 1\n");
    elsewhere.append("2", "line 2\n");
    elsewhere.append("folder/3", "line 3\n");
    let mut stage = Stage::new();
    stage.link(elsewhere.file("1"), "a.jsonl");
    stage.link(elsewhere.path("folder"), "b");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 1
    b/3 began, plain
    b/3:1 line 3
    ");
    stage.remove("a");
    stage.link(elsewhere.file("2"), "a.jsonl");
    elsewhere.append("2", "line 4\n");
    assert_snapshot!(stage.scan(), @"
    a is gone
    a began, plain
    a:1 line 2
    a:2 line 4
    ");
}

#[test]
fn skips_paths_that_are_not_files() {
    let mut stage = Stage::with(&["", "fifo.jsonl"], |_| ());
    for name in ["a", "b"] {
        stage.append(name, "line 1\n");
    }
    stage.scan();
    for name in ["a", "b"] {
        stage.remove(name);
    }
    for name in ["a", "fifo"] {
        let status = std::process::Command::new("mkfifo").arg(stage.file(name)).status();
        assert!(status.unwrap().success());
    }
    stage.append("b.jsonl/inner.jsonl", "line 2\n");
    assert_snapshot!(stage.scan(), @"
    a is gone
    b is gone
    b/inner began, plain
    b/inner:1 line 2
    ");
}

#[test]
fn reports_an_unreadable_file_once_and_tries_again() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut stage = Stage::with(&[""], |it| it.recent = SignedDuration::from_hours(10_000_000));
    stage.append("a", "line 1\n");
    fs::set_permissions(stage.file("a"), fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(stage.file("a")).is_ok() {
        // Root can read every file, except write-only ones.
        stage.remove("a");
        stage.link("/sys/bus/cpu/drivers_probe", "a.jsonl");
        assert!(File::open(stage.file("a")).is_err());
    }
    assert_snapshot!(stage.scan(), @"a not readable");
    assert_eq!(stage.scan(), "");
    assert_eq!(stage.follower.report().n_unreadable, 1);
    stage.remove("a");
    stage.append("a", "line 2\n");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 2
    ");
    assert_eq!(stage.follower.report().n_unreadable, 0);
}

#[test]
fn probes_an_unrecognized_file_again_when_it_grows() {
    let mut stage = Stage::new();
    stage.append("a", "li");
    stage.append("b", format!("{}\n", "x".repeat(64 << 10)));
    assert_eq!(stage.scan(), "");
    assert_eq!(stage.follower.report().n_unrecognized, 2);
    stage.append("a", "ne 1\n");
    // After 64 KiB of whole lines, an unrecognized file is not probed again.
    fs::write(stage.file("b"), format!("line {}\n", "x".repeat(65 << 10))).unwrap();
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 1
    ");
    // A truncated file is probed again.
    fs::write(stage.file("b"), "line 2\n").unwrap();
    assert_snapshot!(stage.scan(), @"
    b began, plain
    b:1 line 2
    ");
}

#[test]
fn counts_the_files_of_unsupported_agents() {
    let mut stage = Stage::new();
    stage.append("x/chats/a", "{\"sessionId\":\"a\",\"projectHash\":\"b\"}\n");
    stage.append("b", "{\"sessionId\":\"b\",\"projectHash\":\"b\"}\n");
    stage.append("c", "{}\n");
    fs::write(stage.path(".aider.chat.history.md"), "# aider\n").unwrap();
    assert_eq!(stage.scan(), "");
    let report = stage.follower.report();
    let counts: Vec<_> = report.unsupported.into_iter().collect();
    assert_eq!((counts, report.n_unrecognized), (vec![("aider", 1), ("gemini-cli", 2)], 1));
    fs::remove_file(stage.path(".aider.chat.history.md")).unwrap();
    stage.remove("b");
    stage.scan();
    let counts: Vec<_> = stage.follower.report().unsupported.into_iter().collect();
    assert_eq!(counts, [("gemini-cli", 1)]);
}

#[test]
fn uses_the_configured_kind_and_paths() {
    let mut stage = Stage::with(&["later/a.txt", "folder"], |it| it.kind = Some(&PLAIN));
    assert_eq!(stage.scan(), "");
    fs::create_dir(stage.path("later")).unwrap();
    fs::write(stage.path("later/a.txt"), "whatever\n").unwrap();
    stage.append("later/b", "line 1\n");
    stage.append("folder/c", "whatever\n");
    fs::write(stage.path("folder/c.txt"), "line 2\n").unwrap();
    assert_snapshot!(stage.scan(), @"
    later/a.txt began, plain
    later/a.txt:1 whatever
    folder/c began, plain
    folder/c:1 whatever
    ");
}

#[test]
fn reports_and_counts_skipped_lines() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\nbad\n");
    stage.append("a", vec![b'x'; MAX_LINE]);
    stage.scan();
    stage.append("a", "x");
    assert_eq!(stage.scan(), "");
    stage.append("a", "x\nline 2\n");
    assert_snapshot!(stage.scan(), @"
    a:3 not read: too long
    a:4 line 2
    ");
    let skipped = stage.follower.report().skipped_lines.lines;
    assert_eq!(skipped.into_iter().collect::<Vec<_>>(), [("bad", 1), ("too long", 1)]);
}

#[test]
fn reads_a_long_line_when_its_end_arrives() {
    let mut stage = Stage::new();
    let piece = "x".repeat(200_000);
    stage.append("a", "line 1\nline ");
    stage.scan();
    for _ in 0..5 {
        stage.append("a", &piece);
        assert_eq!(stage.scan(), "");
    }
    stage.append("a", "\nline 2\n");
    assert_eq!(stage.scan(), format!("a:2 line {}\na:3 line 2\n", piece.repeat(5)));
    assert_eq!(stage.follower.report().n_bytes, 7 + 1_000_006 + 7);
}

#[test]
fn reads_more_files_than_it_keeps_open() {
    let mut stage = Stage::new();
    for round in 0..3 {
        for n in 0..150 {
            stage.append(&format!("{n}"), format!("line {n} {round}\n"));
        }
        let seen = stage.scan();
        assert_eq!(seen.matches(&format!(" {round}\n")).count(), 150, "{seen}");
    }
    assert_eq!(stage.follower.report().n_lines, 450);
}

#[test]
fn checks_recently_changed_files_often_and_others_at_every_walk() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n");
    stage.append("old/b", "line 2\n");
    stage.date("old/b", stage.now - SignedDuration::from_mins(2));
    stage.step(Duration::ZERO);
    stage.append("a", "line 3\n");
    stage.append("old/b", "line 4\n");
    stage.now += SignedDuration::from_millis(250);
    stage.step(Duration::ZERO);
    stage.append("a", "line 5\n");
    stage.append("old/b", "line 6\n");
    stage.now += SignedDuration::from_millis(249);
    assert_eq!(stage.step(Duration::ZERO), "");
    stage.now += SignedDuration::from_millis(1);
    assert_snapshot!(stage.step(Duration::ZERO), @"a:3 line 5");
    stage.append("new/c", "line 7\n");
    stage.now += SignedDuration::from_millis(250);
    assert_snapshot!(stage.step(Duration::ZERO), @"
    new/c began, plain
    new/c:1 line 7
    ");
    stage.now += SignedDuration::from_secs(10);
    assert_snapshot!(stage.step(Duration::ZERO), @"
    old/b:2 line 4
    old/b:3 line 6
    ");
    // Checks continue after the clock was set back.
    stage.append("a", "line 8\n");
    stage.now -= SignedDuration::from_hours(1);
    assert_snapshot!(stage.step(Duration::ZERO), @"a:4 line 8");
}

#[test]
fn reads_other_files_while_one_grows_fast() {
    let mut stage = Stage::new();
    let line = format!("line {}\n", "x".repeat(99_994));
    stage.append("a", line.repeat(100));
    stage.append("b", "line 1\n");
    let mut n_lines = Vec::new();
    for _ in 0..10 {
        stage.step(Duration::ZERO);
        n_lines.push(stage.follower.report().n_lines);
    }
    assert!(n_lines[0] < 60, "{n_lines:?}");
    assert_eq!(n_lines[9], 101);
}

#[test]
fn wakes_a_waiting_step() {
    let mut stage = Stage::with(&[""], |it| it.poll_only = false);
    stage.scan();
    let waker = stage.follower.waker();
    let begin = SystemClock.now();
    // Once before the step, which is remembered, and once during the step.
    waker.wake();
    stage.step(Duration::from_mins(5));
    let thread = thread::spawn(move || waker.wake());
    stage.step(Duration::from_mins(5));
    thread.join().unwrap();
    assert!(SystemClock.now().duration_since(begin) < SignedDuration::from_mins(4));
}

#[test]
fn uses_notifications_of_the_system() {
    let mut stage = Stage::with(&["", "later/named.jsonl"], |it| it.poll_only = false);
    stage.append("a", "line 1\n");
    stage.append("x/b", "line 2\n");
    stage.scan();
    assert!(stage.follower.is_watched());
    // The time does not change: only notifications cause checks.
    let until = |stage: &mut Stage, expected: &str| {
        let mut seen = String::new();
        for _ in 0..1_000 {
            seen += &stage.step(Duration::from_secs(1));
            if seen.contains(expected) {
                return;
            }
        }
        panic!("no {expected:?} in {seen:?}");
    };
    stage.append("a", "line 3\n");
    until(&mut stage, "a:2 line 3");
    stage.append("x/y/z/c", "line 4\n");
    until(&mut stage, "x/y/z/c:1 line 4");
    stage.append("x/y/z/c", "line 5\n");
    until(&mut stage, "x/y/z/c:2 line 5");
    stage.rename("x/b", "d");
    until(&mut stage, "x/b is d");
    stage.append("d", "line 6\n");
    until(&mut stage, "d:2 line 6");
    stage.append("later/named", "line 7\n");
    until(&mut stage, "later/named:1 line 7");
    fs::rename(stage.path("x"), stage.path("w")).unwrap();
    stage.append("w/y/z/c", "line 8\n");
    until(&mut stage, "w/y/z/c:3 line 8");
    stage.append("w/y/z/c", "line 9\n");
    until(&mut stage, "w/y/z/c:4 line 9");
}

#[test]
fn reads_the_rest_of_a_deleted_file_a_slice_at_a_time() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n");
    stage.scan();
    let line = format!("line {}\n", "x".repeat(99_994));
    stage.append("a", line.repeat(100));
    stage.remove("a");
    let mut n_lines = Vec::new();
    for _ in 0..10 {
        stage.now += SignedDuration::from_secs(10);
        stage.step(Duration::ZERO);
        n_lines.push(stage.follower.report().n_lines);
    }
    assert!(n_lines[0] < 100, "{n_lines:?}");
    assert_eq!((n_lines[9], stage.follower.report().n_followed), (101, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn is_notified_of_folders_above_a_named_file() {
    let mut stage = Stage::with(&["", "later/x/named.jsonl"], |it| it.poll_only = false);
    stage.scan();
    stage.append("later/x/named", "line 2\n");
    let mut seen = String::new();
    for _ in 0..100 {
        stage.now += SignedDuration::from_millis(10);
        seen += &stage.step(Duration::from_mins(1));
        if seen.contains("line 2") {
            break;
        }
    }
    assert!(seen.contains("later/x/named:1 line 2"), "{seen:?}");
}
