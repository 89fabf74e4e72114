//! Watchkeeper's own form: one event a line, in JSON.

use std::path::Path;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{
    Deserialize, Serialize,
    de::value::{Error as NotOneOf, StrDeserializer},
};
use thiserror::Error;
use watchkeeper_core::{
    AgentId, Cause, Event, EventKind, EventSink, Json, ModelCall, SessionId, SessionStart, Source,
    SourceKind, Tokens, ToolCall, ToolClass, ToolResult, WaitingFor, quote, register_source,
};

use crate::{
    json::{Malformed, Reader, Text, decode, keep},
    tool_names::ToolNames,
};

/// Reads events in watchkeeper's own form.
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
        head.split(|it| *it == b'\n').any(|line| {
            let mut it = Line::default();
            // The last line may be cut, and what was read of it still tells.
            let _: Result<(), Malformed> = it.read(line);
            it.at.is_some() && it.session.is_some() && it.event.is_some()
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
        match parse_event(line) {
            Ok(Event { at, session, agent, mut kind, .. }) => {
                if let EventKind::ToolCall(call) = &mut kind {
                    call.tool = self.tools.get(&call.tool, |_| None).0;
                }
                sink.event(at, &session, agent.as_ref(), kind);
            }
            Err(EventError::Unknown { .. }) => sink.skip_part("unknown event"),
            Err(EventError::Malformed(reason) | EventError::Missing(reason)) => {
                sink.skip_line(reason);
            }
        }
    }
}

/// Why a line is no event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// It is no JSON object.
    #[error("{0}")]
    Malformed(&'static str),
    /// A field that its event must have is not there, or is of another type.
    #[error("{0}")]
    Missing(&'static str),
    /// Its event has a name that is not known.
    #[error("unknown event {}", quote(.name))]
    Unknown {
        /// The name.
        name: String,
    },
}

/// Reads one line, without its line break.
///
/// Fields that are not known are ignored; of a field that comes twice, the
/// first counts.
pub fn parse_event(line: impl AsRef<[u8]>) -> Result<Event, EventError> {
    let mut it = Line::default();
    it.read(line.as_ref()).map_err(EventError::Malformed)?;
    let at = it.at.and_then(|it| it.read().parse::<Timestamp>().ok());
    let at = at.ok_or(EventError::Missing("no `at` that is an RFC 3339 time"))?;
    let session = it.session.ok_or(EventError::Missing("no `session`"))?;
    let event = it.event.ok_or(EventError::Missing("no `event`"))?;
    let kind = it.kind(&event.read())?;
    let event = Event::new(at, session.read().as_ref(), kind);
    Ok(match it.agent {
        Some(agent) => event.in_agent(agent.read().as_ref()),
        None => event,
    })
}

/// Writes an event as one line, without a line break.
///
/// [`parse_event`] reads it again; where it was read is not written.
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
    // Strings, numbers and JSON that was read before are all that is written.
    let (head, body) = written.expect("events can be written");
    format!("{},{}", &head[..head.len() - 1], &body[1..])
}

/// Describes a line of this form.
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

/// What every line has.
#[derive(Serialize, JsonSchema)]
struct Head<'a> {
    /// When it happened.
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// The session it happened in.
    session: &'a str,
    /// The sub-agent it happened in; left out for the session's main agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
}

#[derive(Serialize)]
struct Nameless {
    event: &'static str,
}

