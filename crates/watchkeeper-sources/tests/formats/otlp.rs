//! Tests of telemetry, in files and in the bodies of requests.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use watchkeeper_core::{
    Event, EventKind, SourceKind as _, Timestamp,
    author::{SkippedLines, Tokens},
};
use watchkeeper_sources::{
    Otlp,
    otlp::{Accepted, Encoding, Receiver, Signal},
};

use crate::{otlp_protobuf, read, render};

const CLAUDE: &str = include_str!("fixtures/otlp_claude.jsonl");
const CLAUDE_SPANS: &str = include_str!("fixtures/otlp_claude_spans.jsonl");
const CODEX: &str = include_str!("fixtures/otlp_codex.jsonl");
const GEMINI: &str = include_str!("fixtures/otlp_gemini.jsonl");
const GEN_AI: &str = include_str!("fixtures/otlp_gen_ai.jsonl");

#[test]
fn reads_log_events_of_claude_code() {
    assert_snapshot!(read("otlp", "a.jsonl", CLAUDE.as_bytes()), @r#"
    1 09:00:00 s-1 session_start version="2.1.330"
    1 09:00:00 s-1 prompt text="Fix the build"
    1 09:00:01 s-1 tool_call arguments={"command":"make","description":"Build"} class="run" id="toolu_1" response="req_1" tool="Bash"
    1 09:00:01 s-1 model_call cache_read_tokens=100 cache_write_1h_tokens=30 cache_write_tokens=30 context_tokens=1000000 cost_usd=0.25 fast=true id="req_1" input_tokens=5 model="claude-opus-5" output_tokens=40
    1 09:00:01 s-1 message text="I build it."
    1 09:00:03 s-1 tool_result id="toolu_1" ok=false
    2 09:00:04 s-1 model_call id="req_2" input_tokens=7 model="claude-opus-5" output_tokens=9
    2 09:00:04 s-1 tool_call arguments={"file_path":"/w/a.rs"} class="read" id="toolu_2" response="req_2" tool="Read"
    2 09:00:05 s-1 tool_result id="toolu_2" ok=false output="File does not exist."
    2 09:00:06 s-1 tool_call arguments=null class="write" id="toolu_3" response="req_2" tool="mcp__github__create_issue"
    2 09:00:06 s-1 tool_result cause="declined" id="toolu_3" ok=false
    2 09:00:07 s-1 tool_call arguments=null class="write" id="toolu_4" response="req_2" tool="Write"
    2 09:00:07 s-1 tool_result cause="blocked" id="toolu_4" ok=false
    2 09:00:07 s-1 tool_call arguments=null class="write" id="toolu_5" response="req_2" tool="Edit"
    2 09:00:08 s-1 tool_result id="toolu_5" ok=true
    2 09:00:09 s-1/a-1 agent_start
    2 09:00:09 s-1/a-1 model_call id="req_3" input_tokens=1 model="claude-haiku" output_tokens=2
    2 09:00:10 s-1/a-1 agent_end
    2 09:00:11 s-1 compaction after_tokens=9000 before_tokens=150000
    2 09:00:12 s-1 error message="529 overloaded"
    2 09:00:13 s-1 prompt synthetic=true text="<system-reminder>Go on</system-reminder>"
    skipped part 1: no session
    skipped part 1: unknown event of Claude Code
    "#);
}

#[test]
fn reads_spans_of_claude_code() {
    assert_snapshot!(read("otlp", "a.jsonl", CLAUDE_SPANS.as_bytes()), @r#"
    4 09:00:00 s-1 session_start version="2.1.330"
    4 09:00:00 s-1 prompt text="Fix the build"
    4 09:00:00 s-1 tool_call arguments={"command":"make"} class="run" id="toolu_1" tool="Bash"
    4 09:00:01 s-1 model_call cache_read_tokens=100 cache_write_tokens=30 id="req_1" input_tokens=5 model="claude-opus-5" output_tokens=40
    4 09:00:03 s-1 tool_result id="toolu_1" ok=false
    4 09:00:04 s-1/a-1 agent_start
    4 09:00:04 s-1/a-1 model_call id="req_3" input_tokens=1 model="claude-haiku" output_tokens=2
    4 09:00:05 s-1 error message="529 overloaded"
    4 09:00:07 s-1 prompt text="Go on"
    4 09:00:08 s-1 tool_call arguments=null class="delegate" id="toolu_6" tool="Agent"
    4 09:00:09 s-1 tool_result id="toolu_6" ok=true
    4 09:00:10 s-1 turn_end
    "#);
}

#[test]
fn reads_log_events_of_codex() {
    assert_snapshot!(read("otlp", "a.jsonl", CODEX.as_bytes()), @r#"
    1 09:00:00 th-1 session_start model="gpt-5.3-codex" version="0.169.0"
    1 09:00:01 th-1 prompt text="Fix it"
    1 09:00:02 th-1 error message="status 503" retry=1
    1 09:00:02 th-1 error message="internal error" retry=2
    1 09:00:03 th-1 model_call cache_read_tokens=600 cache_write_tokens=100 input_tokens=300 model="gpt-5.3-codex" output_tokens=90 reasoning_tokens=20
    1 09:00:03 th-1 tool_call arguments={"cmd":"cat a.txt"} class="run" id="call_1" tool="exec_command"
    1 09:00:04 th-1 tool_result exit_code=1 id="call_1" ok=false output="cat: a.txt: No such file or directory\n"
    1 09:00:05 th-1 error message="stream disconnected" retry=1
    1 09:00:05 th-1 tool_call arguments=null class="read" id="call_2" tool="mcp__docs__fetch"
    1 09:00:06 th-1 tool_result id="call_2" ok=false output="no such page"
    skipped part 1: no call id
    "#);
}

#[test]
fn reads_log_events_of_gemini_cli() {
    assert_snapshot!(read("otlp", "a.jsonl", GEMINI.as_bytes()), @r#"
    1 09:00:00 g-1 session_start model="gemini-2.5-pro"
    1 09:00:01 g-1 prompt text="Look"
    1 09:00:02 g-1 error message="overloaded" retry=1
    1 09:00:03 g-1 model_call cache_read_tokens=200 input_tokens=1010 model="gemini-2.5-pro" output_tokens=80 reasoning_tokens=30
    1 09:00:04 g-1 tool_call arguments={"command":"cat a","description":"Look"} class="run" id="082213083595a5d4" tool="run_shell_command"
    1 09:00:05 g-1 tool_result exit_code=1 id="082213083595a5d4" ok=false
    1 09:00:05 g-1 tool_call arguments=null class="write" id="2b2ba9c015fd5789" tool="write_file"
    1 09:00:06 g-1 tool_result cause="declined" id="2b2ba9c015fd5789" ok=false
    1 09:00:06 g-1 tool_call arguments={"pattern":"*"} class="read" id="578cab202874842b" tool="glob"
    1 09:00:07 g-1 tool_result id="578cab202874842b" ok=false output="no such folder"
    1 09:00:08 g-1 compaction after_tokens=100 before_tokens=9000
    1 09:00:09 g-1/ag-1 agent_start
    1 09:00:10 g-1/ag-1 agent_end
    1 09:00:12 g-1 error message="the client stopped because of a loop: consecutive_identical_tool_calls"
    "#);
}

#[test]
fn reads_the_spellings_of_gen_ai() {
    assert_snapshot!(read("otlp", "a.jsonl", GEN_AI.as_bytes()), @r#"
    2 09:00:00 conv-1 session_start version="1.2"
    2 09:00:00 conv-1 prompt text="Where is order 7?"
    2 09:00:02 conv-1 tool_call arguments={"deep":[1.5,true],"order":7} class="other" id="call_1" tool="lookup"
    2 09:00:02 conv-1 message text="I look it up."
    2 09:00:02 conv-1 model_call cache_read_tokens=600 cache_write_tokens=100 id="resp_1" input_tokens=300 model="gpt-5-2025" output_tokens=80 reasoning_tokens=30
    2 09:00:03 conv-1 tool_result id="call_1" ok=false output="order 7 does not exist"
    2 09:00:04 conv-1 error message="rate limited" retry=1
    2 09:00:05 conv-1 model_call id="00000000000000a5" input_tokens=1100 model="gpt-5" output_tokens=9
    2 09:00:05 conv-1 turn_end
    3 09:00:11 1af7651916cd43dd8448eb211c80319c session_start version="1.2"
    3 09:00:11 1af7651916cd43dd8448eb211c80319c model_call id="00000000000000b2" input_tokens=50 model="claude" output_tokens=7
    3 09:00:11 1af7651916cd43dd8448eb211c80319c tool_call arguments=null class="read" id="00000000000000b3" tool="ls"
    3 09:00:12 1af7651916cd43dd8448eb211c80319c tool_result id="00000000000000b3" ok=true
    4 09:00:19 tl-1 session_start version="1.2"
    4 09:00:19 tl-1 prompt text=""
    4 09:00:21 tl-1 message text="Done."
    4 09:00:21 tl-1 model_call cache_read_tokens=40 id="00000000000000d2" input_tokens=30 model="gpt-5" output_tokens=3
    4 09:00:21 tl-1 turn_end
    4 09:00:21 tl-1 tool_call arguments={"path":"."} class="read" id="00000000000000d3" tool="ls"
    4 09:00:22 tl-1 tool_result id="00000000000000d3" ok=true output="a.rs"
    4 09:00:23 tl-1 turn_end
    5 09:00:29 oi-1 session_start version="1.2"
    5 09:00:29 oi-1 prompt text="Find x"
    5 09:00:31 oi-1 model_call cache_read_tokens=20 id="00000000000000e2" input_tokens=80 model="gpt-5" output_tokens=10 reasoning_tokens=4
    5 09:00:31 oi-1 tool_call arguments={"q":"x"} class="read" id="00000000000000e3" tool="grep"
    5 09:00:32 oi-1 tool_result id="00000000000000e3" ok=true output="none"
    5 09:00:33 oi-1 error message="unknown error"
    "#);
}

#[test]
fn the_totals_of_claude_code_are_the_same_in_logs_spans_and_both() {
    let both = format!("{CLAUDE}{CLAUDE_SPANS}");
    let [logs, spans, both, reversed] =
        [CLAUDE, CLAUDE_SPANS, &both, &format!("{CLAUDE_SPANS}{CLAUDE}")]
            .map(|text| usage(&receive_lines(text).0));
    assert_eq!(both, logs);
    // Spans wait for log events.
    assert_eq!(reversed, logs);
    assert_ne!(spans, logs);
}

#[test]
fn log_events_add_nothing_to_spans_that_have_waited_long_enough() {
    let [logs, spans] = [CLAUDE, CLAUDE_SPANS].map(single_records);
    let receive = |requests: &[Value]| {
        let (mut receiver, mut events) = (Receiver::default(), Vec::new());
        for (n, request) in requests.iter().enumerate() {
            receive(&mut receiver, request, &mut events);
            if n + 1 == spans.len() {
                receiver.release(&mut events);
                receiver.release(&mut events);
            }
        }
        events
    };
    let alone = receive(&spans);
    assert!(!alone.is_empty());
    assert_eq!(receive(&[spans.as_slice(), &logs].concat()), alone);
}

#[test]
fn protobuf_and_json_give_the_same_events() {
    for text in [CLAUDE, CLAUDE_SPANS, CODEX, GEMINI, GEN_AI] {
        let (mut in_json, mut in_protobuf) = (Receiver::default(), Receiver::default());
        let (mut expected, mut events) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let request: Value = serde_json::from_str(line).unwrap();
            let signal = signal_of(&request);
            let accepted =
                in_json.receive(signal, Encoding::Json, line.as_bytes(), &mut expected).unwrap();
            let body = otlp_protobuf::request(&request);
            let other = in_protobuf.receive(signal, Encoding::Protobuf, &body, &mut events);
            assert_eq!(other.unwrap(), accepted, "{line}");
        }
        in_json.flush(&mut expected);
        in_protobuf.flush(&mut events);
        // The ids of calls without one are hashes of their records.
        assert_eq!(without_made_up_ids(&events), without_made_up_ids(&expected));
        assert!(!events.is_empty());
    }
}

#[test]
fn a_request_that_is_sent_again_changes_nothing() {
    for text in [CLAUDE, CLAUDE_SPANS, CODEX, GEMINI, GEN_AI] {
        let once = receive_lines(text).0;
        let twice: String = text.lines().flat_map(|line| [line, "\n", line, "\n"]).collect();
        assert_eq!(receive_lines(&twice).0, once);
        // An exporter that was restarted sends its queue again.
        assert_eq!(receive_lines(&format!("{text}{text}")).0, once);
    }
}

#[test]
fn a_malformed_record_is_rejected_alone() {
    let mut request: Value = serde_json::from_str(CLAUDE.lines().next().unwrap()).unwrap();
    let records = &mut request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    let n_records = records.as_array().unwrap().len() as u64;
    records[0]["timeUnixNano"] = json!("0");
    records[0]["observedTimeUnixNano"] = json!(0);
    let mut events = Vec::new();
    let mut receiver = Receiver::default();
    let body = request.to_string();
    let accepted = receiver.receive(Signal::Logs, Encoding::Json, body.as_bytes(), &mut events);
    let Accepted { records, rejected, first_rejection, .. } = accepted.unwrap();
    assert_eq!((records, rejected, first_rejection), (n_records, 1, Some("no time")));
    assert_eq!(receiver.skipped().parts, BTreeMap::from([("no time", 1)]));
    assert!(!events.is_empty());

    let mut spans: Value = serde_json::from_str(GEN_AI.lines().next().unwrap()).unwrap();
    let records = &mut spans["resourceSpans"][0]["scopeSpans"][0]["spans"];
    records[0]["traceId"] = json!("00000000000000000000000000000000");
    records[1]["spanId"] = json!("a2");
    let body = spans.to_string();
    let accepted = receiver.receive(Signal::Traces, Encoding::Json, body.as_bytes(), &mut events);
    let accepted = accepted.unwrap();
    assert_eq!((accepted.records, accepted.rejected), (2, 2));
    assert_eq!(accepted.first_rejection, Some("invalid trace id"));
}

#[test]
fn records_without_a_meaning_are_counted_by_reason() {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let log = |scope: &str, name: &str, session: &str| {
        let record = json!({
            "timeUnixNano": "1793955600000000000", "body": { "stringValue": name },
            "attributes": [text(session, "s-1")],
        });
        json!({ "resourceLogs": [{ "scopeLogs": [{ "scope": { "name": scope }, "logRecords": [record] }] }] })
    };
    let span = |name: &str, operation: &str| {
        let attributes = [text("session.id", "s-1"), text("gen_ai.operation.name", operation)];
        let span = json!({
            "traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 8), "name": name,
            "startTimeUnixNano": "1793955600000000000", "attributes": attributes,
        });
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] })
    };
    for (request, expected) in [
        (log("", "claude_code.plugin_loaded", "session.id"), None),
        (log("", "claude_code.brand_new", "session.id"), Some("unknown event of Claude Code")),
        (log("", "claude_code.tool_result", "id"), Some("no session")),
        (log("", "codex.turn_ttft", "conversation.id"), None),
        (log("", "codex.startup_phase", "id"), None),
        (log("", "codex.brand_new", "conversation.id"), Some("unknown event of Codex")),
        (log("", "codex.tool_result", "conversation.id"), Some("no call id")),
        (log("codex_otel::metrics::client", "flushing OTEL metrics", "id"), None),
        (log("gemini-cli", "gemini_cli.hook_call", "session.id"), None),
        (log("gemini-cli", "gen_ai.client.inference.operation.details", "session.id"), None),
        (
            log("gemini-cli", "gemini_cli.brand_new", "session.id"),
            Some("unknown event of Gemini CLI"),
        ),
        (log("", "gen_ai.client.inference.operation.details", "id"), Some("no session")),
        (log("shop", "order.paid", "session.id"), Some("not of a known agent")),
        (span("claude_code.tool.blocked_on_user", ""), None),
        (span("claude_code.brand_new", ""), Some("unknown span of Claude Code")),
        (span("llm_call", "llm_call"), None),
        (span("GET /orders", ""), None),
        (span("dream", "dream"), Some("unknown operation of a span")),
    ] {
        let mut receiver = Receiver::default();
        receive(&mut receiver, &request, &mut Vec::new());
        let skipped: Vec<_> = receiver.skipped().parts.keys().copied().collect();
        assert_eq!(skipped, Vec::from_iter(expected), "{request}");
    }
}

#[test]
fn a_malformed_request_is_refused_and_changes_nothing() {
    let body =
        otlp_protobuf::request(&serde_json::from_str(CLAUDE.lines().next().unwrap()).unwrap());
    let mut events = Vec::new();
    let mut receiver = Receiver::default();
    for (encoding, body) in [
        (Encoding::Protobuf, &body[..body.len() - 1]),
        (Encoding::Protobuf, b"{}"),
        (Encoding::Json, b""),
        (Encoding::Json, b"[]"),
        (Encoding::Json, br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}"#),
    ] {
        let refused = receiver.receive(Signal::Logs, encoding, body, &mut events);
        let message = refused.unwrap_err().to_string();
        assert!(message.starts_with("the body is not a request of OTLP: "), "{message}");
    }
    assert_eq!(events, []);
    let accepted = receiver.receive(Signal::Logs, Encoding::Protobuf, &body, &mut events).unwrap();
    assert_eq!(accepted.rejected, 0);
    assert!(!events.is_empty());
}

#[test]
fn small_requests_with_many_records_are_refused() {
    let records = |n| {
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}{{}}]}}]}}]}}"#,
            "{},".repeat(n)
        )
    };
    let mut receiver = Receiver::default();
    let mut receive =
        |n| receiver.receive(Signal::Logs, Encoding::Json, records(n).as_bytes(), &mut Vec::new());
    assert_eq!(receive(1000).unwrap().rejected, 1001);
    assert_eq!(receive(70_000).unwrap_err().reason, "too many elements in a list");
    // A record of two bytes.
    let scope = [&[0x12, 0x80, 0x80, 0x10][..], &[0x12, 0].repeat(1 << 17)].concat();
    let resource = [&[0x0a, 0x84, 0x80, 0x10][..], &scope].concat();
    let refused = receiver.receive(Signal::Logs, Encoding::Protobuf, &resource, &mut Vec::new());
    assert_eq!(refused.unwrap_err().reason, "too many records");
}

