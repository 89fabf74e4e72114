use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Fingerprint, error_hints::may_report_error, nothing_found::is_nothing};

/// The result of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: Box<str>,
    /// Whether the call succeeded.
    pub ok: bool,
    /// The output; `None` where it is unknown.
    pub output: Option<Box<str>>,
    /// The exit code of a command.
    pub exit_code: Option<i32>,
    /// The reason, if the result does not come from the tool.
    pub cause: Option<Cause>,
    /// Equal for outputs that differ only in numbers, ids and times. Short successful
    /// outputs must be equal in every byte. `None` where the output is unknown.
    pub fingerprint: Option<Fingerprint>,
    /// Whether the result is ok, short, and contains a part of an error.
    pub(crate) may_report_error: bool,
}

impl ToolResult {
    /// Makes a result with the fingerprint of its output.
    pub fn new(id: impl Into<Box<str>>, ok: bool, output: Option<Box<str>>) -> Self {
        /// In a shorter output, in bytes, a number is the information.
        const SHORT: usize = 40;
        let fingerprint = output.as_deref().map(|output| {
            if ok && is_nothing(output) {
                return Fingerprint::NOTHING_FOUND;
            }
            let is_short = ok && output.trim_ascii().len() < SHORT;
            let text = if is_short {
                Fingerprint::of(output.trim_ascii())
            } else {
                Fingerprint::of_output(output)
            };
            text.and(Fingerprint::from(ok))
        });
        let may_report_error = ok && output.as_deref().is_some_and(may_report_error);
        let id = id.into();
        Self { id, ok, output, exit_code: None, cause: None, fingerprint, may_report_error }
    }

    /// Returns whether the tool itself failed: the call was not declined, blocked,
    /// interrupted or cancelled by the failure of a parallel call.
    ///
    /// An intercepted call failed if the equal call before failed.
    pub fn failed(&self) -> bool {
        !self.ok && matches!(self.cause, None | Some(Cause::Timeout | Cause::Intercepted))
    }
}

/// The reason for a result that does not come from the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A person declined the call.
    Declined,
    /// A rule, a hook or a classifier denied the call, and no person was asked.
    Blocked,
    /// A parallel call failed, which cancelled this one.
    Sibling,
    /// A person interrupted the call.
    Interrupted,
    /// The call timed out.
    Timeout,
    /// Watchkeeper answered the call in place of the tool, because the agent repeats the call.
    ///
    /// `ok` and the output are those of the latest equal call that ran, so that the call counts
    /// as one more repetition, and not as a denied call. The output is absent if it is unknown.
    Intercepted,
}
