//! Output of `test`, which runs the tests of a policy.

use std::fs;

use insta::assert_snapshot;

use crate::{
    program::{Folder, program, run},
    tidy,
};

/// Returns the output and exit status of a run in a folder.
#[track_caller]
fn seen(folder: &Folder, args: &[&str]) -> String {
    let mut command = program();
    let output = command.current_dir(folder.path()).arg("test").args(args).output();
    let output = output.expect("the program should start");
    let status = output.status.code().expect("the program should exit by itself");
    let text = |bytes| String::from_utf8(bytes).expect("the program should write UTF-8");
    format!("{}{}exit {status}", text(output.stdout), text(output.stderr))
}

const POLICY: &str = r#"version = 1

[detectors.repeated_call]
kind = "repeat-tool-call"
levels = [{ at = 3, severity = "low" }, { at = 4, severity = "high" }]

[sinks.console]
kind = "stderr"

[sinks.audit]
kind = "file"
path = "findings.ndjson"

[[routes]]
sinks = ["audit"]

[[routes]]
match = { severity = "high", "label:team" = "payments" }
sinks = ["console"]
"#;

const SCENARIO: &str = r#"# A team's own

```toml
version = 1

[detectors.banned]
kind = "acme-banned-tool"
tools = ["WebFetch"]
```

## One page

```trace
5s call WebFetch
```

```findings
```

## Another page

```trace
0s prompt hi
7s call WebFetch
```

```findings
7s      medium   banned: `WebFetch` is forbidden
9s      low      banned: again
```
"#;

