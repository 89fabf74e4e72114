//! The log events of Codex.

use watchkeeper_core::{EventKind, Json, ModelCall, SessionId, author::Tokens};

use super::{
    meaning::{started_at, with_unknown_arguments, written},
    memory::Memory,
    record::{Attributes, LogRecord},
    step::{Action, LOGS, Place, Start, Step, shared},
};
use crate::codex::{Outcome, begins_like_the_harness, tool_call, tool_result};

/// Log events without an event of a session.
const IGNORED: &[&str] = &[
    "agent_communication",
    "auth_recovery",
    "plugin_install_elicitation_sent",
    "plugin_install_suggestion",
    "sandbox_outcome",
    "skill_invocation",
    "sse_event",
    "startup_phase",
    "turn_cost",
    "turn_ttfm",
    "turn_ttft",
    "websocket_connect",
    "websocket_event",
    "websocket_request",
];

/// Returns whether a record is a message of the client about its own work, without a name.
pub(super) fn is_message(scope: &str) -> bool {
    scope.starts_with("codex_")
}

/// Reads a log event. `name` is the part after `codex.`. Returns why the event was skipped, if
/// it was.
pub(super) fn read_log(
    record: &LogRecord<'_>,
    name: &str,
    memory: &mut Memory,
) -> Result<(), &'static str> {
    let (at, attributes) = (record.at, &record.attributes);
    let session = match attributes.text("conversation.id") {
        Some(session) => session,
        // Such events can come before the session.
        None if IGNORED.contains(&name) => return Ok(()),
        None => return Err("no session"),
    };
    let start = Start {
        version: attributes.text("app.version").map(shared),
        model: attributes.text("model").map(shared),
    };
    let place = Place { session: SessionId::from(session), agent: None, start, supplier: LOGS };
    let steps = match name {
        "conversation_starts" => vec![Step::new(at, place.start.event())],
        "user_prompt" => {
            let text = written(attributes.text("prompt"));
            let synthetic = begins_like_the_harness(text);
            vec![Step::new(at, EventKind::Prompt { text: text.into(), synthetic })]
        }
        "tool_result" => {
            let id = attributes.text("call_id").ok_or("no call id")?;
            let tool = attributes.text("tool_name").unwrap_or("unknown");
            let namespace = attributes.text("tool_namespace").filter(|name| *name != "functions");
            let arguments = attributes.text("arguments");
            let json = Json::parse_or_text(arguments.unwrap_or("null"));
            let mut call = tool_call(id.into(), tool, namespace, json, &mut memory.tools);
            if arguments.is_none() {
                call = with_unknown_arguments(call);
            }
            // A command that fails is a success: its tool ran.
            let ok = attributes.flag("success");
            let outcome = Outcome { ok, ..Outcome::default() };
            let result = tool_result(id.into(), attributes.text("output"), Some(outcome));
            let times = (started_at(at, attributes), at);
            Step::finished_call(times, call, result).into()
        }
        "sse_event" | "websocket_event" if attributes.get("input_token_count").is_some() => {
            // Calls follow, if there are any.
            let call = EventKind::ModelCall(model_call(attributes));
            vec![Step::new(at, call), Step::of(at, Action::EndResponse)]
        }
        "tool_decision" => {
            let is_approved =
                attributes.text("decision").is_some_and(|text| text.starts_with("approved"));
            let call = attributes.text("call_id").filter(|_| is_approved);
            Vec::from_iter(call.map(|call| Step::of(at, Action::ExpectResult(call.into()))))
        }
        "sse_event" | "websocket_event" | "websocket_request" => match error(attributes) {
            Some(message) => vec![Step::of(at, Action::FailedAttempt(message))],
            None => Vec::new(),
        },
        "api_request" => {
            let status = attributes.count("http.response.status_code");
            let is_success = status.is_some_and(|status| (200..300).contains(&status));
            let message = error(attributes).or_else(|| Some(format!("status {}", status?).into()));
            match message.filter(|_| !is_success) {
                Some(message) => vec![Step::of(at, Action::FailedAttempt(message))],
                None => Vec::new(),
            }
        }
        _ if IGNORED.contains(&name) => Vec::new(),
        _ => return Err("unknown event of Codex"),
    };
    memory.add(place, steps);
    Ok(())
}

fn error(attributes: &Attributes<'_>) -> Option<Box<str>> {
    attributes.text("error.message").map(Box::from)
}

/// Returns the model call of a response. The input contains the cached tokens. The count of
/// tools is the total.
fn model_call(attributes: &Attributes<'_>) -> ModelCall {
    let count = |key| attributes.count(key).unwrap_or(0);
    let cache_read = count("cached_token_count");
    let cache_write = count("cache_write_token_count");
    let input = count("input_token_count").saturating_sub(cache_read);
    ModelCall {
        model: attributes.text("model").map(Box::from),
        tokens: Tokens {
            input: input.saturating_sub(cache_write),
            cache_read,
            cache_write,
            output: count("output_token_count"),
            reasoning: count("reasoning_token_count"),
            cache_write_1h: 0,
        },
        ..ModelCall::default()
    }
}
