//! Tests of the streams that clients without a terminal write.

use std::{
    collections::VecDeque,
    io::{self, Read},
    path::Path,
};

use insta::assert_snapshot;
use watchkeeper_core::{
    author::DedupCache,
    embed::{Entry as _, Registry},
};
use watchkeeper_sources::{
    ClaudeCode, Codex, Content, GeminiCli, OpenError, Opencode, open_bytes, open_stream,
};
use watchkeeper_testing::source::check;

use crate::{events, read};

const CLAUDE_CODE: &str = include_str!("fixtures/claude_code_stream.jsonl");
const CLAUDE_CODE_EARLY: &str = include_str!("fixtures/claude_code_stream_early.jsonl");
const CODEX: &str = include_str!("fixtures/codex_stream.jsonl");
const GEMINI_CLI: &str = include_str!("fixtures/gemini_cli_stream.jsonl");
const OPENCODE: &str = include_str!("fixtures/opencode_stream.jsonl");

#[test]
fn keeps_the_promises_of_sources() {
    check::<ClaudeCode>(&[("s-7.jsonl", CLAUDE_CODE), ("early.jsonl", CLAUDE_CODE_EARLY)]);
    check::<Codex>(&[("th-1.jsonl", CODEX)]);
    check::<GeminiCli>(&[("g-7.jsonl", GEMINI_CLI)]);
    check::<Opencode>(&[("ses_7.json", OPENCODE)]);
}

