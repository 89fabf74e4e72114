use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use watchkeeper_core::{
    Level, Severity, Unit,
    author::Scope,
    embed::{NamedDetector, Registry},
};

use super::{
    candidates::{round_numbers, round_up},
    measures::Measures,
    proposal::Choice,
};

/// A detector of the policy, with its present levels.
#[derive(Clone, Debug)]
pub(crate) struct TunedDetector {
    pub(crate) id: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) unit: Unit,
    /// In ascending order.
    pub(crate) levels: Vec<Level>,
    /// `true` if its findings are about a budget: a limit that a person has set.
    pub(crate) is_budget: bool,
    /// `true` if a stream is one agent, and not a session.
    pub(super) is_per_agent: bool,
    /// The positions of the detectors that suppress it.
    pub(super) inhibitors: Vec<usize>,
}

/// The detectors of a policy that observe single sessions, ordered by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct TunedDetectors {
    list: Vec<TunedDetector>,
    positions: BTreeMap<Arc<str>, usize>,
    /// The ids of the detectors that count several sessions together.
    pub(crate) shared: BTreeSet<Arc<str>>,
}

impl TunedDetectors {
    /// Creates the list for the detectors of a policy. Of a detector that overrides
    /// change, the first variant counts.
    pub(crate) fn new(detectors: &[NamedDetector], registry: &Registry) -> Self {
        let (shared, own): (Vec<_>, Vec<_>) =
            detectors.iter().partition(|named| named.per.is_some());
        let mut variants: BTreeMap<&str, &NamedDetector> = BTreeMap::new();
        for named in own {
            variants.entry(&named.id).or_insert(named);
        }
        let position = |id: &Arc<str>| variants.keys().position(|other| **other == **id);
        let list = variants.values().map(|named| {
            let entry = registry.detectors.get(&named.kind);
            let mut levels = named.levels.clone();
            levels.sort_by_key(|level| level.at);
            TunedDetector {
                id: named.id.clone(),
                kind: named.kind.clone(),
                unit: entry.map_or(Unit::Count, |entry| entry.unit),
                levels,
                is_budget: &*named.class == "budget",
                is_per_agent: named.detector.subscription().scope == Scope::Agent,
                inhibitors: named.inhibited_by.iter().filter_map(position).collect(),
            }
        });
        let shared = shared.into_iter().map(|named| named.id.clone());
        Self { shared: shared.collect(), ..Self::of(list.collect()) }
    }

    pub(super) fn of(list: Vec<TunedDetector>) -> Self {
        let ids = list.iter().map(|detector| detector.id.clone());
        Self { positions: ids.zip(0..).collect(), list, shared: BTreeSet::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TunedDetector> {
        self.list.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, position: usize) -> &TunedDetector {
        &self.list[position]
    }

    pub(super) fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).copied()
    }
}

impl TunedDetector {
    /// Returns the lowest measure of a finding of severity `medium` or above, at present;
    /// `None` if the detector reports at most `low`.
    pub(crate) fn medium_level(&self) -> Option<u64> {
        medium_level(&self.levels)
    }

    /// Returns the lowest measure of a finding, at present.
    pub(super) fn lowest_level(&self) -> u64 {
        self.levels.first().map_or(u64::MAX, |level| level.at)
    }

    /// Returns whether other levels are proposed: the detector reports `medium` or above,
    /// and its limit is no budget.
    pub(super) fn is_tunable(&self) -> bool {
        !self.is_budget && self.medium_level().is_some()
    }

    /// Returns the levels to count, in ascending order: the present ones and the round
    /// numbers above the lowest, up to the first that is above `highest`.
    pub(super) fn counted_levels(&self, highest: u64) -> Vec<u64> {
        let lowest = self.lowest_level();
        let round = round_numbers().filter(|at| lowest < *at);
        let mut counted: BTreeSet<u64> = self.levels.iter().map(|level| level.at).collect();
        for at in round {
            counted.insert(at);
            if highest < at {
                break;
            }
        }
        let beyond = counted.iter().copied().filter(|at| highest < *at).collect::<Vec<_>>();
        // The present level stays in the list, also if no measure reaches it.
        let last = beyond.first().copied().max(self.medium_level());
        counted.retain(|at| last.is_none_or(|last| *at <= last));
        counted.into_iter().collect()
    }

    /// Returns the levels that can replace the [level of `medium`](Self::medium_level): the
    /// counted levels above every level of `low`.
    pub(super) fn candidates(&self, highest: u64) -> Vec<u64> {
        let low = self.levels.iter().filter(|level| level.severity == Severity::Low);
        let low = low.map(|level| level.at).max();
        let mut counted = self.counted_levels(highest);
        counted.retain(|at| low.is_none_or(|low| low < *at));
        counted
    }

