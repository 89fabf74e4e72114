//! Output of `check`.

use std::process::Command;

use insta::assert_snapshot;
use serde_json::Value;
use watchkeeper_core::{SignedDuration, Timestamp};

use crate::program::{Folder, Ran, program, run};

/// Returns an NDJSON session: a prompt, then one repeated call, with one event per
/// second.
pub(crate) fn looping(session: &str, n_calls: usize) -> String {
    looping_from("2026-03-01T10:00:00Z".parse().expect("it is a time"), session, n_calls)
}

/// Returns the session of [`looping`] with another start time.
pub(crate) fn looping_from(start: Timestamp, session: &str, n_calls: usize) -> String {
    let mut at = start;
    let mut text = String::new();
    let mut line = |event: &str| {
        let line = format!("{{\"at\":\"{at}\",\"session\":\"{session}\",\"event\":{event}}}\n");
        text.push_str(&line);
        at += SignedDuration::from_secs(1);
    };
    line("\"prompt\",\"text\":\"go\"");
    for n in 0..n_calls {
        let arguments = "{\"command\":\"make\"}";
        line(&format!("\"tool_call\",\"id\":\"c{n}\",\"tool\":\"Bash\",\"arguments\":{arguments}"));
        line(&format!(
            "\"tool_result\",\"id\":\"c{n}\",\"ok\":true,\"exit_code\":0,\
             \"output\":\"make: nothing to be done for all\""
        ));
    }
    text
}

fn check(folder: &Folder, args: &[&str]) -> Ran {
    check_with(program().current_dir(folder.path()), args)
}

/// Checks with the source that panics on some lines.
fn check_panicking(folder: &Folder, args: &[&str]) -> Ran {
    check_with(program().current_dir(folder.path()).env("ACME_SOURCE", "1"), args)
}

fn check_with(command: &mut Command, args: &[&str]) -> Ran {
    Ran::of(command.arg("check").args(args))
}

#[test]
fn writes_a_report_for_people() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 5) + "no JSON\n");
    let Ran { out, err, status } = check(&folder, &["s.ndjson"]);
    assert_snapshot!(format!("{out}{err}exit {status}"), @"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 10s · 11 events · 5 tool calls
      [MEDIUM] repeated_call: `Bash` returned the same result for the same call 5 times in 8s: `make` returns `make: nothing to be done for all`
               open at the end, 4s after it was found
               s.ndjson:2
               s.ndjson:11
      1 line skipped: not JSON (1)

    1 session in 1 file: 11 events, 5 tool calls (0 failed), 0 model calls, 0 tokens, $0.00
    1 line skipped
    1 finding: 0 high, 1 medium, 0 low
    exit 1
    ");
}

#[test]
fn the_exit_status_depends_on_fail_on() {
    let folder = Folder::new();
    folder.write("calm.ndjson", looping("s1", 1));
    folder.write("looping.ndjson", looping("s2", 5));
    assert_eq!(check(&folder, &["calm.ndjson"]).status, 0);
    assert_eq!(check(&folder, &["looping.ndjson"]).status, 1);
    assert_eq!(check(&folder, &["--fail-on", "high", "looping.ndjson"]).status, 0);
    assert_eq!(check(&folder, &["missing.ndjson"]).status, 2);
    assert_eq!(check(&folder, &["--source", "nothing", "calm.ndjson"]).status, 2);
    assert_eq!(check(&folder, &["--fail-on", "grave", "calm.ndjson"]).status, 2);
}

