//! Tests of sessions that are one JSON document.

use std::path::Path;

use insta::assert_snapshot;
use watchkeeper_core::{
    author::DedupCache,
    embed::{Entry, Registry},
};
use watchkeeper_sources::MAX_LINE;

use crate::{events, read, render};

const TRAJECTORY: &[u8] = include_bytes!("fixtures/swe_agent.traj");
const EXPORT: &[u8] = include_bytes!("fixtures/opencode.json");
const AGENT: &[u8] = include_bytes!("fixtures/opencode_agent.json");
const EVENTS: &[u8] = include_bytes!("fixtures/openhands_trajectory.json");
const LINES: &[u8] = include_bytes!("fixtures/openhands_events.jsonl");
const TASKS: &[u8] = include_bytes!("fixtures/openhands_tasks.jsonl");

#[test]
fn reads_a_trajectory() {
    assert_snapshot!(read("swe-agent", "run/t-1/t-1.traj", TRAJECTORY), @r#"
    4 00:00:00 run/t-1 session_start
    9 00:00:00 run/t-1 message text="I look for the parser."
    5 00:00:00 run/t-1 tool_call arguments="search_dir \"parse\"" class="read" id="1" tool="search_dir"
    6 00:00:00 run/t-1 tool_result id="1" ok=true output="Found 2 matches for \"parse\" in /w:\n/w/lexer.py (2 matches)"
    12 00:00:01 run/t-1 tool_call arguments="open lexer.py 10" class="read" id="2" tool="open"
    13 00:00:01 run/t-1 tool_result id="2" ok=true output="[File: /w/lexer.py (40 lines total)]\n10:def parse():"
    23 00:00:02 run/t-1 message text="I fix it."
    19 00:00:02 run/t-1 tool_call arguments="edit 10:10\ndef parse()\nend_of_edit" class="write" id="3" tool="edit"
    20 00:00:02 run/t-1 tool_result id="3" ok=false output="Your proposed edit has introduced new syntax error(s). Please read this error message carefully.\n\nERRORS:\n- E999 SyntaxError: expected ':'"
    26 00:00:03 run/t-1 tool_call arguments="python tests.py" class="run" id="4" tool="python"
    27 00:00:03 run/t-1 tool_result cause="timeout" id="4" ok=false output="\nEXECUTION TIMED OUT"
    33 00:00:04 run/t-1 tool_call arguments="make" class="run" id="5" tool="make"
    34 00:00:04 run/t-1 tool_result id="5" ok=false output="/bin/bash: line 7: make: command not found"
    44 00:00:05 run/t-1 message text="Done."
    40 00:00:05 run/t-1 tool_call arguments="submit" class="other" id="6" tool="submit"
    41 00:00:05 run/t-1 tool_result id="6" ok=true output="\ndiff --git a/lexer.py b/lexer.py"
    66 00:00:06 run/t-1 model_call cost_usd=3.25 id="all" input_tokens=5000 output_tokens=70
    66 00:00:06 run/t-1 session_end reason="submitted (exit_cost)"
    "#);
}

#[test]
fn reads_an_export() {
    assert_snapshot!(read("opencode", "x.json", EXPORT), @r#"
    2 07:59:59 ses_1 session_start cwd="/w" version="1.2.21"
    28 08:00:00 ses_1 prompt text="Fix the lexer"
    70 08:00:00 ses_1 thinking text="**Looking**"
    78 08:00:01 ses_1 model_call cache_read_tokens=1000 cache_write_tokens=10 cost_usd=0.25 id="msg_2" input_tokens=100 model="model-x" output_tokens=50 reasoning_tokens=20
    78 08:00:01 ses_1 tool_call arguments={"filePath":"/w/lexer.rs"} class="read" id="c1" response="msg_2" tool="read"
    101 08:00:01 ses_1 tool_call arguments={"command":"cargo test","description":"Run the tests","timeout":60000} class="run" id="c2" response="msg_2" tool="bash"
    112 08:00:01 ses_1 tool_result exit_code=101 id="c2" ok=false output="1 failed"
    87 08:00:01 ses_1 tool_result id="c1" ok=true output="<file>"
    175 08:00:02 ses_1 model_call id="msg_3" input_tokens=10 model="model-x" output_tokens=8 reasoning_tokens=3
    175 08:00:02 ses_1 tool_call arguments={"filePath":"/w/lexer.rs","newString":"b","oldString":"a"} class="write" id="c3" response="msg_3" tool="edit"
    196 08:00:02 ses_1 tool_call arguments={"command":"rm -r ."} class="run" id="c4" response="msg_3" tool="bash"
    215 08:00:02 ses_1 tool_call arguments={"command":"sleep 99"} class="run" id="c5" response="msg_3" tool="bash"
    186 08:00:02 ses_1 tool_result id="c3" ok=false output="oldString not found in content"
    205 08:00:02 ses_1 tool_result cause="declined" id="c4" ok=false output="The user rejected permission to use this specific tool call."
    224 08:00:09 ses_1 tool_result cause="timeout" id="c5" ok=false output="\n\n<bash_metadata>\nbash tool terminated command after exceeding timeout 6000 ms\n</bash_metadata>"
    281 08:00:10 ses_1 error message="overloaded" retry=1
    295 08:00:11 ses_1 model_call cost_usd=0.5 id="msg_4" input_tokens=20 model="model-x" output_tokens=5
    295 08:00:11 ses_1 tool_call arguments={"description":"Look","prompt":"Look closer","subagent_type":"general"} class="delegate" id="c6" response="msg_4" tool="task"
    306 08:00:14 ses_1 tool_result id="c6" ok=true output="It is closed."
    306 08:00:14 ses_1/ses_2 agent_end
    363 08:00:15 ses_1 message text="It is fixed."
    372 08:00:15 ses_1 model_call cost_usd=0.125 id="msg_5" input_tokens=30 model="model-x" output_tokens=6
    372 08:00:15 ses_1 turn_end
    400 08:00:20 ses_1 prompt text="Review this"
    419 08:00:21 ses_1 prompt synthetic=true text="Summarize the output and go on."
    460 08:00:22 ses_1 tool_call arguments={"command":"sleep 9"} class="run" id="c7" response="msg_8" tool="bash"
    460 08:00:23 ses_1 turn_end
    489 08:00:30 ses_1 compaction
    521 08:00:30 ses_1 message text="What happened so far"
    530 08:00:31 ses_1 model_call id="msg_10" input_tokens=40 model="model-x" output_tokens=7
    548 08:00:33 ses_1 model_call id="msg_11" input_tokens=9 model="model-x" output_tokens=1
    548 08:00:33 ses_1 error message="no credit"
    skipped part 1: unknown type of part
    "#);
}

#[test]
fn reads_the_export_of_a_sub_agent() {
    assert_snapshot!(read("opencode", "y.json", AGENT), @r#"
    1 08:00:11 ses_1/ses_2 agent_start
    1 08:00:11 ses_1/ses_2 prompt text="Look closer"
    1 08:00:12 ses_1/ses_2 model_call id="msg_b" input_tokens=10 model="model-x" output_tokens=2
    1 08:00:12 ses_1/ses_2 tool_call arguments={"pattern":"a"} class="read" id="d1" response="msg_b" tool="grep"
    1 08:00:12 ses_1/ses_2 tool_result id="d1" ok=true output="No files found"
    1 08:00:12 ses_1/ses_2 message text="It is closed."
    1 08:00:12 ses_1/ses_2 model_call id="msg_c" input_tokens=12 model="model-x" output_tokens=2
    1 08:00:12 ses_1/ses_2 turn_end
    "#);
}

#[test]
fn recognizes_documents_by_any_length_of_their_head() {
    let sources = Registry::linked().unwrap().sources;
    for (text, n_enough, kind) in
        [(TRAJECTORY, 100, "swe-agent"), (EXPORT, 40, "opencode"), (AGENT, 40, "opencode")]
    {
        for head in [text, &text[..n_enough]] {
            let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head));
            assert_eq!(known.map(Entry::kind).collect::<Vec<_>>(), [kind]);
        }
    }
    for other in [
        &b"{\"info\":{\"id\":\"other\"},\"messages\":[]}"[..],
        b"{\"trajectory\":[]}",
        b"{\"trajectory\":{\"action\":\"ls\"}}",
        b"{}",
    ] {
        assert!(sources.iter().all(|it| !it.recognizes(Path::new("x.traj"), other)));
    }
}

#[test]
fn counts_repeated_entries_once() {
    for (kind, text) in [
        ("swe-agent", TRAJECTORY),
        ("opencode", EXPORT),
        ("opencode", AGENT),
        ("openhands", EVENTS),
        ("openhands", LINES),
        ("openhands", TASKS),
    ] {
        let (all, _) = events(kind, "run/t-1.json", text, &mut DedupCache::default());
        // The file is read repeatedly while it is written.
        let mut seen = DedupCache::default();
        let mut found = Vec::new();
        for n_bytes in (0..text.len()).step_by(97).chain([text.len()]) {
            found.extend(events(kind, "run/t-1.json", &text[..n_bytes], &mut seen).0);
        }
        assert!(found == all, "{kind}");
        assert_eq!(events(kind, "run/t-1.json", text, &mut seen).0, []);
    }
}

#[test]
fn emits_the_result_of_a_call_that_ended_since_the_previous_read() {
    let export = |state: &str| {
        let part = format!(r#"{{"type":"tool","callID":"c1","tool":"bash","state":{{{state}}}}}"#);
        let info = r#"{"role":"assistant","time":{"created":1767254400000}}"#;
        let message = format!(r#"{{"info":{info},"parts":[{part}]}}"#);
        format!(r#"{{"info":{{"id":"ses_1"}},"messages":[{message}]}}"#)
    };
    let mut seen = DedupCache::default();
    let running = export(r#""status":"running","input":{"command":"ls"}"#);
    let done = export(r#""status":"completed","input":{"command":"ls"},"output":"a.rs""#);
    let mut rendered = String::new();
    for text in [&running, &running, &done, &done] {
        rendered += &render(&events("opencode", "x.json", text.as_bytes(), &mut seen));
    }
    assert_snapshot!(rendered, @r#"
    1 08:00:00 ses_1 session_start
    1 08:00:00 ses_1 tool_call arguments={"command":"ls"} class="run" id="c1" response="1" tool="bash"
    1 08:00:00 ses_1 tool_result id="c1" ok=true output="a.rs"
    "#);
}

#[test]
fn reads_other_entries_after_an_invalid_one() {
    let long = "x".repeat(MAX_LINE - 99);
    let text = format!(
        r#"{{"trajectory":[
{{"action":"ls","observation":"a"}},
{{"action" 1}},
{{"action":"cat","thought":"{long}",
"observation":"{long}"}},
{{"action":7,"observation":null,"thought":"hm"}},
{{"action":"pwd"}}
],"info":{{"model_stats":[],"exit_status":null}}}}
{{}}"#
    );
    assert_snapshot!(read("swe-agent", "t.traj", text.as_bytes()), @r#"
    2 00:00:00 t session_start
    2 00:00:00 t tool_call arguments="ls" class="run" id="1" tool="ls"
    2 00:00:00 t tool_result id="1" ok=true output="a"
    6 00:00:01 t message text="hm"
    7 00:00:02 t tool_call arguments="pwd" class="run" id="3" tool="pwd"
    skipped line 1: not JSON
    skipped line 1: something follows the JSON
    skipped line 1: too long
    "#);
    // A quote is missing.
    let text = r#"{"trajectory":[{"action":"ls},
{"action":"pwd"},{"action":"cat"},{"action":"ls"}]}"#;
    assert_snapshot!(
        read("swe-agent", "t.traj", text.as_bytes()),
        @"skipped line 1: ends in the middle of JSON",
    );
    let text = r#"{"info":{"id":"ses_1","parentID":"gone","time":{"created":"?"}},"messages":[
{"info":{"role":"user"},"parts":[]},
{"info":{"role":"user","time":{"created":1767254400000}},"parts":[{"type":"text","text":"Go"}]},
{"info":{"role":"tool"},"parts":[]},
{"info":{"role":"assistant","tokens":{"input":5,"output":2,"reasoning":3,"total":10}},"parts":{}},
{"info":{"role":"assistant"},"parts":[{"type":"step-finish","cost":-1,"tokens":[]},{"type":"tool"},{"type":"tool"}]}"#;
    assert_snapshot!(read("opencode", "x.json", text.as_bytes()), @r#"
    3 08:00:00 ses_1 session_start
    3 08:00:00 ses_1 prompt text="Go"
    5 08:00:00 ses_1 model_call id="4" input_tokens=5 output_tokens=5 reasoning_tokens=3
    6 08:00:00 ses_1 tool_call arguments=null class="other" id="" response="5" tool="unknown"
    6 08:00:00 ses_1 tool_call arguments=null class="other" id="5/2" response="5" tool="unknown"
    skipped line 1: ends in the middle of JSON
    skipped line 1: no role
    skipped line 1: no time
    "#);
}
