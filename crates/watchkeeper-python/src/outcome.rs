//! The outcome of a tool call.

use pyo3::{PyResult, exceptions::PyValueError};
use watchkeeper::{Cause, EventKind, core::ToolResult};

use crate::call_id::CallId;

/// The outcome of a tool call, of which the monitor's thread makes the event.
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    pub(crate) output: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) cause: Option<Cause>,
}

impl Outcome {
    /// Creates the outcome of a call whose tool returned.
    pub(crate) fn returned(ok: bool) -> Self {
        Self { ok, output: None, exit_code: None, cause: None }
    }

    /// Creates the outcome of a call without a result of its tool.
    pub(crate) fn cancelled(cause: Cause) -> Self {
        Self { ok: false, output: None, exit_code: None, cause: Some(cause) }
    }

    /// Returns the event.
    pub(crate) fn of_call(self, id: &CallId) -> EventKind {
        let Self { ok, output, exit_code, cause } = self;
        let mut result = ToolResult::new(id.to_string(), ok, output.map(Into::into));
        (result.exit_code, result.cause) = (exit_code, cause);
        EventKind::ToolResult(result)
    }
}

/// Parses the reason for a result that does not come from the tool.
pub(crate) fn parse_cause(name: &str) -> PyResult<Cause> {
    match name {
        "declined" => Ok(Cause::Declined),
        "blocked" => Ok(Cause::Blocked),
        "sibling" => Ok(Cause::Sibling),
        "interrupted" => Ok(Cause::Interrupted),
        "timeout" => Ok(Cause::Timeout),
        "intercepted" => Ok(Cause::Intercepted),
        _ => Err(PyValueError::new_err(format!(
            "unknown cause {name:?}; use declined, blocked, sibling, interrupted, \
             timeout or intercepted"
        ))),
    }
}
