//! The way of each record to the client or the convention that wrote it.

use tracing::debug;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{EventSink, make_safe},
};

use super::{
    claude_code, codex,
    export::{self, Resource},
    gemini_cli, gen_ai,
    memory::{Awaited, HeldSpan, Memory, session_of_trace},
    record::LogRecord,
    request::{Encoding, Signal},
    response::Accepted,
    step::{LOGS, Place, Start, Step, TRACES, shared},
};
use crate::file_source::TARGET;

/// Reads the records of a request. Their events wait for [`Memory::emit`].
pub(super) fn read(
    signal: Signal,
    encoding: Encoding,
    resources: &[Resource<'_>],
    memory: &mut Memory,
    sink: &mut EventSink<'_>,
) -> Accepted {
    let mut accepted = Accepted::new(signal);
    for Resource { attributes, scopes } in resources {
        let service = attributes.text("service.name");
        let start =
            Start { version: attributes.text("service.version").map(shared), ..Start::default() };
        for scope in scopes {
            let origin = Origin { service, start: &start, scope: &scope.name };
            for record in &scope.records {
                accepted.records += 1;
                let read = match signal {
                    Signal::Logs => origin.read_log(encoding, record, memory, sink),
                    Signal::Traces => origin.read_span(encoding, record, memory, sink),
                    // The same usage is in logs and spans.
                    Signal::Metrics => Ok(()),
                };
                if let Err(reason) = read {
                    accepted.rejected += 1;
                    accepted.first_rejection.get_or_insert(reason);
                    skip(reason, "", memory, sink);
                }
            }
        }
    }
    accepted
}

/// Counts a record without a meaning, and logs the first one with its reason.
fn skip(reason: &'static str, name: &str, memory: &mut Memory, sink: &mut EventSink<'_>) {
    sink.skip_part(reason);
    if memory.is_first_skipped(reason) {
        debug!(target: TARGET, reason, name = make_safe(name), "skipped a record of telemetry");
    }
}

/// The resource and the scope of a record.
struct Origin<'a> {
    service: Option<&'a str>,
    start: &'a Start,
    scope: &'a str,
}

impl Origin<'_> {
    fn read_log(
        &self,
        encoding: Encoding,
        bytes: &[u8],
        memory: &mut Memory,
        sink: &mut EventSink<'_>,
    ) -> Result<(), &'static str> {
        let record = export::log_record(encoding, bytes)?;
        // Log records have no id. An exporter that sends a record again does not change it.
        let key = Fingerprint::of(bytes).and(Fingerprint::of("otlp"));
        if !sink.is_new(key) {
            return Ok(());
        }
        let name = &*record.name;
        let is_claude = self.scope == claude_code::LOG_SCOPE || self.service == Some("claude-code");
        let read =
            if let Some(name) = name.strip_prefix("claude_code.").or(is_claude.then_some(name)) {
                claude_code::read_log(&record, name, self.start, memory)
            } else if let Some(name) = name.strip_prefix("codex.") {
                codex::read_log(&record, name, memory)
            } else if self.scope == gemini_cli::SCOPE || name.starts_with("gemini_cli.") {
                gemini_cli::read_log(&record, key, memory)
            } else if name == "gen_ai.client.inference.operation.details" {
                self.read_model_call(&record, key, memory)
            } else if codex::is_message(self.scope) {
                Ok(())
            } else {
                Err("not of a known agent")
            };
        if let Err(reason) = read {
            skip(reason, name, memory, sink);
        }
        Ok(())
    }

    /// Reads an event about a model call, which may be the call of a span.
    fn read_model_call(
        &self,
        record: &LogRecord<'_>,
        key: Fingerprint,
        memory: &mut Memory,
    ) -> Result<(), &'static str> {
        let attributes = &record.attributes;
        if attributes.text("error.type").is_some() {
            return Ok(());
        }
        let session = gen_ai::session(attributes).map(SessionId::from);
        let of_trace = || memory.session_of(record.trace?).cloned();
        let session = session.or_else(of_trace).or_else(|| record.trace.map(session_of_trace));
        let session = session.ok_or("no session")?;
        let id = record.span.map_or_else(|| key.to_string(), |span| format!("{span:016x}"));
        let call = EventKind::ModelCall(gen_ai::model_call(attributes, &id));
        let place = self.place(session, None, LOGS);
        memory.add(place, [Step::new(record.at, call)]);
        Ok(())
    }

    fn read_span(
        &self,
        encoding: Encoding,
        bytes: &[u8],
        memory: &mut Memory,
        sink: &mut EventSink<'_>,
    ) -> Result<(), &'static str> {
        let span = export::span(encoding, bytes)?;
        let is_claude = span.name.starts_with("claude_code.");
        let meaning = if is_claude {
            claude_code::span(&span, &mut memory.tools)
        } else {
            gen_ai::span(&span)
        };
        if let Some(reason) = meaning.skipped {
            skip(reason, &span.name, memory, sink);
        }
        let session = meaning.session.or_else(|| memory.session_of(span.trace).cloned());
        let place_of = |session| self.place(session, meaning.agent, TRACES);
        let held = |place| HeldSpan {
            awaited: Awaited::SessionOf(span.trace),
            end: span.end.unwrap_or(span.start),
            is_old: false,
            has_logs: is_claude,
            n_bytes: bytes.len(),
            place,
            steps: meaning.steps,
        };
        match session {
            Some(session) => {
                memory.identify(span.trace, &session);
                memory.add_span(held(place_of(session)));
            }
            None => hold(span.has_parent, held(place_of(session_of_trace(span.trace))), memory),
        }
        Ok(())
    }

    fn place(&self, session: SessionId, agent: Option<AgentId>, supplier: &'static str) -> Place {
        Place { session, agent, start: self.start.clone(), supplier }
    }
}