#[test]
fn writes_a_report_as_json() {
    let folder = Folder::new();
    let failed =
        r#"{"at":"2026-03-01T10:00:07Z","session":"s1","event":"tool_result","id":"x","ok":false}"#;
    folder.write("a/one.ndjson", looping("s1", 3) + failed + "\n");
    folder.write("a/two.ndjson", looping("s2", 2));
    let ran = check(&folder, &["--format", "json", "a"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let session = &report["sessions"][0];
    assert_eq!(session["session"], "s1");
    assert_eq!(session["source"], "ndjson");
    assert_eq!(session["files"][0], "a/one.ndjson");
    assert_eq!(session["started_at"], "2026-03-01T10:00:00Z");
    assert_eq!(session["ended_at"], "2026-03-01T10:00:07Z");
    for (key, n) in [
        ("events", 8),
        ("tool_calls", 3),
        ("tool_results", 4),
        ("failed_results", 1),
        ("model_calls", 0),
        ("skipped_lines", 0),
    ] {
        assert_eq!(session[key], n, "{key}");
    }
    for class in ["input", "cache_read", "cache_write", "output", "reasoning", "cache_write_1h"] {
        assert_eq!(session["tokens"][class], 0, "{class}");
    }
    assert_eq!(session["findings"][0]["severity"], "low");
    assert_eq!(report["totals"]["sessions"], 2);
    assert_eq!(report["totals"]["tool_calls"], 5);
}

#[test]
fn writes_the_same_lines_in_every_run() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 9));
    let first = check(&folder, &["--format", "ndjson", "s.ndjson"]);
    assert_eq!(first.status, 1);
    let finding: Value = serde_json::from_str(first.out.lines().next().unwrap()).unwrap();
    assert_eq!(finding["kind"], "repeat-tool-call");
    assert_eq!(finding["severity"], "high");
    assert_eq!(finding["evidence"][0]["file"], "s.ndjson");
    assert_eq!(first.out, check(&folder, &["--format", "ndjson", "s.ndjson"]).out);
}

#[test]
fn writes_reports_for_code_hosts() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 5));
    let sarif: Value =
        serde_json::from_str(&check(&folder, &["--format", "sarif", "s.ndjson"]).out).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(result["level"], "warning");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "s.ndjson");
    assert_eq!(place["region"]["startLine"], 11);
    let github = check(&folder, &["--format", "github", "s.ndjson"]).out;
    assert!(github.starts_with("::warning title="), "{github}");
    assert!(github.contains("file=s.ndjson,line=11::"), "{github}");
}

#[test]
fn finds_sessions_of_known_agents_by_default() {
    let folder = Folder::new();
    folder.write(
        "claude/projects/-w-app/5b1e.jsonl",
        "{\"type\":\"user\",\"sessionId\":\"5b1e\",\"uuid\":\"u1\",\"version\":\"2.1.330\",\"cwd\":\"/w/app\",\
         \"timestamp\":\"2026-03-01T10:00:00.000Z\",\"message\":{\"role\":\"user\",\"content\":\"hi\"}}\n",
    );
    let output = program()
        .env("CLAUDE_CONFIG_DIR", folder.path().join("claude"))
        .args(["check", "--format", "json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sessions"][0]["session"], "5b1e");
    assert_eq!(report["sessions"][0]["source"], "claude-code");
    // Without sessions on the machine, the error lists the folders.
    let none = run(&["check"]);
    assert_eq!(none.status, 2);
    assert!(none.err.contains("name a file or a folder\nLooked in: "), "{}", none.err);
}

#[test]
fn runs_an_in_house_detector() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 1));
    folder.write(
        "policy.toml",
        "version = 1\n[detectors.no_bash]\nkind = \"acme-banned-tool\"\nseverity = \"high\"\ntools = [\"Bash\"]\n",
    );
    let ran = check(&folder, &["--policy", "policy.toml", "--format", "ndjson", "s.ndjson"]);
    assert_eq!(ran.status, 1, "{}", ran.err);
    let finding: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(finding["class"], "banned");
    assert_eq!(finding["message"], "`Bash` is banned");
}

/// A file of the session of [`looping`] whose source panics at line 2.
pub(crate) const PANICKING: &str = "\
2026-03-01T10:00:02Z s1 hello
2026-03-01T10:00:03Z s1 panic
2026-03-01T10:00:04Z s1 unreachable
";

