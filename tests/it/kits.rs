//! The built-in sinks and sources keep the promises that the test kits check.

use watchkeeper_core::Timestamp;
use watchkeeper_sinks::File;
use watchkeeper_sources::{ClaudeCode, Ndjson, Otlp};
use watchkeeper_testing::{sink, source};

use crate::{check::looping_from, program::Folder};

#[test]
fn the_file_sink_keeps_its_promises() {
    let folder = Folder::new();
    sink::check::<File>(&format!("path = {:?}", folder.path().join("findings.ndjson")));
}

#[test]
fn the_ndjson_source_keeps_its_promises() {
    let session = looping_from(Timestamp::UNIX_EPOCH, "loop", 3);
    source::check::<Ndjson>(&[("session.ndjson", &session)]);
}

#[test]
fn the_claude_code_source_keeps_its_promises() {
    const SESSION: &str = include_str!(
        "../../crates/watchkeeper-sources/tests/formats/fixtures/claude_code_recent.jsonl"
    );
    source::check::<ClaudeCode>(&[("5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab.jsonl", SESSION)]);
}

#[test]
fn the_otlp_source_keeps_its_promises() {
    const LOGS: &str =
        include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_claude.jsonl");
    const SPANS: &str =
        include_str!("../../crates/watchkeeper-sources/tests/formats/fixtures/otlp_gen_ai.jsonl");
    source::check::<Otlp>(&[("logs.json", LOGS), ("traces.jsonl", SPANS)]);
}
