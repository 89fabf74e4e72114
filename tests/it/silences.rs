//! `silence` and `routes test`.

use std::{fmt::Write as _, fs, process::Command};

use insta::assert_snapshot;
use serde_json::Value;

use watchkeeper_core::clock::{Clock as _, SystemClock};

use crate::{
    check::looping_from,
    program::{Folder, Ran, program},
    watch::Watching,
};

const POLICY: &str = r#"
version = 1
extends = ["builtin:default"]

[labels]
team = "payments"

[sinks.pager]
kind = "console"

[sinks.log]
kind = "stderr"

[[routes]]
name = "urgent"
match = { severity = ">=high" }
sinks = ["pager"]

[[routes]]
match = { "label:env" = ["prod", "eu-*"] }
sinks = ["log"]

[[routes]]
match = { status = "resolved" }
sinks = ["log"]

[[routes]]
name = "rest"
fallback = true
sinks = ["log"]

[[silences]]
match = { class = "budget" }
until = 9000-01-01
author = "ada"
reason = "the budget is under review"
"#;

fn run(folder: &Folder, args: &[&str]) -> Ran {
    Ran::of(
        program()
            .current_dir(folder.path())
            .env("USER", "grace")
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .args(args),
    )
}

fn seen(folder: &Folder, args: &[&str]) -> String {
    let Ran { out, err, status } = run(folder, args);
    format!("{out}{err}exit {status}")
}

fn with_policy() -> Folder {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder
}

