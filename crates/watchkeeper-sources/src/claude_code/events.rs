//! The events of a line.

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Quota, SessionId,
    author::{ClientTotal, EventSink, SessionStart, Tokens, WaitingFor},
};

use super::{
    line::{ApiRequest, Line},
    state::{PossibleTurnEnd, State, agent_key},
};
use crate::{
    content::Content,
    json::{Number, Text},
};

/// The largest number of sub-agents in `State::awaited`.
const MAX_AWAITED: usize = 64;

/// Emits the events of a line.
pub(super) struct LineEvents<'l, 's> {
    pub(super) line: &'l Line<'l>,
    /// Whether the line is in a line of the agent that waits for its agent.
    pub(super) is_nested: bool,
    pub(super) context: Context,
    pub(super) state: &'l mut State,
    pub(super) sink: &'l mut EventSink<'s>,
}

/// The time, session and agent of a line.
pub(super) struct Context {
    pub(super) at: Timestamp,
    pub(super) session: SessionId,
    pub(super) agent: Option<AgentId>,
}

/// Types of lines without events.
pub(super) const IGNORED: &[&str] = &[
    "agent-name",
    "ai-title",
    "api-request",
    "api-request-blob",
    "api-request-shape",
    "atis-latch",
    "bridge-session",
    "custom-title",
    "file-history-snapshot",
    "frame-link",
    "last-prompt",
    "mode",
    "permission-mode",
    "pr-link",
    "queue-operation",
    "rate_limit_event",
    "relocated",
    "result",
    "started",
    "stream_event",
    "summary",
    "tag",
    "tool_progress",
    "tools-used",
    "worktree-state",
];

/// Reads a line.
pub(super) fn read(line: &mut Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let Some(kind) = line.kind else {
        return sink.skip_line("no type");
    };
    match kind.raw() {
        b"user" | b"assistant" => read_message(line, false, state, sink),
        // Versions up to 2.1.79 write the lines of a sub-agent into the file of the session
        // that waits for it.
        b"progress" => match nested_line(line) {
            Some(nested) => read_message(&nested, true, state, sink),
            None => read_progress(line, state, sink),
        },
        b"system" => read_system(line, state, sink),
        b"attachment" => read_attachment(line, state, sink),
        b"cost-state" => end_session(line, state, sink),
        b"result" if line.is_of_stream() => read_stream_result(line, state, sink),
        _ if IGNORED.iter().any(|ignored| kind.is(ignored)) => {}
        _ => sink.skip_part("unknown type of line"),
    }
}

/// Returns the line of a sub-agent in a line of the agent that waits for it.
fn nested_line<'a>(line: &mut Line<'a>) -> Option<Box<Line<'a>>> {
    let progress = line.progress.as_mut()?;
    let agent = progress.agent?;
    let is_message = |line: &mut Box<Line<'_>>| line.is("user") || line.is("assistant");
    let mut nested = progress.line.take_if(is_message)?;
    (nested.agent, nested.session) = (Some(agent), line.session);
    Some(nested)
}

fn read_message(line: &Line<'_>, is_nested: bool, state: &mut State, sink: &mut EventSink<'_>) {
    let Some(mut events) = LineEvents::begin(line, is_nested, state, sink) else {
        state.cut_attempts.take();
        return;
    };
    if line.is("user") { events.read_user() } else { events.read_assistant() }
}

/// Reads the progress of a call. The first line proves that the call does not wait
/// for permission. Hooks run before a person is asked, so their progress proves
/// nothing.
fn read_progress(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let progress = line.progress.as_ref().and_then(|progress| progress.kind);
    let (Some(progress), Some(call)) = (progress, line.parent_call) else { return };
    let key = Fingerprint::of(call.raw());
    let proves_run = progress.is("bash_progress") || progress.is("mcp_progress");
    if !proves_run || state.running.get(key).is_some() {
        return;
    }
    state.running.insert(key, ());
    if let Some(mut events) = LineEvents::begin(line, false, state, sink) {
        events.emit(EventKind::Resumed(WaitingFor::Permission));
    }
}

/// Reads a request to the model. If the client gave up the previous response, which sent
/// nothing for minutes, this is the only line about it.
pub(super) fn read_request(request: &ApiRequest<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let follows_silence = state.cut_attempts.add_request(request);
    let (Some(session), true) = (state.started.clone(), follows_silence) else { return };
    let Some(at) = state.time(request.timestamp) else { return };
    let message = "the client gave up a response that had stopped".into();
    let kind = EventKind::Error { message, retry: Some(0) };
    sink.event(at, &session, state.agent.as_ref(), kind);
}

/// Returns the quota that a message of the client reports as used up: `Claude AI usage limit
/// reached|1760000000`, with the second at which it starts again.
fn used_up(message: &str) -> Option<Quota> {
    let second = message.trim().strip_prefix("Claude AI usage limit reached|")?;
    let resets_at = Timestamp::from_second(second.parse().ok()?).ok();
    Some(Quota { name: "usage".into(), used_percent: 100.0, window: None, resets_at })
}