#[test]
fn deep_values_are_cut() {
    let mut value = json!({ "stringValue": "bottom" });
    for _ in 0..100 {
        value = json!({ "arrayValue": { "values": [value] } });
    }
    let attribute = json!({ "key": "gen_ai.tool.call.arguments", "value": value });
    let mut request: Value = serde_json::from_str(GEN_AI.lines().next().unwrap()).unwrap();
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"][3] = attribute;
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let body = match encoding {
            Encoding::Json => request.to_string().into_bytes(),
            Encoding::Protobuf => otlp_protobuf::request(&request),
        };
        let mut receiver = Receiver::default();
        let mut events = Vec::new();
        receiver.receive(Signal::Traces, encoding, &body, &mut events).unwrap();
        receiver.flush(&mut events);
        let arguments = events.iter().find_map(|event| match &event.kind {
            EventKind::ToolCall(call) => Some(call.arguments.as_str().to_owned()),
            _ => None,
        });
        assert_eq!(arguments, Some(format!("{}null{}", "[".repeat(16), "]".repeat(16))));
    }
}

#[test]
fn a_structured_value_is_the_same_in_both_encodings() {
    let entry = |key: &str, value: Value| json!({ "value": value, "key": key });
    let list = json!({ "arrayValue": { "values": [
        { "doubleValue": 1.5 }, { "intValue": "-7" }, { "boolValue": false }, {},
        { "arrayValue": {} },
    ] } });
    let value = json!({ "kvlistValue": { "values": [
        entry("a \"b\"", list), entry("c", json!({ "kvlistValue": { "values": [] } })),
    ] } });
    let attribute = json!({ "key": "gen_ai.tool.call.arguments", "value": value });
    let mut request: Value = serde_json::from_str(GEN_AI.lines().next().unwrap()).unwrap();
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"][3] = attribute;
    let json = request.to_string().into_bytes();
    let protobuf = otlp_protobuf::request(&request);
    for (encoding, body) in [(Encoding::Json, json), (Encoding::Protobuf, protobuf)] {
        let mut receiver = Receiver::default();
        let mut events = Vec::new();
        receiver.receive(Signal::Traces, encoding, &body, &mut events).unwrap();
        receiver.flush(&mut events);
        let arguments = events.iter().find_map(|event| match &event.kind {
            EventKind::ToolCall(call) => Some(call.arguments.as_str().to_owned()),
            _ => None,
        });
        let expected = r#"{"a \"b\"":[1.5,-7,false,null,[]],"c":{}}"#;
        assert_eq!(arguments.as_deref(), Some(expected), "{encoding:?}");
    }
}

