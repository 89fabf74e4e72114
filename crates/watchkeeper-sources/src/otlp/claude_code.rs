//! The telemetry of Claude Code: its log events, and its spans.

use jiff::Timestamp;
use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, Tokens},
};

use super::{
    meaning::{Meaning, error_message, started_at, with_unknown_arguments, written},
    memory::Memory,
    record::{Attributes, LogRecord, Span},
    step::{Action, LOGS, Place, Start, Step, shared},
};
use crate::{
    claude_code::{begins_like_the_harness, is_local, tool_call, without_suffix},
    json::{Text, object, parse},
    tool_names::ToolNames,
};

/// The scope of the log events.
pub(super) const LOG_SCOPE: &str = "com.anthropic.claude_code.events";

/// Log events without an event of a session.
const IGNORED: &[&str] = &[
    "api_refusal",
    "api_request_body",
    "api_response_body",
    "at_mention",
    "auth",
    "feedback_survey",
    "hook_execution_complete",
    "hook_execution_start",
    "hook_plugin_metrics",
    "hook_registered",
    "internal_error",
    "managed_settings_resolved",
    "mcp_server_connection",
    "permission_mode_changed",
    "plugin_installed",
    "plugin_loaded",
    "retention_sweep",
    "skill_activated",
];

object! {
    /// The description of a call.
    struct ToolParameters<'a> {
        b"full_command" => command: Text<'a>,
        b"description" => description: Text<'a>,
        b"mcp_server_name" => server: Text<'a>,
        b"mcp_tool_name" => tool: Text<'a>,
    }
}

/// Reads a log event. `name` is the short one. Returns why the event was skipped, if it was.
pub(super) fn read_log(
    record: &LogRecord<'_>,
    name: &str,
    start: &Start,
    memory: &mut Memory,
) -> Result<(), &'static str> {
    let attributes = &record.attributes;
    let session = attributes.text("session.id").ok_or("no session")?;
    let version = attributes.text("app.version").map(shared);
    let place = Place {
        session: SessionId::from(session),
        agent: attributes.text("agent_id").map(AgentId::from),
        start: Start { version: version.or_else(|| start.version.clone()), ..start.clone() },
        supplier: LOGS,
    };
    if !memory.admits_logs(&place.session) {
        return Ok(());
    }
    let log = Log { at: record.at, attributes, place: &place };
    let steps = match name {
        "user_prompt" => log.prompt(),
        "tool_decision" => log.decision(&mut memory.tools),
        "tool_result" => log.result(&mut memory.tools),
        "api_request" => log.model_call(),
        "assistant_response" => log.message(),
        "api_error" | "api_retries_exhausted" => log.failure(),
        "compaction" if attributes.flag("success") != Some(false) => {
            vec![log.step(EventKind::Compaction {
                before_tokens: attributes.count("pre_tokens"),
                after_tokens: attributes.count("post_tokens"),
            })]
        }
        "subagent_completed" if place.agent.is_some() => vec![log.step(EventKind::AgentEnd)],
        "compaction" | "subagent_completed" => Vec::new(),
        _ if IGNORED.contains(&name) => Vec::new(),
        _ => return Err("unknown event of Claude Code"),
    };
    memory.add(place, steps);
    Ok(())
}

/// A log event.
struct Log<'a> {
    at: Timestamp,
    attributes: &'a Attributes<'a>,
    place: &'a Place,
}

