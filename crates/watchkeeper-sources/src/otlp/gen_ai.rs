//! Spans and events by the semantic conventions for generative AI, in the spellings of several
//! versions, of `OpenLLMetry` and of `OpenInference`.
//!
//! | version | names |
//! | --- | --- |
//! | up to 1.36 | `gen_ai.system`; at first `gen_ai.usage.prompt_tokens` and `completion_tokens` |
//! | 1.37 to 1.41 | `gen_ai.provider.name`, messages in attributes |
//! | own repository | the same names, and details of usage |
//!
//! GitHub Copilot and the Microsoft Agent Framework follow these conventions.

use watchkeeper_core::{EventKind, Json, ModelCall, ToolCall, ToolResult, author::Tokens};

use super::{
    meaning::{Meaning, error_message, with_unknown_arguments},
    record::{Attributes, Span},
    step::Action,
};
use crate::json::{Text, object, parse_value};

/// The attributes with the session, the most specific first.
const SESSION: &[&str] = &[
    "gen_ai.conversation.id",
    "session.id",
    "conversation.id",
    "traceloop.association.properties.session_id",
];
const ARGUMENTS: &[&str] = &["gen_ai.tool.call.arguments", "input.value", "traceloop.entity.input"];
const RESULT: &[&str] = &["gen_ai.tool.call.result", "output.value", "traceloop.entity.output"];

/// The meaning of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Chat,
    Tool,
    /// An agent or a workflow.
    Agent,
    /// An operation without an event of a session.
    Ignored,
}

impl Operation {
    /// Returns the operation of a span, unless the span has none. The error is for an unknown one.
    fn of(attributes: &Attributes<'_>) -> Option<Result<Self, &'static str>> {
        const NAMES: &[&str] = &[
            "gen_ai.operation.name",
            "openinference.span.kind",
            "traceloop.span.kind",
            "llm.request.type",
        ];
        const IGNORED: &[&str] = &[
            // The conventions.
            "create_agent",
            "embeddings",
            "retrieval",
            // OpenInference, in upper case, and OpenLLMetry.
            "CHAIN",
            "EMBEDDING",
            "EVALUATOR",
            "GUARDRAIL",
            "PROMPT",
            "RERANKER",
            "RETRIEVER",
            "UNKNOWN",
            "embedding",
            "rerank",
            "task",
            "unknown",
            // Gemini CLI, whose log events have the same.
            "agent_call",
            "llm_call",
            "schedule_tool_calls",
            "system_prompt",
            "tool_call",
            "user_prompt",
        ];
        Some(match attributes.first_text(NAMES)? {
            "chat" | "generate_content" | "text_completion" | "completion" | "LLM" => {
                Ok(Self::Chat)
            }
            "execute_tool" | "TOOL" | "tool" => Ok(Self::Tool),
            "invoke_agent" | "invoke_workflow" | "AGENT" | "agent" | "workflow" => Ok(Self::Agent),
            name if IGNORED.contains(&name) => Ok(Self::Ignored),
            _ => Err("unknown operation of a span"),
        })
    }
}

object! {
    /// A message of a model, or to one.
    struct Message<'a> {
        b"role" => role: Text<'a>,
        b"parts" => parts: Vec<MessagePart<'a>>,
        b"content" => content: Text<'a>,
    }
}

object! {
    struct MessagePart<'a> {
        b"type" => kind: Text<'a>,
        b"content" | b"text" => content: Text<'a>,
    }
}

/// Returns the session that a record names.
pub(super) fn session<'a>(attributes: &'a Attributes<'_>) -> Option<&'a str> {
    attributes.first_text(SESSION)
}

/// Returns the meaning of a span.
pub(super) fn span(span: &Span<'_>) -> Meaning {
    let attributes = &span.attributes;
    let mut meaning = Meaning::of(span);
    meaning.session = session(attributes).map(Into::into);
    let has_failed = span.has_failed || attributes.text("error.type").is_some();
    // A program has many spans that are about no agent.
    let Some(operation) = Operation::of(attributes) else { return meaning };
    match operation {
        Ok(Operation::Chat) if has_failed => {
            meaning.ends(Action::FailedAttempt(error_message(span)));
        }
        Ok(Operation::Chat) => {
            if let Some(text) = response_text(attributes) {
                meaning.at_end(EventKind::Message { text, delta: false });
            }
            let id = format!("{:016x}", span.id);
            meaning.at_end(EventKind::ModelCall(model_call(attributes, &id)));
            if !calls_tools(attributes) {
                meaning.at_end(EventKind::TurnEnd);
            }
        }
        Ok(Operation::Tool) => {
            let id = attributes.text("gen_ai.tool.call.id").map(str::to_owned);
            let id = id.unwrap_or_else(|| format!("{:016x}", span.id));
            meaning.at_start(EventKind::ToolCall(tool_call(&id, span)));
            let result = attributes.first_text(RESULT).map(Box::from);
            let output = result.or_else(|| has_failed.then(|| error_message(span)));
            let result = ToolResult::new(id, !has_failed, output);
            meaning.at_end(EventKind::ToolResult(result));
        }
        Ok(Operation::Agent) => {
            // An agent within another one continues the work of a person.
            if !span.has_parent {
                let text = prompt(attributes).unwrap_or_default();
                meaning.at_start(EventKind::Prompt { text, synthetic: false });
            }
            if has_failed && !span.has_parent {
                meaning.at_end(EventKind::Error { message: error_message(span), retry: None });
            }
            meaning.ends(if span.has_parent {
                Action::Event(EventKind::TurnEnd)
            } else {
                Action::EndTurn
            });
        }
        Ok(Operation::Ignored) => {}
        Err(reason) => meaning.skipped = Some(reason),
    }
    meaning
}