fn read_system(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let compaction = line.compaction.as_ref();
    let kind = match line.subtype.map(Text::raw).unwrap_or_default() {
        b"init" => {
            state.stream_start = SessionStart {
                cwd: line.cwd.map(Text::boxed),
                version: line.stream_version.map(Text::boxed),
                model: line.model.map(Text::boxed),
                ..SessionStart::default()
            };
            return;
        }
        b"task_notification" => return end_task(line, state, sink),
        b"api_error" | b"api_retry" => {
            let message = line.error.map(|error| error.0);
            state.cut_attempts.add_error(message);
            let retry = line.retry.and_then(|retry| u32::try_from(retry).ok()).unwrap_or(0);
            let message = message.map(Text::boxed).unwrap_or_default();
            EventKind::Error { message, retry: Some(retry) }
        }
        b"compact_boundary" => EventKind::Compaction {
            before_tokens: compaction.and_then(|compaction| compaction.before_tokens),
            after_tokens: compaction.and_then(|compaction| compaction.after_tokens),
        },
        b"turn_duration" | b"stop_hook_summary" => EventKind::TurnEnd,
        _ => return,
    };
    let Some(mut events) = LineEvents::begin(line, false, state, sink) else { return };
    if kind == EventKind::TurnEnd {
        return events.end_turn();
    }
    events.continue_turn(None);
    events.emit(kind);
    let trigger = compaction.and_then(|compaction| compaction.trigger);
    if trigger.is_some_and(|trigger| trigger.is("manual")) {
        // A person requested the compaction, between two turns.
        events.end_turn();
    }
}

fn read_attachment(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let Some(attachment) = &line.attachment else { return };
    let is = |kind| attachment.kind.is_some_and(|own| own.is(kind));
    if is("queued_command") {
        let prompt = attachment.prompt.as_ref().map(Content::text).unwrap_or_default();
        if let Some(mut events) = LineEvents::begin(line, false, state, sink) {
            events.read_prompt(&prompt, false);
        }
    } else if is("hook_stopped_continuation")
        && let Some(mut events) = LineEvents::begin(line, false, state, sink)
    {
        events.end_turn();
    }
}

/// Emits the end of the session. A session that ends normally ends with a line
/// with its costs, which has no time but a start and a duration.
fn end_session(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let (Some(at), Some(started)) = (state.latest, state.started.clone()) else { return };
    if line.session.is_some_and(|session| session.read() != started.as_str()) {
        return;
    }
    let ended_at = line.start_time.zip(line.total_duration).and_then(|(start, duration)| {
        let millis = i64::try_from(start.checked_add(duration)?).ok()?;
        Timestamp::from_millisecond(millis).ok()
    });
    let at = ended_at.map_or(at, |ended_at| at.max(ended_at));
    state.client_total = client_total(line).or(state.client_total);
    state.possible_turn_end = None;
    state.is_turn_over = true;
    state.latest = Some(at);
    sink.event(at, &started, None, EventKind::SessionEnd { reason: None });
}

/// Returns the totals of the client in a line.
fn client_total(line: &Line<'_>) -> Option<ClientTotal> {
    let totals = line.model_usage.iter().flat_map(|models| &models.0);
    let tokens = totals.fold(Tokens::default(), |sum, (_, model)| sum.plus(model.tokens()));
    let cost_usd = line.total_cost.and_then(Number::parse);
    let cost_usd = cost_usd.filter(|cost: &f64| cost.is_finite() && 0.0 <= *cost);
    (0 < tokens.total()).then_some(ClientTotal { tokens: Some(tokens), cost_usd })
}

/// Reads the line of a stream at the end of each run of turns, with the totals so far.
fn read_stream_result(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    state.client_total = client_total(line).or(state.client_total);
    if let Some(mut events) = LineEvents::begin(line, false, state, sink) {
        events.end_turn();
    }
}

/// Reads the end of a task in the background. Only the tasks that are sub-agents have lines.
fn end_task(line: &Line<'_>, state: &mut State, sink: &mut EventSink<'_>) {
    let Some(task) = line.task else { return };
    if line.status.is_some_and(|status| status.is("running")) {
        return;
    }
    if let Some(mut events) = LineEvents::begin(line, false, state, sink) {
        events.end_agent(&task.read());
    }
}

