//! Output of `check --explain`: the reasons for findings and for their absence.

use insta::assert_snapshot;
use serde_json::Value;

use crate::{
    check::looping,
    program::{Folder, Ran, program},
};

const POLICY: &str = r#"version = 1
[detectors.repeated_call]
kind = "repeat-tool-call"
levels = [{ at = 3, severity = "low" }, { at = 4, severity = "medium" }]

[[detectors.repeated_call.exceptions]]
tool = "gdb*"
reason = "stepping a debugger repeats by design"

[detectors.same_tool]
kind = "repeat-tool-call"
same = ["tool"]
inhibited_by = ["repeated_call"]
levels = [{ at = 4, severity = "low" }]

[detectors.silent_model]
kind = "timeout"
of = "model"
max = "5m"
severity = "medium"

[[overrides]]
match = { cwd = "*/nightly/*" }
reason = "nightly work is slow on purpose"
detectors.silent_model.max = "1h"
detectors.repeated_call.enabled = false
"#;

/// Returns a session in the neutral format. Each line gets a time, a session and an event.
fn session(lines: &[(&str, &str)]) -> String {
    let line = |(at, event): &(&str, &str)| {
        format!("{{\"at\":\"2026-03-01T{at}Z\",\"session\":\"s1\",\"event\":{event}}}\n")
    };
    lines.iter().map(line).collect()
}

fn explain(folder: &Folder, args: &[&str]) -> Ran {
    folder.write("policy.toml", POLICY);
    Ran::of(
        program()
            .current_dir(folder.path())
            .args(["check", "--policy", "policy.toml", "--explain"])
            .args(args),
    )
}

fn seen(folder: &Folder, args: &[&str]) -> String {
    let Ran { out, err, status } = explain(folder, args);
    format!("{out}{err}exit {status}")
}

