//! `run`.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::program::{Folder, Ran, program};

const POLICY: &str = r#"
version = 1
extends = ["builtin:default"]

[detectors.repeated_call]
levels = [{ at = 3, severity = "medium", action = "stop" }]
"#;

/// Returns the program, which runs a script of a shell in a folder that is also the home folder.
fn run(folder: &Folder, options: &[&str], script: &str) -> Command {
    let home = folder.path();
    let mut command = program();
    command
        .current_dir(home)
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join("state"))
        .env("PATH", "/usr/bin:/bin")
        .args([&["run"][..], options, &["--", "sh", "-c", script]].concat());
    command
}

/// Returns a session of Claude Code with equal calls, in a working folder. A script replaces its
/// times.
fn loop_in(folder: &Path) -> String {
    let mut text = String::new();
    let mut line = |kind: &str, n: u32, message: serde_json::Value| {
        let line = json!({
            "type": kind, "uuid": format!("{kind}{n}"), "sessionId": "s", "version": "2.1.0",
            "cwd": folder, "timestamp": "TIME", "message": message,
        });
        writeln!(text, "{line}").unwrap();
    };
    line("user", 0, json!({ "role": "user", "content": "go" }));
    for n in 1..=4 {
        let call = json!({
            "type": "tool_use", "id": format!("c{n}"), "name": "Bash",
            "input": { "command": "make" },
        });
        let message = json!({
            "id": format!("m{n}"), "role": "assistant", "model": "claude-opus-4-6",
            "content": [call], "usage": { "input_tokens": 1, "output_tokens": 1 },
        });
        line("assistant", n, message);
        let result = json!({
            "type": "tool_result", "tool_use_id": format!("c{n}"),
            "content": "make: nothing to be done for all",
        });
        line("user", n, json!({ "role": "user", "content": [result] }));
    }
    text
}

/// Returns the last action in the ledger.
fn action(folder: &Folder) -> serde_json::Value {
    let ledger = folder.path().join("state/watchkeeper/hooks/actions.jsonl");
    let actions = fs::read_to_string(ledger).unwrap();
    serde_json::from_str(actions.lines().last().unwrap()).unwrap()
}

const ENFORCE: &str = "[monitor]\nmode = \"enforce\"\n";

const FILE_SINK: &str = r#"
[sinks.file]
kind = "file"
path = "findings.jsonl"

[[routes]]
sinks = ["file"]
"#;

/// A script that plays an agent: it writes a session, and waits for a signal. A shell in the
/// background ignores interrupts.
const AGENT: &str = "mkdir -p .claude/projects/p
trap 'kill $!; echo saved; exit 9' INT TERM
sleep 300 &
sed \"s/TIME/$(date -u +%FT%TZ)/\" loop.jsonl > .claude/projects/p/s.jsonl
wait";

/// Returns a script that plays an agent until a finding about it is delivered.
fn until_delivered() -> String {
    let is_delivered = "grep -qs repeated_call findings.jsonl";
    let script = AGENT.replace("wait", &format!("until {is_delivered}; do sleep 0.02; done"));
    format!("{script}\nkill $!\nexit 5")
}

#[test]
fn the_output_and_the_status_are_those_of_the_command() {
    let folder = Folder::new();
    let script = r"printf '\033[31mred\000\377'; printf 'problem\n' >&2; exit 3";
    let output = run(&folder, &[], script).output().unwrap();
    assert_eq!(output.stdout, b"\x1b[31mred\0\xff");
    assert_eq!(output.stderr, b"problem\n");
    assert_eq!(output.status.code(), Some(3));
    let status = |script: &str| Ran::of(&mut run(&folder, &[], script)).status;
    // A shell knows by the signal that its script is to end, too.
    let ended = run(&folder, &[], "kill -TERM $$").status().unwrap();
    assert_eq!(ended.signal(), Some(15));
    assert_eq!(status("kill -KILL $$"), 128 + 9);
    assert_eq!(status("exec /nonexistent"), 127);
    let missing = Ran::of(program().args(["run", "--", "/nonexistent"]));
    assert_eq!(missing.status, 127);
    assert!(missing.err.starts_with("error: cannot run `/nonexistent`"), "{}", missing.err);
}

#[test]
fn a_finding_with_the_action_stop_ends_the_command_where_it_is_allowed() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write("loop.jsonl", loop_in(folder.path()));
    let options = ["--policy", "policy.toml", "--act", "stop", "--grace", "1s", "--color", "never"];
    let Ran { out, err, status } = Ran::of(&mut run(&folder, &options, AGENT));
    assert_eq!((out.as_str(), status), ("saved\n", 9), "{err}");
    assert!(err.contains("[MEDIUM] repeated_call "), "{err}");
    let end = "watchkeeper stopped the command because of `repeated_call`\n";
    assert!(err.ends_with(end), "{err}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_command_is_in_the_process_group_of_the_program() {
    let folder = Folder::new();
    let mut program = run(&folder, &[], "cut -d ' ' -f 5 /proc/self/stat");
    let running = program.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let group = running.id();
    let out = running.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(out).unwrap(), format!("{group}\n"));
}

