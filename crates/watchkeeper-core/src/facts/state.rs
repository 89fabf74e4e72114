use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Evidence, WaitingFor};

/// The state of an agent, and the event that proves the state.
///
/// Computed from the facts on demand by [`AgentFacts::state`](crate::AgentFacts::state).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgentState {
    /// The kind of state.
    pub kind: StateKind,
    /// The time at which the state began; `None` before the first event.
    pub since: Option<Timestamp>,
    /// The location of the event that proves the state; `None` before the first event.
    pub proof: Option<Evidence>,
}

/// The kinds of states of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateKind {
    /// The model is sending a response.
    Working,
    /// The model has to respond and has sent nothing.
    WaitingForModel,
    /// A call runs: an event proves that it has started.
    RunningTool,
    /// A call has no result. It runs, or it waits for permission: the source does not
    /// record which.
    CallPending,
    /// The agent waits for permission for a call.
    WaitingForPermission,
    /// The agent waits for the reply of a person.
    WaitingForPerson,
    /// An attempt to call the model failed, and the agent tries again.
    Retrying,
    /// No turn is open.
    Idle,
    /// The session has ended.
    Ended,
    /// The process of the agent no longer exists, and the session has no end.
    Gone,
}

impl AgentState {
    pub(super) fn new(kind: StateKind, since: Option<Timestamp>, proof: Option<Evidence>) -> Self {
        Self { kind, since, proof }
    }
}

impl StateKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Working,
        Self::WaitingForModel,
        Self::RunningTool,
        Self::CallPending,
        Self::WaitingForPermission,
        Self::WaitingForPerson,
        Self::Retrying,
        Self::Idle,
        Self::Ended,
        Self::Gone,
    ];

    /// Returns the name used in findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::WaitingForModel => "waiting_for_model",
            Self::RunningTool => "running_tool",
            Self::CallPending => "call_pending",
            Self::WaitingForPermission => "waiting_for_permission",
            Self::WaitingForPerson => "waiting_for_person",
            Self::Retrying => "retrying",
            Self::Idle => "idle",
            Self::Ended => "ended",
            Self::Gone => "gone",
        }
    }

    /// Returns whether the agent continues only after a person has acted.
    pub(crate) const fn needs_person(self) -> bool {
        matches!(self, Self::WaitingForPermission | Self::WaitingForPerson)
    }

    /// Returns whether the agent has work to do, or waits for a person.
    pub(crate) const fn is_active(self) -> bool {
        !matches!(self, Self::Idle | Self::Ended | Self::Gone)
    }

    pub(super) const fn waiting_for(reason: WaitingFor) -> Self {
        match reason {
            WaitingFor::Permission => Self::WaitingForPermission,
            WaitingFor::Person => Self::WaitingForPerson,
        }
    }
}
