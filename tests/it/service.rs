//! The service files in `docs/service`: the commands in them start, follow
//! sessions, and end on the signal of a service manager.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::{
    program::{Folder, run},
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
    let home = Home::new(POLICY);
    let unit = service_file("watchkeeper.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let command = command.replace("%h", home.path());
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().unwrap());
    home.follows_and_ends(command.args(words));
}

#[test]
fn launch_agent_starts_the_program() {
    let home = Home::new(POLICY);
    // The test reads standard error in place of the log.
    symlink("/dev/stderr", home.0.path().join("Library/Logs/watchkeeper.log")).unwrap();
    home.follows_and_ends(&mut launch_agent());
}

#[test]
fn service_managers_do_not_restart_on_an_invalid_policy() {
    let unit = service_file("watchkeeper.service");
    assert!(unit.contains("\nRestart=on-failure\n"));
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
    let home = Home::new("version = 2");
    let policy = home.0.path().join(".config/watchkeeper/policy.toml");
    let ran = run(&["--policy", policy.to_str().unwrap(), "watch"]);
    assert_eq!(ran.status, 78, "{}", ran.err);
    // launchd restarts on every status except 0.
    let status = launch_agent().env("HOME", home.path()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let log = home.0.path().join("Library/Logs/watchkeeper.log");
    assert!(fs::read_to_string(log).unwrap().contains("version"));
}

/// The command of the launch agent.
fn launch_agent() -> Command {
    let plist = service_file("watchkeeper.plist");
    let script = plist.split("<string>").find_map(|text| text.strip_prefix("exec ")).unwrap();
    let (script, _) = script.split_once("</string>").unwrap();
    let script = script.replace("&amp;", "&");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {script}")]);
    command
}

/// A home folder with the program, a policy and a session of Claude Code.
struct Home(Folder);

impl Home {
    fn new(policy: &str) -> Self {
        let folder = Folder::new();
        folder.write(".config/watchkeeper/policy.toml", policy);
        folder.write(".claude/projects/p/s.jsonl", "");
        folder.write(".local/state/watchkeeper/.keep", "");
        folder.write("Library/Logs/.keep", "");
        folder.write(".cargo/bin/.keep", "");
        let path = folder.path().join(".cargo/bin/watchkeeper");
        symlink(env!("CARGO_BIN_EXE_acme-watchkeeper"), path).unwrap();
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("the path should be text")
    }

    /// Runs the command of a service, and ends it as a service manager does.
    #[track_caller]
    fn follows_and_ends(&self, command: &mut Command) {
        let watching = Watching::run(command.env_clear().env("HOME", self.path()));
        fs::write(self.0.path().join(".claude/projects/p/s.jsonl"), looping_now(4)).unwrap();
        watching.until("repeated_call");
        let (status, _) = watching.end("TERM");
        assert_eq!(status, Some(0));
    }
}

fn service_file(name: &str) -> String {
    fs::read_to_string(root().join("docs/service").join(name)).expect("the file should exist")
}
