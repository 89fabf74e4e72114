//! The log events of Gemini CLI.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, Tokens},
};

use super::{
    meaning::{started_at, with_unknown_arguments, written},
    memory::Memory,
    record::{Attributes, LogRecord},
    step::{Action, LOGS, Place, Start, Step, shared},
};
use crate::json::{object, parse};

/// The scope of all records. The client also logs its model calls by the conventions for
/// generative AI.
pub(super) const SCOPE: &str = "gemini-cli";

/// Log events without an event of a session, without their prefix.
const IGNORED: &[&str] = &[
    "agent.recovery_attempt",
    "api_request",
    "chat.content_retry",
    "chat.content_retry_failure",
    "chat.invalid_chunk",
    "conseca.policy_generation",
    "conseca.verdict",
    "edit_correction",
    "edit_strategy",
    "editor_opened",
    "extension_disable",
    "extension_enable",
    "extension_install",
    "extension_uninstall",
    "extension_update",
    "file_operation",
    "flash_fallback",
    "hook_call",
    "ide_connection",
    "keychain.availability",
    "llm_loop_check",
    "malformed_json_response",
    "model_routing",
    "network_retry_attempt",
    "next_speaker_check",
    "onboarding.start",
    "onboarding.success",
    "overage_option_selected",
    "plan.approval_mode_duration",
    "plan.approval_mode_switch",
    "plan.execution",
    "rewind",
    "ripgrep_fallback",
    "slash_command",
    "slash_command.model",
    "startup_stats",
    "token_storage.initialization",
    "tool_output_masking",
    "tool_output_truncated",
    "web_fetch_fallback_attempt",
    // These have no prefix. The first repeats the usage.
    "gen_ai.client.inference.operation.details",
    "loop_detected",
    "loop_detection_disabled",
];

object! {
    /// The result of a tool.
    struct ToolMetadata {
        b"exitCode" => exit_code: i32,
        b"isError" => is_error: bool,
    }
}

/// Reads a log event. `key` identifies the record. Returns why the event was skipped, if it was.
pub(super) fn read_log(
    record: &LogRecord<'_>,
    key: Fingerprint,
    memory: &mut Memory,
) -> Result<(), &'static str> {
    let (at, attributes) = (record.at, &record.attributes);
    let session = attributes.text("session.id").ok_or("no session")?;
    let mut place = Place {
        session: SessionId::from(session),
        agent: None,
        start: Start::default(),
        supplier: LOGS,
    };
    let agent = || attributes.first_text(&["agent_id", "agent_name"]).map(AgentId::from);
    let steps = match &*record.name {
        "gemini_cli.config" => {
            place.start.model = attributes.text("model").map(shared);
            vec![Step::new(at, place.start.event())]
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
            vec![Step::new(at, call), Step::of(at, Action::EndResponse)]
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
            place
                .agent
                .iter()
                .map(|_| Step::new(at, EventKind::AgentStart { parent: None }))
                .collect()
        }
        "gemini_cli.agent.finish" => {
            place.agent = agent();
            place.agent.iter().map(|_| Step::new(at, EventKind::AgentEnd)).collect()
        }
        "gemini_cli.conversation_finished" => vec![Step::of(at, Action::EndTurn)],
        name if IGNORED.contains(&name.strip_prefix("gemini_cli.").unwrap_or(name)) => Vec::new(),
        _ => return Err("unknown event of Gemini CLI"),
    };
    memory.add(place, steps);
    Ok(())
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
