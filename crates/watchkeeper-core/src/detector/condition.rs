use crate::{Evidence, Fingerprint, Level, Report, Severity};

/// The detector and the subject of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConditionId {
    pub(crate) detector_idx: u32,
    pub(crate) subject: Fingerprint,
}

/// A condition that holds and has reached a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub(crate) id: ConditionId,
    /// The severity of the highest level that it has reached.
    pub(crate) severity: Severity,
    /// The highest measure so far.
    pub(crate) measure: u64,
    /// Whether a finding of this severity was emitted for the condition.
    pub(crate) is_emitted: bool,
}

/// An open finding, and the conditions that hold it open.
///
/// A detector that belongs to no group has an episode for each condition. The
/// detectors of a group share one.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) group: Option<u32>,
    /// The condition that opened the finding, which determines the fingerprint.
    pub(crate) opened_by: ConditionId,
    /// The condition of the finding that was emitted last. It may have ended.
    pub(crate) explained_by: ConditionId,
    /// The highest measure of `explained_by`.
    pub(crate) measure: u64,
    /// The highest severity so far.
    pub(crate) severity: Severity,
    /// The tokens that the session had used when the finding was opened.
    pub(crate) tokens: u64,
    /// The cost of the session when the finding was opened, in US dollars.
    pub(crate) cost_usd: f64,
    /// The earliest evidence, for the detectors of a group.
    pub(crate) earliest: Option<Evidence>,
    /// The cause of the finding that was emitted last, which is part of its id.
    pub(crate) cause: Fingerprint,
    /// The report of the end of `explained_by`, if it has ended.
    pub(crate) end: Option<Box<Report>>,
    /// The conditions that hold, the oldest first.
    pub(crate) conditions: Vec<Condition>,
}

/// The rules that turn the measures of a detector into conditions.
pub(crate) struct Rules {
    /// The index among all detectors.
    pub(crate) detector_idx: u32,
    /// The lowest index of the detectors with which it shares findings; `None` if there
    /// is no other one.
    pub(crate) group: Option<u32>,
    /// The indexes of the detectors that it inhibits, directly or through others.
    pub(crate) less_specific: Box<[u32]>,
    /// Sorted by measure, the lowest first.
    pub(crate) levels: Box<[Level]>,
    /// Whether the detector subscribes to contributions.
    pub(crate) reads_contributions: bool,
}

/// The episodes of one agent or session, for one of its detectors.
#[derive(Clone, Copy)]
pub(crate) struct OpenEpisodes<'a> {
    pub(crate) rules: &'a Rules,
    /// The episodes of all detectors.
    pub(crate) episodes: &'a [Episode],
}

impl Episode {
    /// Returns a condition that holds.
    pub(crate) fn get(&self, id: ConditionId) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.id == id)
    }

    /// Returns the condition that justifies the severity: the condition of the latest
    /// finding or, if it has ended, the most specific of the others for which a finding of
    /// this severity was emitted. `None` if there is none.
    pub(crate) fn explanation(&self) -> Option<&Condition> {
        let is_as_severe = |condition: &&Condition| condition.severity == self.severity;
        let latest = self.get(self.explained_by).filter(is_as_severe);
        let emitted = || self.conditions.iter().filter(is_as_severe).filter(|it| it.is_emitted);
        // Each detector comes after the more specific ones.
        latest.or_else(|| emitted().min_by_key(|condition| condition.id.detector_idx))
    }

    /// Returns whether a condition that reaches this severity is a better explanation,
    /// and needs a finding. `less_specific` are the detectors that its detector inhibits.
    pub(crate) fn is_exceeded_by(
        &self,
        id: ConditionId,
        severity: Severity,
        less_specific: &[u32],
    ) -> bool {
        if self.severity != severity {
            return self.severity < severity;
        }
        let Some(explanation) = self.explanation() else { return true };
        let latest = self.explained_by;
        let is_more_specific = less_specific.contains(&explanation.id.detector_idx);
        if explanation.id == latest {
            return is_more_specific;
        }
        let is_emitted = |it: &Condition| it.is_emitted && it.severity == severity;
        let is_new = id != latest && !self.get(id).is_some_and(is_emitted);
        is_new && (is_more_specific || id.detector_idx == latest.detector_idx)
    }
}

impl<'a> OpenEpisodes<'a> {
    fn id(self, subject: Fingerprint) -> ConditionId {
        ConditionId { detector_idx: self.rules.detector_idx, subject }
    }

    /// Returns the index of the episode to which a condition belongs or would belong.
    pub(crate) fn position(self, subject: Fingerprint) -> Option<usize> {
        let id = self.id(subject);
        self.episodes.iter().position(|episode| match self.rules.group {
            None => episode.opened_by == id,
            group => episode.group == group,
        })
    }

    fn episode(self, subject: Fingerprint) -> Option<&'a Episode> {
        self.episodes.get(self.position(subject)?)
    }

    /// Returns whether a condition holds and has reached a level.
    pub(super) fn holds(self, subject: Fingerprint) -> bool {
        self.episode(subject).is_some_and(|episode| episode.get(self.id(subject)).is_some())
    }

    /// Returns whether a condition explains an open finding, or may explain it once its
    /// measure is added.
    pub(super) fn may_explain(self, subject: Fingerprint) -> bool {
        self.episode(subject).is_some_and(|episode| {
            let latest = episode.explained_by;
            let explains_latest = |condition: &Condition| condition.id == latest;
            latest == self.id(subject) || !episode.explanation().is_some_and(explains_latest)
        })
    }

    /// Returns whether a condition needs a finding once it reaches a severity.
    pub(super) fn needs_finding(self, subject: Fingerprint, reached: Option<Severity>) -> bool {
        reached.is_some_and(|reached| {
            let episode = self.episode(subject);
            let id = self.id(subject);
            episode.is_none_or(|episode| {
                episode.is_exceeded_by(id, reached, &self.rules.less_specific)
            })
        })
    }
}

/// Returns the severity of the highest level that a measure reaches.
pub(crate) fn reached(levels: &[Level], measure: u64) -> Option<Severity> {
    let reached = levels.iter().filter(|level| level.at <= measure);
    reached.map(|level| level.severity).max()
}
