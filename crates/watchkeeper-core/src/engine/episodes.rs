use super::{
    detector_set::DetectorSet, detectors::CompiledDetector, explanation::Outcome,
    replacement::Replacement,
};
use crate::{
    Evidence, Fingerprint, Report, Severity, Totals,
    detector::condition::{Condition, ConditionId, Episode, OpenEpisodes, Rules, reached},
};

/// The number of conditions of one detector in one stream that may hold at once. The
/// oldest is dropped first.
pub(super) const MAX_EPISODES: usize = 32;

/// The episodes of one agent or session, for all its detectors, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Episodes(
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    Option<Box<Vec<Episode>>>,
);

/// The effect of the end of a condition.
pub(super) enum Resolution {
    /// The condition has not reached a level.
    None,
    /// Other conditions hold the finding open.
    StaysOpen,
    /// The finding is resolved, with this report.
    Resolved(Box<Episode>, Report),
}

impl Episodes {
    /// Compares the measure of a condition with the levels. Returns the outcome, and
    /// the episode if the condition needs a finding.
    pub(super) fn report(
        &mut self,
        detectors: &[CompiledDetector],
        id: ConditionId,
        measure: u64,
        totals: &Totals,
    ) -> (Outcome, Option<&mut Episode>) {
        let detector = &detectors[id.detector_idx as usize];
        let reached = reached(&detector.rules.levels, measure);
        let Some(position) = self.of(&detector.rules).position(id.subject) else {
            let Some(severity) = reached else { return (Outcome::Below, None) };
            let condition = Condition { id, severity, measure, is_emitted: true };
            let episode = self.open(detector, condition, totals);
            return (Outcome::Opened(severity), Some(episode));
        };
        let Some(episode) = self.0.as_mut().and_then(|episodes| episodes.get_mut(position)) else {
            return (Outcome::Below, None);
        };
        let severity = reached.filter(|severity| {
            episode.is_exceeded_by(id, *severity, &detector.rules.less_specific)
        });
        let Some(condition) = episode.add(id, reached, measure) else {
            return (Outcome::Below, None);
        };
        let latest = &detectors[episode.explained_by.detector_idx as usize];
        let Some(severity) = severity else {
            let by = latest.named.id.clone();
            let outcome = if id == episode.explained_by {
                episode.explain(&condition);
                Outcome::Counted(episode.severity)
            } else {
                Outcome::Inhibited { severity: condition.severity, by }
            };
            return (outcome, None);
        };
        let replaces = (latest.named.id != detector.named.id).then(|| latest.named.id.clone());
        episode.severity = severity;
        episode.explain(&condition);
        let outcome = match replaces {
            Some(detector) => Outcome::Replaced { severity, detector },
            None => Outcome::Escalated(severity),
        };
        (outcome, Some(episode))
    }

    fn open(
        &mut self,
        detector: &CompiledDetector,
        condition: Condition,
        totals: &Totals,
    ) -> &mut Episode {
        let episodes = self.0.get_or_insert_default();
        let is_of_detector = |it: &Episode| it.opened_by.detector_idx == detector.idx();
        if episodes.iter().filter(|it| is_of_detector(it)).count() == MAX_EPISODES
            && let Some(oldest) = episodes.iter().position(is_of_detector)
        {
            episodes.remove(oldest);
        }
        let last = episodes.len();
        // Most streams have one.
        episodes.reserve_exact(1);
        episodes.push(Episode {
            group: detector.rules.group,
            opened_by: condition.id,
            explained_by: condition.id,
            measure: condition.measure,
            severity: condition.severity,
            tokens: totals.tokens.total(),
            cost_usd: totals.cost_usd,
            earliest: None,
            cause: Fingerprint::NONE,
            end: None,
            conditions: vec![condition],
        });
        &mut episodes[last]
    }

    /// Removes a condition, and the episode if no other condition holds. `report` is about
    /// the end of the condition.
    pub(super) fn resolve(
        &mut self,
        detector: &CompiledDetector,
        id: ConditionId,
        report: &Report,
    ) -> Resolution {
        let position = self.of(&detector.rules).position(id.subject);
        let episode = self.0.as_mut().zip(position);
        let Some((episodes, position)) = episode else { return Resolution::None };
        let episode = &mut episodes[position];
        let Some(place) = episode.conditions.iter().position(|condition| condition.id == id) else {
            return Resolution::None;
        };
        episode.conditions.remove(place);
        if id == episode.explained_by {
            episode.end = Some(Box::new(report.clone()));
        }
        if !episode.conditions.is_empty() {
            return Resolution::StaysOpen;
        }
        let mut episode = episodes.remove(position);
        if episodes.is_empty() {
            self.0 = None;
        }
        // Of too many conditions, the explanation may have been dropped.
        let end = episode.end.take();
        let end = end.map_or_else(|| Report::new("over, as its conditions ended"), |end| *end);
        Resolution::Resolved(Box::new(episode), end)
    }

    /// Returns the episode that a condition explains with its highest measure so far.
    pub(super) fn explained_by(
        &self,
        detector: &CompiledDetector,
        id: ConditionId,
        measure: u64,
    ) -> Option<&Episode> {
        let position = self.of(&detector.rules).position(id.subject)?;
        let episode = self.as_slice().get(position)?;
        let explains = |it: &Condition| it.id == id && it.measure <= measure;
        episode.explanation().is_some_and(explains).then_some(episode)
    }

