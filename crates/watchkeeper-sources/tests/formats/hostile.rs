//! Tests with invalid and hostile input.

use std::io::{self, Read};
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;
use watchkeeper_core::{Event, EventKind, author::DedupCache, embed::Registry};
use watchkeeper_sources::{MAX_LINE, SessionFile};

use crate::{events, read};

pub(crate) const FIXTURES: &[(&str, &str, &[u8])] = &[
    ("claude-code", "s-1.jsonl", include_bytes!("fixtures/claude_code_early.jsonl")),
    ("claude-code", "s-2.jsonl", include_bytes!("fixtures/claude_code_recent.jsonl")),
    ("codex", "rollout-1.jsonl", include_bytes!("fixtures/codex_early.jsonl")),
    ("codex", "rollout-2.jsonl", include_bytes!("fixtures/codex_recent.jsonl")),
    ("claude-code", "agent-b222.jsonl", include_bytes!("fixtures/claude_code_agent.jsonl")),
    ("codex", "rollout-3.jsonl", include_bytes!("fixtures/codex_agent.jsonl")),
    ("gemini-cli", "session-1.jsonl", include_bytes!("fixtures/gemini_cli.jsonl")),
    ("gemini-cli", "g-2.jsonl", include_bytes!("fixtures/gemini_cli_agent.jsonl")),
    ("gemini-cli", "session-0.json", include_bytes!("fixtures/gemini_cli_early.json")),
    ("ndjson", "events.ndjson", include_bytes!("fixtures/neutral.ndjson")),
    ("opencode", "export.json", include_bytes!("fixtures/opencode.json")),
    ("opencode", "agent.json", include_bytes!("fixtures/opencode_agent.json")),
    ("openhands", "s.json", include_bytes!("fixtures/openhands_trajectory.json")),
    ("openhands", "s.jsonl", include_bytes!("fixtures/openhands_events.jsonl")),
    ("openhands", "output.jsonl", include_bytes!("fixtures/openhands_tasks.jsonl")),
    ("otlp", "logs.jsonl", include_bytes!("fixtures/otlp_codex.jsonl")),
    ("otlp", "spans.json", include_bytes!("fixtures/otlp_claude_spans.jsonl")),
    ("copilot-cli", "events.jsonl", include_bytes!("fixtures/copilot_cli.jsonl")),
    ("qwen-code", "q-1.jsonl", include_bytes!("fixtures/qwen_code.jsonl")),
    ("claude-code", "-", include_bytes!("fixtures/claude_code_stream.jsonl")),
    ("claude-code", "-", include_bytes!("fixtures/claude_code_stream_early.jsonl")),
    ("codex", "-", include_bytes!("fixtures/codex_stream.jsonl")),
    ("gemini-cli", "-", include_bytes!("fixtures/gemini_cli_stream.jsonl")),
    ("opencode", "-", include_bytes!("fixtures/opencode_stream.jsonl")),
    ("swe-agent", "task.traj", include_bytes!("fixtures/swe_agent.traj")),
];

/// Returns its bytes in two reads.
struct TwoPieces(Vec<Vec<u8>>);

impl Read for TwoPieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.first_mut() else {
            return Ok(0);
        };
        let n = piece.as_slice().read(to)?;
        piece.drain(..n);
        if piece.is_empty() {
            self.0.remove(0);
        }
        Ok(n)
    }
}

#[test]
fn events_do_not_depend_on_where_a_file_is_split() {
    let kinds = Registry::linked().unwrap().sources;
    for (kind, path, text) in FIXTURES {
        let (expected, skipped_lines) = events(kind, path, text, &mut DedupCache::default());
        // Every position in small files, and a sample in large ones.
        let step = 1 + text.len() / 3_000;
        for at in (0..=text.len()).step_by(step) {
            let pieces = vec![text[..at].to_vec(), text[at..].to_vec()];
            let reader =
                Box::new(TwoPieces(pieces.into_iter().filter(|it| !it.is_empty()).collect()));
            let mut file =
                SessionFile::new(Path::new(path), reader, kinds.get(kind).unwrap()).unwrap();
            let mut found = Vec::<Event>::new();
            file.read(&mut DedupCache::default(), &mut |event| found.push(event)).unwrap();
            assert!(
                found == expected && *file.skipped_lines() == skipped_lines,
                "{path} split at {at}"
            );
        }
    }
}