impl<'l, 's> LineEvents<'l, 's> {
    /// Determines the time, session and agent of a line, and emits their start.
    ///
    /// Returns `None` if the line was read before, in this file or in the file that it was
    /// copied from, and counts a skipped line if there is no time.
    fn begin(
        line: &'l Line<'l>,
        is_nested: bool,
        state: &'l mut State,
        sink: &'l mut EventSink<'s>,
    ) -> Option<Self> {
        if let Some(uuid) = line.uuid
            && !uuid.raw().is_empty()
            && !sink.is_new(Fingerprint::of(uuid.raw()))
        {
            return None;
        }
        let Some(at) = state.time_of(line) else {
            sink.skip_line("no time");
            return None;
        };
        state.identify(line.session.or(line.stream));
        let agent = state.agent_of(line);
        let context = Context { at, session: state.session.clone(), agent };
        let mut events = Self { line, is_nested, context, state, sink };
        events.emit_start();
        Some(events)
    }

    /// Emits the start of the session or the agent, unless it has started.
    fn emit_start(&mut self) {
        let Context { session, agent, .. } = &self.context;
        if let Some(agent) = agent {
            let key = Fingerprint::of(session.as_str()).and(agent_key(agent.as_str()));
            if self.state.agents.get(key).is_none() {
                self.state.agents.insert(key, ());
                if self.is_nested && self.state.awaited.len() < MAX_AWAITED {
                    self.state.awaited.push(agent.clone());
                }
                // Only a stream names the call that started the agent.
                let call = self.line.delegation.map(|call| Fingerprint::of(call.raw()));
                let parent = call.and_then(|call| self.state.delegations.get(call)?.clone());
                self.emit(EventKind::AgentStart { parent });
            }
        } else if self.state.started.as_ref() != Some(session) {
            self.state.started = Some(session.clone());
            let start = if self.line.is_of_stream() {
                self.state.stream_start.clone()
            } else {
                SessionStart {
                    cwd: self.line.cwd.map(Text::boxed),
                    version: self.line.version.map(Text::boxed),
                    ..SessionStart::default()
                }
            };
            self.emit(EventKind::SessionStart(start));
        }
    }

    pub(super) fn emit(&mut self, kind: EventKind) {
        self.context.emit(kind, self.sink);
    }

    fn read_assistant(&mut self) {
        let Some(message) = &self.line.message else {
            return self.sink.skip_line("no message");
        };
        let blocks = message.blocks();
        let texts = || blocks.iter().filter_map(|block| block.text);
        // In a stream, the error is the only mark.
        let has_error = self.line.is_of_stream() && self.line.error.is_some();
        if has_error || self.line.is_api_error == Some(true) {
            // The usage of the attempts remains unknown.
            self.state.cut_attempts.take();
            self.state.is_turn_over = self.context.agent.is_none();
            let message = texts().next().map(Text::boxed).unwrap_or_default();
            if let Some(quota) = used_up(&message) {
                self.emit(EventKind::Quota(quota));
            }
            return self.emit(EventKind::Error { message, retry: None });
        }
        if message.model.is_some_and(|model| model.is("<synthetic>")) {
            // The client wrote this message itself, without a model call. An earlier message
            // may have ended the turn hours before.
            self.end_implicit_turn();
            return self.end_turn();
        }
        let id = message.id.map(|id| Fingerprint::of(id.raw()));
        self.continue_turn(id);
        self.read_model_calls(message);
        for block in blocks {
            if let Some(text) = block.thinking {
                self.emit(EventKind::Thinking { text: text.boxed() });
            } else if let (Some(id), Some(name)) = (block.id, block.name) {
                self.read_call(id, name, block, message);
            } else if let Some(text) = block.text {
                self.emit(EventKind::Message { text: text.boxed(), delta: false });
            }
        }
        let stop = message.stop_reason.map(Text::raw);
        let is_last =
            matches!(stop, Some(b"end_turn" | b"stop_sequence" | b"max_tokens" | b"refusal"));
        let has_text = texts().next().is_some();
        let has_calls = blocks.iter().any(|block| block.name.is_some());
        if is_last && has_text {
            self.end_turn();
        } else if is_last || stop.is_none() && has_text && !has_calls {
            let (at, agent) = (self.context.at, self.context.agent.clone());
            self.state.possible_turn_end = Some(PossibleTurnEnd { at, agent, message: id });
        }
    }
}

impl Context {
    fn emit(&self, kind: EventKind, sink: &mut EventSink<'_>) {
        sink.event(self.at, &self.session, self.agent.as_ref(), kind);
    }

    /// Emits the end of the agent's turn. An interrupted agent stops the agents that it waits
    /// for, too.
    pub(super) fn end_turn(&self, state: &mut State, sink: &mut EventSink<'_>) {
        state.possible_turn_end = None;
        let is_main = self.agent.is_none();
        if !is_main || !state.is_turn_over {
            state.is_turn_over |= is_main;
            self.emit(EventKind::TurnEnd, sink);
        }
        if is_main {
            for agent in state.awaited.drain(..) {
                sink.event(self.at, &self.session, Some(&agent), EventKind::AgentEnd);
            }
        }
    }
}
