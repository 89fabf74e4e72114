//! The content of reports of `check`: counts, selection, order and groups.

use std::{ffi::OsStr, process::Stdio};

use serde_json::Value;

use crate::{
    check::{looping, looping_from},
    program::{Folder, Ran, program},
};

fn check(folder: &Folder, args: &[&str]) -> Ran {
    check_os(folder, args.iter().map(OsStr::new))
}

fn check_os<'a>(folder: &Folder, args: impl Iterator<Item = &'a OsStr>) -> Ran {
    Ran::of(program().current_dir(folder.path()).arg("check").args(args))
}

fn json(folder: &Folder, args: &[&str]) -> Value {
    let args = [args, &["--format", "json"]].concat();
    serde_json::from_str(&check(folder, &args).out).unwrap()
}

/// Returns an NDJSON session with one model call, of `cost_usd` dollars.
fn spending(at: &str, session: &str, model: &str, cost_usd: f64) -> String {
    format!(
        "{{\"at\":\"{at}\",\"session\":\"{session}\",\"event\":\"session_start\",\"cwd\":\"/w/{model}\"}}\n\
         {{\"at\":\"{at}\",\"session\":\"{session}\",\"event\":\"model_call\",\"model\":\"{model}\",\
         \"input_tokens\":100,\"output_tokens\":10,\"cost_usd\":{cost_usd}}}\n\
         {{\"at\":\"{at}\",\"session\":\"{session}\",\"event\":\"turn_end\"}}\n"
    )
}

#[test]
fn fails_if_no_session_is_read() {
    let folder = Folder::new();
    folder.write("a/notes.txt", "no session\n");
    folder.write("b/package.json", "{\"name\":\"x\"}\n");
    // Each format contains the message once, or else standard error does.
    for args in [
        &["a"][..],
        &["a", "--group-by", "day"],
        &["a", "--format", "json"],
        &["a", "--format", "json", "--group-by", "day"],
        &["b", "--format", "sarif"],
        &["b", "--format", "github"],
        &["b", "--format", "ndjson"],
        &["b", "--format", "csv"],
        &["b", "-q"],
    ] {
        let ran = check(&folder, args);
        assert_eq!(ran.status, 2, "{args:?}");
        let is_on_stderr = ["ndjson", "csv", "-q"].iter().any(|it| args.contains(it));
        let counts = [&ran.out, &ran.err].map(|text| text.matches("no session was read").count());
        assert_eq!(counts, [usize::from(!is_on_stderr), usize::from(is_on_stderr)], "{args:?}");
    }
}

#[test]
fn describes_files_without_text() {
    let folder = Folder::new();
    folder.write("empty.jsonl", "");
    folder.write("data.jsonl", [0, 159, 146, 150].repeat(9));
    folder.write("notes.jsonl", "no session\n");
    let out = check(&folder, &["empty.jsonl", "data.jsonl", "notes.jsonl", "-"]).out;
    for reason in ["-\n  is empty", "empty.jsonl\n  is empty", "data.jsonl\n  is a binary file"] {
        assert!(out.contains(reason), "{out}");
    }
    assert!(out.contains("notes.jsonl\n  is not a session of"), "{out}");
}

#[test]
fn a_missing_path_does_not_affect_the_others() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 9));
    let ran = check(&folder, &["s.ndjson", "gone.ndjson"]);
    assert!(ran.out.contains("[HIGH]   repeated_call"), "{}", ran.out);
    assert!(ran.out.contains("gone.ndjson\n  does not exist\n"), "{}", ran.out);
    assert_eq!(ran.status, 2);
    let ran = check(&folder, &["gone.ndjson", "s.ndjson", "--format", "ndjson"]);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    assert_eq!(ran.err, "error: `gone.ndjson`: does not exist\n");
    let ran = check(&folder, &["gone.ndjson", "lost.ndjson"]);
    assert_eq!((ran.out.as_str(), ran.status), ("", 2));
    assert_eq!(ran.err, "error: `gone.ndjson` does not exist\n");
}

