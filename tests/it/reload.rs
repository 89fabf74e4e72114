//! A policy that changes while `watch` runs.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    program::{Folder, eventually, program},
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

/// Changes a byte in the middle of a file, to which its owner may still append.
fn damage_middle(path: &Path) {
    let middle = fs::metadata(path).unwrap().len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[!byte[0]], middle).unwrap();
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

    /// Replaces the policy, and waits for the message and the finding about the change.
    #[track_caller]
    fn change(&self, rest: &str) {
        replace(&self.policy, &policy(4, rest));
        self.watching.until_each(["the policy has changed"; 2]);
    }

    /// Replaces the policy, and waits for a finding as well. Returns its line.
    #[track_caller]
    fn change_until(&self, rest: &str, finding: &str) -> String {
        replace(&self.policy, &policy(4, rest));
        let change = "the policy has changed";
        let [line, ..] = self.watching.until_each([finding, change, change]);
        line
    }

    /// Ends the program.
    #[track_caller]
    fn end(self) -> Ended {
        let Self { policy, watching, _folders: folders, .. } = self;
        let (status, rest) = watching.end("TERM");
        assert_eq!(status, Some(0), "{rest:?}");
        Ended { policy, rest, _folders: folders }
    }

    /// Returns the ledger of a sink.
    fn ledger(&self, sink: &str) -> PathBuf {
        let mut folders = vec![self.policy.with_file_name("watchkeeper")];
        let mut ledgers = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else if entry.to_str().unwrap().contains(&format!("sink-{sink}")) {
                    ledgers.push(entry);
                }
            }
        }
        let [ledger] = &ledgers[..] else { panic!("{ledgers:?}") };
        ledger.clone()
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(&self.session).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// The results of a program that has ended.
struct Ended {
    policy: PathBuf,
    /// The lines that were not read before.
    rest: Vec<String>,
    _folders: [Folder; 2],
}

impl Ended {
    /// Returns the messages in the file of a sink, with their fingerprints.
    fn messages(&self, sink: &str) -> Vec<(String, String)> {
        let findings = self.findings(sink).into_iter();
        findings.map(|it| (text_of(&it["message"]), text_of(&it["fingerprint"]))).collect()
    }

    /// Returns the ids of the findings in the file of a sink.
    fn ids(&self, sink: &str) -> Vec<String> {
        self.findings(sink).iter().map(|it| text_of(&it["id"])).collect()
    }

