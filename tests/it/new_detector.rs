//! The command that begins a detector: what it writes is built and run.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use insta::assert_snapshot;

use crate::{
    program::{Folder, run, seen},
    tidy,
};

/// A name that is in order.
const NAME: &str = "acme-web-lookup";

#[test]
fn what_it_writes_builds_and_works() {
    let target = Path::new(env!("CARGO_BIN_EXE_acme-watchkeeper")).ancestors().nth(2).unwrap();
    let target = target.join("new-detector");
    fs::create_dir_all(&target).unwrap();
    // One place for all runs, so that they leave one build behind; one at a time.
    let lock = File::create(target.join("in-use")).unwrap();
    lock.lock().unwrap();
    let parent = target.join("written");
    if parent.exists() {
        fs::remove_dir_all(&parent).unwrap();
    }
    let path = |it: &Path| it.to_str().unwrap().to_owned();
    let checkout = path(tidy::root());
    let args = ["new", "detector", NAME, "--in", &path(&parent), "--path", &checkout];
    let made = run(&args);
    assert_eq!(made.status, 0, "{}", made.err);

    // The versions that are on this machine.
    let folder = parent.join(NAME);
    fs::copy(tidy::root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let cargo = |args: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(args)
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .output()
            .expect("cargo should start");
        let text = |bytes| String::from_utf8(bytes).expect("cargo should write UTF-8");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{args:?}\n{out}\n{err}");
        (out, err)
    };
    let (tested, built) = cargo(&["test", "--offline", "--package", NAME]);
    assert!(tested.contains("test tests::keeps_the_laws ... ok"), "{tested}");
    assert!(!built.contains("warning"), "{built}");
    let (out, built) = cargo(&["run", "--offline", "--", "detectors"]);
    let line = format!("  {NAME}  ");
    assert!(out.lines().any(|it| it.starts_with(&line) && it.contains("  Finds ")), "{out}");
    assert!(!built.contains("warning"), "{built}");
    // All that ships is linked in beside it: so the built-in policy holds.
    for it in run(&["detectors"]).out.lines().filter(|it| it.contains("(watchkeeper-detector-")) {
        let kind = it.split_whitespace().next().unwrap();
        assert!(out.contains(&format!("  {kind}  ")), "no {kind} in\n{out}");
    }
    let ours = |args: &[&str]| cargo(&[&["run", "--offline", "--"], args].concat()).0;
    assert!(ours(&["test"]).ends_with("2 passed, 0 failed\n"));
    assert_eq!(ours(&["explain", NAME]), fs::read_to_string(folder.join("README.md")).unwrap());
    ours(&["validate", "--deny-warnings", "policy.toml"]);
}

#[test]
fn what_it_writes_depends_on_what_is_published() {
    let folder = Folder::new();
    let parent = folder.path().join("not/yet");
    let args = ["new", "detector", NAME, "--in", parent.to_str().unwrap()];
    let made = run(&args);
    assert_eq!(made.status, 0, "{}", made.err);
    let shown = made.err.replace(parent.to_str().unwrap(), "FOLDER");
    assert_snapshot!(shown, @"
    Created detector `acme-web-lookup` in FOLDER/acme-web-lookup, and a program that links it

    Next:
      cd FOLDER/acme-web-lookup
      cargo test                           # it finds what it should, and keeps the laws
      cargo run -- explain acme-web-lookup
      cargo run -- test                    # what the policy finds, in virtual time
      cargo run -- --policy policy.toml check

    Then make it yours: src/lib.rs is the detector, README.md its manual.
    ");
    let crate_folder = parent.join(NAME);
    assert_eq!(
        files(&crate_folder),
        [
            ".gitignore",
            "Cargo.toml",
            "README.md",
            "policy.test.toml",
            "policy.toml",
            "program/Cargo.toml",
            "program/src/main.rs",
            "src/lib.rs",
        ]
        .map(PathBuf::from)
    );
    let manifest = fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap();
    let version = concat!("watchkeeper-core = \"", env!("CARGO_PKG_VERSION"), "\"\n");
    assert!(manifest.contains(version), "{manifest}");
    for file in files(&crate_folder) {
        let text = fs::read_to_string(crate_folder.join(&file)).unwrap();
        assert!(!text.contains("detector-name") && !text.contains("DetectorName"), "{text}");
    }

    // Nothing is written over.
    fs::write(crate_folder.join("src/lib.rs"), "mine").unwrap();
    let again = run(&args);
    assert_eq!((again.status, again.out.as_str()), (2, ""));
    let shown = again.err.replace(parent.to_str().unwrap(), "FOLDER");
    assert_snapshot!(shown, @"error: `FOLDER/acme-web-lookup` is there already; nothing was written");
    assert_eq!(fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap(), "mine");
}

#[test]
fn a_name_that_would_not_do_is_refused() {
    let folder = Folder::new();
    let parent = folder.path().to_str().unwrap();
    let refused = |name: &str| {
        let text = seen(&["new", "detector", "--in", parent, "--", name]);
        assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
        text
    };
    assert_snapshot!(refused("AcmeBannedTool"), @"
    error: `AcmeBannedTool` is not in kebab-case; perhaps `acme-banned-tool`
    exit 2
    ");
    assert_snapshot!(refused("../escape"), @"
    error: `../escape` is not in kebab-case; perhaps `acme-escape`
    exit 2
    ");
    assert_snapshot!(refused(""), @"
    error: `` is not in kebab-case
    exit 2
    ");
    assert_snapshot!(refused("serde"), @"
    error: `serde` may be anyone's; give it a prefix of your own, as in `acme-serde`
    exit 2
    ");
    assert_snapshot!(refused("watchkeeper-core"), @"
    error: `watchkeeper-core` is one of watchkeeper's own; use a prefix of your own
    exit 2
    ");
    assert_snapshot!(refused("acme-banned-tool"), @"
    error: a detector `acme-banned-tool` is linked in already, from acme-detector 3.2.1
    exit 2
    ");
    assert_snapshot!(refused("detector-kind"), @"
    error: `detector-kind` is a word of watchkeeper's own; use another
    exit 2
    ");
    let no_checkout = ["new", "detector", NAME, "--in", parent, "--path", parent];
    assert_snapshot!(seen(&no_checkout).replace(parent, "FOLDER"), @"
    error: `FOLDER` is no checkout of watchkeeper
    exit 2
    ");
}

/// The files in a folder and in those in it, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut res = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(it) = folders.pop() {
        for entry in fs::read_dir(it).expect("it is a folder") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = path.strip_prefix(folder).expect("it is in the folder");
                res.push(file.to_owned());
            }
        }
    }
    res.sort();
    res
}
