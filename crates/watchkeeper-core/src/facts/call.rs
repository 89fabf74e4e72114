use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    Event, Evidence, Fingerprint, Place, Purpose, ToolCall, ToolClass, event::TOOL_CALL_IDX,
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
}

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
        }
    }

    /// Returns the location of the call.
    pub fn evidence(&self) -> Evidence {
        self.place.evidence()
    }
}
