//! Output of the commands that read no sessions.

use insta::assert_snapshot;
use watchkeeper_core::author::is_unsafe;

use crate::program::{run, seen};

#[test]
fn lists_the_kinds_that_were_linked_in() {
    assert_snapshot!(seen(&["detectors"]), @"
    Detectors
      acme-banned-tool  Finds calls of tools that the team has banned.  (acme-detector 3.2.1)
      error-loop        Finds agents that fail repeatedly.  (watchkeeper-detector-error-loop 0.1.0)
      fan-out           Finds sessions that start many sub-agents, or nest them deeply.  (watchkeeper-detector-fan-out 0.1.0)
      full-context      Finds agents whose context window is nearly full.  (watchkeeper-detector-full-context 0.1.0)
      no-progress       Finds agents that are busy without progress.  (watchkeeper-detector-no-progress 0.1.0)
      pattern           Finds sequences of events that a policy describes.  (watchkeeper-detector-pattern 0.1.0)
      repeat-text       Finds agents that repeat a message, or a span of text within a message.  (watchkeeper-detector-repeat-text 0.1.0)
      repeat-tool-call  Finds agents that repeat a tool call and get the same result.  (watchkeeper-detector-repeat-tool-call 0.1.0)
      runaway-loop      Finds agents that repeat a sequence of calls, or continue without progress.  (watchkeeper-detector-runaway-loop 0.1.0)
      timeout           Finds sessions, turns, tool calls and models that take too long.  (watchkeeper-detector-timeout 0.1.0)
      token-burn        Finds sessions that use more tokens or money than their limit.  (watchkeeper-detector-token-burn 0.1.0)

    Sinks
      console  Prints findings, one line each.  (watchkeeper-sinks 0.1.0)
      exec     Passes each finding to a program, as JSON on its standard input.  (watchkeeper-sinks 0.1.0)
      file     Appends findings to a file, one line of JSON each.  (watchkeeper-sinks 0.1.0)
      otlp     Sends each finding to an OTLP receiver, as a log record of OpenTelemetry.  (watchkeeper-sinks 0.1.0)
      stderr   Writes findings to standard error, one line each.  (watchkeeper-sinks 0.1.0)
      syslog   Writes each finding to the system log, as one line of text.  (watchkeeper-sinks 0.1.0)
      webhook  Posts each finding to a URL as JSON.  (watchkeeper-sinks 0.1.0)

    Sources
      aider           Reads the chat histories of Aider.  (watchkeeper-sources 0.1.0)
      amp             Reads the threads of Amp.  (watchkeeper-sources 0.1.0)
      antigravity     Reads the transcripts of Antigravity's agent.  (watchkeeper-sources 0.1.0)
      claude-code     Reads the sessions of Claude Code.  (watchkeeper-sources 0.1.0)
      cline           Reads the tasks of Cline, Roo Code and earlier versions of Kilo Code.  (watchkeeper-sources 0.1.0)
      cline-sdk       Reads the sessions of Cline's command line and SDK.  (watchkeeper-sources 0.1.0)
      codex           Reads the sessions of Codex.  (watchkeeper-sources 0.1.0)
      continue        Reads the sessions of Continue.  (watchkeeper-sources 0.1.0)
      copilot-chat    Reads the sessions of GitHub Copilot Chat in VS Code.  (watchkeeper-sources 0.1.0)
      copilot-cli     Reads the sessions of GitHub Copilot CLI.  (watchkeeper-sources 0.1.0)
      cursor          Reads the transcripts of Cursor's agent.  (watchkeeper-sources 0.1.0)
      droid           Reads the sessions of Factory Droid.  (watchkeeper-sources 0.1.0)
      gemini-cli      Reads the sessions of Gemini CLI.  (watchkeeper-sources 0.1.0)
      goose           Reads the sessions of goose.  (watchkeeper-sources 0.1.0)
      gptme           Reads the conversations of gptme.  (watchkeeper-sources 0.1.0)
      grok            Reads the sessions of Grok, the command-line agent of xAI.  (watchkeeper-sources 0.1.0)
      hermes          Reads the sessions of Hermes Agent.  (watchkeeper-sources 0.1.0)
      junie           Reads the sessions of Junie, the agent of JetBrains.  (watchkeeper-sources 0.1.0)
      kimi            Reads the sessions of Kimi Code, the command-line agent of Moonshot.  (watchkeeper-sources 0.1.0)
      kiro            Reads the sessions of Kiro's command-line agent.  (watchkeeper-sources 0.1.0)
      mini-swe-agent  Reads the trajectories of mini-SWE-agent.  (watchkeeper-sources 0.1.0)
      ndjson          Reads the format of watchkeeper itself: one JSON object per line.  (watchkeeper-sources 0.1.0)
      openclaw        Reads the sessions of OpenClaw.  (watchkeeper-sources 0.1.0)
      opencode        Reads the sessions in the database of opencode, and sessions that it exports.  (watchkeeper-sources 0.1.0)
      openhands       Reads the conversations of OpenHands.  (watchkeeper-sources 0.1.0)
      otlp            Reads the telemetry of agents that use OpenTelemetry.  (watchkeeper-sources 0.1.0)
      pi              Reads the sessions of pi.  (watchkeeper-sources 0.1.0)
      qwen-code       Reads the sessions of Qwen Code.  (watchkeeper-sources 0.1.0)
      swe-agent       Reads the trajectories of SWE-agent.  (watchkeeper-sources 0.1.0)
      zencoder        Reads the sessions of Zencoder.  (watchkeeper-sources 0.1.0)
    exit 0
    ");
}

#[test]
fn explains_an_in_house_detector() {
    let ran = run(&["explain", "acme-banned-tool"]);
    assert!(ran.out.starts_with(include_str!("../acme-detector/README.md")), "{}", ran.out);
    let end = "`severity`, `tags`: run `watchkeeper explain detectors`.\n";
    assert!(ran.out.ends_with(end), "{}", ran.out);
    assert_eq!(ran.status, 0);
}

#[test]
fn explains_the_keys_of_policies() {
    for (name, expected) in [
        ("per", "# detectors\n"),
        ("send_resolved", "# routes\n"),
        ("labels", "# labels\n"),
        ("watchkeeper-delivery", "# watchkeeper\n"),
    ] {
        let ran = run(&["explain", name]);
        assert!(ran.out.starts_with(expected), "{name}: {}", ran.out);
    }
    // A key that several sections have.
    let ran = run(&["explain", "match"]);
    assert_eq!(ran.out.lines().filter(|line| line.starts_with("# ")).count(), 4, "{}", ran.out);
}

#[test]
fn suggests_a_similar_name_for_an_unknown_name() {
    assert_snapshot!(seen(&["explain", "runaway"]), @"
    error: unknown name `runaway`; did you mean `runaway-loop`?; `watchkeeper detectors` lists the kinds, and `watchkeeper policy` the names of the policy
    exit 2
    ");
}

#[test]
fn prints_help() {
    assert_snapshot!(seen(&["--help"]), @"
    Monitor LLM agent sessions and report loops, stalls and overspending

    Usage: acme-watchkeeper [OPTIONS] <COMMAND>

    Commands:
      watch        Follow live sessions and deliver findings as they happen
      check        Check recorded sessions and report findings
      demo         Monitor a misbehaving demo agent for about ten seconds
      init         Write a commented policy for the agents on this machine
      validate     Check a policy and report its mistakes
      migrate      Replace names of earlier versions in policies and their tests
      test         Run the tests of a policy in virtual time
      tune         Propose levels for the detectors of a policy from recorded sessions
      backtest     Compare the findings of two policies in recorded sessions
      policy       Print the active policy, with the origin of every value
      routes       Test the routes of a policy
      silence      Silence findings for a time
      sink         Test the sinks of a policy
      run          Run a command, watch its sessions, and stop it if it runs away
      install      Let the clients of agents call `watchkeeper hook` before each tool call
      uninstall    Remove the hooks of `watchkeeper install` from the settings of clients
      doctor       Test the hooks that clients of agents call
      hook         Act on an agent from a hook of its client
      detectors    List the detectors, sinks and sources of this program
      explain      Print the manual of a detector, a sink or a source, or of a key of a policy
      schema       Print a JSON schema
      new          Create a crate with a detector, a sink or a source of your own
      completions  Print completions for a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
          --policy <FILE>
              Policy file [default: the first policy at the usual places]

      -q, --quiet
              Print only findings and errors; `check` prints only errors

      -v, --verbose...
              Print more details, and log diagnostics to stderr; repeat for more
              
              `-v` logs the level info, `-vv` debug, `-vvv` trace. The variable `WATCHKEEPER_LOG` takes
              precedence.

          --color <WHEN>
              When to use colors
              
              `auto` uses colors on a terminal, unless `NO_COLOR` is set.
              
              [default: auto]
              [possible values: auto, always, never]

          --log-format <FORMAT>
              Format of diagnostics
              
              Each diagnostic is one line: text for people, or a JSON object.
              
              [default: text]
              [possible values: text, json]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Exit status:
      0   success
      1   findings at or above --fail-on, a failed policy test, or names to migrate
      2   usage or I/O error
      78  invalid policy

    Policy:
      The first that exists: the file of --policy; `.watchkeeper.toml` in the working
      folder, or above it in the same repository; `watchkeeper/policy.toml` in
      $XDG_CONFIG_HOME or ~/.config; the built-in policy. `watchkeeper init` writes one.

    Environment:
      WATCHKEEPER_LOG  diagnostics to log to stderr, such as `watchkeeper::source=debug,info`
      NO_COLOR         disables colors; CLICOLOR_FORCE=1 forces them
    exit 0
    ");
}

#[test]
fn suggests_the_command_for_a_misspelled_one() {
    assert_snapshot!(seen(&["chekc"]), @"
    error: unrecognized subcommand 'chekc'

      tip: some similar subcommands exist: 'schema', 'check'

    Usage: acme-watchkeeper [OPTIONS] <COMMAND>

    For more information, try '--help'.
    exit 2
    ");
}

#[test]
fn usage_errors_escape_the_characters_of_arguments() {
    let hostile = "\u{202e}\u{1b}[31mx\nerror: forged\u{3164}";
    for args in [
        &[hostile][..],
        &["check", &format!("--{hostile}")],
        &["check", "--format", hostile],
        &["check", "--since", hostile],
        &["silence", "add", hostile, "--for", "1h", "--reason", "x"],
        &["--color=always", "check", &format!("--jobs={hostile}")],
    ] {
        let ran = run(args);
        assert_eq!(ran.status, 2, "{}", ran.err);
        let mut lines = ran.err.lines();
        assert!(lines.all(|line| !line.contains(is_unsafe)), "{:?}", ran.err);
        assert!(ran.err.lines().all(|line| !line.starts_with("error: forged")), "{}", ran.err);
    }
    assert_snapshot!(seen(&["check", "--\u{202e}since"]), @r"
    error: unexpected argument '--\u{202e}since' found

      tip: a similar argument exists: '--since'

    Usage: acme-watchkeeper check --since <TIME> [PATH]...

    For more information, try '--help'.
    exit 2
    ");
}

#[test]
fn prints_completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.out.contains("validate"), "{shell}");
    }
}

#[test]
fn colors_can_be_forced_and_disabled() {
    assert!(run(&["--color=always", "detectors"]).out.contains('\u{1b}'));
    assert!(!run(&["--color=never", "detectors"]).out.contains('\u{1b}'));
    assert!(!run(&["detectors"]).out.contains('\u{1b}'));
    let forced = crate::program::program()
        .env("CLICOLOR_FORCE", "1")
        .arg("detectors")
        .output()
        .expect("the program should start");
    assert!(forced.stdout.contains(&0x1b));
    let none = crate::program::program()
        .env("CLICOLOR_FORCE", "1")
        .env("NO_COLOR", "1")
        .arg("detectors")
        .output()
        .expect("the program should start");
    assert!(!none.stdout.contains(&0x1b));
}

#[test]
fn the_demo_reports_all_its_problems() {
    let ran = run(&["demo"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    for detector in ["repeated_error", "call_loop", "fast_spending", "silent_model"] {
        assert!(ran.err.contains(detector), "no {detector}:\n{}", ran.err);
    }
    assert!(ran.out.starts_with("\n6 findings in "), "{}", ran.out);
}

/// Runs the program with an environment variable for the log.
fn run_with_log(filter: Option<&str>, args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = crate::program::program();
    command.env_remove("WATCHKEEPER_LOG").args(args);
    if let Some(filter) = filter {
        command.env("WATCHKEEPER_LOG", filter);
    }
    let output = command.output().expect("the program should start");
    let text = |bytes| String::from_utf8(bytes).expect("the program should write UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn diagnostics_are_off_by_default() {
    let (_, err, status) = run_with_log(None, &["policy"]);
    assert_eq!((err.as_str(), status), ("", Some(0)));
}

#[test]
fn verbose_logs_to_standard_error_only() {
    let (plain, ..) = run_with_log(None, &["policy"]);
    let (out, err, _) = run_with_log(None, &["-v", "policy"]);
    assert_eq!(out, plain);
    assert!(
        err.contains(" INFO watchkeeper::policy: policy loaded file=builtin:default layers=1"),
        "{err}"
    );
    assert!(!err.contains('\u{1b}'), "{err:?}");
    let (_, err, _) = run_with_log(None, &["-v", "--color", "always", "policy"]);
    assert!(err.contains('\u{1b}'), "{err:?}");
}

#[test]
fn the_environment_selects_targets_and_levels() {
    let (_, err, _) = run_with_log(Some("watchkeeper::policy=info"), &["policy"]);
    assert!(err.contains("policy loaded"), "{err}");
    let (_, err, _) = run_with_log(Some("watchkeeper::policy=warn,debug"), &["policy"]);
    assert!(!err.contains("policy loaded"), "{err}");
    let (out, err, status) = run_with_log(Some("watchkeeper=loud"), &["policy"]);
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert!(err.starts_with("error: invalid WATCHKEEPER_LOG `watchkeeper=loud`"), "{err}");
}

#[test]
fn logs_json_with_escaped_fields() {
    let (_, err, _) =
        run_with_log(Some("info"), &["--log-format=json", "validate", "\u{1b}[2J\u{202e}.toml"]);
    let line = err.lines().next().expect("a line was logged");
    let line: serde_json::Value = serde_json::from_str(line).expect("the line is JSON");
    assert_eq!(line["target"], "watchkeeper::policy");
    assert_eq!(line["fields"]["file"], r"\u{1b}[2J\u{202e}.toml");
}
