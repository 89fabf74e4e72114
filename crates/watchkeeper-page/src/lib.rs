#![doc = include_str!("../README.md")]

mod assets;
mod bars;
mod board;
mod budgets;
mod changes;
mod costs;
mod detail;
mod finding;
mod lane;
mod past;
mod quotas;
mod rate;
mod recorder;
mod report;
mod row;
mod series;
mod summary;
#[cfg(test)]
mod tests;
mod texts;
mod unlisted;

pub use self::{
    assets::LIVE_POLICY,
    board::{Board, BoardLimits},
    budgets::{BudgetDetectors, BudgetLevel, BudgetRow},
    changes::Changes,
    costs::{CostShare, Costs},
    detail::{
        BarKind, BarOutcome, Bars, DetectorMeasures, Lane, LevelSummary, Measurement,
        SessionDetail, StepOutcome, UsageSeries,
    },
    finding::{Acknowledgement, FindingCounts, FindingRow},
    past::{PastFindingRow, past_episodes},
    quotas::QuotaRow,
    recorder::Recorder,
    report::{Notice, Report, ReportedSession, live_page},
    row::{ContextFill, SessionRow, SessionState, TimeSplit, Totals},
    summary::{call_summary, first_line},
};
