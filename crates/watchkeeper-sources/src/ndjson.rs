//! The format of watchkeeper itself: one event per line, in JSON.

mod error;
mod line;
mod written;

use std::path::Path;

use watchkeeper_core::{
    Event, EventKind, Fingerprint, Source, SourceKind, author::EventSink, register_source,
};

use self::line::Line;
pub use self::{
    error::EventError,
    written::{event_schema, write_event},
};
use crate::{
    json::{Text, parse_head, parse_into},
    lines::lines_of,
    tool_names::ToolNames,
};

/// Reads events in the format of watchkeeper itself.
#[derive(Debug, Default)]
pub struct Ndjson {
    tools: ToolNames,
}

register_source!(Ndjson);

impl SourceKind for Ndjson {
    const KIND: &'static str = "ndjson";
    const DOCS: &'static str = include_str!("../docs/ndjson.md");
    const FILES: &'static [&'static str] = &["*.ndjson", "*.jsonl"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        lines_of(head).any(|line| {
            // The last line may be incomplete. Its first members are enough.
            let members: Line<'_> = parse_head(line);
            members.at.is_some() && members.session.is_some() && members.event.is_some()
        })
    }

    fn new(_path: &Path) -> Self {
        Self::default()
    }
}

impl Source for Ndjson {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match parse_line(line, &mut self.tools) {
            Ok(Event { at, session, agent, kind, .. }) => {
                if is_new(line, &kind, sink) {
                    sink.event(at, &session, agent.as_ref(), kind);
                }
            }
            Err(EventError::Unknown { .. }) => sink.skip_part("unknown event"),
            Err(EventError::Malformed(reason) | EventError::Missing(reason)) => {
                sink.skip_line(reason);
            }
        }
    }
}

/// Returns whether an event is not a copy of an earlier line of this file or another
/// one.
///
/// The parts of a streamed text may be equal within a file.
fn is_new(line: &[u8], kind: &EventKind, sink: &mut EventSink<'_>) -> bool {
    let key = Fingerprint::of(line.trim_ascii()).and(Fingerprint::of("ndjson"));
    match kind {
        EventKind::Message { .. } | EventKind::Thinking { .. } => sink.is_first_here(key),
        _ => sink.is_new(key),
    }
}

/// Parses one line, without its line break.
///
/// Unknown fields are ignored. Of a repeated field, the first one counts.
pub fn parse_event(line: impl AsRef<[u8]>) -> Result<Event, EventError> {
    parse_line(line.as_ref(), &mut ToolNames::default())
}

fn parse_line(line: &[u8], tools: &mut ToolNames) -> Result<Event, EventError> {
    let mut members = Line::default();
    parse_into(&mut members, line).map_err(EventError::Malformed)?;
    let line = members;
    let at = line.at.and_then(Text::time);
    let at = at.ok_or(EventError::Missing("no `at` that is an RFC 3339 time"))?;
    let session = line.session.ok_or(EventError::Missing("no `session`"))?;
    let event = line.event.ok_or(EventError::Missing("no `event`"))?;
    let kind = line.kind(&event.read(), tools)?;
    let event = Event::new(at, session.read().as_ref(), kind);
    Ok(match line.agent {
        Some(agent) => event.in_agent(agent.read().as_ref()),
        None => event,
    })
}
