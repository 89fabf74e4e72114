//! The number of the current tool call of a session file.

use watchkeeper_core::{Event, EventKind};

/// Counts the tool calls of a session file, in the order of the file, including those of sub-agents.
#[derive(Debug, Default)]
pub(crate) struct StepCounter {
    n_calls: u64,
}

impl StepCounter {
    pub(crate) fn observe(&mut self, event: &Event) {
        let EventKind::ToolCall(call) = &event.kind else { return };
        self.n_calls += 1;
        // A trajectory of SWE-agent also has steps without an action, which are no calls. The id of
        // a call is the number of its step.
        if event.origin.as_ref().is_some_and(|it| it.source == "swe-agent")
            && let Ok(step) = call.id.parse()
        {
            self.n_calls = self.n_calls.max(step);
        }
    }

    /// Returns the number of tool calls so far.
    pub(crate) fn count(&self) -> u64 {
        self.n_calls
    }
}
