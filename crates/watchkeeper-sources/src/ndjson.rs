//! The format of watchkeeper itself: one event per line, in JSON.

use std::path::Path;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{
    Deserialize, Serialize,
    de::value::{Error as NotOneOf, StrDeserializer},
};
use thiserror::Error;
use watchkeeper_core::{
    AgentId, Event, EventKind, Fingerprint, Json, ModelCall, SessionId, Source, SourceKind,
    ToolCall, ToolClass, ToolResult,
    author::{Cause, EventSink, SessionStart, Tokens, WaitingFor},
    quote, register_source,
};

use crate::{
    json::{Malformed, Reader, Text, decode, set_once},
    lines::lines_of,
    tool_names::ToolNames,
};

/// Reads events in the format of watchkeeper itself.
#[derive(Debug, Default)]
pub struct Ndjson {
    tools: ToolNames,
}

register_source!(Ndjson);

impl SourceKind for Ndjson {
    const KIND: &'static str = "ndjson";
    const DOCS: &'static str = include_str!("../docs/ndjson.md");
    const FILES: &'static [&'static str] = &["*.ndjson", "*.jsonl"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        lines_of(head).any(|line| {
            let mut fields = Line::default();
            // The last line may be incomplete. Its first fields are enough.
            let _: Result<(), Malformed> = fields.read(line);
            fields.at.is_some() && fields.session.is_some() && fields.event.is_some()
        })
    }

    fn new(_path: &Path) -> Self {
        Self::default()
    }
}

impl Source for Ndjson {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match parse(line, &mut self.tools) {
            Ok(Event { at, session, agent, kind, .. }) => {
                if is_new(line, &kind, sink) {
                    sink.event(at, &session, agent.as_ref(), kind);
                }
            }
            Err(EventError::Unknown { .. }) => sink.skip_part("unknown event"),
            Err(EventError::Malformed(reason) | EventError::Missing(reason)) => {
                sink.skip_line(reason);
            }
        }
    }
}

/// Returns whether an event is not a copy of an earlier line of this file or another
/// one.
///
/// The parts of a streamed text may be equal within a file.
fn is_new(line: &[u8], kind: &EventKind, sink: &mut EventSink<'_>) -> bool {
    let key = Fingerprint::of(line.trim_ascii()).and(Fingerprint::of("ndjson"));
    match kind {
        EventKind::Message { .. } | EventKind::Thinking { .. } => sink.is_first_here(key),
        _ => sink.is_new(key),
    }
}

/// The reason why a line is not an event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The line is not a JSON object.
    #[error("{0}")]
    Malformed(&'static str),
    /// A required field is missing or has another type.
    #[error("{0}")]
    Missing(&'static str),
    /// The name of the event is unknown.
    #[error("unknown event {}", quote(.name))]
    Unknown {
        /// The name.
        name: String,
    },
}

/// Parses one line, without its line break.
///
/// Unknown fields are ignored. Of a repeated field, the first one counts.
pub fn parse_event(line: impl AsRef<[u8]>) -> Result<Event, EventError> {
    parse(line.as_ref(), &mut ToolNames::default())
}

fn parse(line: &[u8], tools: &mut ToolNames) -> Result<Event, EventError> {
    let mut fields = Line::default();
    fields.read(line).map_err(EventError::Malformed)?;
    let at = fields.at.and_then(Text::time);
    let at = at.ok_or(EventError::Missing("no `at` that is an RFC 3339 time"))?;
    let session = fields.session.ok_or(EventError::Missing("no `session`"))?;
    let event = fields.event.ok_or(EventError::Missing("no `event`"))?;
    let kind = fields.kind(&event.read(), tools)?;
    let event = Event::new(at, session.read().as_ref(), kind);
    Ok(match fields.agent {
        Some(agent) => event.in_agent(agent.read().as_ref()),
        None => event,
    })
}

/// Writes an event as one line, without a line break.
///
/// [`parse_event`] parses the line. The line does not contain the origin of the
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
    /// The agent handed its work to another agent.
    Handoff {
        /// The other agent.
        to: &'a str,
    },
    /// A sub-agent started.
    AgentStart {},
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
        EventKind::Handoff { to } => Wire::Handoff { to },
        EventKind::AgentStart => Wire::AgentStart {},
        EventKind::AgentEnd => Wire::AgentEnd {},
        EventKind::SessionEnd { reason } => Wire::SessionEnd { reason: reason.as_deref() },
        _ => return None,
    })
}

