//! The events of a part of a file.

use jiff::Timestamp;
use watchkeeper_core::{AgentId, EventKind, Fingerprint, ModelCall, ToolClass, author::EventSink};

use super::{
    calls,
    parts::Parts,
    record::{Call, Message, Record},
    state::{PossibleTurnEnd, State},
};
use crate::{
    document::{LineCounter, Part, PartKind},
    json::{Located, Malformed, Text, parse, parse_value},
};

/// The beginnings of prompts that the client writes itself.
const FROM_CLIENT: &[&str] = &["System: ", "<hook_context>"];

/// Emits the events of a message.
struct MessageEvents<'m, 's> {
    message: &'m Message<'m>,
    at: Timestamp,
    id: Fingerprint,
    /// The line of the message.
    line: u64,
    lines: Option<LineCounter<'m>>,
    state: &'m mut State,
    sink: &'m mut EventSink<'s>,
}

/// Reads a line of a file of lines.
pub(super) fn read_line(
    line: &[u8],
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let message: Message<'_> = parse(line)?;
    if message.id.is_some() {
        return read_message(&message, None, state, sink);
    }
    let record: Record<'_> = parse(line)?;
    if let Some(id) = record.session {
        state.identify(id);
    }
    if record.kind.is_some_and(|kind| kind.is("subagent")) {
        state.become_agent();
    }
    state.latest = state.latest.or(record.started_at.and_then(Text::time));
    if let Some(folder) = record.folders.iter().flatten().next() {
        state.start.cwd = Some(folder.boxed());
    }
    let changed = record.changes.as_ref().and_then(|changes| changes.messages.as_ref());
    for message in record.messages.iter().chain(changed).flatten() {
        read_message(message, None, state, sink)?;
    }
    // Messages that a rewind removes count: their calls were made.
    let is_known = record.session.is_some() || record.changes.is_some() || record.rewind.is_some();
    if is_known { Ok(()) } else { Err("neither a message nor a session") }
}

/// Reads a part of a file that is one object.
pub(super) fn read_part(
    part: &Part<'_>,
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    sink.at_line(part.lines().line_of(0));
    match part.kind {
        PartKind::Member("sessionId") => {
            if let Some(id) = parse_value(part.text)? {
                state.identify(id);
            }
        }
        PartKind::Member("kind") => {
            let kind: Option<Text<'_>> = parse_value(part.text)?;
            if kind.is_some_and(|kind| kind.is("subagent")) {
                state.become_agent();
            }
        }
        PartKind::Entry => {
            return read_message(&parse(part.text)?, Some(part.lines()), state, sink);
        }
        _ => {}
    }
    Ok(())
}

/// Reads a message. `lines` counts the lines of its text, if there are several.
fn read_message(
    message: &Message<'_>,
    lines: Option<LineCounter<'_>>,
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let kind = message.kind.ok_or("no type")?;
    let id = message.id.ok_or("no id")?;
    let at = message.timestamp.and_then(Text::time).or(state.latest).ok_or("no time")?;
    let id = Fingerprint::of(id.raw());
    let line = sink.line();
    let mut events = MessageEvents { message, at, id, line, lines, state, sink };
    match kind.raw() {
        b"user" => events.read_prompt(),
        b"gemini" => events.read_response(),
        b"error" => {
            let message = events.text();
            events.start();
            events.state.possible_turn_end = None;
            events.emit(at, EventKind::Error { message, retry: None });
        }
        b"info" | b"warning" => {}
        _ => events.sink.skip_part("unknown type of message"),
    }
    Ok(())
}

/// Ends the turn if the latest message had no calls.
pub(super) fn end_turn(state: &mut State, sink: &mut EventSink<'_>) {
    if let Some(PossibleTurnEnd { at, line, message }) = state.possible_turn_end.take() {
        let current = sink.line();
        sink.at_line(line);
        state.emit(at, message, EventKind::TurnEnd, sink);
        sink.at_line(current);
    }
}

impl MessageEvents<'_, '_> {
    fn text(&self) -> Box<str> {
        self.message.content.as_ref().map(Parts::text).unwrap_or_default()
    }

    fn start(&mut self) {
        self.state.start(self.at, self.sink);
    }

    /// Emits an event of which the message has one.
    fn emit(&mut self, at: Timestamp, kind: EventKind) {
        self.emit_with(at, Fingerprint::NONE, kind);
    }

    fn emit_with(&mut self, at: Timestamp, key: Fingerprint, kind: EventKind) {
        self.state.emit(at, self.id.and(key), kind, self.sink);
    }

