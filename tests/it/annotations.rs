//! `runbook_url`, `tags` and `references` of detectors, from the policy to reports and routes.

use serde_json::{Value, json};

use crate::{
    check::looping,
    program::{Folder, Ran, program},
};

const POLICY: &str = r#"
version = 1

[detectors.loops]
kind = "repeat-tool-call"
runbook_url = "https://wiki.example/loops"
tags = ["owner:payments"]
references = ["https://wiki.example/incident/7"]

[sinks.pager]
kind = "console"

[[routes]]
match = { tag = "owner:pay*" }
sinks = ["pager"]
"#;

fn run(folder: &Folder, args: &[&str]) -> Ran {
    let mut command = program();
    let state = folder.path().join("state");
    Ran::of(command.current_dir(folder.path()).env("XDG_STATE_HOME", state).args(args))
}

fn with_policy() -> Folder {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write("s.jsonl", looping("s1", 4));
    folder
}

fn check(folder: &Folder, format: &str) -> String {
    run(folder, &["--policy", "policy.toml", "check", "s.jsonl", "--format", format]).out
}

#[test]
fn reports_have_the_annotations_of_the_detector() {
    let folder = with_policy();
    let text = check(&folder, "text");
    assert_eq!(
        text.matches("\n           runbook: https://wiki.example/loops\n").count(),
        1,
        "{text}"
    );
    let github = check(&folder, "github");
    assert!(github.trim_end().ends_with(" (runbook: https://wiki.example/loops)"), "{github}");
    let line: Value = serde_json::from_str(&check(&folder, "ndjson")).unwrap();
    let expected = json!({
        "runbook_url": "https://wiki.example/loops",
        "tags": ["owner:payments"],
        "references": ["https://wiki.example/incident/7"],
    });
    assert_eq!(line["annotations"], expected);
    let sarif: Value = serde_json::from_str(&check(&folder, "sarif")).unwrap();
    let rule = &sarif["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["helpUri"], "https://wiki.example/loops");
    assert_eq!(rule["properties"]["tags"], expected["tags"]);
    assert_eq!(rule["properties"]["references"], expected["references"]);
}

#[test]
fn routes_and_silences_match_tags() {
    let folder = with_policy();
    let test = |fact: &str| run(&folder, &["--policy", "policy.toml", "routes", "test", fact]).out;
    assert!(test("detector=loops").contains("sinks: pager"));
    assert!(test("tag=owner:pay").contains("sinks: pager"));
    let other = test("tag=owner:search");
    assert!(other.contains("`tag` is `owner:search`, not `owner:pay*`"), "{other}");
    let silence =
        ["silence", "add", "tag=owner:*", "--for", "1h", "--reason", "r", "--author", "a"];
    assert_eq!(run(&folder, &silence).status, 0);
    assert!(test("detector=loops").contains("sinks: none"));
}

#[test]
fn explain_prints_the_annotations_of_a_detector() {
    let folder = with_policy();
    let page = run(&folder, &["--policy", "policy.toml", "explain", "loops"]).out;
    let end = "## Annotations of the policy\n\n* runbook: https://wiki.example/loops\n\
               * tags: `owner:payments`\n* reference: https://wiki.example/incident/7\n";
    assert!(page.ends_with(end), "{page}");
}