#[test]
fn a_closed_pipe_does_not_change_the_exit_status() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", looping("s1", 9));
    for reads in [true, false] {
        let mut child = program().arg("check").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        if reads {
            std::io::copy(&mut out, &mut std::io::sink()).unwrap();
        }
        drop(out);
        assert_eq!(child.wait().unwrap().code(), Some(1), "the pipe is read: {reads}");
    }
}

#[cfg(unix)]
#[test]
fn reads_a_named_pipe_once() {
    let folder = Folder::new();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // No source finds a session in the text.
    let line = "{\"at\":\"2026-03-01T10:00:00Z\",\"session\":\"s1\",\"event\":\"unheard_of\"}\n";
    let writer = std::thread::spawn(move || std::fs::write(pipe, line));
    let ran = check(&folder, &["pipe"]);
    writer.join().unwrap().unwrap();
    assert_eq!(ran.status, 2, "{}", ran.out);
}

#[test]
fn an_explanation_has_the_findings_of_the_report() {
    let folder = Folder::new();
    let mut text = String::new();
    let mut line = |event: &str| {
        let secs = text.lines().count();
        let at = format!("2026-03-01T10:{:02}:{:02}Z", secs / 60, secs % 60);
        text.extend([format!("{{\"at\":\"{at}\",\"session\":\"s1\",\"event\":{event}}}\n")]);
    };
    line("\"prompt\",\"text\":\"go\"");
    // The same error, until a person sends a prompt, and then once more.
    for n in 0..10 {
        if n == 8 {
            line("\"prompt\",\"text\":\"try the other file\"");
        }
        let error = "error: type mismatch";
        line(&format!(
            "\"tool_call\",\"id\":\"c{n}\",\"tool\":\"Bash\",\"arguments\":{{\"command\":\"make {n}\"}}"
        ));
        line(&format!("\"tool_result\",\"id\":\"c{n}\",\"ok\":false,\"output\":\"{error}\""));
    }
    folder.write("s.ndjson", text);
    let report = json(&folder, &["s.ndjson"]);
    let explanation = json(&folder, &["s.ndjson", "--explain"]);
    assert_eq!(report["sessions"][0]["findings"], explanation["session"]["findings"]);
    assert!(report.to_string().contains("resolved"), "{report}");
}

#[test]
fn reports_dropped_sub_agents() {
    let folder = Folder::new();
    let line = |n: u64| {
        format!(
            "{{\"at\":\"2026-03-01T10:00:00Z\",\"session\":\"s1\",\"agent\":\"a{n}\",\
             \"event\":\"prompt\",\"text\":\"go\"}}\n"
        )
    };
    folder.write("s.ndjson", (0..300).map(line).collect::<String>());
    let message = "more than 256 sub-agents of one session at once: 44 forgotten so far";
    for format in ["text", "json", "sarif", "github"] {
        let ran = check(&folder, &["s.ndjson", "--format", format]);
        assert!(ran.out.contains(message), "{format}: {}", ran.out);
        assert_eq!((ran.err.as_str(), ran.status), ("", 0), "{format}");
    }
    assert!(check(&folder, &["s.ndjson", "--format", "csv"]).err.contains(message));
    let report = json(&folder, &["s.ndjson"]);
    assert_eq!(report["about_monitor"][0]["detector"], "watchkeeper-agents");
}

/// Returns a line of Claude Code with a prompt.
fn prompt(session: &str, uuid: &str, minute: u32) -> String {
    format!(
        "{{\"type\":\"user\",\"sessionId\":\"{session}\",\"uuid\":\"{uuid}\",\"version\":\"2.1.330\",\
         \"cwd\":\"/w\",\"timestamp\":\"2026-03-01T10:{minute:02}:00Z\",\
         \"message\":{{\"role\":\"user\",\"content\":\"{uuid}\"}}}}\n"
    )
}