#[test]
fn explains_the_routes_of_a_finding() {
    let folder = with_policy();
    let test = |facts: &[&str]| {
        seen(&folder, &[&["routes", "test", "--policy", "policy.toml"], facts].concat())
    };
    assert_snapshot!(test(&["detector=call_loop", "severity=high"]), @"
    route `urgent`: sends to pager
    route `2`: does not send: the finding has no `label:env`, and the route accepts `prod or eu-*`
    route `3`: does not send: it sends only the ends of findings
    route `rest`: does not send: it is a fallback, and another route matches
    sinks: pager
    exit 0
    ");
    assert_snapshot!(test(&["detector=call_loop", "label:env=eu-west"]), @"
    route `urgent`: does not send: `severity` is `medium`, not `>=high`
    route `2`: sends to log
    route `3`: does not send: it sends only the ends of findings
    route `rest`: does not send: it is a fallback, and another route matches
    sinks: log
    exit 0
    ");
    assert_snapshot!(test(&["detector=call_loop"]), @"
    route `urgent`: does not send: `severity` is `medium`, not `>=high`
    route `2`: does not send: the finding has no `label:env`, and the route accepts `prod or eu-*`
    route `3`: does not send: it sends only the ends of findings
    route `rest`: sends to log
    sinks: log
    exit 0
    ");
    assert_snapshot!(test(&["class=budget", "severity=high"]), @"
    route `urgent`: would send to pager
    route `2`: does not send: the finding has no `label:env`, and the route accepts `prod or eu-*`
    route `3`: does not send: it sends only the ends of findings
    route `rest`: does not send: it is a fallback, and another route matches
    silence 1 of ada until 9000-01-02T00:00:00Z: the budget is under review
    sinks: none
    exit 0
    ");
    assert_snapshot!(test(&["severity=urgent"]), @"
    error: unknown severity `urgent`; expected `low`, `medium` or `high`
    exit 2
    ");
    assert_snapshot!(test(&["detectr=x"]), @"
    error: unknown key `detectr`; expected `agent`, `class`, `detector`, `kind`, `label:NAME`, `session`, `severity`, `source` or `tag`
    exit 2
    ");
}

#[test]
fn routes_test_names_the_findings_that_go_to_sinks_without_routes() {
    let folder = with_policy();
    let test = |detector: &str| {
        seen(
            &folder,
            &["routes", "test", "--policy", "policy.toml", &format!("detector={detector}")],
        )
    };
    assert_snapshot!(test("watchkeeper-policy"), @"
    a finding about a changed policy goes to all sinks, whatever the routes and silences
    sinks: console, log, pager
    exit 0
    ");
    assert_snapshot!(test("watchkeeper-delivery"), @"
    a finding about a sink goes to all other sinks, whatever the routes and silences
    sinks: console, log, pager
    exit 0
    ");
    assert_snapshot!(test("watchkeeper-ledger"), @"
    a finding about an outage goes to all other sinks, whatever the routes and silences
    route `urgent`: does not send: `severity` is `medium`, not `>=high`
    route `2`: does not send: the finding has no `label:env`, and the route accepts `prod or eu-*`
    route `3`: does not send: it sends only the ends of findings
    route `rest`: sends to log
    sinks: log
    exit 0
    ");
    assert_snapshot!(test("watchkeeper-source"), @"
    route `urgent`: does not send: `severity` is `medium`, not `>=high`
    route `2`: does not send: the finding has no `label:env`, and the route accepts `prod or eu-*`
    route `3`: does not send: it sends only the ends of findings
    route `rest`: sends to log
    sinks: log
    exit 0
    ");
}

#[test]
fn writes_the_routes_of_a_finding_as_json() {
    let folder = with_policy();
    let args = ["routes", "test", "--policy", "policy.toml", "detector=call_loop", "--format=json"];
    let ran = run(&folder, &args);
    let json: Value = serde_json::from_str(&ran.out).expect("the output is JSON");
    assert_eq!(json["sinks"], serde_json::json!(["log"]));
    assert_eq!(json["silence"], Value::Null);
    assert_eq!(json["routes"][0]["route"], "urgent");
    assert_eq!(json["routes"][0]["sends"], false);
    assert_eq!(json["routes"][0]["reason"], "`severity` is `medium`, not `>=high`");
    assert_eq!(json["routes"][3]["sends"], true);
}

#[test]
fn a_silence_is_added_listed_and_ended() {
    let folder = with_policy();
    assert_snapshot!(seen(&folder, &["silence", "list"]), @"
    no silences
    exit 0
    ");
    let add =
        ["silence", "add", "detector=call_*", "severity=>=low", "--for", "2h", "--reason", "known"];
    let added = run(&folder, &add);
    assert_eq!(added.status, 0, "{}", added.err);
    let id = added.out.trim();
    let listed = run(&folder, &["silence", "list", "--format", "json"]);
    let json: Value = serde_json::from_str(&listed.out).expect("the output is JSON");
    assert_eq!((json[0]["id"].as_str(), json[0]["author"].as_str()), (Some(id), Some("grace")));
    assert_eq!(json[0]["match"]["severity"], serde_json::json!([">=low"]));
    let text = run(&folder, &["silence", "list"]).out;
    assert!(text.starts_with(&format!("{id}  detector=call_* severity=>=low  ends in ")), "{text}");
    // The state of the user applies to the routes.
    let test = ["routes", "test", "--policy", "policy.toml", "detector=call_loop", "severity=high"];
    let routed = run(&folder, &test);
    assert!(routed.out.contains(&format!("silence {id} of grace until ")), "{}", routed.out);
    assert!(routed.out.ends_with("sinks: none\n"), "{}", routed.out);
    assert_snapshot!(seen(&folder, &["silence", "expire", &id[..4]]), @"
    ended 1 silence
    exit 0
    ");
    assert!(run(&folder, &test).out.ends_with("sinks: pager\n"));
    assert_eq!(run(&folder, &["silence", "list"]).out, "");
    assert!(run(&folder, &["silence", "list", "--all"]).out.contains("has ended"));
    let unknown = seen(&folder, &["silence", "expire", "zzz"]);
    assert_snapshot!(unknown, @"
    error: no active silence has the id `zzz`; `watchkeeper silence list` prints them
    exit 2
    ");
}

#[test]
fn ends_of_silences_are_printed_in_seconds() {
    let folder = with_policy();
    let add = ["silence", "add", "detector=*", "--for", "2h", "--reason", "known"];
    let added = run(&folder, &add).err;
    let listed = run(&folder, &["silence", "list"]).out;
    let test = ["routes", "test", "--policy", "policy.toml", "detector=call_loop"];
    let routed = run(&folder, &test).out;
    for text in [added, listed, routed] {
        assert!(text.contains('Z') && !text.contains('.'), "{text}");
    }
}

#[test]
fn a_silence_without_an_author_has_the_name_of_the_user() {
    let folder = with_policy();
    let name = Command::new("id").arg("-un").output().expect("a Unix system has `id`");
    let added = Ran::of(
        program()
            .current_dir(folder.path())
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .env_remove("USER")
            .env_remove("LOGNAME")
            .args(["silence", "add", "detector=*", "--for", "2h", "--reason", "known"]),
    );
    if !name.status.success() {
        assert!(added.err.contains("set USER, or use --author"), "{}", added.err);
        return;
    }
    let name = String::from_utf8(name.stdout).expect("a name is a text");
    let listed = run(&folder, &["silence", "list"]).out;
    assert!(listed.contains(&format!("  {}: known", name.trim())), "{listed}");
}

#[test]
fn a_silence_of_a_tag_that_no_detector_has_is_a_warning() {
    let folder = with_policy();
    let policy = format!("{POLICY}\n[detectors.call_loop]\ntags = ['owner:payments']\n");
    folder.write("policy.toml", policy);
    let add = |tag: &str| {
        let silence = ["silence", "--policy", "policy.toml", "add", "--for", "2h"];
        run(&folder, &[&silence[..], &["--reason", "known", tag]].concat()).err
    };
    assert!(add("tag=owner:payment").starts_with(
        "warning: no detector of the policy has the tag `owner:payment`; did you mean \
         `owner:payments`?\n"
    ));
    assert!(add("tag=owner:*").starts_with("silenced until "));
}

#[test]
fn silences_are_stored_in_the_state_folder_of_the_policy() {
    let folder = with_policy();
    let policy = "version = 1\nextends = [\"builtin:default\"]\n[monitor]\nstate_dir = \"own\"\n";
    folder.write("own.toml", policy);
    let silence = ["silence", "--policy", "own.toml"];
    let add = ["add", "detector=call_lop", "--for", "2h", "--reason", "known"];
    let added = run(&folder, &[&silence[..], &add[..]].concat());
    assert_eq!(
        (added.status, added.err.lines().next()),
        (0, Some("warning: the policy has no detector `call_lop`; did you mean `call_loop`?"))
    );
    assert!(folder.path().join("own/silences.jsonl").exists());
    assert!(run(&folder, &[&silence[..], &["list"]].concat()).out.contains("detector=call_lop"));
    // A `watch` that runs still uses the policy before a mistake.
    folder.write("own.toml", "version = 2\n");
    let list = run(&folder, &[&silence[..], &["list"]].concat());
    assert_eq!(list.status, 78, "{}", list.err);
    let list = run(&folder, &[&silence[..], &["list", "--state-dir", "own"]].concat());
    assert!(list.out.contains("detector=call_lop"), "{}", list.err);
}

#[test]
fn invalid_silences_are_refused() {
    let folder = Folder::new();
    for (args, expected) in [
        (&["detector=x", "--for", "2h", "--reason", " "][..], "`--reason` is empty"),
        (&["detector=x", "--until", "2020-01-01", "--reason", "y"], "is not in the future"),
        (&["status=open", "--for", "2h", "--reason", "y"], "unknown key `status`"),
        (&["detector", "--for", "2h", "--reason", "y"], "write `KEY=VALUE`"),
        (&["detector=x", "--reason", "y"], "<--for <TIME>|--until <TIME>>"),
    ] {
        let ran = run(&folder, &[&["silence", "add"], args].concat());
        assert!(ran.status == 2 && ran.err.contains(expected), "{}", ran.err);
    }
    assert!(!folder.path().join("state/watchkeeper/silences.jsonl").exists());
}

/// Returns a looping session whose events have the present time.
fn loop_now(session: &str) -> String {
    let now = SystemClock.now();
    let text = looping_from(now, session, 5);
    let rests = text.lines().filter_map(|line| line.split_once("\","));
    let lines = rests.map(|(_, rest)| format!("{{\"at\":\"{now}\",{rest}\n"));
    lines.collect::<Vec<_>>().concat()
}

#[test]
fn a_finding_that_is_still_open_when_its_silence_ends_is_printed() {
    let (folder, sessions) = (Folder::new(), Folder::new());
    let state = folder.path().join("own");
    let state = state.to_str().unwrap();
    let variables = [("WATCHKEEPER_LOG", "debug")];
    let policy =
        "version = 1\n[detectors.repeated_call]\nkind = 'repeat-tool-call'\n[sinks.console]\n";
    let policy = folder.write("own.toml", policy);
    let args = ["--state-dir", state, "--policy", policy.to_str().unwrap()];
    let watching = Watching::start_in(&sessions, &args, &variables);
    let silence = |args: &[&str]| {
        let ran = run(&folder, &[&["silence", "--state-dir", state], args].concat());
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out.trim().to_owned()
    };
    let changed = "the silences have changed";
    let id = silence(&["add", "detector=*", "--for", "1h", "--reason", "a test"]);
    watching.until(changed);
    let mut ended = loop_now("ended");
    sessions.write("a.ndjson", &ended);
    watching.until("a finding");
    // This one ends during the silence.
    let now = SystemClock.now();
    writeln!(ended, "{{\"at\":\"{now}\",\"session\":\"ended\",\"event\":\"session_end\"}}")
        .unwrap();
    sessions.write("a.ndjson", ended);
    watching.until("a finding");
    sessions.write("b.ndjson", loop_now("open"));
    watching.until("a finding");
    silence(&["expire", &id]);
    let [_, line] = watching.until_each([changed, " times"]);
    assert!(line.contains("open"), "{line}");
    let (status, rest) = watching.end("TERM");
    assert_eq!(status, Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("silences hid")), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains(" times")), "{rest:?}");
}

#[test]
fn a_finding_whose_silence_ends_between_two_runs_is_sent_once() {
    let (folder, sessions) = (Folder::new(), Folder::new());
    let state = folder.path().join("own");
    let state = state.to_str().unwrap();
    let policy = "version = 1\n[detectors.repeated_call]\nkind = 'repeat-tool-call'\n\
                  [sinks.file]\npath = 'findings.ndjson'\n";
    let policy = folder.write("own.toml", policy);
    let silence = |args: &[&str]| {
        let ran = run(&folder, &[&["silence", "--state-dir", state], args].concat());
        assert_eq!(ran.status, 0, "{}", ran.err);
        ran.out.trim().to_owned()
    };
    let watch = || {
        let args = ["--state-dir", state, "--policy", policy.to_str().unwrap()];
        Watching::start_in(&sessions, &args, &[("WATCHKEEPER_LOG", "debug")])
    };
    let start = "starting the monitor";
    let sent = || {
        let sent = fs::read_to_string(folder.path().join("findings.ndjson")).unwrap_or_default();
        let findings = sent.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        findings.map(|finding| finding["session"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let id = silence(&["add", "detector=*", "--for", "1h", "--reason", "a test"]);
    let watching = watch();
    watching.until(start);
    sessions.write("a.ndjson", loop_now("open"));
    watching.until("a finding");
    watching.end("TERM");
    // The silence still hides the finding after a restart.
    let watching = watch();
    watching.until(start);
    watching.end("TERM");
    assert!(sent().is_empty());
    silence(&["expire", &id]);
    let watching = watch();
    watching.until_each([start, "[MEDIUM]"]);
    watching.end("TERM");
    assert_eq!(sent(), ["open"]);
    let watching = watch();
    // Without memory of earlier runs, `watch` prints the first one again.
    watching.until_each([start, "[MEDIUM]"]);
    sessions.write("b.ndjson", loop_now("next"));
    watching.until("[MEDIUM]");
    watching.end("TERM");
    assert_eq!(sent(), ["open", "next", "next"]);
}
