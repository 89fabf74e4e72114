//! A policy that changes while `watch` runs.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    program::{Folder, program},
    watch::{Watching, looping_now},
};

/// A policy with one detector, whose findings begin at a number of equal calls.
fn policy(at: u32, rest: &str) -> String {
    let levels = format!("levels = [{{ at = {at}, severity = \"medium\" }}]");
    format!("version = 1\n[detectors.loops]\nkind = \"repeat-tool-call\"\n{levels}\n{rest}")
}

/// Replaces a file as editors do.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("the folder can be written");
    fs::rename(next, path).expect("the file can be replaced");
}

/// A watched folder of sessions and, in another one, the policy.
struct Reloading {
    policy: PathBuf,
    session: PathBuf,
    watching: Watching,
    _folders: [Folder; 2],
}

impl Reloading {
    fn start(text: &str) -> Self {
        let folders = [Folder::new(), Folder::new()];
        let [sessions, policies] = &folders;
        let session = sessions.write("s.ndjson", "");
        let policy = policies.write("policy.toml", text);
        let mut command = program();
        command.env("XDG_STATE_HOME", policies.path()).arg("watch").arg(sessions.path());
        command.arg("-v").arg("--policy").arg(&policy);
        let watching = Watching::run(&mut command);
        watching.until("read ");
        Self { policy, session, watching, _folders: folders }
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(&self.session).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// Returns a looping session, split before its last round.
fn two_parts(n_calls: usize) -> (String, String) {
    let text = looping_now(n_calls);
    let calls: Vec<usize> = text.match_indices("\"tool_call\"").map(|(at, _)| at).collect();
    let last = calls[calls.len() - 1];
    let (first, second) = text.split_at(text[..last].rfind('\n').map_or(0, |at| at + 1));
    (first.to_owned(), second.to_owned())
}

#[test]
fn a_changed_policy_is_used_at_once_and_detectors_continue() {
    let reloading = Reloading::start(&policy(9, ""));
    let (first, second) = two_parts(5);
    reloading.append(&first);
    reloading.watching.until("reading ");
    replace(&reloading.policy, &policy(5, ""));
    let line = reloading.watching.until("the policy has changed");
    assert!(line.contains("changed `detectors.loops`"), "{line}");
    // Four of the five calls were before the change.
    reloading.append(&second);
    reloading.watching.until("5 times");
    // The measure of the open finding does not reach the new level.
    replace(&reloading.policy, &policy(6, ""));
    reloading.watching.until("over, as the policy has changed");
    assert_eq!(reloading.watching.end("TERM").0, Some(0));
}

#[test]
fn an_invalid_policy_is_refused_and_the_earlier_one_stays() {
    let reloading = Reloading::start(&policy(4, ""));
    replace(&reloading.policy, &policy(4, "[detectors.loops.unknown]\n"));
    reloading.watching.until("unknown");
    reloading.watching.until("the earlier one stays in use");
    reloading.append(&looping_now(4));
    reloading.watching.until("4 times");
    // Back to the text that is used.
    replace(&reloading.policy, &policy(4, "# a comment\n"));
    reloading.watching.until("policy: no change");
    fs::remove_file(&reloading.policy).unwrap();
    reloading.watching.until("the earlier one stays in use");
    assert_eq!(reloading.watching.end("TERM").0, Some(0));
}

#[test]
fn sinks_are_added_changed_and_removed() {
    let sink = |file: &str| format!("[sinks.audit]\nkind = \"file\"\npath = \"{file}.ndjson\"\n");
    let Reloading { policy: file, session, watching, _folders } = Reloading::start(&policy(4, ""));
    let loop_in = |name: &str| {
        let text = looping_now(4).replace("\"live\"", &format!("\"{name}\""));
        fs::write(session.with_file_name(format!("{name}.ndjson")), text).unwrap();
        // The program prints all findings, since no route uses a terminal.
        watching.until("4 times");
    };
    let change = |rest: &str, expected: &str| {
        replace(&file, &policy(4, rest));
        let line = watching.until("the policy has changed");
        assert!(line.contains(expected), "{line}");
    };
    loop_in("one");
    change(&sink("a"), "added `sinks.audit`");
    loop_in("two");
    change(&sink("b"), "changed `sinks.audit`");
    loop_in("three");
    change("", "removed `sinks.audit`");
    loop_in("four");
    assert_eq!(watching.end("TERM").0, Some(0));
    let sessions = |name: &str| {
        let text = fs::read_to_string(file.with_file_name(format!("{name}.ndjson"))).unwrap();
        let about = |session: &&str| text.contains(&format!("\"session\":\"{session}\""));
        ["one", "two", "three", "four"].into_iter().filter(about).collect::<Vec<_>>()
    };
    assert_eq!((sessions("a"), sessions("b")), (vec!["two"], vec!["three"]));
}

#[test]
fn a_hangup_loads_the_policy_with_its_secrets() {
    let folder = Folder::new();
    let secret = folder.write("secret", "https://hooks.example.com/one");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let rest = format!(
        "[secrets]\nurl = {{ file = \"{}\" }}\n[sinks.ops]\nkind = \"webhook\"\nurl = {{ secret = \"url\" }}\n",
        secret.display()
    );
    let reloading = Reloading::start(&policy(4, &rest));
    reloading.watching.signal("HUP");
    reloading.watching.until("policy: no change");
    folder.write("secret", "https://hooks.example.com/two");
    reloading.watching.signal("HUP");
    let line = reloading.watching.until("the policy has changed");
    assert!(line.contains("changed the secrets of `sinks.ops`"), "{line}");
    assert!(!line.contains("hooks.example.com"), "{line}");
    assert_eq!(reloading.watching.end("TERM").0, Some(0));
}