#[test]
fn an_original_session_keeps_the_lines_that_a_resumed_one_repeats() {
    const ORIGINAL: &str = "11111111-1111-4111-8111-111111111111";
    const RESUMED: &str = "22222222-2222-4222-8222-222222222222";
    // A copy keeps the ids of the original or replaces them.
    for copied_id in [ORIGINAL, RESUMED] {
        for (original_folder, resumed_folder) in [("a", "z"), ("z", "a")] {
            let folder = Folder::new();
            let shared = |id| (0..4).map(|n| prompt(id, &format!("u{n}"), n)).collect::<String>();
            let mut original = shared(ORIGINAL);
            if copied_id == ORIGINAL {
                // The original has continued, too.
                original.extend((20..30).map(|n| prompt(ORIGINAL, &format!("u{n}"), n)));
            }
            let own: String = (5..8).map(|n| prompt(RESUMED, &format!("u{n}"), n)).collect();
            folder.write(&format!("{original_folder}/{ORIGINAL}.jsonl"), original);
            folder.write(&format!("{resumed_folder}/{RESUMED}.jsonl"), shared(copied_id) + &own);
            folder.write("m/copy.jsonl", shared(ORIGINAL));
            // Sessions that share a budget are read together.
            folder.write(
                "p.toml",
                "version = 1\n[detectors.spent]\nkind = \"token-burn\"\nmax_cost_usd = 9\nper = \"cwd\"\n",
            );
            for policy in [&[][..], &["--policy", "p.toml"]] {
                let report = json(&folder, &[&["a", "z"], policy].concat());
                let sessions = report["sessions"].as_array().unwrap();
                let starts: Vec<(&str, &str)> = sessions
                    .iter()
                    .map(|it| (it["session"].as_str().unwrap(), it["started_at"].as_str().unwrap()))
                    .collect();
                let expected =
                    [(ORIGINAL, "2026-03-01T10:00:00Z"), (RESUMED, "2026-03-01T10:05:00Z")];
                assert_eq!(starts, expected);
            }
            // A file that repeats all its lines is no session.
            let explained = check(&folder, &["z", "m", "a", "--explain"]);
            assert!(explained.err.contains("2 sessions match"), "{}", explained.err);
        }
    }
}

#[test]
fn a_shared_budget_counts_sessions_in_order_of_time() {
    let folder = Folder::new();
    for (session, second) in [("A", 0), ("B", 1)] {
        let mut text = format!(
            "{{\"at\":\"2026-03-01T10:00:0{second}Z\",\"session\":\"{session}\",\"event\":\"session_start\",\
             \"labels\":{{\"team\":\"payments\"}}}}\n"
        );
        for minute in 1..5 {
            text.extend([format!(
                "{{\"at\":\"2026-03-01T10:0{minute}:0{second}Z\",\"session\":\"{session}\",\
                 \"event\":\"model_call\",\"input_tokens\":10,\"output_tokens\":10,\"cost_usd\":0.09}}\n"
            )]);
        }
        folder.write(&format!("{session}.ndjson"), text);
    }
    folder.write(
        "p.toml",
        "version = 1\n[detectors.team_cost]\nkind = \"token-burn\"\nper = \"label:team\"\n\
         max_cost_usd = 0.30\n",
    );
    let args = ["A.ndjson", "B.ndjson", "--policy", "p.toml"];
    let report = json(&folder, &args);
    let [b, a] = &report["sessions"].as_array().unwrap()[..] else { panic!("{report}") };
    // The second session brought the sum above the lowest level.
    assert_eq!((b["session"].as_str(), a["session"].as_str()), (Some("B"), Some("A")));
    assert_eq!(a["findings"].as_array().unwrap().len(), 0);
    let finding = &b["findings"][0];
    assert_eq!(finding["message"], "$0.72 of $0.30 used, 240% (team `payments`)");
    assert_eq!(finding["at"], "2026-03-01T10:01:01Z");
    assert_eq!(finding["severity"], "high");
    let explanation = json(&folder, &[&args[..], &["--explain", "--session", "B"]].concat());
    assert_eq!(explanation["session"]["findings"], b["findings"]);
    let text = check(&folder, &[&args[..], &["--explain", "--session", "A"]].concat()).out;
    assert!(text.contains("MEDIUM at 90%"), "{text}");
}

