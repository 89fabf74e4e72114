//! Events of versions before the SDK.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, ToolClass, ToolResult,
    author::{Cause, EventSink, WaitingFor},
};

use super::{
    Conversation, MAX_DELEGATES, class_of_command,
    entry::{Entry, Used},
    result,
};
use crate::{
    document::LineCounter,
    json::{Malformed, Text, decode},
};

/// Arguments that do not change what a call does.
const VOLATILE: &[&str] = &[
    "action_risk",
    "blocking",
    "confirmation_state",
    "hidden",
    "impl_source",
    "is_confirmed",
    "keep_prompt",
    "security_risk",
    "thought",
    "timeout",
];

pub(super) fn read(
    to: &mut Conversation,
    entry: &Entry<'_>,
    lines: &mut LineCounter<'_>,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let of = |name: Text<'_>| decode(name.raw()).into_owned();
    match (entry.action.map(of), entry.observation.map(of)) {
        (Some(action), _) => read_action(to, &action, entry, sink),
        (None, Some(observation)) => read_observation(to, &observation, entry, lines, sink),
        (None, None) => return Err("neither action nor observation"),
    }
    Ok(())
}

fn read_action(to: &mut Conversation, action: &str, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    let args = &entry.args;
    // Old tasks begin with the prompt, which has no source.
    let is_of_agent = entry.source.map_or(1 < to.n_entries, |it| it.is("agent"));
    match action {
        "system" => {
            to.start.version = args.version.map(Text::boxed);
            return to.begin(sink);
        }
        "message" if !is_of_agent => {
            let text = args.content.map(Text::boxed).unwrap_or_default();
            let synthetic = entry.source.is_some_and(|it| it.is("environment"));
            return to.emit_prompt(text, synthetic, sink);
        }
        "condensation" => {
            let kind = EventKind::Compaction { before_tokens: None, after_tokens: None };
            return to.emit(kind, sink);
        }
        "change_agent_state"
        | "condensation_request"
        | "loop_recovery"
        | "null"
        | "pause"
        | "recall"
        | "resume"
        | "start"
        | "stop"
        | "summarize" => return,
        // OpenHands itself prepares the workspace of the agent.
        _ if !is_of_agent => return,
        _ => {}
    }
    match action {
        "message" => {
            to.emit_message(&args.content.map(Text::read).unwrap_or_default(), sink);
            emit_usage(to, entry, sink);
            if args.waits {
                to.emit(EventKind::TurnEnd, sink);
            }
        }
        "finish" | "reject" => {
            let text = args.final_thought.filter(|it| !it.raw().is_empty()).or(args.thought);
            to.emit_message(&text.map(Text::read).unwrap_or_default(), sink);
            emit_usage(to, entry, sink);
            // The end of a delegate is reported by a later observation, too.
            if to.delegates.is_empty() {
                to.emit(EventKind::TurnEnd, sink);
            }
        }
        _ => match tool(action, entry) {
            Some((tool, class)) => read_call(to, &tool, class, action, entry, sink),
            None => sink.skip_part("unknown action"),
        },
    }
}

fn read_call(
    to: &mut Conversation,
    tool: &str,
    class: Option<ToolClass>,
    action: &str,
    entry: &Entry<'_>,
    sink: &mut EventSink<'_>,
) {
    if action != "think" {
        to.emit_message(&entry.args.thought.map(Text::read).unwrap_or_default(), sink);
    }
    emit_usage(to, entry, sink);
    let id = entry.id.map_or_else(|| to.n_entries.to_string(), |it| decode(it).into_owned());
    let volatile = if action == "think" { &[] } else { VOLATILE };
    to.emit_call(&id, (tool, class), volatile, entry, sink);
    if action == "delegate" && to.is_in_list && to.delegates.len() < MAX_DELEGATES {
        to.delegates.push(AgentId::from(format!("delegate-{id}")));
        to.emit(EventKind::AgentStart, sink);
    }
    to.latest_call = Some(id.into());
}

/// Returns the tool of an action, and its class if the name does not determine it.
fn tool(action: &str, entry: &Entry<'_>) -> Option<(String, Option<ToolClass>)> {
    let class = match action {
        "run" => Some(class_of_command(entry.args.command)),
        "run_ipython" => Some(class_of_code(entry.args.code)),
        "read" | "browse" => Some(ToolClass::Read),
        "edit" | "push" | "send_pr" | "write" => Some(ToolClass::Write),
        "delegate" => Some(ToolClass::Delegate),
        "add_task" | "browse_interactive" | "modify_task" | "task_tracking" | "think" => {
            Some(ToolClass::Other)
        }
        "call_tool_mcp" | "mcp" => None,
        _ => return None,
    };
    let name = if class.is_none() { entry.args.name.or(entry.tool) } else { entry.tool };
    let name = name.map_or_else(|| action.to_owned(), |it| it.read().into_owned());
    Some((name, class))
}

/// Returns the class of code. Early agents edited files by calling functions in code.
fn class_of_code(code: Option<Text<'_>>) -> ToolClass {
    let code = code.map(Text::read).unwrap_or_default();
    let function = code.trim_start().split('(').next().unwrap_or_default();
    match function {
        "append_file" | "create_file" | "edit_file_by_replace" | "insert_content_at_line" => {
            ToolClass::Write
        }
        "find_file" | "goto_line" | "open_file" | "scroll_down" | "scroll_up" | "search_dir"
        | "search_file" => ToolClass::Read,
        _ => ToolClass::Run,
    }
}

