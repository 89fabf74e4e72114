//! Writes a trace as text.

use std::fmt;

use watchkeeper_core::{
    AgentId, EventKind, ModelCall, SessionId,
    author::{Cause, Tokens, WaitingFor},
};

use super::{SESSION, Step, Trace, offset};

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Advance(at) => writeln!(f, "{} advance", offset(*at))?,
                Step::Event(event) => {
                    write!(f, "{}", offset(event.at))?;
                    if event.session.as_str() != SESSION {
                        write!(f, " session {}:", quoted(event.session.as_str()))?;
                    }
                    if let Some(agent) = &event.agent {
                        write!(f, " agent {}:", quoted(agent.as_str()))?;
                    }
                    write_kind(&event.kind, f)?;
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}

fn write_kind(kind: &EventKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        EventKind::SessionStart(start) => {
            f.write_str(" session_start")?;
            write_pair("cwd", start.cwd.as_deref(), f)?;
            write_pair("model", start.model.as_deref(), f)?;
            write_pair("version", start.version.as_deref(), f)?;
            write_pair("parent", start.parent.as_ref().map(SessionId::as_str), f)?;
            for (key, value) in &start.labels {
                write_pair(&format!("label.{key}"), Some(value), f)?;
            }
            Ok(())
        }
        EventKind::Prompt { text, synthetic: true } => write!(f, " synthetic {}", json(text)),
        EventKind::Prompt { text, synthetic: false } => write!(f, " prompt {}", json(text)),
        EventKind::Message { text, delta: true } => write!(f, " delta {}", json(text)),
        EventKind::Message { text, delta: false } => write!(f, " message {}", json(text)),
        EventKind::Thinking { text } => write!(f, " thinking {}", json(text)),
        EventKind::ModelCall(ModelCall { id, model, tokens, cost_usd, context_tokens, .. }) => {
            let Tokens { input, cache_read, cache_write, output, reasoning, cache_write_1h } =
                tokens;
            write!(f, " usage input={input} output={output} cache_read={cache_read}")?;
            write!(f, " cache_write={cache_write} reasoning={reasoning}")?;
            if *cache_write_1h != 0 {
                write!(f, " cache_write_1h={cache_write_1h}")?;
            }
            write_pair("id", id.as_deref(), f)?;
            write_pair("model", model.as_deref(), f)?;
            write_count("cost", *cost_usd, f)?;
            write_count("context", *context_tokens, f)
        }
        EventKind::ToolCall(call) => {
            write!(f, " call #{} {}", quoted(&call.id), quoted(&call.tool))?;
            if let Some(response) = &call.response {
                write!(f, " @{}", quoted(response))?;
            }
            match call.arguments.as_str() {
                "null" => Ok(()),
                // JSON may have line breaks between its tokens.
                text if text.contains(['\n', '\r']) => write!(f, " {}", call.arguments.to_value()),
                text => write!(f, " {text}"),
            }
        }
        EventKind::ToolResult(result) => {
            let status = match (result.ok, result.cause) {
                (true, Some(Cause::Intercepted)) => "intercepted ok",
                (false, Some(Cause::Intercepted)) => "intercepted fail",
                (true, _) => "ok",
                (false, Some(Cause::Declined)) => "declined",
                (false, Some(Cause::Blocked)) => "blocked",
                (false, Some(Cause::Sibling)) => "sibling",
                (false, Some(Cause::Interrupted)) => "interrupted",
                (false, Some(Cause::Timeout)) => "timeout",
                (false, _) => "fail",
            };
            write!(f, " result #{} {status}", quoted(&result.id))?;
            if let Some(code) = result.exit_code {
                write!(f, " exit {code}")?;
            }
            result.output.as_deref().map_or(Ok(()), |output| write!(f, " {}", json(output)))
        }
        EventKind::Waiting(reason) => write!(f, " wait {}", waiting_for(*reason)),
        EventKind::Resumed(reason) => write!(f, " resume {}", waiting_for(*reason)),
        EventKind::Error { message, retry } => {
            f.write_str(" error ")?;
            if let Some(retry) = retry {
                write!(f, "retry={retry} ")?;
            }
            write!(f, "{}", json(message))
        }
        EventKind::Compaction { before_tokens, after_tokens } => {
            f.write_str(" compaction")?;
            write_count("before", *before_tokens, f)?;
            write_count("after", *after_tokens, f)
        }
        EventKind::Handoff { to } => write!(f, " handoff {}", json(to)),
        EventKind::AgentStart { parent } => {
            f.write_str(" agent_start")?;
            write_pair("parent", parent.as_ref().map(AgentId::as_str), f)
        }
        EventKind::SessionEnd { reason: Some(reason) } => {
            write!(f, " session_end {}", json(reason))
        }
        other => write!(f, " {}", other.name()),
    }
}

fn write_pair(key: &str, value: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {key}={}", quoted(value)))
}

fn write_count(
    key: &str,
    count: Option<impl fmt::Display>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    count.map_or(Ok(()), |count| write!(f, " {key}={count}"))
}

const fn waiting_for(reason: WaitingFor) -> &'static str {
    match reason {
        WaitingFor::Permission => "permission",
        WaitingFor::Person => "person",
    }
}

/// Returns a plain word unchanged, and any other text as a JSON string.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { json(text) }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
