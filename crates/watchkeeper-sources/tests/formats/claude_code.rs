use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use watchkeeper_core::{
    EventKind, Fingerprint, SourceKind as _, author::DedupCache, embed::Registry,
};
use watchkeeper_sources::ClaudeCode;

use crate::{events, read, render};

const EARLY: &[u8] = include_bytes!("fixtures/claude_code_early.jsonl");
const RECENT: &[u8] = include_bytes!("fixtures/claude_code_recent.jsonl");
const AGENT: &[u8] = include_bytes!("fixtures/claude_code_agent.jsonl");

#[test]
fn reads_early_versions() {
    assert_snapshot!(read("claude-code", "s-1.jsonl", EARLY), @r#"
    3 10:00:00 s-1 session_start cwd="/w/app" version="2.1.20"
    3 10:00:00 s-1 prompt text="Fix the parser"
    5 10:00:03 s-1 model_call cache_read_tokens=41000 cache_write_1h_tokens=900 cache_write_tokens=1000 id="msg_1" input_tokens=3 model="model-a" output_tokens=1
    5 10:00:03 s-1 thinking text="Look \"first\"."
    6 10:00:04 s-1 message text="I run the tests and read the file."
    7 10:00:05 s-1 model_call cache_read_tokens=41000 cache_write_1h_tokens=900 cache_write_tokens=1000 id="msg_1" input_tokens=3 model="model-a" output_tokens=210
    7 10:00:05 s-1 tool_call arguments={"command":"cargo test","description":"Run the tests"} class="run" id="t1" response="msg_1" tool="Bash"
    8 10:00:05 s-1 tool_call arguments={"file_path":"/w/app/a.rs"} class="read" id="t2" response="msg_1" tool="Read"
    9 10:00:07 s-1 resumed for="permission"
    10 10:00:09 s-1 tool_result exit_code=101 id="t1" ok=false output="Exit code 101\nerror[E0308]: mismatched types"
    11 10:00:09 s-1 tool_result cause="sibling" id="t2" ok=false output="<tool_use_error>Sibling tool call errored</tool_use_error>"
    12 10:00:12 s-1 model_call id="msg_2" input_tokens=5 model="model-a" output_tokens=2
    12 10:00:12 s-1 tool_call arguments={"description":"Explore","prompt":"Where is the lexer?","subagent_type":"Explore"} class="delegate" id="t3" response="msg_2" tool="Task"
    13 10:00:12 s-1/a111 agent_start
    13 10:00:12 s-1/a111 prompt text="Where is the lexer?"
    14 10:00:14 s-1/a111 model_call id="msg_3" input_tokens=7 model="model-b" output_tokens=4
    14 10:00:14 s-1/a111 tool_call arguments={"pattern":"lex"} class="read" id="t4" response="msg_3" tool="Grep"
    15 10:00:20 s-1 tool_result id="t3" ok=true output="In lex.rs\nagentId: a111"
    15 10:00:20 s-1/a111 agent_end
    16 10:00:22 s-1 model_call id="msg_4" input_tokens=5 model="model-a" output_tokens=2
    16 10:00:22 s-1 message text="It is in lex.rs."
    17 10:00:22 s-1 turn_end
    17 11:30:00 s-1 prompt text="Then change it"
    18 11:30:02 s-1 error message="ConnectionRefused" retry=1
    19 11:30:05 s-1 model_call id="msg_5" input_tokens=5 model="model-a" output_tokens=2
    19 11:30:05 s-1 tool_call arguments={"file_path":"/w/app/lex.rs","new_string":"b","old_string":"a"} class="write" id="t5" response="msg_5" tool="Edit"
    20 11:30:40 s-1 tool_result cause="declined" id="t5" ok=false output="The user doesn't want to proceed with this tool use. The tool use was rejected."
    21 11:30:40 s-1 turn_end
    25 09:00:10 s-1 compaction before_tokens=155000
    26 09:00:10 s-1 prompt synthetic=true text="This session is being continued"
    27 09:00:15 s-1 model_call id="msg_6" input_tokens=5 model="model-a" output_tokens=2
    27 09:00:15 s-1 tool_call arguments={} class="other" id="t6" response="msg_6" tool="mcp__ask_terminal__screenshot"
    28 09:00:16 s-1 tool_result id="t6" ok=true output=""
    29 09:00:20 s-1 model_call id="msg_7" input_tokens=5 model="model-a" output_tokens=2
    29 09:00:20 s-1 message text="Done."
    29 09:00:20 s-1 turn_end
    "#);
}

#[test]
fn reads_recent_versions() {
    assert_snapshot!(read("claude-code", "s-2.jsonl", RECENT), @r#"
    2 08:00:00 s-2 session_start cwd="/w/app" version="2.1.330"
    2 08:00:00 s-2 prompt text="Inspect it"
    7 08:00:03 s-2 model_call cache_write_tokens=200 id="msg_1" input_tokens=5 model="model-a" output_tokens=55 reasoning_tokens=20
    7 08:00:03 s-2 tool_call arguments={"command":"rm -r /w/app","timeout":5000} class="run" id="t1" response="msg_1" tool="Bash"
    8 08:00:03 s-2 tool_result cause="blocked" id="t1" ok=false output="PreToolUse:Bash hook error: no"
    9 08:00:05 s-2 model_call id="msg_2" input_tokens=5 model="model-a" output_tokens=20
    9 08:00:05 s-2 tool_call arguments={"command":"make","timeout":5000} class="run" id="t2" response="msg_2" tool="Bash"
    10 08:00:10 s-2 tool_result cause="timeout" exit_code=143 id="t2" ok=false output="Exit code 143\nCommand timed out after 5s"
    11 08:00:12 s-2 model_call id="msg_3" input_tokens=5 model="model-a" output_tokens=20
    11 08:00:12 s-2 tool_call arguments={"description":"Look","prompt":"Look at it"} class="delegate" id="t3" response="msg_3" tool="Agent"
    12 08:00:12 s-2 tool_result id="t3" ok=true output="Async agent launched successfully."
    13 08:00:14 s-2 model_call id="msg_4" input_tokens=5 model="model-a" output_tokens=20
    13 08:00:14 s-2 thinking text="Wait."
    14 08:00:14 s-2 message text="It is being looked at."
    14 08:00:14 s-2 turn_end
    16 08:00:30 s-2/b222 agent_end
    16 08:00:30 s-2 prompt synthetic=true text="<task-notification>\n<task-id>b222</task-id>\n<status>completed</status>\n</task-notification>"
    17 08:00:31 s-2 prompt text="And be quick"
    18 08:00:33 s-2 error message="529 overloaded" retry=1
    19 08:03:00 s-2 error message="API Error: 529 overloaded"
    21 08:03:00 s-2 session_end
    skipped part 1: unknown type of line
    "#);
}

#[test]
fn assigns_sub_agents_to_their_session() {
    assert_snapshot!(read("claude-code", "s-2/subagents/agent-b222.jsonl", AGENT), @r#"
    1 08:00:12 s-2/b222 agent_start
    1 08:00:12 s-2/b222 prompt text="Look at it"
    2 08:00:29 s-2/b222 model_call id="msg_9" input_tokens=4 model="model-b" output_tokens=8
    2 08:00:29 s-2/b222 message text="Looked."
    2 08:00:29 s-2/b222 turn_end
    "#);
    // Without ids in the lines, the path identifies session and agent.
    let text = r#"{"type":"user","message":{"content":"hi"},"timestamp":"2026-11-01T08:00:12Z"}"#;
    let path = "s-9/subagents/agent-c3.jsonl";
    assert_snapshot!(read("claude-code", path, text.as_bytes()), @r#"
    1 08:00:12 s-9/c3 agent_start
    1 08:00:12 s-9/c3 prompt text="hi"
    "#);
}

#[test]
fn counts_copied_lines_of_a_resumed_session_once() {
    let mut seen = DedupCache::default();
    let (first, _) = events("claude-code", "s-1.jsonl", EARLY, &mut seen);
    assert!(first.iter().any(|it| matches!(it.kind, EventKind::ToolCall(_))));
    let copy = [EARLY, RECENT].concat();
    let copied = events("claude-code", "copy.jsonl", &copy, &mut seen);
    let alone = events("claude-code", "alone.jsonl", RECENT, &mut DedupCache::default());
    let without_lines = |text: String| {
        let lines = text.lines().map(|it| it.split_once(' ').unwrap().1.to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        without_lines(render(&copied))[..alone.0.len()],
        without_lines(render(&alone))[..alone.0.len()],
    );
}

#[test]
fn gives_equal_calls_equal_fingerprints_and_distinguishes_images() {
    let line = |uuid: &str, block: &str, kind: &str| {
        format!(
            r#"{{"type":"{kind}","uuid":"{uuid}","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{{"content":[{block}]}}}}"#,
        )
    };
    let call = |uuid, description| {
        let input = format!(r#"{{"command":"ls","description":"{description}"}}"#);
        let block = format!(r#"{{"type":"tool_use","id":"{uuid}","name":"Bash","input":{input}}}"#);
        line(uuid, &block, "assistant")
    };
    let image = |uuid, data| {
        let image = format!(r#"{{"type":"image","source":{{"data":"{data}"}}}}"#);
        let block =
            format!(r#"{{"type":"tool_result","tool_use_id":"{uuid}","content":[{image}]}}"#);
        line(uuid, &block, "user")
    };
    let text = [
        call("1", "List"),
        call("2", "List again"),
        image("3", "aaa"),
        image("4", "bbb"),
        image("5", "aaa"),
    ];
    let (events, _) =
        events("claude-code", "s.jsonl", text.join("\n").as_bytes(), &mut DedupCache::default());
    let fingerprints = events.iter().filter_map(|event| match &event.kind {
        EventKind::ToolCall(call) => Some(call.fingerprint),
        EventKind::ToolResult(result) => result.fingerprint,
        _ => None,
    });
    let [call, again, image, other, same] = *fingerprints.collect::<Vec<Fingerprint>>() else {
        panic!("{events:?}");
    };
    assert_eq!((call, image), (again, same));
    assert_ne!(image, other);
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let sources = Registry::linked().unwrap().sources;
    let kinds = |head: &[u8]| {
        let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head));
        known.map(watchkeeper_core::embed::Entry::kind).collect::<Vec<_>>()
    };
    for text in [EARLY, RECENT, AGENT] {
        assert_eq!(kinds(text), ["claude-code"]);
        // A head may hold no more than a part of the first line.
        assert_eq!(kinds(&text[..text.len().min(700)]), ["claude-code"]);
    }
    assert_eq!(kinds(b""), Vec::<&str>::new());
    assert_eq!(kinds(b"# Notes\n{\"type\":\"user\"}\n"), Vec::<&str>::new());
}

#[test]
fn an_empty_id_of_a_line_is_no_id() {
    let text: String = (0..3)
        .map(|n| {
            format!(
                r#"{{"type":"user","uuid":"","sessionId":"s","timestamp":"2026-01-01T00:00:0{n}Z","message":{{"content":"hi"}}}}"#
            ) + "\n"
        })
        .collect();
    assert_eq!(read("claude-code", "s.jsonl", text.as_bytes()).matches(" prompt ").count(), 3);
}

#[test]
fn derives_folders_from_the_environment() {
    let folders = |variables: &[(&str, &str)]| {
        let get = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.into());
        ClaudeCode::folders(&get)
    };
    let home = [PathBuf::from("/h/.claude/projects"), PathBuf::from("/h/.config/claude/projects")];
    assert_eq!(folders(&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "")]), home);
    assert_eq!(folders(&[("HOME", "/h"), ("CLAUDE_CONFIG_DIR", "/c")]), [Path::new("/c/projects")]);
    assert_eq!(folders(&[]), Vec::<PathBuf>::new());
}

#[test]
fn reports_the_context_window_of_a_model_suffix() {
    for (name, expected) in [
        ("claude-opus-4-5[1m]", ("claude-opus-4-5", Some(1_000_000))),
        ("claude-opus-4-5[x]", ("claude-opus-4-5", None)),
        ("claude-opus-4-5", ("claude-opus-4-5", None)),
    ] {
        let line = format!(
            r#"{{"type":"assistant","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{{"model":"{name}","usage":{{"input_tokens":1}},"content":[]}}}}"#
        );
        let (events, _) =
            events("claude-code", "s.jsonl", line.as_bytes(), &mut DedupCache::default());
        let call = events.iter().find_map(|event| match &event.kind {
            EventKind::ModelCall(call) => Some(call),
            _ => None,
        });
        let call = call.unwrap();
        assert_eq!((call.model.as_deref().unwrap(), call.context_tokens), expected);
    }
}