#[test]
fn reads_the_notations_of_usage() {
    let line = |usage: &str| {
        format!(
            r#"{{"type":"assistant","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{{"id":"m","usage":{usage}}}}}"#,
        )
    };
    let text = [
        line(r#"{"input_tokens":null,"output_tokens":-5}"#),
        line(r#"{"input_tokens":7.0,"output_tokens":"8","cache_read_input_tokens":1e400}"#),
        line(r#"{"input_tokens":9,"input_tokens":1}"#),
        line("[]"),
        // A repeated key hides neither the line nor the first value.
        line(r#"{"input_tokens":20},"usage":{"input_tokens":1},"id":"other""#),
    ]
    .join("\n");
    assert_snapshot!(read("claude-code", "s.jsonl", text.as_bytes()), @r#"
    1 00:00:00 s session_start
    1 00:00:00 s model_call id="m" input_tokens=0 output_tokens=0
    2 00:00:00 s model_call id="m" input_tokens=7 output_tokens=8
    3 00:00:00 s model_call id="m" input_tokens=9 output_tokens=8
    5 00:00:00 s model_call id="m" input_tokens=20 output_tokens=8
    "#);
}

#[test]
fn reads_other_lines_after_an_invalid_line() {
    let good = r#"{"type":"user","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{"content":"hi"}}"#;
    let deep = "[".repeat(1_000_000);
    let mut text = Vec::new();
    for line in [
        "\u{feff}// a note".as_bytes(),
        b"",
        b"   ",
        good.as_bytes(),
        &good.as_bytes()[..60],
        b"\xff\xfe\x00",
        b"null",
        b"[1,2]",
        b"{}",
        format!(r#"{{"type":"user","a":{deep}"#).as_bytes(),
        good.replace("\"hi\"", &format!("\"deep\",\"x\":{deep}{}", "]".repeat(1_000_000)))
            .as_bytes(),
        // Two writers at once.
        [&good.as_bytes()[..60], good.as_bytes()].concat().as_slice(),
        good.replace("hi", "a\\u0000\\ud800 b").as_bytes(),
        good.replace("2026", "year").as_bytes(),
    ] {
        text.extend(line);
        text.extend(b"\r\n");
    }
    text.extend(good.replace("hi", "not ").trim_end_matches("\"}}").as_bytes());
    text.extend(b"\xc3\x28 UTF-8\"}}\n");
    text.extend(good.replace("hi", &"x".repeat(MAX_LINE)).as_bytes());
    text.extend(b"\n");
    text.extend(good.replace("hi", "the end").as_bytes());
    assert_snapshot!(read("claude-code", "s.jsonl", &text), @r#"
    4 00:00:00 s session_start
    4 00:00:00 s prompt text="hi"
    11 00:00:00 s prompt text="deep"
    13 00:00:00 s prompt text="a\u0000� b"
    14 00:00:00 s prompt text="hi"
    17 00:00:00 s prompt text="the end"
    skipped line 2: ends in the middle of JSON
    skipped line 1: no type
    skipped line 3: not JSON
    skipped line 1: not UTF-8
    skipped line 2: not a JSON object
    skipped line 1: too long
    "#);
}

#[test]
fn skips_lines_with_very_many_blocks() {
    let blocks = |block: &str| {
        let blocks = vec![block; 70_000].join(",");
        let content = format!(r#"{{"content":[{blocks}]}}"#);
        format!(
            r#"{{"type":"user","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{content}}}"#
        )
    };
    let many_texts = vec![r#""""#; 70_000].join(",");
    let result = format!(r#"{{"type":"tool_result","tool_use_id":"t","content":[{many_texts}]}}"#);
    let one_result = blocks("7").replace(&vec!["7"; 70_000].join(","), &result);
    for text in [blocks("{}"), blocks(r#""""#), one_result] {
        let skipped = "skipped line 1: too many elements in a list\n";
        assert_eq!(read("claude-code", "s.jsonl", text.as_bytes()), skipped);
    }
}

#[test]
fn reads_deeply_nested_lines_without_recursion() {
    let nested = r#"{"type":"progress","data":{"agentId":"a","message":"#.repeat(100_000);
    let text = format!("{nested}1{}", "}}".repeat(100_000));
    assert_eq!(read("claude-code", "s.jsonl", text.as_bytes()), "");
    let nested = r#"{"type":"event_msg","payload":{"type":"item_completed","item":"#;
    let text = format!("{nested}{}1{}}}}}", r#"{"item":"#.repeat(100_000), "}".repeat(100_000));
    assert_eq!(read("codex", "s.jsonl", text.as_bytes()), "skipped line 1: no time\n");
    let deep = r#"{"args":"#.repeat(100_000);
    let text = format!(
        r#"[{{"id":0,"source":"user","action":"null","args":{deep}1{}}}"#,
        "}".repeat(100_000)
    );
    for text in [&text[1..], &*text, &"[".repeat(1_000_000), &*format!("{text}]").repeat(2)] {
        assert!(read("openhands", "s.json", text.as_bytes()).len() < 99);
    }
    let deep = r#"{"state":"#.repeat(100_000);
    let step = format!(r#"{{"action":"ls","state":{deep}1{}}}"#, "}".repeat(100_000));
    let text = format!(r#"{{"trajectory":[{step},{step}]}}"#);
    assert_eq!(read("swe-agent", "s.traj", text.as_bytes()).lines().count(), 3);
    let text = format!(r#"{{"info":{deep}1{},"messages":[{deep}"#, "}".repeat(100_000));
    assert_eq!(
        read("opencode", "s.json", text.as_bytes()),
        "skipped line 1: ends in the middle of JSON\n",
    );
}

proptest! {
    #[test]
    fn reads_any_bytes_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in ["claude-code", "codex", "ndjson", "opencode", "openhands", "swe-agent"] {
            read(kind, "x.jsonl", &text);
        }
    }

    #[test]
    fn reads_damaged_fixtures(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let (kind, path, text) = FIXTURES[which];
        let n_lines = memchr::memchr_iter(b'\n', text).count();
        let mut text = text.to_vec();
        for (at, byte, how) in changes {
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        let (events, skipped_lines) = events(kind, path, &text, &mut DedupCache::default());
        // A change damages one line or splits it. A document may be damaged from
        // there on.
        let is_document = matches!(kind, "opencode" | "openhands" | "swe-agent")
            || path == "session-0.json";
        let is_read = is_document || n_lines <= 16 || !events.is_empty();
        prop_assert!(skipped_lines.total() <= 16 && is_read);
    }
}

/// Calls in each format, with `$` in the arguments.
const CALLS: &[(&str, &str, &str)] = &[
    (
        "ndjson",
        "e.ndjson",
        r#"{"at":"2026-01-01T00:00:00Z","session":"s","event":"tool_call","id":"1","tool":"sh","arguments":{"command":"a$b"}}"#,
    ),
    (
        "claude-code",
        "s.jsonl",
        r#"{"type":"assistant","uuid":"u1","timestamp":"2026-01-01T00:00:00Z","sessionId":"s","message":{"id":"m1","role":"assistant","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"a$b"}}]}}"#,
    ),
    (
        "codex",
        "rollout-1.jsonl",
        r#"{"timestamp":"2026-01-01T00:00:00Z","type":"response_item","payload":{"type":"function_call","name":"shell","call_id":"c1","arguments":{"command":"a$b"}}}"#,
    ),
    (
        "openhands",
        "s.json",
        r#"[{"id":1,"timestamp":"2026-01-05T09:00:00","source":"agent","action":"run","args":{"command":"a$b"},"tool_call_metadata":{"function_name":"execute_bash","tool_call_id":"c1"}}]"#,
    ),
];

fn arguments_of_calls(kind: &str, path: &str, text: &[u8]) -> (Vec<serde_json::Value>, u64) {
    let (events, skipped) = events(kind, path, text, &mut DedupCache::default());
    let arguments = events.iter().filter_map(|event| match &event.kind {
        EventKind::ToolCall(call) => Some(call.arguments.to_value()),
        _ => None,
    });
    (arguments.collect(), skipped.total())
}

fn call_with(line: &str, bytes: &[u8]) -> Vec<u8> {
    let (before, after) = line.split_once('$').unwrap();
    [before.as_bytes(), bytes, after.as_bytes(), b"\n"].concat()
}

#[test]
fn control_characters_in_arguments_are_read() {
    for (kind, path, line) in CALLS {
        for control in ["\t", "\u{1}", "\u{1b}"] {
            let (calls, n_skipped) =
                arguments_of_calls(kind, path, &call_with(line, control.as_bytes()));
            let commands: Vec<_> = calls.iter().map(|call| call["command"].as_str()).collect();
            assert_eq!((commands, n_skipped), (vec![Some(&*format!("a{control}b"))], 0), "{kind}");
        }
    }
}

#[test]
fn arguments_that_are_not_utf8_are_counted_and_never_equal() {
    for (kind, path, line) in CALLS {
        for bytes in [&b"\xff"[..], b"\xfe", b"\xc3"] {
            let (calls, n_skipped) = arguments_of_calls(kind, path, &call_with(line, bytes));
            assert_eq!((calls, n_skipped), (Vec::new(), 1), "{kind} {bytes:?}");
        }
    }
}