#[test]
fn signals_are_passed_on() {
    let folder = Folder::new();
    let script = "trap 'echo got; exit 4' TERM; echo ready; while :; do sleep 0.02; done";
    let mut running = run(&folder, &[], script).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(running.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let kill = Command::new("kill").arg(running.id().to_string()).status().unwrap();
    assert!(kill.success());
    out.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), running.wait().unwrap().code()), ("ready\ngot\n", Some(4)));
}

#[test]
#[cfg(target_os = "linux")]
fn an_ignored_hangup_stays_ignored() {
    let folder = Folder::new();
    let program = run(&folder, &[], "kill -HUP $PPID; kill -HUP $$; echo survived");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(program.get_program());
    shell.args(program.get_args()).env_clear().current_dir(folder.path());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ran { out, err, status } = Ran::of(&mut shell);
    assert_eq!((out.as_str(), err.as_str(), status), ("survived\n", "", 0));
}

#[test]
fn a_dry_run_reports_the_stop_only() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY.to_owned() + FILE_SINK + "[monitor]\ndry_run = true\n");
    folder.write("loop.jsonl", loop_in(folder.path()));
    let options = ["--policy", "policy.toml", "--act", "stop"];
    let Ran { err, status, .. } = Ran::of(&mut run(&folder, &options, &until_delivered()));
    assert_eq!(status, 5, "{err}");
    let end = "watchkeeper would have stopped the command because of `repeated_call`\n";
    assert!(err.ends_with(end), "{err}");
    let action = action(&folder);
    assert_eq!((&action["action"], &action["data"]["dry_run"]), (&"stop".into(), &true.into()));
    let message = action["message"].as_str().unwrap();
    assert!(message.starts_with("would have stopped the command: "), "{message}");
}

#[test]
fn the_mode_enforce_carries_out_the_action_of_the_policy() {
    let folder = Folder::new();
    folder.write("policy.toml", format!("{POLICY}{ENFORCE}"));
    folder.write("loop.jsonl", loop_in(folder.path()));
    let options = ["--policy", "policy.toml", "--grace", "1s"];
    let Ran { err, status, .. } = Ran::of(&mut run(&folder, &options, AGENT));
    assert_eq!(status, 9, "{err}");
    assert_eq!(action(&folder)["detector"], "watchkeeper-run");
}

#[test]
fn the_mode_enforce_stops_nothing_without_an_action() {
    let folder = Folder::new();
    let policy = POLICY.replace("\"medium\", action = \"stop\"", "\"high\"");
    folder.write("policy.toml", format!("{policy}{FILE_SINK}{ENFORCE}"));
    folder.write("loop.jsonl", loop_in(folder.path()));
    let options = ["--policy", "policy.toml"];
    let Ran { err, status, .. } = Ran::of(&mut run(&folder, &options, &until_delivered()));
    assert_eq!(status, 5, "{err}");
    assert!(err.contains("[HIGH]") && !err.contains("stopped"), "{err}");
}

#[test]
fn by_default_the_command_ends_by_itself() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY.to_owned() + FILE_SINK);
    folder.write("loop.jsonl", loop_in(folder.path()));
    let command = &mut run(&folder, &["--policy", "policy.toml"], &until_delivered());
    let Ran { out, err, status } = Ran::of(command);
    assert_eq!((out.as_str(), status), ("", 5), "{err}");
    assert!(err.contains("repeated_call") && !err.contains("stopped"), "{err}");
}

#[test]
fn a_session_in_another_folder_ends_no_command() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY.to_owned() + FILE_SINK);
    folder.write("loop.jsonl", loop_in(Path::new("/elsewhere")));
    let options = ["--policy", "policy.toml", "--act", "stop"];
    let Ran { out, err, status } = Ran::of(&mut run(&folder, &options, &until_delivered()));
    assert_eq!((out.as_str(), err.as_str(), status), ("", "", 5));
}

#[test]
fn findings_that_were_lost_are_reported_at_the_end() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY.to_owned() + FILE_SINK);
    folder.write("loop.jsonl", loop_in(folder.path()));
    // Others could read the findings.
    folder.write("findings.jsonl", "");
    let options = ["--policy", "policy.toml", "--act", "stop", "--grace", "1s"];
    let Ran { err, status, .. } = Ran::of(&mut run(&folder, &options, AGENT));
    assert_eq!(status, 9);
    assert!(err.contains("error: sinks lost 1 finding: `file` 1 (refused: "), "{err}");
}
