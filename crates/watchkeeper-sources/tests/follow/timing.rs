//! The times at which files are read.

use std::{fs, thread, time::Duration};

use insta::assert_snapshot;
use watchkeeper_core::{
    SignedDuration,
    clock::{Clock as _, SystemClock},
};

use crate::stage::Stage;

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
