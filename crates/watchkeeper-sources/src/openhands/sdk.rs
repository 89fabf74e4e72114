//! Events of the SDK.

use std::borrow::Cow;

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, ToolClass, ToolResult,
    author::{Cause, EventSink, WaitingFor},
};

use super::{Conversation, MAX_PURPOSES, class_of_command, entry::Entry, result, state::State};
use crate::{
    document::{LineCounter, compact},
    json::{Malformed, Reader, Text, decode},
};

/// Arguments that do not change what a call does.
const VOLATILE: &[&str] = &["kind", "security_risk", "timeout"];
/// Arguments that do not change what a call does, in raw arguments of the model.
const VOLATILE_RAW: &[&str] = &["security_risk", "summary", "timeout"];

pub(super) fn read(
    to: &mut Conversation,
    kind: Text<'_>,
    entry: &Entry<'_>,
    lines: &mut LineCounter<'_>,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    match kind.raw() {
        b"SystemPromptEvent" => to.begin(sink),
        b"MessageEvent" => read_message(to, entry, sink),
        b"ActionEvent" => read_action(to, entry, sink),
        b"ObservationEvent" | b"AgentErrorEvent" | b"UserRejectObservation" => {
            read_observation(to, kind.raw(), entry, lines, sink);
        }
        b"ACPToolCallEvent" => read_foreign_call(to, entry, sink),
        b"Condensation" => {
            let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
            to.emit(kind, sink);
        }
        b"ConversationStateUpdateEvent" => read_update(to, entry, sink)?,
        b"ConversationErrorEvent" => {
            let code = entry.code.map(Text::read).unwrap_or_default();
            let detail = entry.error.map(Text::read).unwrap_or_default();
            let message = format!("{code}: {detail}").into();
            to.emit(EventKind::Error { message, retry: None }, sink);
            to.emit(EventKind::TurnEnd, sink);
        }
        b"PauseEvent" | b"InterruptEvent" => to.emit(EventKind::TurnEnd, sink),
        b"CondensationRequest"
        | b"CondensationSummaryEvent"
        | b"HookExecutionEvent"
        | b"LLMCompletionLogEvent"
        | b"StreamingDeltaEvent"
        | b"TokenEvent" => {}
        _ => sink.skip_part("unknown kind of event"),
    }
    Ok(())
}

fn read_message(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    let text = entry.message.boxed();
    if entry.source.is_some_and(|it| it.is("agent")) {
        emit_reasoning(to, entry, sink);
        to.emit_message(&text, sink);
        // A run ends when the model calls no tool.
        to.emit(EventKind::TurnEnd, sink);
    } else {
        let synthetic = !entry.source.is_some_and(|it| it.is("user"));
        to.emit_prompt(text, synthetic, sink);
    }
}

fn emit_reasoning(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    if let Some(text) = entry.reasoning.filter(|it| !it.raw().is_empty()) {
        to.emit(EventKind::Thinking { text: text.boxed() }, sink);
    }
}

/// Returns the id of a call. An error has no id of the event.
fn id<'a>(entry: &Entry<'a>) -> Cow<'a, str> {
    entry.call.map_or_else(|| decode(entry.id.unwrap_or_default()), Text::read)
}

fn read_action(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    emit_reasoning(to, entry, sink);
    to.emit_message(&entry.message.boxed(), sink);
    let tool = entry.tool.map_or("unknown".into(), Text::read);
    // Invalid arguments are reported as an error, and the call is not run.
    if tool == "finish" && entry.arguments.is_some() {
        to.emit_message(&entry.args.message.map(Text::read).unwrap_or_default(), sink);
        return to.emit(EventKind::TurnEnd, sink);
    }
    let class = class(&tool, entry.args.command);
    let volatile = if entry.arguments.is_some() { VOLATILE } else { VOLATILE_RAW };
    to.emit_call(&id(entry), (&tool, class), volatile, entry, sink);
}

/// Returns the class of a tool whose name does not determine the class.
fn class(tool: &str, command: Option<Text<'_>>) -> Option<ToolClass> {
    match tool {
        "bash" | "execute_bash" | "terminal" => Some(class_of_command(command)),
        "file_editor" | "planning_file_editor" | "str_replace_editor" => {
            let is_view = command.is_some_and(|it| it.is("view"));
            Some(if is_view { ToolClass::Read } else { ToolClass::Write })
        }
        "task_tracker" | "think" => Some(ToolClass::Other),
        _ => None,
    }
}