    fn read_prompt(&mut self) {
        let message = self.message;
        if message.content.iter().flat_map(Parts::responses).next().is_some() {
            // The results of calls, which the message with the calls contains, too.
            self.state.possible_turn_end = None;
            return;
        }
        let text = self.text();
        if is_context(&text) {
            let cwd = &mut self.state.start.cwd;
            *cwd = cwd.take().or_else(|| folder_of_context(&text).map(Box::from));
            return;
        }
        self.start();
        if text.trim_start().starts_with("<state_snapshot>") {
            let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
            return self.emit(self.at, kind);
        }
        let synthetic = FROM_CLIENT.iter().any(|beginning| text.starts_with(beginning));
        if !synthetic {
            end_turn(self.state, self.sink);
        }
        self.emit(self.at, EventKind::Prompt { text, synthetic });
    }

    fn read_response(&mut self) {
        self.start();
        let (message, at) = (self.message, self.at);
        for (nth, thought) in (0_u64..).zip(message.thoughts.iter().flat_map(|it| &it.0)) {
            let texts = [thought.subject, thought.description];
            let texts: Vec<_> = texts.into_iter().flatten().map(Text::read).collect();
            let at = thought.timestamp.and_then(Text::time).map_or(at, |earlier| earlier.min(at));
            let text = texts.join("\n").into();
            self.emit_with(at, Fingerprint::from(nth), EventKind::Thinking { text });
        }
        let text = self.text();
        if !text.trim().is_empty() {
            self.emit(at, EventKind::Message { text, delta: false });
        }
        let id: Box<str> = message.id.map(Text::boxed).unwrap_or_default();
        if let Some(usage) = &message.usage {
            let tokens = usage.tokens();
            let key = Fingerprint::from(tokens.total());
            let model = message.model.map(Text::boxed);
            let call = ModelCall { id: Some(id.clone()), model, tokens, ..ModelCall::default() };
            self.emit_with(at, key, EventKind::ModelCall(call));
        }
        let calls = message.calls.as_deref().unwrap_or_default();
        let end = PossibleTurnEnd { at, line: self.line, message: self.id };
        self.state.possible_turn_end = Some(end).filter(|_| calls.is_empty());
        self.read_calls(calls, &id);
    }

    /// Reads the calls that have ended. The time of the response is the earliest time at which
    /// they can have begun; their beginning is not recorded.
    fn read_calls(&mut self, calls: &[Located<'_, Call<'_>>], response: &str) {
        let mut results = Vec::new();
        for call in calls {
            let line = self.lines.as_mut().map_or(self.line, |lines| lines.line_of(call.at));
            let call = &call.value;
            let id = call.id.map(Text::read).unwrap_or_default();
            let Some(result) = calls::result(&id, call) else { continue };
            let key = Fingerprint::of(id.as_bytes());
            let tools = &mut self.state.tools;
            let kind = calls::tool_call(&id, call.name, call.arguments, response, tools);
            let ended_at = call.timestamp.and_then(Text::time).unwrap_or(self.at).max(self.at);
            let agent = call.agent.filter(|_| kind.class == ToolClass::Delegate);
            self.sink.at_line(line);
            self.emit_with(self.at, key, EventKind::ToolCall(kind));
            results.push((ended_at, line, key, result, agent));
        }
        results.sort_by_key(|(ended_at, ..)| *ended_at);
        for (ended_at, line, key, result, agent) in results {
            self.sink.at_line(line);
            self.emit_with(ended_at, key, EventKind::ToolResult(result));
            if let Some(agent) = agent {
                self.end_agent(ended_at, AgentId::from(agent.read().as_ref()));
            }
        }
        self.sink.at_line(self.line);
    }

    /// Ends a sub-agent, whose call has returned.
    fn end_agent(&mut self, at: Timestamp, agent: AgentId) {
        let key = Fingerprint::of("agent end").and(Fingerprint::of(agent.as_str()));
        let session = Fingerprint::of(self.state.session.as_str());
        if self.sink.is_new(session.and(key)) {
            self.sink.event(at, &self.state.session, Some(&agent), EventKind::AgentEnd);
        }
    }
}

/// Returns whether a text is the description of the environment with which a session begins.
fn is_context(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &["<session_context>", "This is the Gemini CLI. We are setting up"];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}

/// Returns the working folder in a description of the environment.
fn folder_of_context(text: &str) -> Option<&str> {
    let after = |label: &str| text.split_once(label).map(|(_, after)| after.trim_start());
    let folder = after("**Workspace Directories:**")
        .and_then(|after| after.strip_prefix("- "))
        .or_else(|| after("working in the directory: "));
    folder?.lines().next().map(str::trim_end)
}
