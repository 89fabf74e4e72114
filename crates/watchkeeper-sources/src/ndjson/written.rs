//! The written form of events, and its schema.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;
use watchkeeper_core::{
    AgentId, Event, EventKind, Json, SessionId, ToolClass,
    author::{Cause, WaitingFor},
};

/// Writes an event as one line, without a line break.
///
/// [`parse_event`](crate::parse_event) parses the line. The line does not contain the origin of the
/// event.
pub fn write_event(event: &Event) -> String {
    let head = Head {
        at: event.at,
        session: event.session.as_str(),
        agent: event.agent.as_ref().map(AgentId::as_str),
    };
    let body = match wire(&event.kind) {
        Some(body) => serde_json::to_string(&body),
        None => serde_json::to_string(&Nameless { event: event.kind.name() }),
    };
    let written = serde_json::to_string(&head).and_then(|head| Ok((head, body?)));
    // An event contains only strings, numbers and valid JSON.
    let (head, body) = written.expect("events can be written");
    format!("{},{}", &head[..head.len() - 1], &body[1..])
}

/// Returns the JSON schema of a line.
pub fn event_schema() -> Schema {
    let head = schema_for!(Head<'_>);
    let mut schema = schema_for!(Wire<'_>);
    let field = |schema: &Schema, name: &str| schema.get(name).cloned().unwrap_or_default();
    let (properties, required) = (field(&head, "properties"), field(&head, "required"));
    let variants = schema.get_mut("oneOf").and_then(|it| it.as_array_mut());
    for variant in variants.into_iter().flatten().filter_map(|it| it.as_object_mut()) {
        if let (Some(to), Some(from)) = (
            variant.entry("properties").or_insert_with(|| serde_json::json!({})).as_object_mut(),
            properties.as_object(),
        ) {
            to.extend(from.iter().map(|(name, it)| (name.clone(), it.clone())));
        }
        if let (Some(to), Some(from)) = (
            variant.entry("required").or_insert_with(|| serde_json::json!([])).as_array_mut(),
            required.as_array(),
        ) {
            to.splice(0..0, from.iter().cloned());
        }
    }
    schema.insert("title".to_owned(), "An event".into());
    schema
}

/// The fields of all lines.
#[derive(Serialize, JsonSchema)]
struct Head<'a> {
    /// The time of the event.
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// The session of the event.
    session: &'a str,
    /// The sub-agent of the event; absent for the session's main agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
}

#[derive(Serialize)]
struct Nameless {
    event: &'static str,
}

/// The other fields of a line, by event.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Wire<'a> {
    /// The session began, or was resumed.
    SessionStart {
        /// The working folder.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<&'a str>,
        /// The first model.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        /// The version of the agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
        /// The session from which this one was forked.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<&'a str>,
        /// Labels of the session.
        #[serde(skip_serializing_if = "Labels::is_empty")]
        #[schemars(with = "std::collections::BTreeMap<String, String>", default)]
        labels: Labels<'a>,
    },
    /// A person or another agent prompted the agent.
    Prompt {
        /// The text of the prompt.
        text: &'a str,
        /// The harness wrote the prompt, not a person.
        #[serde(skip_serializing_if = "is_false", default)]
        synthetic: bool,
    },
    /// The agent wrote a message.
    Message {
        /// The text of the message.
        text: &'a str,
        /// The text is a streamed part of the current message.
        #[serde(skip_serializing_if = "is_false", default)]
        delta: bool,
    },
    /// The agent thought.
    Thinking {
        /// The text of the thought.
        text: &'a str,
    },
    /// A model responded. Token counts do not overlap, except a count that is
    /// documented as part of another.
    ModelCall {
        /// The id of the response. A later event with the same id replaces this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        /// The model.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        /// Input tokens that were not read from a cache.
        input_tokens: u64,
        /// Output tokens, including reasoning.
        output_tokens: u64,
        /// Input tokens that were read from a cache.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_read_tokens: u64,
        /// Input tokens that were written to a cache.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_write_tokens: u64,
        /// Output tokens of reasoning, a part of `output_tokens`.
        #[serde(skip_serializing_if = "is_zero", default)]
        reasoning_tokens: u64,
        /// Tokens that the cache keeps for an hour, a part of `cache_write_tokens`.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_write_1h_tokens: u64,
        /// The cost in US dollars.
        #[serde(skip_serializing_if = "Option::is_none")]
        cost_usd: Option<f64>,
        /// The size of the context window in tokens.
        #[serde(skip_serializing_if = "Option::is_none")]
        context_tokens: Option<u64>,
        /// Web searches of the provider, which have a price of their own.
        #[serde(skip_serializing_if = "is_zero_u32", default)]
        web_searches: u32,
        /// Whether the provider answered in its fast mode, at a multiple of the price.
        #[serde(skip_serializing_if = "is_false", default)]
        fast: bool,
    },
    /// The agent called a tool.
    ToolCall {
        /// The id of the call, which its result repeats.
        id: &'a str,
        /// The name of the tool.
        tool: &'a str,
        /// The class of the tool. The default is the class that its name suggests.
        #[schemars(with = "Option<ToolClass>")]
        class: ToolClass,
        /// The arguments of the call.
        #[schemars(with = "serde_json::Value")]
        arguments: &'a Json,
        /// The id of the model response with this call. Calls with the same response
        /// run in parallel.
        #[serde(skip_serializing_if = "Option::is_none")]
        response: Option<&'a str>,
    },
    /// A tool returned a result.
    ToolResult {
        /// The id of the call.
        id: &'a str,
        /// The call succeeded.
        ok: bool,
        /// The output of the tool.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<&'a str>,
        /// The exit code of a command.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// The cause of a failure outside the tool.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// The agent waits for a person.
    Waiting {
        /// The reason for waiting.
        r#for: WaitingFor,
    },
    /// The agent no longer waits.
    Resumed {
        /// The reason for which it had waited.
        r#for: WaitingFor,
    },
    /// The agent completed its turn.
    TurnEnd {},
    /// An error occurred outside the agent's tools.
    Error {
        /// The error message.
        message: &'a str,
        /// The number of the attempt, if the agent retries.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<u32>,
    },
    /// The context was compacted.
    Compaction {
        /// Tokens in the context before the compaction.
        #[serde(skip_serializing_if = "Option::is_none")]
        before_tokens: Option<u64>,
        /// Tokens in the context after the compaction.
        #[serde(skip_serializing_if = "Option::is_none")]
        after_tokens: Option<u64>,
    },
    /// The provider stated how much of a limit of the account is used.
    Quota {
        /// The name of the limit.
        name: &'a str,
        /// The used part in percent.
        used_percent: f64,
        /// The time in which the limit applies, in minutes.
        #[serde(skip_serializing_if = "Option::is_none")]
        window_minutes: Option<u64>,
        /// The time at which the limit starts again.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        resets_at: Option<Timestamp>,
    },
    /// The agent handed its work to another agent.
    Handoff {
        /// The other agent.
        to: &'a str,
    },
    /// A sub-agent started.
    AgentStart {
        /// The sub-agent that started this one; absent for the session's main agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<&'a str>,
    },
    /// A sub-agent ended.
    AgentEnd {},
    /// The session ended.
    SessionEnd {
        /// The reason for the end.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

/// Labels that are serialized as an object.
#[derive(Default)]
struct Labels<'a>(&'a [(Box<str>, Box<str>)]);

impl Labels<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// Returns the line of an event, or `None` if the format does not support it yet.
fn wire(kind: &EventKind) -> Option<Wire<'_>> {
    Some(match kind {
        EventKind::SessionStart(start) => Wire::SessionStart {
            cwd: start.cwd.as_deref(),
            model: start.model.as_deref(),
            version: start.version.as_deref(),
            parent: start.parent.as_ref().map(SessionId::as_str),
            labels: Labels(&start.labels),
        },
        EventKind::Prompt { text, synthetic } => Wire::Prompt { text, synthetic: *synthetic },
        EventKind::Message { text, delta } => Wire::Message { text, delta: *delta },
        EventKind::Thinking { text } => Wire::Thinking { text },
        EventKind::ModelCall(call) => Wire::ModelCall {
            id: call.id.as_deref(),
            model: call.model.as_deref(),
            input_tokens: call.tokens.input,
            output_tokens: call.tokens.output,
            cache_read_tokens: call.tokens.cache_read,
            cache_write_tokens: call.tokens.cache_write,
            reasoning_tokens: call.tokens.reasoning,
            cache_write_1h_tokens: call.tokens.cache_write_1h,
            cost_usd: call.cost_usd,
            context_tokens: call.context_tokens,
            web_searches: call.web_searches,
            fast: call.is_fast,
        },
        EventKind::ToolCall(call) => Wire::ToolCall {
            id: &call.id,
            tool: &call.tool,
            class: call.class,
            arguments: &call.arguments,
            response: call.response.as_deref(),
        },
        EventKind::ToolResult(result) => Wire::ToolResult {
            id: &result.id,
            ok: result.ok,
            output: result.output.as_deref(),
            exit_code: result.exit_code,
            cause: result.cause,
        },
        EventKind::Waiting(reason) => Wire::Waiting { r#for: *reason },
        EventKind::Resumed(reason) => Wire::Resumed { r#for: *reason },
        EventKind::TurnEnd => Wire::TurnEnd {},
        EventKind::Error { message, retry } => Wire::Error { message, retry: *retry },
        EventKind::Compaction { before_tokens, after_tokens } => {
            Wire::Compaction { before_tokens: *before_tokens, after_tokens: *after_tokens }
        }
        EventKind::Quota(quota) => Wire::Quota {
            name: &quota.name,
            used_percent: quota.used_percent,
            window_minutes: quota.window.and_then(|window| u64::try_from(window.as_mins()).ok()),
            resets_at: quota.resets_at,
        },
        EventKind::Handoff { to } => Wire::Handoff { to },
        EventKind::AgentStart { parent } => {
            Wire::AgentStart { parent: parent.as_ref().map(AgentId::as_str) }
        }
        EventKind::AgentEnd => Wire::AgentEnd {},
        EventKind::SessionEnd { reason } => Wire::SessionEnd { reason: reason.as_deref() },
        _ => return None,
    })
}