fn read_observation(
    to: &mut Conversation,
    kind: &[u8],
    entry: &Entry<'_>,
    lines: &mut LineCounter<'_>,
    sink: &mut EventSink<'_>,
) {
    let is_tool = |name| entry.tool.is_some_and(|tool| tool.is(name));
    if is_tool("finish") && kind != b"AgentErrorEvent" {
        return;
    }
    let id = id(entry);
    let result = match kind {
        b"ObservationEvent" if is_tool("think") => ToolResult::new(&*id, true, None),
        b"ObservationEvent" => result(&id, entry, |_| None),
        _ => {
            let text = entry.error.map(Text::boxed);
            let was_stopped =
                text.as_deref().is_some_and(|it| it.starts_with("A restart occurred"));
            let mut result = ToolResult::new(&*id, false, text);
            result.cause = if kind == b"UserRejectObservation" {
                Some(Cause::Declined)
            } else {
                was_stopped.then_some(Cause::Interrupted)
            };
            result
        }
    };
    to.emit_result(result, entry, lines, sink);
}

/// Reads a call by another agent that OpenHands runs. The event is repeated at each
/// change of the call.
fn read_foreign_call(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    let id = id(entry);
    let key = |what, id: &str| Fingerprint::of(what).and(Fingerprint::of(id));
    let parent = entry.parent_call.map(Text::read);
    if let Some(parent) = &parent {
        to.delegates.push(AgentId::from(parent.as_ref()));
        if to.is_new(key("agent", parent), sink) {
            to.emit(EventKind::AgentStart, sink);
        }
    }
    if to.is_new(key("call", &id), sink) {
        let kind = entry.tool_kind.filter(|it| !it.is("other")).or(entry.title);
        let tool = kind.map_or("unknown".into(), Text::read);
        let class = match &*tool {
            "edit" | "delete" | "move" => Some(ToolClass::Write),
            "execute" => Some(ToolClass::Run),
            "think" => Some(ToolClass::Other),
            _ => None,
        };
        to.emit_call(&id, (&tool, class), &[], entry, sink);
    }
    let has_failed = entry.status.is_some_and(|it| it.is("failed")) || entry.outcome.is_error;
    let has_ended = has_failed || entry.status.is_some_and(|it| it.is("completed"));
    if has_ended && to.is_new(key("result", &id), sink) {
        let output = entry.raw_output.map(|raw| match Reader::new(raw).text() {
            Ok(Some(text)) => text.boxed(),
            _ => compact(&decode(raw)).into(),
        });
        let result = ToolResult::new(&*id, !has_failed, output);
        to.emit(EventKind::ToolResult(result), sink);
    }
    if parent.is_some() {
        to.delegates.pop();
    }
}

fn read_update(
    to: &mut Conversation,
    entry: &Entry<'_>,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let Some(value) = entry.value else { return Ok(()) };
    match entry.key.map(Text::raw) {
        Some(b"execution_status" | b"agent_status") => {
            if let Some(status) = Reader::new(value).text()? {
                emit_status(to, status, sink);
            }
        }
        Some(b"stats") => emit_totals(to, &State::of_stats(value)?, sink),
        Some(b"full_state") => {
            let state = State::read(value)?;
            emit_totals(to, &state, sink);
            if let Some(status) = state.status {
                emit_status(to, status, sink);
            }
        }
        _ => {}
    }
    Ok(())
}

fn emit_status(to: &mut Conversation, status: Text<'_>, sink: &mut EventSink<'_>) {
    match status.raw() {
        // The earlier status may be in another file.
        b"running" if to.is_waiting || to.names.has_one_event => {
            to.is_waiting = false;
            to.emit(EventKind::Resumed(WaitingFor::Permission), sink);
        }
        b"waiting_for_confirmation" => {
            to.is_waiting = true;
            to.emit(EventKind::Waiting(WaitingFor::Permission), sink);
        }
        b"stuck" => {
            let message = "OpenHands says that the agent is stuck".into();
            to.emit(EventKind::Error { message, retry: None }, sink);
            to.emit(EventKind::TurnEnd, sink);
        }
        b"error" | b"finished" | b"idle" | b"paused" => to.emit(EventKind::TurnEnd, sink),
        _ => {}
    }
}