#[test]
fn metrics_are_counted_and_have_no_events() {
    let line = GEN_AI.lines().last().unwrap();
    let mut events = Vec::new();
    let mut receiver = Receiver::default();
    let accepted =
        receiver.receive(Signal::Metrics, Encoding::Json, line.as_bytes(), &mut events).unwrap();
    assert_eq!((accepted.records, accepted.rejected, events.len()), (1, 0, 0));
}

#[test]
fn the_origin_of_an_event_is_the_same_in_each_run() {
    let (events, _) = receive_lines(CODEX);
    let call = events.iter().find(|event| matches!(event.kind, EventKind::ToolCall(_))).unwrap();
    let origin = call.origin.as_ref().unwrap();
    assert_eq!((origin.source, &*origin.file), ("otlp", "otlp"));
    assert_eq!(origin.line, u64::try_from(call.at.as_millisecond()).unwrap());
}

/// Returns the log records of a turn of Codex with one call, in order: the prompt, a response, the
/// decision about the call, its result, the last response, and the next prompt.
fn turn_of_codex() -> [Value; 6] {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let call = || text("call_id", "call_1");
    let tokens = || json!({ "key": "input_token_count", "value": { "intValue": 9 } });
    let record = |(at, name, more): (u64, &str, Vec<Value>)| {
        let attributes = [vec![text("conversation.id", "th-1")], more].concat();
        let record = json!({
            "timeUnixNano": (1_793_955_600 + at) * 1_000_000_000, "attributes": attributes,
            "body": { "stringValue": name },
        });
        json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] })
    };
    [
        (0, "codex.user_prompt", vec![text("prompt", "Fix it")]),
        (1, "codex.sse_event", vec![tokens()]),
        (2, "codex.tool_decision", vec![call(), text("decision", "approved_for_session")]),
        (40, "codex.tool_result", vec![call(), text("tool_name", "exec_command")]),
        (41, "codex.sse_event", vec![tokens()]),
        (90, "codex.user_prompt", vec![text("prompt", "Go on")]),
    ]
    .map(record)
}

