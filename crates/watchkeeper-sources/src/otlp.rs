//! OpenTelemetry: the bodies of OTLP/HTTP requests, in protobuf and JSON, and files with them.
//!
//! A [`Receiver`] turns the log records and spans of one process's clients into events. It does
//! no I/O. A file contains one request in JSON on each line, as the OpenTelemetry Collector
//! writes it.

mod claude_code;
mod codex;
mod export;
mod gemini_cli;
mod gen_ai;
mod json_form;
mod meaning;
mod memory;
mod protobuf;
mod record;
mod records;
mod request;
mod response;
mod step;
mod value_json;
mod wire;

use std::{path::Path, sync::Arc};

use watchkeeper_core::{
    Event, Source, SourceKind,
    author::{DedupCache, EventSink, SkippedLines},
    embed::Suppliers,
    register_source,
};

use self::memory::Memory;
pub use self::{
    request::{DecodeError, Encoding, Signal},
    response::{Accepted, error_body},
};
use crate::{
    json::{Malformed, parse_head},
    lines::lines_of,
};

/// Turns the bodies of requests into events.
///
/// An event that a request repeats is emitted once: exporters send a request again if they got no
/// response. Spans may come in any order. A span without a session belongs to the session of its
/// trace; it waits until another span names it, and at most until the spans of ten more seconds
/// of its trace have come, or [`release`](Self::release) was called twice. So does a span of Claude
/// Code for the log events of its session: once the first one comes, its spans have no events.
/// The end of a turn waits for five to ten seconds, too, since a call may follow; for a minute if
/// the client has announced one. Memory is bounded.
///
/// An event has `otlp` as its file, and its time in milliseconds as its line: it has the same
/// origin each time that it is sent.
#[derive(Debug)]
pub struct Receiver {
    memory: Memory,
    file: Arc<str>,
    dedup_cache: DedupCache,
    skipped: SkippedLines,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            file: Otlp::KIND.into(),
            dedup_cache: DedupCache::default(),
            skipped: SkippedLines::default(),
        }
    }
}

impl Receiver {
    /// Reads the body of a request, without its compression, and adds its events to `events`, in
    /// order of time.
    ///
    /// A malformed record is rejected and counted, and the others are read.
    ///
    /// # Errors
    ///
    /// If the body is malformed as a whole. No record of it was read then.
    pub fn receive(
        &mut self,
        signal: Signal,
        encoding: Encoding,
        body: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<Accepted, DecodeError> {
        let frame = export::frame(signal, encoding, body);
        let resources = frame.map_err(|reason| DecodeError { reason })?;
        Ok(self
            .emit(events, |memory, sink| records::read(signal, encoding, &resources, memory, sink)))
    }

    /// Returns whether a span or the end of a turn waits.
    pub fn holds_events(&self) -> bool {
        self.memory.holds_any()
    }

    /// Adds the events of traces of which a span waited at the previous call already, and ends of
    /// turns. A program calls this every five seconds, the time between two exports, while [events
    /// wait](Self::holds_events): the client of a trace may have ended.
    pub fn release(&mut self, events: &mut Vec<Event>) {
        self.emit(events, |memory, _| memory.release_old());
    }

    /// Adds all events that wait.
    pub fn flush(&mut self, events: &mut Vec<Event>) {
        self.emit(events, |memory, _| memory.release_all());
    }

    /// Returns the counts of records that were rejected or skipped, by reason, as parts.
    pub fn skipped(&self) -> &SkippedLines {
        &self.skipped
    }

    fn emit<T>(
        &mut self,
        events: &mut Vec<Event>,
        read: impl FnOnce(&mut Memory, &mut EventSink<'_>) -> T,
    ) -> T {
        let Self { memory, file, dedup_cache, skipped } = self;
        let mut sink = EventSink::new(Otlp::KIND, file, 1, events, skipped, dedup_cache);
        let result = read(memory, &mut sink);
        memory.emit(&mut sink, false);
        result
    }
}

/// Returns whether an event counts, if session files and telemetry may be of the same session.
/// Telemetry supplies the parts of a session that its files do not. Anybody may send telemetry, so
/// a file takes a part over, whatever came first. An event that was recorded in memory always
/// counts.
#[must_use]
pub fn admits(suppliers: &mut Suppliers, event: &Event) -> bool {
    event.origin.as_ref().is_none_or(|origin| {
        if origin.source == Otlp::KIND {
            suppliers.admits(&event.session, &event.kind, "telemetry")
        } else {
            suppliers.admits_preferred(&event.session, &event.kind, "session files")
        }
    })
}

/// Returns whether a file stands for telemetry that a [`Receiver`] has read, which cannot be read
/// again.
#[must_use]
pub fn is_received(file: &str) -> bool {
    file == Otlp::KIND
}

/// Reads files with telemetry of agents.
#[derive(Debug)]
pub struct Otlp(Memory);

register_source!(Otlp);

impl SourceKind for Otlp {
    const KIND: &'static str = "otlp";
    const DOCS: &'static str = include_str!("../docs/otlp.md");
    const FILES: &'static [&'static str] = &["*.json", "*.jsonl", "!*.meta.json"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        lines_of(head).any(|line| {
            // The last line may be incomplete. Its first member is enough.
            let request: json_form::Request<'_> = parse_head(line);
            request.logs.is_some() || request.spans.is_some() || request.metrics.is_some()
        })
    }

    fn new(_path: &Path) -> Self {
        Self(Memory::default())
    }
}

impl Otlp {
    fn read(&mut self, line: &[u8], sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let (signal, resources) = export::frame_of_line(line)?;
        records::read(signal, Encoding::Json, &resources, &mut self.0, sink);
        self.0.emit(sink, true);
        Ok(())
    }

    fn flush(&mut self, sink: &mut EventSink<'_>) {
        self.0.release_all();
        self.0.emit(sink, true);
    }
}

impl Source for Otlp {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Err(reason) = self.read(line, sink) {
            sink.skip_line(reason);
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.flush(sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        self.flush(sink);
    }
}
