//! The policies in the repository, and the commands that read and print policies.

use std::path::Path;

use insta::assert_snapshot;
use watchkeeper_policy::{Loader, render};

use crate::{
    conformance::{load, registry},
    program::{Folder, program, run, seen},
    tidy,
};

#[test]
fn the_example_policy_is_valid_without_its_environment() {
    let path = tidy::root().join("policy.example.toml");
    let ran = run(&["validate", "--no-environment", "--deny-warnings", path.to_str().unwrap()]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{}", ran.err);
}

#[test]
fn warns_about_exceptions_and_overrides_that_match_nothing() {
    let folder = Folder::new();
    folder.write(
        "sessions/s1.ndjson",
        r#"{"at":"2027-01-01T00:00:00Z","session":"s1","event":"session_start","cwd":"/proj/shop"}
{"at":"2027-01-01T00:00:01Z","session":"s1","event":"tool_call","id":"1","tool":"Bash","arguments":{"command":"make check"}}
{"at":"2027-01-01T00:00:02Z","session":"s1","event":"tool_call","id":"2","tool":"Read","arguments":{"path":"a"}}
"#,
    );
    folder.write(
        "policy.toml",
        r#"version = 1
extends = ["builtin:default"]

[[detectors.repeated_call.exceptions]]
tool = "gdb*"
reason = "stepping a debugger repeats by design"

[[detectors.repeated_call.exceptions]]
tool = "Bash"
arguments = { command = "make" }
reason = "builds are repeated"

[[detectors.repeated_call.exceptions]]
tool = "Read"
reason = "of use"

[[overrides]]
match = { cwd = "*/nightly/*" }
reason = "the nightly run may take long"
detectors.silent_model.max = "9m"

[[overrides]]
match = { cwd = "*/shop" }
reason = "of use"
detectors.silent_model.max = "8m"
"#,
    );
    let validate = |args: &[&str]| {
        let mut command = program();
        let output = command.current_dir(folder.path()).args(["validate", "policy.toml"]);
        let output = output.args(args).output().expect("the program should start");
        let err = String::from_utf8(output.stderr).expect("the program should write UTF-8");
        format!("{err}exit {}", output.status.code().expect("the program should exit by itself"))
    };
    assert_snapshot!(validate(&["--against", "sessions"]), @r#"
    warning: no recorded call matches this exception
     --> policy.toml:4:1
      |
    4 | [[detectors.repeated_call.exceptions]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: remove it, or compare its spelling with the sessions
      = note: its reason is: stepping a debugger repeats by design

    warning: no recorded call matches this exception
     --> policy.toml:8:1
      |
    8 | [[detectors.repeated_call.exceptions]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: remove it, or compare its spelling with the sessions
      = note: its reason is: builds are repeated
      = note: calls of this tool exist, but none with these `arguments`; a pattern must match the whole value, as in `command = "*make check*"`

    warning: no recorded session matches this override
      --> policy.toml:17:1
       |
    17 | [[overrides]]
       | ^^^^^^^^^^^^^
       |
       = note: remove it, or compare its spelling with the sessions
       = note: its reason is: the nightly run may take long
    policy.toml is valid: 24 detectors, 1 sink, 1 route; compared with 1 session
    exit 0
    "#);
    assert_snapshot!(validate(&["--deny-warnings"]), @"
    policy.toml is valid: 24 detectors, 1 sink, 1 route
    exit 0
    ");
    assert!(validate(&["--deny-warnings", "--against", "sessions"]).ends_with("exit 78"));
    assert_snapshot!(validate(&["--against", "gone"]), @"
    error: `gone` does not exist
    exit 2
    ");
    assert_snapshot!(validate(&["--against", "policy.toml"]), @"
    error: --against takes recorded sessions, and `policy.toml` is a policy; name the policy before --against
    exit 2
    ");
}

#[test]
fn reports_five_mistakes_in_one_run() {
    let folder = Folder::new();
    let policy = folder.write(
        "policy.toml",
        r#"version = 1

[detectors.repeated_call]
kind = "repeat-tool-cal"

[detectors.slow]
kind = "timeout"
of = "turn"
max = 300
levles = []

[sinks.console]
kind = "stderr"
format = "txt"

[[routes]]
match = { severity = ">=hihg" }
sinks = ["console"]
"#,
    );
    let ran = run(&["validate", policy.to_str().unwrap()]);
    assert_eq!(ran.status, 78);
    assert_eq!(ran.err.matches("error: ").count(), 5, "{}", ran.err);
    for (line, _) in [(4, "kind"), (9, "max"), (10, "levles"), (14, "format"), (17, "severity")] {
        assert!(ran.err.contains(&format!("policy.toml:{line}:")), "{line}:\n{}", ran.err);
    }
    // Every command that runs under a policy refuses this one.
    let policy = policy.to_str().unwrap();
    for args in [&["check", "--policy", policy, "."][..], &["watch", "--policy", policy, "."]] {
        assert_eq!(run(args).status, 78);
    }
}

#[test]
fn points_at_every_invalid_value() {
    let text = r#"version = 1

[detectors.push]
kind = "pattern"
symbols.E = { event = "tool_rsult", class = "write" }
symbols.F = { event = "prompt", tool = "Bash" }
symbols.G = { text = { regex = "(a" } }
pattern = "E F G"
within = 20
"#;
    let loaded = load(&registry(), text);
    assert!(loaded.policy.is_none());
    let pointed: Vec<&str> = loaded.diagnostics.iter().map(|it| &text[it.span.clone()]).collect();
    let table = r#"{ event = "prompt", tool = "Bash" }"#;
    assert_eq!(pointed, [r#""tool_rsult""#, table, r#"{ regex = "(a" }"#, "20"]);
}

#[test]
fn the_regular_expressions_of_a_policy_are_bounded_together() {
    let policy = |n: usize, expression: &str, more: &str| {
        let expressions = vec![format!("{{ regex = '{expression}' }}"); n].join(",");
        format!(
            "version = 1
[detectors.hostile]
kind = 'pattern'
symbols.E = {{ event = 'tool_result', text = [{expressions}] }}
pattern = 'E'
{more}"
        )
    };
    let refusal = |text: &str| {
        assert!(text.len() < 1 << 18);
        render(&load(&registry(), text), false)
    };
    assert_snapshot!(refusal(&policy(2_000, r"\w{2000}", "")), @"
    error: the compiled options of the detectors exceed 128 MiB with `hostile`
     --> policy.toml:2:12
      |
    2 | [detectors.hostile]
      |            ^^^^^^^
      |
      = note: regular expressions take up the most: 128 KiB each, and more if they have many repetitions; use globs, or fewer regular expressions and repetitions
    ");
    let override_ = "[[overrides]]
match = { cwd = '/a' }
reason = 'two detectors'
detectors.hostile.within = '5m'
[[detectors.hostile.exceptions]]
tool = 'Bash'
reason = 'an exception hides no memory'";
    let twice = refusal(&policy(150, r"\w{2000}", override_));
    assert!(twice.contains("exceed 128 MiB with `hostile`"), "{twice}");
    for (n, usual) in [
        (600, r"(?i)\b(?:error|exception|failed)\b.{0,200}"),
        (900, r"rejected.*(non-fast-forward|fetch first)"),
        (150, r"\w{2000}"),
    ] {
        let loaded = load(&registry(), &policy(n, usual, ""));
        assert!(loaded.policy.is_some(), "{}", render(&loaded, false));
    }
}

#[test]
fn reports_a_missing_policy() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.toml");
    let ran = run(&["validate", missing.to_str().unwrap()]);
    assert_eq!(ran.status, 2, "{}", ran.err);
    assert!(ran.err.starts_with("error: cannot read the policy `"), "{}", ran.err);
    for command in ["check", "watch", "explain"] {
        let ran = run(&["--policy", missing.to_str().unwrap(), command, "."]);
        assert_eq!(ran.status, 2, "{command}: {}", ran.err);
    }
    // A policy that extends a missing file is invalid.
    let text = "version = 1\nextends = [\"missing.toml\"]\n";
    let policy = folder.write("policy.toml", text);
    assert_eq!(run(&["validate", policy.to_str().unwrap()]).status, 78);
}

#[test]
fn the_printed_policy_can_be_loaded_again() {
    let ran = run(&["policy"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("# builtin:default:"), "{}", ran.out);
    let registry = registry();
    let read_file = |_: &Path| Ok(ran.out.clone());
    let loader = Loader::new(&registry, &read_file);
    let again = loader.load(Path::new("printed.toml"));
    assert!(again.diagnostics.is_empty(), "{}", render(&again, false));
    let builtin = loader.load_builtin().policy.unwrap();
    let ids = |policy: &watchkeeper_policy::Policy| {
        policy.detectors.iter().map(|detector| detector.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&again.policy.unwrap()), ids(&builtin));
}

#[test]
fn the_builtin_policy_has_comments() {
    let ran = run(&["policy", "--builtin"]);
    assert_eq!(ran.status, 0);
    assert!(ran.out.lines().filter(|it| it.starts_with('#')).count() > 10, "{}", ran.out);
    assert!(seen(&["validate"]).ends_with("exit 0"));
}

#[test]
fn each_builtin_policy_is_printed_by_its_name() {
    let print = |name: &str| run(&["policy", "--builtin", name]).out;
    assert_eq!(print("default"), run(&["policy", "--builtin"]).out);
    assert!(print("safe-session").contains("[detectors.session_timeout]"));
    assert!(seen(&["--policy", "builtin:safe-session", "validate"]).ends_with("exit 0"));
}

#[test]
fn exceptions_expire_and_overrides_match_sessions() {
    let folder = Folder::new();
    let session = folder.write(
        "session.ndjson",
        r#"{"event":"session_start","at":"2026-01-01T00:00:00Z","session":"s1","cwd":"/srv/nightly/app"}
{"event":"prompt","at":"2026-01-01T00:00:01Z","session":"s1","text":"go"}
{"event":"message","at":"2026-01-01T00:31:01Z","session":"s1","text":"done"}
"#,
    );
    let policy = |expires: &str, folder_name: &str| {
        let text = format!(
            r#"version = 1

[detectors.repeated_call]
kind = "repeat-tool-call"

[[detectors.repeated_call.exceptions]]
tool = "gdb*"
reason = "stepping a debugger repeats by design"
expires = {expires}

[detectors.session]
kind = "timeout"
of = "session"
max = "30m"
severity = "high"

[[overrides]]
match = {{ source = "ndjson", cwd = "*/{folder_name}/*" }}
reason = "the nightly refactor runs long on purpose"
detectors.session.max = "3h"

[sinks.console]
"#
        );
        folder.write("policy.toml", &text)
    };
    let validate =
        |policy: &Path| run(&["validate".as_ref(), "--deny-warnings".as_ref(), policy.as_os_str()]);
    let check = |policy: &Path| {
        let (policy, session) = (policy.as_os_str(), session.as_os_str());
        run(&["--policy".as_ref(), policy, "check".as_ref(), session])
    };

    let good = policy("9999-12-31", "nightly");
    let ran = validate(&good);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.err.contains("is valid: 2 detectors"), "{}", ran.err);
    let ran = check(&good);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);

    let expired = policy("2020-02-29", "weekly");
    let ran = validate(&expired);
    assert_eq!(ran.status, 78, "{}", ran.err);
    assert!(ran.err.contains("this exception expired on 2020-02-29"), "{}", ran.err);
    let ran = check(&expired);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("working for "), "{}", ran.out);
}

#[test]
fn init_writes_a_policy_that_is_found() {
    let folder = Folder::new();
    folder.write("home/.claude/projects/p/.keep", "");
    folder.write("work/.git/HEAD", "");
    folder.write("work/src/.keep", "");
    let run = |inner: &str, args: &[&str]| {
        let mut command = program();
        command.env("HOME", folder.path().join("home")).current_dir(folder.path().join(inner));
        let ran = command.args(args).output().expect("the program should start");
        let text = [ran.stdout, ran.stderr].concat();
        (ran.status.code(), String::from_utf8(text).expect("the program writes UTF-8"))
    };
    let (status, text) = run("work", &["init"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("wrote .watchkeeper.toml") && text.contains("claude-code"), "{text}");
    let policy = std::fs::read_to_string(folder.path().join("work/.watchkeeper.toml")).unwrap();
    assert!(policy.contains("#   claude-code: "), "{policy}");
    // All commands find the file in the repository.
    let (status, text) = run("work/src", &["validate", "-v", "--deny-warnings"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(".watchkeeper.toml (found in this repository)"), "{text}");
    let (status, text) = run("work", &["init"]);
    assert_eq!(status, Some(2));
    assert!(text.contains("exists already; use --force"), "{text}");
    assert_eq!(run("work", &["init", "--force", "--quiet"]), (Some(0), String::new()));
    // Every suggestion in the policy is valid.
    let all = policy.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.starts_with('[') || code.contains(" = ") && !code.contains('`') => code,
        _ => line,
    });
    let all: Vec<&str> = all.collect();
    folder.write("work/all.toml", all.join("\n"));
    let (status, text) = run("work", &["validate", "--deny-warnings", "all.toml"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("26 detectors, 2 sinks, 2 routes"), "{text}");
    // The user's policy applies outside of the repository.
    assert_eq!(run("home", &["init", "--user", "--quiet"]), (Some(0), String::new()));
    let (_, text) = run("home", &["policy", "-v"]);
    assert!(text.contains("policy.toml (found in your folder for configuration)"), "{text}");
}

#[test]
fn check_names_a_policy_that_it_found() {
    let folder = Folder::new();
    folder.write("session.ndjson", "{\"at\":\"2027-01-01T00:00:00Z\",\"session\":\"s1\",\"event\":\"prompt\",\"text\":\"go\"}\n");
    folder.write(".watchkeeper.toml", "version = 1\nextends = [\"builtin:default\"]\n");
    let check = |args: &[&str]| {
        let output = program().current_dir(folder.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    let found = check(&["check", "session.ndjson"]);
    assert!(found.ends_with("/.watchkeeper.toml (found in this folder)\n"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
    assert_eq!(check(&["check", "-q", "session.ndjson"]), "");
    assert_eq!(check(&["check", "--policy", ".watchkeeper.toml", "session.ndjson"]), "");
}

#[test]
fn secrets_are_looked_up_only_to_deliver_findings() {
    let folder = Folder::new();
    let session = folder.write("session.ndjson", "{\"at\":\"2027-01-01T00:00:00Z\",\"session\":\"s1\",\"event\":\"prompt\",\"text\":\"go\"}\n");
    let policy = folder.write(
        "policy.toml",
        r#"version = 1
extends = ["builtin:default"]
[secrets]
ops_url = { env = "WATCHKEEPER_TEST_NOT_SET" }
[sinks.ops]
kind = "webhook"
url = { secret = "ops_url" }
"#,
    );
    let session = session.to_str().unwrap();
    for (args, status) in [
        (&["policy"][..], 0),
        (&["explain", "call_loop"], 0),
        (&["check", session], 0),
        (&["validate", "--no-environment"], 0),
        (&["validate"], 78),
        (&["watch", session], 78),
    ] {
        let args = [&["--policy", policy.to_str().unwrap()], args].concat();
        let ran = run(&args);
        assert_eq!(ran.status, status, "{args:?}: {}", ran.err);
    }
}

#[test]
fn validate_prints_the_files_of_sinks() {
    let folder = Folder::new();
    let sink = "[sinks.audit]\nkind = \"file\"\npath = \"findings.ndjson\"\n";
    folder
        .write("team/policy.toml", format!("version = 1\nextends = [\"builtin:default\"]\n{sink}"));
    let output = program()
        .current_dir(folder.path())
        .args(["validate", "team/policy.toml"])
        .output()
        .expect("the program should start");
    let err = String::from_utf8(output.stderr).unwrap();
    let file = folder.path().join("team/findings.ndjson");
    assert!(err.contains(&format!("sink `audit` writes to `{}`\n", file.display())), "{err}");
}

#[test]
fn a_test_finding_goes_to_the_named_sinks() {
    let folder = Folder::new();
    let policy = folder.write(
        "policy.toml",
        r#"version = 1
extends = ["builtin:default"]
[sinks.audit]
kind = "file"
path = "findings.ndjson"
[sinks.ops]
kind = "webhook"
url = "https://localhost:1/hook"
allow_private = true
[sinks.off]
kind = "file"
path = "off.ndjson"
enabled = false
"#,
    );
    let policy = policy.to_str().unwrap();
    let test = |args: &[&str]| seen(&[&["--policy", policy, "sink", "test"], args].concat());
    assert_snapshot!(test(&["audit"]), @"
    sink `audit` (file): delivered
    exit 0
    ");
    assert_snapshot!(test(&["--quiet", "audit"]), @"exit 0");
    let both = test(&["audit", "ops"]);
    let failed = "sink `audit` (file): delivered\nerror: sink `ops` (webhook): unavailable: ";
    assert!(both.starts_with(failed) && both.ends_with("\nexit 2"), "{both}");
    assert_snapshot!(test(&["off"]), @"
    error: the policy has no active sink `off`; its sinks are: audit, console, ops
    exit 2
    ");
    assert_snapshot!(test(&["audti"]), @"
    error: the policy has no active sink `audti`; did you mean `audit`?; its sinks are: audit, console, ops
    exit 2
    ");
    assert_snapshot!(test(&[]), @"
    error: the following required arguments were not provided:
      <NAME>...

    Usage: acme-watchkeeper sink test <NAME>...

    For more information, try '--help'.
    exit 2
    ");
    assert!(test(&["--all"]).ends_with("exit 2"));

    let findings = std::fs::read_to_string(folder.path().join("findings.ndjson")).unwrap();
    assert_eq!(findings.lines().count(), 4, "{findings}");
    for finding in findings.lines() {
        assert!(finding.contains(r#""detector":"watchkeeper-test""#), "{finding}");
        assert!(
            finding.contains(
                r#""message":"test of the sink `audit`, sent by `watchkeeper sink test`""#
            ),
            "{finding}"
        );
    }
    let ids: std::collections::BTreeSet<_> =
        findings.lines().map(|finding| finding.split_once(',').unwrap().0).collect();
    assert_eq!(ids.len(), 4, "{findings}");
}

/// An agent may write to the folder of its project.
#[cfg(unix)]
#[test]
fn a_policy_of_a_project_runs_no_program_unless_it_is_named() {
    let folder = Folder::new();
    let sink = "[sinks.notify]\nkind = \"exec\"\ncommand = [\"touch\", \"ran\"]\n";
    let policy = format!("version = 1\nextends = [\"builtin:default\"]\n{sink}");
    folder.write(".watchkeeper.toml", policy);
    let run = |args: &[&str]| {
        let mut program = program();
        program.current_dir(folder.path()).env("PATH", "/usr/bin:/bin").args(args);
        let output = program.output().expect("the program should start");
        let err = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), err.replace(folder.path().to_str().unwrap(), ""))
    };
    let (status, err) = run(&["sink", "test", "notify"]);
    assert_eq!(status, Some(2), "{err}");
    assert_snapshot!(err, @"error: the sink `notify` of the policy `/.watchkeeper.toml` runs a program, and agents may be able to write this policy; if you trust it, use --policy `/.watchkeeper.toml`");
    assert_eq!(run(&["watch", "sessions"]), (status, err));
    assert!(!folder.path().join("ran").exists());
    let (status, err) = run(&["--policy", ".watchkeeper.toml", "sink", "test", "notify"]);
    assert_eq!(status, Some(0), "{err}");
    assert!(folder.path().join("ran").exists());
}

#[test]
fn validate_denies_a_policy_that_notifies_nobody() {
    let folder = Folder::new();
    let policy = "version = 1\n[detectors.repeated_call]\nkind = \"repeat-tool-call\"\n";
    let path = folder.write("policy.toml", policy);
    let path = path.to_str().unwrap();
    assert_eq!(run(&["validate", path]).status, 0);
    let ran = run(&["validate", "--deny-warnings", path]);
    assert_eq!(ran.status, 78);
    assert!(ran.err.contains("warning: the policy has no sinks"), "{}", ran.err);
}