fn names(events: &mut Vec<Event>) -> Vec<&'static str> {
    events.drain(..).map(|event| event.kind.name()).collect()
}

#[test]
fn a_turn_ends_with_a_response_that_nothing_follows() {
    let [prompt, response, decision, result, last, next] = turn_of_codex();
    let (mut receiver, mut events) = (Receiver::default(), Vec::new());
    receive(&mut receiver, &prompt, &mut events);
    receive(&mut receiver, &response, &mut events);
    receiver.release(&mut events);
    assert_eq!(names(&mut events), ["session_start", "prompt", "model_call"]);
    receive(&mut receiver, &decision, &mut events);
    for _ in 0..8 {
        receiver.release(&mut events);
    }
    receive(&mut receiver, &result, &mut events);
    receive(&mut receiver, &last, &mut events);
    assert_eq!(names(&mut events), ["tool_call", "tool_result", "model_call"]);
    assert!(receiver.holds_events());
    receiver.release(&mut events);
    assert_eq!(names(&mut events), [""; 0]);
    receiver.release(&mut events);
    assert_eq!(names(&mut events), ["turn_end"]);
    assert!(!receiver.holds_events());
    receive(&mut receiver, &next, &mut events);
    assert_eq!(names(&mut events), ["prompt"]);
}