fn read_observation(
    to: &mut Conversation,
    observation: &str,
    entry: &Entry<'_>,
    lines: &mut LineCounter<'_>,
    sink: &mut EventSink<'_>,
) {
    match observation {
        "agent_state_changed" => return read_state(to, entry, sink),
        "condense" | "microagent" | "null" | "recall" | "workspace_context" => return,
        "loop_detection" => {
            let message = entry.outcome.content.boxed();
            return to.emit(EventKind::Error { message, retry: None }, sink);
        }
        _ => {}
    }
    // Actions of OpenHands itself have observations, too.
    if entry.source.is_some_and(|it| it.is("user") || it.is("environment")) {
        return;
    }
    if observation == "delegate" && !to.delegates.is_empty() {
        to.emit(EventKind::AgentEnd, sink);
        to.delegates.pop();
    }
    // In old tasks, observations do not name their action.
    let latest = to.latest_call.take().filter(|_| entry.id.is_none());
    let id = match entry.cause.map(Box::from).or(latest) {
        Some(id) => id,
        // OpenHands did not understand the tool call of the model.
        None if observation == "error" => {
            let id = entry.id.map_or_else(|| to.n_entries.to_string(), |it| decode(it).into());
            let tool = ("unknown", Some(ToolClass::Other));
            to.emit_call(&id, tool, VOLATILE, entry, sink);
            id.into()
        }
        None => return sink.skip_part("observation of nothing"),
    };
    let result = match observation {
        // The observation of a thought is always the same.
        "think" => ToolResult::new(id, true, None),
        "error" => {
            let output = entry.outcome.content.boxed();
            let has_timed_out = output.contains("before the requested timeout of");
            let mut result = ToolResult::new(id, false, Some(output));
            result.cause = has_timed_out.then_some(Cause::Timeout);
            result
        }
        "user_rejected" => {
            let mut result = ToolResult::new(id, false, Some(entry.outcome.content.boxed()));
            result.cause = Some(Cause::Declined);
            result
        }
        _ => result(&id, entry, |output| failure(observation, output)),
    };
    to.emit_result(result, entry, lines, sink);
}

/// Returns the error message of an observation whose failure is visible only in its
/// text.
fn failure<'a>(observation: &str, output: &'a str) -> Option<&'a str> {
    const OF_CODE: &[&str] = &[
        "ERROR:",
        "[No exact match found in ",
        "[Your proposed edit has introduced new syntax error(s).",
    ];
    let has_failed = match observation {
        // The prefix is not part of the message.
        "edit" | "read" | "write" => return output.strip_prefix("ERROR:").map(str::trim_start),
        "mcp" => output.contains("\"isError\":true") || output.contains("\"isError\": true"),
        "run_ipython" => {
            OF_CODE.iter().any(|it| output.starts_with(it))
                || output.contains("Traceback (most recent call last)")
        }
        _ => false,
    };
    has_failed.then_some(output)
}

fn read_state(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    let reason = entry.outcome.reason.map(Text::boxed).unwrap_or_default();
    match entry.outcome.state.map(Text::raw).unwrap_or_default() {
        b"awaiting_user_input" | b"finished" | b"paused" | b"rejected" | b"stopped" => {
            to.emit(EventKind::TurnEnd, sink);
        }
        b"awaiting_user_confirmation" => {
            to.emit(EventKind::Waiting(WaitingFor::Permission), sink);
        }
        b"user_confirmed" | b"user_rejected" => {
            to.emit(EventKind::Resumed(WaitingFor::Permission), sink);
        }
        b"error" => {
            to.emit(EventKind::Error { message: reason, retry: None }, sink);
            to.emit(EventKind::TurnEnd, sink);
        }
        b"rate_limited" => {
            let message = if reason.is_empty() { "rate limited".into() } else { reason };
            to.emit(EventKind::Error { message, retry: Some(0) }, sink);
        }
        _ => {}
    }
}

/// Emits the usage of the model response of an action.
fn emit_usage(to: &mut Conversation, entry: &Entry<'_>, sink: &mut EventSink<'_>) {
    // A delegate has its own totals.
    let totals = entry.totals.filter(|_| to.is_in_list && to.delegates.is_empty());
    let since = totals.and_then(|it| Some(it.since(to.totals?)));
    to.totals = totals.or(to.totals);
    let response = entry.response.map(|it| Fingerprint::of(it.raw()));
    let is_known = response.is_some() && response == to.latest_response;
    to.latest_response = response.or(to.latest_response);
    let used = match (since, entry.used.filter(|_| !is_known)) {
        // Totals include responses without an action.
        (Some(since), _) if totals.is_some_and(Used::has_tokens) => since,
        (Some(since), Some(used)) => used.at_cost(since.cost_usd().unwrap_or(0.0)),
        (_, Some(used)) => used,
        (_, None) => return,
    };
    to.emit_usage(entry.response.map(Text::boxed), entry.model, used, sink);
}
