//! `watchkeeper new`: the crates that it writes are built, tested and run.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use insta::assert_snapshot;
use watchkeeper_core::author::make_safe;

use crate::{
    program::{Folder, Ran, run, seen},
    tidy,
    watch::{Watching, looping_now},
};

const DETECTOR: &str = "acme-web-lookup";
const SINK: &str = "acme-spool";
const SOURCE: &str = "acme-agent";

/// Copies of the written detector that have an error, with the changed part of the code.
const BROKEN_DETECTORS: &[(&str, &str, &str)] = &[
    ("acme-panicking-lookup", "*n_calls += 1;", "if true { panic!(\"not yet written\") }"),
    ("acme-silent-lookup", "*n_calls += 1;", "if true { return }"),
];

/// A workspace with all written crates, so that one command builds them.
struct Workspace {
    root: PathBuf,
    target: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Writes all crates into a folder that the next run reuses.
    fn write() -> Self {
        let target = Path::new(env!("CARGO_BIN_EXE_acme-watchkeeper")).ancestors().nth(2).unwrap();
        let target = target.join("new");
        fs::create_dir_all(&target).unwrap();
        let lock = File::create(target.join("in-use")).unwrap();
        lock.lock().unwrap();
        let root = target.join("written");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        let mut members = Vec::new();
        let kinds = [("detector", DETECTOR), ("sink", SINK), ("source", SOURCE)];
        let broken = BROKEN_DETECTORS.iter().map(|(name, _, _)| ("detector", *name));
        for (sort, name) in kinds.into_iter().chain(broken) {
            let made = run(&["new", sort, name, "--in", text(&root), "--path", text(tidy::root())]);
            assert_eq!(made.status, 0, "{}", made.err);
            // A crate of another workspace has no `[workspace]` of its own.
            edit(&root.join(name).join("Cargo.toml"), |manifest| {
                let (_, package) = manifest.split_once("[package]").expect("it is a package");
                format!("[package]{package}")
            });
            members.push(name.to_owned());
        }
        for (name, correct, broken) in BROKEN_DETECTORS {
            edit(&root.join(name).join("src/lib.rs"), |code| {
                assert!(code.contains(correct), "{code}");
                code.replace(correct, broken)
            });
        }
        members.extend([DETECTOR, SINK, SOURCE].map(|name| format!("{name}/program")));
        let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        // The versions that are available on this machine.
        fs::copy(tidy::root().join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        Self { root, target, _lock: lock }
    }

    fn cargo(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO"))
            .args(args)
            .arg("--offline")
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("PROPTEST_CASES", "32")
            .output()
            .expect("cargo should start")
    }

    /// Returns the program of a written crate, which starts in the folder of the crate.
    fn program(&self, name: &str) -> Command {
        let mut command =
            Command::new(self.target.join("debug").join(format!("{name}-watchkeeper")));
        command.current_dir(self.root.join(name)).env_clear().env("HOME", "/nonexistent");
        command.env("XDG_STATE_HOME", self.root.join("state"));
        command
    }

    /// Runs the program of a written crate to its end.
    fn run(&self, name: &str, args: &[&str]) -> Ran {
        let output = self.program(name).args(args).output().expect("the program should start");
        Ran {
            out: lossless(output.stdout),
            err: lossless(output.stderr),
            status: output.status.code().expect("the program should exit by itself"),
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn lossless(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the output should be UTF-8")
}

fn edit(file: &Path, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, change(&text)).unwrap();
}

#[test]
fn written_crates_build_and_work() {
    let workspace = Workspace::write();
    let built = workspace.cargo(&["build", "--workspace", "--all-targets"]);
    let err = lossless(built.stderr);
    assert!(built.status.success() && !err.contains("warning"), "{err}");

    // The tests of correct crates pass; the laws catch detectors with an error.
    let tested = workspace.cargo(&["test", "--workspace", "--lib", "--no-fail-fast"]);
    let (out, err) = (lossless(tested.stdout), lossless(tested.stderr));
    for (name, _, _) in BROKEN_DETECTORS {
        assert!(err.contains(&format!("`-p {name} --lib`")), "{name} passes\n{out}\n{err}");
    }
    assert_eq!(out.matches("obeys_the_laws ... FAILED").count(), BROKEN_DETECTORS.len(), "{out}");
    for passed in [
        "obeys_the_laws",
        "finds_calls_of_listed_tools",
        "keeps_the_promises_of_sinks",
        "keeps_the_promises_of_sources",
    ] {
        assert_eq!(out.matches(&format!("{passed} ... ok")).count(), 1, "{passed}\n{out}");
    }

    for name in [DETECTOR, SINK, SOURCE] {
        let manual = fs::read_to_string(workspace.root.join(name).join("README.md")).unwrap();
        // The keys of every detector follow the manual.
        let explained = workspace.run(name, &["explain", name]).out;
        assert!(explained.starts_with(&manual), "{explained}");
    }
    detector_works(&workspace);
    sink_works(&workspace);
    source_works(&workspace);
}

/// Runs the tests of the policy.
fn detector_works(workspace: &Workspace) {
    let tested = workspace.run(DETECTOR, &["test"]);
    assert!(tested.out.ends_with("2 passed, 0 failed\n"), "{}{}", tested.out, tested.err);
    let validated = workspace.run(DETECTOR, &["validate", "--deny-warnings", "policy.toml"]);
    assert_eq!(validated.status, 0, "{}", validated.err);
    // The program links the detectors that ship, which the built-in policy uses.
    let detectors = workspace.run(DETECTOR, &["detectors"]).out;
    for line in run(&["detectors"]).out.lines().filter(|it| it.contains("(watchkeeper-detector-")) {
        let kind = line.split_whitespace().next().unwrap();
        assert!(detectors.contains(&format!("  {kind}  ")), "no {kind} in\n{detectors}");
    }
}

/// Watches a session with a loop.
fn sink_works(workspace: &Workspace) {
    let validated = workspace.run(SINK, &["validate", "--deny-warnings", "policy.toml"]);
    assert_eq!(validated.status, 0, "{}", validated.err);
    let folder = Folder::new();
    let session = folder.write("s.ndjson", "");
    let mut command = workspace.program(SINK);
    let watching = Watching::run(command.args(["--policy", "policy.toml", "watch"]).arg(&session));
    fs::write(&session, looping_now(5)).unwrap();
    watching.until("4 times");
    let (status, lines) = watching.end("INT");
    assert_eq!(status, Some(0), "{lines:?}");
    let findings = workspace.root.join(SINK).join("findings");
    let written = fs::read_dir(findings).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<_> = written.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains("\"repeated_call\"")), "{texts:?}");
}

/// Checks the sample session.
fn source_works(workspace: &Workspace) {
    let checked = workspace.run(SOURCE, &["check", "samples"]);
    assert!(
        checked.out.contains(SOURCE) && checked.out.contains("repeated_error"),
        "{}",
        checked.out
    );
    assert_eq!(checked.err, "");
}

#[test]
fn shows_the_next_steps_and_overwrites_no_file() {
    let folder = Folder::new();
    let parent = folder.path().join("not/yet");
    let create = |sort: &str, name: &str| {
        let made = run(&["new", sort, name, "--in", text(&parent)]);
        assert_eq!(made.out, "");
        (made.status, made.err.replace(text(&parent), "FOLDER"))
    };
    let (status, shown) = create("detector", DETECTOR);
    assert_eq!(status, 0, "{shown}");
    assert_snapshot!(shown, @"
    Created detector `acme-web-lookup` in FOLDER/acme-web-lookup

    Next steps:
      cd FOLDER/acme-web-lookup
      cargo test                            # run the tests of the detector
      cargo run -- explain acme-web-lookup
      cargo run -- test                     # run the tests of the policy
      cargo run -- --policy policy.toml check

    Then edit src/lib.rs (the detector) and README.md (its manual).
    ");
    assert_snapshot!(create("sink", SINK).1, @"
    Created sink `acme-spool` in FOLDER/acme-spool

    Next steps:
      cd FOLDER/acme-spool
      cargo test                            # run the tests of the sink
      cargo run -- explain acme-spool
      cargo run -- --policy policy.toml watch

    Then edit src/lib.rs (the sink) and README.md (its manual).
    ");
    assert_snapshot!(create("source", SOURCE).1, @"
    Created source `acme-agent` in FOLDER/acme-agent

    Next steps:
      cd FOLDER/acme-agent
      cargo test                            # run the tests of the source
      cargo run -- explain acme-agent
      cargo run -- check samples            # check the sample session

    Then edit src/lib.rs (the source), README.md (its manual) and samples.
    ");

    let lib = parent.join(DETECTOR).join("src/lib.rs");
    fs::write(&lib, "mine").unwrap();
    let (status, shown) = create("detector", DETECTOR);
    assert_eq!(status, 2);
    assert_snapshot!(shown, @"error: `FOLDER/acme-web-lookup` exists already; no files were written");
    assert_eq!(fs::read_to_string(lib).unwrap(), "mine");
}

#[test]
fn fills_in_every_name_and_the_published_versions() {
    let folder = Folder::new();
    for (sort, name) in [("detector", DETECTOR), ("sink", SINK), ("source", SOURCE)] {
        let made = run(&["new", sort, name, "--in", text(folder.path())]);
        assert_eq!(made.status, 0, "{}", made.err);
    }
    let files = files(folder.path());
    let shown: Vec<_> = files.iter().map(|file| make_safe(text(file))).collect();
    assert_snapshot!(shown.join("\n"), @"
    acme-agent/.gitignore
    acme-agent/Cargo.toml
    acme-agent/README.md
    acme-agent/program/Cargo.toml
    acme-agent/program/src/main.rs
    acme-agent/samples/r1.jsonl
    acme-agent/src/lib.rs
    acme-spool/.gitignore
    acme-spool/Cargo.toml
    acme-spool/README.md
    acme-spool/policy.toml
    acme-spool/program/Cargo.toml
    acme-spool/program/src/main.rs
    acme-spool/src/lib.rs
    acme-web-lookup/.gitignore
    acme-web-lookup/Cargo.toml
    acme-web-lookup/README.md
    acme-web-lookup/policy.test.toml
    acme-web-lookup/policy.toml
    acme-web-lookup/program/Cargo.toml
    acme-web-lookup/program/src/main.rs
    acme-web-lookup/src/lib.rs
    ");
    for file in &files {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        for placeholder in ["kind-name", "KindName", "0.0.0", "stock-detectors", "linked_crates"] {
            assert!(!text.contains(placeholder), "{}: {text}", file.display());
        }
    }
    let version = concat!("watchkeeper-core = \"", env!("CARGO_PKG_VERSION"), "\"\n");
    for name in [DETECTOR, SINK, SOURCE] {
        let manifest = fs::read_to_string(folder.path().join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(version), "{manifest}");
    }
}

#[test]
fn paths_of_dependencies_are_relative() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("checkout/crates/watchkeeper-core")).unwrap();
    folder.write("checkout/crates/watchkeeper-core/Cargo.toml", "");
    let absolute = |path: &str| text(&folder.path().join(path)).to_owned();
    for (n, (parent, checkout)) in [
        ("new".to_owned(), "checkout".to_owned()),
        ("./new/../new".to_owned(), absolute("checkout")),
        (absolute("new"), "./checkout/".to_owned()),
        (absolute("new"), absolute("checkout/crates/..")),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("acme-kind-{n}");
        let made = crate::program::program()
            .current_dir(folder.path())
            .args(["new", "sink", &name, "--in", parent, "--path", checkout])
            .output()
            .expect("the program should start");
        assert!(made.status.success(), "{}", lossless(made.stderr));
        let manifest = |file: &str| {
            fs::read_to_string(folder.path().join("new").join(&name).join(file)).unwrap()
        };
        let core = "watchkeeper-core = { path = \"../../checkout/crates/watchkeeper-core\" }\n";
        assert!(manifest("Cargo.toml").contains(core), "{}", manifest("Cargo.toml"));
        let program = manifest("program/Cargo.toml");
        for line in [
            "watchkeeper-cli = { path = \"../../../checkout/crates/watchkeeper-cli\" }\n",
            "watchkeeper-detector-timeout = { path = \"../../../checkout/detectors/timeout\" }\n",
        ] {
            assert!(program.contains(line), "{program}");
        }
    }
}

#[test]
fn refuses_invalid_names() {
    let folder = Folder::new();
    let parent = text(folder.path());
    let refused = |sort: &str, name: &str| {
        let shown = seen(&["new", sort, "--in", parent, "--", name]);
        assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
        shown
    };
    let shown: Vec<_> = [
        ("detector", "AcmeBannedTool"),
        ("detector", "../escape"),
        ("detector", ""),
        ("detector", "serde"),
        ("detector", "watchkeeper-core"),
        ("detector", "acme-banned-tool"),
        ("detector", "detector-kind"),
        ("sink", "sink-error"),
        ("source", "event-sink"),
    ]
    .map(|(sort, name)| refused(sort, name))
    .into();
    assert_snapshot!(shown.join("\n"), @"
    error: `AcmeBannedTool` is not in kebab-case; did you mean `acme-banned-tool`?
    exit 2
    error: `../escape` is not in kebab-case; did you mean `acme-escape`?
    exit 2
    error: `` is not in kebab-case
    exit 2
    error: `serde` has no prefix; use one of your own, such as `acme-serde`
    exit 2
    error: `watchkeeper-core` has the prefix of watchkeeper; use one of your own
    exit 2
    error: detector `acme-banned-tool` exists already, in acme-detector 3.2.1; use another name
    exit 2
    error: `detector-kind` gives the type `DetectorKind`, which the code uses already; use another name
    exit 2
    error: `sink-error` gives the type `SinkError`, which the code uses already; use another name
    exit 2
    error: `event-sink` gives the type `EventSink`, which the code uses already; use another name
    exit 2
    ");
    let no_checkout = ["new", "sink", SINK, "--in", parent, "--path", parent];
    assert_snapshot!(seen(&no_checkout).replace(parent, "FOLDER"), @"
    error: `FOLDER` is not a checkout of watchkeeper
    exit 2
    ");
    let missing = ["new", "sink", SINK, "--in", parent, "--path", "/nonexistent"];
    assert_snapshot!(seen(&missing), @"
    error: cannot read `/nonexistent`: No such file or directory (os error 2)
    exit 2
    ");
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

/// Returns the files in a folder and its subfolders, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = path.strip_prefix(folder).expect("the file is in the folder");
                files.push(file.to_owned());
            }
        }
    }
    files.sort();
    files
}