/// Returns whether usage is read from `own`. The file with the state of a conversation
/// and its events both contain the usage. Only the first one that is read counts.
fn claim_usage(to: &Conversation, own: &str, other: &str, sink: &mut EventSink<'_>) -> bool {
    let key = |what| Fingerprint::of(to.session.as_str()).and(Fingerprint::of(what));
    let is_free = !sink.is_known(key(other));
    if is_free {
        sink.is_new(key(own));
    }
    is_free
}

const IN_STATE: &str = "usage in the state";
const IN_EVENTS: &str = "usage in events";

/// Emits the usage since the earlier totals.
fn emit_totals(to: &mut Conversation, state: &State<'_>, sink: &mut EventSink<'_>) {
    if !claim_usage(to, IN_EVENTS, IN_STATE, sink) {
        return;
    }
    for purpose in &state.purposes {
        let Some(totals) = purpose.totals else { continue };
        if let Some((_, earlier)) = to.purposes.iter_mut().find(|it| *it.0 == *purpose.name) {
            let used = totals.since(std::mem::replace(earlier, totals));
            to.emit_usage(None, purpose.model, used, sink);
            continue;
        }
        if to.purposes.len() < MAX_PURPOSES {
            to.purposes.push((purpose.name.into(), totals));
        }
        // Earlier usage may be in another file. An event with the id of the purpose
        // replaces the earlier totals. It has no model, because totals do not measure
        // how full a context is.
        to.emit_usage(Some(decode(purpose.name).into()), None, totals, sink);
    }
}

/// Reads the file with the state of a conversation. It contains the usage of all model
/// responses. Without a server, no other file contains it.
pub(super) fn read_state(to: &mut Conversation, state: &State<'_>, sink: &mut EventSink<'_>) {
    to.start.cwd = state.cwd.map(Text::boxed);
    to.start.model = state.model.map(Text::boxed);
    if !claim_usage(to, IN_STATE, IN_EVENTS, sink) {
        return;
    }
    let mut n_responses = 0_u64;
    for purpose in &state.purposes {
        // Responses have no times, but their costs have.
        let has_times = purpose.costs.len() == purpose.responses.len();
        for (nth, response) in (0_usize..).zip(&purpose.responses) {
            n_responses += 1;
            let cost = purpose.costs.get(nth).filter(|_| has_times);
            let Some((cost, at)) = cost.and_then(|it| Some((it.usd, it.at?))) else {
                sink.skip_part("usage without a time");
                continue;
            };
            let id = response.id.map(Text::boxed);
            let key = Fingerprint::of(purpose.name)
                .and(Fingerprint::of(id.as_deref().unwrap_or_default()))
                .and(Fingerprint::from(nth as u64));
            to.is_unread = to.is_new(key, sink);
            to.now = at;
            to.latest = to.latest.max(Some(at));
            let model = response.model.or(purpose.model);
            to.emit_usage(id, model, response.used.at_cost(cost), sink);
        }
    }
    let (Some(at), Some(status)) = (to.latest, state.status) else { return };
    let waiting = |n: u64| {
        let session = Fingerprint::of(to.session.as_str());
        session.and(Fingerprint::of("waiting")).and(Fingerprint::from(n))
    };
    match status.raw() {
        // The next response may have been written meanwhile.
        b"running" => {
            let earlier = n_responses.saturating_sub(1);
            if ![n_responses, earlier].iter().any(|it| sink.is_known(waiting(*it))) {
                return;
            }
        }
        b"waiting_for_confirmation" => _ = sink.is_new(waiting(n_responses)),
        // The state contains no later prompts.
        b"idle" => return,
        _ => {}
    }
    // The status has the time of the latest response.
    let key = Fingerprint::of(status.raw()).and(Fingerprint::from(n_responses));
    to.is_unread = to.is_new(key, sink);
    to.now = at;
    to.is_turn_over = false;
    emit_status(to, status, sink);
}
