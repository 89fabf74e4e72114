//! Events of the SDK.

use std::borrow::Cow;

use watchkeeper_core::{
    AgentId, Cause, EventKind, EventSink, Fingerprint, ToolClass, ToolResult, WaitingFor,
};

use super::{Conversation, MAX_PURPOSES, class_of_command, entry::Entry, result, state::State};
use crate::{
    document::{LineCounter, compact},
    json::{Malformed, Reader, Text, decode},
};

/// What is given to tools that says nothing of what is asked of them.
const VOLATILE: &[&str] = &["kind", "security_risk", "timeout"];
/// The same, where it stands as the model wrote it.
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
            to.tell(kind, sink);
        }
        b"ConversationStateUpdateEvent" => read_update(to, entry, sink)?,
        b"ConversationErrorEvent" => {
            let code = entry.code.map(Text::read).unwrap_or_default();
            let detail = entry.error.map(Text::read).unwrap_or_default();
            let message = format!("{code}: {detail}").into();
            to.tell(EventKind::Error { message, retry: None }, sink);
            to.tell(EventKind::TurnEnd, sink);
        }
        b"PauseEvent" | b"InterruptEvent" => to.tell(EventKind::TurnEnd, sink),
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
        tell_reasoning(to, entry, sink);
        to.tell_message(&text, sink);
        // A run ends when the model calls no tool.
        to.tell(EventKind::TurnEnd, sink);
    } else {
        let synthetic = !entry.source.is_some_and(|it| it.is("user"));
        to.tell_prompt(text, synthetic, sink);
    }
}

fn tell_reasoning(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    if let Some(text) = entry.reasoning.filter(|it| !it.raw().is_empty()) {
        to.tell(EventKind::Thinking { text: text.boxed() }, sink);
    }
}

/// The id of a call: not that of the event, which an error does not name.
fn id<'a>(entry: &Entry<'a>) -> Cow<'a, str> {
    entry.call.map_or_else(|| decode(entry.id.unwrap_or_default()), Text::read)
}

fn read_action(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    tell_reasoning(to, entry, sink);
    to.tell_message(&entry.message.boxed(), sink);
    let tool = entry.tool.map_or("unknown".into(), Text::read);
    // What does not fit is not carried out, and is told of as an error.
    if tool == "finish" && entry.arguments.is_some() {
        to.tell_message(&entry.args.message.map(Text::read).unwrap_or_default(), sink);
        return to.tell(EventKind::TurnEnd, sink);
    }
    let class = class(&tool, entry.args.command);
    let volatile = if entry.arguments.is_some() { VOLATILE } else { VOLATILE_RAW };
    to.tell_call(&id(entry), (&tool, class), volatile, entry, sink);
}

/// What a tool does to the world, where its name does not tell.
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
    let is_of = |name| entry.tool.is_some_and(|it| it.is(name));
    if is_of("finish") && kind != b"AgentErrorEvent" {
        return;
    }
    let id = id(entry);
    let answer = match kind {
        b"ObservationEvent" if is_of("think") => ToolResult::new(&*id, true, None),
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
    to.tell_result(answer, entry, lines, sink);
}

/// Reads a call that another agent made, which OpenHands drives: it is told
/// again whenever something has become of it.
fn read_foreign_call(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    let id = id(entry);
    let key = |what, id: &str| Fingerprint::of(what).and(Fingerprint::of(id));
    let parent = entry.parent_call.map(Text::read);
    if let Some(parent) = &parent {
        to.delegates.push(AgentId::from(parent.as_ref()));
        if to.is_new(key("agent", parent), sink) {
            to.tell(EventKind::AgentStart, sink);
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
        to.tell_call(&id, (&tool, class), &[], entry, sink);
    }
    let has_failed = entry.status.is_some_and(|it| it.is("failed")) || entry.outcome.is_error;
    let has_ended = has_failed || entry.status.is_some_and(|it| it.is("completed"));
    if has_ended && to.is_new(key("result", &id), sink) {
        let output = entry.raw_output.map(|raw| match Reader::new(raw).text() {
            Ok(Some(text)) => text.boxed(),
            _ => compact(&decode(raw)).into(),
        });
        let result = ToolResult::new(&*id, !has_failed, output);
        to.tell(EventKind::ToolResult(result), sink);
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
                tell_status(to, status, sink);
            }
        }
        Some(b"stats") => tell_totals(to, &State::of_stats(value)?, sink),
        Some(b"full_state") => {
            let state = State::read(value)?;
            tell_totals(to, &state, sink);
            if let Some(status) = state.status {
                tell_status(to, status, sink);
            }
        }
        _ => {}
    }
    Ok(())
}

