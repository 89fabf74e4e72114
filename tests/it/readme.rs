//! The README: its outputs are current, and its policies are valid.
//!
//! `UPDATE=1 cargo test -p watchkeeper-tests` rewrites the outputs.

use std::fs;

use watchkeeper_policy::render;

use crate::{
    check::looping,
    conformance::{load, registry},
    generated::is_current,
    program::{Folder, program},
    tidy::root,
};

#[test]
fn outputs_are_current() {
    let mut readme = readme();
    let folder = Folder::new();
    folder.write("session.ndjson", looping("5b1e0c2a", 5));
    show(&mut readme, &folder, "watchkeeper check session.ndjson");
    show(&mut readme, &folder, "watchkeeper check --explain session.ndjson");
    let policy = policies(&readme).next().expect("the README has a policy");
    let (before, after) = policy.split_once("levels").expect("the policy has levels");
    folder.write("policy.toml", format!("{before}levls{after}"));
    show(&mut readme, &folder, "watchkeeper validate policy.toml");
    is_current("README.md", &readme);
}

#[test]
fn policies_are_valid() {
    let readme = readme();
    assert!(policies(&readme).next().is_some());
    for policy in policies(&readme) {
        let loaded = load(&registry(), policy);
        assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded, false));
    }
}

#[test]
fn the_embedding_example_is_tested() {
    let readme = readme();
    let (_, example) = readme.split_once("```rust\n").expect("the README has an example");
    let (example, _) = example.split_once("```").expect("the block should end");
    let test = root().join("crates/watchkeeper/tests/readme.rs");
    let test = fs::read_to_string(test).expect("the test exists");
    assert!(test.contains(example), "copy the example of the README to the test:\n{example}");
}

#[test]
fn the_budget_of_a_team_passes_its_test() {
    let readme = readme();
    let (_, section) = readme.split_once("### A budget for a team").expect("there is a section");
    let mut blocks = section.split("```toml\n").skip(1).map(|it| it.split("```").next().unwrap());
    let folder = Folder::new();
    folder.write("team.toml", blocks.next().expect("the section has a policy"));
    folder.write("team.test.toml", blocks.next().expect("the section has tests"));
    for (args, text) in [
        (&["validate", "--deny-warnings", "team.toml"][..], "team.toml is valid"),
        (&["test", "team.test.toml"], "2 passed"),
    ] {
        let mut command = program();
        let ran = command.args(args).current_dir(folder.path()).output().expect("it runs");
        let output = [ran.stdout, ran.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        assert!(ran.status.success() && output.contains(text), "{output}");
    }
}

/// Replaces the output that follows a command in a block of a page.
#[track_caller]
pub(crate) fn show(page: &mut String, folder: &Folder, command: &str) {
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("watchkeeper"));
    let ran = program()
        .args(words)
        .current_dir(folder.path())
        .output()
        .expect("the program should start");
    let output =
        [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let prompt = format!("```console\n$ {command}\n");
    let start = page.find(&prompt).unwrap_or_else(|| panic!("no block with {command}"));
    let start = start + prompt.len();
    let end = start + page[start..].find("```\n").expect("the block should end");
    page.replace_range(start..end, &output.replace("acme-watchkeeper", "watchkeeper"));
}

/// Returns the blocks of TOML that are whole policies.
fn policies(readme: &str) -> impl Iterator<Item = &str> {
    let blocks = readme.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once("```"));
    let files = blocks.map(|(file, _)| file).filter(|file| file.starts_with("version"));
    files.filter(|file| !file.contains("[[tests]]"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README exists")
}
