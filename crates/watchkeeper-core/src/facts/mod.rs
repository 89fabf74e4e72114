//! The facts of sessions and agents, computed once for all detectors.

mod agent;
mod call;
mod clock_adjustments;
mod responses;
mod session;
#[cfg(test)]
mod tests;
mod totals;

pub(crate) use self::{agent::AgentStatus, clock_adjustments::ClockAdjustments};
pub use self::{
    agent::{Activity, AgentFacts},
    call::Call,
    session::SessionFacts,
    totals::{Totals, Usage},
};

/// The changes that one event makes to the facts. A wake-up makes none.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// The usage that a model call adds.
    pub(crate) usage: Option<Usage>,
    /// The call of a result.
    pub(crate) finished_call: Option<Call>,
}