/// The fields of a line, for all events.
#[derive(Default)]
struct Line<'a> {
    at: Option<Text<'a>>,
    session: Option<Text<'a>>,
    agent: Option<Text<'a>>,
    event: Option<Text<'a>>,
    id: Option<Text<'a>>,
    text: Option<Text<'a>>,
    synthetic: Option<bool>,
    delta: Option<bool>,
    cwd: Option<Text<'a>>,
    model: Option<Text<'a>>,
    version: Option<Text<'a>>,
    parent: Option<Text<'a>>,
    labels: Vec<(Box<str>, Box<str>)>,
    input: Option<u64>,
    output_tokens: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
    cache_write_1h: Option<u64>,
    cost: Option<&'a str>,
    context: Option<u64>,
    web_searches: Option<u64>,
    is_fast: Option<bool>,
    tool: Option<Text<'a>>,
    class: Option<Text<'a>>,
    arguments: Option<&'a [u8]>,
    response: Option<Text<'a>>,
    ok: Option<bool>,
    output: Option<Text<'a>>,
    exit_code: Option<&'a str>,
    cause: Option<Text<'a>>,
    r#for: Option<Text<'a>>,
    message: Option<Text<'a>>,
    retry: Option<u64>,
    before: Option<u64>,
    after: Option<u64>,
    to: Option<Text<'a>>,
    reason: Option<Text<'a>>,
}

