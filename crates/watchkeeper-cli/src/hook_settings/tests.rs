use clap::ValueEnum as _;
use insta::assert_snapshot;
use proptest::prelude::*;

use super::{HookCommand, SettingsError, events, installed, with_hook, without_hook};
use crate::hook::Client;

/// The clients whose settings are JSON.
fn clients() -> impl Iterator<Item = Client> {
    Client::value_variants().iter().copied().filter(|client| *client != Client::Opencode)
}

fn command() -> HookCommand {
    HookCommand::new("/usr/bin/watchkeeper", None)
}

fn added(text: &str, client: Client) -> String {
    with_hook(text, client, &command()).unwrap()
}

#[test]
fn new_settings_have_the_form_of_their_client() {
    let lines: Vec<String> = clients()
        .map(|client| {
            let settings: serde_json::Value = serde_json::from_str(&added("", client)).unwrap();
            format!("{} {settings}", client.name())
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    claude-code {"hooks":{"PreToolUse":[{"hooks":[{"command":"/usr/bin/watchkeeper hook claude-code","timeout":5,"type":"command"}]}],"UserPromptSubmit":[{"hooks":[{"command":"/usr/bin/watchkeeper hook claude-code","timeout":5,"type":"command"}]}]}}
    codex {"hooks":{"PreToolUse":[{"hooks":[{"command":"/usr/bin/watchkeeper hook codex","timeout":5,"type":"command"}]}],"UserPromptSubmit":[{"hooks":[{"command":"/usr/bin/watchkeeper hook codex","timeout":5,"type":"command"}]}]}}
    gemini-cli {"hooks":{"AfterTool":[{"hooks":[{"command":"exec /usr/bin/watchkeeper hook gemini-cli 2>/dev/null","name":"watchkeeper","timeout":5000,"type":"command"}],"matcher":"*"}],"BeforeAgent":[{"hooks":[{"command":"exec /usr/bin/watchkeeper hook gemini-cli 2>/dev/null","name":"watchkeeper","timeout":5000,"type":"command"}],"matcher":"*"}],"BeforeTool":[{"hooks":[{"command":"exec /usr/bin/watchkeeper hook gemini-cli 2>/dev/null","name":"watchkeeper","timeout":5000,"type":"command"}],"matcher":"*"}]}}
    copilot-cli {"hooks":{"preToolUse":[{"bash":"/usr/bin/watchkeeper hook copilot-cli || true","timeoutSec":5,"type":"command"}],"userPromptSubmitted":[{"bash":"/usr/bin/watchkeeper hook copilot-cli || true","timeoutSec":5,"type":"command"}]},"version":1}
    cursor {"hooks":{"beforeSubmitPrompt":[{"command":"/usr/bin/watchkeeper hook cursor","timeout":5}],"preToolUse":[{"command":"/usr/bin/watchkeeper hook cursor","timeout":5}]},"version":1}
    qwen-code {"hooks":{"PreToolUse":[{"hooks":[{"command":"exec /usr/bin/watchkeeper hook qwen-code 2>/dev/null","name":"watchkeeper","type":"command"}]}],"UserPromptSubmit":[{"hooks":[{"command":"exec /usr/bin/watchkeeper hook qwen-code 2>/dev/null","name":"watchkeeper","type":"command"}]}]}}
    "#);
}

#[test]
fn comments_order_and_hooks_of_others_stay() {
    let text = r#"{
  // for this machine
  "model": "opus", /* large */
  "hooks": {
    "Stop": [],
    "PreToolUse": [
      { "matcher": "Bash", "hooks": [{ "type": "command", "command": "lint" }] }, // ours
    ],
  },
  "env": {"A": "1"},
}
"#;
    let with = added(text, Client::ClaudeCode);
    assert_snapshot!(with, @r#"
    {
      // for this machine
      "model": "opus", /* large */
      "hooks": {
        "Stop": [],
        "PreToolUse": [
          { "matcher": "Bash", "hooks": [{ "type": "command", "command": "lint" }] }, // ours
          {
            "hooks": [
              {
                "type": "command",
                "command": "/usr/bin/watchkeeper hook claude-code",
                "timeout": 5,
              },
            ],
          },
        ],
        "UserPromptSubmit": [
          {
            "hooks": [
              {
                "type": "command",
                "command": "/usr/bin/watchkeeper hook claude-code",
                "timeout": 5
              }
            ]
          }
        ],
      },
      "env": {"A": "1"},
    }
    "#);
    assert_eq!(without_hook(&with, Client::ClaudeCode).unwrap(), text);
}

#[test]
fn a_second_edit_changes_nothing_and_another_command_replaces_the_first() {
    for client in clients() {
        let with = added("{}\n", client);
        assert_eq!(added(&with, client), with);
        let other = HookCommand::new("/opt/watchkeeper", None);
        let changed = with_hook(&with, client, &other).unwrap();
        let commands = installed(&changed, client).unwrap();
        assert_eq!(commands.len(), events(client).len());
        assert!(
            commands.iter().all(|(_, it)| it.contains("/opt/watchkeeper hook")),
            "{commands:?}"
        );
    }
}

#[test]
fn a_hook_that_someone_moved_to_other_hooks_is_removed_alone() {
    let text = r#"{"hooks": {"PreToolUse": [{"hooks": [{"command": "a"}, {"command": "watchkeeper hook codex"}]}]}}"#;
    assert_snapshot!(
        without_hook(text, Client::Codex).unwrap(),
        @r#"{"hooks": {"PreToolUse": [{"hooks": [{"command": "a"}]}]}}"#
    );
}

#[test]
fn a_byte_order_mark_stays() {
    let with = added("\u{feff}{}\n", Client::ClaudeCode);
    assert!(with.starts_with("\u{feff}{\n"), "{with}");
    assert_eq!(without_hook(&with, Client::ClaudeCode).unwrap(), "\u{feff}{}\n");
}

#[test]
fn an_empty_list_of_someone_else_stays() {
    let text = r#"{"hooks": {"Stop": []}}"#;
    assert_eq!(without_hook(text, Client::Codex).unwrap(), text);
}

#[test]
fn settings_of_another_form_are_refused() {
    let error = |text: &str| with_hook(text, Client::Codex, &command()).unwrap_err().to_string();
    assert_snapshot!(error("[1]"), @"the JSON is not an object; correct the file, and try again");
    assert_snapshot!(error(r#"{"hooks": 1}"#), @"`hooks` is not an object; correct the file, and try again");
    assert_snapshot!(
        error(r#"{"hooks": {"PreToolUse": {}}}"#),
        @"`hooks.PreToolUse` is not a list; correct the file, and try again"
    );
    for text in ["{", r#"{"a" 1}"#, "{'a': 1}", "\u{1b}[31m"] {
        let error = with_hook(text, Client::Codex, &command()).unwrap_err();
        assert!(matches!(error, SettingsError::NotJson(_)), "{text}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

/// JSON as people write it: several indentations, comments, trailing commas.
fn settings() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("\"x, {\"".to_owned()),
        Just("[]".to_owned()),
        Just("{ \"b\": [1, 2] }".to_owned()),
    ];
    let hooks = prop_oneof![
        Just(r#""hooks": {}"#.to_owned()),
        Just(r#""hooks": { "Stop": [] }"#.to_owned()),
        Just("\"hooks\": {\n \"PreToolUse\": [\n  { \"command\": \"a\" }\n ]\n}".to_owned()),
        Just(r#""hooks": {"preToolUse": [{"command": "a"}], "x": []}"#.to_owned()),
    ];
    let members = prop::collection::vec(value, 0..4);
    let end = prop_oneof![Just(""), Just("\n"), Just("\r\n"), Just(" // end\n")];
    let separator = prop_oneof![Just(","), Just(",\n"), Just(", // c\n"), Just(",\n\n\t")];
    (members, prop::option::of(hooks), separator, end).prop_map(
        |(values, hooks, separator, end)| {
            let members =
                values.iter().enumerate().map(|(idx, value)| format!("\"m{idx}\": {value}"));
            let members: Vec<String> = members.chain(hooks).collect();
            format!("{{{}}}{end}", members.join(separator))
        },
    )
}

proptest! {
    #[test]
    fn nothing_but_the_hook_is_added_and_removed(text in settings(), client_idx in 0..6_usize) {
        let client = clients().nth(client_idx).unwrap();
        let n_others = installed(&text, client).unwrap().len();
        prop_assert_eq!(n_others, 0);
        let with = added(&text, client);
        prop_assert_eq!(installed(&with, client).unwrap().len(), events(client).len());
        let without = without_hook(&with, client).unwrap();
        let words = |text: &str| {
            // Cursor and Copilot CLI require the version, which stays; empty objects go.
            let text = text.replace("\"version\": 1", "").replace("\"hooks\": {}", "");
            text.chars().filter(|it| !it.is_whitespace() && *it != ',').collect::<String>()
        };
        prop_assert_eq!(words(&without), words(&text));
    }

    #[test]
    fn any_text_is_edited_or_refused(text in "([\\[\\]{}\":, \n1a/*]|\"hooks\":|\"PreToolUse\":)*") {
        if let Ok(with) = with_hook(&text, Client::Codex, &command()) {
            prop_assert_eq!(installed(&with, Client::Codex).unwrap().len(), events(Client::Codex).len());
            prop_assert!(without_hook(&with, Client::Codex).is_ok());
        }
    }
}
