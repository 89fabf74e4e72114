use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{detectors::CompiledDetector, subscriptions::SubscriptionTable};
use crate::{SessionFacts, SessionFilter};

/// A change of the detectors of an engine.
pub(super) struct DetectorChange {
    now: Timestamp,
    /// By old index.
    old: Vec<OldDetector>,
    /// By new index, the index of the old detector with the same state and sessions.
    same: Vec<Option<u32>>,
}

struct OldDetector {
    sessions: SessionFilter,
    /// The indexes of the new detectors that can continue with its state.
    successors: Vec<u32>,
}

/// The indexes of the detectors that stay in one session or group of sessions.
pub(super) struct Replacement {
    /// The time of the change.
    pub(super) now: Timestamp,
    /// By old index, the new one.
    new: Vec<Option<u32>>,
}

impl DetectorChange {
    pub(super) fn new(
        now: Timestamp,
        old_detectors: &[CompiledDetector],
        new_detectors: &[CompiledDetector],
    ) -> Self {
        // Overrides create several detectors of the same name.
        let mut by_id: BTreeMap<&str, Vec<&CompiledDetector>> = BTreeMap::new();
        for detector in new_detectors {
            by_id.entry(&detector.named.id).or_default().push(detector);
        }
        let mut same = vec![None; new_detectors.len()];
        let old = old_detectors.iter().map(|detector| {
            let namesakes = by_id.get(&*detector.named.id).into_iter().flatten();
            let successors: Vec<_> = namesakes.filter(|it| it.works_like(detector)).collect();
            let sessions = &detector.named.sessions;
            let mut free = successors.iter().filter(|it| same[it.idx() as usize].is_none());
            if let Some(for_same) = free.find(|it| it.named.sessions.is_like(sessions)) {
                same[for_same.idx() as usize] = Some(detector.idx());
            }
            let successors = successors.iter().map(|it| it.idx()).collect();
            OldDetector { sessions: sessions.clone(), successors }
        });
        Self { now, old: old.collect(), same }
    }

    /// Returns whether a new detector watches a session that had the detectors of `table` so far.
    ///
    /// A condition on sessions that an earlier detector of the session had is as true or false as
    /// before. Any other is compared with the facts so far.
    pub(super) fn selects(
        &self,
        detector: &CompiledDetector,
        table: &SubscriptionTable,
        facts: &SessionFacts,
    ) -> bool {
        if let Some(old_idx) = self.same[detector.idx() as usize] {
            return table.contains(old_idx);
        }
        let watching = self.old.iter().zip(0..).filter(|(_, idx)| table.contains(*idx));
        detector.named.sessions.takes_known(facts, watching.map(|(old, _)| &old.sessions))
    }

    /// Returns the change in a session that had the detectors of `old_table`, and has those of
    /// `new_table`.
    pub(super) fn in_session(
        &self,
        old_table: &SubscriptionTable,
        new_table: &SubscriptionTable,
    ) -> Replacement {
        // Detectors that are off are among them: their findings stay open.
        let mut new = self.of_same();
        for (old, old_idx) in self.old.iter().zip(0..) {
            if new[old_idx as usize].is_none() && old_table.contains(old_idx) {
                let is_free = |idx: &u32| new_table.contains(*idx) && !new.contains(&Some(*idx));
                let successor = old.successors.iter().copied().find(is_free);
                new[old_idx as usize] = successor;
            }
        }
        Replacement { now: self.now, new }
    }

    /// Returns the change in a group of sessions.
    pub(super) fn in_group(&self) -> Replacement {
        Replacement { now: self.now, new: self.of_same() }
    }

    /// Returns the old index of a detector for the same sessions; `None` if there was none.
    pub(super) fn old_idx(&self, new_idx: u32) -> Option<u32> {
        self.same[new_idx as usize]
    }

    /// Returns the new index of each old detector for the same sessions.
    fn of_same(&self) -> Vec<Option<u32>> {
        let mut new = vec![None; self.old.len()];
        for (old_idx, new_idx) in self.same.iter().zip(0..) {
            if let Some(old_idx) = old_idx {
                new[*old_idx as usize] = Some(new_idx);
            }
        }
        new
    }
}

impl Replacement {
    /// Returns the new index of a detector; `None` if it is gone.
    pub(super) fn new_idx(&self, old_idx: u32) -> Option<u32> {
        self.new[old_idx as usize]
    }
}
