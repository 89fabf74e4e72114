//! The identities of files, by which a later process recognizes them.

use std::fs;

use watchkeeper_core::Fingerprint;
use watchkeeper_sources::{FollowOptions, Follower, Update};

use crate::{plain::PLAIN, stage::Stage};

impl Stage {
    /// Returns the identities of the files that a new follower finds, with their names.
    fn identities(&self) -> Vec<(String, Fingerprint)> {
        let options = FollowOptions { poll_only: true, ..FollowOptions::default() };
        let mut follower = Follower::new(vec![self.path("")], [&PLAIN], options);
        let mut found = Vec::new();
        follower.scan(self.now, &mut |update| {
            if let Update::FirstLine { file, id } = update {
                let name = file.rsplit('/').next().unwrap_or_default();
                found.push((name.replace(".jsonl", ""), id));
            }
        });
        found.sort();
        found
    }

    /// Returns the identity of the only file.
    fn identity(&self) -> Fingerprint {
        let found = self.identities();
        let [(_, id)] = &found[..] else { panic!("{found:?}") };
        *id
    }
}

#[test]
fn a_file_keeps_its_identity_when_it_grows_or_is_renamed() {
    let stage = Stage::new();
    stage.append("a", "line 1\n");
    let id = stage.identity();
    stage.append("a", "line 2\n".repeat(100));
    assert_eq!(stage.identity(), id);
    stage.rename("a", "b");
    assert_eq!(stage.identities(), [("b".to_owned(), id)]);
}

#[test]
fn a_file_with_other_content_has_another_identity() {
    let stage = Stage::new();
    stage.append("a", "line 1\n");
    let id = stage.identity();
    // In place, as if the system had reused the inode.
    fs::write(stage.file("a"), "line 2\n").unwrap();
    assert_ne!(stage.identity(), id);
    let long = "x".repeat(10_000);
    fs::write(stage.file("a"), format!("line 1{long}\n")).unwrap();
    let id = stage.identity();
    fs::write(stage.file("a"), format!("line 2{long}\n")).unwrap();
    assert_ne!(stage.identity(), id);
}

#[test]
fn a_copy_has_another_identity() {
    let stage = Stage::new();
    stage.append("a", "line 1\n");
    fs::copy(stage.file("a"), stage.file("b")).unwrap();
    let found = stage.identities();
    let [(_, id), (_, other)] = &found[..] else { panic!("{found:?}") };
    assert_ne!(id, other);
}

#[test]
fn a_file_without_a_whole_line_has_no_identity() {
    let mut stage = Stage::new();
    stage.append("a", "line 1");
    let mut updates = Vec::new();
    stage.follower.scan(stage.now, &mut |update| updates.push(update));
    assert!(!updates.iter().any(|it| matches!(it, Update::FirstLine { .. })), "{updates:?}");
    stage.append("a", "\nline 2\n");
    stage.follower.scan(stage.now, &mut |update| updates.push(update));
    let n_first = updates.iter().filter(|it| matches!(it, Update::FirstLine { .. })).count();
    assert_eq!(n_first, 1, "{updates:?}");
}
