//! The memory of a receiver: the sessions, their open calls, and the traces.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, SessionId,
    author::{EventSink, TurnEffect},
    embed::Suppliers,
};

use super::{
    record::trace_key,
    step::{Action, LOGS, Place, Step, TRACES},
};
use crate::{recent::Recent, tool_names::ToolNames};

/// The smallest number of recent agents, calls and traces that are kept.
const MAX_RECENT: usize = 1 << 14;
/// The largest number of spans that wait.
const MAX_HELD: usize = 1 << 10;
/// The largest number of bytes of these spans.
const MAX_HELD_BYTES: usize = 8 << 20;
/// The time between two releases: exporters send every five seconds.
const RELEASE_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// The longest time for which a turn goes on after a response that nothing follows.
const MAX_END_DELAY: SignedDuration = SignedDuration::from_secs(10);
/// The longest time if the client has announced a call. Its tool may wait for a person.
const MAX_END_DELAY_OF_CALL: SignedDuration = SignedDuration::from_secs(60);
/// The longest time between the end of such a span and the end of another one that waits for the
/// same. Exporters send every five seconds.
const MAX_HOLD: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The agents with an event, by session and agent.
    agents: Recent<Agent, MAX_RECENT>,
    /// The calls without a result, by session and call.
    open_calls: Recent<OpenCall, MAX_RECENT>,
    /// The responses that may have ended their turn, in order of arrival.
    ended_responses: VecDeque<EndedResponse>,
    /// The sessions of traces.
    traces: Recent<SessionId, MAX_RECENT>,
    /// The suppliers of sessions whose log events and spans contain the same.
    sole_suppliers: Recent<&'static str, MAX_RECENT>,
    held: VecDeque<HeldSpan>,
    n_held_bytes: usize,
    suppliers: Suppliers,
    pub(super) tools: ToolNames,
    /// The reasons for which a record was skipped.
    skip_reasons: BTreeSet<&'static str>,
    /// The steps of the current request.
    steps: Vec<(Arc<Place>, Step)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpenCall {
    /// Announced. The call comes with its result.
    Expected,
    /// Emitted.
    Running,
}

/// A response that may have ended its turn. It is forgotten if something has followed.
#[derive(Debug)]
struct EndedResponse {
    place: Arc<Place>,
    at: Timestamp,
    /// The time that has passed since it came.
    waited: SignedDuration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Agent {
    has_started: bool,
    /// Whether the latest event has ended the turn.
    is_turn_over: bool,
    n_running_calls: u32,
    n_expected_calls: u32,
    /// The end of the latest response, if it may have ended the turn and nothing has followed.
    response_ended_at: Option<Timestamp>,
    /// The number of failed attempts since the latest response.
    n_failures: u32,
    /// The time of the latest event.
    latest: Option<Timestamp>,
    /// The end of the latest turn, if its last span has come and nothing after it.
    turn_ended_at: Option<Timestamp>,
}

/// A span that waits for something else.
#[derive(Debug)]
pub(super) struct HeldSpan {
    pub(super) awaited: Awaited,
    pub(super) end: Timestamp,
    /// It waited already when the old spans were last released.
    pub(super) is_old: bool,
    /// Whether log events of its session contain the same, and more.
    pub(super) has_logs: bool,
    /// The size of the record.
    pub(super) n_bytes: usize,
    /// The place. Until the session is known, it has the made-up session of the trace.
    pub(super) place: Place,
    pub(super) steps: Vec<Step>,
}

/// What a span waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The session of its trace.
    SessionOf(u128),
    /// The log events of its session, in whose place the span counts if none come.
    LogsOf(SessionId),
}

impl Memory {
    /// Adds steps of the current request.
    pub(super) fn add(&mut self, place: Place, steps: impl IntoIterator<Item = Step>) {
        let place = Arc::new(place);
        self.steps.extend(steps.into_iter().map(|step| (place.clone(), step)));
    }

    /// Returns whether no record was skipped for a reason before.
    pub(super) fn is_first_skipped(&mut self, reason: &'static str) -> bool {
        self.skip_reasons.insert(reason)
    }