/// Holds a span until the session of its trace is known. The root of a trace is its last
/// span.
fn hold(has_parent: bool, span: HeldSpan, memory: &mut Memory) {
    if has_parent {
        if !span.steps.is_empty() {
            memory.hold(span);
        }
    } else if !span.steps.is_empty() || memory.holds(&span.awaited) {
        memory.give_up(&span.awaited);
        memory.add_span(span);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use watchkeeper_core::author::{DedupCache, EventSink, SkippedLines};

    use super::read;
    use crate::otlp::{
        export::frame,
        memory::Memory,
        request::{Encoding, Signal},
    };

    #[test]
    fn the_records_of_a_resource_share_one_short_copy_of_its_texts() {
        let long = "é".repeat(1 << 20);
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let record = |session: u64| {
            let session = text("session.id", &session.to_string());
            json!({ "timeUnixNano": 1, "eventName": "claude_code.user_prompt", "attributes": [session] })
        };
        let span = |session: u64| {
            let attributes =
                [text("session.id", &session.to_string()), text("gen_ai.operation.name", "chat")];
            json!({
                "traceId": format!("{session:032x}"), "spanId": format!("{session:016x}"),
                "startTimeUnixNano": 1, "endTimeUnixNano": 2, "attributes": attributes,
            })
        };
        let resource = json!({ "attributes": [text("service.version", &long)] });
        let records: Vec<Value> = (1..=50).map(record).collect();
        let logs = json!({ "resource": resource, "scopeLogs": [{ "logRecords": records }] });
        let spans: Vec<Value> = (1..=50).map(span).collect();
        let spans = json!({ "resource": resource, "scopeSpans": [{ "spans": spans }] });
        for (signal, request) in [
            (Signal::Logs, json!({ "resourceLogs": [logs] })),
            (Signal::Traces, json!({ "resourceSpans": [spans] })),
        ] {
            let body = request.to_string();
            let resources = frame(signal, Encoding::Json, body.as_bytes()).unwrap();
            let (mut events, mut skipped) = (Vec::new(), SkippedLines::default());
            let (file, mut cache) = ("otlp".into(), DedupCache::default());
            let mut sink = EventSink::new("otlp", &file, 1, &mut events, &mut skipped, &mut cache);
            let mut memory = Memory::default();
            let accepted = read(signal, Encoding::Json, &resources, &mut memory, &mut sink);
            assert_eq!((accepted.records, accepted.rejected), (50, 0));
            let versions: Vec<_> = memory.versions().collect();
            assert!(50 <= versions.len() && versions[0].len() <= 256, "{signal:?}");
            assert!(versions.iter().all(|version| Arc::ptr_eq(version, versions[0])));
        }
    }
}
