//! Lines that arrive in files.

use std::{
    fmt::Write as _,
    fs::{self, File},
    time::{Duration, SystemTime},
};

use insta::assert_snapshot;
use tempfile::TempDir;
use watchkeeper_core::{
    EventKind, SignedDuration,
    clock::{Clock as _, SystemClock},
    embed::Registry,
};
use watchkeeper_sources::{FollowOptions, Follower, MAX_LINE, Update};

use crate::stage::Stage;

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
fn a_line_without_an_end_delays_no_other_file() {
    let mut stage = Stage::new();
    stage.append("a", "line 1\n");
    // A hole takes no room on the disk.
    File::options().write(true).open(stage.file("a")).unwrap().set_len(1 << 40).unwrap();
    stage.append("b", "line 2\n");
    assert_snapshot!(stage.scan(), @"
    a began, plain
    a:1 line 1
    b began, plain
    b:1 line 2
    ");
    stage.append("b", "line 3\n");
    assert_eq!(stage.scan(), "b:2 line 3\n");
    assert!(stage.follower.is_caught_up());
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
fn reads_a_large_growth_a_few_megabytes_at_a_time() {
    const MAX_BYTES: u64 = 5 << 20;
    let mut stage = Stage::new();
    let line = format!("line {}\n", "x".repeat(64 << 10));
    for name in ["a", "b"] {
        stage.append(name, line.repeat(200));
    }
    let total = 400 * line.len() as u64;
    let waker = stage.follower.waker();
    let mut n_read = 0;
    while n_read < total {
        let mut n_held = 0;
        stage.follower.step(stage.now, Duration::ZERO, &mut |update| {
            // As a stop does. The step ends before the other file.
            waker.wake();
            if let Update::Event(event) = update
                && let EventKind::Message { text, .. } = event.kind
            {
                n_held += text.len() as u64;
            }
        });
        let n_added = stage.follower.report().n_bytes - n_read;
        assert!(0 < n_added && n_added <= MAX_BYTES, "{n_added} bytes");
        assert!(n_held <= n_added, "{n_held} bytes in events");
        n_read += n_added;
    }
    stage.step(Duration::ZERO);
    assert!(stage.follower.is_caught_up());
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