impl<'a> Line<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(line);
        let is_object = reader.object(|reader, key| self.read_field(reader, key))?;
        reader.end()?;
        if is_object { Ok(()) } else { Err("not a JSON object") }
    }

    fn read_field(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<(), Malformed> {
        match key {
            b"at" => set_once(&mut self.at, reader.text()?),
            b"session" => set_once(&mut self.session, reader.text()?),
            b"agent" => set_once(&mut self.agent, reader.text()?),
            b"event" => set_once(&mut self.event, reader.text()?),
            b"id" => set_once(&mut self.id, reader.text()?),
            b"text" => set_once(&mut self.text, reader.text()?),
            b"synthetic" => set_once(&mut self.synthetic, reader.flag()?),
            b"delta" => set_once(&mut self.delta, reader.flag()?),
            b"cwd" => set_once(&mut self.cwd, reader.text()?),
            b"model" => set_once(&mut self.model, reader.text()?),
            b"version" => set_once(&mut self.version, reader.text()?),
            b"parent" => set_once(&mut self.parent, reader.text()?),
            b"labels" if self.labels.is_empty() => {
                reader.object(|reader, name| {
                    if let Some(value) = reader.text()? {
                        self.labels.push((Text::new(name).boxed(), value.boxed()));
                    }
                    Ok(())
                })?;
            }
            b"input_tokens" => set_once(&mut self.input, reader.count()?),
            b"output_tokens" => set_once(&mut self.output_tokens, reader.count()?),
            b"cache_read_tokens" => set_once(&mut self.cache_read, reader.count()?),
            b"cache_write_tokens" => set_once(&mut self.cache_write, reader.count()?),
            b"reasoning_tokens" => set_once(&mut self.reasoning, reader.count()?),
            b"cache_write_1h_tokens" => set_once(&mut self.cache_write_1h, reader.count()?),
            b"cost_usd" => set_once(&mut self.cost, reader.number()?),
            b"context_tokens" => set_once(&mut self.context, reader.count()?),
            b"web_searches" => set_once(&mut self.web_searches, reader.count()?),
            b"fast" => set_once(&mut self.is_fast, reader.flag()?),
            b"tool" => set_once(&mut self.tool, reader.text()?),
            b"class" => set_once(&mut self.class, reader.text()?),
            b"arguments" => set_once(&mut self.arguments, Some(reader.skip()?)),
            b"response" => set_once(&mut self.response, reader.text()?),
            b"ok" => set_once(&mut self.ok, reader.flag()?),
            b"output" => set_once(&mut self.output, reader.text()?),
            b"exit_code" => set_once(&mut self.exit_code, reader.number()?),
            b"cause" => set_once(&mut self.cause, reader.text()?),
            b"for" => set_once(&mut self.r#for, reader.text()?),
            b"message" => set_once(&mut self.message, reader.text()?),
            b"retry" => set_once(&mut self.retry, reader.count()?),
            b"before_tokens" => set_once(&mut self.before, reader.count()?),
            b"after_tokens" => set_once(&mut self.after, reader.count()?),
            b"to" => set_once(&mut self.to, reader.text()?),
            b"reason" => set_once(&mut self.reason, reader.text()?),
            _ => reader.pass()?,
        }
        Ok(())
    }

    fn kind(&mut self, event: &str, tools: &mut ToolNames) -> Result<EventKind, EventError> {
        let need = |field: Option<Text<'a>>, missing| {
            field.map(Text::boxed).ok_or(EventError::Missing(missing))
        };
        let waiting_for = || {
            let reason = self.r#for.and_then(|it| one_of::<WaitingFor>(&it.read()));
            reason.ok_or(EventError::Missing("no `for` that is `permission` or `person`"))
        };
        Ok(match event {
            "session_start" => EventKind::SessionStart(SessionStart {
                cwd: self.cwd.map(Text::boxed),
                model: self.model.map(Text::boxed),
                version: self.version.map(Text::boxed),
                parent: self.parent.map(|it| SessionId::from(it.read().as_ref())),
                labels: std::mem::take(&mut self.labels),
            }),
            "prompt" => EventKind::Prompt {
                text: need(self.text, "no `text`")?,
                synthetic: self.synthetic.unwrap_or(false),
            },
            "message" => EventKind::Message {
                text: need(self.text, "no `text`")?,
                delta: self.delta.unwrap_or(false),
            },
            "thinking" => EventKind::Thinking { text: need(self.text, "no `text`")? },
            "model_call" => EventKind::ModelCall(ModelCall {
                id: self.id.map(Text::boxed),
                model: self.model.map(Text::boxed),
                tokens: Tokens {
                    input: self.input.unwrap_or(0),
                    cache_read: self.cache_read.unwrap_or(0),
                    cache_write: self.cache_write.unwrap_or(0),
                    output: self.output_tokens.unwrap_or(0),
                    reasoning: self.reasoning.unwrap_or(0),
                    cache_write_1h: self.cache_write_1h.unwrap_or(0),
                },
                cost_usd: self
                    .cost
                    .and_then(|it| it.parse().ok())
                    .filter(|it: &f64| it.is_finite() && 0.0 <= *it),
                context_tokens: self.context.filter(|n| 0 < *n),
                web_searches: self.web_searches.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                is_fast: self.is_fast.unwrap_or(false),
            }),
            "tool_call" => EventKind::ToolCall(self.tool_call(tools)?),
            "tool_result" => {
                let id = need(self.id, "no `id`")?;
                let ok = self.ok.ok_or(EventError::Missing("no `ok`"))?;
                let mut result = ToolResult::new(id, ok, self.output.map(Text::boxed));
                result.exit_code = self.exit_code.and_then(|it| it.parse().ok());
                result.cause = self.cause.and_then(|it| one_of(&it.read()));
                EventKind::ToolResult(result)
            }
            "waiting" => EventKind::Waiting(waiting_for()?),
            "resumed" => EventKind::Resumed(waiting_for()?),
            "turn_end" => EventKind::TurnEnd,
            "error" => EventKind::Error {
                message: need(self.message, "no `message`")?,
                retry: self.retry.map(|it| u32::try_from(it).unwrap_or(u32::MAX)),
            },
            "compaction" => {
                EventKind::Compaction { before_tokens: self.before, after_tokens: self.after }
            }
            "handoff" => EventKind::Handoff { to: need(self.to, "no `to`")? },
            "agent_start" => EventKind::AgentStart,
            "agent_end" => EventKind::AgentEnd,
            "session_end" => EventKind::SessionEnd { reason: self.reason.map(Text::boxed) },
            name => return Err(EventError::Unknown { name: name.to_owned() }),
        })
    }

    fn tool_call(&self, tools: &mut ToolNames) -> Result<ToolCall, EventError> {
        let id = self.id.ok_or(EventError::Missing("no `id`"))?.boxed();
        let tool = self.tool.ok_or(EventError::Missing("no `tool`"))?.read();
        let arguments = decode(self.arguments.unwrap_or(b"null"));
        let arguments = Json::parse(&arguments)
            .map_err(|_| EventError::Malformed("arguments that are not JSON"))?;
        let (tool, class_of_name) = tools.get(&tool, |_| None);
        let class = self.class.and_then(|it| one_of::<ToolClass>(&it.read()));
        let class = class.unwrap_or(class_of_name);
        let mut call = ToolCall::of_class(id, tool, arguments, Some(class), &[]);
        call.response = self.response.map(Text::boxed);
        Ok(call)
    }
}

/// Parses the name of a variant.
fn one_of<'de, T: Deserialize<'de>>(name: &'de str) -> Option<T> {
    T::deserialize(StrDeserializer::<NotOneOf>::new(name)).ok()
}
