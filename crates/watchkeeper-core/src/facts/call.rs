use std::{num::NonZeroU32, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::state::{AgentState, StateKind};
use crate::{
    Event, Evidence, Fingerprint, Place, Purpose, ToolCall, ToolClass,
    event::{CommandArguments, TOOL_CALL_IDX},
};

/// A tool call, from its event until its result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Call {
    /// The fingerprint of its id.
    pub id: Fingerprint,
    /// The time of the call.
    pub at: Timestamp,
    /// The tool.
    pub tool: Arc<str>,
    /// The effect of the tool.
    pub class: ToolClass,
    /// The reason for the call.
    pub purpose: Purpose,
    /// Equal for calls of one tool with the same arguments.
    pub fingerprint: Fingerprint,
    /// The model response that contains the call. Calls of one response run in
    /// parallel.
    pub response: Option<Fingerprint>,
    /// The location of the call.
    pub place: Place,
    /// Whether an event proves that the call runs: it does not wait for permission.
    pub is_running: bool,
    /// Whether the call changes a text, as in [`ToolCall::change`].
    pub changes_text: bool,
    command: Option<Box<Command>>,
}

/// The command of a call, which few calls have.
#[derive(Clone, Debug, PartialEq)]
struct Command {
    /// The beginning of the command.
    text: Box<str>,
    /// The time after which the tool ends the command.
    max_millis: Option<NonZeroU32>,
}

/// The part of a command that is kept, in characters: as many as a quote shows, and
/// some more to recognize a secret at the end.
const MAX_COMMAND: usize = 320;

impl Call {
    pub(super) fn new(call: &ToolCall, event: &Event, at: Timestamp) -> Self {
        Self {
            id: Fingerprint::of(&*call.id),
            at,
            tool: call.tool.clone(),
            class: call.class,
            purpose: call.purpose,
            fingerprint: call.fingerprint,
            response: call.response.as_deref().map(Fingerprint::of),
            place: Place::new(event.origin.as_ref(), TOOL_CALL_IDX),
            is_running: false,
            changes_text: call.change.is_some(),
            command: Command::of(call).map(Box::new),
        }
    }

    /// Returns the location of the call.
    pub fn evidence(&self) -> Evidence {
        self.place.evidence()
    }

    /// Returns the state of an agent that waits for the result of this call alone.
    pub fn state(&self) -> AgentState {
        AgentState::new(self.state_kind(), Some(self.at), Some(self.evidence()))
    }

    pub(super) const fn state_kind(&self) -> StateKind {
        if self.is_running { StateKind::RunningTool } else { StateKind::CallPending }
    }

    /// Returns the beginning of the command, if the call runs one. Not safe for a terminal.
    pub fn command(&self) -> Option<&str> {
        self.command.as_ref().map(|command| &*command.text)
    }

    /// Returns the time after which the tool ends the command, if the arguments contain
    /// it.
    pub fn max_duration(&self) -> Option<SignedDuration> {
        let millis = self.command.as_ref()?.max_millis?;
        Some(SignedDuration::from_millis(millis.get().into()))
    }
}

impl Command {
    fn of(call: &ToolCall) -> Option<Self> {
        if call.class != ToolClass::Run {
            return None;
        }
        let arguments = CommandArguments::of(&call.arguments);
        let text = match call.given_targets() {
            Some(targets) => targets.command()?,
            None => arguments.command.as_deref()?,
        };
        let end = text.char_indices().nth(MAX_COMMAND).map_or(text.len(), |(at, _)| at);
        Some(Self { text: text[..end].into(), max_millis: arguments.max_millis })
    }
}
