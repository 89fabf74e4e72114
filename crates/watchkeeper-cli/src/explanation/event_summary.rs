use std::collections::BTreeMap;

use watchkeeper_core::{
    AgentId, Event, EventKind, ToolResult,
    author::{Cause, WaitingFor},
    quote,
};
use watchkeeper_page::{call_summary, first_line};

use crate::numbers::short;

/// Limit of pending calls. Results of calls beyond this limit have no tool name.
const MAX_PENDING: usize = 1024;

/// Summarizes events in a few words that are safe for a terminal.
#[derive(Default)]
pub(super) struct EventSummarizer {
    /// Quoted tool names of pending calls.
    pending: BTreeMap<(Option<AgentId>, Box<str>), String>,
}

impl EventSummarizer {
    /// Returns the summary of an event, or an empty text unless `is_needed`. Call
    /// this for every event of the session: results need the tool of their call.
    pub(super) fn summarize(&mut self, event: &Event, is_needed: bool) -> String {
        let tool = match &event.kind {
            EventKind::ToolCall(call) => {
                if self.pending.len() == MAX_PENDING {
                    self.pending.pop_first();
                }
                let key = (event.agent.clone(), call.id.clone());
                self.pending.insert(key, quote(&call.tool));
                None
            }
            EventKind::ToolResult(result) => {
                self.pending.remove(&(event.agent.clone(), result.id.clone()))
            }
            _ => None,
        };
        if is_needed { summary(&event.kind, tool.as_deref()) } else { String::new() }
    }
}

fn summary(event: &EventKind, tool: Option<&str>) -> String {
    match event {
        EventKind::SessionStart(_) => "session starts".to_owned(),
        EventKind::Prompt { text, synthetic: false } => format!("prompt {}", first_line(text)),
        EventKind::Prompt { text, synthetic: true } => {
            format!("synthetic prompt {}", first_line(text))
        }
        EventKind::Message { text, delta: false } => format!("message {}", first_line(text)),
        EventKind::Message { text, delta: true } => format!("message part {}", first_line(text)),
        EventKind::Thinking { text } => format!("thinking {}", first_line(text)),
        EventKind::ModelCall(call) => {
            let output = call.tokens.output;
            let input = call.tokens.total().saturating_sub(output);
            format!("model call: {} tokens in, {} out", short(input), short(output))
        }
        EventKind::ToolCall(call) => call_summary(call),
        EventKind::ToolResult(result) => result_summary(result, tool.unwrap_or("an unknown call")),
        EventKind::Waiting(subject) => format!("waits for {}", waited_for(*subject)),
        EventKind::Resumed(subject) => format!("no longer waits for {}", waited_for(*subject)),
        EventKind::TurnEnd => "turn ends".to_owned(),
        EventKind::Error { message, retry: None } => format!("error {}", first_line(message)),
        EventKind::Error { message, retry: Some(n) } => {
            format!("error {}, attempt {n}", first_line(message))
        }
        EventKind::Compaction { .. } => "context compacted".to_owned(),
        EventKind::Handoff { to } => format!("hands off to {}", quote(to)),
        EventKind::AgentStart { parent: None } => "agent starts".to_owned(),
        EventKind::AgentStart { parent: Some(parent) } => {
            format!("agent starts, by {}", quote(parent.as_str()))
        }
        EventKind::AgentEnd => "agent ends".to_owned(),
        EventKind::SessionEnd { .. } => "session ends".to_owned(),
        _ => event.name().replace('_', " "),
    }
}

fn result_summary(result: &ToolResult, tool: &str) -> String {
    let outcome = match (result.cause, result.exit_code) {
        (Some(Cause::Declined), _) => " was declined".to_owned(),
        (Some(Cause::Blocked), _) => " was denied".to_owned(),
        (Some(Cause::Sibling), _) => " was canceled with a parallel call".to_owned(),
        (Some(Cause::Interrupted), _) => " was interrupted".to_owned(),
        (Some(Cause::Timeout), _) => " timed out".to_owned(),
        (Some(Cause::Intercepted), _) => " was answered by watchkeeper, after".to_owned(),
        (_, Some(code)) if !result.ok => format!(" failed with exit code {code}"),
        _ if !result.ok => " failed".to_owned(),
        _ => " returned".to_owned(),
    };
    match result.output.as_deref().map(str::trim).filter(|output| !output.is_empty()) {
        Some(output) => format!("{tool}{outcome} {}", first_line(output)),
        None => format!("{tool}{outcome}"),
    }
}

const fn waited_for(subject: WaitingFor) -> &'static str {
    match subject {
        WaitingFor::Permission => "permission",
        WaitingFor::Person => "a person",
    }
}