#[test]
fn the_example_policy_passes_its_tests() {
    let path = tidy::root().join("policy.example.test.toml");
    let ran = run(&["test", path.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(5 <= ran.out.lines().filter(|it| it.starts_with("ok ")).count(), "{}", ran.out);
}

#[test]
fn shows_expected_and_actual_findings() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write(
        "policy.test.toml",
        r#"version = 1
policy = "policy.toml"

[[tests]]
name = "it passes"
generate = { repeat = 2, every = "5s", events = [{ tool = "Bash", result = "no" }] }
expect = []
expect_sinks = []

[[tests]]
name = "severity, time, message and sinks"
start = { labels = { team = "payments" } }
generate = { repeat = 4, every = "5s", events = [{ tool = "Bash", result = "no" }] }
expect = [
    { detector = "repeated_call", severity = "low", at = "11s" },
    { detector = "repeated_call", severity = "high", message = "`Bash` returned * 4 times in 15s*" },
    { detector = "repeated_call", count = 9 },
]
expect_sinks = ["audit"]
"#,
    );
    assert_snapshot!(seen(&folder, &[]), @"
    ok    policy.test.toml: it passes
    FAIL  policy.test.toml: severity, time, message and sinks

          at   status  detector       count  message
        - 11s  low     repeated_call  *      *
        + 10s  low     repeated_call  3      `Bash` returned the same result for the same call 3 times in 10s: `no`
          15s  high    repeated_call  4      `Bash` returned the same result for the same call 4 times in 15s: `no`
        - *    *       repeated_call  9      *
          notified sinks
          audit
        + console

    1 passed, 1 failed (- expected, + actual)
    exit 1
    ");
    assert_snapshot!(seen(&folder, &["--filter", "passes"]), @"
    ok    policy.test.toml: it passes
    1 passed, 0 failed
    exit 0
    ");
    assert_snapshot!(seen(&folder, &["-q", "--filter", "passes"]), @"
    1 passed, 0 failed
    exit 0
    ");
    assert_snapshot!(seen(&folder, &["--filter", "nothing"]), @"
    error: no test name contains the text of --filter
    exit 2
    ");
    assert!(seen(&folder, &["--color=always"]).contains("\u{1b}[32m+ "));
}

#[test]
fn points_at_every_mistake() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write(
        "policy.test.toml",
        r#"version = 1
policy = "policy.toml"

[[tests]]
name = "all wrong"
trace = "0s prompt hi"
events = "x.ndjson"
advance = 30
expects = []
expect = [{ detector = "stuk", severity = "hi" }, { detector = "stuk" }]
expect_sinks = ["audti"]
"#,
    );
    assert_snapshot!(seen(&folder, &["policy.test.toml"]), @r#"
    error: `trace` and `events` cannot be used together
     --> policy.test.toml:6:9
      |
    6 | trace = "0s prompt hi"
      |         ^^^^^^^^^^^^^^
      |
      = note: a test must have exactly one of `events`, `trace` and `generate`

    error: expected a length of time such as "30s", "5m" or "1h 30m", found the number `30`
     --> policy.test.toml:8:11
      |
    8 | advance = 30
      |           ^^
      |
    help: if the number is in seconds
      |
    8 - advance = 30
    8 + advance = "30s"
      |

    error: unknown key `expects`
     --> policy.test.toml:9:1
      |
    9 | expects = []
      | ^^^^^^^
      |
      = note: expected one of `advance`, `events`, `expect`, `expect_no_others`, `expect_sinks`, `generate`, `name`, `start`, `trace`
    help: there is one with a similar name
      |
    9 - expects = []
    9 + expect = []
      |

    error: unknown value `hi`
      --> policy.test.toml:10:43
       |
    10 | expect = [{ detector = "stuk", severity = "hi" }, { detector = "stuk" }]
       |                                           ^^^^
       |
       = note: expected one of `low`, `medium`, `high`
    help: there is one with a similar name
       |
    10 | expect = [{ detector = "stuk", severity = "high" }, { detector = "stuk" }]
       |                                              ++

    error: the policy has no enabled detector `stuk`
      --> policy.test.toml:10:64
       |
    10 | expect = [{ detector = "stuk", severity = "hi" }, { detector = "stuk" }]
       |                                                                ^^^^^^
       |
       = note: enabled detectors: repeated_call

    error: the policy has no enabled sink `audti`
      --> policy.test.toml:11:17
       |
    11 | expect_sinks = ["audti"]
       |                 ^^^^^^^
       |
       = note: enabled sinks: audit, console
    help: there is one with a similar name
       |
    11 - expect_sinks = ["audti"]
    11 + expect_sinks = ["audit"]
       |
    exit 78
    "#);
}

/// Returns the output for invalid tests.
#[track_caller]
fn mistakes(tests: &str) -> String {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write("policy.test.toml", format!("version = 1\npolicy = \"policy.toml\"\n{tests}"));
    seen(&folder, &["policy.test.toml"])
}

#[test]
fn a_test_needs_an_input_and_an_expectation() {
    let test = r#"
[[tests]]
generate = { repeat = 0, every = "1s", events = [{ tool = "Bash", prompt = "hi" }] }
start = { source = "claude" }
"#;
    assert_snapshot!(mistakes(test), @r#"
    error: the test has no `name`
     --> policy.test.toml:4:1
      |
    4 | [[tests]]
      | ^^^^^^^^^

    error: the test expects nothing: neither `expect` nor `expect_sinks`
     --> policy.test.toml:4:1
      |
    4 | [[tests]]
      | ^^^^^^^^^
      |
      = note: write `expect = []` if the policy should report nothing

    error: `repeat` must be between 1 and 100000
     --> policy.test.toml:5:23
      |
    5 | generate = { repeat = 0, every = "1s", events = [{ tool = "Bash", prompt = "hi" }] }
      |                       ^

    error: an event must have exactly one of `tool`, `prompt`, `message` and `model_call`
     --> policy.test.toml:5:50
      |
    5 | generate = { repeat = 0, every = "1s", events = [{ tool = "Bash", prompt = "hi" }] }
      |                                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: source kind `claude` is not compiled in
     --> policy.test.toml:6:20
      |
    6 | start = { source = "claude" }
      |                    ^^^^^^^^
      |
      = note: known kinds: aider, amp, antigravity, claude-code, cline, cline-sdk, codex, continue, copilot-chat, copilot-cli, cursor, droid, gemini-cli, goose, gptme, grok, hermes, junie, kimi, kiro, mini-swe-agent, ndjson, openclaw, opencode, openhands, otlp, pi, qwen-code, swe-agent, zencoder
      = note: to link an in-house source, add a line such as `use acme_source as _;` to the program's main.rs
    help: there is one with a similar name
      |
    6 | start = { source = "claude-code" }
      |                           +++++
    exit 78
    "#);
    let test = r#"
[[tests]]
name = "ends"
trace = "0s turn_end"
expect = [{ detector = "repeated_call", severity = "low", status = "resolved" }, { at = "-1s" }, {}]
"#;
    assert_snapshot!(mistakes(test), @r#"
    error: a resolved finding has no `severity`
     --> policy.test.toml:7:11
      |
    7 | expect = [{ detector = "repeated_call", severity = "low", status = "resolved" }, { at = "-1s" }, {}]
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: expected a time since the start such as "0s", "25s" or "1h 30m", found the string "-1s"
     --> policy.test.toml:7:89
      |
    7 | expect = [{ detector = "repeated_call", severity = "low", status = "resolved" }, { at = "-1s" }, {}]
      |                                                                                         ^^^^^

    error: `detector` is missing
     --> policy.test.toml:7:98
      |
    7 | expect = [{ detector = "repeated_call", severity = "low", status = "resolved" }, { at = "-1s" }, {}]
      |                                                                                                  ^^
    exit 78
    "#);
    let folder = Folder::new();
    folder.write("policy.test.toml", "tests = 1\n");
    assert_snapshot!(seen(&folder, &["policy.test.toml"]), @"
    error: the test file has no `version`
     --> policy.test.toml:1:1
      |
    1 | tests = 1
      | ^
      |
    help: add the version of the format
      |
    1 + version = 1
      |

    error: `tests` is not a list
     --> policy.test.toml:1:9
      |
    1 | tests = 1
      |         ^
      |
      = note: each test begins with `[[tests]]`
    exit 78
    ");
}

#[test]
fn checks_every_generated_event() {
    let test = r#"
[[tests]]
name = "more"
expect_no_others = true
generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
expect_sinks = []
"#;
    assert_snapshot!(mistakes(test), @r#"
    error: `expect_no_others` requires `expect`
     --> policy.test.toml:6:1
      |
    6 | expect_no_others = true
      | ^^^^^^^^^^^^^^^^

    error: `every` is missing
     --> policy.test.toml:7:12
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `{ repeat = 4, every = "10s", events = [{ tool = "Bash" }] }`

    error: `repeat` is missing
     --> policy.test.toml:7:12
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: write `{ repeat = 4, every = "10s", events = [{ tool = "Bash" }] }`

    error: unknown key `repaet`
     --> policy.test.toml:7:14
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |              ^^^^^^
      |
      = note: expected one of `events`, `every`, `repeat`
    help: there is one with a similar name
      |
    7 - generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
    7 + generate = { repeat = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |

    error: `ok` requires `tool`
     --> policy.test.toml:7:58
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |                                                          ^^^^

    error: unknown key `tol`
     --> policy.test.toml:7:68
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tol = "Bash" }] }
      |                                                                    ^^^
      |
      = note: expected one of `agent`, `tool`, `arguments`, `result`, `ok`, `exit_code`, `takes`, `prompt`, `message`, `model_call`
    help: there is one with a similar name
      |
    7 | generate = { repaet = 3, events = [{ prompt = "hi", ok = true }, { tool = "Bash" }] }
      |                                                                      +
    exit 78
    "#);
}

#[test]
fn points_at_the_line_of_a_trace() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write(
        "policy.test.toml",
        "version = 1\npolicy = \"policy.toml\"\n\n[[tests]]\nname = \"no trace\"\nexpect = []\n\
         trace = \"\"\"\n0s prompt hi\n  1s cal Bash\n\"\"\"\n",
    );
    assert_snapshot!(seen(&folder, &["policy.test.toml"]), @"
    error: unknown event `cal`; use session_start, prompt, synthetic, message, delta, thinking, usage, call, result, wait, resume, turn_end, error, compaction, handoff, agent_start, agent_end or session_end
     --> policy.test.toml:9:3
      |
    9 |   1s cal Bash
      |   ^^^^^^^^^^^
    exit 78
    ");
    folder.write("bad.md", SCENARIO.replace("7s call", "7s cal").replace("tools", "tolls"));
    assert_snapshot!(seen(&folder, &["bad.md"]), @r#"
    error: `tools` is missing
     --> bad.md:6:1
      |
    6 | [detectors.banned]
      | ^^^^^^^^^^^^^^^^^^
      |
      = note: run `watchkeeper explain acme-banned-tool` to see the options

    error: unknown key `tolls`
     --> bad.md:8:1
      |
    8 | tolls = ["WebFetch"]
      | ^^^^^
      |
      = note: expected one of `tools`, `enabled`, `exceptions`, `inhibited_by`, `kind`, `levels`, `per`, `references`, `runbook_url`, `severity`, `tags`
      = note: run `watchkeeper explain acme-banned-tool` to see the options
    help: there is one with a similar name
      |
    8 - tolls = ["WebFetch"]
    8 + tools = ["WebFetch"]
      |

    error: unknown event `cal`; use session_start, prompt, synthetic, message, delta, thinking, usage, call, result, wait, resume, turn_end, error, compaction, handoff, agent_start, agent_end or session_end
      --> bad.md:24:1
       |
    24 | 7s cal WebFetch
       | ^^^^^^^^^^^^^^^
    exit 78
    "#);
}

#[test]
fn a_missing_file_is_an_error() {
    let folder = Folder::new();
    assert_snapshot!(seen(&folder, &[]), @"
    error: no policy tests found; name a file, or write `policy.test.toml` beside `policy.toml`
    exit 2
    ");
    assert_snapshot!(seen(&folder, &["missing.test.toml", "."]), @"
    error: `missing.test.toml` does not exist
    error: `.` is a folder; name its files
    exit 2
    ");
    let tests = "version = 1\npolicy = \"policy.toml\"\n\n[[tests]]\nname = \"recorded\"\n\
                 events = \"missing.ndjson\"\nexpect = []\n";
    folder.write("policy.test.toml", tests);
    assert_snapshot!(seen(&folder, &[]), @"
    error: `policy.toml` does not exist; `policy.test.toml` tests it
    exit 2
    ");
    folder.write("policy.toml", POLICY);
    assert_snapshot!(seen(&folder, &[]), @"
    error: policy.test.toml:6: cannot read `missing.ndjson`: no such file
    exit 2
    ");
}

#[test]
fn update_rewrites_the_findings_of_scenarios() {
    let folder = Folder::new();
    let path = folder.write("pages.md", SCENARIO);
    assert_snapshot!(seen(&folder, &["pages.md"]), @"
    FAIL  pages.md: One page

        + 5s      medium   banned: `WebFetch` is banned

    FAIL  pages.md: Another page

        - 7s      medium   banned: `WebFetch` is forbidden
        - 9s      low      banned: again
        + 7s      medium   banned: `WebFetch` is banned

    0 passed, 2 failed (- expected, + actual)
    exit 1
    ");
    assert_eq!(fs::read_to_string(&path).unwrap(), SCENARIO);
    assert_snapshot!(seen(&folder, &["--update", "pages.md"]), @"
    wrote pages.md: One page
    wrote pages.md: Another page
    2 passed, 0 failed
    exit 0
    ");
    assert_snapshot!(seen(&folder, &["pages.md"]), @"
    ok    pages.md: One page
    ok    pages.md: Another page
    2 passed, 0 failed
    exit 0
    ");
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.contains("```findings\n5s      medium   banned: `WebFetch` is banned\n```\n"));
    assert_eq!(
        after.replace("5s      medium   banned: `WebFetch` is banned\n", "").lines().count() + 1,
        SCENARIO.lines().count()
    );
}

#[test]
fn tests_recorded_sessions_of_any_source() {
    let folder = Folder::new();
    let event = |n, at, rest| {
        format!(
            "{{\"at\":\"2026-03-01T10:00:{n}{at}Z\",\"session\":\"s9\",\"id\":\"c{n}\",{rest}}}\n"
        )
    };
    let call = r#""event":"tool_call","tool":"Bash","arguments":"make""#;
    let result = r#""event":"tool_result","ok":false,"output":"no""#;
    let session: String = (0..4).flat_map(|n| [event(n, 0, call), event(n, 1, result)]).collect();
    folder.write("recorded/session.ndjson", session);
    folder.write("payments.toml", POLICY);
    folder.write(
        "payments.test.toml",
        r#"version = 1

[[tests]]
name = "a recorded session"
events = "recorded/session.ndjson"
start = { labels = { team = "payments" } }
expect = [{ detector = "repeated_call", severity = "low" }, { detector = "repeated_call", severity = "high", at = "31s" }]
expect_sinks = ["audit", "console"]
"#,
    );
    // The file names no policy, so the policy of the command line applies.
    assert_snapshot!(seen(&folder, &["--policy", "payments.toml"]), @"
    ok    payments.test.toml: a recorded session
    1 passed, 0 failed
    exit 0
    ");
    assert_snapshot!(seen(&folder, &["payments.test.toml"]), @r#"
    error: the test file has no `policy`
     --> payments.test.toml:1:1
      |
    1 | version = 1
      | ^
      |
      = note: write a path relative to this file, or "builtin:default"
    help: name the policy
      |
    1 + policy = "policy.toml"
      |
    exit 78
    "#);
    // Nothing is delivered to the sinks of a policy under test.
    assert!(!folder.path().join("findings.ndjson").exists());
}

#[test]
fn the_tests_in_the_manual_pass() {
    let manual = fs::read_to_string(tidy::root().join("docs/policy-tests.md")).unwrap();
    let block = |text: &str, open: &str, close: &str| {
        let (_, rest) = text.split_once(open).expect("the manual has an example");
        rest.split_once(close).expect("the example ends").0.to_owned()
    };
    let folder = Folder::new();
    let builtin = block(&manual, "```toml\n", "```\n").replace("policy.toml", "builtin:default");
    folder.write("manual.test.toml", builtin);
    folder.write("manual.md", block(&manual, "````markdown\n", "````\n"));
    let actions = block(&manual, "### Actions\n", "## Markdown\n");
    let policy = block(&actions, "```toml\n", "```\n");
    let tests = actions.split_once(&policy).expect("the policy is in the section").1;
    folder.write("actions.test.toml", block(tests, "```toml\n", "```\n"));
    folder.write("policy.toml", policy);
    assert_snapshot!(seen(&folder, &["manual.test.toml", "manual.md", "actions.test.toml"]), @"
    ok    manual.test.toml: reports a build that fails repeatedly
    ok    manual.md: A sub-agent that repeats a call
    ok    actions.test.toml: nudges at the third repetition and stops at the fifth
    3 passed, 0 failed
    exit 0
    ");
}

#[test]
fn reports_mistakes_without_a_policy() {
    let folder = Folder::new();
    folder.write(
        "policy.test.toml",
        r#"version = 1
polcy = "policy.toml"

[[tests]]
name = "one"
generate = [{ tool = "Bash" }]
expect = []

[[tests]]
name = "one"
generate = { repeat = 3, every = "10s", events = { tool = "Bash" } }
expect = []
"#,
    );
    assert_snapshot!(seen(&folder, &[]), @r#"
    error: unknown key `polcy`
     --> policy.test.toml:2:1
      |
    2 | polcy = "policy.toml"
      | ^^^^^
      |
      = note: expected one of `policy`, `tests`, `version`
    help: there is one with a similar name
      |
    2 | policy = "policy.toml"
      |    +

    error: expected a table, found a list
     --> policy.test.toml:6:12
      |
    6 | generate = [{ tool = "Bash" }]
      |            ^^^^^^^^^^^^^^^^^^^
      |
      = note: write `{ repeat = 4, every = "10s", events = [{ tool = "Bash" }] }`

    warning: another test has the name `one`
      --> policy.test.toml:10:8
       |
    10 | name = "one"
       |        ^^^^^

    error: `events` is not a list
      --> policy.test.toml:11:50
       |
    11 | generate = { repeat = 3, every = "10s", events = { tool = "Bash" } }
       |                                                  ^^^^^^^^^^^^^^^^^
       |
       = note: write `events = [{ tool = "Bash" }]`
    exit 78
    "#);
}

#[test]
fn update_requires_a_scenario() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY);
    folder.write("policy.test.toml", "version = 1\npolicy = 'policy.toml'\n");
    assert_snapshot!(seen(&folder, &["--update"]), @"
    error: --update rewrites scenarios (`.md`), and none of the files is one
    exit 2
    ");
}

#[test]
fn update_keeps_the_line_endings() {
    let folder = Folder::new();
    let scenario = SCENARIO.replace('\n', "\r\n");
    let (before, _) = scenario.rsplit_once("```findings\r\n").expect("the scenario has findings");
    let path = folder.write("own.md", format!("{before}```findings\r\n```\r\n"));
    seen(&folder, &["--update", "own.md"]);
    let text = fs::read_to_string(path).expect("the file exists");
    assert!(text.contains("acme") && text.lines().count() > before.lines().count() + 2, "{text}");
    assert_eq!(text.replace("\r\n", "").find('\n'), None, "{text:?}");
    assert!(seen(&folder, &["own.md"]).ends_with("exit 0"));
}

#[test]
fn reports_files_that_are_not_utf_8() {
    let folder = Folder::new();
    folder.write("policy.toml", b"version = 1\n# caf\xe9\n");
    folder.write("policy.test.toml", "version = 1\npolicy = 'policy.toml'\n");
    folder.write("wide.md", b"\xff\xfe#\0");
    assert_snapshot!(seen(&folder, &["policy.test.toml", "wide.md"]), @"
    error: the file has no tests
     --> policy.test.toml:1:1
      |
    1 | version = 1
      | ^
      |
      = note: each test begins with `[[tests]]`

    error: cannot read the policy: line 2 is not UTF-8; save it as UTF-8
    --> policy.toml
    error: cannot read `wide.md`: it is UTF-16; save it as UTF-8
    exit 78
    ");
}