#[test]
fn a_prompt_ends_the_turn_before() {
    let [prompt, response, _, _, _, next] = turn_of_codex();
    let (mut receiver, mut events) = (Receiver::default(), Vec::new());
    for request in [&prompt, &response, &next] {
        receive(&mut receiver, request, &mut events);
    }
    assert!(events.is_sorted_by_key(|event| event.at));
    let expected = ["session_start", "prompt", "model_call", "turn_end", "prompt"];
    assert_eq!(names(&mut events), expected);
}

#[test]
fn an_announced_call_without_a_result_prolongs_a_turn_for_a_minute() {
    let [_, response, decision, ..] = turn_of_codex();
    let (mut receiver, mut events) = (Receiver::default(), Vec::new());
    receive(&mut receiver, &response, &mut events);
    receive(&mut receiver, &decision, &mut events);
    for _ in 0..11 {
        receiver.release(&mut events);
    }
    assert_eq!(names(&mut events), ["session_start", "model_call"]);
    receiver.release(&mut events);
    assert_eq!(names(&mut events), ["turn_end"]);
}

#[test]
fn a_span_waits_for_its_session_for_ten_seconds_of_its_trace() {
    let span = |id: u64, secs: u64| {
        let nanos = (1_793_955_600 + secs) * 1_000_000_000;
        json!({
            "traceId": format!("{:032x}", 7), "spanId": format!("{id:016x}"),
            "parentSpanId": format!("{:016x}", 99), "name": "execute_tool ls",
            "startTimeUnixNano": nanos, "endTimeUnixNano": nanos,
            "attributes": [{ "key": "gen_ai.operation.name", "value": { "stringValue": "execute_tool" } }],
        })
    };
    let mut receiver = Receiver::default();
    let mut sessions = |spans: &[Value]| {
        let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
        let mut events = Vec::new();
        let body = request.to_string();
        receiver.receive(Signal::Traces, Encoding::Json, body.as_bytes(), &mut events).unwrap();
        events.into_iter().map(|event| event.session.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&[span(1, 0)]), [""; 0]);
    assert_eq!(sessions(&[span(2, 9)]), [""; 0]);
    let of_trace = format!("{:032x}", 7);
    let events = sessions(&[span(3, 10)]);
    assert_eq!(events, vec![of_trace; 7], "all three: the session is known now");
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let head = CLAUDE.as_bytes();
    for len in 20..2_000 {
        assert!(Otlp::recognizes("a".as_ref(), &head[..len]), "{len}");
    }
    for other in ["{}", r#"{"resource":{"attributes":[]}}"#, r#"{"resourceLogs":7}"#] {
        assert!(!Otlp::recognizes("a".as_ref(), other.as_bytes()), "{other}");
    }
}

