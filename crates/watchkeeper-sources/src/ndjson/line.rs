//! The members of a line, and their event.

use serde::{
    Deserialize,
    de::value::{Error as NotOneOf, StrDeserializer},
};
use watchkeeper_core::{
    AgentId, EventKind, Json, ModelCall, Quota, SessionId, SignedDuration, ToolCall, ToolClass,
    ToolResult,
    author::{SessionStart, Tokens, WaitingFor},
};

use super::error::EventError;
use crate::{
    json::{Number, RawText, Text, Values, object},
    tool_names::ToolNames,
};

/// The longest time in which a quota applies, in minutes: a century.
const MAX_MINUTES: i64 = 100 * 366 * 24 * 60;

object! {
    /// A line, for all events.
    pub(super) struct Line<'a> {
        b"at" => at: Text<'a>,
        b"session" => session: Text<'a>,
        b"agent" => agent: Text<'a>,
        b"event" => event: Text<'a>,
        b"id" => id: Text<'a>,
        b"text" => text: Text<'a>,
        b"synthetic" => synthetic: bool,
        b"delta" => delta: bool,
        b"cwd" => cwd: Text<'a>,
        b"model" => model: Text<'a>,
        b"version" => version: Text<'a>,
        b"parent" => parent: Text<'a>,
        b"labels" => labels: Values<'a, Text<'a>>,
        b"input_tokens" => input_tokens: u64,
        b"output_tokens" => output_tokens: u64,
        b"cache_read_tokens" => cache_read: u64,
        b"cache_write_tokens" => cache_write: u64,
        b"cache_write_1h_tokens" => cache_write_1h: u64,
        b"reasoning_tokens" => reasoning: u64,
        b"cost_usd" => cost: Number<'a>,
        b"context_tokens" => context: u64,
        b"web_searches" => web_searches: u64,
        b"fast" => is_fast: bool,
        b"tool" => tool: Text<'a>,
        b"class" => class: Text<'a>,
        b"arguments" => arguments: RawText<'a>,
        b"response" => response: Text<'a>,
        b"ok" => ok: bool,
        b"output" => output: Text<'a>,
        b"exit_code" => exit_code: Number<'a>,
        b"cause" => cause: Text<'a>,
        b"for" => waiting_for: Text<'a>,
        b"message" => message: Text<'a>,
        b"retry" => retry: u64,
        b"before_tokens" => before: u64,
        b"after_tokens" => after: u64,
        b"name" => name: Text<'a>,
        b"used_percent" => used_percent: Number<'a>,
        b"window_minutes" => window_minutes: u64,
        b"resets_at" => resets_at: Text<'a>,
        b"to" => to: Text<'a>,
        b"reason" => reason: Text<'a>,
    }
}

impl<'a> Line<'a> {
    /// Returns the event with the name `event`.
    pub(super) fn kind(&self, event: &str, tools: &mut ToolNames) -> Result<EventKind, EventError> {
        let need = |field: Option<Text<'a>>, missing| {
            field.map(Text::boxed).ok_or(EventError::Missing(missing))
        };
        let waiting_for = || {
            let reason = self.waiting_for.and_then(|reason| one_of::<WaitingFor>(&reason.read()));
            reason.ok_or(EventError::Missing("no `for` that is `permission` or `person`"))
        };
        Ok(match event {
            "session_start" => EventKind::SessionStart(SessionStart {
                cwd: self.cwd.map(Text::boxed),
                model: self.model.map(Text::boxed),
                version: self.version.map(Text::boxed),
                parent: self.parent.map(|parent| SessionId::from(parent.read().as_ref())),
                labels: self.labels(),
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
                    input: self.input_tokens.unwrap_or(0),
                    cache_read: self.cache_read.unwrap_or(0),
                    cache_write: self.cache_write.unwrap_or(0),
                    output: self.output_tokens.unwrap_or(0),
                    reasoning: self.reasoning.unwrap_or(0),
                    cache_write_1h: self.cache_write_1h.unwrap_or(0),
                },
                cost_usd: self
                    .cost
                    .and_then(Number::parse)
                    .filter(|cost: &f64| cost.is_finite() && 0.0 <= *cost),
                context_tokens: self.context.filter(|n| 0 < *n),
                web_searches: self.web_searches.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                is_fast: self.is_fast.unwrap_or(false),
            }),
            "tool_call" => EventKind::ToolCall(self.tool_call(tools)?),
            "tool_result" => {
                let id = need(self.id, "no `id`")?;
                let ok = self.ok.ok_or(EventError::Missing("no `ok`"))?;
                let mut result = ToolResult::new(id, ok, self.output.map(Text::boxed));
                result.exit_code = self.exit_code.and_then(Number::parse);
                result.cause = self.cause.and_then(|cause| one_of(&cause.read()));
                EventKind::ToolResult(result)
            }
            "waiting" => EventKind::Waiting(waiting_for()?),
            "resumed" => EventKind::Resumed(waiting_for()?),
            "turn_end" => EventKind::TurnEnd,
            "error" => EventKind::Error {
                message: need(self.message, "no `message`")?,
                retry: self.retry.map(|retry| u32::try_from(retry).unwrap_or(u32::MAX)),
            },
            "compaction" => {
                EventKind::Compaction { before_tokens: self.before, after_tokens: self.after }
            }
            "quota" => EventKind::Quota(self.quota()?),
            "handoff" => EventKind::Handoff { to: need(self.to, "no `to`")? },
            "agent_start" => EventKind::AgentStart {
                parent: self.parent.map(|parent| AgentId::from(parent.read().as_ref())),
            },
            "agent_end" => EventKind::AgentEnd,
            "session_end" => EventKind::SessionEnd { reason: self.reason.map(Text::boxed) },
            name => return Err(EventError::Unknown { name: name.to_owned() }),
        })
    }

    fn labels(&self) -> Vec<(Box<str>, Box<str>)> {
        let labels = self.labels.iter().flat_map(|labels| &labels.0);
        labels.map(|(name, value)| (name.boxed(), value.boxed())).collect()
    }

    fn quota(&self) -> Result<Quota, EventError> {
        let used = self.used_percent.and_then(Number::parse);
        let used = used.filter(|percent: &f64| percent.is_finite() && 0.0 <= *percent);
        let minutes = self.window_minutes.and_then(|minutes| i64::try_from(minutes).ok());
        Ok(Quota {
            name: self.name.ok_or(EventError::Missing("no `name`"))?.boxed(),
            used_percent: used.ok_or(EventError::Missing("no `used_percent`"))?,
            window: minutes.map(|minutes| SignedDuration::from_mins(minutes.min(MAX_MINUTES))),
            resets_at: self.resets_at.and_then(Text::time),
        })
    }

    fn tool_call(&self, tools: &mut ToolNames) -> Result<ToolCall, EventError> {
        let id = self.id.ok_or(EventError::Missing("no `id`"))?.boxed();
        let tool = self.tool.ok_or(EventError::Missing("no `tool`"))?.read();
        let arguments = Json::parse(self.arguments.map_or("null", |arguments| arguments.0))
            .map_err(|_| EventError::Malformed("arguments that are not JSON"))?;
        let (tool, class_of_name) = tools.get(&tool, |_| None);
        let class = self.class.and_then(|class| one_of::<ToolClass>(&class.read()));
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
