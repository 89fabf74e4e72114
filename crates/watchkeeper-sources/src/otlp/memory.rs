//! The memory of a receiver: the sessions, their open calls, and the traces.

use std::{collections::VecDeque, mem, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{EventSink, TurnEffect},
    embed::Suppliers,
};

use super::{
    record::trace_key,
    step::{Action, Place, Step, TRACES},
};
use crate::{recent::Recent, tool_names::ToolNames};

/// The smallest number of recent agents, calls and traces that are kept.
const MAX_RECENT: usize = 1 << 14;
/// The largest number of spans that wait for the session of their trace.
const MAX_HELD: usize = 1 << 10;
/// The largest number of bytes of these spans.
const MAX_HELD_BYTES: usize = 8 << 20;
/// The longest time between the end of such a span and the end of another one of its trace.
/// Exporters send every five seconds.
const MAX_HOLD: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The agents with an event, by session and agent.
    agents: Recent<Agent, MAX_RECENT>,
    /// The calls without a result, by session and call.
    open_calls: Recent<(), MAX_RECENT>,
    /// The sessions of traces.
    traces: Recent<SessionId, MAX_RECENT>,
    held: VecDeque<HeldSpan>,
    n_held_bytes: usize,
    suppliers: Suppliers,
    pub(super) tools: ToolNames,
    /// The steps of the current request.
    steps: Vec<(Arc<Place>, Step)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Agent {
    has_started: bool,
    /// Whether the latest event has ended the turn.
    is_turn_over: bool,
    n_open_calls: u32,
    /// The number of failed attempts since the latest response.
    n_failures: u32,
    /// The time of the latest event.
    latest: Option<Timestamp>,
    /// The end of the latest turn, if its last span has come and nothing after it.
    turn_ended_at: Option<Timestamp>,
}

/// A span without a session of its own.
#[derive(Debug)]
pub(super) struct HeldSpan {
    pub(super) trace: u128,
    pub(super) end: Timestamp,
    /// The size of the record.
    pub(super) n_bytes: usize,
    /// The place, except for its session.
    pub(super) place: Place,
    pub(super) steps: Vec<Step>,
}

impl Memory {
    /// Adds steps of the current request.
    pub(super) fn add(&mut self, place: Place, steps: impl IntoIterator<Item = Step>) {
        let place = Arc::new(place);
        self.steps.extend(steps.into_iter().map(|step| (place.clone(), step)));
    }

    /// Returns the session of a trace.
    pub(super) fn session_of(&self, trace: u128) -> Option<&SessionId> {
        self.traces.get(trace_key(trace))
    }

    /// Sets the session of a trace, unless it has one, and adds the spans that waited for it.
    pub(super) fn identify(&mut self, trace: u128, session: &SessionId) {
        let session = match self.session_of(trace) {
            Some(session) => session.clone(),
            None => {
                self.traces.insert(trace_key(trace), session.clone());
                session.clone()
            }
        };
        if !self.holds(trace) {
            return;
        }
        let (ready, held): (VecDeque<_>, _) =
            mem::take(&mut self.held).into_iter().partition(|span| span.trace == trace);
        self.held = held;
        for HeldSpan { n_bytes, mut place, steps, .. } in ready {
            self.n_held_bytes -= n_bytes;
            place.session = session.clone();
            self.add(place, steps);
        }
    }

    /// Returns whether a span of a trace waits.
    pub(super) fn holds(&self, trace: u128) -> bool {
        self.held.iter().any(|span| span.trace == trace)
    }

    /// Adds the steps of a span once the session of its trace is known.
    pub(super) fn hold(&mut self, span: HeldSpan) {
        let (trace, end) = (span.trace, span.end);
        self.n_held_bytes += span.n_bytes;
        self.held.push_back(span);
        let is_old = |span: &HeldSpan| MAX_HOLD <= end.duration_since(span.end);
        if self.held.iter().any(|span| span.trace == trace && is_old(span)) {
            self.give_up(trace);
        }
        while MAX_HELD < self.held.len() || MAX_HELD_BYTES < self.n_held_bytes {
            let Some(oldest) = self.held.front() else { break };
            self.give_up(oldest.trace);
        }
    }

