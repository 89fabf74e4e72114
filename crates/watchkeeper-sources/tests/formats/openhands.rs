//! Tests of both generations of OpenHands.

use std::{collections::BTreeSet, path::Path};

use insta::assert_snapshot;
use jiff::tz::TimeZone;
use watchkeeper_core::{
    Event, EventKind, SourceKind,
    author::{DedupCache, SkippedLines},
    embed::{Entry, Registry},
};
use watchkeeper_sources::{MAX_LINE, OpenHands};

use crate::{events, read, render, render_in};

const TRAJECTORY: &[u8] = include_bytes!("fixtures/openhands_trajectory.json");
const EVENTS: &[u8] = include_bytes!("fixtures/openhands_events.jsonl");
const TASKS: &[u8] = include_bytes!("fixtures/openhands_tasks.jsonl");

/// Reads a file, and renders its times as written, without a zone.
fn read_local(path: &str, text: &[u8]) -> String {
    render_in(&TimeZone::system(), &events("openhands", path, text, &mut DedupCache::default()))
}

#[test]
fn reads_a_trajectory() {
    assert_snapshot!(read_local("w/s-1.json", TRAJECTORY), @r#"
    2 09:00:00 s-1 session_start version="0.50.0"
    15 09:00:00 s-1 prompt text="Fix the lexer"
    89 09:00:01 s-1 message text="I build it."
    89 09:00:01 s-1 model_call cache_read_tokens=800 cost_usd=0.25 id="r1" input_tokens=200 model="model-x" output_tokens=50
    89 09:00:01 s-1 tool_call arguments={"blocking":false,"command":"make","confirmation_state":"confirmed","hidden":false,"is_input":false,"thought":"I build it."} class="run" id="7" response="r1" tool="execute_bash"
    149 09:00:02 s-1 tool_result exit_code=2 id="7" ok=false output="lexer.c:1: error"
    161 09:00:03 s-1 model_call id="r2" input_tokens=1100 model="model-x" output_tokens=20
    161 09:00:03 s-1 tool_call arguments={"end":-1,"impl_source":"oh_aci","path":"/w/lexer.c","start":0,"thought":"","view_range":[1,9]} class="read" id="9" response="r2" tool="str_replace_editor"
    224 09:00:03 s-1 tool_result id="9" ok=true output="1\tint x"
    230 09:00:04 s-1 model_call cost_usd=0.25 id="r3" input_tokens=1200 model="model-x" output_tokens=20
    230 09:00:04 s-1 tool_call arguments={"command":"str_replace","impl_source":"oh_aci","new_str":"z","old_str":"y","path":"/w/lexer.c","thought":""} class="write" id="11" response="r3" tool="str_replace_editor"
    290 09:00:04 s-1 tool_result id="11" ok=false output="No replacement was performed, old_str `y` did not appear verbatim."
    296 09:00:05 s-1 tool_call arguments=null class="other" id="13" tool="unknown"
    302 09:00:05 s-1 tool_result id="13" ok=false output="Parameter 'command' is expected to be one of ['view']"
    307 09:00:06 s-1 model_call id="r4" input_tokens=2600 model="model-x" output_tokens=30
    307 09:00:06 s-1 tool_call arguments={"thought":"It is x."} class="other" id="14" response="r4" tool="think"
    362 09:00:06 s-1 tool_result id="14" ok=true
    365 09:00:07 s-1 model_call id="r5" input_tokens=1400 model="model-x" output_tokens=10
    365 09:00:07 s-1 tool_call arguments={"command":"","is_input":true,"thought":""} class="wait" id="16" response="r5" tool="execute_bash"
    422 09:00:08 s-1 tool_result id="16" ok=true output=""
    432 09:00:09 s-1 compaction
    446 09:00:10 s-1 waiting for="permission"
    457 09:00:10 s-1 model_call id="r6" input_tokens=300 model="model-x" output_tokens=10
    457 09:00:10 s-1 tool_call arguments={"command":"rm -r .","confirmation_state":"awaiting_confirmation","thought":""} class="run" id="20" response="r6" tool="execute_bash"
    507 09:00:12 s-1 resumed for="permission"
    525 09:00:12 s-1 tool_result cause="declined" id="20" ok=false output="Action has been rejected by the user!"
    528 09:00:12 s-1 turn_end
    539 09:00:13 s-1 prompt text="Ask another"
    550 09:00:14 s-1 message text="I ask."
    550 09:00:14 s-1 model_call cost_usd=0.25 id="r7" input_tokens=310 model="model-x" output_tokens=10
    550 09:00:14 s-1 tool_call arguments={"agent":"BrowsingAgent","inputs":{"task":"look it up"},"thought":"I ask."} class="delegate" id="25" response="r7" tool="delegate_to_browsing_agent"
    550 09:00:14 s-1/delegate-25 agent_start
    602 09:00:15 s-1/delegate-25 tool_call arguments={"browser_actions":"goto('x')","thought":""} class="other" id="26" tool="browse_interactive"
    633 09:00:16 s-1/delegate-25 tool_result id="26" ok=true output="A page"
    639 09:00:17 s-1/delegate-25 message text="It is there."
    663 09:00:17 s-1/delegate-25 agent_end
    670 09:00:17 s-1 tool_result id="25" ok=true output="finishes with its answer"
    675 09:00:18 s-1 model_call cost_usd=0.25 id="r8" input_tokens=320 model="model-x" output_tokens=10
    675 09:00:18 s-1 tool_call arguments={"code":"1/0","thought":""} class="run" id="30" response="r8" tool="execute_ipython_cell"
    731 09:00:18 s-1 tool_result id="30" ok=false output="ZeroDivisionError\nTraceback (most recent call last)"
    737 09:00:19 s-1 model_call id="r9" input_tokens=330 model="model-x" output_tokens=10
    737 09:00:19 s-1 tool_call arguments={"arguments":{"q":"x"},"name":"search_docs","thought":""} class="read" id="32" response="r9" tool="search_docs"
    796 09:00:19 s-1 tool_result id="32" ok=false output="{\"content\":[],\"isError\":true}"
    801 09:00:20 s-1 error message="too many requests" retry=0
    813 09:00:21 s-1 prompt synthetic=true text="Please continue working on the task on whatever approach you think is suitable.\n"
    824 09:00:22 s-1 message text="It is fixed."
    824 09:00:22 s-1 model_call cost_usd=0.25 id="r10" input_tokens=340 model="model-x" output_tokens=10
    824 09:00:22 s-1 turn_end
    886 09:00:23 s-1 error message="budget is spent"
    886 09:00:23 s-1 turn_end
    "#);
}

#[test]
fn reads_events_of_the_sdk() {
    assert_snapshot!(read_local("w/s-1.jsonl", EVENTS), @r#"
    1 09:00:00 s-1 session_start
    2 09:00:01 s-1 prompt text="Fix the lexer"
    4 09:00:02 s-1 model_call cache_read_tokens=800 cost_usd=0.25 id="agent" input_tokens=200 output_tokens=50
    5 09:00:02 s-1 thinking text="What breaks?"
    5 09:00:02 s-1 message text="I build it."
    5 09:00:02 s-1 tool_call arguments={"command":"make","is_input":false,"kind":"TerminalAction","reset":false,"timeout":30.0} class="run" id="c1" response="r1" tool="terminal"
    6 09:00:02 s-1 tool_call arguments={"command":"view","kind":"FileEditorAction","path":"/w/lexer.c"} class="read" id="c2" response="r1" tool="file_editor"
    7 09:00:03 s-1 tool_result exit_code=2 id="c1" ok=false output="lexer.c:1: error"
    8 09:00:03 s-1 tool_result id="c2" ok=true output="1\tint x"
    9 09:00:04 s-1 model_call cache_read_tokens=1000 cost_usd=0.25 input_tokens=200 model="model-x" output_tokens=20
    10 09:00:04 s-1 tool_call arguments={"command":"str_replace","kind":"FileEditorAction","new_str":"z","old_str":"y","path":"/w/lexer.c"} class="write" id="c3" response="r2" tool="file_editor"
    11 09:00:04 s-1 tool_result id="c3" ok=false output="No replacement was performed."
    12 09:00:05 s-1 tool_call arguments={"command":"sleep 99","is_input":false,"kind":"TerminalAction"} class="run" id="c4" response="r3" tool="terminal"
    13 09:00:06 s-1 tool_result cause="timeout" id="c4" ok=false output=""
    14 09:00:07 s-1 tool_call arguments={"command":"","is_input":true,"kind":"TerminalAction"} class="wait" id="c5" response="r4" tool="terminal"
    15 09:00:08 s-1 tool_result id="c5" ok=true output=""
    16 09:00:09 s-1 tool_call arguments={"kind":"ThinkAction","thought":"It is x."} class="other" id="c6" response="r5" tool="think"
    17 09:00:09 s-1 tool_result id="c6" ok=true
    18 09:00:10 s-1 tool_call arguments={"command":"…","security_risk":"LOW"} class="run" id="c7" response="r6" tool="terminal"
    19 09:00:10 s-1 tool_result id="c7" ok=false output="Error validating args"
    21 09:00:12 s-1 model_call cost_usd=0.125 input_tokens=300 model="model-x" output_tokens=20
    22 09:00:12 s-1 compaction
    23 09:00:13 s-1 tool_call arguments={"command":"rm -r .","kind":"TerminalAction"} class="run" id="c8" response="r8" tool="terminal"
    24 09:00:13 s-1 waiting for="permission"
    25 09:00:15 s-1 tool_result cause="declined" id="c8" ok=false output="Not that"
    26 09:00:15 s-1 resumed for="permission"
    27 09:00:16 s-1 prompt synthetic=true text="Your last response did not include a function call or a message. Please use a tool."
    28 09:00:17 s-1 tool_call arguments={"kind":"GrepAction","pattern":"x"} class="read" id="c9" response="r9" tool="grep"
    29 09:00:17 s-1 tool_result cause="interrupted" id="c9" ok=false output="A restart occurred while this tool was in progress."
    30 09:00:18 s-1 tool_call arguments={"command":"make"} class="run" id="a1" tool="execute"
    31 09:00:19 s-1 tool_result id="a1" ok=false output="{\"exit\":2}"
    32 09:00:19 s-1/a0 agent_start
    32 09:00:19 s-1/a0 tool_call arguments=null class="read" id="a2" tool="search"
    32 09:00:19 s-1/a0 tool_result id="a2" ok=true output="found"
    33 09:00:20 s-1 thinking text="Hm."
    33 09:00:20 s-1 message text="Shall I go on?"
    33 09:00:20 s-1 turn_end
    35 09:00:30 s-1 prompt synthetic=true text="[Stop hook feedback] Go on."
    36 09:00:31 s-1 message text="It is fixed."
    36 09:00:31 s-1 turn_end
    39 09:00:33 s-1 error message="LLMBadRequestError: no such model"
    39 09:00:33 s-1 turn_end
    40 09:00:34 s-1 error message="OpenHands reports that the agent is stuck"
    40 09:00:34 s-1 turn_end
    42 09:00:36 s-1 tool_call arguments={"text":"Done"} class="other" id="c11" response="r11" tool="finish"
    43 09:00:36 s-1 tool_result id="c11" ok=false output="Error validating args: message is missing"
    skipped part 1: unknown kind of event
    "#);
}

#[test]
fn derives_the_result_of_a_command_from_the_terminal_output() {
    let result = |members: &str| {
        let text = format!(
            r#"{{"id":"e","timestamp":"2026-01-05T09:00:00Z","source":"environment","tool_name":"terminal","tool_call_id":"c","observation":{{{members}}},"kind":"ObservationEvent"}}"#
        );
        let (events, _) =
            events("openhands", "s.jsonl", text.as_bytes(), &mut DedupCache::default());
        match &events.last().unwrap().kind {
            EventKind::ToolResult(result) => {
                format!("{} {:?} {:?}", result.ok, result.exit_code, result.cause)
            }
            other => panic!("{other:?}"),
        }
    };
    let suffix = |code: i32, text: &str| {
        format!(r#""exit_code":{code},"metadata":{{"exit_code":{code},"suffix":"\n[{text}]"}}"#)
    };
    for (members, expected) in [
        (suffix(0, "The command completed with exit code 0."), "true Some(0) None"),
        (suffix(2, "The command completed with exit code 2."), "false Some(2) None"),
        (
            suffix(130, "The command completed with exit code 130. CTRL+C was sent."),
            "true Some(130) None",
        ),
        (suffix(-1, "The command has no new output after 30 seconds."), "true None None"),
        (suffix(-1, "The command timed out after 1.0 seconds."), "false None Some(Timeout)"),
        (
            suffix(-1, "The command was interrupted by user request."),
            "false None Some(Interrupted)",
        ),
        (suffix(-1, "Your command \\\"ls\\\" is NOT executed."), "false None None"),
        (r#""is_error":true"#.to_owned(), "false None None"),
        // Early versions of the SDK.
        (
            r#""output":"x","exit_code":1,"error":true,"timeout":false"#.to_owned(),
            "false Some(1) None",
        ),
        (r#""output":"","error":"No replacement was performed""#.to_owned(), "false None None"),
        (r#""output":"","error":null,"timeout":true"#.to_owned(), "false None Some(Timeout)"),
    ] {
        assert_eq!(result(&members), expected, "{members}");
    }
}

#[test]
fn reads_tasks_of_a_benchmark() {
    let (all, skipped) =
        events("openhands", "run-1/output.jsonl", TASKS, &mut DedupCache::default());
    let (undated, dated) =
        all.into_iter().partition(|it: &Event| it.origin.as_ref().is_some_and(|it| it.line == 3));
    assert_snapshot!(render_in(&TimeZone::system(), &(dated, skipped)), @r#"
    1 09:00:00 run-1/t-1 session_start model="x/model-x"
    1 09:00:00 run-1/t-1 prompt text="Solve it"
    1 09:00:01 run-1/t-1 model_call cost_usd=0.25 id="r1" input_tokens=100 model="model-x" output_tokens=5
    1 09:00:01 run-1/t-1 tool_call arguments={"command":"ls","thought":""} class="run" id="1" response="r1" tool="execute_bash"
    1 09:00:02 run-1/t-1 tool_result exit_code=0 id="1" ok=true output="a.c"
    1 09:00:03 run-1/t-1 message text="Is this enough?"
    1 09:00:03 run-1/t-1 turn_end
    1 09:00:03 run-1/t-1 session_end
    2 09:00:05 run-1/t-2 session_start model="x/model-y"
    2 09:00:05 run-1/t-2 prompt text="Solve it"
    2 09:00:06 run-1/t-2 tool_call arguments={"command":"ls","kind":"TerminalAction"} class="run" id="c1" response="r1" tool="terminal"
    2 09:00:06 run-1/t-2 session_end reason="AgentStuckInLoopError: it loops"
    "#);
    // Events of old tasks have no times.
    assert_snapshot!(render(&(undated, SkippedLines::default())), @r#"
    3 00:00:00 run-1/o/p#7 session_start
    3 00:00:00 run-1/o/p#7 prompt text="Solve it"
    3 00:00:02 run-1/o/p#7 message text="I look."
    3 00:00:02 run-1/o/p#7 tool_call arguments={"action":"run_ipython","code":"open_file('a.py')","kernel_init_code":"","thought":"I look."} class="read" id="3" tool="run_ipython"
    3 00:00:03 run-1/o/p#7 tool_result id="3" ok=false output="[No exact match found in a.py]"
    3 00:00:04 run-1/o/p#7 tool_call arguments={"action":"run","command":"make","is_confirmed":"confirmed","thought":""} class="run" id="5" tool="run"
    3 00:00:05 run-1/o/p#7 tool_result exit_code=2 id="5" ok=false output="no"
    3 00:00:06 run-1/o/p#7 message text="Done"
    3 00:00:06 run-1/o/p#7 turn_end
    3 00:00:07 run-1/o/p#7 session_end
    "#);
    assert!(read("openhands", "run-1/retry.jsonl", TASKS).contains(" retry/t-1 "));
}

/// Returns the paths and contents of the files of an SDK conversation.
fn conversation() -> Vec<(String, String)> {
    let lines = std::str::from_utf8(EVENTS).unwrap().lines();
    let paths = (0..).map(|it| format!("conversations/abc/events/event-{it:05}-00000000.json"));
    paths.zip(lines.map(str::to_owned)).collect()
}

#[test]
fn reads_a_conversation_with_a_file_for_each_event() {
    let mut seen = DedupCache::default();
    let mut one_by_one = Vec::new();
    for (path, text) in conversation() {
        one_by_one.extend(events("openhands", &path, text.as_bytes(), &mut seen).0);
    }
    assert!(one_by_one.iter().all(|it| it.session.as_str() == "abc"));
    let (together, _) = events("openhands", "s-1.jsonl", EVENTS, &mut DedupCache::default());
    // In separate files, earlier usage and the waiting state are unknown.
    let calls = |events: &[Event]| {
        let names = events.iter().map(|it| it.kind.name());
        names.filter(|it| !matches!(*it, "model_call" | "resumed" | "turn_end")).collect::<Vec<_>>()
    };
    assert_eq!(calls(&one_by_one), calls(&together));
    // No event is emitted twice.
    for (path, text) in conversation() {
        assert_eq!(events("openhands", &path, text.as_bytes(), &mut seen).0, []);
    }
}

#[test]
fn derives_session_and_agent_from_the_path() {
    let line = |source: &str| {
        let message =
            r#""llm_message":{"role":"assistant","content":[{"type":"text","text":"x"}]}"#;
        format!(
            r#"{{"id":"e","timestamp":"2026-01-05T09:00:00Z","source":"{source}",{message},"kind":"MessageEvent"}}"#
        )
    };
    let check = |path: &str| {
        let (events, _) =
            events("openhands", path, line("user").as_bytes(), &mut DedupCache::default());
        let event = events.last().unwrap();
        let parent = events.iter().find_map(|event| match &event.kind {
            EventKind::AgentStart { parent } => parent.clone(),
            _ => None,
        });
        let parent = parent.map_or_else(String::new, |parent| format!("/{parent}"));
        match &event.agent {
            Some(agent) => format!("{}{parent}/{agent}", event.session),
            None => event.session.to_string(),
        }
    };
    for (path, expected) in [
        ("c/abc/events/event-00001-e.json", "abc"),
        ("c/abc/events/1.json", "abc"),
        ("c/abc/subagents/def/events/event-00001-e.json", "abc/def"),
        ("c/abc/subagents/def/subagents/ghi/events/event-00001-e.json", "abc/def/ghi"),
        ("v1_conversations/abc/e.json", "abc"),
        ("w/abc.jsonl", "abc"),
        ("e.json", "e"),
        ("events/e.json", "e"),
        ("", ""),
    ] {
        assert_eq!(check(path), expected, "{path}");
    }
    let page = format!("[{}]", line("user"));
    let at = |path| events("openhands", path, page.as_bytes(), &mut DedupCache::default()).0;
    assert_eq!(at("sessions/abc/event_cache/0-25.json")[0].session.as_str(), "abc");
    assert_eq!(at("w/abc.json")[0].session.as_str(), "abc");
    let answer = format!("{{\"trajectory\":{page}}}");
    let (events, _) =
        events("openhands", "w/abc.json", answer.as_bytes(), &mut DedupCache::default());
    assert_eq!(events.last().unwrap().session.as_str(), "abc");
}

fn state(status: &str, n_responses: usize) -> String {
    let answers: Vec<String> = (1..=n_responses)
        .map(|it| format!(r#"{{"model":"model-x","prompt_tokens":{it}000,"completion_tokens":{it}0,"cache_read_tokens":500,"response_id":"r{it}"}}"#))
        .collect();
    let costs: Vec<String> = (1..=n_responses)
        .map(|it| format!(r#"{{"model":"model-x","cost":0.25,"timestamp":1767603600.{it}}}"#))
        .collect();
    format!(
        r#"{{"id":"a-b-c","agent":{{"llm":{{"model":"model-x"}}}},"workspace":{{"working_dir":"/w"}},"execution_status":"{status}","stats":{{"usage_to_metrics":{{"agent":{{"model_name":"model-x","accumulated_cost":0.5,"costs":[{}],"token_usages":[{}]}}}}}}}}"#,
        costs.join(","),
        answers.join(",")
    )
}

#[test]
fn reads_usage_from_the_state_of_a_conversation() {
    let path = "conversations/abc/base_state.json";
    let mut seen = DedupCache::default();
    let mut rendered = String::new();
    for text in [
        state("running", 0),
        state("running", 1),
        state("waiting_for_confirmation", 1),
        state("running", 2),
        state("running", 3),
        state("finished", 3),
        state("idle", 3),
        state("finished", 3),
    ] {
        rendered += &render(&events("openhands", path, text.as_bytes(), &mut seen));
    }
    assert_snapshot!(rendered, @r#"
    1 09:00:00 abc session_start cwd="/w" model="model-x"
    1 09:00:00 abc model_call cache_read_tokens=500 cost_usd=0.25 id="r1" input_tokens=500 model="model-x" output_tokens=10
    1 09:00:00 abc waiting for="permission"
    1 09:00:00 abc model_call cache_read_tokens=500 cost_usd=0.25 id="r2" input_tokens=1500 model="model-x" output_tokens=20
    1 09:00:00 abc resumed for="permission"
    1 09:00:00 abc model_call cache_read_tokens=500 cost_usd=0.25 id="r3" input_tokens=2500 model="model-x" output_tokens=30
    1 09:00:00 abc turn_end
    "#);
    // Models without a price have no times.
    let unpriced = state("finished", 1)
        .replace(r#"{"model":"model-x","cost":0.25,"timestamp":1767603600.1}"#, "");
    assert_snapshot!(read("openhands", path, unpriced.as_bytes()), @"skipped part 1: usage without a time");
}

#[test]
fn counts_usage_of_two_files_once() {
    let calls = |files: &[(String, String)]| {
        let mut seen = DedupCache::default();
        let read = |(path, text): &(String, String)| {
            events("openhands", path, text.as_bytes(), &mut seen).0
        };
        let ids = files.iter().flat_map(read).filter_map(|it| match it.kind {
            EventKind::ModelCall(call) => call.id,
            _ => None,
        });
        ids.collect::<BTreeSet<_>>()
    };
    let is_stats = |(_, text): &(String, String)| text.contains(r#""key":"stats""#);
    let mut files: Vec<_> = conversation().into_iter().filter(is_stats).collect();
    files.push(("conversations/abc/base_state.json".to_owned(), state("finished", 2)));
    assert_eq!(calls(&files), ["agent", "condenser"].map(Box::from).into());
    files.rotate_right(1);
    assert_eq!(calls(&files), ["r1", "r2"].map(Box::from).into());
}

#[test]
fn reads_a_page_of_events_once() {
    let mut seen = DedupCache::default();
    let (all, _) = events("openhands", "sessions/s/trajectory.json", TRAJECTORY, &mut seen);
    assert!(!all.is_empty());
    let parsed: Vec<serde_json::Value> = serde_json::from_slice(TRAJECTORY).unwrap();
    let mut seen = DedupCache::default();
    let mut apart = Vec::new();
    for (n, event) in parsed.iter().enumerate() {
        let path = format!("sessions/s/events/{n}.json");
        apart.extend(events("openhands", &path, event.to_string().as_bytes(), &mut seen).0);
    }
    assert!(apart.iter().all(|it| it.session.as_str() == "s"));
    let page = serde_json::to_string(&parsed[..25]).unwrap();
    assert_eq!(
        events("openhands", "sessions/s/event_cache/0-25.json", page.as_bytes(), &mut seen).0,
        []
    );
}

#[test]
fn reads_the_cost_of_a_response_without_counts() {
    for usage in ["null", "{}", r#"{"prompt_tokens":0}"#] {
        let text = format!(
            r#"[{{"id":0,"timestamp":"2026-01-05T09:00:00Z","source":"agent","action":"message","args":{{"content":"a"}},"tool_call_metadata":{{"model_response":{{"id":"r1","model":"model-x","usage":{usage}}}}},"llm_metrics":{{"accumulated_cost":0.25}}}}]"#
        );
        let rendered = read("openhands", "abc.json", text.as_bytes());
        let call = rendered.lines().find(|line| line.contains(" model_call "));
        assert!(call.is_some_and(|call| call.contains("cost_usd=0.25")), "{usage}: {rendered}");
    }
}

#[test]
fn recognizes_files_by_any_length_of_their_head() {
    let sources = Registry::linked().unwrap().sources;
    let known = |path: &str, head: &[u8]| {
        let known = sources.iter().filter(|it| it.recognizes(Path::new(path), head));
        known.map(Entry::kind).collect::<Vec<_>>()
    };
    for text in [TRAJECTORY, EVENTS, TASKS] {
        for head in [text, &text[..120]] {
            let head = if text == TASKS && head.len() < text.len() { &text[..350] } else { head };
            assert_eq!(known("x", head), ["openhands"], "{}", String::from_utf8_lossy(head));
        }
    }
    let text = state("running", 1);
    for head in [text.as_bytes(), &text.as_bytes()[..60]] {
        assert_eq!(known("abc/base_state.json", head), ["openhands"]);
        assert_eq!(known("abc/meta.json", head), [""; 0]);
    }
    let deep = "{\"history\":[".repeat(5_000);
    for other in [
        &deep,
        "[]",
        "[[]]",
        "[{\"id\":1}]",
        "{}",
        "{\"history\":[]}",
        "{\"history\":[{\"role\":\"user\",\"content\":\"x\"}]}",
        "{\"instruction\":\"x\",\"metadata\":{}}",
        "{\"id\":1,\"timestamp\":\"x\",\"source\":\"user\"}",
        "{\"id\":1,\"timestamp\":\"x\",\"source\":\"syslog\",\"action\":\"run\"}",
        "{\"messages\":[],\"tools\":[],\"kwargs\":{},\"response\":{}}",
    ] {
        assert_eq!(known("x.json", other.as_bytes()), [""; 0], "{other}");
    }
}

#[test]
fn returns_the_folders_of_both_generations() {
    let folders = |variables: &[(&str, &str)]| {
        let find = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).into())
        };
        let folders = OpenHands::folders(&find);
        folders.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_snapshot!(folders(&[("HOME", "/h")]), @"/h/.openhands/conversations /h/.openhands/v1_conversations /h/.openhands/sessions /h/.openhands-state/sessions");
    assert_snapshot!(
        folders(&[("HOME", "/h"), ("OPENHANDS_PERSISTENCE_DIR", "/p"), ("OPENHANDS_CONVERSATIONS_DIR", "/c")]),
        @"/c /p/v1_conversations /p/sessions /h/.openhands-state/sessions",
    );
    assert_snapshot!(folders(&[]), @"");
}

#[test]
fn reads_other_entries_after_an_invalid_one() {
    let good = r#"{"id":1,"timestamp":"2026-01-05T09:00:00Z","source":"user","action":"message","args":{"content":"hi"}}"#;
    let long = good.replace("hi", &"x".repeat(MAX_LINE));
    let deep = good.replace("\"hi\"", &"[".repeat(100_000));
    let text = [
        good,
        "?",
        &good[..60],
        &good.replace(":1,", ":2,"),
        "[1]",
        &long,
        &deep,
        &good.replace(":1,", ":3,").replace("2026", "year"),
        r#"{"id":4,"timestamp":"2026-01-05T09:00:00Z","source":"user"}"#,
        r#"{"id":5,"action":7,"observation":[],"args":"x","extras":3,"content":{}}"#,
        r#"{"id":6,"source":"agent","action":"frobnicate","args":{}}"#,
        r#"{"id":7,"source":"agent","observation":"run","cause":"x","extras":{"metadata":[]}}"#,
    ]
    .join("\n");
    assert_snapshot!(read("openhands", "s.jsonl", text.as_bytes()), @r#"
    1 09:00:00 s session_start
    1 09:00:00 s prompt text="hi"
    4 09:00:00 s prompt text="hi"
    8 09:00:00 s prompt text="hi"
    skipped line 2: ends in the middle of JSON
    skipped line 2: neither action nor observation
    skipped line 1: not JSON
    skipped line 1: not a JSON object
    skipped line 1: too long
    skipped part 1: observation of nothing
    skipped part 1: unknown action
    "#);
}
