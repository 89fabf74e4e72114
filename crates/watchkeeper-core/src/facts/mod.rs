//! The facts of sessions and agents, computed once for all detectors.

mod agent;
mod call;
mod clock_adjustments;
mod contribution;
mod progress;
mod responses;
mod session;
mod start;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod totals;

pub use self::{
    agent::{Activity, AgentFacts},
    call::Call,
    contribution::Contribution,
    session::SessionFacts,
    start::Start,
    state::{AgentState, StateKind},
    totals::{Totals, Usage},
};
pub(crate) use self::{clock_adjustments::ClockAdjustments, step::Step};