#[test]
fn a_panic_of_a_source_ends_one_file_of_a_session() {
    let folder = Folder::new();
    folder.write("a/s.ndjson", looping("s1", 5));
    folder.write("a/s.acme", PANICKING);
    folder.write("a/t.ndjson", looping("s2", 1));
    let Ran { out, err, status } = check_panicking(&folder, &["a"]);
    // The beginning of each file is read once more, to sort the files by session.
    assert_eq!(err.matches("line 2 says panic").count(), 2, "{err}");
    assert_snapshot!(format!("{out}exit {status}"), @"
    a/s.ndjson
      and 1 more file
      ndjson
      2026-03-01 10:00 UTC, 10s · 12 events · 5 tool calls
      [MEDIUM] repeated_call: `Bash` returned the same result for the same call 4 times in 6s: `make` returns `make: nothing to be done for all`
               open at the end, 2s after it was found
               a/s.ndjson:4
               a/s.ndjson:11

    a/t.ndjson
      ndjson
      2026-03-01 10:00 UTC, 2s · 3 events · 1 tool call

    a/s.acme
      not read to its end: source `acme-prompts` panicked: `line 2 says panic`

    2 sessions in 3 files: 15 events, 6 tool calls (0 failed), 0 model calls, 0 tokens, $0.00
    1 finding: 0 high, 1 medium, 0 low
    exit 1
    ");

    let ran = check_panicking(&folder, &["a", "--format", "json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["skipped_files"][0]["file"], "a/s.acme");
    assert_eq!(report["totals"]["sessions"], 2);
    assert_eq!(report["totals"]["findings"]["medium"], 1);

    let ran = check_panicking(&folder, &["a", "--format", "ndjson"]);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    assert!(ran.err.contains("warning: `a/s.acme`: not read to its end"), "{}", ran.err);
}

#[test]
fn a_named_file_that_cannot_be_read_sets_the_exit_status_to_2() {
    let folder = Folder::new();
    folder.write("a/s.ndjson", looping("s1", 5));
    folder.write("a/s.acme", PANICKING);
    folder.write("a/notes.txt", "no session\n");
    assert_eq!(check_panicking(&folder, &["a/s.ndjson", "a/s.acme"]).status, 2);
    let Ran { out, err, status } = check(&folder, &["a/s.ndjson", "a/notes.txt"]);
    assert_snapshot!(format!("{out}{err}exit {status}"), @"
    a/s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 10s · 11 events · 5 tool calls
      [MEDIUM] repeated_call: `Bash` returned the same result for the same call 5 times in 8s: `make` returns `make: nothing to be done for all`
               open at the end, 4s after it was found
               a/s.ndjson:2
               a/s.ndjson:11

    a/notes.txt
      is not a session of a known agent; name its kind with `--source`

    1 session in 2 files: 11 events, 5 tool calls (0 failed), 0 model calls, 0 tokens, $0.00
    1 finding: 0 high, 1 medium, 0 low
    exit 2
    ");
    let Ran { out, err, status } = check_panicking(&folder, &["a", "--explain", "--session", "s1"]);
    assert!(out.contains("[MEDIUM] repeated_call"), "{out}");
    assert!(err.contains("warning: `a/s.acme`: not read to its end"), "{err}");
    assert_eq!(status, 1);
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    let start: Timestamp = "2026-03-01T10:00:00Z".parse().expect("it is a time");
    for n in 0..60 {
        let session = looping_from(start + SignedDuration::from_mins(n), &format!("s{n}"), 4);
        let own = looping_from(start + SignedDuration::from_hours(n), &format!("s{n}"), 7);
        folder.write(&format!("{n}.ndjson"), session.clone() + &own);
        if n % 7 == 0 {
            // Another session whose file contains the lines of this one, too.
            let other = looping_from(start + SignedDuration::from_mins(n), &format!("o{n}"), 4);
            folder.write(&format!("{n}-copy.ndjson"), other + &session + "no JSON\n");
        }
    }
    let agent = |n: u64| {
        format!(
            "{{\"at\":\"2026-03-01T10:00:00Z\",\"session\":\"many\",\"agent\":\"a{n}\",\
             \"event\":\"agent_start\"}}\n"
        )
    };
    let agents: String = (0..300).map(agent).collect();
    for with_many_agents in [false, true] {
        if with_many_agents {
            folder.write("many.ndjson", agents.clone());
        }
        for format in ["text", "json", "csv"] {
            let of_jobs = |jobs| {
                let Ran { out, err, status } =
                    check(&folder, &[".", "--format", format, "--jobs", jobs]);
                (out, err, status)
            };
            let ran = of_jobs("4");
            assert_eq!(ran, of_jobs("1"), "{format}");
            assert!(format == "text" || ran.0.contains("s59"), "{format}: {}", ran.0);
        }
    }
}