fn signal_of(request: &Value) -> Signal {
    if !request["resourceLogs"].is_null() {
        Signal::Logs
    } else if !request["resourceSpans"].is_null() {
        Signal::Traces
    } else {
        Signal::Metrics
    }
}

/// Receives the lines as requests.
fn receive_lines(text: &str) -> (Vec<Event>, SkippedLines) {
    let mut receiver = Receiver::default();
    let mut events = Vec::new();
    for line in text.lines() {
        let signal = signal_of(&serde_json::from_str(line).unwrap());
        receiver.receive(signal, Encoding::Json, line.as_bytes(), &mut events).unwrap();
    }
    receiver.flush(&mut events);
    (events, receiver.skipped().clone())
}

/// Returns the model calls, their tokens and the cost that the client states, by session.
fn usage(events: &[Event]) -> BTreeMap<String, (u64, Tokens, f64)> {
    let mut usage = BTreeMap::<_, (u64, Tokens, f64)>::new();
    for event in events {
        if let EventKind::ModelCall(call) = &event.kind {
            let (n_calls, tokens, cost) = usage.entry(event.session.to_string()).or_default();
            (*n_calls, *tokens) = (*n_calls + 1, tokens.plus(call.tokens));
            *cost += call.cost_usd.unwrap_or(0.0);
        }
    }
    usage
}

