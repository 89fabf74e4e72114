use std::collections::BTreeMap;

use serde_json::Value;
use watchkeeper_core::{AgentId, Cause, Event, EventKind, ToolCall, ToolResult, WaitingFor, quote};

use crate::counted::short;

/// Of more calls that are pending at once, some answers are not known by their
/// tools.
const MAX_PENDING: usize = 1024;

/// Says what happened, in a few words that are safe for a terminal.
#[derive(Default)]
pub(super) struct Words {
    /// The tools of the calls that are pending, in quotes.
    pending: BTreeMap<(Option<AgentId>, Box<str>), String>,
}

impl Words {
    /// Says what an event is; it must be told of all events, and is asked for few.
    pub(super) fn of(&mut self, event: &Event, is_asked_for: bool) -> String {
        let tool = match &event.kind {
            EventKind::ToolCall(it) => {
                if self.pending.len() == MAX_PENDING {
                    self.pending.pop_first();
                }
                let id = (event.agent.clone(), it.id.clone());
                self.pending.insert(id, quote(&it.tool));
                None
            }
            EventKind::ToolResult(it) => self.pending.remove(&(event.agent.clone(), it.id.clone())),
            _ => None,
        };
        if is_asked_for { words(&event.kind, tool.as_deref()) } else { String::new() }
    }
}

fn words(event: &EventKind, tool: Option<&str>) -> String {
    match event {
        EventKind::SessionStart(_) => "the session starts".to_owned(),
        EventKind::Prompt { text, synthetic: false } => format!("prompt {}", brief(text)),
        EventKind::Prompt { text, synthetic: true } => {
            format!("prompt of the harness {}", brief(text))
        }
        EventKind::Message { text, delta: false } => format!("message {}", brief(text)),
        EventKind::Message { text, delta: true } => format!("piece of a message {}", brief(text)),
        EventKind::Thinking { text } => format!("thought {}", brief(text)),
        EventKind::ModelCall(it) => {
            let read = it.tokens.total().saturating_sub(it.tokens.output);
            format!("model answer: {} tokens in, {} out", short(read), short(it.tokens.output))
        }
        EventKind::ToolCall(it) => match argument(it) {
            Some(argument) => format!("{} {argument}", quote(&it.tool)),
            None => quote(&it.tool),
        },
        EventKind::ToolResult(it) => answer(it, tool.unwrap_or("an unknown call")),
        EventKind::Waiting(it) => format!("waits for {}", whom(*it)),
        EventKind::Resumed(it) => format!("waits for {} no more", whom(*it)),
        EventKind::TurnEnd => "the turn ends".to_owned(),
        EventKind::Error { message, retry: None } => format!("error {}", brief(message)),
        EventKind::Error { message, retry: Some(n) } => {
            format!("error {}, attempt {n}", brief(message))
        }
        EventKind::Compaction { .. } => "the context is compacted".to_owned(),
        EventKind::Handoff { to } => format!("hands over to {}", quote(to)),
        EventKind::AgentStart => "the agent starts".to_owned(),
        EventKind::AgentEnd => "the agent ends".to_owned(),
        EventKind::SessionEnd { .. } => "the session ends".to_owned(),
        _ => event.name().replace('_', " "),
    }
}

/// What a call is about: its first argument that is text, by name, or all of them.
fn argument(call: &ToolCall) -> Option<String> {
    match call.arguments.to_value() {
        Value::Null => None,
        Value::String(text) => Some(brief(&text)),
        Value::Object(arguments) if arguments.is_empty() => None,
        Value::Object(arguments) => {
            let text = arguments.values().find_map(Value::as_str).map(brief);
            Some(text.unwrap_or_else(|| brief(call.arguments.as_str())))
        }
        _ => Some(brief(call.arguments.as_str())),
    }
}

fn answer(result: &ToolResult, tool: &str) -> String {
    let why = match (result.cause, result.exit_code) {
        (Some(Cause::Declined), _) => " was declined".to_owned(),
        (Some(Cause::Sibling), _) => " went down with a parallel call".to_owned(),
        (Some(Cause::Interrupted), _) => " was interrupted".to_owned(),
        (Some(Cause::Timeout), _) => " took too long".to_owned(),
        (_, Some(code)) if !result.ok => format!(" failed with {code}"),
        _ if !result.ok => " failed".to_owned(),
        _ => " answered".to_owned(),
    };
    match result.output.as_deref().map(str::trim).filter(|it| !it.is_empty()) {
        Some(output) => format!("{tool}{why} {}", brief(output)),
        None => format!("{tool}{why}"),
    }
}

const fn whom(it: WaitingFor) -> &'static str {
    match it {
        WaitingFor::Permission => "permission",
        WaitingFor::Person => "a person",
    }
}

/// The first line of a text.
fn brief(text: &str) -> String {
    let text = text.trim();
    let line = text.lines().next().unwrap_or_default();
    let quoted = quote(line);
    if line.len() < text.len() && !quoted.ends_with("…`") {
        return format!("{}…`", quoted.strip_suffix('`').unwrap_or(&quoted));
    }
    quoted
}
