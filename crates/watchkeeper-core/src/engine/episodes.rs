use super::{detectors::CompiledDetector, explanation::Outcome};
use crate::{
    Fingerprint, Totals,
    detector::condition::{Condition, OpenConditions, reached},
};

/// The number of conditions of one stream that may be open at once. The oldest is
/// dropped first.
pub(super) const MAX_EPISODES: usize = 32;

/// The open conditions of one agent or session, for all its detectors, the oldest
/// first.
#[derive(Debug, Default)]
pub(super) struct Episodes(
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    Option<Box<Vec<Condition>>>,
);

impl Episodes {
    /// Compares the measure of a condition with the levels. Returns the outcome, and
    /// the condition if it was opened or escalated.
    pub(super) fn report(
        &mut self,
        detector: &CompiledDetector,
        subject: Fingerprint,
        measure: u64,
        totals: &Totals,
    ) -> (Outcome, Option<Condition>) {
        let reached = reached(&detector.named.levels, measure);
        let inhibited = self.of(detector).inhibited();
        let effective = reached.filter(|severity| inhibited < Some(*severity));
        if let Some(condition) = self.find(detector.idx, subject) {
            condition.measure = condition.measure.max(measure);
            let open = condition.severity;
            if let Some(severity) = effective.filter(|severity| open < *severity) {
                condition.severity = severity;
                return (Outcome::Escalated(severity), Some(*condition));
            }
            let inhibited = reached.filter(|severity| open < *severity);
            return (inhibited.map_or(Outcome::Counted(open), Outcome::Inhibited), None);
        }
        let Some(severity) = effective else {
            return (reached.map_or(Outcome::Below, Outcome::Inhibited), None);
        };
        let (detector_idx, tokens, cost_usd) =
            (detector.idx, totals.tokens.total(), totals.cost_usd);
        let condition = Condition { detector_idx, severity, subject, measure, tokens, cost_usd };
        self.open(condition);
        (Outcome::Opened(severity), Some(condition))
    }

    fn open(&mut self, condition: Condition) {
        let conditions = self.0.get_or_insert_default();
        let is_of_detector = |it: &Condition| it.detector_idx == condition.detector_idx;
        if conditions.iter().filter(|it| is_of_detector(it)).count() == MAX_EPISODES
            && let Some(oldest) = conditions.iter().position(is_of_detector)
        {
            conditions.remove(oldest);
        }
        conditions.push(condition);
    }

    /// Removes and returns a condition if it is open.
    pub(super) fn resolve(&mut self, detector_idx: u32, subject: Fingerprint) -> Option<Condition> {
        let conditions = self.0.as_mut()?;
        let is_same = |it: &Condition| it.detector_idx == detector_idx && it.subject == subject;
        let condition = conditions.remove(conditions.iter().position(is_same)?);
        if conditions.is_empty() {
            self.0 = None;
        }
        Some(condition)
    }

    /// Returns the highest measure of an open condition.
    pub(super) fn measure(&self, detector_idx: u32, subject: Fingerprint) -> Option<u64> {
        let is_same = |it: &&Condition| it.detector_idx == detector_idx && it.subject == subject;
        self.conditions().iter().find(is_same).map(|condition| condition.measure)
    }

    fn find(&mut self, detector_idx: u32, subject: Fingerprint) -> Option<&mut Condition> {
        let mut conditions = self.0.iter_mut().flat_map(|conditions| conditions.iter_mut());
        conditions.find(|it| it.detector_idx == detector_idx && it.subject == subject)
    }

    /// Returns the open conditions, for one detector.
    pub(super) fn of<'a>(&'a self, detector: &'a CompiledDetector) -> OpenConditions<'a> {
        OpenConditions {
            detector_idx: detector.idx,
            inhibitors: &detector.inhibitors,
            conditions: self.conditions(),
        }
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        self.0.as_ref().map_or(&[], |conditions| conditions.as_slice())
    }

    pub(super) fn has_open(&self, detector_idx: u32) -> bool {
        self.conditions().iter().any(|condition| condition.detector_idx == detector_idx)
    }

    /// Removes and returns all conditions.
    pub(super) fn take(&mut self) -> Vec<Condition> {
        self.0.take().map_or_else(Vec::new, |conditions| *conditions)
    }
}
