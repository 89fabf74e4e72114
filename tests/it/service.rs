//! The service files in `docs/service`: the commands in them start, follow
//! sessions, and end on the signal of a service manager.

use std::fs;

use crate::{
    program::{Folder, program, run},
    tidy::root,
    watch::{Watching, looping_now},
};

const POLICY: &str = "
version = 1

[detectors.repeated_call]
kind = 'repeat-tool-call'

[sinks.console]
kind = 'stderr'
";

#[test]
fn systemd_unit_starts_the_program() {
    let unit = service_file("watchkeeper.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let folder = Folder::new();
    let home = folder.path().to_str().unwrap();
    follows_and_ends(&folder, &command.replace("%h", home));
}

#[test]
fn launch_agent_starts_the_program() {
    let plist = service_file("watchkeeper.plist");
    let command = plist.split("<string>").find_map(|text| text.strip_prefix("exec ")).unwrap();
    let (command, _) = command.split_once(" 2>>").expect("diagnostics go to a file");
    let folder = Folder::new();
    let home = folder.path().to_str().unwrap();
    follows_and_ends(&folder, &command.replace("$HOME", home).replace('"', ""));
}

#[test]
fn service_manager_does_not_restart_on_an_invalid_policy() {
    let unit = service_file("watchkeeper.service");
    assert!(unit.contains("\nRestart=on-failure\n"));
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
    let folder = Folder::new();
    let policy = folder.write("policy.toml", "version = 2");
    let ran = run(&["--policy", policy.to_str().unwrap(), "watch"]);
    assert_eq!(ran.status, 78, "{}", ran.err);
}

/// Runs a service's command in a home folder with a policy and a session of
/// Claude Code, and ends it as a service manager does.
#[track_caller]
fn follows_and_ends(folder: &Folder, command: &str) {
    let (path, args) = command.split_once(' ').expect("the program has arguments");
    assert!(path.ends_with("/.cargo/bin/watchkeeper"), "{path}");
    let args = args.split(' ');
    folder.write(".config/watchkeeper/policy.toml", POLICY);
    let file = folder.write(".claude/projects/p/s.jsonl", "");
    let home = folder.path().to_str().expect("the path should be text");
    let watching = Watching::run(program().args(args).env("HOME", home));
    fs::write(file, looping_now(4)).expect("the file should be writable");
    watching.until("repeated_call");
    let (status, _) = watching.end("TERM");
    assert_eq!(status, Some(0));
}

fn service_file(name: &str) -> String {
    fs::read_to_string(root().join("docs/service").join(name)).expect("the file should exist")
}
