//! The events of a session and its messages.

use std::collections::BTreeSet;

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint,
    author::{EventSink, Tokens},
};

use super::{
    content::{COMPACTION, Content, model_call},
    message::{Info, Message, Part, Session, Usage},
    state::State,
};
use crate::{
    document::LineCounter,
    json::{Located, Malformed, Millis, Text},
};

/// Collects the events of a message, and emits them in the order of their times.
pub(super) struct MessageEvents<'m, 's> {
    info: &'m Info<'m>,
    parts: &'m [Located<'m, Part<'m>>],
    lines: LineCounter<'m>,
    /// The time of the latest event, for events without a time.
    now: Timestamp,
    events: Vec<PendingEvent>,
    pub(super) state: &'m mut State,
    sink: &'m mut EventSink<'s>,
}

/// An event that is not yet emitted.
struct PendingEvent {
    at: Timestamp,
    line: u64,
    kind: EventKind,
    /// The agent of the event, unless it is the agent of the export.
    agent: Option<AgentId>,
}

pub(super) const UNKNOWN_PART: &str = "unknown type of part";

/// Reads the members of the session, unless it has started.
pub(super) fn read_session(session: &Session<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    if state.has_started {
        return;
    }
    state.identify(session);
    if let Some(Millis(at)) = session.time.as_ref().and_then(|times| times.start) {
        state.latest = Some(at);
        emit_start(at, state, sink);
    }
}

/// Reads a message. `lines` counts the lines of its text.
pub(super) fn read_message(
    message: Message<'_>,
    mut lines: LineCounter<'_>,
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    state.n_messages += 1;
    let info = &message.info.unwrap_or_default();
    let parts = &message.parts.unwrap_or_default().0;
    let created = info.time.as_ref().and_then(|times| times.start);
    let now = created.map(|created| created.0).or(state.latest).ok_or("no time")?;
    sink.at_line(lines.line_of(0));
    emit_start(now, state, sink);
    let mut events = MessageEvents { info, parts, lines, now, events: Vec::new(), state, sink };
    match info.role.map(Text::raw) {
        Some(b"user") => events.read_prompt(),
        Some(b"assistant") => events.read_response(),
        _ => return Err("no role"),
    }
    events.emit();
    Ok(())
}

/// Emits the start of the session or the agent, unless it has started.
fn emit_start(at: Timestamp, state: &mut State, sink: &mut EventSink<'_>) {
    if std::mem::replace(&mut state.has_started, true) {
        return;
    }
    let kind = match state.agent {
        Some(_) => EventKind::AgentStart { parent: None },
        None => EventKind::SessionStart(std::mem::take(&mut state.start)),
    };
    if state.is_new(Fingerprint::of("start"), sink) {
        sink.event(at, &state.session, state.agent.as_ref(), kind);
    }
}

impl MessageEvents<'_, '_> {
    /// Adds an event. `offset` is its position in the text of the message.
    pub(super) fn push(&mut self, at: Option<Millis>, offset: usize, kind: EventKind) {
        self.now = at.map_or(self.now, |at| at.0);
        let line = self.lines.line_of(offset);
        self.events.push(PendingEvent { at: self.now, line, kind, agent: None });
    }

    /// Adds the end of a sub-agent, at the time of the latest event.
    pub(super) fn push_end_of(&mut self, agent: AgentId, offset: usize) {
        let line = self.lines.line_of(offset);
        let (kind, agent) = (EventKind::AgentEnd, Some(agent));
        self.events.push(PendingEvent { at: self.now, line, kind, agent });
    }

    /// Emits the events that were not read before.
    fn emit(self) {
        let Self { state, sink, mut events, .. } = self;
        // Parallel calls end in any order.
        events.sort_by_key(|event| event.at);
        for (nth, event) in (0_u64..).zip(events) {
            // When the file is read again, a pending call may have ended. The events
            // after it then have other positions.
            let key = match &event.kind {
                EventKind::ToolCall(call) => Fingerprint::of(call.id.as_bytes()),
                EventKind::ToolResult(result) => Fingerprint::of(result.id.as_bytes()),
                _ => Fingerprint::from(nth),
            };
            let name = Fingerprint::of(event.kind.name());
            let key = Fingerprint::from(state.n_messages).and(name).and(key);
            state.latest = state.latest.max(Some(event.at));
            if state.is_new(key, sink) {
                sink.at_line(event.line);
                let agent = event.agent.as_ref().or(state.agent.as_ref());
                sink.event(event.at, &state.session, agent, event.kind);
            }
        }
    }