    /// Adds all spans that wait.
    pub(super) fn release_all(&mut self) {
        while let Some(span) = self.held.front() {
            self.give_up(span.trace);
        }
    }

    /// Makes a session of a trace that names none.
    fn give_up(&mut self, trace: u128) {
        self.identify(trace, &session_of_trace(trace));
    }

    /// Emits the steps of the request in order of time. If they do not come from a file, sets
    /// the line of each event.
    pub(super) fn emit(&mut self, sink: &mut EventSink<'_>, is_in_file: bool) {
        let mut steps = mem::take(&mut self.steps);
        steps.sort_by_key(|(_, step)| step.at);
        for (place, step) in steps.drain(..) {
            if step.key.is_some_and(|key| !sink.is_new(key)) {
                continue;
            }
            if !is_in_file {
                // The time identifies the record in each run, and in each retry.
                sink.at_line(step.at.as_millisecond().unsigned_abs());
            }
            self.emit_step(&place, step, sink);
        }
        self.steps = steps;
    }

    fn emit_step(&mut self, place: &Place, step: Step, sink: &mut EventSink<'_>) {
        let Step { at, action, .. } = step;
        let stream = stream_key(&place.session, place.agent.as_ref());
        let mut agent = self.agents.get(stream).copied().unwrap_or_default();
        let is_of_span = place.supplier == TRACES;
        let is_last_of_turn = matches!(action, Action::EndTurn);
        let Some(kind) = self.event_of(action, stream, &mut agent) else {
            self.agents.insert(stream, agent);
            return;
        };
        let is_admitted = self.suppliers.admits(&place.session, &kind, place.supplier);
        if !is_admitted || is_of_span && agent.is_late(&kind, at) {
            return;
        }
        self.count_calls(&kind, stream, is_last_of_turn, &mut agent);
        self.emit_starts(place, at, &kind, sink);
        let emit = |kind, sink: &mut EventSink<'_>| {
            sink.event(at, &place.session, place.agent.as_ref(), kind);
        };
        if is_of_span && agent.lacks_prompt(&kind, at) {
            // The prompt is in the span of this turn, which comes last.
            let prompt = EventKind::Prompt { text: "".into(), synthetic: false };
            if self.suppliers.admits(&place.session, &prompt, TRACES) {
                emit(prompt, sink);
            }
        }
        let repeats_end = agent.is_turn_over && kind == EventKind::TurnEnd;
        agent.observe(&kind, at, is_of_span && is_last_of_turn);
        self.agents.insert(stream, agent);
        if !repeats_end {
            emit(kind, sink);
        }
    }

    /// Returns the event of an action, if it has one.
    fn event_of(
        &mut self,
        action: Action,
        stream: Fingerprint,
        agent: &mut Agent,
    ) -> Option<EventKind> {
        match action {
            Action::ExpectResult(call) => {
                agent.open(&mut self.open_calls, call_key(stream, &call));
                None
            }
            Action::FailedAttempt(message) => {
                agent.n_failures = agent.n_failures.saturating_add(1);
                Some(EventKind::Error { message, retry: Some(agent.n_failures) })
            }
            Action::EndTurn => Some(EventKind::TurnEnd),
            // The turn goes on while a call runs.
            Action::Event(EventKind::TurnEnd) if 0 < agent.n_open_calls => None,
            Action::Event(kind) => Some(kind),
        }
    }

    /// Counts the open calls of an agent after an event.
    fn count_calls(
        &mut self,
        kind: &EventKind,
        stream: Fingerprint,
        is_last_of_turn: bool,
        agent: &mut Agent,
    ) {
        match kind {
            EventKind::ToolCall(call) => {
                agent.open(&mut self.open_calls, call_key(stream, &call.id));
            }
            EventKind::ToolResult(result) => {
                let open = self.open_calls.remove(call_key(stream, &result.id)).is_some();
                agent.n_open_calls = agent.n_open_calls.saturating_sub(open.into());
            }
            _ if is_last_of_turn || is_of_person(kind) => agent.n_open_calls = 0,
            _ => {}
        }
    }

    /// Emits the start of the session and of the agent, unless they have started.
    fn emit_starts(
        &mut self,
        place: &Place,
        at: Timestamp,
        kind: &EventKind,
        sink: &mut EventSink<'_>,
    ) {
        let main = stream_key(&place.session, None);
        if self.starts(main) && !matches!(kind, EventKind::SessionStart(_)) {
            let start = EventKind::SessionStart(place.start.clone());
            if self.suppliers.admits(&place.session, &start, place.supplier) {
                sink.event(at, &place.session, None, start);
            }
        }
        let Some(agent) = &place.agent else { return };
        let is_boundary = matches!(kind, EventKind::AgentStart | EventKind::AgentEnd);
        if self.starts(stream_key(&place.session, Some(agent))) && !is_boundary {
            sink.event(at, &place.session, Some(agent), EventKind::AgentStart);
        }
    }

    /// Marks an agent as started. Returns whether it had not started.
    fn starts(&mut self, stream: Fingerprint) -> bool {
        let agent = self.agents.get(stream).copied().unwrap_or_default();
        self.agents.insert(stream, Agent { has_started: true, ..agent });
        !agent.has_started
    }
}

