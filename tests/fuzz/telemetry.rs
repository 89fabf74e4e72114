//! The bodies of requests with telemetry.

use watchkeeper_sources::otlp::{Encoding, Receiver, Signal};

use crate::{Target, otlp_protobuf};

/// The requests in the fixtures of the sources, one in a line.
const REQUESTS: &[&str] = &[
    include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_claude.jsonl"),
    include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_claude_spans.jsonl"),
    include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_codex.jsonl"),
    include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_gemini.jsonl"),
    include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_gen_ai.jsonl"),
];

pub(crate) fn json_target() -> Target {
    let examples = lines().map(|line| line.as_bytes().to_vec()).collect();
    let tokens: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"-1",
        b"1e999",
        b"\0",
        b"\xff",
        b"18446744073709551615",
        b"{\"arrayValue\":{\"values\":[",
        b"{\"kvlistValue\":{\"values\":[",
        b"\"stringValue\":",
        b"\"traceId\":\"",
    ];
    let check = Box::new(|input: &[u8]| check(Encoding::Json, input));
    Target { name: "telemetry in JSON", examples, tokens, check }
}

pub(crate) fn protobuf_target() -> Target {
    let message = |line: &str| {
        let request = serde_json::from_str(line).expect("a fixture is JSON");
        otlp_protobuf::request(&request)
    };
    let tokens: &[&[u8]] = &[
        b"\0",
        b"\x0a",
        b"\x12",
        b"\x2a\x02\x0a\0",
        b"\x32\x02\x0a\0",
        b"\x7f",
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ];
    let check = Box::new(|input: &[u8]| check(Encoding::Protobuf, input));
    Target {
        name: "telemetry in protobuf",
        examples: lines().map(message).collect(),
        tokens,
        check,
    }
}

fn lines() -> impl Iterator<Item = &'static str> {
    REQUESTS.iter().flat_map(|requests| requests.lines())
}

/// A request is read or refused, and has no new events when it is sent again.
fn check(encoding: Encoding, input: &[u8]) -> Result<(), String> {
    for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
        let mut receiver = Receiver::default();
        let mut events = Vec::new();
        let first = receiver.receive(signal, encoding, input, &mut events);
        receiver.flush(&mut events);
        let n_events = events.len();
        let second = receiver.receive(signal, encoding, input, &mut events);
        receiver.flush(&mut events);
        if first != second || events.len() != n_events {
            return Err("a repeated request differs from the first".to_owned());
        }
    }
    Ok(())
}
