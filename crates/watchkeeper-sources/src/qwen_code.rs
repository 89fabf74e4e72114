//! Qwen Code: `~/.qwen/projects/<project>/chats/<session>.jsonl`.
//!
//! Each line is a record with an id of its own. The message of a record has the form of the API
//! of Gemini. A forked session begins with copies of the records of its origin, which have the
//! same ids.

mod record;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, ModelCall, SessionId, Source, SourceKind,
    author::{Cause, Environment, EventSink, SessionStart},
    register_source,
};

use self::record::{Head, Record};
use crate::{
    gemini_cli::{Parts, result_of, tool_call},
    json::{Malformed, Text, parse_each, parse_head},
    lines::lines_of,
    tool_names::ToolNames,
};

/// Reads the sessions of Qwen Code.
#[derive(Debug, Default)]
pub struct QwenCode {
    has_started: bool,
    /// The latest time of a record.
    latest: Option<Timestamp>,
    tools: ToolNames,
}

register_source!(QwenCode);

impl SourceKind for QwenCode {
    const KIND: &'static str = "qwen-code";
    const DOCS: &'static str = include_str!("../docs/qwen-code.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        // The last line may be incomplete. Its first members are enough.
        lines_of(head).any(|line| parse_head::<Head<'_>>(line).is_of_session())
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let folder = |name| environment(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let own = folder("QWEN_RUNTIME_DIR").or_else(|| folder("QWEN_HOME"));
        let own = own.or_else(|| Some(folder("HOME")?.join(".qwen")));
        own.map(|own| own.join("projects")).into_iter().collect()
    }

    fn new(_path: &Path) -> Self {
        Self::default()
    }
}

impl Source for QwenCode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        // After a crash, a record can follow another one in the same line.
        let read = parse_each(line, |record| {
            if let Err(reason) = self.read_record(record, sink) {
                sink.skip_line(reason);
            }
        });
        if let Err(reason) = read {
            sink.skip_line(reason);
        }
    }
}

/// The place of a record: its time, session and agent.
struct Place {
    at: Timestamp,
    session: SessionId,
    agent: Option<AgentId>,
}

impl Place {
    fn emit(&self, kind: EventKind, sink: &mut EventSink<'_>) {
        sink.event(self.at, &self.session, self.agent.as_ref(), kind);
    }
}

impl QwenCode {
    fn read_record(
        &mut self,
        record: &Record<'_>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), Malformed> {
        let kind = record.kind.ok_or("no type")?;
        let id = record.id.ok_or("no id")?;
        let session = record.session.ok_or("no session")?;
        let at = record.timestamp.and_then(Text::time).or(self.latest).ok_or("no time")?;
        self.latest = self.latest.max(Some(at));
        if !sink.is_new(Fingerprint::of(id.raw()).and(Fingerprint::of("qwen-code"))) {
            return Ok(());
        }
        let agent = record.agent.map(|agent| AgentId::from(agent.read().as_ref()));
        let place = Place { at, session: SessionId::from(session.read().as_ref()), agent };
        self.start(record, &place, sink);
        match kind.raw() {
            b"user" => read_prompt(record, &place, sink),
            b"assistant" => self.read_response(record, &place, sink),
            b"tool_result" => read_results(record, &place, sink),
            b"system" => read_system(record, &place, sink),
            _ => sink.skip_part("unknown type of record"),
        }
        Ok(())
    }

    /// Emits the start of the session or the agent, unless this file has started.
    fn start(&mut self, record: &Record<'_>, place: &Place, sink: &mut EventSink<'_>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        place.emit(
            match place.agent {
                Some(_) => EventKind::AgentStart { parent: None },
                None => EventKind::SessionStart(SessionStart {
                    cwd: record.cwd.map(Text::boxed),
                    version: record.version.map(Text::boxed),
                    parent: record.origin().map(|parent| SessionId::from(parent.read().as_ref())),
                    ..SessionStart::default()
                }),
            },
            sink,
        );
    }

    fn read_response(&mut self, record: &Record<'_>, place: &Place, sink: &mut EventSink<'_>) {
        let none = Parts::default();
        let parts = record.parts().unwrap_or(&none);
        let thoughts = parts.thoughts();
        if !thoughts.trim().is_empty() {
            place.emit(EventKind::Thinking { text: thoughts }, sink);
        }
        let text = parts.text();
        if !text.trim().is_empty() {
            place.emit(EventKind::Message { text, delta: false }, sink);
        }
        let id = record.id.map(Text::boxed).unwrap_or_default();
        if let Some(usage) = &record.usage {
            let call = ModelCall {
                id: Some(id.clone()),
                model: record.model.map(Text::boxed),
                tokens: usage.tokens(),
                ..ModelCall::default()
            };
            place.emit(EventKind::ModelCall(call), sink);
        }
        let mut has_calls = false;
        for call in parts.calls() {
            has_calls = true;
            let call_id = call.id.map(Text::read).unwrap_or_default();
            let call = tool_call(&call_id, call.name, call.arguments, &id, &mut self.tools);
            place.emit(EventKind::ToolCall(call), sink);
        }
        if !has_calls {
            place.emit(EventKind::TurnEnd, sink);
        }
    }
}

/// Reads a prompt of a person, or of the client in a person's place.
fn read_prompt(record: &Record<'_>, place: &Place, sink: &mut EventSink<'_>) {
    let text = record.parts().map(Parts::text).unwrap_or_default();
    let is_of_person = |subtype: Text<'_>| subtype.is("mid_turn_user_message");
    let synthetic = !record.subtype.is_none_or(is_of_person);
    if !text.trim().is_empty() {
        place.emit(EventKind::Prompt { text, synthetic }, sink);
    }
}

/// Reads the results of calls.
fn read_results(record: &Record<'_>, place: &Place, sink: &mut EventSink<'_>) {
    let status = record.result.as_ref().and_then(|result| result.status);
    for response in record.parts().into_iter().flat_map(Parts::responses) {
        let id = response.id.map(Text::read).unwrap_or_default();
        let tool = response.name.map(Text::read).unwrap_or_default();
        let is_success = status.is_none_or(|status| status.is("success"));
        let mut result = result_of(&id, &tool, is_success, Some(response));
        if status.is_some_and(|status| status.is("cancelled")) {
            result.cause = result.cause.or(Some(Cause::Interrupted));
        }
        place.emit(EventKind::ToolResult(result), sink);
    }
}

fn read_system(record: &Record<'_>, place: &Place, sink: &mut EventSink<'_>) {
    let payload = record.payload.as_ref();
    match record.subtype.map(Text::raw).unwrap_or_default() {
        b"chat_compression" => {
            let info = payload.and_then(|payload| payload.info.as_ref());
            let kind = EventKind::Compaction {
                before_tokens: info.and_then(|info| info.before),
                after_tokens: info.and_then(|info| info.after),
            };
            place.emit(kind, sink);
        }
        b"ui_telemetry" => {
            let event = payload.and_then(|payload| payload.event.as_ref());
            let Some(event) = event.filter(|event| event.is_error()) else { return };
            let message = event.message.map(Text::boxed).unwrap_or_default();
            place.emit(EventKind::Error { message, retry: None }, sink);
        }
        _ => {}
    }
}