impl Agent {
    /// Opens a call, unless it is open.
    fn open(&mut self, open_calls: &mut Recent<(), MAX_RECENT>, call: Fingerprint) {
        if open_calls.get(call).is_none() {
            open_calls.insert(call, ());
            self.n_open_calls = self.n_open_calls.saturating_add(1);
        }
    }

    /// Returns whether the prompt or the end of a turn comes after later events. The span of a
    /// turn comes after the spans in it, and the next turn may have begun.
    fn is_late(&self, kind: &EventKind, at: Timestamp) -> bool {
        (is_of_person(kind) || *kind == EventKind::TurnEnd) && Some(at) < self.latest
    }

    /// Returns whether an event begins a turn whose prompt has not come.
    fn lacks_prompt(&self, kind: &EventKind, at: Timestamp) -> bool {
        let is_next_turn = self.turn_ended_at.is_some_and(|ended_at| ended_at < at);
        is_next_turn && !is_of_person(kind) && *kind != EventKind::TurnEnd
    }

    /// Updates the agent from an event, which may be the last one of a turn.
    fn observe(&mut self, kind: &EventKind, at: Timestamp, is_last_of_turn: bool) {
        self.has_started = true;
        self.latest = self.latest.max(Some(at));
        let is_next_turn = self.turn_ended_at.is_some_and(|ended_at| ended_at < at);
        if is_last_of_turn {
            self.turn_ended_at = Some(at);
        } else if is_next_turn || is_of_person(kind) {
            self.turn_ended_at = None;
        }
        if matches!(kind, EventKind::ModelCall(_)) {
            self.n_failures = 0;
        }
        match kind.turn_effect() {
            TurnEffect::Ends => self.is_turn_over = true,
            TurnEffect::Continues => self.is_turn_over = false,
            _ => {}
        }
    }
}

/// Returns whether an event is the prompt of a person.
fn is_of_person(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Prompt { synthetic: false, .. })
}

fn call_key(stream: Fingerprint, call: &str) -> Fingerprint {
    stream.and(Fingerprint::of(call))
}

/// Returns the session of a trace that names none.
pub(super) fn session_of_trace(trace: u128) -> SessionId {
    SessionId::from(format!("{trace:032x}"))
}

fn stream_key(session: &SessionId, agent: Option<&AgentId>) -> Fingerprint {
    let session = Fingerprint::of(session.as_str());
    agent.map_or(session, |agent| session.and(Fingerprint::of(agent.as_str())))
}
