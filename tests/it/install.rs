//! `install`, `uninstall` and `doctor`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use insta::assert_snapshot;

use crate::program::{Folder, Ran, program};

const CLIENTS: [&str; 7] =
    ["claude-code", "codex", "copilot-cli", "cursor", "gemini-cli", "opencode", "qwen-code"];

/// Runs the program with a folder as home and working folder. Replaces the folder in its output.
fn seen(folder: &Folder, args: &[&str]) -> String {
    let home = folder.path();
    let Ran { out, err, status } = Ran::of(
        program()
            .current_dir(home)
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join("state"))
            .env("PATH", "/usr/bin:/bin")
            .args(args),
    );
    let text = format!("{out}{err}exit {status}");
    let program = env!("CARGO_BIN_EXE_acme-watchkeeper");
    text.replace(program, "PROGRAM").replace(home.to_str().unwrap(), "HOME")
}

#[test]
fn an_installation_prints_its_difference_and_is_removed_byte_for_byte() {
    let folder = Folder::new();
    let settings = "{\n  // large\n  \"model\": \"opus\"\n}\n";
    let file = folder.write(".claude/settings.json", settings);
    let install = ["install", "claude-code", "--act", "nudge"];
    assert_snapshot!(seen(&folder, &install), @r#"
    --- HOME/.claude/settings.json
      {
        // large
    -   "model": "opus"
    +   "model": "opus",
    +   "hooks": {
    +     "PreToolUse": [
    +       {
    +         "hooks": [
    +           {
    +             "type": "command",
    +             "command": "PROGRAM hook claude-code --act nudge",
    +             "timeout": 5
    +           }
    +         ]
    +       }
    +     ],
    +     "UserPromptSubmit": [
    +       {
    +         "hooks": [
    +           {
    +             "type": "command",
    +             "command": "PROGRAM hook claude-code --act nudge",
    +             "timeout": 5
    +           }
    +         ]
    +       }
    +     ]
    +   }
      }
    wrote HOME/.claude/settings.json
    new sessions of claude-code call the hook
    exit 0
    "#);
    assert_snapshot!(seen(&folder, &install), @"
    HOME/.claude/settings.json is unchanged
    exit 0
    ");
    assert_snapshot!(seen(&folder, &["uninstall", "claude-code"]), @r#"
    --- HOME/.claude/settings.json
      {
        // large
    -   "model": "opus",
    -   "hooks": {
    -     "PreToolUse": [
    -       {
    -         "hooks": [
    -           {
    -             "type": "command",
    -             "command": "PROGRAM hook claude-code --act nudge",
    -             "timeout": 5
    -           }
    -         ]
    -       }
    -     ],
    -     "UserPromptSubmit": [
    -       {
    -         "hooks": [
    -           {
    -             "type": "command",
    -             "command": "PROGRAM hook claude-code --act nudge",
    -             "timeout": 5
    -           }
    -         ]
    -       }
    -     ]
    -   }
    +   "model": "opus"
      }
    wrote HOME/.claude/settings.json
    exit 0
    "#);
    assert_eq!(fs::read_to_string(file).unwrap(), settings);
    assert_snapshot!(seen(&folder, &["uninstall", "claude-code"]), @"
    HOME/.claude/settings.json is unchanged
    exit 0
    ");
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = Folder::new();
    assert_snapshot!(seen(&folder, &["install", "codex", "--dry-run"]), @r#"
    --- HOME/.codex/hooks.json
    + {
    +   "hooks": {
    +     "PreToolUse": [
    +       {
    +         "hooks": [
    +           {
    +             "type": "command",
    +             "command": "PROGRAM hook codex",
    +             "timeout": 5
    +           }
    +         ]
    +       }
    +     ],
    +     "UserPromptSubmit": [
    +       {
    +         "hooks": [
    +           {
    +             "type": "command",
    +             "command": "PROGRAM hook codex",
    +             "timeout": 5
    +           }
    +         ]
    +       }
    +     ]
    +   }
    + }
    would write HOME/.codex/hooks.json
    the hook only observes: it has no `--act`, and the mode of the built-in policy is `observe`
    exit 0
    "#);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_client_is_installed_and_removed_for_the_user_and_in_a_project() {
    for scope in [&[][..], &["--project"]] {
        let folder = Folder::new();
        let run = |command: &str| seen(&folder, &[&[command][..], scope, &CLIENTS].concat());
        let installed = run("install");
        assert!(installed.ends_with("exit 0"), "{installed}");
        assert_eq!(installed.matches("wrote ").count(), CLIENTS.len(), "{installed}");
        let removed = run("uninstall");
        assert_eq!(removed.matches("removed ").count(), CLIENTS.len(), "{removed}");
    }
}

#[test]
fn settings_that_cannot_be_edited_stay() {
    let folder = Folder::new();
    let file = folder.write(".codex/hooks.json", "{\"hooks\": \n oops}");
    assert_snapshot!(seen(&folder, &["install", "codex"]), @"
    error: cannot edit `HOME/.codex/hooks.json`: Unexpected token on line 2 column 2; correct the file, and try again
    exit 2
    ");
    fs::write(&file, "{}").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert_snapshot!(seen(&folder, &["install", "codex"]), @"
    error: `HOME/.codex/hooks.json` is read-only; make it writable, and try again
    exit 2
    ");
    assert_eq!(fs::read_to_string(file).unwrap(), "{}");
}

#[test]
fn a_client_whose_settings_cannot_be_edited_holds_up_no_other() {
    let folder = Folder::new();
    folder.write(".codex/hooks.json", "oops");
    let seen = seen(&folder, &["install", "codex", "cursor"]);
    assert!(seen.contains("error: cannot edit `HOME/.codex/hooks.json`"), "{seen}");
    assert!(seen.contains("wrote HOME/.cursor/hooks.json"), "{seen}");
    assert!(seen.ends_with("exit 2"), "{seen}");
}

#[test]
fn the_doctor_finds_a_missing_program_behind_a_fallback() {
    let folder = Folder::new();
    seen(&folder, &["install", "copilot-cli"]);
    let file = folder.path().join(".copilot/hooks/watchkeeper.json");
    let settings = fs::read_to_string(&file).unwrap();
    let program = env!("CARGO_BIN_EXE_acme-watchkeeper");
    fs::write(&file, settings.replace(program, "/missing/watchkeeper")).unwrap();
    let seen = seen(&folder, &["doctor", "copilot-cli"]);
    assert!(seen.contains("the program of the hook is missing"), "{seen}");
}

#[test]
fn the_doctor_says_why_a_hook_does_not_work() {
    let folder = Folder::new();
    assert_snapshot!(seen(&folder, &["doctor"]), @"
    found no settings of a client
    exit 0
    ");
    let file = folder.write(".gemini/settings.json", "{}");
    assert_snapshot!(seen(&folder, &["doctor"]), @"
    gemini-cli
      no hook: `watchkeeper install gemini-cli` adds it
    exit 0
    ");
    seen(&folder, &["install", "gemini-cli"]);
    let settings = fs::read_to_string(&file).unwrap();
    let faults = [
        (env!("CARGO_BIN_EXE_acme-watchkeeper"), "/missing/watchkeeper"),
        ("hook gemini-cli 2>", "hook gemini-cli --act bogus 2>"),
        ("AfterTool", "AfterAgent"),
        ("{\n", "{\n  \"hooksConfig\": {\"enabled\": false},\n"),
        ("[\n", "\n"),
    ]
    .map(|(from, to)| {
        fs::write(&file, settings.replacen(from, to, 1)).unwrap();
        seen(&folder, &["doctor", "gemini-cli"])
    });
    assert_snapshot!(faults.join("\n"), @"
    gemini-cli
      fails  HOME/.gemini/settings.json: the program of the hook is missing, or cannot be run; `watchkeeper install gemini-cli` corrects it
    exit 1
    gemini-cli
      fails  HOME/.gemini/settings.json: the hook ended with exit status: 0: error: invalid value 'bogus' for '--act <ACTION>'; `watchkeeper install gemini-cli` corrects it
    exit 1
    gemini-cli
      fails  HOME/.gemini/settings.json: the hook for AfterTool is missing; `watchkeeper install gemini-cli` adds it
    exit 1
    gemini-cli
      fails  HOME/.gemini/settings.json: `hooksConfig.enabled = false` in `HOME/.gemini/settings.json` switches the hook off
    exit 1
    gemini-cli
      fails  HOME/.gemini/settings.json: Unexpected token in object on line 15 column 5; correct the file, and try again
    exit 1
    ");
}

#[test]
fn the_doctor_calls_the_hook_and_knows_the_last_call_of_the_client() {
    let folder = Folder::new();
    seen(&folder, &["install", "codex", "opencode"]);
    let doctor = || {
        let text = seen(&folder, &["doctor", "codex", "opencode"]);
        // The times are different each time.
        let words = text.split(' ');
        let is_number = |word: &str| word.trim_end_matches('s').parse::<u64>().is_ok();
        let words = words.map(|word| if is_number(word) { "N" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    assert_snapshot!(doctor(), @"
    codex
      works  HOME/.codex/hooks.json: answered in N ms
             observes only: it has no `--act`, and the mode of the built-in policy is `observe`
             not called yet: Codex runs a new hook only after you have approved it: start `codex` and enter `/hooks`
    opencode
      works  HOME/.config/opencode/plugin/watchkeeper.js: answered in N ms
             observes only: it has no `--act`, and the mode of the built-in policy is `observe`
             not called yet: only new sessions call it
    exit N
    ");
    let settings = fs::read_to_string(folder.path().join(".codex/hooks.json")).unwrap();
    assert!(settings.contains("hook codex"), "{settings}");
    let payload = folder.write("payload", r#"{"hook_event_name":"PreToolUse","session_id":"s"}"#);
    let Ran { out, err, status } = Ran::of(
        program()
            .env("XDG_STATE_HOME", folder.path().join("state"))
            .stdin(fs::File::open(payload).unwrap())
            .args(["hook", "codex"]),
    );
    assert_eq!((out.as_str(), err.as_str(), status), ("", "", 0));
    assert_snapshot!(doctor(), @"
    codex
      works  HOME/.codex/hooks.json: answered in N ms
             observes only: it has no `--act`, and the mode of the built-in policy is `observe`
             called last N ago
    opencode
      works  HOME/.config/opencode/plugin/watchkeeper.js: answered in N ms
             observes only: it has no `--act`, and the mode of the built-in policy is `observe`
             not called yet: only new sessions call it
    exit N
    ");
}

#[test]
fn the_hook_gets_the_policy_and_the_state_folder() {
    let folder = Folder::new();
    folder.write(
        "my policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n[monitor]\nmode = \"enforce\"\n",
    );
    let options = ["--policy", "my policy.toml", "--state-dir", "kept"];
    let installed = seen(&folder, &[&["install", "cursor"][..], &options].concat());
    let command = "PROGRAM hook cursor --policy 'HOME/my policy.toml' --state-dir HOME/kept";
    assert!(installed.contains(command), "{installed}");
    let project = seen(&folder, &[&["install", "cursor", "--project"][..], &options].concat());
    let command = "acme-watchkeeper hook cursor --policy 'my policy.toml'\"";
    assert!(project.contains(command), "{project}");
}

#[test]
fn the_doctor_says_what_a_hook_may_do() {
    let folder = Folder::new();
    seen(&folder, &["install", "claude-code"]);
    let doctor = || {
        let text = seen(&folder, &["doctor", "claude-code"]);
        let (before, after) = text.split_once(" answered in ").unwrap_or((&text, ""));
        format!("{before}{}", after.split_once(" ms").map_or("", |(_, rest)| rest))
    };
    let policies = [
        "version = 1\nextends = [\"builtin:default\"]\n",
        "version = 1\nextends = [\"builtin:default\"]\n[monitor]\nmode = \"enforce\"\n",
        "version = 1\nextends = [\"builtin:default\"]\n[monitor]\nmode = \"enforce\"\n[detectors.repeated_call]\n\
         levels = [{ at = 4, severity = \"high\", action = \"deny\" }]\n",
        "version = 1\nextends = [\"builtin:default\"]\n[monitor]\ndry_run = true\n",
        "version = 1\nextends = [\"nothing\"]\n",
    ]
    .map(|policy| {
        folder.write(".watchkeeper.toml", policy);
        doctor()
    });
    assert_snapshot!(policies.join("\n"), @"
    claude-code
      works  HOME/.claude/settings.json:
             observes only: it has no `--act`, and the mode of HOME/.watchkeeper.toml is `observe`
             not called yet: only new sessions call it
    exit 0
    claude-code
      works  HOME/.claude/settings.json:
             observes only: it has no `--act`, and HOME/.watchkeeper.toml has no actions
             not called yet: only new sessions call it
    exit 0
    claude-code
      works  HOME/.claude/settings.json:
             not called yet: only new sessions call it
    exit 0
    claude-code
      works  HOME/.claude/settings.json:
             observes only: `dry_run` in HOME/.watchkeeper.toml
             not called yet: only new sessions call it
    exit 0
    claude-code
      fails  HOME/.claude/settings.json: the hook lets every call pass, since its policy is not used: HOME/.watchkeeper.toml:2: cannot read `HOME/nothing`: No such file or directory (os error 2)
    exit 1
    ");
}

#[test]
fn the_doctor_finds_switches_in_other_settings_and_a_second_hook() {
    let folder = Folder::new();
    // The user's settings are not those of the project.
    folder.write("project/.claude/settings.local.json", "{\"disableAllHooks\": true}");
    let project = folder.path().join("project");
    let run = |args: &[&str]| {
        let home = folder.path();
        let Ran { out, err, status } = Ran::of(
            program()
                .current_dir(&project)
                .env("HOME", home)
                .env("XDG_STATE_HOME", home.join("state"))
                .env("PATH", "/usr/bin:/bin")
                .args(args),
        );
        format!("{out}{err}exit {status}").replace(home.to_str().unwrap(), "HOME")
    };
    run(&["install", "claude-code"]);
    run(&["install", "claude-code", "--project"]);
    assert_snapshot!(run(&["doctor"]), @"
    claude-code
      fails  HOME/.claude/settings.json: `disableAllHooks = true` in `HOME/project/.claude/settings.local.json` switches the hook off
      fails  HOME/project/.claude/settings.json: `disableAllHooks = true` in `HOME/project/.claude/settings.local.json` switches the hook off
      both hooks run at each call here: `watchkeeper uninstall claude-code --project` removes one
    exit 1
    ");
}

#[test]
fn the_doctor_runs_nothing_that_a_project_has_chosen() {
    let folder = Folder::new();
    let project = folder.path().join("project");
    folder.write("project/watchkeeper", "#!/bin/sh\ntouch ran\n");
    let program_file = project.join("watchkeeper");
    fs::set_permissions(&program_file, fs::Permissions::from_mode(0o755)).unwrap();
    for (program_name, options) in
        [("./watchkeeper", ""), ("acme-watchkeeper", " --state-dir here")]
    {
        let hook = format!("[{{\"command\": \"{program_name} hook cursor{options}\"}}]");
        let settings =
            format!("{{\"hooks\": {{\"preToolUse\": {hook}, \"beforeSubmitPrompt\": {hook}}}}}");
        folder.write("project/.cursor/hooks.json", &settings);
        let Ran { out, status, .. } = Ran::of(
            program().current_dir(&project).env("HOME", folder.path()).args(["doctor", "cursor"]),
        );
        assert!(out.contains("was not tested, as it may be anybody's"), "{out}");
        assert_eq!(status, 1);
        assert!(!project.join("ran").exists() && !project.join("here").exists());
    }
}
