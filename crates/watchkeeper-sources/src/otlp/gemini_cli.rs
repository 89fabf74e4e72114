//! The log events of Gemini CLI.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, EventSink, SessionStart, Tokens},
};

use super::{
    meaning::{started_at, with_unknown_arguments, written},
    memory::Memory,
    record::{Attributes, LogRecord},
    step::{Action, LOGS, Place, Step},
};
use crate::json::{object, parse};

/// The scope of all records. The client also logs its model calls by the conventions for
/// generative AI.
pub(super) const SCOPE: &str = "gemini-cli";

object! {
    /// The result of a tool.
    struct ToolMetadata {
        b"exitCode" => exit_code: i32,
        b"isError" => is_error: bool,
    }
}

/// Reads a log event. `key` identifies the record.
pub(super) fn read_log(
    record: &LogRecord<'_>,
    key: Fingerprint,
    memory: &mut Memory,
    sink: &mut EventSink<'_>,
) {
    let (at, attributes) = (record.at, &record.attributes);
    let Some(session) = attributes.text("session.id") else {
        return sink.skip_part("no session");
    };
    let mut place = Place {
        session: SessionId::from(session),
        agent: None,
        start: SessionStart::default(),
        supplier: LOGS,
    };
    let agent = || attributes.first_text(&["agent_id", "agent_name"]).map(AgentId::from);
    let steps = match &*record.name {
        "gemini_cli.config" => {
            place.start.model = attributes.text("model").map(Box::from);
            vec![Step::new(at, EventKind::SessionStart(place.start.clone()))]
        }
        "gemini_cli.user_prompt" => {
            let text = written(attributes.text("prompt")).into();
            vec![Step::new(at, EventKind::Prompt { text, synthetic: false })]
        }
        "gemini_cli.tool_call" => {
            // The log does not contain the id of the call.
            let id: Box<str> = key.to_string().into();
            let call = tool_call(id.clone(), attributes);
            let times = (started_at(at, attributes), at);
            Step::finished_call(times, call, tool_result(id, attributes)).into()
        }
        "gemini_cli.api_response" => {
            // Calls follow, if there are any.
            let call = EventKind::ModelCall(model_call(attributes));
            vec![Step::new(at, call), Step::new(at, EventKind::TurnEnd)]
        }
        "gemini_cli.api_error" => {
            let keys = ["error.message", "error", "error_type", "status_code"];
            let message = attributes.first_text(&keys).unwrap_or("unknown error");
            vec![Step::of(at, Action::FailedAttempt(message.into()))]
        }
        "gemini_cli.chat_compression" => vec![Step::new(
            at,
            EventKind::Compaction {
                before_tokens: attributes.count("tokens_before"),
                after_tokens: attributes.count("tokens_after"),
            },
        )],
        // After the first warning, the client lets the model try again.
        "loop_detected" if attributes.count("count") != Some(1) => {
            let kind = attributes.text("loop_type").unwrap_or("unknown");
            let message = format!("the client stopped because of a loop: {kind}").into();
            vec![Step::new(at, EventKind::Error { message, retry: None })]
        }
        "gemini_cli.agent.start" => {
            place.agent = agent();
            place.agent.iter().map(|_| Step::new(at, EventKind::AgentStart)).collect()
        }
        "gemini_cli.agent.finish" => {
            place.agent = agent();
            place.agent.iter().map(|_| Step::new(at, EventKind::AgentEnd)).collect()
        }
        "gemini_cli.conversation_finished" => vec![Step::of(at, Action::EndTurn)],
        // The client logs many details of its own work, and more with each version.
        _ => Vec::new(),
    };
    memory.add(place, steps);
}

fn tool_call(id: Box<str>, attributes: &Attributes<'_>) -> ToolCall {
    let tool = attributes.text("function_name").unwrap_or("unknown");
    let arguments = attributes.text("function_args").map(Json::parse_or_text);
    let is_known = arguments.is_some();
    let arguments = arguments.unwrap_or_default();
    let call = ToolCall::of_class(id, tool, arguments, None, &["description"]);
    if is_known { call } else { with_unknown_arguments(call) }
}

/// Returns the result of a call. A command that fails is a success of its tool.
fn tool_result(id: Box<str>, attributes: &Attributes<'_>) -> ToolResult {
    let metadata = attributes.text("metadata").and_then(|text| parse(text.as_bytes()).ok());
    let ToolMetadata { exit_code, is_error } = metadata.unwrap_or_default();
    let was_declined = attributes.text("decision") == Some("reject");
    let has_failed = was_declined
        || is_error == Some(true)
        || exit_code.is_some_and(|code| code != 0)
        || attributes.flag("success") == Some(false);
    let error = attributes.text("error").filter(|_| has_failed);
    let mut result = ToolResult::new(id, !has_failed, error.map(Box::from));
    result.exit_code = exit_code;
    result.cause = was_declined.then_some(Cause::Declined);
    result
}

/// Returns the model call of a response. The input contains the cached tokens, and the output
/// excludes the thoughts.
fn model_call(attributes: &Attributes<'_>) -> ModelCall {
    let count = |key| attributes.count(key).unwrap_or(0);
    let cache_read = count("cached_content_token_count");
    let reasoning = count("thoughts_token_count");
    let input = count("input_token_count").saturating_sub(cache_read);
    ModelCall {
        model: attributes.text("model").map(Box::from),
        tokens: Tokens {
            input: input.saturating_add(count("tool_token_count")),
            cache_read,
            output: count("output_token_count").saturating_add(reasoning),
            reasoning,
            ..Tokens::default()
        },
        ..ModelCall::default()
    }
}
