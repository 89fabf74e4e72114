//! The recognition of session files, and their sources.

use std::{path::Path, sync::Arc};

use watchkeeper_core::{author::DedupCache, embed::Registry};
use watchkeeper_sources::{OpenError, open_bytes};

use crate::Target;

macro_rules! examples {
    ($($name:literal),* $(,)?) => {
        vec![$(include_bytes!(concat!(
            "../../crates/watchkeeper-sources/tests/formats/fixtures/", $name
        )).to_vec()),*]
    };
}

pub(crate) fn target() -> Target {
    let registry = Registry::linked().expect("the kinds have different names");
    let examples = examples![
        "amp.json",
        "antigravity.jsonl",
        "claude_code_agent.jsonl",
        "claude_code_early.jsonl",
        "claude_code_recent.jsonl",
        "cline_history.json",
        "cline_screen.json",
        "cline_sdk.json",
        "codex_agent.jsonl",
        "codex_early.jsonl",
        "codex_recent.jsonl",
        "continue.json",
        "copilot_chat.json",
        "copilot_chat.jsonl",
        "cursor.jsonl",
        "droid.jsonl",
        "droid_stream.jsonl",
        "gptme.jsonl",
        "grok.jsonl",
        "hermes.json",
        "hermes.jsonl",
        "junie.jsonl",
        "kimi.jsonl",
        "kiro.json",
        "kiro.jsonl",
        "kiro_recent.jsonl",
        "mini_swe_agent.json",
        "neutral.ndjson",
        "openclaw.jsonl",
        "opencode.json",
        "opencode_agent.json",
        "openhands_events.jsonl",
        "openhands_tasks.jsonl",
        "openhands_trajectory.json",
        "otlp_claude.jsonl",
        "otlp_gen_ai.jsonl",
        "pi.jsonl",
        "swe_agent.traj",
        "zencoder.jsonl",
    ];
    let tokens: &[&[u8]] = &[
        b"\n",
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
        b"\\ud800",
        b"\"type\":\"",
        b"\"timestamp\":\"9999-12-31T23:59:59Z\"",
        b"\"message\":{",
        b"\"content\":[",
        b"\"usage\":{",
        b"[[[[[[[[[[[[[[[[",
        b"\xef\xbb\xbf",
        b"18446744073709551615",
        b"\"id\":\"\"",
    ];
    let check = Box::new(move |input: &[u8]| check(&registry, input));
    Target { name: "recognition", examples, tokens, check }
}

/// No source panics, whatever the name of the file.
fn check(registry: &Registry, input: &[u8]) -> Result<(), String> {
    let names = ["s.jsonl", "rollout-1.jsonl", "task.traj", "s.json", "ui_messages.json"];
    for name in names {
        let bytes: Arc<[u8]> = input.into();
        let mut file = match open_bytes(Path::new(name), bytes, None, &registry.sources) {
            Ok(file) => file,
            Err(OpenError::Panic(panic)) => return Err(panic.to_string()),
            Err(_) => continue,
        };
        file.read(&mut DedupCache::default(), &mut |_| {}).map_err(|err| err.to_string())?;
    }
    Ok(())
}