fn tell_status(to: &mut Conversation, status: Text<'_>, sink: &mut EventSink<'_>) {
    match status.raw() {
        // What was told before may stand in another file.
        b"running" if to.is_waiting || to.names.has_one_event => {
            to.is_waiting = false;
            to.tell(EventKind::Resumed(WaitingFor::Permission), sink);
        }
        b"waiting_for_confirmation" => {
            to.is_waiting = true;
            to.tell(EventKind::Waiting(WaitingFor::Permission), sink);
        }
        b"repeated_call" => {
            let message = "OpenHands says that the agent is stuck".into();
            to.tell(EventKind::Error { message, retry: None }, sink);
            to.tell(EventKind::TurnEnd, sink);
        }
        b"error" | b"finished" | b"idle" | b"paused" => to.tell(EventKind::TurnEnd, sink),
        _ => {}
    }
}

/// Whose word on usage counts: both the file with the state of a conversation
/// and its events tell it.
fn is_heard(to: &Conversation, own: &str, other: &str, sink: &mut EventSink<'_>) -> bool {
    let key = |what| Fingerprint::of(to.session.as_str()).and(Fingerprint::of(what));
    let is_heard = !sink.is_known(key(other));
    if is_heard {
        sink.is_new(key(own));
    }
    is_heard
}

const IN_STATE: &str = "usage in the state";
const IN_EVENTS: &str = "usage in events";

/// Tells what the latest answers used, of which the totals of all are known.
fn tell_totals(to: &mut Conversation, state: &State<'_>, sink: &mut EventSink<'_>) {
    if !is_heard(to, IN_EVENTS, IN_STATE, sink) {
        return;
    }
    for purpose in &state.purposes {
        let Some(totals) = purpose.totals else { continue };
        if let Some((_, earlier)) = to.purposes.iter_mut().find(|it| *it.0 == *purpose.name) {
            let used = totals.since(std::mem::replace(earlier, totals));
            to.tell_usage(None, purpose.model, used, sink);
            continue;
        }
        if to.purposes.len() < MAX_PURPOSES {
            to.purposes.push((purpose.name.into(), totals));
        }
        // What was told before may stand in another file. Totals replace what was
        // told of them, and say nothing of how full a context is, so that no
        // model is named.
        to.tell_usage(Some(decode(purpose.name).into()), None, totals, sink);
    }
}

/// Reads the file with the state of a conversation. It holds all answers of the
/// model, and is the only one that does where no server runs.
pub(super) fn read_state(to: &mut Conversation, state: &State<'_>, sink: &mut EventSink<'_>) {
    to.start.cwd = state.cwd.map(Text::boxed);
    to.start.model = state.model.map(Text::boxed);
    if !is_heard(to, IN_STATE, IN_EVENTS, sink) {
        return;
    }
    let mut n_answers = 0_u64;
    for purpose in &state.purposes {
        // Answers have no times, but what they cost has.
        let has_times = purpose.costs.len() == purpose.answers.len();
        for (nth, answer) in (0_usize..).zip(&purpose.answers) {
            n_answers += 1;
            let cost = purpose.costs.get(nth).filter(|_| has_times);
            let Some((cost, at)) = cost.and_then(|it| Some((it.usd, it.at?))) else {
                sink.skip_part("usage without a time");
                continue;
            };
            let id = answer.id.map(Text::boxed);
            let which = Fingerprint::of(purpose.name)
                .and(Fingerprint::of(id.as_deref().unwrap_or_default()))
                .and(Fingerprint::from(nth as u64));
            to.is_news = to.is_new(which, sink);
            to.now = at;
            to.latest = to.latest.max(Some(at));
            let model = answer.model.or(purpose.model);
            to.tell_usage(id, model, answer.used.at_cost(cost), sink);
        }
    }
    let (Some(at), Some(status)) = (to.latest, state.status) else { return };
    let waiting = |n: u64| {
        let session = Fingerprint::of(to.session.as_str());
        session.and(Fingerprint::of("waiting")).and(Fingerprint::from(n))
    };
    match status.raw() {
        // It may have gone on to the next answer since.
        b"running" => {
            let earlier = n_answers.saturating_sub(1);
            if ![n_answers, earlier].iter().any(|it| sink.is_known(waiting(*it))) {
                return;
            }
        }
        b"waiting_for_confirmation" => _ = sink.is_new(waiting(n_answers)),
        // What was asked of it since is not told of here.
        b"idle" => return,
        _ => {}
    }
    // What the agent does by now is told with the latest answer.
    let which = Fingerprint::of(status.raw()).and(Fingerprint::from(n_answers));
    to.is_news = to.is_new(which, sink);
    to.now = at;
    to.is_at_rest = false;
    tell_status(to, status, sink);
}
