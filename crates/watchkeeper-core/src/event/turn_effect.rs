use super::EventKind;

/// The effect of an event on the turn of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnEffect {
    /// The turn begins or continues.
    Continues,
    /// The turn ends.
    Ends,
    /// The event changes nothing about the turn.
    None,
}

impl EventKind {
    /// Returns the effect of the event on the turn of its agent, as in
    /// [`AgentFacts::turn`](crate::AgentFacts::turn). A program without the facts of the
    /// engine finds open turns with this.
    pub const fn turn_effect(&self) -> TurnEffect {
        match self {
            Self::Prompt { .. }
            | Self::AgentStart
            | Self::Message { .. }
            | Self::Thinking { .. }
            | Self::ModelCall(_)
            | Self::Error { retry: Some(_), .. }
            | Self::ToolCall(_)
            | Self::ToolResult(_) => TurnEffect::Continues,
            Self::Handoff { .. }
            | Self::TurnEnd
            | Self::AgentEnd
            | Self::Error { retry: None, .. }
            | Self::SessionEnd { .. } => TurnEffect::Ends,
            Self::Waiting(_)
            | Self::Resumed(_)
            | Self::Compaction { .. }
            | Self::SessionStart(_) => TurnEffect::None,
        }
    }
}
