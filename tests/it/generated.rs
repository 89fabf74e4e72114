//! Files that are generated from the code and must be current.
//!
//! `UPDATE=1 cargo test -p watchkeeper-tests` rewrites them.

use std::{env, fs};

use watchkeeper_core::embed::{Entry as _, Kinds};

use crate::{
    conformance,
    program::{Folder, run},
    tidy,
};

#[test]
fn schemas_are_current() {
    let mut registry = conformance::registry();
    // The schema of the stock program has no in-house detectors.
    let stock = registry.detectors.iter().filter(|entry| !entry.kind().starts_with("acme-"));
    registry.detectors = Kinds::new("detectors", stock).expect("no two have one name");
    let policy = serde_json::to_string_pretty(&watchkeeper_policy::schema(&registry)).unwrap();
    is_current("docs/policy.schema.json", &format!("{policy}\n"));
    let api = serde_json::to_string_pretty(&watchkeeper_http::openapi()).unwrap();
    is_current("docs/openapi.json", &format!("{api}\n"));
    for name in ["test", "event", "explanation", "finding"] {
        let made = run(&["schema", name]);
        assert_eq!(made.status, 0, "{}", made.err);
        is_current(&format!("docs/{name}.schema.json"), &made.out);
    }
}

#[test]
fn the_policy_schema_contains_in_house_detectors() {
    let schema = run(&["schema", "policy"]).out;
    assert!(schema.contains("acme-banned-tool"), "{schema}");
}

#[test]
fn the_page_of_manuals_is_current() {
    let mut made = vec!["# Detectors\n\nThe manual of each kind. Do not edit this page: `UPDATE=1 cargo test -p watchkeeper-tests` writes it from the READMEs of the detectors.\n".to_owned()];
    for entry in conformance::registry().detectors.iter() {
        if !entry.kind().starts_with("acme-") {
            // One level below the title of the page.
            made.push(entry.docs().replace("\n#", "\n##").replacen('#', "##", 1));
        }
    }
    let made = made.join("\n");
    is_current("docs/detectors.md", &made);
}

#[test]
fn the_page_of_commands_is_current() {
    let help = run(&["help"]);
    let mut made = vec![
        "# Commands\n\nThe help texts of the program. Do not edit this page: `UPDATE=1 cargo test -p watchkeeper-tests` writes it.\n".to_owned(),
        format!("```text\n{}```\n", help.out),
    ];
    let commands = help.out.lines().skip_while(|it| *it != "Commands:").skip(1);
    let commands = commands.take_while(|it| !it.is_empty());
    for name in commands.filter_map(|it| it.split_whitespace().next()) {
        if name != "help" {
            let help = run(&["help", name]);
            assert_eq!(help.status, 0, "{}", help.err);
            made.push(format!("## {name}\n\n```text\n{}```\n", help.out));
        }
        let detailed = [
            ("new", "detector"),
            ("routes", "test"),
            ("silence", "add"),
            ("silence", "expire"),
            ("silence", "list"),
            ("sink", "test"),
        ];
        for (_, command) in detailed.iter().filter(|(group, _)| *group == name) {
            let help = run(&["help", name, command]);
            assert_eq!(help.status, 0, "{}", help.err);
            made.push(format!("## {name} {command}\n\n```text\n{}```\n", help.out));
        }
    }
    let made = made.join("\n");
    is_current("docs/commands.md", &made.replace("acme-watchkeeper", "watchkeeper"));
}

#[test]
fn the_picture_of_the_demo_is_current() {
    let folder = Folder::new();
    let svg = folder.path().join("demo.svg");
    let ran = run(&["demo", "--svg", svg.to_str().expect("the path is UTF-8")]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let svg = fs::read_to_string(svg).expect("the picture was written");
    is_current("docs/demo.svg", &svg);
}

#[track_caller]
pub(crate) fn is_current(name: &str, made: &str) {
    let path = tidy::root().join(name);
    if fs::read_to_string(&path).is_ok_and(|present| present == made) {
        return;
    }
    let updates = env::var_os("UPDATE").is_some();
    assert!(updates, "{name} is out of date; run `UPDATE=1 cargo test -p watchkeeper-tests`");
    fs::write(&path, made).expect("the file can be written");
}
