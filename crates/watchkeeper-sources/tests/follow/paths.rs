//! Files that appear, move and disappear.

use std::fs::{self, File};

use insta::assert_snapshot;
use watchkeeper_core::{SignedDuration, embed::SourceEntry};
use watchkeeper_sources::Codex;

use crate::{plain::PLAIN, stage::Stage};

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
fn a_compressed_file_is_not_read() {
    static CODEX: SourceEntry = SourceEntry::of::<Codex>("watchkeeper-sources");
    let line = r#"{"timestamp":"2026-01-01T00:00:00Z","type":"session_meta","payload":{}}"#;
    let mut stage = Stage::of(&CODEX, &[""], |_| ());
    stage.append("rollout-1", format!("{line}\n"));
    let updates = stage.scan();
    assert!(updates.starts_with("rollout-1 began, codex"), "{updates}");
    stage.append("rollout-1.jsonl.zst", "\x28\u{b5}\x2f");
    stage.remove("rollout-1");
    assert_eq!(stage.scan(), "rollout-1 is gone\n");
    let report = stage.follower.report();
    assert_eq!((report.n_followed, report.n_unrecognized), (0, 0));
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
fn counts_the_files_of_unsupported_agents() {
    const KIMI: &str = "kimi (before Kimi Code)";
    let mut stage = Stage::new();
    stage.append("x/chats/a", "{\"role\":\"_checkpoint\"}\n");
    stage.append("b", "{\"role\":\"_checkpoint\"}\n");
    stage.append("c", "{}\n");
    fs::write(stage.path("crush.db"), "").unwrap();
    assert_eq!(stage.scan(), "");
    let report = stage.follower.report();
    let counts: Vec<_> = report.unsupported.into_iter().collect();
    assert_eq!((counts, report.n_unrecognized), (vec![("crush", 1), (KIMI, 2)], 1));
    fs::remove_file(stage.path("crush.db")).unwrap();
    stage.remove("b");
    stage.scan();
    let counts: Vec<_> = stage.follower.report().unsupported.into_iter().collect();
    assert_eq!(counts, [(KIMI, 1)]);
}
