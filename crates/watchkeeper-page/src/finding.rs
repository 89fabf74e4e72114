use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{Finding, Severity, Status};

/// A finding about a whole episode: with the highest severity, the time of its opening, and the
/// end, if it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FindingRow {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// The time of the resolution or, in a report, of the last event of the session. `null` while
    /// a finding is open, and for a session without times.
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// The reason of the resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// Tokens that the session used from the opening to the end; 0 if that is not known.
    pub tokens: u64,
    /// US dollars that the session used from the opening to the end; 0 if that is not known.
    pub cost_usd: f64,
}

/// Numbers of findings by the highest severity that they reached, open or resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingCounts {
    /// Findings of low severity.
    pub low: u64,
    /// Findings of medium severity.
    pub medium: u64,
    /// Findings of high severity.
    pub high: u64,
    /// Findings of any severity that are open.
    pub open: u64,
}

impl FindingRow {
    /// Makes the row of a finding that has just been reported.
    pub(crate) fn new(finding: Finding) -> Self {
        Self { finding, ended_at: None, resolution: None, tokens: 0, cost_usd: 0.0 }
    }

    /// Applies a later finding of the same episode.
    pub(crate) fn update(&mut self, finding: Finding) {
        let (at, severity) = (self.finding.at, self.finding.severity);
        match finding.status {
            Status::Open => {
                self.finding = finding;
                self.finding.at = at;
                self.finding.severity = severity.max(self.finding.severity);
            }
            Status::Resolved => {
                self.finding.status = Status::Resolved;
                self.finding.count = self.finding.count.max(finding.count);
                self.ended_at = Some(finding.at);
                self.resolution = Some(finding.message);
            }
        }
    }

    /// Returns whether the finding is open and about a loop.
    pub fn is_open_loop(&self) -> bool {
        self.finding.status == Status::Open && &*self.finding.class == "runaway"
    }
}

impl FindingCounts {
    /// Returns the counts of some findings.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a FindingRow>) -> Self {
        let mut counts = Self::default();
        for FindingRow { finding, .. } in rows {
            let n = match finding.severity {
                Severity::Low => &mut counts.low,
                Severity::Medium => &mut counts.medium,
                Severity::High => &mut counts.high,
            };
            *n += 1;
            counts.open += u64::from(finding.status == Status::Open);
        }
        counts
    }

    /// Adds other counts.
    pub fn add(&mut self, other: Self) {
        self.low += other.low;
        self.medium += other.medium;
        self.high += other.high;
        self.open += other.open;
    }
}
