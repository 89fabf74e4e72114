//! The content of reports of `check`: counts, selection, order and groups.

use std::ffi::OsStr;

use serde_json::Value;

use crate::{
    check::{looping, looping_from},
    program::{Folder, Ran, program},
};

fn check(folder: &Folder, args: &[&str]) -> Ran {
    check_os(folder, args.iter().map(OsStr::new))
}

fn check_os<'a>(folder: &Folder, args: impl Iterator<Item = &'a OsStr>) -> Ran {
    let output = program().current_dir(folder.path()).arg("check").args(args).output().unwrap();
    Ran {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code().unwrap(),
    }
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
    for (path, format) in [("a", "text"), ("a", "json"), ("b", "sarif"), ("b", "github")] {
        let ran = check(&folder, &[path, "--format", format]);
        assert_eq!(ran.status, 2, "{path} {format}");
        assert!(ran.err.contains("error: no session was read"), "{}", ran.err);
    }
}

#[test]
fn counts_files_of_agents_that_are_not_supported() {
    let folder = Folder::new();
    let gemini = "{\"sessionId\":\"a\",\"projectHash\":\"b\",\"messages\":[]}";
    folder.write("a/one.json", gemini);
    folder.write("a/two.json", gemini);
    folder
        .write("a/pi.jsonl", "{\"type\":\"session\",\"version\":3,\"id\":\"a\",\"cwd\":\"/a\"}\n");
    folder.write("a/.cursor/chats/c/store.db", "SQLite format 3");
    folder.write("a/package.json", "{\"name\":\"x\"}\n");
    let ran = check(&folder, &["a"]);
    let line = "4 files of 3 agents that are not supported: gemini-cli 2, cursor 1, pi 1\n";
    assert_eq!(ran.status, 2);
    assert!(ran.out.contains(line), "{}", ran.out);
    assert!(ran.out.contains("1 other file contains no session\n"), "{}", ran.out);
    // With a session, the exit status depends on its findings.
    folder.write("a/s.ndjson", looping("s1", 1));
    let ran = check(&folder, &["a", "--format", "ndjson"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.err.contains(&format!("warning: {line}")), "{}", ran.err);
    let report = json(&folder, &["a"]);
    assert_eq!(report["unsupported_files"]["gemini-cli"], 2);
    assert_eq!(report["other_files"], 1);
    // A named file is an error.
    let ran = check(&folder, &["a/s.ndjson", "a/pi.jsonl", "--format", "github"]);
    assert_eq!(ran.status, 2);
    let line =
        "::error title=watchkeeper,file=a/pi.jsonl::is a session of pi, which is not supported";
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
    assert!(
        ran.out.contains("1 finding outside the period or below `--min-severity`"),
        "{}",
        ran.out
    );
    assert_eq!(ran.status, 1, "the exit status depends on --fail-on alone");
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