    /// Returns the present levels with another [level of `medium`](Self::medium_level). Higher
    /// levels grow by the same factor if it rises, and stay if it falls.
    pub(crate) fn with_medium_level(&self, medium: u64) -> Vec<Level> {
        let Some(present) = self.medium_level() else { return self.levels.clone() };
        let moved = |level: &Level| {
            if level.at < present {
                return *level;
            }
            let scaled = u128::from(level.at) * u128::from(medium) / u128::from(present.max(1));
            let scaled = round_up(u64::try_from(scaled).unwrap_or(u64::MAX));
            let at = match level.at {
                at if at == present => medium,
                at if present < medium => scaled.max(at),
                at => at,
            };
            Level { at, ..*level }
        };
        self.levels.iter().map(moved).collect()
    }
}

/// Returns the levels of `medium` from which those of a proposal are chosen; `None` for a
/// detector that keeps its levels.
pub(crate) fn choices(detectors: &TunedDetectors, measures: &Measures) -> Vec<Option<Choice>> {
    let choice = |(idx, detector): (usize, &TunedDetector)| {
        let present = detector.medium_level().filter(|_| detector.is_tunable())?;
        Some(Choice { present, candidates: detector.candidates(measures.highest(idx)) })
    };
    detectors.iter().enumerate().map(choice).collect()
}

/// Returns the lowest measure of a finding of severity `medium` or above.
fn medium_level(levels: &[Level]) -> Option<u64> {
    let medium = levels.iter().filter(|level| Severity::Medium <= level.severity);
    medium.map(|level| level.at).min()
}

/// Adds levels to the detectors that request a wake-up for the next level: they report no
/// measure in between. An added level has the severity of the level below, and therefore
/// changes no finding.
pub(crate) fn add_levels(detectors: &mut [NamedDetector], registry: &Registry) {
    for named in detectors.iter_mut().filter(|named| named.per.is_none()) {
        let unit = registry.detectors.get(&named.kind).map(|entry| entry.unit);
        if !matches!(unit, Ok(Unit::Percent)) {
            continue;
        }
        let present = named.levels.clone();
        for at in round_numbers().filter(|at| present.iter().all(|level| level.at != *at)) {
            let below = present.iter().filter(|level| level.at < at);
            if let Some(severity) = below.map(|level| level.severity).max() {
                named.levels.push(Level::new(at, severity));
            }
        }
        named.levels.sort_by_key(|level| level.at);
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Level, Severity, Unit};

    use super::TunedDetector;

    /// Returns a detector with these levels of `low`, `medium` and `high`.
    fn detector(id: &str, levels: [Option<u64>; 3]) -> TunedDetector {
        let levels = levels.into_iter().zip(Severity::ALL);
        let levels = levels.filter_map(|(at, severity)| Some(Level::new(at?, severity)));
        TunedDetector {
            id: id.into(),
            kind: "invented".into(),
            unit: Unit::Count,
            levels: levels.collect(),
            is_budget: false,
            is_per_agent: true,
            inhibitors: Vec::new(),
        }
    }

    #[test]
    fn candidates_are_above_low_and_end_above_every_measure() {
        let low_medium = detector("a", [Some(3), Some(5), None]);
        assert_eq!(low_medium.counted_levels(0), [3, 4, 5]);
        assert_eq!(low_medium.candidates(0), [4, 5]);
        assert_eq!(low_medium.candidates(11), [4, 5, 6, 7, 8, 9, 10, 12]);
        let medium = detector("b", [None, Some(3), Some(10)]);
        assert_eq!(medium.candidates(5), [3, 4, 5, 6]);
        assert_eq!(detector("c", [Some(9), None, None]).medium_level(), None);
        assert!(!detector("c", [Some(9), None, None]).is_tunable());
    }

    #[test]
    fn higher_levels_rise_with_the_medium_level() {
        let at = |detector: &TunedDetector, medium| {
            detector.with_medium_level(medium).iter().map(|level| level.at).collect::<Vec<_>>()
        };
        let all = detector("a", [Some(3), Some(4), Some(8)]);
        assert_eq!(at(&all, 6), [3, 6, 12]);
        assert_eq!(at(&all, 7), [3, 7, 15]);
        let far = detector("b", [Some(2), Some(5), Some(6)]);
        assert_eq!(at(&far, 3), [2, 3, 6]);
        assert_eq!(at(&far, 5), [2, 5, 6]);
        assert_eq!(at(&far, 10), [2, 10, 12]);
    }
}