/// What a line says, beside what every line has.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Wire<'a> {
    /// The session began, or was resumed.
    SessionStart {
        /// The folder it works in.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<&'a str>,
        /// The model it begins with.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        /// The version of the agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<&'a str>,
        /// The session it was forked from.
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<&'a str>,
        /// Labels of its own.
        #[serde(skip_serializing_if = "Labels::is_empty")]
        #[schemars(with = "std::collections::BTreeMap<String, String>", default)]
        labels: Labels<'a>,
    },
    /// A person, or another agent, spoke to the agent.
    Prompt {
        /// What was said.
        text: &'a str,
        /// The harness made it, and not a person.
        #[serde(skip_serializing_if = "is_false", default)]
        synthetic: bool,
    },
    /// The agent said something.
    Message {
        /// What it said.
        text: &'a str,
        /// It is a streamed piece of the current message.
        #[serde(skip_serializing_if = "is_false", default)]
        delta: bool,
    },
    /// The agent thought.
    Thinking {
        /// What it thought.
        text: &'a str,
    },
    /// A model answered. Classes of tokens never overlap, but for those that are
    /// part of another.
    ModelCall {
        /// The id of the answer; a later one with the same id replaces it.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        /// The model.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<&'a str>,
        /// Tokens read, and not from a cache.
        input_tokens: u64,
        /// Tokens written, reasoning included.
        output_tokens: u64,
        /// Tokens read from a cache.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_read_tokens: u64,
        /// Tokens read, and written to a cache.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_write_tokens: u64,
        /// The part of the output that was reasoning.
        #[serde(skip_serializing_if = "is_zero", default)]
        reasoning_tokens: u64,
        /// The part of what was written to a cache that is kept for an hour.
        #[serde(skip_serializing_if = "is_zero", default)]
        cache_write_1h_tokens: u64,
        /// What it cost in US dollars.
        #[serde(skip_serializing_if = "Option::is_none")]
        cost_usd: Option<f64>,
    },
    /// The agent called a tool.
    ToolCall {
        /// What its result will name it by.
        id: &'a str,
        /// The tool.
        tool: &'a str,
        /// What the tool does to the world; told by its name if left out.
        #[schemars(with = "Option<ToolClass>")]
        class: ToolClass,
        /// What it was given.
        #[schemars(with = "serde_json::Value")]
        arguments: &'a Json,
        /// The answer of the model it came with: calls that share one are parallel.
        #[serde(skip_serializing_if = "Option::is_none")]
        response: Option<&'a str>,
    },
    /// A tool answered.
    ToolResult {
        /// The id of the call.
        id: &'a str,
        /// Whether the tool did what it was asked.
        ok: bool,
        /// What it said.
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<&'a str>,
        /// The exit code of a command.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// Why it is not the tool's own answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// The agent waits for someone.
    Waiting {
        /// For what.
        r#for: WaitingFor,
    },
    /// It waits no longer.
    Resumed {
        /// For what it had waited.
        r#for: WaitingFor,
    },
    /// The agent has done what the prompt asked, and rests.
    TurnEnd {},
    /// Something went wrong outside the agent's tools.
    Error {
        /// What went wrong.
        message: &'a str,
        /// Which attempt it was, if it is tried again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<u32>,
    },
    /// The context was compacted.
    Compaction {
        /// Tokens in the context before.
        #[serde(skip_serializing_if = "Option::is_none")]
        before_tokens: Option<u64>,
        /// Tokens in the context after.
        #[serde(skip_serializing_if = "Option::is_none")]
        after_tokens: Option<u64>,
    },
    /// The agent handed its work to another.
    Handoff {
        /// The other.
        to: &'a str,
    },
    /// A sub-agent began.
    AgentStart {},
    /// A sub-agent ended.
    AgentEnd {},
    /// The session ended.
    SessionEnd {
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(it: &bool) -> bool {
    !it
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(it: &u64) -> bool {
    *it == 0
}

/// Labels, written as an object.
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

/// `None` for an event that this form does not have yet.
fn wire(kind: &EventKind) -> Option<Wire<'_>> {
    Some(match kind {
        EventKind::SessionStart(it) => Wire::SessionStart {
            cwd: it.cwd.as_deref(),
            model: it.model.as_deref(),
            version: it.version.as_deref(),
            parent: it.parent.as_ref().map(SessionId::as_str),
            labels: Labels(&it.labels),
        },
        EventKind::Prompt { text, synthetic } => Wire::Prompt { text, synthetic: *synthetic },
        EventKind::Message { text, delta } => Wire::Message { text, delta: *delta },
        EventKind::Thinking { text } => Wire::Thinking { text },
        EventKind::ModelCall(it) => Wire::ModelCall {
            id: it.id.as_deref(),
            model: it.model.as_deref(),
            input_tokens: it.tokens.input,
            output_tokens: it.tokens.output,
            cache_read_tokens: it.tokens.cache_read,
            cache_write_tokens: it.tokens.cache_write,
            reasoning_tokens: it.tokens.reasoning,
            cache_write_1h_tokens: it.tokens.cache_write_1h,
            cost_usd: it.cost_usd,
        },
        EventKind::ToolCall(it) => Wire::ToolCall {
            id: &it.id,
            tool: &it.tool,
            class: it.class,
            arguments: &it.arguments,
            response: it.response.as_deref(),
        },
        EventKind::ToolResult(it) => Wire::ToolResult {
            id: &it.id,
            ok: it.ok,
            output: it.output.as_deref(),
            exit_code: it.exit_code,
            cause: it.cause,
        },
        EventKind::Waiting(what) => Wire::Waiting { r#for: *what },
        EventKind::Resumed(what) => Wire::Resumed { r#for: *what },
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

/// What a line holds: the fields of all events.
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
            b"at" => keep(&mut self.at, reader.text()?),
            b"session" => keep(&mut self.session, reader.text()?),
            b"agent" => keep(&mut self.agent, reader.text()?),
            b"event" => keep(&mut self.event, reader.text()?),
            b"id" => keep(&mut self.id, reader.text()?),
            b"text" => keep(&mut self.text, reader.text()?),
            b"synthetic" => keep(&mut self.synthetic, reader.flag()?),
            b"delta" => keep(&mut self.delta, reader.flag()?),
            b"cwd" => keep(&mut self.cwd, reader.text()?),
            b"model" => keep(&mut self.model, reader.text()?),
            b"version" => keep(&mut self.version, reader.text()?),
            b"parent" => keep(&mut self.parent, reader.text()?),
            b"labels" if self.labels.is_empty() => {
                reader.object(|reader, name| {
                    if let Some(value) = reader.text()? {
                        self.labels.push((Text::new(name).boxed(), value.boxed()));
                    }
                    Ok(())
                })?;
            }
            b"input_tokens" => keep(&mut self.input, reader.count()?),
            b"output_tokens" => keep(&mut self.output_tokens, reader.count()?),
            b"cache_read_tokens" => keep(&mut self.cache_read, reader.count()?),
            b"cache_write_tokens" => keep(&mut self.cache_write, reader.count()?),
            b"reasoning_tokens" => keep(&mut self.reasoning, reader.count()?),
            b"cache_write_1h_tokens" => keep(&mut self.cache_write_1h, reader.count()?),
            b"cost_usd" => keep(&mut self.cost, reader.number()?),
            b"tool" => keep(&mut self.tool, reader.text()?),
            b"class" => keep(&mut self.class, reader.text()?),
            b"arguments" => keep(&mut self.arguments, Some(reader.skip()?)),
            b"response" => keep(&mut self.response, reader.text()?),
            b"ok" => keep(&mut self.ok, reader.flag()?),
            b"output" => keep(&mut self.output, reader.text()?),
            b"exit_code" => keep(&mut self.exit_code, reader.number()?),
            b"cause" => keep(&mut self.cause, reader.text()?),
            b"for" => keep(&mut self.r#for, reader.text()?),
            b"message" => keep(&mut self.message, reader.text()?),
            b"retry" => keep(&mut self.retry, reader.count()?),
            b"before_tokens" => keep(&mut self.before, reader.count()?),
            b"after_tokens" => keep(&mut self.after, reader.count()?),
            b"to" => keep(&mut self.to, reader.text()?),
            b"reason" => keep(&mut self.reason, reader.text()?),
            _ => reader.pass()?,
        }
        Ok(())
    }

    fn kind(&mut self, event: &str) -> Result<EventKind, EventError> {
        let need = |field: Option<Text<'a>>, missing| {
            field.map(Text::boxed).ok_or(EventError::Missing(missing))
        };
        let what = || {
            let what = self.r#for.and_then(|it| one_of::<WaitingFor>(&it.read()));
            what.ok_or(EventError::Missing("no `for` that is `permission` or `person`"))
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
            }),
            "tool_call" => EventKind::ToolCall(self.tool_call()?),
            "tool_result" => {
                let id = need(self.id, "no `id`")?;
                let ok = self.ok.ok_or(EventError::Missing("no `ok`"))?;
                let mut result = ToolResult::new(id, ok, self.output.map(Text::boxed));
                result.exit_code = self.exit_code.and_then(|it| it.parse().ok());
                result.cause = self.cause.and_then(|it| one_of(&it.read()));
                EventKind::ToolResult(result)
            }
            "waiting" => EventKind::Waiting(what()?),
            "resumed" => EventKind::Resumed(what()?),
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

    fn tool_call(&self) -> Result<ToolCall, EventError> {
        let id = self.id.ok_or(EventError::Missing("no `id`"))?.boxed();
        let tool = self.tool.ok_or(EventError::Missing("no `tool`"))?.read();
        let arguments = decode(self.arguments.unwrap_or(b"null"));
        let arguments = Json::parse(&arguments)
            .map_err(|_| EventError::Malformed("arguments that are not JSON"))?;
        let class = self.class.and_then(|it| one_of::<ToolClass>(&it.read()));
        let mut call = ToolCall::of_class(id, tool.as_ref(), arguments, class, &[]);
        call.response = self.response.map(Text::boxed);
        Ok(call)
    }
}

/// Reads the name of a variant.
fn one_of<'de, T: Deserialize<'de>>(name: &'de str) -> Option<T> {
    T::deserialize(StrDeserializer::<NotOneOf>::new(name)).ok()
}
