use std::cell::OnceCell;

use super::{call::Call, progress::Contribution, totals::Usage};
use crate::{
    Purpose, ResultClass, ToolResult,
    error_cause::{CauseContext, FoundCause},
};

/// The changes that one event makes to the facts. A wake-up makes none.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The usage that a model call adds.
    pub(crate) usage: Option<Usage>,
    /// The call of a result.
    pub(crate) finished_call: Option<Call>,
    /// The contribution of a finished call.
    pub(crate) contribution: Option<Contribution>,
    result_class: OnceCell<ResultClass>,
    error_cause: OnceCell<Option<FoundCause>>,
}

impl Step {
    /// Returns the class of the result of this step, whose call has the purpose.
    pub(crate) fn result_class(&self, result: &ToolResult, purpose: Purpose) -> ResultClass {
        *self.result_class.get_or_init(|| ResultClass::of(result, purpose))
    }

    /// Returns the cause of the result of this step, if the result reports an error.
    pub(crate) fn error_cause(&self, result: &ToolResult) -> Option<&FoundCause> {
        let find = || {
            let call = self.finished_call.as_ref();
            let context = call.map_or_else(CauseContext::default, |call| CauseContext {
                class: call.class,
                purpose: call.purpose,
                command: call.command(),
            });
            FoundCause::of(result, context)
        };
        self.error_cause.get_or_init(find).as_ref()
    }
}