    #[cfg(test)]
    pub(super) fn versions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.steps.iter().filter_map(|(place, _)| place.start.version.as_ref())
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
        self.release_trace(trace, &session);
    }

    /// Lets log events be the only supplier of a session, unless its spans are. Returns whether
    /// its log events count.
    ///
    /// Both contain the same. Two suppliers would not agree about the end of a turn: a result of
    /// one may come before the call of the other.
    pub(super) fn admits_logs(&mut self, session: &SessionId) -> bool {
        let supplier = self.sole_supplier(session).unwrap_or(LOGS);
        if supplier == LOGS {
            self.supply(session, LOGS);
        }
        supplier == LOGS
    }

    fn sole_supplier(&self, session: &SessionId) -> Option<&'static str> {
        self.sole_suppliers.get(stream_key(session, None)).copied()
    }

    /// Sets the only supplier of a session, and adds or drops the spans that waited for it.
    fn supply(&mut self, session: &SessionId, supplier: &'static str) {
        self.sole_suppliers.insert(stream_key(session, None), supplier);
        for span in self.take_held(&Awaited::LogsOf(session.clone())) {
            if supplier == TRACES {
                self.add(span.place, span.steps);
            }
        }
    }

    /// Adds the spans of a trace that waited for its session.
    fn release_trace(&mut self, trace: u128, session: &SessionId) {
        for mut span in self.take_held(&Awaited::SessionOf(trace)) {
            span.place.session = session.clone();
            if let Some(span) = self.add_unless_awaiting_logs(span) {
                self.push_held(span);
            }
        }
    }

    /// Adds the steps of a span whose session is known, unless log events supply them or may do.
    pub(super) fn add_span(&mut self, span: HeldSpan) {
        if let Some(span) = self.add_unless_awaiting_logs(span) {
            self.hold(span);
        }
    }

    fn add_unless_awaiting_logs(&mut self, span: HeldSpan) -> Option<HeldSpan> {
        let session = &span.place.session;
        match self.sole_supplier(session).filter(|_| span.has_logs) {
            Some(LOGS) => None,
            None if span.has_logs && !span.steps.is_empty() => {
                Some(HeldSpan { awaited: Awaited::LogsOf(session.clone()), ..span })
            }
            _ => {
                self.add(span.place, span.steps);
                None
            }
        }
    }

    fn push_held(&mut self, span: HeldSpan) {
        self.n_held_bytes += span.n_bytes;
        self.held.push_back(span);
    }

    fn take_held(&mut self, awaited: &Awaited) -> VecDeque<HeldSpan> {
        if !self.holds(awaited) {
            return VecDeque::new();
        }
        let (ready, held): (VecDeque<_>, _) =
            mem::take(&mut self.held).into_iter().partition(|span| span.awaited == *awaited);
        self.held = held;
        self.n_held_bytes -= ready.iter().map(|span| span.n_bytes).sum::<usize>();
        ready
    }

    /// Returns whether a span waits for something.
    pub(super) fn holds(&self, awaited: &Awaited) -> bool {
        self.held.iter().any(|span| span.awaited == *awaited)
    }

    /// Adds the steps of a span once the awaited has come.
    pub(super) fn hold(&mut self, span: HeldSpan) {
        let (awaited, end) = (span.awaited.clone(), span.end);
        self.push_held(span);
        let is_old = |span: &HeldSpan| MAX_HOLD <= end.duration_since(span.end);
        if self.held.iter().any(|span| span.awaited == awaited && is_old(span)) {
            self.give_up(&awaited);
        }
        while MAX_HELD < self.held.len() || MAX_HELD_BYTES < self.n_held_bytes {
            let Some(oldest) = self.held.front() else { break };
            self.give_up(&oldest.awaited.clone());
        }
    }

    /// Returns whether a span or the end of a turn waits.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty() || !self.ended_responses.is_empty()
    }

    /// Adds the spans of traces that waited at the previous call, and the ends of turns that have
    /// waited for long enough.
    pub(super) fn release_old(&mut self) {
        for response in &mut self.ended_responses {
            response.waited += RELEASE_INTERVAL;
        }
        self.end_turns(|response, longest| longest <= response.waited);
        while let Some(span) = self.held.iter().find(|span| span.is_old) {
            self.give_up(&span.awaited.clone());
        }
        for span in &mut self.held {
            span.is_old = true;
        }
    }

    /// Adds all spans and ends of turns that wait.
    pub(super) fn release_all(&mut self) {
        self.end_turns(|_, _| true);
        while let Some(span) = self.held.front() {
            self.give_up(&span.awaited.clone());
        }
    }

    /// Waits no longer. A trace that names no session is one.
    pub(super) fn give_up(&mut self, awaited: &Awaited) {
        match awaited {
            Awaited::SessionOf(trace) => self.identify(*trace, &session_of_trace(*trace)),
            Awaited::LogsOf(session) => self.supply(session, TRACES),
        }
    }

    /// Adds the ends of turns whose response nothing has followed, if `is_due` with the longest
    /// time that they wait.
    fn end_turns(&mut self, is_due: impl Fn(&EndedResponse, SignedDuration) -> bool) {
        let Self { agents, steps, ended_responses, .. } = self;
        ended_responses.retain(|response| {
            let EndedResponse { place, at, .. } = response;
            let stream = stream_key(&place.session, place.agent.as_ref());
            let agent = agents.get(stream).filter(|agent| agent.response_ended_at == Some(*at));
            let Some(agent) = agent else { return false };
            let is_due = is_due(response, agent.longest_end_delay());
            if is_due {
                steps.push((place.clone(), Step::new(*at, EventKind::TurnEnd)));
            }
            !is_due
        });
    }

    /// Emits the steps of the request in order of time. If they do not come from a file, sets
    /// the line of each event. In a file, time passes by records.
    pub(super) fn emit(&mut self, sink: &mut EventSink<'_>, is_in_file: bool) {
        let latest = self.steps.iter().map(|(_, step)| step.at).max();
        self.emit_steps(sink, is_in_file);
        if let Some(latest) = latest.filter(|_| is_in_file) {
            self.end_turns(|response, longest| longest <= latest.duration_since(response.at));
        }
        if MAX_RECENT < self.ended_responses.len() {
            self.end_turns(|_, _| true);
        }
        self.emit_steps(sink, is_in_file);
    }

    fn emit_steps(&mut self, sink: &mut EventSink<'_>, is_in_file: bool) {
        let mut steps = mem::take(&mut self.steps);
        steps.sort_by_key(|(_, step)| step.at);
        for (place, step) in steps.drain(..) {
            if step.key.is_some_and(|key| !sink.is_new(key)) {
                continue;
            }
            for step in self.turn_end_before(&place, &step).into_iter().chain([step]) {
                if !is_in_file {
                    // The time identifies the record in each run, and in each retry.
                    sink.at_line(step.at.as_millisecond().unsigned_abs());
                }
                self.emit_step(&place, step, sink);
            }
        }
        self.steps = steps;
    }

    /// Returns the end of a turn that waits until the prompt of the next one.
    fn turn_end_before(&self, place: &Place, step: &Step) -> Option<Step> {
        let stream = stream_key(&place.session, place.agent.as_ref());
        let ended_at = self.agents.get(stream)?.response_ended_at?;
        let is_prompt = matches!(&step.action, Action::Event(kind) if is_of_person(kind));
        is_prompt.then(|| Step::new(ended_at, EventKind::TurnEnd))
    }

    fn emit_step(&mut self, place: &Arc<Place>, step: Step, sink: &mut EventSink<'_>) {
        let Step { at, action, .. } = step;
        let stream = stream_key(&place.session, place.agent.as_ref());
        let mut agent = self.agents.get(stream).copied().unwrap_or_default();
        let is_of_span = place.supplier == TRACES;
        let is_last_of_turn = matches!(action, Action::EndTurn);
        if matches!(action, Action::EndResponse) && agent.n_running_calls == 0 {
            agent.response_ended_at = Some(at);
            let waited = SignedDuration::ZERO;
            self.ended_responses.push_back(EndedResponse { place: place.clone(), at, waited });
        }
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
                agent.expect(&mut self.open_calls, call_key(stream, &call));
                None
            }
            Action::EndResponse => None,
            Action::FailedAttempt(message) => {
                agent.n_failures = agent.n_failures.saturating_add(1);
                Some(EventKind::Error { message, retry: Some(agent.n_failures) })
            }
            Action::EndTurn => Some(EventKind::TurnEnd),
            // The turn goes on while a call runs.
            Action::Event(EventKind::TurnEnd) if 0 < agent.n_running_calls => None,
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
                agent.close(self.open_calls.remove(call_key(stream, &result.id)));
            }
            _ if is_last_of_turn || is_of_person(kind) => {
                (agent.n_running_calls, agent.n_expected_calls) = (0, 0);
            }
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
            let start = place.start.event();
            if self.suppliers.admits(&place.session, &start, place.supplier) {
                sink.event(at, &place.session, None, start);
            }
        }
        let Some(agent) = &place.agent else { return };
        let is_boundary = matches!(kind, EventKind::AgentStart { .. } | EventKind::AgentEnd);
        if self.starts(stream_key(&place.session, Some(agent))) && !is_boundary {
            sink.event(at, &place.session, Some(agent), EventKind::AgentStart { parent: None });
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
    /// Expects a call, unless it is open.
    fn expect(&mut self, open_calls: &mut Recent<OpenCall, MAX_RECENT>, call: Fingerprint) {
        if open_calls.get(call).is_none() {
            open_calls.insert(call, OpenCall::Expected);
            self.n_expected_calls = self.n_expected_calls.saturating_add(1);
        }
    }

    /// Opens a call, unless it runs.
    fn open(&mut self, open_calls: &mut Recent<OpenCall, MAX_RECENT>, call: Fingerprint) {
        if open_calls.get(call) != Some(&OpenCall::Running) {
            self.close(open_calls.remove(call));
            open_calls.insert(call, OpenCall::Running);
            self.n_running_calls = self.n_running_calls.saturating_add(1);
        }
    }

    fn close(&mut self, call: Option<OpenCall>) {
        let n_calls = match call {
            Some(OpenCall::Expected) => &mut self.n_expected_calls,
            Some(OpenCall::Running) => &mut self.n_running_calls,
            None => return,
        };
        *n_calls = n_calls.saturating_sub(1);
    }

    /// Returns the longest time for which the turn goes on after a response that nothing follows.
    fn longest_end_delay(&self) -> SignedDuration {
        if 0 < self.n_expected_calls { MAX_END_DELAY_OF_CALL } else { MAX_END_DELAY }
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
            _ => return,
        }
        self.response_ended_at = None;
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