    /// Returns the episodes, for one detector.
    pub(super) fn of<'a>(&'a self, rules: &'a Rules) -> OpenEpisodes<'a> {
        OpenEpisodes { rules, episodes: self.as_slice() }
    }

    pub(super) fn as_slice(&self) -> &[Episode] {
        self.0.as_ref().map_or(&[], |episodes| episodes.as_slice())
    }

    /// Returns the detectors of a block of which a condition has reached a level.
    pub(super) fn detectors_in_block(&self, block: u32) -> DetectorSet {
        let conditions = self.as_slice().iter().flat_map(|episode| &episode.conditions);
        DetectorSet::new(block, conditions.map(|condition| condition.id.detector_idx))
    }

    /// Moves the episodes to new detectors. Removes and returns the episodes that end thereby, with
    /// the indexes of the old detectors.
    pub(super) fn replace(
        &mut self,
        change: &Replacement,
        detectors: &[CompiledDetector],
    ) -> Vec<Episode> {
        let (mut kept, mut ended) = (Vec::<Episode>::new(), Vec::new());
        for episode in self.take() {
            match episode.replaced(change, detectors) {
                // A group has one.
                Some(replaced)
                    if replaced.group.is_none()
                        || kept.iter().all(|it| it.group != replaced.group) =>
                {
                    kept.push(replaced);
                }
                _ => ended.push(episode),
            }
        }
        self.0 = (!kept.is_empty()).then(|| Box::new(kept));
        ended
    }

    /// Removes and returns all episodes.
    pub(super) fn take(&mut self) -> Vec<Episode> {
        self.0.take().map_or_else(Vec::new, |episodes| *episodes)
    }
}

impl Episode {
    /// Adds a measure. Returns the condition; `None` if it has reached no level so far.
    fn add(
        &mut self,
        id: ConditionId,
        reached: Option<Severity>,
        measure: u64,
    ) -> Option<Condition> {
        if let Some(condition) = self.conditions.iter_mut().find(|it| it.id == id) {
            condition.measure = condition.measure.max(measure);
            let severity = condition.severity.max(reached.unwrap_or(condition.severity));
            condition.is_emitted &= condition.severity == severity;
            condition.severity = severity;
            return Some(*condition);
        }
        let condition = Condition { id, severity: reached?, measure, is_emitted: false };
        let is_of_detector = |it: &Condition| it.id.detector_idx == id.detector_idx;
        if self.conditions.iter().filter(|it| is_of_detector(it)).count() == MAX_EPISODES
            && let Some(oldest) = self.conditions.iter().position(is_of_detector)
        {
            self.conditions.remove(oldest);
        }
        self.conditions.push(condition);
        Some(condition)
    }

    /// Returns the episode of new detectors. `None` if no condition reaches one of their levels,
    /// or the detector that opened or explains the finding is gone.
    fn replaced(&self, change: &Replacement, detectors: &[CompiledDetector]) -> Option<Self> {
        let new_id = |id: ConditionId| {
            Some(ConditionId { detector_idx: change.new_idx(id.detector_idx)?, ..id })
        };
        let rules = |id: ConditionId| &detectors[id.detector_idx as usize].rules;
        let (opened_by, explained_by) = (new_id(self.opened_by)?, new_id(self.explained_by)?);
        let group = rules(opened_by).group;
        let belongs = |id: ConditionId| match group {
            None => id == opened_by,
            group => rules(id).group == group,
        };
        let conditions: Vec<Condition> = self
            .conditions
            .iter()
            .filter_map(|condition| {
                let id = new_id(condition.id).filter(|id| belongs(*id))?;
                reached(&rules(id).levels, condition.measure)?;
                Some(Condition { id, ..*condition })
            })
            .collect();
        let is_open = belongs(explained_by) && !conditions.is_empty();
        is_open.then(|| Self { group, opened_by, explained_by, conditions, ..self.clone() })
    }

    /// Makes a condition that holds the explanation.
    fn explain(&mut self, condition: &Condition) {
        (self.explained_by, self.measure) = (condition.id, condition.measure);
        self.end = None;
        // The finding of the explanation had the severity of the episode.
        let is_emitted = condition.severity == self.severity;
        if let Some(condition) = self.conditions.iter_mut().find(|it| it.id == condition.id) {
            condition.is_emitted = is_emitted;
        }
    }

    /// Adds the earliest evidence of the findings of the episode to the evidence of a
    /// report, which is in order of time.
    pub(super) fn add_earliest(&self, evidence: &mut Vec<Evidence>) {
        let Some((earliest, first)) = self.earliest.as_ref().zip(evidence.first()) else { return };
        if earliest.file != first.file || earliest.line < first.line {
            evidence.insert(0, earliest.clone());
        }
    }

    /// Keeps the earliest evidence of a finding for later ones.
    pub(super) fn keep_earliest(&mut self, evidence: &[Evidence]) {
        if self.group.is_some() {
            self.earliest = evidence.first().cloned();
        }
    }
}

impl ConditionId {
    pub(super) fn new(detector: &CompiledDetector, subject: Fingerprint) -> Self {
        Self { detector_idx: detector.idx(), subject }
    }
}
