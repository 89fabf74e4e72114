//! `migrate`.

use std::fs;

use insta::assert_snapshot;

use crate::program::{Folder, Ran, run};

const POLICY: &str = "version = 1\nextends = ['builtin:default']\n\n[detectors.stuck] # ours\n\
                      severity = 'low'\n\n[detectors.failing]\ninhibited_by = ['stuck']\n";

/// Runs `migrate`, and returns its output without the path of the folder.
fn migrate(folder: &Folder, args: &[&str]) -> String {
    let mut all = vec!["migrate".to_owned()];
    all.extend(args.iter().map(|arg| match arg.strip_prefix("./") {
        Some(name) => folder.path().join(name).display().to_string(),
        None => (*arg).to_owned(),
    }));
    let Ran { out, err, status } = run(&all);
    format!("{out}{err}exit {status}").replace(&folder.path().display().to_string(), ".")
}

#[test]
fn replaces_names_of_earlier_versions() {
    let folder = Folder::new();
    let file = folder.write("policy.toml", POLICY);
    let read = || fs::read_to_string(&file).expect("the file is there");
    assert_snapshot!(migrate(&folder, &["./policy.toml", "--check"]), @"
    ./policy.toml:4: `stuck` is now `repeated_call`
    ./policy.toml:7: `failing` is now `failure_streak`
    ./policy.toml:8: `stuck` is now `repeated_call`
    1 file would change, 0 files unchanged
    exit 1
    ");
    assert_snapshot!(migrate(&folder, &["./policy.toml", "--diff"]), @r#"
    --- ./policy.toml
    +++ ./policy.toml
    @@ -4 +4 @@
    -[detectors.stuck] # ours
    +[detectors.repeated_call] # ours
    @@ -7 +7 @@
    -[detectors.failing]
    +[detectors.failure_streak]
    @@ -8 +8 @@
    -inhibited_by = ['stuck']
    +inhibited_by = ["repeated_call"]
    1 file would change, 0 files unchanged
    exit 1
    "#);
    assert_eq!(read(), POLICY);
    assert_snapshot!(migrate(&folder, &["./policy.toml"]), @"
    ./policy.toml:4: `stuck` is now `repeated_call`
    ./policy.toml:7: `failing` is now `failure_streak`
    ./policy.toml:8: `stuck` is now `repeated_call`
    1 file changed, 0 files unchanged
    exit 0
    ");
    assert_snapshot!(read(), @r#"
    version = 1
    extends = ['builtin:default']

    [detectors.repeated_call] # ours
    severity = 'low'

    [detectors.failure_streak]
    inhibited_by = ["repeated_call"]
    "#);
    assert_snapshot!(migrate(&folder, &["./policy.toml", "--check"]), @"
    0 files would change, 1 file unchanged
    exit 0
    ");
    let validated = run(&["validate", file.to_str().expect("the path is UTF-8")]);
    assert_eq!(validated.status, 0, "{}", validated.err);
}

#[test]
fn files_that_cannot_be_migrated_stay() {
    let folder = Folder::new();
    let file = folder.write("policy.toml", "[detectors.stuck\n");
    assert_snapshot!(migrate(&folder, &["./policy.toml"]), @"
    error: `./policy.toml` is not valid TOML; `watchkeeper validate` shows the mistakes
    exit 2
    ");
    assert_snapshot!(migrate(&folder, &["./missing.toml"]), @"
    error: cannot read `./missing.toml`: No such file or directory (os error 2)
    exit 2
    ");
    assert_eq!(fs::read_to_string(&file).expect("the file is there"), "[detectors.stuck\n");
    folder.write("both.toml", "[detectors.stuck]\n[detectors.repeated_call]\n");
    assert_snapshot!(migrate(&folder, &["./both.toml"]), @"
    warning: ./both.toml: `stuck` and its present name both exist; combine them
    0 files changed, 1 file unchanged
    exit 1
    ");
}
