//! Tests of the sources, with session files like those of the agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chats;
mod claude_code;
mod claude_code_cases;
mod codex;
mod copilot_cli;
#[cfg(feature = "sqlite")]
mod databases;
mod documents;
mod files;
mod gemini_cli;
mod hostile;
mod neutral;
mod openhands;
mod otlp;
mod otlp_protobuf;
mod qwen_code;
mod streams;
mod targets;

use std::{fmt::Write as _, path::Path};

use jiff::tz::TimeZone;
use watchkeeper_core::{
    Event,
    author::{DedupCache, SkippedLines},
    embed::Registry,
};
use watchkeeper_sources::{SessionFile, write_event};

/// Reads a file and returns one line per event: line number, time, session and
/// agent, and content. The counts of skipped lines follow.
fn read(kind: &str, path: &str, text: &[u8]) -> String {
    render(&events(kind, path, text, &mut DedupCache::default()))
}

fn events(
    kind: &str,
    path: &str,
    text: &[u8],
    dedup_cache: &mut DedupCache,
) -> (Vec<Event>, SkippedLines) {
    let kinds = Registry::linked().unwrap().sources;
    let reader = Box::new(std::io::Cursor::new(text.to_vec()));
    let mut file = SessionFile::new(Path::new(path), reader, kinds.get(kind).unwrap()).unwrap();
    let mut events = Vec::new();
    file.read(dedup_cache, &mut |event| events.push(event)).unwrap();
    (events, file.skipped_lines().clone())
}

fn render(read: &(Vec<Event>, SkippedLines)) -> String {
    render_in(&TimeZone::UTC, read)
}

/// Renders events with times in a time zone.
fn render_in(zone: &TimeZone, (events, skipped): &(Vec<Event>, SkippedLines)) -> String {
    let mut text = String::new();
    for event in events {
        let mut fields = serde_json::from_str::<serde_json::Value>(&write_event(event)).unwrap();
        let fields = fields.as_object_mut().unwrap();
        for head in ["at", "session", "agent", "event"] {
            fields.remove(head);
        }
        let time = event.at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
        let line = event.origin.as_ref().map_or(0, |it| it.line);
        write!(text, "{line} {time} {}", event.session).unwrap();
        if let Some(agent) = &event.agent {
            write!(text, "/{agent}").unwrap();
        }
        write!(text, " {}", event.kind.name()).unwrap();
        for (name, value) in fields {
            write!(text, " {name}={value}").unwrap();
        }
        text.push('\n');
    }
    for (reason, n) in &skipped.lines {
        writeln!(text, "skipped line {n}: {reason}").unwrap();
    }
    for (reason, n) in &skipped.parts {
        writeln!(text, "skipped part {n}: {reason}").unwrap();
    }
    text
}
