#![doc = include_str!("../README.md")]

mod assets;
mod bars;
mod board;
mod changes;
mod costs;
mod detail;
mod finding;
mod lane;
mod recorder;
mod report;
mod row;
mod series;
mod summary;
#[cfg(test)]
mod tests;
mod texts;

pub use self::{
    assets::LIVE_POLICY,
    board::{Board, BoardLimits, Subscription},
    changes::Changes,
    costs::{CostShare, Costs},
    detail::{
        BarKind, BarOutcome, Bars, DetectorMeasures, Lane, LevelSummary, Measurement,
        SessionDetail, StepOutcome, UsageSeries,
    },
    finding::{FindingCounts, FindingRow},
    recorder::Recorder,
    report::{Notice, Report, ReportedSession, live_page},
    row::{ContextFill, SessionRow, SessionState, TimeSplit, Totals},
    summary::{call_summary, first_line},
};
