//! What is read of session files, shaped like those that agents write.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod claude_code;
mod codex;
mod documents;
mod files;
mod hostile;
mod neutral;
mod openhands;

use std::{fmt::Write as _, path::Path};

use jiff::tz::TimeZone;
use watchkeeper_core::{DedupCache, Event, Registry, SkippedLines};
use watchkeeper_sources::{SessionFile, write_event};

/// Reads a file and gives back its events, one a line: where it was read, when
/// it happened, in which session and agent, and what; and then what was not
/// read.
fn read(kind: &str, path: &str, text: &[u8]) -> String {
    render(&events(kind, path, text, &mut DedupCache::default()))
}

fn events(
    kind: &str,
    path: &str,
    text: &[u8],
    seen: &mut DedupCache,
) -> (Vec<Event>, SkippedLines) {
    let kinds = Registry::linked().unwrap().sources;
    let reader = Box::new(std::io::Cursor::new(text.to_vec()));
    let mut file = SessionFile::new(Path::new(path), reader, kinds.get(kind).unwrap());
    let mut events = Vec::new();
    file.read(seen, &mut |it| events.push(it)).unwrap();
    (events, file.unread().clone())
}

fn render(read: &(Vec<Event>, SkippedLines)) -> String {
    render_in(&TimeZone::UTC, read)
}

/// The same, with times as a clock in a zone shows them.
fn render_in(zone: &TimeZone, (events, unread): &(Vec<Event>, SkippedLines)) -> String {
    let mut res = String::new();
    for event in events {
        let mut fields = serde_json::from_str::<serde_json::Value>(&write_event(event)).unwrap();
        let fields = fields.as_object_mut().unwrap();
        for head in ["at", "session", "agent", "event"] {
            fields.remove(head);
        }
        let time = event.at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
        let line = event.origin.as_ref().map_or(0, |it| it.line);
        write!(res, "{line} {time} {}", event.session).unwrap();
        if let Some(agent) = &event.agent {
            write!(res, "/{agent}").unwrap();
        }
        write!(res, " {}", event.kind.name()).unwrap();
        for (name, value) in fields {
            write!(res, " {name}={value}").unwrap();
        }
        res.push('\n');
    }
    for (reason, n) in &unread.lines {
        writeln!(res, "unread {n}: {reason}").unwrap();
    }
    for (reason, n) in &unread.skipped {
        writeln!(res, "skipped {n}: {reason}").unwrap();
    }
    res
}