impl Log<'_> {
    fn step(&self, kind: EventKind) -> Step {
        Step::new(self.at, kind)
    }

    /// Returns the key of an event that several records contain.
    fn key(&self, of: &str, id: &str) -> Fingerprint {
        let session = Fingerprint::of(self.place.session.as_str());
        session.and(Fingerprint::of(of)).and(Fingerprint::of(id))
    }

    fn prompt(&self) -> Vec<Step> {
        let text = written(self.attributes.text("prompt"));
        if is_local(text) {
            return Vec::new();
        }
        let synthetic = begins_like_the_harness(text);
        vec![self.step(EventKind::Prompt { text: text.into(), synthetic })]
    }

    /// Reads the permission for a call. The command of a shell is known now, and other arguments
    /// with the result.
    fn decision(&self, tools: &mut ToolNames) -> Vec<Step> {
        let Some(id) = self.attributes.text("tool_use_id") else { return Vec::new() };
        let is_denied = self.attributes.text("decision") == Some("reject");
        let arguments = self.arguments();
        if arguments.is_none() && !is_denied {
            return vec![Step::of(self.at, Action::ExpectResult(id.into()))];
        }
        let mut steps = vec![self.call(id, arguments, self.at, tools)];
        if is_denied {
            let by_rule = matches!(self.attributes.text("source"), Some("config" | "hook"));
            let mut result = ToolResult::new(id, false, None);
            result.cause = Some(if by_rule { Cause::Blocked } else { Cause::Declined });
            steps.push(self.returned(id, result));
        }
        steps
    }

    fn result(&self, tools: &mut ToolNames) -> Vec<Step> {
        let attributes = self.attributes;
        let Some(id) = attributes.text("tool_use_id") else { return Vec::new() };
        let start = started_at(self.at, attributes);
        let ok = attributes.flag("success").unwrap_or(true);
        // The text about a failed command is the same for all commands.
        let is_command = attributes.text("error_type") == Some("ShellError");
        let error = attributes.text("error").filter(|_| !ok && !is_command);
        let result = ToolResult::new(id, ok, error.map(Box::from));
        vec![self.call(id, self.arguments(), start, tools), self.returned(id, result)]
    }

    fn call(
        &self,
        id: &str,
        arguments: Option<Json>,
        at: Timestamp,
        tools: &mut ToolNames,
    ) -> Step {
        let tool = self.attributes.text("tool_name").unwrap_or("unknown");
        let mut call = call(id, &self.tool(tool), arguments, tools);
        call.response = self.attributes.text("request_id").map(Box::from);
        Step::new(at, EventKind::ToolCall(call)).with_key(self.key("call", id))
    }

    fn returned(&self, id: &str, result: ToolResult) -> Step {
        self.step(EventKind::ToolResult(result)).with_key(self.key("result", id))
    }

    /// Returns the name of the tool, as in a session file.
    fn tool(&self, name: &str) -> String {
        match self.parameters() {
            Some(ToolParameters { server: Some(server), tool: Some(tool), .. }) => {
                format!("mcp__{}__{}", server.read(), tool.read())
            }
            _ => name.to_owned(),
        }
    }

    /// Returns the arguments of the call, as in a session file, if they are known.
    fn arguments(&self) -> Option<Json> {
        if let Some(input) = self.attributes.text("tool_input") {
            return Some(Json::parse_or_text(input));
        }
        let ToolParameters { command, description, .. } = self.parameters()?;
        let arguments = match (command?.read(), description.map(Text::read)) {
            (command, Some(description)) => {
                serde_json::json!({ "command": command, "description": description })
            }
            (command, None) => serde_json::json!({ "command": command }),
        };
        Some(Json::from(&arguments))
    }

    fn parameters(&self) -> Option<ToolParameters<'_>> {
        parse(self.attributes.text("tool_parameters")?.as_bytes()).ok()
    }

    fn model_call(&self) -> Vec<Step> {
        let attributes = self.attributes;
        let mut call = model_call(attributes);
        call.cost_usd = attributes.number("cost_usd").filter(|cost| 0.0 <= *cost);
        vec![self.step(EventKind::ModelCall(call)), Step::of(self.at, Action::EndResponse)]
    }

    fn message(&self) -> Vec<Step> {
        let text = written(self.attributes.text("response"));
        let message = EventKind::Message { text: text.into(), delta: false };
        let message = (!text.is_empty()).then(|| self.step(message));
        message.into_iter().chain([Step::of(self.at, Action::EndResponse)]).collect()
    }

    /// Reads a failed request. The client logs the failure of all attempts, once or twice.
    fn failure(&self) -> Vec<Step> {
        let attributes = self.attributes;
        let message = attributes.first_text(&["error", "status_code"]).unwrap_or("unknown error");
        let error = self.step(EventKind::Error { message: message.into(), retry: None });
        let Some(prompt) = attributes.text("prompt.id") else { return vec![error] };
        let agent = self.place.agent.as_ref().map_or("", AgentId::as_str);
        vec![error.with_key(self.key("failure", prompt).and(Fingerprint::of(agent)))]
    }
}

