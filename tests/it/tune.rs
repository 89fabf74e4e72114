//! `tune`: levels that are proposed from recorded sessions.

use serde_json::Value;
use watchkeeper_core::{SignedDuration, Timestamp};

use crate::{
    check::{looping, looping_from},
    generated::is_current,
    program::{Folder, Ran, program},
    readme::show,
    tidy::root,
};

const LABELS: &str = "file\tverdict\tkind\tfrom_step\tto_step\ttell_step\twhy\n";

fn run(folder: &Folder, args: &[&str]) -> Ran {
    Ran::of(program().current_dir(folder.path()).args(args))
}

fn tune(folder: &Folder, args: &[&str]) -> Ran {
    run(folder, &[&["tune"], args].concat())
}

fn tune_json(folder: &Folder, args: &[&str]) -> Value {
    let ran = tune(folder, &[&["--format", "json"], args].concat());
    assert_eq!(ran.status, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).expect("the output is JSON")
}

/// Returns a folder with the same call 3, 4, 5, 6 and 12 times, on two days.
fn loops() -> Folder {
    let folder = Folder::new();
    let start: Timestamp = "2026-03-01T10:00:00Z".parse().expect("it is a time");
    for (day, n_calls) in [(0, 3), (0, 4), (0, 5), (1, 6), (1, 12)] {
        let start = start + SignedDuration::from_hours(24 * day);
        let session = format!("s{n_calls}");
        let text = looping_from(start, &session, n_calls);
        folder.write(&format!("loops/{session}.ndjson"), text);
    }
    folder
}

fn detector<'a>(report: &'a Value, id: &str) -> &'a Value {
    let detectors = report["detectors"].as_array().expect("there are detectors");
    detectors.iter().find(|it| it["detector"] == id).expect("the detector is in the policy")
}

/// Returns the number of findings of `medium` or above, without budgets.
fn n_findings(folder: &Folder, args: &[&str]) -> usize {
    let ran = run(folder, &[args, &["--format", "json"]].concat());
    let report: Value = serde_json::from_str(&ran.out).expect("the output is JSON");
    let sessions = report["sessions"].as_array().expect("there are sessions");
    let findings = sessions.iter().flat_map(|it| it["findings"].as_array().expect("a list"));
    findings.filter(|it| it["severity"] != "low" && it["class"] != "budget").count()
}

#[test]
fn the_page_about_levels_is_current() {
    let page = root().join("docs/tuning.md");
    let mut page = std::fs::read_to_string(page).expect("the page exists");
    show(&mut page, &loops(), "watchkeeper tune loops");
    is_current("docs/tuning.md", &page);
}

#[test]
fn counts_the_episodes_and_the_findings_of_each_level() {
    let folder = loops();
    let report = tune_json(&folder, &["loops"]);
    assert_eq!((&report["sessions"], &report["days"]), (&Value::from(5), &Value::from(2)));
    let calls = detector(&report, "repeated_call");
    let counts: Vec<_> = calls["counts"].as_array().expect("a list").iter().collect();
    let numbers = |key: &str| counts.iter().map(|it| it[key].as_u64()).collect::<Vec<_>>();
    assert_eq!(numbers("at"), [3, 4, 5, 6, 7, 8, 9, 10, 12, 15].map(Some));
    assert_eq!(numbers("episodes"), [5, 4, 3, 2, 1, 1, 1, 1, 1, 0].map(Some));
    // A level of `low` stays below the level of `medium`.
    assert_eq!(numbers("findings")[0], None);
    assert_eq!(numbers("findings")[1..], numbers("episodes")[1..]);
    assert_eq!((&calls["findings"], calls["is_tunable"].as_bool()), (&Value::from(4), Some(true)));
    assert_eq!(report["findings"], n_findings(&folder, &["check", "loops"]));
    let budget = detector(&report, "fast_spending");
    assert_eq!(budget["is_tunable"].as_bool(), Some(false));
}

#[test]
fn lowers_levels_only_for_a_wanted_number() {
    let folder = Folder::new();
    for n_calls in [4, 5, 6] {
        folder.write(&format!("s{n_calls}.ndjson"), looping(&format!("s{n_calls}"), n_calls));
    }
    let policy = "extends = [\"builtin:default\"]\nversion = 1\n[detectors.repeated_call]\n\
                  levels = [{ at = 3, severity = \"low\" }, { at = 6, severity = \"medium\" }]\n";
    folder.write("policy.toml", policy);
    let args = ["--policy", "policy.toml", "s4.ndjson", "s5.ndjson", "s6.ndjson"];
    let report = tune_json(&folder, &args);
    assert_eq!(detector(&report, "repeated_call")["proposed_levels"], Value::Null);
    let report = tune_json(&folder, &[&args[..], &["--per-day", "2"]].concat());
    let proposed = &detector(&report, "repeated_call")["proposed_levels"];
    assert_eq!((&proposed[0]["at"], &proposed[1]["at"]), (&Value::from(3), &Value::from(5)));
    assert_eq!((&report["findings"], &report["proposed_findings"]), (&1.into(), &2.into()));
}