/// Returns the model call of a span or an event. `id` identifies the span.
pub(super) fn model_call(attributes: &Attributes<'_>, id: &str) -> ModelCall {
    const MODEL: &[&str] = &["gen_ai.response.model", "gen_ai.request.model", "llm.model_name"];
    ModelCall {
        id: Some(attributes.text("gen_ai.response.id").unwrap_or(id).into()),
        model: attributes.first_text(MODEL).map(Box::from),
        tokens: tokens(attributes),
        ..ModelCall::default()
    }
}

/// Returns the usage. The input contains cached tokens, and the output contains reasoning.
fn tokens(attributes: &Attributes<'_>) -> Tokens {
    let count = |keys: &[&str]| attributes.first_count(keys).unwrap_or(0);
    let input = count(&[
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
    ]);
    let cache_read = count(&[
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ]);
    let cache_write = count(&[
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ]);
    let cached = cache_read.saturating_add(cache_write);
    Tokens {
        // Instruments of providers that exclude cached tokens report fewer than the cached ones.
        input: input.checked_sub(cached).unwrap_or(input),
        cache_read,
        cache_write,
        output: count(&[
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "llm.usage.completion_tokens",
        ]),
        reasoning: count(&[
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
        ]),
        cache_write_1h: 0,
    }
}

/// Returns whether calls of tools follow a response, or may follow.
fn calls_tools(attributes: &Attributes<'_>) -> bool {
    const REASONS: &[&str] =
        &["gen_ai.response.finish_reasons", "gen_ai.completion.0.finish_reason"];
    let reasons = attributes.first_text(REASONS).map(str::to_ascii_lowercase);
    reasons.is_none_or(|reasons| ["tool", "function"].iter().any(|word| reasons.contains(word)))
}

fn tool_call(id: &str, span: &Span<'_>) -> ToolCall {
    const NAMES: &[&str] = &["gen_ai.tool.name", "tool.name", "traceloop.entity.name"];
    let name = span.attributes.first_text(NAMES);
    let name =
        name.unwrap_or_else(|| span.name.strip_prefix("execute_tool ").unwrap_or(&span.name));
    match span.attributes.first_text(ARGUMENTS) {
        Some(arguments) => ToolCall::new(id, name, Json::parse_or_text(arguments)),
        None => with_unknown_arguments(ToolCall::new(id, name, Json::default())),
    }
}

/// Returns the text of a response, if it was recorded.
fn response_text(attributes: &Attributes<'_>) -> Option<Box<str>> {
    if let Some(text) = attributes.text("gen_ai.completion.0.content") {
        return Some(text.into());
    }
    let messages = messages(attributes.text("gen_ai.output.messages")?);
    let texts: Vec<_> = messages.iter().filter_map(Message::text).collect();
    (!texts.is_empty()).then(|| texts.join("\n").into())
}

/// Returns the prompt of an agent, if it was recorded: the latest message of a person.
fn prompt(attributes: &Attributes<'_>) -> Option<Box<str>> {
    if let Some(text) = attributes.text("gen_ai.input.messages") {
        let messages = messages(text);
        let of_person = |message: &&Message<'_>| message.role.is_some_and(|role| role.is("user"));
        return messages.iter().rev().find(of_person)?.text().map(Box::from);
    }
    attributes.first_text(&["input.value", "traceloop.entity.input"]).map(Box::from)
}

fn messages(text: &str) -> Vec<Message<'_>> {
    parse_value(text.as_bytes()).ok().flatten().unwrap_or_default()
}

impl Message<'_> {
    /// Returns the texts of the message.
    fn text(&self) -> Option<String> {
        let is_text = |part: &&MessagePart<'_>| part.kind.is_none_or(|kind| kind.is("text"));
        let parts = self.parts.iter().flatten().filter(is_text);
        let texts = parts.filter_map(|part| part.content).chain(self.content);
        let texts: Vec<_> = texts.map(Text::read).filter(|text| !text.is_empty()).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}