    fn findings(&self, sink: &str) -> Vec<Value> {
        let file = self.policy.with_file_name(sink).with_extension("ndjson");
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a finding")).collect()
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn file_sink(name: &str, file: &str) -> String {
    format!("[sinks.{name}]\nkind = \"file\"\npath = \"{file}.ndjson\"\n")
}

/// A silence for all findings.
const SILENCE: &str = "[[silences]]\nmatch = { detector = \"*\" }\nuntil = 9000-01-01\nauthor = \"me\"\nreason = \"hide\"\n";

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
    let change = "changed `detectors.loops` (`levels` from `[{ at = 9, severity = \"medium\" }]` to `[{ at = 5, severity = \"medium\" }]`)";
    assert!(line.contains(change), "{line}");
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
    let finding = "the earlier one stays in use: ";
    reloading.watching.until_each([finding, "the earlier one stays in use", "`unknown`"]);
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
    let sink = |file: &str| file_sink("audit", file);
    let Reloading { policy: file, session, watching, _folders } = Reloading::start(&policy(4, ""));
    let loop_in = |name: &str| {
        let text = looping_now(4).replace("\"live\"", &format!("\"{name}\""));
        replace(&session.with_file_name(format!("{name}.ndjson")), &text);
        // The program prints all findings, since no route uses a terminal.
        watching.until("4 times");
    };
    let change = |rest: &str, expected: &str| {
        replace(&file, &policy(4, rest));
        // The message and the finding.
        watching.until_each([expected; 2]);
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

#[test]
fn the_sinks_of_both_policies_are_notified_of_a_change_in_spite_of_silences() {
    let sinks = |sinks: &[(&str, &str)]| {
        let sinks: String = sinks.iter().map(|(name, file)| file_sink(name, file)).collect();
        format!("{SILENCE}{sinks}")
    };
    let before = sinks(&[("same", "same"), ("moved", "before"), ("gone", "gone")]);
    let reloading = Reloading::start(&policy(4, &before));
    reloading.change(&sinks(&[("same", "same"), ("moved", "after"), ("new", "new")]));
    let last = sinks(&[("same", "same"), ("moved", "after"), ("new", "new"), ("x", "x")]);
    reloading.change(&last);
    // The silence applies to all other findings, also in the terminal.
    reloading.append(&looping_now(4));
    reloading.watching.until("reading ");
    let ended = reloading.end();
    assert!(!ended.rest.iter().any(|line| line.contains("4 times")), "{:?}", ended.rest);
    assert!(ended.rest.iter().any(|line| line.contains("silences hid 1")), "{:?}", ended.rest);
    let n_changes = |name: &str| {
        let messages = ended.messages(name);
        let (notices, rest) = messages.as_chunks::<2>();
        assert!(rest.is_empty(), "{messages:?}");
        for [(change, opened), (end, resolved)] in notices {
            assert!(change.starts_with("the policy has changed: "), "{messages:?}");
            assert_eq!((&**end, resolved), ("the changed policy is used", opened));
        }
        let fingerprints: BTreeSet<_> = messages.iter().map(|(_, it)| it).collect();
        assert_eq!(fingerprints.len(), notices.len(), "each change has a fingerprint of its own");
        notices.len()
    };
    let files = ["same", "before", "after", "gone", "new", "x"];
    assert_eq!(files.map(n_changes), [2, 1, 2, 1, 2, 1]);
    // The receiver before the change and the one after it know the change by one id.
    assert_eq!(ended.ids("before"), ended.ids("after")[..2]);
}

#[test]
fn a_refused_policy_is_reported_with_its_reason_until_it_is_valid() {
    let audit = file_sink("audit", "audit");
    let reloading = Reloading::start(&policy(4, &audit));
    let change = |rest: &str, expected: &str| {
        replace(&reloading.policy, &policy(4, &format!("{audit}{rest}")));
        reloading.watching.until(expected);
    };
    change("[detectors.loops.unknown]\n", "the earlier one stays in use: ");
    change("[mistake]\n", "refused for another reason");
    change("", "the policy is valid again");
    let messages = reloading.end().messages("audit");
    let [(first, one), (_, one_end), (second, two), (_, two_end)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert!(first.contains("policy.toml:8: ") && first.contains("`unknown`"), "{first}");
    assert!(second.contains("`mistake`"), "{second}");
    assert_eq!((one, two), (one_end, two_end));
    assert_ne!(one, two);
}

#[test]
fn a_file_that_a_refused_policy_lacks_is_awaited() {
    let reloading = Reloading::start(&policy(4, ""));
    let text = policy(4, "").replace("version = 1\n", "version = 1\nextends = [\"base.toml\"]\n");
    replace(&reloading.policy, &text);
    let line = reloading.watching.until("the earlier one stays in use: ");
    assert!(line.contains("base.toml"), "{line}");
    let base = reloading.policy.with_file_name("base.toml");
    fs::write(&base, "version = 1\n[detectors.more]\nkind = \"full-context\"\n").unwrap();
    let line = reloading.watching.until("the policy has changed");
    assert!(line.contains("added `detectors.more`"), "{line}");
    reloading.end();
}

#[test]
fn a_policy_that_appears_in_the_working_folder_is_not_used() {
    let (sessions, work) = (Folder::new(), Folder::new());
    let mut command = program();
    command.current_dir(work.path()).arg("watch").arg(sessions.path());
    let watching = Watching::run(&mut command);
    work.write(".watchkeeper.toml", "version = 1\n");
    watching.signal("HUP");
    watching.until("policy: no change");
    sessions.write("s.ndjson", looping_now(4));
    watching.until("4 times");
    assert_eq!(watching.end("TERM").0, Some(0));
}

#[test]
fn a_damaged_or_lost_ledger_of_a_sink_that_returns_is_reported() {
    let audit = file_sink("audit", "audit");
    let reloading = Reloading::start(&policy(4, &audit));
    reloading.append(&looping_now(4));
    let delivered = reloading.policy.with_file_name("audit.ndjson");
    let has_finding = || fs::read_to_string(&delivered).unwrap_or_default().contains("4 times");
    eventually(|| if has_finding() { Ok(()) } else { Err(String::new()) }).unwrap();
    reloading.change("");
    let ledger = reloading.ledger("audit");
    damage_middle(&ledger);
    let line = reloading.change_until(&audit, "damaged record");
    assert!(line.contains("the ledger of sink `audit`"), "{line}");
    // Without the file, the sink is known all the same.
    reloading.change("");
    fs::remove_file(ledger).unwrap();
    reloading.change_until(&audit, "the ledger of sink `audit` is gone");
    reloading.end();
}

#[test]
fn a_policy_that_needs_a_state_in_use_is_used_when_the_state_is_free() {
    let audit = file_sink("audit", "audit");
    let reloading = Reloading::start(&policy(4, ""));
    let other_policy = reloading.policy.with_file_name("other.toml");
    fs::write(&other_policy, policy(4, &audit)).unwrap();
    let mut command = program();
    let folder = reloading.policy.parent().expect("the policy is in a folder");
    command.env("XDG_STATE_HOME", folder).arg("watch").arg(reloading.session.parent().unwrap());
    let other = Watching::run(command.arg("--policy").arg(&other_policy));
    replace(&reloading.policy, &policy(4, &audit));
    let line = reloading.watching.until("the earlier one stays in use: ");
    assert!(line.contains("process"), "{line}");
    // A request is answered, also before the next retry.
    reloading.watching.signal("HUP");
    reloading.watching.until("the earlier one stays in use");
    assert_eq!(other.end("TERM").0, Some(0));
    reloading.watching.until("the policy has changed");
    reloading.end();
}

#[test]
fn a_finding_about_the_monitor_is_printed_once() {
    let sinks = "[sinks.console]\nkind = \"console\"\n[sinks.log]\nkind = \"stderr\"\n";
    let route = "[[routes]]\nsinks = [\"audit\"]\n";
    let rest = |file: &str| format!("{sinks}{}{route}", file_sink("audit", file));
    let reloading = Reloading::start(&policy(4, &rest("one")));
    // The message, and the finding.
    reloading.change(&rest("two"));
    let rest = reloading.end().rest;
    assert!(!rest.iter().any(|line| line.contains("the policy has changed")), "{rest:?}");
}
