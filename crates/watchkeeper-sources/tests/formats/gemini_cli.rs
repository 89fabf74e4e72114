use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use watchkeeper_core::{EventKind, SourceKind as _, author::DedupCache, embed::Registry};
use watchkeeper_sources::GeminiCli;
use watchkeeper_testing::source;

use crate::{events, read, render};

const SESSION: &str = include_str!("fixtures/gemini_cli.jsonl");
const AGENT: &str = include_str!("fixtures/gemini_cli_agent.jsonl");
const EARLY: &str = include_str!("fixtures/gemini_cli_early.json");
const AGENT_FILE: &str = "/h/.gemini/tmp/app/chats/g-1/g-2.jsonl";

#[test]
fn keeps_the_promises_of_sources() {
    source::check::<GeminiCli>(&[
        ("session-1.jsonl", SESSION),
        (AGENT_FILE, AGENT),
        ("session-0.json", EARLY),
    ]);
}

#[test]
fn reads_what_is_new_in_each_line() {
    assert_snapshot!(read("gemini-cli", "session-1.jsonl", SESSION.as_bytes()), @r#"
    3 09:00:01 g-1 session_start cwd="/w/app"
    3 09:00:01 g-1 prompt text="Fix the test"
    5 09:00:03 g-1 thinking text="Plan\nRun the test first."
    5 09:00:04 g-1 message text="I run it."
    5 09:00:04 g-1 model_call cache_read_tokens=5100 id="m2" input_tokens=1210 model="gemini-2.5-pro" output_tokens=70 reasoning_tokens=30
    7 09:00:04 g-1 tool_call arguments={"command":"make test","description":"Run it"} class="run" id="run_shell_command_1_0" response="m2" tool="run_shell_command"
    7 09:00:04 g-1 tool_call arguments={"file_path":"/w/app/a.py"} class="read" id="read_file_1_1" response="m2" tool="read_file"
    7 09:00:05 g-1 tool_result id="read_file_1_1" ok=true output="x = 1\n"
    7 09:00:09 g-1 tool_result exit_code=2 id="run_shell_command_1_0" ok=false output="1 failed"
    9 09:00:12 g-1 model_call cache_read_tokens=6000 id="m4" input_tokens=500 model="gemini-2.5-pro" output_tokens=20
    9 09:00:12 g-1 tool_call arguments={"file_path":"/w/app/a.py","instruction":"fix it","new_string":"2","old_string":"1"} class="write" id="replace_2_0" response="m4" tool="replace"
    9 09:00:12 g-1 tool_call arguments={"content":"y","file_path":"/w/app/b.py"} class="write" id="write_file_2_1" response="m4" tool="write_file"
    9 09:00:20 g-1 tool_result cause="declined" id="replace_2_0" ok=false output="[Operation Cancelled] Reason: User denied execution."
    9 09:00:20 g-1 tool_result cause="blocked" id="write_file_2_1" ok=false output="Tool execution blocked: not here"
    10 09:00:21 g-1 prompt synthetic=true text="System: Potential loop detected."
    11 09:00:24 g-1 message text="I stop."
    11 09:00:24 g-1 model_call id="m6" input_tokens=100 model="gemini-2.5-pro" output_tokens=5
    11 09:00:24 g-1 turn_end
    14 09:10:00 g-1 prompt text="Go on"
    16 09:10:05 g-1 error message="[API Error: quota]"
    17 09:11:00 g-1 compaction
    18 09:12:00 g-1 message text="I delegate."
    18 09:12:00 g-1 model_call id="m11" input_tokens=50 output_tokens=5
    18 09:12:00 g-1 tool_call arguments={"agent_name":"helper"} class="delegate" id="invoke_agent_3_0" response="m11" tool="invoke_agent"
    18 09:12:30 g-1 tool_result id="invoke_agent_3_0" ok=true output="done"
    18 09:12:30 g-1/g-2 agent_end
    19 09:12:40 g-1 message text="Done."
    19 09:12:40 g-1 turn_end
    skipped part 1: unknown type of message
    "#);
}

#[test]
fn reads_the_object_of_early_versions() {
    assert_snapshot!(read("gemini-cli", "session-0.json", EARLY.as_bytes()), @r#"
    7 09:00:00 g-0 session_start
    7 09:00:00 g-0 prompt text="List the files"
    13 09:00:03 g-0 message text="I list them."
    13 09:00:03 g-0 model_call cache_read_tokens=100 id="m2" input_tokens=400 model="gemini-2.5-flash" output_tokens=20
    19 09:00:03 g-0 tool_call arguments={"command":"ls"} class="run" id="run_shell_command-1-a" response="m2" tool="run_shell_command"
    19 09:00:04 g-0 tool_result exit_code=0 id="run_shell_command-1-a" ok=true output="a.py"
    51 09:00:06 g-0 message text="One file."
    51 09:00:06 g-0 turn_end
    "#);
}

#[test]
fn assigns_sub_agents_to_the_session_in_whose_folder_they_are() {
    assert_snapshot!(read("gemini-cli", AGENT_FILE, AGENT.as_bytes()), @r#"
    2 09:12:01 g-1/g-2 agent_start
    2 09:12:01 g-1/g-2 prompt text="Look at a.py"
    3 09:12:20 g-1/g-2 model_call id="n2" input_tokens=90 model="gemini-2.5-pro" output_tokens=10 reasoning_tokens=2
    3 09:12:20 g-1/g-2 tool_call arguments={"result":"fine"} class="other" id="complete_task_1" response="n2" tool="complete_task"
    3 09:12:21 g-1/g-2 tool_result id="complete_task_1" ok=true output="Output submitted and task completed."
    "#);
    // A file that was copied from its folder is a session of its own.
    let (events, _) =
        events("gemini-cli", "g-2.jsonl", AGENT.as_bytes(), &mut DedupCache::default());
    assert!(events.iter().all(|event| event.session.as_str() == "g-2" && event.agent.is_none()));
}

#[test]
fn a_file_that_was_replaced_gives_only_its_new_events() {
    for (name, text) in [("session-1.jsonl", SESSION), ("session-0.json", EARLY)] {
        let mut seen = DedupCache::default();
        let first = events("gemini-cli", name, text.as_bytes(), &mut seen);
        assert!(!first.0.is_empty());
        assert_eq!(events("gemini-cli", name, text.as_bytes(), &mut seen).0, []);
    }
    let added =
        r#"{"id":"m14","timestamp":"2026-03-01T09:13:00.000Z","type":"user","content":"More"}"#;
    let mut seen = DedupCache::default();
    events("gemini-cli", "session-1.jsonl", SESSION.as_bytes(), &mut seen);
    let grown = format!("{SESSION}{added}\n");
    let (events, _) = events("gemini-cli", "session-1.jsonl", grown.as_bytes(), &mut seen);
    assert!(matches!(&*events, [event] if matches!(event.kind, EventKind::Prompt { .. })));
}

#[test]
fn a_session_that_was_converted_counts_once() {
    let value: serde_json::Value = serde_json::from_str(EARLY).unwrap();
    let messages = value["messages"].as_array().unwrap();
    let head = r#"{"sessionId":"g-0","projectHash":"5a5a","startTime":"2025-12-01T09:00:00.000Z"}"#;
    let lines: Vec<_> = messages.iter().map(ToString::to_string).collect();
    let converted = format!("{head}\n{}\n", lines.join("\n"));
    let mut seen = DedupCache::default();
    events("gemini-cli", "session-0.json", EARLY.as_bytes(), &mut seen);
    let copy = events("gemini-cli", "session-0.jsonl", converted.as_bytes(), &mut seen);
    assert_eq!(render(&copy), "");
}

#[test]
fn reads_a_file_whose_members_another_program_has_sorted() {
    let text = r#"{"kind":"main","messages":[{"content":"Go","id":"m1","timestamp":"2026-03-01T09:00:00Z","type":"user"}],"projectHash":"a","sessionId":"g-9"}"#;
    assert!(GeminiCli::recognizes(Path::new("x"), text.as_bytes()));
    assert_snapshot!(read("gemini-cli", "one.json", text.as_bytes()), @r#"
    1 09:00:00 g-9 session_start
    1 09:00:00 g-9 prompt text="Go"
    "#);
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let sources = Registry::linked().unwrap().sources;
    for text in [SESSION, AGENT, EARLY] {
        for head in [text, &text[..100]] {
            let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head.as_bytes()));
            let kinds = known.map(watchkeeper_core::embed::Entry::kind).collect::<Vec<_>>();
            assert_eq!(kinds, ["gemini-cli"]);
        }
    }
}

#[test]
fn derives_folders_from_the_environment() {
    let home = |name: &str| (name == "HOME").then(|| "/h".into());
    assert_eq!(GeminiCli::folders(&home), [PathBuf::from("/h/.gemini/tmp")]);
    let own = |name: &str| (name == "GEMINI_CLI_HOME").then(|| "/g".into());
    assert_eq!(GeminiCli::folders(&own), [PathBuf::from("/g/.gemini/tmp")]);
}
