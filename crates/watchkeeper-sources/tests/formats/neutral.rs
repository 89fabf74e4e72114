use insta::assert_snapshot;
use proptest::prelude::*;
use watchkeeper_core::{
    Event, EventKind, Json, ModelCall, Timestamp, ToolCall, ToolClass, ToolResult,
    author::{Cause, SessionStart, Tokens, WaitingFor},
};
use watchkeeper_sources::{EventError, event_schema, parse_event, write_event};

use crate::read;

const ALL: &[u8] = include_bytes!("fixtures/neutral.ndjson");

#[test]
fn reads_every_event() {
    assert_snapshot!(read("ndjson", "events.ndjson", ALL), @r#"
    1 09:00:00 s1 session_start cwd="/w" labels={"team":"payments"} model="m-1" parent="s0" version="1"
    2 09:00:01 s1 prompt text="go"
    3 09:00:02 s1 prompt synthetic=true text="go on"
    4 09:00:02 s1 thinking text="hm"
    5 09:00:03 s1 message delta=true text="pa"
    6 09:00:04 s1 model_call cache_read_tokens=5 cache_write_tokens=6 cost_usd=0.25 id="r1" input_tokens=1200 model="m-1" output_tokens=80 reasoning_tokens=7
    7 09:00:04 s1 tool_call arguments={"cmd":"make"} class="run" id="c1" response="r1" tool="shell"
    8 09:00:04 s1 tool_call arguments={"b":[1,2]} class="wait" id="c2" tool="shell"
    9 09:00:09 s1 tool_result cause="timeout" exit_code=2 id="c1" ok=false output="1 failed"
    10 09:00:09 s1 tool_result id="c2" ok=true
    11 09:00:10 s1 waiting for="permission"
    12 09:00:11 s1 resumed for="person"
    13 09:00:12 s1/a1 agent_start
    14 09:00:12 s1/a1 agent_end
    15 09:00:13 s1 error message="overloaded" retry=2
    16 09:00:14 s1 compaction before_tokens=9
    17 09:00:15 s1 handoff to="reviewer"
    18 09:00:16 s1 turn_end
    19 09:00:17 s1 session_end reason="done"
    skipped line 1: no `at` that is an RFC 3339 time
    skipped line 1: no `for` that is `permission` or `person`
    skipped line 1: no `session`
    skipped line 1: no `text`
    skipped part 1: unknown event
    "#);
}

#[test]
fn reports_why_a_line_is_not_an_event() {
    let unknown = r#"{"at":"2026-03-01T09:00:00Z","session":"s","event":"frob`\u001b[2J"}"#;
    assert_eq!(parse_event(unknown).unwrap_err().to_string(), "unknown event `frob'\\u{1b}[2J`",);
    assert_eq!(parse_event("[]"), Err(EventError::Malformed("not a JSON object")));
}

#[test]
fn parses_the_example_of_the_manual() {
    let (_, example) = include_str!("../../docs/ndjson.md").split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    for line in example.lines() {
        assert!(parse_event(line).is_ok(), "{line}");
    }
}

#[test]
fn describes_every_event_and_field_in_the_schema() {
    let schema = event_schema().to_value();
    let variants = schema["oneOf"].as_array().unwrap();
    for line in str::from_utf8(ALL).unwrap().lines() {
        let Ok(event) = parse_event(line) else {
            continue;
        };
        let name = event.kind.name();
        let is_it = |it: &&serde_json::Value| it["properties"]["event"]["const"] == name;
        let variant = variants.iter().find(is_it).unwrap_or_else(|| panic!("no {name}"));
        let written: serde_json::Value = serde_json::from_str(&write_event(&event)).unwrap();
        for field in written.as_object().unwrap().keys() {
            assert!(!variant["properties"][field].is_null(), "{name} has no {field}");
        }
        for field in variant["required"].as_array().unwrap() {
            assert!(!written[field.as_str().unwrap()].is_null(), "{name} without {field}");
        }
    }
    assert_eq!(variants.len(), 17);
}

#[expect(clippy::too_many_lines, reason = "one entry for each event")]
fn any_event() -> impl Strategy<Value = Event> {
    let text = || any::<String>().prop_map(String::into_boxed_str);
    let tokens = any::<[u32; 6]>().prop_map(|counts| {
        let [input, cache_read, cache_write, output, reasoning, cache_write_1h] =
            counts.map(u64::from);
        Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h }
    });
    let model_call = (
        prop::option::of(text()),
        prop::option::of(text()),
        tokens,
        prop::option::of(0.0..1e6),
        prop::option::of(1..u64::MAX),
        any::<(u32, bool)>(),
    )
        .prop_map(|(id, model, tokens, cost_usd, context_tokens, (web_searches, is_fast))| {
            EventKind::ModelCall(ModelCall {
                id,
                model,
                tokens,
                cost_usd,
                context_tokens,
                web_searches,
                is_fast,
            })
        });
    let class = prop::sample::select(vec![
        ToolClass::Read,
        ToolClass::Write,
        ToolClass::Run,
        ToolClass::Wait,
        ToolClass::Ask,
        ToolClass::Delegate,
        ToolClass::Other,
    ]);
    let tool_call = (text(), any::<String>(), any::<String>(), class, prop::option::of(text()))
        .prop_map(|(id, tool, argument, class, response)| {
            let arguments = Json::from(&serde_json::json!({ &tool: [argument, 1.5, null] }));
            let mut call = ToolCall::of_class(id, tool, arguments, Some(class), &[]);
            call.response = response;
            EventKind::ToolCall(call)
        });
    let cause = prop::sample::select(vec![
        Cause::Declined,
        Cause::Blocked,
        Cause::Sibling,
        Cause::Interrupted,
        Cause::Timeout,
        Cause::Intercepted,
    ]);
    let tool_result = (
        text(),
        any::<bool>(),
        prop::option::of(text()),
        any::<Option<i32>>(),
        prop::option::of(cause),
    )
        .prop_map(|(id, ok, output, exit_code, cause)| {
            let mut result = ToolResult::new(id, ok, output);
            (result.exit_code, result.cause) = (exit_code, cause);
            EventKind::ToolResult(result)
        });
    let start = (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::collection::vec((text(), text()), 0..3),
    )
        .prop_map(|(cwd, version, labels)| {
            EventKind::SessionStart(SessionStart {
                cwd,
                version,
                labels,
                ..SessionStart::default()
            })
        });
    let kind = prop_oneof![
        start,
        (text(), any::<bool>()).prop_map(|(text, synthetic)| EventKind::Prompt { text, synthetic }),
        (text(), any::<bool>()).prop_map(|(text, delta)| EventKind::Message { text, delta }),
        text().prop_map(|text| EventKind::Thinking { text }),
        model_call,
        tool_call,
        tool_result,
        Just(EventKind::Waiting(WaitingFor::Permission)),
        Just(EventKind::Resumed(WaitingFor::Person)),
        Just(EventKind::TurnEnd),
        (text(), any::<Option<u32>>())
            .prop_map(|(message, retry)| EventKind::Error { message, retry }),
        any::<(Option<u64>, Option<u64>)>().prop_map(|(before_tokens, after_tokens)| {
            EventKind::Compaction { before_tokens, after_tokens }
        }),
        text().prop_map(|to| EventKind::Handoff { to }),
        prop::option::of("[a-z]{1,8}")
            .prop_map(|parent| EventKind::AgentStart { parent: parent.map(Into::into) }),
        Just(EventKind::AgentEnd),
        prop::option::of(text()).prop_map(|reason| EventKind::SessionEnd { reason }),
    ];
    (0..4_000_000_000_000_i64, any::<String>(), prop::option::of(any::<String>()), kind).prop_map(
        |(at, session, agent, kind)| {
            let at = Timestamp::from_millisecond(at).unwrap();
            let event = Event::new(at, session, kind);
            match agent {
                Some(agent) => event.in_agent(agent),
                None => event,
            }
        },
    )
}

proptest! {
    #[test]
    fn parses_every_event_that_it_writes(event in any_event()) {
        let line = write_event(&event);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(parse_event(&line), Ok(event));
    }
}
