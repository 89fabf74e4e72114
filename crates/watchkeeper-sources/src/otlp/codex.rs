//! The log events of Codex.

use watchkeeper_core::{
    EventKind, Json, ModelCall, SessionId,
    author::{EventSink, SessionStart, Tokens},
};

use super::{
    meaning::{started_at, with_unknown_arguments, written},
    memory::Memory,
    record::{Attributes, LogRecord},
    step::{Action, LOGS, Place, Step},
};
use crate::codex::{Outcome, begins_like_the_harness, tool_call, tool_result};

/// Reads a log event. `name` is the part after `codex.`.
pub(super) fn read_log(
    record: &LogRecord<'_>,
    name: &str,
    memory: &mut Memory,
    sink: &mut EventSink<'_>,
) {
    let (at, attributes) = (record.at, &record.attributes);
    let Some(session) = attributes.text("conversation.id") else {
        return sink.skip_part("no session");
    };
    let start = SessionStart {
        version: attributes.text("app.version").map(Box::from),
        model: attributes.text("model").map(Box::from),
        ..SessionStart::default()
    };
    let place = Place { session: SessionId::from(session), agent: None, start, supplier: LOGS };
    let steps = match name {
        "conversation_starts" => vec![Step::new(at, EventKind::SessionStart(place.start.clone()))],
        "user_prompt" => {
            let text = written(attributes.text("prompt"));
            let synthetic = begins_like_the_harness(text);
            vec![Step::new(at, EventKind::Prompt { text: text.into(), synthetic })]
        }
        "tool_result" => {
            let Some(id) = attributes.text("call_id") else { return sink.skip_part("no call id") };
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
            vec![Step::new(at, call), Step::new(at, EventKind::TurnEnd)]
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
        // Codex logs many details of its own work, and more with each version.
        _ => Vec::new(),
    };
    memory.add(place, steps);
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
