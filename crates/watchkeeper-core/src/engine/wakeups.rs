use jiff::{SignedDuration, Timestamp};

use super::{detector_set::DetectorSet, replacement::Replacement, timers::postponed};
use crate::compact::PackedTimestamp;

/// The wake-ups that the detectors of one agent or session have requested, at most
/// one for each.
#[derive(Default)]
pub(super) struct Wakeups(Vec<Wakeup>);

#[derive(Clone, Copy)]
pub(super) struct Wakeup {
    at: PackedTimestamp,
    detector_idx: u32,
}

impl Wakeups {
    /// Returns the detectors of a block that have a wake-up.
    #[cold]
    pub(super) fn in_block(&self, block: u32) -> DetectorSet {
        DetectorSet::new(block, self.0.iter().map(|wakeup| wakeup.detector_idx))
    }

    pub(super) fn get(&self, detector_idx: u32) -> Option<PackedTimestamp> {
        let wakeup = self.0.iter().find(|it| it.detector_idx == detector_idx);
        wakeup.map(|wakeup| wakeup.at)
    }

    /// Returns the time of the first wake-up.
    pub(super) fn first(&self) -> Option<PackedTimestamp> {
        self.0.iter().map(|wakeup| wakeup.at).min()
    }

    /// Sets the wake-up of a detector.
    pub(super) fn set(&mut self, detector_idx: u32, at: PackedTimestamp) {
        match self.0.iter_mut().find(|it| it.detector_idx == detector_idx) {
            Some(wakeup) => wakeup.at = at,
            None => {
                // Most streams have few, and there are very many streams.
                self.0.reserve_exact(1);
                self.0.push(Wakeup { at, detector_idx });
            }
        }
    }

    pub(super) fn cancel(&mut self, detector_idx: u32) {
        self.0.retain(|it| it.detector_idx != detector_idx);
    }

    /// Returns the detectors of the first block that has a wake-up which is due at `now`, and the
    /// block; `None` if no wake-up is due.
    pub(super) fn due(&self, now: PackedTimestamp) -> Option<(DetectorSet, u32)> {
        let due = self.0.iter().filter(|wakeup| wakeup.at <= now).map(|it| it.detector_idx);
        let block = DetectorSet::block_of(due.clone().min()?);
        Some((DetectorSet::new(block, due), block))
    }

    /// Drops the wake-ups of detectors that are gone.
    pub(super) fn replace(&mut self, change: &Replacement) {
        self.0.retain_mut(|wakeup| {
            let new_idx = change.new_idx(wakeup.detector_idx);
            new_idx.is_some_and(|idx| {
                wakeup.detector_idx = idx;
                true
            })
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Postpones the wake-ups that are due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        for wakeup in &mut self.0 {
            wakeup.at = postponed(wakeup.at, since, duration);
        }
    }
}
