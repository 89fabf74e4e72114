use std::cell::OnceCell;

use super::{call::Call, contribution::Contribution, totals::Usage};
use crate::{
    EventKind, Fingerprint, Purpose, ResultClass, ToolResult,
    error_cause::{CauseContext, FoundCause},
    event::{NEW_RESULT_IDX, TOOL_RESULT_IDX},
};

/// The changes that one event makes to the facts. A wake-up makes none.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The usage that a model call adds.
    pub(crate) usage: Option<Usage>,
    /// The call of a result.
    pub(crate) finished_call: Option<Call>,
    /// The contribution of a finished call, before the class of a successful result with text is
    /// taken into account.
    pub(crate) provisional_contribution: Option<Contribution>,
    result_class: OnceCell<ResultClass>,
    error_cause: OnceCell<Option<FoundCause>>,
}

/// The shortest result, in bytes, that contains information if it is new. A shorter one may report
/// that a command printed nothing.
const SHORTEST_NEW: usize = 64;

impl Step {
    /// Returns the class of the result of this step, whose call has the purpose.
    pub(crate) fn result_class(&self, result: &ToolResult, purpose: Purpose) -> ResultClass {
        *self.result_class.get_or_init(|| ResultClass::of(result, purpose))
    }

    /// Returns the contribution of the call whose result this is.
    pub(crate) fn contribution(&self, result: &ToolResult) -> Option<Contribution> {
        let provisional = self.provisional_contribution?;
        let is_informative = matches!(
            provisional,
            Contribution::New | Contribution::PartlyKnown | Contribution::Known
        );
        let call = self.finished_call.as_ref().filter(|_| is_informative);
        Some(match call.map(|call| self.result_class(result, call.purpose)) {
            Some(ResultClass::Acknowledged | ResultClass::Unfinished) => Contribution::Neutral,
            Some(ResultClass::Nothing) if !self.has_new_text(result) => Contribution::Nothing,
            _ => provisional,
        })
    }

    /// Returns true if the contribution is `New` or `Neutral`, because the result is long and new.
    /// The class decides, and takes longer to compute.
    pub(crate) fn has_new_text(&self, result: &ToolResult) -> bool {
        self.provisional_contribution == Some(Contribution::New)
            && result.fingerprint != Some(Fingerprint::NOTHING_FOUND)
            && result.output.as_ref().is_some_and(|output| SHORTEST_NEW <= output.len())
    }

    /// Returns the index of the sort of the event that made this step.
    #[inline]
    pub(crate) fn sort_idx(&self, event: &EventKind) -> u8 {
        match (event.sort_idx(), event) {
            (TOOL_RESULT_IDX, EventKind::ToolResult(result)) if self.has_new_text(result) => {
                NEW_RESULT_IDX
            }
            (sort_idx, _) => sort_idx,
        }
    }

    /// Returns the cause of the result of this step, if the result reports an error.
    pub(crate) fn error_cause(&self, result: &ToolResult) -> Option<&FoundCause> {
        if result.ok && !result.may_report_error {
            return None;
        }
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
