use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{Severity, ToolClass, Unit};

use crate::{costs::Costs, finding::FindingRow, row::SessionRow};

/// One session with its timeline.
///
/// Times are in milliseconds since [`starts_at`](Self::starts_at). In a session without times,
/// each event is one millisecond after the one before.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionDetail {
    /// The session in the table.
    pub row: SessionRow,
    /// The moment from which all times are counted; `null` for a session without times.
    #[schemars(with = "Option<String>")]
    pub starts_at: Option<Timestamp>,
    /// The time of the latest event.
    pub length_ms: u64,
    /// The level of detail: bars of one kind that begin in the same period of this length are
    /// one bar. 0 if no bars were merged.
    pub resolution_ms: u64,
    /// The main agent, then the sub-agents in order of their first event. If there are more
    /// than 64, the last lane has all others.
    pub lanes: Vec<Lane>,
    /// The texts of bars, safe for a terminal. The first is empty.
    pub texts: Vec<String>,
    /// The files of bars, as their source wrote them. The first is empty.
    pub files: Vec<String>,
    /// Tokens, cost and context over time.
    pub usage: UsageSeries,
    /// Tokens and cost by what they were spent on.
    pub costs: Costs,
    /// The findings about the session, in the order of a report: by severity, then by time.
    pub findings: Vec<FindingRow>,
    /// The measures of the detectors that reported a finding, if they were recorded.
    pub measures: Vec<DetectorMeasures>,
}

/// The timeline of one agent.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Lane {
    /// The sub-agent; `null` for the main agent.
    pub agent: Option<String>,
    /// The number of agents in the lane.
    pub agents: u64,
    /// Calls, model calls, waits and marks.
    pub bars: Bars,
}

/// Bars of a lane in order of their start: one value in each list for each bar.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Bars {
    /// Starts.
    pub start_ms: Vec<u64>,
    /// Durations. 0 for a mark, such as a prompt.
    pub duration_ms: Vec<u64>,
    /// Kinds.
    pub kind: Vec<BarKind>,
    /// Outcomes; of several calls, the worst.
    pub outcome: Vec<BarOutcome>,
    /// Indices in [`SessionDetail::texts`]; of several calls, the text of the longest.
    pub text: Vec<u32>,
    /// Numbers of calls, waits or marks in one bar.
    pub count: Vec<u32>,
    /// Numbers of results that are not ok.
    pub failed: Vec<u32>,
    /// Numbers of results that repeat an earlier one; see [`Costs`].
    pub repeats: Vec<u32>,
    /// Indices in [`SessionDetail::files`] of the first event of a bar.
    pub file: Vec<u32>,
    /// Line of the first event of a bar, counted from 1; 0 if it is not known.
    pub line: Vec<u64>,
    /// Tokens of model calls.
    pub tokens: Vec<u64>,
    /// Cost of model calls in millionths of a US dollar.
    pub micro_usd: Vec<u64>,
}

/// The kinds of bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BarKind {
    /// The model responded, or had to.
    Model,
    /// The model was called again after errors.
    Retrying,
    /// A call that reads.
    Read,
    /// A call that changes something.
    Write,
    /// A call that runs a command.
    Run,
    /// A call that waits for a command or an agent.
    Wait,
    /// A call that asks a person.
    Ask,
    /// A call that delegates work to an agent.
    Delegate,
    /// Any other call.
    Other,
    /// A wait for the permission of a person.
    Permission,
    /// A wait for the reply of a person.
    Person,
    /// A mark: a prompt of a person or the harness.
    Prompt,
    /// A mark: the context was compacted.
    Compaction,
    /// A mark: an error outside the tools.
    Error,
}

impl From<ToolClass> for BarKind {
    fn from(class: ToolClass) -> Self {
        match class {
            ToolClass::Read => Self::Read,
            ToolClass::Write => Self::Write,
            ToolClass::Run => Self::Run,
            ToolClass::Wait => Self::Wait,
            ToolClass::Ask => Self::Ask,
            ToolClass::Delegate => Self::Delegate,
            _ => Self::Other,
        }
    }
}

/// The outcomes of bars, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BarOutcome {
    /// It succeeded.
    #[default]
    Ok,
    /// It has no result.
    Open,
    /// A person or the failure of a parallel call interrupted it.
    Interrupted,
    /// A person or a rule declined it.
    Declined,
    /// It timed out.
    TimedOut,
    /// It failed.
    Failed,
}

/// Tokens, cost and context after model calls: one value in each list for each point, sums since
/// the start of the session.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct UsageSeries {
    /// Times.
    pub at_ms: Vec<u64>,
    /// Input tokens that were not read from a cache.
    pub input: Vec<u64>,
    /// Input tokens that were read from a cache.
    pub cache_read: Vec<u64>,
    /// Input tokens that were written to a cache.
    pub cache_write: Vec<u64>,
    /// Output tokens.
    pub output: Vec<u64>,
    /// Cost in US dollars.
    pub cost_usd: Vec<f64>,
    /// Tokens in the context of the main agent at its latest model call; 0 before the first.
    pub context: Vec<u64>,
}

/// The measures of one detector in a session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DetectorMeasures {
    /// The name of the detector in the policy.
    pub detector: String,
    /// The kind of the detector.
    pub kind: String,
    /// The unit of the measures.
    pub unit: Unit,
    /// The levels of the policy, the lowest first.
    pub levels: Vec<LevelSummary>,
    /// The notable measures, in order of time.
    pub measurements: Vec<Measurement>,
    /// The number of later measures that were left out.
    pub omitted: u64,
}

/// A level of the policy.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct LevelSummary {
    /// Measure from which the level applies.
    pub at: u64,
    /// The severity.
    pub severity: Severity,
}

/// One measure of a detector.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Measurement {
    /// The time.
    pub at_ms: u64,
    /// The sub-agent; `null` for the main agent.
    pub agent: Option<String>,
    /// The effect.
    pub outcome: StepOutcome,
    /// The measure, if the detector reported one.
    pub measure: Option<u64>,
    /// The severity of the finding, or of the suppressed report.
    pub severity: Option<Severity>,
    /// The message, safe for a terminal.
    pub message: String,
    /// The event in a few words, safe for a terminal.
    pub event: String,
    /// The file of the event.
    pub file: Option<String>,
    /// The line of the event, counted from 1.
    pub line: Option<u64>,
}

/// Effect of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The measure is below every level.
    Below,
    /// The measure reached a level and opened a finding.
    Opened,
    /// The measure reached a level of a higher severity.
    Escalated,
    /// The measure reached a level, and the finding replaced the open finding of another
    /// detector.
    Replaced,
    /// The open finding counted the measure.
    Counted,
    /// The measure reached a level, and another detector suppressed the report.
    Suppressed,
    /// The condition ended without an open finding, or another condition keeps the finding
    /// open.
    Ended,
    /// The open finding was resolved.
    Resolved,
    /// The detector added a note, such as an exception that applied.
    Comment,
    /// The detector panicked and was disabled.
    Panicked,
}