fn call(id: &str, tool: &str, arguments: Option<Json>, tools: &mut ToolNames) -> ToolCall {
    match arguments {
        Some(arguments) => tool_call(id.into(), tool, arguments, tools),
        None => with_unknown_arguments(tool_call(id.into(), tool, Json::default(), tools)),
    }
}

/// Returns the model call of a log event or a span. The input excludes cached tokens.
fn model_call(attributes: &Attributes<'_>) -> ModelCall {
    let count = |key| attributes.count(key).unwrap_or(0);
    let model = attributes.first_text(&["model", "gen_ai.request.model"]);
    let (model, context_tokens) = model.map_or((None, None), without_suffix);
    ModelCall {
        id: attributes.text("request_id").map(Box::from),
        model: model.map(Box::from),
        tokens: Tokens {
            input: count("input_tokens"),
            cache_read: count("cache_read_tokens"),
            cache_write: count("cache_creation_tokens"),
            output: count("output_tokens"),
            reasoning: 0,
            cache_write_1h: count("cache_creation_1h_tokens"),
        },
        cost_usd: None,
        context_tokens,
        web_searches: 0,
        is_fast: attributes.text("speed") == Some("fast"),
    }
}

/// Returns the meaning of a span. The conversation of a sub-agent's span is the agent.
pub(super) fn span(span: &Span<'_>, tools: &mut ToolNames) -> Meaning {
    let attributes = &span.attributes;
    let mut meaning = Meaning::of(span);
    meaning.session =
        attributes.first_text(&["session.id", "gen_ai.conversation.id"]).map(Into::into);
    meaning.agent = attributes.text("agent_id").map(AgentId::from);
    let call_id = || attributes.first_text(&["gen_ai.tool.call.id", "tool_use_id"]);
    match span.name.strip_prefix("claude_code.").unwrap_or_default() {
        "interaction" => {
            let text = written(attributes.text("user_prompt"));
            if !is_local(text) {
                let synthetic = begins_like_the_harness(text);
                meaning.at_start(EventKind::Prompt { text: text.into(), synthetic });
            }
            meaning.ends(Action::EndTurn);
        }
        "llm_request" if attributes.flag("success") == Some(false) || span.has_failed => {
            meaning.at_end(EventKind::Error { message: error_message(span), retry: None });
        }
        "llm_request" => meaning.at_end(EventKind::ModelCall(model_call(attributes))),
        "tool" => {
            let (Some(id), Some(tool)) = (call_id(), attributes.text("tool_name")) else {
                return meaning;
            };
            let arguments = span_arguments(attributes);
            meaning.at_start(EventKind::ToolCall(call(id, tool, arguments, tools)));
        }
        "tool.execution" => {
            let Some(id) = call_id() else { return meaning };
            let ok = attributes.flag("success").unwrap_or(!span.has_failed);
            let is_command = attributes.text("error_class") == Some("ShellError");
            let error = attributes.text("error").filter(|_| !ok && !is_command);
            meaning.at_end(EventKind::ToolResult(ToolResult::new(id, ok, error.map(Box::from))));
        }
        "hook" | "tool.blocked_on_user" => {}
        _ => meaning.skipped = Some("unknown span of Claude Code"),
    }
    meaning
}

/// Returns the arguments of a call that its span contains.
fn span_arguments(attributes: &Attributes<'_>) -> Option<Json> {
    if let Some(input) = attributes.text("tool_input") {
        return Some(Json::parse_or_text(input));
    }
    let argument = |key: &str, attribute: &str| {
        let value = attributes.text(attribute)?;
        Some(Json::from(&serde_json::json!({ (key): value })))
    };
    argument("command", "full_command").or_else(|| argument("file_path", "file_path"))
}