#[test]
fn shows_measures_in_order_of_time() {
    let folder = Folder::new();
    let more = session(&[
        ("10:00:20", r#""tool_call","id":"r1","tool":"Read","arguments":{"file_path":"/w/a.rs"}"#),
        ("10:00:21", r#""tool_result","id":"r1","ok":true,"output":"fn main() {}""#),
        ("10:00:22", r#""message","text":"There it is.""#),
        ("10:00:23", r#""turn_end""#),
    ]);
    folder.write("s.ndjson", looping("s1", 5) + &more);
    assert_snapshot!(seen(&folder, &["s.ndjson"]), @"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 23s · 15 events · 6 tool calls
      [MEDIUM] repeated_call: `Bash` returned the same result for the same call 5 times in 8s: `make` returns `make: nothing to be done for all`
               resolved 14s after it was found: no further repetition after 5: another call was made
               s.ndjson:2
               s.ndjson:11

    Timeline
                … 3 events
       0:00:03  line 4     `Bash` `make`
                  same_tool     2 of 4           `Bash` was called 2 times in a row in 2s
       0:00:04  line 5     `Bash` returned `make: nothing to be done for all`
                  repeated_call 2 of 3           `Bash` returned the same result for the same call 2 times in 2s: `make` returns `make: nothing to be done for all`
       0:00:05  line 6     `Bash` `make`
                  same_tool     3 of 4           `Bash` was called 3 times in a row in 4s
       0:00:06  line 7     `Bash` returned `make: nothing to be done for all`
                  repeated_call LOW at 3         `Bash` returned the same result for the same call 3 times in 4s: `make` returns `make: nothing to be done for all`
       0:00:07  line 8     `Bash` `make`
                  same_tool     4, suppressed    suppressed by repeated_call: `Bash` was called 4 times in a row in 6s
       0:00:08  line 9     `Bash` returned `make: nothing to be done for all`
                  repeated_call MEDIUM at 4      `Bash` returned the same result for the same call 4 times in 6s: `make` returns `make: nothing to be done for all`
                … 2 events
       0:00:20  line 12    `Read` `/w/a.rs`
                  repeated_call ended            no further repetition after 5: another call was made
                  same_tool     resolved         no further repetition after 5: another call was made
                … 3 events

    Detectors
      repeated_call MEDIUM   1 finding; reached 5 at 0:00:10 (line 11); levels: low 3, medium 4
      same_tool     -        reached 5 at 0:00:09 (line 10); levels: low 4
                             `Bash` was called 5 times in a row in 8s
                             suppressed 2 times by repeated_call
      silent_model  -        longest wait 10s of 5m 00s, until 0:00:20 (line 12); levels: medium 100%
    exit 1
    ");
}

#[test]
fn verbose_shows_all_measures_of_one_detector() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 4));
    assert_snapshot!(seen(&folder, &["s.ndjson", "-v", "--detector", "repeated_call"]), @"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 8s · 9 events · 4 tool calls
      [MEDIUM] repeated_call: `Bash` returned the same result for the same call 4 times in 6s: `make` returns `make: nothing to be done for all`
               open at the end, 2s after it was found
               s.ndjson:2
               s.ndjson:9

    Timeline
                … 3 events
       0:00:03  line 4     `Bash` `make`
                  repeated_call 1 of 3           `Bash` returned the same result for the same call 1 times in 2s: `make`
       0:00:04  line 5     `Bash` returned `make: nothing to be done for all`
                  repeated_call 2 of 3           `Bash` returned the same result for the same call 2 times in 2s: `make` returns `make: nothing to be done for all`
       0:00:05  line 6     `Bash` `make`
                  repeated_call 2 of 3           `Bash` returned the same result for the same call 2 times in 4s: `make`
       0:00:06  line 7     `Bash` returned `make: nothing to be done for all`
                  repeated_call LOW at 3         `Bash` returned the same result for the same call 3 times in 4s: `make` returns `make: nothing to be done for all`
       0:00:07  line 8     `Bash` `make`
                  repeated_call low, 3 of 4      `Bash` returned the same result for the same call 3 times in 6s: `make`
       0:00:08  line 9     `Bash` returned `make: nothing to be done for all`
                  repeated_call MEDIUM at 4      `Bash` returned the same result for the same call 4 times in 6s: `make` returns `make: nothing to be done for all`

    Detectors
      repeated_call MEDIUM   1 finding; reached 4 at 0:00:08 (line 9); levels: low 3, medium 4
    policy: policy.toml (given by --policy)
    exit 1
    ");
    assert_snapshot!(seen(&folder, &["s.ndjson", "--detector", "stick"]), @"
    error: the policy has no detector `stick`; its detectors: repeated_call, same_tool, silent_model
    exit 2
    ");
}

#[test]
fn shows_wake_ups_and_the_longest_wait() {
    let folder = Folder::new();
    let lines = session(&[
        ("10:00:00", r#""prompt","text":"go""#),
        ("10:06:30", r#""message","text":"done""#),
        ("10:06:30", r#""turn_end""#),
        ("10:10:00", r#""prompt","text":"and the tests?""#),
    ]);
    folder.write("s.ndjson", lines);
    assert_snapshot!(seen(&folder, &["s.ndjson", "--detector", "silent_model"]), @"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 10m 00s · 4 events · 0 tool calls
      [MEDIUM] silent_model: the model has sent nothing for 5m, the limit is 5m
               resolved 1m 30s after it was found: the wait for the model ended after 6m 30s
               s.ndjson:1

    Timeline
                … 1 event
       0:05:00             time passed
                  silent_model MEDIUM at 100%   the model has sent nothing for 5m, the limit is 5m
       0:06:30  line 2     message `done`
                  silent_model resolved         the wait for the model ended after 6m 30s
                … 2 events

    Detectors
      silent_model MEDIUM   1 finding; reached 100% at 0:05:00; levels: medium 100%
    exit 1
    ");
    let lines = session(&[
        ("10:00:00", r#""prompt","text":"go""#),
        ("10:02:00", r#""tool_call","id":"c1","tool":"Bash","arguments":"make""#),
        ("10:05:00", r#""tool_result","id":"c1","ok":false,"exit_code":2"#),
        ("10:09:00", r#""error","message":"overloaded","retry":1"#),
    ]);
    folder.write("s.ndjson", lines);
    assert_snapshot!(seen(&folder, &["s.ndjson", "--detector", "silent_model"]), @"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 9m 00s · 4 events · 1 tool call (1 failed)

    Timeline
      no measure came near a level in 4 events

    Detectors
      silent_model -        longest wait 4m 00s of 5m 00s, until the end of the recording; levels: medium 100%
    exit 0
    ");
}

#[test]
fn names_exceptions_and_overrides() {
    let folder = Folder::new();
    let lines = session(&[
        ("10:00:00", r#""session_start","cwd":"/srv/app""#),
        ("10:00:00", r#""prompt","text":"go""#),
        ("10:00:01", r#""tool_call","id":"c1","tool":"gdb_step","arguments":{}"#),
        ("10:00:02", r#""tool_result","id":"c1","ok":true,"output":"stepped over main.c:1""#),
        ("10:00:03", r#""tool_call","id":"c2","tool":"gdb_step","arguments":{}"#),
        ("10:00:04", r#""tool_result","id":"c2","ok":true,"output":"stepped over main.c:1""#),
    ]);
    folder.write("s.ndjson", &lines);
    assert_snapshot!(seen(&folder, &["s.ndjson"]), @"
    s.ndjson
      ndjson · in /srv/app
      2026-03-01 10:00 UTC, 4s · 6 events · 2 tool calls

    Timeline
                … 2 events
       0:00:01  line 3     `gdb_step`
                  repeated_call                  excepted: stepping a debugger repeats by design
                … 1 event
       0:00:03  line 5     `gdb_step`
                  same_tool     2 of 4           `gdb_step` was called 2 times in a row in 2s
                … 1 event

    Detectors
      same_tool     -        reached 2 at 0:00:03 (line 5); levels: low 4
                             `gdb_step` was called 2 times in a row in 2s
      silent_model  -        longest wait 1s of 5m 00s, until 0:00:01 (line 3); levels: medium 100%
      repeated_call -        no event counted; levels: low 3, medium 4
                             excepted: stepping a debugger repeats by design, 2 times
    exit 0
    ");
    folder.write("s.ndjson", lines.replace("/srv/app", "/srv/nightly/app"));
    assert_snapshot!(seen(&folder, &["s.ndjson"]), @"
    s.ndjson
      ndjson · in /srv/nightly/app
      2026-03-01 10:00 UTC, 4s · 6 events · 2 tool calls

    Timeline
                … 4 events
       0:00:03  line 5     `gdb_step`
                  same_tool     2 of 4           `gdb_step` was called 2 times in a row in 2s
                … 1 event

    Detectors
      same_tool     -        reached 2 at 0:00:03 (line 5); levels: low 4
                             `gdb_step` was called 2 times in a row in 2s
      silent_model  -        longest wait 1s of 1h 00m, until 0:00:01 (line 3); levels: medium 100%
                             overridden for this session: nightly work is slow on purpose
      repeated_call off      an override of the policy disables it for this session
    exit 0
    ");
}

#[test]
fn escapes_hostile_names_of_sub_agents_and_tools() {
    let folder = Folder::new();
    let mut lines = vec![("10:00:00".to_owned(), r#""prompt","text":"go""#.to_owned())];
    for n in 1..4 {
        let (called_at, returned_at) = (format!("10:00:{n}0"), format!("10:00:{n}1"));
        let of = format!(r#""agent":"a\u001b[2J1","id":"c{n}""#);
        let tool =
            r#""tool":"\u001b]0;owned\u0007\nBash","arguments":{"command":"\u202etxt\u001b[31m"}"#;
        lines.push((called_at, format!(r#""tool_call",{of},{tool}"#)));
        let output = r#""output":"\u001b[2Jit is as it was before\nline 2""#;
        lines.push((
            returned_at,
            format!(r#""tool_result",{of},"ok":false,"exit_code":1,{output}"#),
        ));
    }
    let lines: Vec<_> = lines.iter().map(|(at, event)| (at.as_str(), event.as_str())).collect();
    folder.write("s.ndjson", session(&lines));
    let seen = seen(&folder, &["s.ndjson"]);
    assert!(!seen.chars().any(|c| c != '\n' && watchkeeper_core::author::is_unsafe(c)), "{seen:?}");
    assert_snapshot!(seen, @r"
    s.ndjson
      ndjson
      2026-03-01 10:00 UTC, 31s · 7 events · 3 tool calls (3 failed)
      [LOW]    repeated_call: `\u{1b}]0;owned\u{7}\nBash` returned the same result for the same call 3 times in 20s: `\u{202e}txt\u{1b}[31m` returns `\u{1b}[2Jit is as it was before` (agent a\u{1b}[2J1)
               open at the end, 0s after it was found
               s.ndjson:2
               s.ndjson:7

    Timeline
                … 3 events
       0:00:20  line 4     `\u{1b}]0;owned\u{7}\nBash` `\u{202e}txt\u{1b}[31m` (agent a\u{1b}[2J1)
                  same_tool     2 of 4           `\u{1b}]0;owned\u{7}\nBash` was called 2 times in a row in 10s
       0:00:21  line 5     `\u{1b}]0;owned\u{7}\nBash` failed with exit code 1 `\u{1b}[2Jit is as it was before…` (agent a\u{1b}[2J1)
                  repeated_call 2 of 3           `\u{1b}]0;owned\u{7}\nBash` returned the same result for the same call 2 times in 10s: `\u{202e}txt\u{1b}[31m` returns `\u{1b}[2Jit is as it was before`
       0:00:30  line 6     `\u{1b}]0;owned\u{7}\nBash` `\u{202e}txt\u{1b}[31m` (agent a\u{1b}[2J1)
                  same_tool     3 of 4           `\u{1b}]0;owned\u{7}\nBash` was called 3 times in a row in 20s
       0:00:31  line 7     `\u{1b}]0;owned\u{7}\nBash` failed with exit code 1 `\u{1b}[2Jit is as it was before…` (agent a\u{1b}[2J1)
                  repeated_call LOW at 3         `\u{1b}]0;owned\u{7}\nBash` returned the same result for the same call 3 times in 20s: `\u{202e}txt\u{1b}[31m` returns `\u{1b}[2Jit is as it was before`

    Detectors
      repeated_call LOW      1 finding; reached 3 at 0:00:31 (line 7); levels: low 3, medium 4
      same_tool     -        reached 3 at 0:00:30 (line 6); levels: low 4
                             `\u{1b}]0;owned\u{7}\nBash` was called 3 times in a row in 20s
      silent_model  -        longest wait 31s of 5m 00s, until the end of the recording; levels: medium 100%
    exit 0
    ");
}

#[test]
fn selects_one_of_several_sessions() {
    let folder = Folder::new();
    folder.write("a/one.ndjson", looping("ab1", 3));
    folder.write("a/two.ndjson", looping("ab2", 1) + &looping("cd", 2));
    folder.write("a/none.ndjson", "");
    assert_snapshot!(seen(&folder, &["a"]), @"
    error: `--explain` needs one session, and 3 sessions match:
      2026-03-01 10:00 UTC  ab1  a/one.ndjson
      2026-03-01 10:00 UTC  ab2  a/two.ndjson
      2026-03-01 10:00 UTC  cd  a/two.ndjson
    name its file, or select it with `--session ID`
    exit 2
    ");
    assert_snapshot!(seen(&folder, &["a", "--session", "x"]), @"
    error: no session id starts with `x`
    exit 2
    ");
    assert_snapshot!(seen(&folder, &["a", "--session", "ab"]), @"
    error: `--explain` needs one session, and 2 sessions match:
      2026-03-01 10:00 UTC  ab1  a/one.ndjson
      2026-03-01 10:00 UTC  ab2  a/two.ndjson
    name its file, or select it with `--session ID`
    exit 2
    ");
    // Not the first session of its file.
    for id in ["ab1", "ab2", "cd", "c"] {
        let ran = explain(&folder, &["a", "--session", id, "--format", "json"]);
        let explained: Value = serde_json::from_str(&ran.out).expect("the output is JSON");
        let session = explained["session"]["session"].as_str().expect("the id is text");
        assert!(session.starts_with(id), "{session} for {id}");
    }
    assert_snapshot!(seen(&folder, &["a/two.ndjson"]), @"
    error: `--explain` needs one session, and 2 sessions match:
      2026-03-01 10:00 UTC  ab2  a/two.ndjson
      2026-03-01 10:00 UTC  cd  a/two.ndjson
    name its file, or select it with `--session ID`
    exit 2
    ");
    assert_snapshot!(seen(&folder, &["a/none.ndjson"]), @"
    error: no session found
      a/none.ndjson: is empty
    exit 2
    ");
}

#[test]
fn writes_the_whole_explanation_as_json() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 5));
    let ran = explain(&folder, &["s.ndjson", "--format", "json"]);
    let explained: Value = serde_json::from_str(&ran.out).expect("the output is JSON");
    assert_eq!(ran.status, 1);
    let report = program()
        .current_dir(folder.path())
        .args(["check", "--policy", "policy.toml", "--format", "json", "s.ndjson"])
        .output()
        .expect("the program should start");
    let report: Value = serde_json::from_slice(&report.stdout).expect("the output is JSON");
    assert_eq!(explained["session"], report["sessions"][0]);
    let repeated_call = &explained["detectors"][0];
    assert_eq!(repeated_call["detector"], "repeated_call");
    assert_eq!(repeated_call["unit"], "count");
    assert_eq!(repeated_call["maximum"]["measure"], 5);
    assert_eq!(repeated_call["maximum"]["location"]["line"], 11);
    let lines = explain(&folder, &["s.ndjson", "--format", "ndjson"]).out;
    let lines: Vec<Value> =
        lines.lines().map(|it| serde_json::from_str(it).expect("the output is JSON")).collect();
    assert_eq!(explained["timeline"].as_array(), Some(&lines));
    let last = lines.last().expect("the timeline has steps");
    let step =
        last["steps"].as_array().into_iter().flatten().find(|it| it["detector"] == "repeated_call");
    assert_snapshot!(serde_json::to_string_pretty(step.expect("the step exists")).unwrap(), @r#"
    {
      "detector": "repeated_call",
      "measure": 5,
      "message": "`Bash` returned the same result for the same call 5 times in 8s: `make` returns `make: nothing to be done for all`",
      "next_level": null,
      "outcome": "counted",
      "severity": "medium"
    }
    "#);
    for format in ["sarif", "github"] {
        let ran = explain(&folder, &["s.ndjson", "--format", format]);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains("ndjson"), "{}", ran.err);
    }
}