#[test]
fn reads_a_stream_of_claude_code() {
    assert_snapshot!(read("claude-code", "-", CLAUDE_CODE.as_bytes()), @r#"
    3 00:00:01 s-7 session_start cwd="/w/app" model="claude-x" version="2.1.330"
    3 00:00:01 s-7 error message="overloaded" retry=1
    5 08:00:01 s-7 model_call cache_write_tokens=100 id="m1" input_tokens=5 model="claude-x" output_tokens=1
    5 08:00:01 s-7 message text="I run it."
    6 08:00:01 s-7 tool_call arguments={"command":"make"} class="run" id="t1" response="m1" tool="Bash"
    7 08:00:02 s-7 tool_result exit_code=2 id="t1" ok=false output="Exit code 2\nno rule"
    8 08:00:03 s-7 model_call id="m2" input_tokens=5 model="claude-x" output_tokens=1
    8 08:00:03 s-7 tool_call arguments={"prompt":"look"} class="delegate" id="t2" response="m2" tool="Agent"
    10 08:00:03 s-7 tool_result id="t2" ok=true output="launched"
    11 08:00:04 s-7/a1 agent_start
    11 08:00:04 s-7/a1 model_call id="m3" input_tokens=2 model="claude-x" output_tokens=1
    11 08:00:04 s-7/a1 tool_call arguments={"file_path":"/w/app/a"} class="read" id="t3" response="m3" tool="Read"
    12 08:00:05 s-7/a1 tool_result id="t3" ok=true output="x"
    14 08:00:05 s-7/a1 agent_end
    15 08:00:05 s-7 compaction before_tokens=150000
    16 08:00:06 s-7 error message="API Error: 529"
    17 08:00:07 s-7 model_call id="m5" input_tokens=4 model="claude-x" output_tokens=1
    17 08:00:07 s-7 message text="Done."
    18 08:00:07 s-7 turn_end
    "#);
}

#[test]
fn reads_a_stream_of_claude_code_without_times() {
    assert_snapshot!(read("claude-code", "-", CLAUDE_CODE_EARLY.as_bytes()), @r#"
    2 00:00:01 s-8 session_start cwd="/w" model="claude-x" version="2.0.30"
    2 00:00:01 s-8 model_call id="m1" input_tokens=5 model="claude-x" output_tokens=1
    2 00:00:01 s-8 tool_call arguments={"prompt":"look"} class="delegate" id="t1" response="m1" tool="Task"
    3 00:00:02 s-8/t1 agent_start
    3 00:00:02 s-8/t1 model_call id="m2" input_tokens=5 model="claude-x" output_tokens=1
    3 00:00:02 s-8/t1 message text="Looking."
    4 00:00:03 s-8 tool_result id="t1" ok=true output="fine"
    5 00:00:04 s-8 turn_end
    "#);
}

#[test]
fn a_stream_of_claude_code_contains_who_started_an_agent() {
    let call = |id: &str, of: &str| {
        format!(
            r#"{{"type":"assistant","message":{{"id":"m{id}","role":"assistant","content":[{{"type":"tool_use","id":"{id}","name":"Task","input":{{}}}}]}},"parent_tool_use_id":{of},"session_id":"s-8","uuid":"v{id}"}}"#
        )
    };
    let lines = [call("t1", "null"), call("t2", "\"t1\""), call("t3", "\"t2\"")].join("\n");
    let rendered = read("claude-code", "-", lines.as_bytes());
    let starts: Vec<_> = rendered.lines().filter(|line| line.contains("agent_start")).collect();
    assert_snapshot!(starts.join("\n"), @r#"
    2 00:00:02 s-8/t1 agent_start
    3 00:00:03 s-8/t2 agent_start parent="t1"
    "#);
}

#[test]
fn the_end_of_a_stream_of_claude_code_has_the_totals_of_the_client() {
    let kinds = Registry::linked().unwrap().sources;
    let mut file = open_bytes(Path::new("-"), CLAUDE_CODE.as_bytes().into(), None, &kinds).unwrap();
    file.read(&mut DedupCache::default(), &mut |_| {}).unwrap();
    let total = file.client_total().unwrap();
    assert_eq!((total.tokens.unwrap().output, total.cost_usd), (90, Some(0.25)));
}

#[test]
fn reads_a_stream_of_codex() {
    assert_snapshot!(read("codex", "-", CODEX.as_bytes()), @r#"
    4 00:00:03 th-1 session_start
    4 00:00:03 th-1 error message="Reconnecting... 1/5 (overloaded)" retry=1
    5 00:00:04 th-1 thinking text="Run it first."
    6 00:00:05 th-1 message text="I run it."
    7 00:00:06 th-1 tool_call arguments={"command":"make test"} class="run" id="item_3" response="7" tool="command_execution"
    8 00:00:07 th-1 tool_result exit_code=2 id="item_3" ok=false output="1 failed\n"
    9 00:00:08 th-1 tool_call arguments={"item":"item_4","kinds":["update"],"paths":["/w/a.py"]} class="write" id="item_4" response="9" tool="file_change"
    10 00:00:09 th-1 tool_result id="item_4" ok=true
    11 00:00:10 th-1 tool_call arguments={"q":"x"} class="read" id="item_5" response="11" tool="docs__search"
    12 00:00:11 th-1 tool_result id="item_5" ok=true output="found"
    13 00:00:12 th-1 tool_call arguments={} class="read" id="item_6" response="13" tool="docs__get"
    14 00:00:13 th-1 tool_result id="item_6" ok=false output="gone"
    15 00:00:14 th-1 tool_call arguments={"query":"rust"} class="read" id="item_7" response="15" tool="web_search"
    15 00:00:14 th-1 tool_result id="item_7" ok=true
    16 00:00:15 th-1 tool_call arguments={"command":"rm -rf /"} class="run" id="item_8" response="16" tool="command_execution"
    17 00:00:16 th-1 tool_result cause="declined" id="item_8" ok=false output=""
    18 00:00:17 th-1 tool_call arguments={"prompt":"look","to":["th-2"]} class="delegate" id="item_9" response="18" tool="spawn_agent"
    19 00:00:18 th-1 tool_result id="item_9" ok=true
    22 00:00:21 th-1 model_call cache_read_tokens=400 input_tokens=600 output_tokens=50 reasoning_tokens=10
    22 00:00:21 th-1 turn_end
    24 00:00:23 th-1 model_call cache_read_tokens=200 input_tokens=300 output_tokens=20
    24 00:00:23 th-1 turn_end
    25 00:00:24 th-1 error message="overloaded"
    26 00:00:25 th-1 turn_end
    skipped part 1: unknown type of item
    skipped part 1: unknown type of line
    "#);
}

#[test]
fn reads_a_stream_of_gemini_cli() {
    assert_snapshot!(read("gemini-cli", "-", GEMINI_CLI.as_bytes()), @r#"
    2 08:00:00 g-7 session_start model="gemini-x"
    2 08:00:00 g-7 prompt text="Fix the test"
    3 08:00:01 g-7 message delta=true text="I run "
    4 08:00:01 g-7 message delta=true text="it."
    5 08:00:02 g-7 tool_call arguments={"command":"make","description":"Run it"} class="run" id="c1" response="5" tool="run_shell_command"
    6 08:00:03 g-7 tool_result id="c1" ok=true output="no rule"
    7 08:00:04 g-7 tool_call arguments={"file_path":"/w/a"} class="read" id="c2" response="7" tool="read_file"
    8 08:00:05 g-7 tool_result id="c2" ok=true
    9 08:00:06 g-7 tool_call arguments={"content":"x","file_path":"/w/a"} class="write" id="c3" response="9" tool="write_file"
    10 08:00:07 g-7 tool_result cause="blocked" id="c3" ok=false output="Tool execution denied by policy."
    12 08:00:08 g-7 error message="Maximum session turns exceeded"
    14 08:00:09 g-7 model_call cache_read_tokens=400 input_tokens=600 model="gemini-x" output_tokens=120
    14 08:00:09 g-7 error message="overloaded"
    14 08:00:09 g-7 turn_end
    skipped part 1: unknown type of line
    "#);
}

#[test]
fn reads_a_stream_of_opencode() {
    assert_snapshot!(read("opencode", "-", OPENCODE.as_bytes()), @r#"
    1 08:00:00 ses_7 session_start
    2 08:00:00 ses_7 message text="I run it."
    3 08:00:01 ses_7 tool_call arguments={"command":"make"} class="run" id="c1" response="msg_1" tool="bash"
    3 08:00:02 ses_7 tool_result exit_code=2 id="c1" ok=false output="no rule\n"
    4 08:00:03 ses_7 tool_call arguments={"filePath":"/w/a"} class="read" id="c2" response="msg_1" tool="read"
    4 08:00:03 ses_7 tool_result id="c2" ok=false output="File not found"
    5 08:00:05 ses_7 model_call cache_read_tokens=400 cost_usd=0.002 id="msg_1" input_tokens=600 output_tokens=50
    6 08:00:06 ses_7 message text="Done."
    7 08:00:08 ses_7 model_call cache_read_tokens=400 cost_usd=0.001 id="msg_2" input_tokens=650 output_tokens=10
    7 08:00:08 ses_7 turn_end
    8 08:00:09 ses_7 error message="overloaded"
    "#);
}

#[test]
fn a_stream_is_recognized_by_its_first_lines() {
    let kinds = Registry::linked().unwrap().sources;
    let all: Vec<_> = kinds.iter().collect();
    let droid = include_str!("fixtures/droid_stream.jsonl");
    for (kind, text) in [
        ("claude-code", CLAUDE_CODE),
        ("claude-code", CLAUDE_CODE_EARLY),
        ("codex", CODEX),
        ("droid", droid),
        ("gemini-cli", GEMINI_CLI),
        ("opencode", OPENCODE),
    ] {
        let lines = text.split_inclusive('\n').map(|line| line.as_bytes().to_vec());
        let reader = Box::new(Pieces(lines.collect()));
        let mut file = open_stream(Path::new("-"), reader, None, &all).unwrap();
        assert_eq!(file.kind().kind(), kind);
        let mut found = Vec::new();
        file.read(&mut DedupCache::default(), &mut |event| found.push(event)).unwrap();
        let (expected, _) = events(kind, "-", text.as_bytes(), &mut DedupCache::default());
        assert!(found == expected, "{kind}");
    }
}

#[test]
fn a_line_that_arrives_in_pieces_waits_for_its_end() {
    let kinds = Registry::linked().unwrap().sources;
    let all: Vec<_> = kinds.iter().collect();
    let pieces = CODEX.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
    let mut file = open_stream(Path::new("-"), Box::new(Pieces(pieces)), None, &all).unwrap();
    let mut found = Vec::new();
    file.read(&mut DedupCache::default(), &mut |event| found.push(event)).unwrap();
    let (expected, skipped) = events("codex", "-", CODEX.as_bytes(), &mut DedupCache::default());
    assert!(found == expected && *file.skipped_lines() == skipped);
}

#[test]
fn a_stream_of_no_known_format_is_an_error_before_its_end() {
    let kinds = Registry::linked().unwrap().sources;
    let all: Vec<_> = kinds.iter().collect();
    let endless = Box::new(io::repeat(b'\n'));
    let error = open_stream(Path::new("-"), endless, None, &all).unwrap_err();
    assert!(matches!(error, OpenError::Unrecognized { content: Content::Text, .. }), "{error}");
    let error = open_stream(Path::new("-"), Box::new(io::empty()), None, &all).unwrap_err();
    assert!(matches!(error, OpenError::Unrecognized { content: Content::Empty, .. }), "{error}");
}

/// Returns a piece in each read.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.pop_front() else { return Ok(0) };
        to[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