#[test]
fn counts_files_of_agents_that_are_not_supported() {
    let folder = Folder::new();
    folder.write("a/.augment/sessions/s.json", "{\"chatHistory\":[]}\n");
    folder.write("a/.augment/sessions/t.json", "{\"chatHistory\":[]}\n");
    folder.write("a/.cursor/chats/c/store.db", "SQLite format 3");
    folder.write("a/crush.db", "SQLite format 3");
    folder.write("a/package.json", "{\"name\":\"x\"}\n");
    let ran = check(&folder, &["a"]);
    let line =
        "4 files of 3 agents that are not supported: augment 2, crush 1, cursor (database) 1\n";
    assert_eq!(ran.status, 2);
    assert!(ran.out.contains(line), "{}", ran.out);
    assert!(ran.out.contains("1 other file contains no session\n"), "{}", ran.out);
    // With a session, the exit status depends on its findings.
    folder.write("a/s.ndjson", looping("s1", 1));
    let ran = check(&folder, &["a", "--format", "ndjson"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.err.contains(&format!("warning: {line}")), "{}", ran.err);
    let report = json(&folder, &["a"]);
    assert_eq!(report["unsupported_files"]["augment"], 2);
    assert_eq!(report["other_files"], 1);
    // A named file is an error.
    let ran = check(&folder, &["a/s.ndjson", "a/.augment/sessions/s.json", "--format", "github"]);
    assert_eq!(ran.status, 2);
    let line = "::error title=watchkeeper,file=a/.augment/sessions/s.json::is a session of augment, \
                which is not supported";
    assert!(ran.out.contains(line), "{}", ran.out);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hostile_file_name_is_safe_in_every_format() {
    use std::os::unix::ffi::OsStrExt as _;

    let folder = Folder::new();
    let name = OsStr::from_bytes(b"a\x1b]0;x\x07\xff.jsonl");
    std::fs::write(folder.path().join(name), looping("s1", 5)).unwrap();
    for format in ["text", "json", "ndjson", "sarif", "github", "csv"] {
        let args = [name, OsStr::new("--format"), OsStr::new(format)];
        let ran = check_os(&folder, args.into_iter());
        assert_eq!(ran.status, 1, "{format}: {}", ran.err);
        let is_safe = |c: char| c == '\n' || !c.is_control();
        assert!(ran.out.chars().all(is_safe), "{format}: {:?}", ran.out);
        let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        match format {
            "json" | "sarif" => assert!(is_json(&ran.out), "{}", ran.out),
            "ndjson" => assert!(ran.out.lines().all(is_json), "{}", ran.out),
            _ => {}
        }
    }
}

#[test]
fn a_finding_describes_the_whole_episode() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 22));
    let report = json(&folder, &["s.ndjson"]);
    let finding = &report["sessions"][0]["findings"][0];
    assert_eq!(finding["count"], 22);
    assert!(finding["message"].as_str().unwrap().contains("22 times in 42s"), "{finding}");
    assert_eq!(finding["ended_at"], "2026-03-01T10:00:44Z");
    assert_eq!(finding["evidence"][1]["line"], 45);
    let out = check(&folder, &["s.ndjson"]).out;
    assert!(out.contains("open at the end, 38s after it was found\n"), "{out}");
}

#[test]
fn sorts_by_severity_and_counts_healthy_sessions() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 3));
    folder.write("b.ndjson", looping("s2", 9));
    folder.write("c.ndjson", looping("s3", 5));
    folder.write("d.ndjson", spending("2026-03-01T10:00:00Z", "s4", "m", 1.25));
    let report = json(&folder, &["."]);
    let sessions = report["sessions"].as_array().unwrap();
    let ids: Vec<&str> = sessions.iter().map(|it| it["session"].as_str().unwrap()).collect();
    assert_eq!(ids, ["s2", "s3", "s1", "s4"]);
    let out = check(&folder, &["."]).out;
    assert!(out.contains("1 session without findings: $1.25; `-v` lists them\n"), "{out}");
}

