use std::collections::BTreeMap;

use jiff::Timestamp;

use super::detectors::CompiledDetector;

/// A change of the detectors of an engine, with the indexes of the detectors that stay.
pub(super) struct Replacement {
    /// The time of the change.
    pub(super) now: Timestamp,
    /// By old index, the new one.
    new: Vec<Option<u32>>,
    /// By new index, the old one.
    old: Vec<Option<u32>>,
}

impl Replacement {
    pub(super) fn new(
        now: Timestamp,
        old_detectors: &[CompiledDetector],
        new_detectors: &[CompiledDetector],
    ) -> Self {
        // Overrides create several detectors of the same name.
        let mut by_id: BTreeMap<&str, Vec<&CompiledDetector>> = BTreeMap::new();
        for detector in old_detectors {
            by_id.entry(&detector.named.id).or_default().push(detector);
        }
        let mut new = vec![None; old_detectors.len()];
        let mut old = vec![None; new_detectors.len()];
        for detector in new_detectors {
            let namesakes = by_id.get(&*detector.named.id).into_iter().flatten();
            let mut same = namesakes.filter(|it| it.works_like(detector));
            if let Some(same) = same.find(|it| new[it.idx() as usize].is_none()) {
                new[same.idx() as usize] = Some(detector.idx());
                old[detector.idx() as usize] = Some(same.idx());
            }
        }
        Self { now, new, old }
    }

    /// Returns the new index of a detector; `None` if it is gone.
    pub(super) fn new_idx(&self, old_idx: u32) -> Option<u32> {
        self.new[old_idx as usize]
    }

    /// Returns the index that a detector had; `None` if it is new.
    pub(super) fn old_idx(&self, new_idx: u32) -> Option<u32> {
        self.old[new_idx as usize]
    }
}
