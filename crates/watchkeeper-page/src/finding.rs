use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{Finding, Fingerprint, Severity, Silenced, Status, author::known_time};

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
    /// The silence that hides the finding from sinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silenced: Option<Arc<Silenced>>,
    /// The acknowledgement by a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// The acknowledgement of a finding by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Acknowledgement {
    /// Identifies the acknowledgement.
    pub id: String,
    /// The time of the acknowledgement.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The person.
    pub author: String,
    /// The reason.
    pub reason: String,
}

/// The latest acknowledgement with each fingerprint.
#[derive(Default)]
pub(crate) struct Acknowledgements(BTreeMap<Fingerprint, AcknowledgedUntil>);

struct AcknowledgedUntil {
    /// A finding of a later time belongs to another episode.
    until: Timestamp,
    acknowledgement: Acknowledgement,
}

impl Acknowledgements {
    /// Returns the acknowledgement of a finding.
    pub(crate) fn of(&self, row: &FindingRow) -> Option<&Acknowledgement> {
        let acknowledged = self.0.get(&row.finding.fingerprint)?;
        let is_later = known_time(row.finding.at).is_some_and(|at| acknowledged.until < at);
        (!is_later).then_some(&acknowledged.acknowledgement)
    }
}

impl FromIterator<(Fingerprint, Option<Timestamp>, Acknowledgement)> for Acknowledgements {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, Option<Timestamp>, Acknowledgement)>>(
        acknowledgements: I,
    ) -> Self {
        let entry =
            |(fingerprint, at, acknowledgement): (_, Option<Timestamp>, Acknowledgement)| {
                // The clock of the session may be ahead.
                let until = at.map_or(acknowledgement.at, |at| at.max(acknowledgement.at));
                (fingerprint, AcknowledgedUntil { until, acknowledgement })
            };
        Self(acknowledgements.into_iter().map(entry).collect())
    }
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
    pub fn new(finding: Finding) -> Self {
        let silenced = finding.silenced.clone();
        let acknowledged = None;
        let (ended_at, resolution, tokens, cost_usd) = (None, None, 0, 0.0);
        Self { finding, ended_at, resolution, tokens, cost_usd, silenced, acknowledged }
    }

    /// Applies a later finding of the same episode.
    pub(crate) fn update(&mut self, finding: Finding) {
        let (at, severity) = (self.finding.at, self.finding.severity);
        match finding.status {
            Status::Open => {
                self.silenced.clone_from(&finding.silenced);
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