#[test]
fn a_wanted_number_does_not_switch_a_detector_off() {
    let folder = Folder::new();
    let start: Timestamp = "2026-03-01T10:00:00Z".parse().expect("it is a time");
    folder.write("s30.ndjson", looping_from(start, "s30", 30));
    folder.write("s5.ndjson", looping_from(start, "s5", 5));
    let policy = "version = 1\n[detectors.calls]\nkind = \"repeat-tool-call\"\n\
                  levels = [{ at = 4, severity = \"medium\" }]\n";
    folder.write("policy.toml", policy);
    let args = ["--policy", "policy.toml", "s30.ndjson", "s5.ndjson", "--per-day", "0.05"];
    let ran = tune(&folder, &args);
    for text in [
        "proposed: medium 6\n",
        "\nproposed levels: 1 of medium or above, 1.0 a day\n",
        "\nwanted:          0.05 a day; not reached: no level of medium rises above 5 times the \
         present one, which leaves 1 finding\n",
        "\na number of findings does not show which findings are true: judge the examples, or use \
         `--labels`\n",
    ] {
        assert!(ran.out.contains(text), "{text}:\n{}", ran.out);
    }
}

#[test]
fn the_written_policy_is_valid_and_reports_the_promised_findings() {
    let folder = loops();
    let args = ["loops", "--per-day", "0.5", "--write", "tuned.toml"];
    let report = tune_json(&folder, &args);
    let ran = run(&folder, &["validate", "tuned.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let promised = report["proposed_findings"].as_u64();
    assert_eq!(promised, Some(1));
    let found = n_findings(&folder, &["check", "--policy", "tuned.toml", "loops"]);
    assert_eq!(promised, Some(found as u64));
    // A second proposal starts from the first.
    let again = tune_json(&folder, &["--policy", "tuned.toml", "loops", "--per-day", "0.5"]);
    assert_eq!(again["findings"], report["proposed_findings"]);
    assert!(again["policy"].as_str().is_some_and(|policy| policy.contains("tuned.toml\"]")));
}

#[test]
fn replaces_no_file_without_force() {
    let folder = loops();
    folder.write("old.toml", "kept");
    let ran = tune(&folder, &["loops", "--write", "old.toml"]);
    assert_eq!(ran.status, 2);
    assert_eq!(ran.err, "error: `old.toml` exists already; use --force to replace it\n");
    let text = || std::fs::read_to_string(folder.path().join("old.toml")).expect("it exists");
    assert_eq!(text(), "kept");
    let ran = tune(&folder, &["loops", "--write", "old.toml", "--force"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, "wrote old.toml\n"));
    assert!(text().contains("extends = [\"builtin:default\"]"), "{}", text());
    let args = ["--policy", "old.toml", "loops", "--write", "old.toml", "--force"];
    let ran = tune(&folder, &args);
    assert_eq!(ran.status, 2);
    assert!(ran.err.starts_with("error: the proposed policy extends `old.toml`"), "{}", ran.err);
}

#[test]
fn writes_no_file_without_a_proposal_or_a_folder() {
    let folder = loops();
    let ran = tune(&folder, &["loops", "--per-day", "2", "--write", "new.toml"]);
    assert_eq!((ran.status, &*ran.err), (0, "no levels to propose; did not write new.toml\n"));
    assert!(!folder.path().join("new.toml").exists());
    let ran = tune(&folder, &["loops", "--write", "lost/new.toml"]);
    let expected = "error: cannot write `lost/new.toml`: the folder `lost` does not exist\n";
    assert_eq!((ran.status, &*ran.err), (2, expected));
}

#[test]
fn recall_of_no_due_session_is_a_dash() {
    let folder = loops();
    folder.write("labels.tsv", format!("{LABELS}s3.ndjson\tquiet\n"));
    let ran = tune(&folder, &["loops", "--labels", "labels.tsv"]);
    let expected = "recall – (0 of 0), precision – (0 false alarms)";
    assert!(ran.out.contains(expected), "{}", ran.out);
}

#[test]
fn timers_are_measured_between_their_levels() {
    let folder = Folder::new();
    let line = |at: &str, event: &str| {
        format!("{{\"at\":\"2026-03-01T{at}Z\",\"session\":\"s\",\"event\":{event}}}\n")
    };
    let text = line("10:00:00", "\"prompt\",\"text\":\"go\"")
        + &line("10:17:00", "\"message\",\"text\":\"done\"")
        + &line("10:17:01", "\"turn_end\"");
    folder.write("s.ndjson", text);
    // 17 minutes are 242% of 7 minutes.
    let report = tune_json(&folder, &["s.ndjson"]);
    let model = detector(&report, "silent_model");
    let reached = model["counts"].as_array().expect("a list").iter();
    let reached = reached.filter(|it| it["episodes"] == 1).filter_map(|it| it["at"].as_u64());
    assert_eq!(reached.collect::<Vec<_>>(), [70, 80, 90, 100, 120, 150, 200]);
    assert_eq!(report["findings"], n_findings(&folder, &["check", "s.ndjson"]));
}

#[test]
fn sessions_without_times_are_counted_by_session() {
    let folder = Folder::new();
    let step = serde_json::json!({
        "action": "make", "observation": "nothing to be done", "response": "", "thought": "go on"
    });
    let trajectory = serde_json::json!({
        "trajectory": vec![step; 6], "history": [], "info": { "exit_status": "submitted" }
    });
    folder.write("s.traj", trajectory.to_string());
    let ran = tune(&folder, &["s.traj"]);
    assert!(ran.out.contains("1 session without times; 10 sessions count as a day"), "{}", ran.out);
    assert!(ran.out.contains("1 of medium or above, 1.0 a session"), "{}", ran.out);
}

#[test]
fn counts_only_the_period() {
    let folder = loops();
    let report = tune_json(&folder, &["loops", "--since", "2026-03-02"]);
    assert_eq!((&report["sessions"], &report["days"]), (&2.into(), &1.into()));
    assert_eq!(report["findings"], 2);
    let report = tune_json(&folder, &["loops", "--until", "2026-03-01"]);
    assert_eq!((&report["sessions"], &report["findings"]), (&3.into(), &2.into()));
    let ran = tune(&folder, &["loops", "--since", "2026-03-02", "--until", "2026-03-01"]);
    assert_eq!(ran.status, 2);
}

#[test]
fn labels_give_recall_and_precision() {
    let folder = loops();
    let labels = format!(
        "{LABELS}s3.ndjson\tquiet\t\t\t\t\tthree are fine\n\
         s4.ndjson\tquiet\t\t\t\t\tand four\n\
         s5.ndjson\tlow\trepeated_call\t2\t5\t4\tworth a note\n\
         s6.ndjson\tmedium\trepeated_call\t2\t6\t5\tsix are not\n\
         s12.ndjson\thigh\tno_progress\t9\t12\t9\tas many again\n\
         s12.ndjson\tmedium\trepeated_call\t5\t12\t7\tagain\n",
    );
    folder.write("labels.tsv", labels);
    let report = tune_json(&folder, &["loops", "--labels", "labels.tsv"]);
    let labels = &report["labels"];
    assert_eq!(
        labels["present"],
        serde_json::json!({
            "found": 2, "missed": 0, "false_alarms": 2, "recall": 1.0, "precision": 0.5
        })
    );
    assert_eq!(
        (&labels["proposed"]["found"], &labels["proposed"]["false_alarms"]),
        (&2.into(), &0.into())
    );
    assert_eq!(detector(&report, "repeated_call")["proposed_levels"][1]["at"], 6);
    // Too few to leave some out.
    assert_eq!(labels["held_out"], Value::Null);
    assert_eq!(
        labels["kinds"],
        serde_json::json!([
            // The present levels report the call before the stretch.
            { "kind": "no_progress", "stretches": 1, "found": 0, "proposed_found": 1 },
            { "kind": "repeated_call", "stretches": 2, "found": 2, "proposed_found": 2 },
        ])
    );
    let ran = tune(&folder, &["loops", "--labels", "labels.tsv"]);
    for text in [
        "false alarm at present  s4.ndjson: repeated_call medium at step 4, line 9: `Bash` returned",
        "(quiet: and four)",
        "(low: worth a note)",
        "present levels:  recall 1.00 (2 of 2), precision 0.50 (2 false alarms)",
        "proposed levels: recall 1.00 (2 of 2), precision 1.00 (0 false alarms)",
    ] {
        assert!(ran.out.contains(text), "{text}:\n{}", ran.out);
    }
}

#[test]
fn a_stretch_is_found_by_a_finding_that_replaces_another() {
    let folder = Folder::new();
    folder.write("s6.ndjson", looping("s6", 6));
    let policy = "version = 1\n[detectors.early]\nkind = \"repeat-tool-call\"\n\
                  levels = [{ at = 3, severity = \"low\" }]\n\
                  [detectors.late]\nkind = \"repeat-tool-call\"\n\
                  inhibited_by = [\"early\"]\n\
                  levels = [{ at = 5, severity = \"medium\" }]\n";
    folder.write("policy.toml", policy);
    let labels = "s6.ndjson\tmedium\trepeated_call\t2\t6\t5\tsix are not\n";
    folder.write("labels.tsv", format!("{LABELS}{labels}"));
    let report = tune_json(&folder, &["--policy", "policy.toml", "--labels", "labels.tsv"]);
    assert_eq!(report["labels"]["kinds"][0]["found"], 1);
    assert_eq!(report["labels"]["present"]["found"], 1);
}

#[test]
fn lists_the_sessions_that_are_missed() {
    let folder = loops();
    let labels = "s3.ndjson\thigh\tcycle\t1\t3\t2\tround and round\ns12.ndjson\tquiet\n";
    folder.write("loops/labels.tsv", format!("{LABELS}{labels}"));
    // The files are beside the labels.
    let ran = tune(&folder, &["--labels", "loops/labels.tsv"]);
    let missed = "missed  s3.ndjson: cycle in steps 1 to 3: round and round\n";
    assert!(ran.out.contains(missed), "{}", ran.out);
    assert!(ran.out.contains("false alarm at present  s12.ndjson: "), "{}", ran.out);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = loops();
    folder.write("empty.ndjson", "no session\n");
    for (labels, expected) in [
        (
            "file\tverdict\n".to_owned(),
            "`labels.tsv`: line 1: no column `kind`; the first line names the columns, separated \
             by tabs: file, verdict, kind, from_step, to_step, tell_step",
        ),
        (LABELS.to_owned(), "`labels.tsv` has no labelled session"),
        (
            format!("{LABELS}s3.ndjson\tquiet\ns4.ndjson\tloud\n"),
            "`labels.tsv`: line 3: unknown verdict `loud`; write `quiet`, `low`, `medium` or \
             `high`",
        ),
        (
            format!("{LABELS}s3.ndjson\tquiet\nlost.ndjson\tquiet\n"),
            "`labels.tsv`: line 3: `lost.ndjson` does not exist in `loops` or `.`",
        ),
        (
            format!("{LABELS}s3.ndjson\tlow\tcycle\t1\t3\t2\ns3.ndjson\tlow\tcycle\t1\t4\t2\n"),
            "`labels.tsv`: line 3: a stretch of `s3.ndjson` ends at step 4, and the file has 3 \
             steps; count the tool calls of the file from 1",
        ),
        (format!("{LABELS}empty.ndjson\tquiet\n"), "`labels.tsv`: line 2: `empty.ndjson`: "),
    ] {
        folder.write("labels.tsv", labels);
        let ran = tune(&folder, &["loops", "--labels", "labels.tsv"]);
        let err = ran.err.strip_prefix("error: ").expect("the command fails");
        assert!(err.starts_with(expected), "{err}");
        assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    }
    let ran = tune(&folder, &["loops", "--labels", "lost.tsv"]);
    assert!(ran.err.starts_with("error: cannot read the labels `lost.tsv`: "), "{}", ran.err);
}

#[test]
fn the_exit_status_is_that_of_check() {
    let folder = loops();
    folder.write("invalid.toml", "version = 1\nlevls = 1\n");
    folder.write("nothing/notes.txt", "no session");
    for (args, status) in [
        (&["loops"][..], 0),
        (&["loops", "lost"], 2),
        (&["lost"], 2),
        (&["nothing"], 2),
        (&["-"], 2),
        (&["loops", "--per-day", "0"], 2),
        (&["loops", "--per-day", "many"], 2),
        (&["loops", "--precision", "0.9"], 2),
        (&["loops", "--force"], 2),
        (&["--policy", "invalid.toml", "loops"], 78),
    ] {
        assert_eq!(tune(&folder, args).status, status, "{args:?}");
    }
    let quiet = tune(&folder, &["-q", "loops"]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
}