fn without_made_up_ids(events: &[Event]) -> String {
    let mut events = events.to_vec();
    for event in &mut events {
        match &mut event.kind {
            EventKind::ToolCall(call) if event.session.as_str() == "g-1" => call.id = "".into(),
            EventKind::ToolResult(result) if event.session.as_str() == "g-1" => {
                result.id = "".into();
            }
            _ => {}
        }
    }
    render(&(events, SkippedLines::default()))
}

/// Receives a request in JSON.
fn receive(receiver: &mut Receiver, request: &Value, events: &mut Vec<Event>) {
    let body = request.to_string();
    receiver.receive(signal_of(request), Encoding::Json, body.as_bytes(), events).unwrap();
}

/// Returns the log records and spans of all lines, each as a request of its own.
fn single_records(text: &str) -> Vec<Value> {
    let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let records = requests.flat_map(|request| {
        let [resources, scopes, records] = match signal_of(&request) {
            Signal::Logs => ["resourceLogs", "scopeLogs", "logRecords"],
            Signal::Traces => ["resourceSpans", "scopeSpans", "spans"],
            Signal::Metrics => return Vec::new(),
        };
        let all = request[resources][0][scopes][0][records].as_array().unwrap().clone();
        let single = |record| {
            let mut single = request.clone();
            single[resources][0][scopes][0][records] = json!([record]);
            single
        };
        all.into_iter().map(single).collect()
    });
    records.collect()
}

