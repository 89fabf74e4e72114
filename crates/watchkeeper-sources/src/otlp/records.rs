//! The way of each record to the client or the convention that wrote it.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{EventSink, SessionStart},
};

use super::{
    claude_code, codex,
    export::{self, Resource},
    gemini_cli, gen_ai,
    memory::{HeldSpan, Memory, session_of_trace},
    record::{Attributes, LogRecord, Span},
    request::{Encoding, Signal},
    response::Accepted,
    step::{LOGS, Place, Step, TRACES},
};

/// Reads the records of a request. Their events wait for [`Memory::emit`].
pub(super) fn read(
    signal: Signal,
    encoding: Encoding,
    resources: &[Resource<'_>],
    memory: &mut Memory,
    sink: &mut EventSink<'_>,
) -> Accepted {
    let mut accepted = Accepted { signal, records: 0, rejected: 0, first_rejection: None };
    for Resource { attributes, scopes } in resources {
        for scope in scopes {
            let origin = Origin { resource: attributes, scope: &scope.name };
            for record in &scope.records {
                accepted.records += 1;
                let read = match signal {
                    Signal::Logs => origin.read_log(encoding, record, memory, sink),
                    Signal::Traces => origin.read_span(encoding, record, memory),
                    // The same usage is in logs and spans.
                    Signal::Metrics => Ok(()),
                };
                if let Err(reason) = read {
                    accepted.rejected += 1;
                    accepted.first_rejection.get_or_insert(reason);
                    sink.skip_part(reason);
                }
            }
        }
    }
    accepted
}

/// The resource and the scope of a record.
struct Origin<'a> {
    resource: &'a Attributes<'a>,
    scope: &'a str,
}

impl Origin<'_> {
    fn version(&self) -> Option<&str> {
        self.resource.text("service.version")
    }

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
        let is_claude = self.scope == claude_code::LOG_SCOPE
            || self.resource.text("service.name") == Some("claude-code");
        if let Some(name) = name.strip_prefix("claude_code.").or(is_claude.then_some(name)) {
            claude_code::read_log(&record, name, self.version(), memory, sink);
        } else if let Some(name) = name.strip_prefix("codex.") {
            codex::read_log(&record, name, memory, sink);
        } else if self.scope == gemini_cli::SCOPE || name.starts_with("gemini_cli.") {
            gemini_cli::read_log(&record, key, memory, sink);
        } else if name == "gen_ai.client.inference.operation.details" {
            self.read_model_call(&record, key, memory);
        }
        Ok(())
    }

    /// Reads an event about a model call, which may be the call of a span.
    fn read_model_call(&self, record: &LogRecord<'_>, key: Fingerprint, memory: &mut Memory) {
        let attributes = &record.attributes;
        if attributes.text("error.type").is_some() {
            return;
        }
        let session = gen_ai::session(attributes).map(SessionId::from);
        let of_trace = || memory.session_of(record.trace?).cloned();
        let Some(session) =
            session.or_else(of_trace).or_else(|| record.trace.map(session_of_trace))
        else {
            return;
        };
        let id = record.span.map_or_else(|| key.to_string(), |span| format!("{span:016x}"));
        let call = EventKind::ModelCall(gen_ai::model_call(attributes, &id));
        let place = self.place(session, None, LOGS);
        memory.add(place, [Step::new(record.at, call)]);
    }

    fn read_span(
        &self,
        encoding: Encoding,
        bytes: &[u8],
        memory: &mut Memory,
    ) -> Result<(), &'static str> {
        let span = export::span(encoding, bytes)?;
        let meaning = if span.name.starts_with("claude_code.") {
            claude_code::span(&span, &mut memory.tools)
        } else {
            gen_ai::span(&span)
        };
        let own = meaning.session.clone();
        let Some(session) = own.or_else(|| memory.session_of(span.trace).cloned()) else {
            let place = self.place(session_of_trace(span.trace), meaning.agent, TRACES);
            hold(&span, bytes.len(), place, meaning.steps, memory);
            return Ok(());
        };
        memory.identify(span.trace, &session);
        let place = self.place(session, meaning.agent, TRACES);
        memory.add(place, meaning.steps);
        Ok(())
    }

    fn place(&self, session: SessionId, agent: Option<AgentId>, supplier: &'static str) -> Place {
        let version = self.version().map(Box::from);
        let start = SessionStart { version, ..SessionStart::default() };
        Place { session, agent, start, supplier }
    }
}

/// Holds a span until the session of its trace is known. The root of a trace is its last
/// span.
fn hold(span: &Span<'_>, n_bytes: usize, place: Place, steps: Vec<Step>, memory: &mut Memory) {
    let (trace, end) = (span.trace, span.end.unwrap_or(span.start));
    if !span.has_parent {
        if !steps.is_empty() || memory.holds(trace) {
            memory.identify(trace, &place.session);
        }
        memory.add(place, steps);
    } else if !steps.is_empty() {
        memory.hold(HeldSpan { trace, end, n_bytes, place, steps });
    }
}
