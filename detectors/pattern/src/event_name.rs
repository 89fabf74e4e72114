//! The names of events in a policy.

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::EventKind;

/// The name of an event in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventName {
    SessionStart,
    Prompt,
    Message,
    Thinking,
    ModelCall,
    ToolCall,
    ToolResult,
    Waiting,
    Resumed,
    TurnEnd,
    Error,
    Compaction,
    Handoff,
    AgentStart,
    AgentEnd,
    SessionEnd,
}

impl EventName {
    pub(crate) const ALL: [(&'static str, Self); 16] = [
        ("session_start", Self::SessionStart),
        ("prompt", Self::Prompt),
        ("message", Self::Message),
        ("thinking", Self::Thinking),
        ("model_call", Self::ModelCall),
        ("tool_call", Self::ToolCall),
        ("tool_result", Self::ToolResult),
        ("waiting", Self::Waiting),
        ("resumed", Self::Resumed),
        ("turn_end", Self::TurnEnd),
        ("error", Self::Error),
        ("compaction", Self::Compaction),
        ("handoff", Self::Handoff),
        ("agent_start", Self::AgentStart),
        ("agent_end", Self::AgentEnd),
        ("session_end", Self::SessionEnd),
    ];

    /// Returns the name of an event; `None` for a kind that this crate does not
    /// know.
    pub(crate) fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::SessionStart(_) => Self::SessionStart,
            EventKind::Prompt { .. } => Self::Prompt,
            EventKind::Message { .. } => Self::Message,
            EventKind::Thinking { .. } => Self::Thinking,
            EventKind::ModelCall(_) => Self::ModelCall,
            EventKind::ToolCall(_) => Self::ToolCall,
            EventKind::ToolResult(_) => Self::ToolResult,
            EventKind::Waiting(_) => Self::Waiting,
            EventKind::Resumed(_) => Self::Resumed,
            EventKind::TurnEnd => Self::TurnEnd,
            EventKind::Error { .. } => Self::Error,
            EventKind::Compaction { .. } => Self::Compaction,
            EventKind::Handoff { .. } => Self::Handoff,
            EventKind::AgentStart { .. } => Self::AgentStart,
            EventKind::AgentEnd => Self::AgentEnd,
            EventKind::SessionEnd { .. } => Self::SessionEnd,
            _ => return None,
        })
    }

    pub(crate) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Returns the names of these events, separated by commas.
pub(crate) fn names(events: u16) -> String {
    let names = EventName::ALL.iter().filter(|(_, event)| events & event.bit() != 0);
    names.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