    /// Reads a prompt of a person, or of opencode in a person's place.
    fn read_prompt(&mut self) {
        let parts = self.parts;
        for part in parts.iter().filter(|part| part.value.is("compaction")) {
            self.push(None, part.at, COMPACTION);
        }
        let with_text = || parts.iter().filter(|part| part.value.text.is_some());
        let from_person = with_text().find(|part| !part.value.is_synthetic());
        let Some(first) = from_person.or_else(|| with_text().next()) else { return };
        let synthetic = first.value.is_synthetic();
        let of_author = with_text().filter(|part| part.value.is_synthetic() == synthetic);
        let texts: Vec<_> = of_author.filter_map(|part| part.value.text).map(Text::read).collect();
        let kind = EventKind::Prompt { text: texts.join("\n").into(), synthetic };
        self.push(None, first.at, kind);
    }

    fn read_response(&mut self) {
        let (info, parts) = (self.info, self.parts);
        let id = info.id.filter(|id| id.raw().starts_with(b"msg_")).map(Text::read);
        let response = id.unwrap_or_else(|| self.state.n_messages.to_string().into());
        let mut usage = self.usage(&response);
        let mut ids = BTreeSet::new();
        for (nth, part) in parts.iter().enumerate() {
            if part.value.is("tool") {
                // The response precedes its calls.
                if let Some(usage) = usage.take() {
                    let times = part.value.state.as_ref().and_then(|state| state.time.as_ref());
                    self.push(times.and_then(|times| times.start), part.at, usage);
                }
                // Anonymized exports have the same id for all calls.
                let id = part.value.call.map(Text::read).unwrap_or_default();
                let is_first = ids.insert(Fingerprint::of(id.as_bytes()));
                let id = if is_first { id.into() } else { format!("{response}/{nth}").into() };
                self.read_call(id, part, &response);
            } else {
                self.read_part(part);
            }
        }
        self.read_end(usage);
    }

    /// Reads a part that is not a call.
    fn read_part(&mut self, part: &Located<'_, Part<'_>>) {
        let Located { at, value: part, .. } = part;
        let times = part.time.as_ref();
        let start = times.and_then(|times| times.start);
        let end = times.and_then(|times| times.end).or(start);
        match part.content() {
            Some(Content::Spoken(kind)) => self.push(end, *at, kind),
            Some(Content::Noted(kind)) => self.push(start, *at, kind),
            Some(Content::Empty) => {}
            None => self.sink.skip_part(UNKNOWN_PART),
        }
    }

    /// Reads the end of a response: its usage without a call, its error, the end of its turn.
    fn read_end(&mut self, usage: Option<EventKind>) {
        let info = self.info;
        let latest = self.events.iter().map(|event| event.at).max();
        let completed = info.time.as_ref().and_then(|times| times.end);
        let end = completed.max(latest.map(Millis));
        let offset = self.parts.last().map_or(0, |part| part.at);
        if let Some(usage) = usage {
            self.push(end, offset, usage);
        }
        if let Some(kind) = info.ending() {
            self.push(end, offset, kind);
        }
    }

    /// Returns the usage of a response: the sum over its steps, or its own total.
    fn usage(&self, id: &str) -> Option<EventKind> {
        let parts = self.parts.iter().map(|part| &part.value);
        let steps = || parts.clone().filter(|part| part.is("step-finish"));
        let mut tokens = steps()
            .filter_map(|step| step.usage.as_ref())
            .fold(Tokens::default(), |sum, usage| sum.plus(usage.tokens()));
        let mut cost_usd = steps().filter_map(|step| step.cost_usd).sum();
        if tokens.total() == 0 {
            tokens = self.info.usage.as_ref().map(Usage::tokens).unwrap_or_default();
            cost_usd = self.info.cost_usd.unwrap_or(0.0);
        }
        model_call(id, self.info.model.map(Text::boxed), tokens, cost_usd)
    }
}
