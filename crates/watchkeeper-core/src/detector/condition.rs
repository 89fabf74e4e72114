use crate::{Fingerprint, Level, Severity};

/// A condition for which a finding is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) detector_idx: u32,
    pub(crate) severity: Severity,
    pub(crate) subject: Fingerprint,
    /// The highest measure so far.
    pub(crate) measure: u64,
    /// The tokens that the session had used when the finding was opened.
    pub(crate) tokens: u64,
    /// The cost of the session when the finding was opened, in US dollars.
    pub(crate) cost_usd: f64,
}

/// The open conditions of one agent or session, for one of its detectors.
#[derive(Clone, Copy)]
pub(crate) struct OpenConditions<'a> {
    pub(crate) detector_idx: u32,
    /// The indexes of the detectors that inhibit this one.
    pub(crate) inhibitors: &'a [u32],
    /// The open conditions of all detectors.
    pub(crate) conditions: &'a [Condition],
}

impl OpenConditions<'_> {
    pub(super) fn severity(self, subject: Fingerprint) -> Option<Severity> {
        let is_same = |condition: &&Condition| {
            condition.detector_idx == self.detector_idx && condition.subject == subject
        };
        self.conditions.iter().find(is_same).map(|condition| condition.severity)
    }

    /// Returns the severity up to which other detectors inhibit this one.
    pub(crate) fn inhibited(self) -> Option<Severity> {
        let inhibits = |it: &&Condition| self.inhibitors.contains(&it.detector_idx);
        self.conditions.iter().filter(inhibits).map(|condition| condition.severity).max()
    }
}

/// Returns the severity of the highest level that a measure reaches.
pub(crate) fn reached(levels: &[Level], measure: u64) -> Option<Severity> {
    let reached = levels.iter().filter(|level| level.at <= measure);
    reached.map(|level| level.severity).max()
}