/// The calls, results, usage and errors, sorted. Where a turn begins and ends depends on the
/// spans that have come.
fn content(events: &[Event]) -> Vec<(String, Timestamp, String)> {
    let mut content: Vec<_> = events
        .iter()
        .filter(|event| {
            matches!(
                event.kind,
                EventKind::ToolCall(_)
                    | EventKind::ToolResult(_)
                    | EventKind::ModelCall(_)
                    | EventKind::Message { .. }
            )
        })
        .map(|event| (event.session.to_string(), event.at, format!("{:?}", event.kind)))
        .collect();
    content.sort();
    content
}

proptest! {
    /// Spans come late, children first, and in pieces.
    #[test]
    fn the_order_of_spans_and_requests_does_not_matter(
        keys in prop::collection::vec(any::<u32>(), 40),
        splits in prop::collection::vec(any::<bool>(), 40),
    ) {
        for text in [CLAUDE_SPANS, GEN_AI] {
            let spans = single_records(text).into_iter().filter(|it| signal_of(it) == Signal::Traces);
            let mut spans: Vec<(u32, Value)> = keys.iter().copied().zip(spans).collect();
            let receive = |requests: &[Value]| {
                let mut receiver = Receiver::default();
                let mut events = Vec::new();
                for request in requests {
                    let body = otlp_protobuf::request(request);
                    receiver.receive(Signal::Traces, Encoding::Protobuf, &body, &mut events).unwrap();
                }
                receiver.flush(&mut events);
                content(&events)
            };
            let in_order: Vec<Value> = spans.iter().map(|(_, span)| span.clone()).collect();
            let expected = receive(&in_order);
            spans.sort_by_key(|(key, _)| *key);
            let mut requests: Vec<Value> = Vec::new();
            for ((_, span), begins) in spans.iter().zip(&splits) {
                match requests.last_mut() {
                    Some(Value::Object(last)) if !begins => {
                        let more = span["resourceSpans"][0].clone();
                        last["resourceSpans"].as_array_mut().unwrap().push(more);
                    }
                    _ => requests.push(span.clone()),
                }
            }
            prop_assert_eq!(receive(&requests), expected);
        }
    }

    /// Spans in any order, each before or after any log event.
    #[test]
    fn spans_of_claude_code_add_nothing_to_its_log_events(
        at in prop::collection::vec((0..40_usize, any::<u32>()), 20),
    ) {
        let [logs, spans] = [CLAUDE, CLAUDE_SPANS].map(single_records);
        prop_assert!(spans.len() <= at.len());
        let mut requests: Vec<_> =
            logs.iter().enumerate().map(|(n, log)| ((n + 1, None), log)).collect();
        let at = at.into_iter().map(|(n, order)| (n.min(logs.len()), Some(order)));
        requests.extend(at.zip(&spans));
        requests.sort_by_key(|(key, _)| *key);
        let (mut receiver, mut events) = (Receiver::default(), Vec::new());
        for (_, request) in requests {
            receive(&mut receiver, request, &mut events);
        }
        receiver.flush(&mut events);
        let (mut alone, mut expected) = (Receiver::default(), Vec::new());
        for log in &logs {
            receive(&mut alone, log, &mut expected);
        }
        alone.flush(&mut expected);
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn no_body_makes_a_receiver_panic(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for text in [CLAUDE, GEN_AI] {
            let request: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            for (encoding, mut body) in [
                (Encoding::Json, request.to_string().into_bytes()),
                (Encoding::Protobuf, otlp_protobuf::request(&request)),
            ] {
                let start = at.index(body.len());
                let end = (start + bytes.len()).min(body.len());
                body.splice(start..end, bytes.iter().copied());
                body.truncate(cut.index(body.len() + 1));
                let mut receiver = Receiver::default();
                let mut events = Vec::new();
                for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
                    let _ = receiver.receive(signal, encoding, &body, &mut events);
                }
                receiver.flush(&mut events);
            }
        }
    }
}