#[test]
fn selects_by_time_and_severity() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 5));
    let later = "2026-03-05T10:00:00Z".parse().unwrap();
    folder.write("b.ndjson", looping_from(later, "s2", 9));
    let ids = |args: &[&str]| {
        let report = json(&folder, &[&["."], args].concat());
        let sessions = report["sessions"].as_array().unwrap();
        sessions.iter().map(|it| it["session"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--since", "2026-03-02"]), ["s2"]);
    assert_eq!(ids(&["--until", "2026-03-01"]), ["s1"]);
    assert_eq!(ids(&["--since", "2026-03-01T10:00Z", "--until", "2026-03-05"]), ["s2", "s1"]);
    assert_eq!(ids(&["--since", "1h"]), [""; 0]);
    assert_eq!(check(&folder, &[".", "--since", "soon"]).status, 2);

    // Sessions outside the period count as read.
    let ran = check(&folder, &[".", "--since", "1h"]);
    assert!(ran.out.contains("2 sessions outside the period\n"), "{}", ran.out);
    assert_eq!(ran.status, 0);

    let ran = check(&folder, &["a.ndjson", "--min-severity", "high"]);
    assert!(ran.out.contains("1 finding below `--min-severity`\n"), "{}", ran.out);
    assert_eq!(ran.status, 1, "the exit status depends on --fail-on alone");
    let many = [".", "--min-severity", "high"];
    folder.write("c.ndjson", spending("2026-03-01T10:00:00Z", "s3", "m", 1.0));
    folder.write("d.ndjson", spending("2026-03-01T10:00:00Z", "s4", "m", 1.0));
    let out = check(&folder, &many).out;
    for line in [
        "2 sessions without findings: $2.00; `-v` lists them\n",
        "1 session with findings below `--min-severity` only: $0.00; `-v` lists them\n",
    ] {
        assert!(out.contains(line), "{out}");
    }

    let ran = check(&folder, &[".", "--since", "2026-03-02", "--until", "2026-03-01"]);
    assert_eq!((ran.out.as_str(), ran.status), ("", 2));
    assert!(ran.err.starts_with("error: `--since` is not before `--until`"), "{}", ran.err);
}

#[test]
fn findings_outside_the_period_do_not_change_the_exit_status() {
    let folder = Folder::new();
    let later = spending("2026-03-05T10:00:00Z", "s1", "m", 1.0);
    let line = |event: &str| {
        format!("{{\"at\":\"2026-03-01T10:01:00Z\",\"session\":\"s1\",\"event\":{event}}}\n")
    };
    let end = line("\"prompt\",\"text\":\"stop\"") + &line("\"turn_end\"");
    folder.write("a.ndjson", looping("s1", 9) + &end + &later);
    let ran = check(&folder, &["a.ndjson", "--since", "2026-03-04"]);
    assert!(ran.out.contains("1 finding outside the period\nno findings\n"), "{}", ran.out);
    let note = "the numbers are of whole sessions, also outside the period\n";
    assert!(ran.out.contains(note), "{}", ran.out);
    assert_eq!(ran.status, 0);
    assert_eq!(check(&folder, &["a.ndjson"]).status, 1);
}

#[test]
fn groups_contain_the_usage_and_findings_of_the_period() {
    let folder = Folder::new();
    let text = spending("2026-03-01T10:00:00Z", "s1", "m1", 0.5)
        + &spending("2026-03-02T10:00:00Z", "s1", "m1", 0.25)
        + &spending("2026-03-03T10:00:00Z", "s1", "m2", 2.0);
    folder.write("a.ndjson", text);
    // A loop from one day to the next.
    let start = "2026-03-01T23:59:50Z".parse().unwrap();
    folder.write("b.ndjson", looping_from(start, "s2", 9));
    for by in ["day", "model", "project", "session"] {
        let args = [".", "--since", "2026-03-02", "--until", "2026-03-02", "--group-by", by];
        let table = json(&folder, &args);
        let rows = table["groups"].as_array().unwrap();
        let sum: f64 = rows.iter().map(|row| row["cost_usd"].as_f64().unwrap()).sum();
        assert!((sum - 0.25).abs() < 1e-9, "{by}: {table}");
        assert_eq!(table["total"]["cost_usd"], 0.25, "{by}");
        assert_eq!(table["total"]["findings"]["high"], 1, "{by}");
        assert_eq!(table["total"]["sessions"], 2, "{by}");
        if by == "day" {
            assert_eq!((rows.len(), rows[0]["day"].as_str()), (1, Some("2026-03-02")), "{table}");
        }
    }
}

#[test]
fn rows_of_sessions_have_their_properties() {
    let folder = Folder::new();
    folder.write("a.ndjson", spending("2026-03-01T10:00:00Z", "s1", "m1", 0.5));
    let csv = check(&folder, &["a.ndjson", "--format", "csv"]).out;
    assert_eq!(csv, check(&folder, &["a.ndjson", "--format", "csv", "--group-by", "session"]).out);
    let start = "s1,/w/m1,m1,ndjson,2026-03-01T10:00:00Z,2026-03-01T10:00:00Z,1,100,";
    let titles = "session,project,model,source,started_at,ended_at,model_calls,input_tokens,";
    assert!(csv.starts_with(titles) && csv.lines().nth(1).unwrap().starts_with(start), "{csv}");
    let table = json(&folder, &["a.ndjson", "--group-by", "session"]);
    let row = &table["groups"][0];
    assert_eq!((&row["project"], &row["sessions"]), (&"/w/m1".into(), &Value::Null));
    let text = check(&folder, &["a.ndjson", "--group-by", "session"]).out;
    assert!(text.lines().nth(1).unwrap().starts_with("s1       2026-03-01 "), "{text}");
}

#[test]
fn names_the_sub_agents_that_are_not_read() {
    let folder = Folder::new();
    let session = "11111111-1111-4111-8111-111111111111";
    folder.write(&format!("p/{session}.jsonl"), prompt(session, "u1", 0));
    folder.write(&format!("p/{session}/subagents/agent-a.jsonl"), prompt(session, "u2", 1));
    let (file, sub_agents) = (format!("p/{session}.jsonl"), format!("p/{session}/subagents"));
    let ran = check(&folder, &[&file]);
    let line = format!("{sub_agents}: sub-agents of the session are not read");
    assert!(ran.out.contains(&line), "{}", ran.out);
    for args in [&["p"][..], &[&file, &sub_agents]] {
        let ran = check(&folder, args);
        assert!(!ran.out.contains("not read"), "{}", ran.out);
    }
    let report = json(&folder, &[&file]);
    assert_eq!(report["unread_sub_agents"][0], sub_agents);
}

#[test]
fn groups_usage_and_findings() {
    let folder = Folder::new();
    folder.write("a.ndjson", spending("2026-03-01T23:59:59Z", "s1", "m1", 1.0));
    let both = spending("2026-03-01T10:00:00Z", "s2", "m1", 0.5)
        + &spending("2026-03-02T10:00:00Z", "s2", "m2", 0.25);
    folder.write("b.ndjson", both);
    folder.write("c.ndjson", looping("s3", 9));
    let groups = |by: &str| {
        let report = json(&folder, &[".", "--group-by", by]);
        let rows = report["groups"].as_array().unwrap().clone();
        let row = |row: Value| {
            let name = row[by].as_str().unwrap_or("unknown").to_owned();
            let sessions = row["sessions"].as_u64().unwrap();
            let cost = row["cost_usd"].as_f64().unwrap();
            (name, sessions, cost, row["findings"]["high"].as_u64().unwrap())
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let row = |name: &str, sessions, cost, high| (name.to_owned(), sessions, cost, high);
    assert_eq!(groups("day"), [row("2026-03-01", 3, 1.5, 1), row("2026-03-02", 1, 0.25, 0)]);
    assert_eq!(
        groups("model"),
        [row("m1", 2, 1.5, 0), row("m2", 1, 0.25, 0), row("unknown", 1, 0.0, 1)]
    );
    assert_eq!(groups("project"), [row("/w/m1", 2, 1.75, 0), row("unknown", 1, 0.0, 1)]);
    let csv = check(&folder, &[".", "--group-by", "day", "--format", "csv"]).out;
    assert_eq!(csv.lines().nth(1), Some("2026-03-01,3,2,200,0,0,20,1.500000,0,1,0,0"), "{csv}");
    let text = check(&folder, &[".", "--group-by", "day"]).out;
    assert!(text.lines().nth(3).unwrap().starts_with("total "), "{text}");
    assert_eq!(check(&folder, &[".", "--group-by", "day", "--format", "sarif"]).status, 2);
}

#[test]
fn prints_no_report_if_quiet() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 5));
    for format in ["text", "json", "github", "csv"] {
        let Ran { out, err, status } = check(&folder, &["-q", "s.ndjson", "--format", format]);
        assert_eq!((out.as_str(), err.as_str(), status), ("", "", 1), "{format}");
    }
    let Ran { out, err, status } = check(&folder, &["-q", "s.ndjson", "."]);
    assert_eq!((out.as_str(), err.as_str(), status), ("", "", 1));
}

#[test]
fn sarif_rules_contain_the_manual() {
    let folder = Folder::new();
    folder.write("s.ndjson", looping("s1", 5));
    folder.write("broken.ndjson", "nothing\n");
    let args = ["s.ndjson", "broken.ndjson", "--format", "sarif"];
    let sarif: Value = serde_json::from_str(&check(&folder, &args).out).unwrap();
    let run = &sarif["runs"][0];
    let driver = &run["tool"]["driver"];
    assert!(driver["informationUri"].as_str().unwrap().starts_with("https://"), "{driver}");
    let rule = &driver["rules"][0];
    let summary = rule["shortDescription"]["text"].as_str().unwrap();
    assert!(summary.ends_with('.'), "{summary}");
    assert!(rule["help"]["markdown"].as_str().unwrap().starts_with("# repeat-tool-call\n"));
    let uri = rule["helpUri"].as_str().unwrap();
    assert!(uri.ends_with("/detectors/repeat-tool-call/README.md"), "{uri}");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let notification = &run["invocations"][0]["toolExecutionNotifications"][0];
    assert_eq!(notification["level"], "error", "{run}");
}

#[test]
fn explains_names_of_the_policy_and_suggests_similar_ones() {
    let run = |args: &[&str]| crate::program::run(&[&["explain"], args].concat());
    let by_kind = run(&["repeat-tool-call"]).out;
    assert_eq!(run(&["repeated_call"]).out, by_kind);
    let ran = run(&["repeated_cal"]);
    assert_eq!(ran.status, 2);
    let hint = "unknown name `repeated_cal`; did you mean `repeated_call`?";
    assert!(ran.err.contains(hint), "{}", ran.err);
    // With another policy, its names count.
    let folder = Folder::new();
    let policy =
        folder.write("p.toml", "version = 1\n[detectors.stuck]\nkind = \"repeat-tool-call\"\n");
    let policy = policy.to_str().unwrap();
    assert_eq!(run(&["--policy", policy, "stuck"]).out, by_kind);
    assert!(run(&["--policy", policy, "stuk"]).err.contains("did you mean `stuck`?"));
}

#[test]
fn a_session_without_times_says_so() {
    let folder = Folder::new();
    let step = "{\"action\":\"open a.py\",\"observation\":\"The file a.py was not found here\"}";
    let steps = [step; 9].join(",");
    folder.write("run/task.traj", format!("{{\"trajectory\":[{steps}]}}"));
    let Ran { out, .. } = check(&folder, &["run"]);
    assert!(out.contains("  times not known · "), "{out}");
    assert!(!out.contains("1970") && !out.contains(" 8s"), "{out}");
    let report = json(&folder, &["run"]);
    assert_eq!(report["sessions"][0]["started_at"], Value::Null);
    let finding = &report["sessions"][0]["findings"][0];
    assert_eq!((&finding["at"], &finding["ended_at"]), (&Value::Null, &Value::Null));
    for format in ["ndjson", "sarif", "github"] {
        let Ran { out, .. } = check(&folder, &["--format", format, "run"]);
        assert!(out.contains("runaway") || format != "ndjson", "{out}");
        assert!(!out.contains("1696-") && !out.contains("1970-"), "{out}");
    }
    let Ran { out, .. } = check(&folder, &["--format", "json", "--explain", "run"]);
    assert!(out.contains("\"at\": null") && !out.contains("1696-"), "{out}");
}
