//! Hostile and damaged session files.

use serde_json::Value;

use crate::{
    check::looping,
    program::{Folder, run},
};

/// Checks a file that starts like a session of Claude Code, and returns the report.
#[track_caller]
fn report(lines: &[Vec<u8>]) -> Value {
    let folder = Folder::new();
    let path = folder.write("s.jsonl", lines.join(&b'\n'));
    let ran = run(&["check", "--format", "json", path.to_str().expect("the path is text")]);
    assert!([0, 1].contains(&ran.status), "{}: {}", ran.status, ran.err);
    serde_json::from_str(&ran.out).expect("the report is JSON")
}

fn prompt(n: usize) -> Vec<u8> {
    format!(
        "{{\"type\":\"user\",\"sessionId\":\"s\",\"uuid\":\"u{n}\",\"version\":\"2.1.330\",\"cwd\":\"/w\",\
         \"timestamp\":\"2026-03-01T10:00:{n:02}.000Z\",\"message\":{{\"role\":\"user\",\"content\":\"hi\"}}}}"
    )
    .into()
}

fn response(n: usize, usage: &str) -> Vec<u8> {
    format!(
        "{{\"type\":\"assistant\",\"sessionId\":\"s\",\"uuid\":\"a{n}\",\"requestId\":\"r{n}\",\
         \"timestamp\":\"2026-03-01T10:00:{n:02}.000Z\",\"message\":{{\"id\":\"m{n}\",\"role\":\"assistant\",\
         \"model\":\"claude-opus-5\",\"stop_reason\":\"end_turn\",\"content\":[{{\"type\":\"text\",\"text\":\"hi\"}}],\
         \"usage\":{usage}}}}}"
    )
    .into()
}

const USAGE: &str = "{\"input_tokens\":10,\"output_tokens\":5}";

#[test]
fn skips_a_line_with_a_million_brackets() {
    let brackets = vec![b'['; 1_000_000];
    let nested = [b"{\"type\":\"user\",\"x\":".as_slice(), &brackets].concat();
    let report = report(&[prompt(1), brackets, nested, response(2, USAGE)]);
    assert_eq!(report["sessions"][0]["model_calls"], 1);
    assert_eq!(report["sessions"][0]["skipped_lines"], 2);
}

#[test]
fn skips_a_line_of_a_hundred_megabytes() {
    let mut long = b"{\"type\":\"user\",\"x\":\"".to_vec();
    long.resize(100 << 20, b'a');
    let report = report(&[prompt(1), long, response(2, USAGE)]);
    assert_eq!(report["sessions"][0]["model_calls"], 1);
    assert_eq!(report["sessions"][0]["skipped_lines"], 1);
}

#[test]
fn skips_lines_that_are_not_utf_8() {
    let invalid = b"{\"type\":\"user\",\"x\":\"\xff\xfe\"}".to_vec();
    let report = report(&[prompt(1), invalid, b"\0\0\0".to_vec(), response(2, USAGE)]);
    assert_eq!(report["sessions"][0]["model_calls"], 1);
    assert_eq!(report["sessions"][0]["skipped_lines"], 2);
}

#[test]
fn ignores_invalid_usage() {
    let report = report(&[
        prompt(1),
        response(2, "{\"input_tokens\":10,\"output_tokens\":null}"),
        response(3, "{\"input_tokens\":\"10\",\"output_tokens\":5.0}"),
        response(4, "{\"input_tokens\":-10,\"output_tokens\":1e400}"),
        response(5, "{\"input_tokens\":10,\"input_tokens\":99,\"output_tokens\":5}"),
    ]);
    let session = &report["sessions"][0];
    assert_eq!(session["model_calls"], 4);
    assert_eq!(session["tokens"]["input"], 30);
    assert_eq!(session["skipped_lines"], 0);
}

#[test]
fn skips_a_truncated_line() {
    let cut = response(2, USAGE)[..100].to_vec();
    let report = report(&[prompt(1), cut, response(3, USAGE)]);
    assert_eq!(report["sessions"][0]["model_calls"], 1);
    assert_eq!(report["sessions"][0]["skipped_lines"], 1);
}

#[test]
fn escapes_terminal_control_sequences() {
    let hostile = "\\u001b]0;owned\\u0007\\u001b[2J\\u202e";
    let text = looping("s1", 5).replace("Bash", hostile).replace("\"s1\"", "\"s\\r\\n1\"");
    let folder = Folder::new();
    let path = folder.write("s.ndjson", text);
    for format in ["text", "github"] {
        let ran = run(&["check", "--format", format, path.to_str().unwrap()]);
        assert_eq!(ran.status, 1, "{}", ran.err);
        let is_safe = |it: char| it == '\n' || !(it.is_control() || it == '\u{202e}');
        assert!(ran.out.chars().all(is_safe), "{:?}", ran.out);
    }
}
