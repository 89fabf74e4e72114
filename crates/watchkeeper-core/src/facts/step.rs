use std::cell::OnceCell;

use super::{call::Call, totals::Usage};
use crate::{ResultClass, error_cause::FoundCause};

/// The changes that one event makes to the facts. A wake-up makes none.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The usage that a model call adds.
    pub(crate) usage: Option<Usage>,
    /// The call of a result.
    pub(crate) finished_call: Option<Call>,
    /// The class of a result, once a detector has read it.
    pub(crate) result_class: OnceCell<ResultClass>,
    /// The cause of an unsuccessful result, once a detector has read it.
    pub(crate) error_cause: OnceCell<Option<FoundCause>>,
}
