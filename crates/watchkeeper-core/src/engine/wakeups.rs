use jiff::{SignedDuration, Timestamp};

use super::timers::postponed;
use crate::compact::PackedTimestamp;

/// The wake-ups that the detectors of one agent or session have requested, at most
/// one for each.
#[derive(Default)]
pub(super) struct Wakeups {
    /// Sorted by detector.
    list: Vec<Wakeup>,
    /// A bit for each of the first 64 detectors that has a wake-up. Most events need
    /// this alone, and reading the list of very many streams takes long.
    marks: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Wakeup {
    at: PackedTimestamp,
    detector_idx: u32,
}

impl Wakeups {
    pub(super) fn contain(&self, detector_idx: u32) -> bool {
        match mark(detector_idx) {
            0 => self.get(detector_idx).is_some(),
            mark => self.marks & mark != 0,
        }
    }

    /// Returns the bits of the detectors with a wake-up, of the first 64.
    pub(super) fn marks(&self) -> u64 {
        self.marks
    }

    pub(super) fn get(&self, detector_idx: u32) -> Option<PackedTimestamp> {
        let wakeup = self.list.iter().find(|it| it.detector_idx == detector_idx);
        wakeup.map(|wakeup| wakeup.at)
    }

    /// Returns the time of the first wake-up.
    pub(super) fn first(&self) -> Option<PackedTimestamp> {
        self.list.iter().map(|wakeup| wakeup.at).min()
    }

    /// Sets the wake-up of a detector.
    pub(super) fn set(&mut self, detector_idx: u32, at: PackedTimestamp) {
        match self.list.binary_search_by_key(&detector_idx, |it| it.detector_idx) {
            Ok(place) => self.list[place].at = at,
            Err(place) => {
                // Most streams have few, and there are very many streams.
                self.list.reserve_exact(1);
                self.list.insert(place, Wakeup { at, detector_idx });
                self.marks |= mark(detector_idx);
            }
        }
    }

    /// Cancels the wake-up of a detector if there is one.
    pub(super) fn cancel(&mut self, detector_idx: u32) {
        if self.contain(detector_idx) {
            self.list.retain(|it| it.detector_idx != detector_idx);
            self.marks &= !mark(detector_idx);
        }
    }

    /// Removes a wake-up that is due at `now`, and returns its detector.
    pub(super) fn pop_due(&mut self, now: PackedTimestamp) -> Option<u32> {
        let due = self.list.iter().find(|wakeup| wakeup.at <= now)?;
        let detector_idx = due.detector_idx;
        self.cancel(detector_idx);
        Some(detector_idx)
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.marks = 0;
    }

    /// Postpones the wake-ups that are due after `since`.
    pub(super) fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        for wakeup in &mut self.list {
            wakeup.at = postponed(wakeup.at, since, duration);
        }
    }
}

/// Returns the bit of a detector in a set of the first 64; zero for the others.
pub(super) fn mark(detector_idx: u32) -> u64 {
    1_u64.checked_shl(detector_idx).unwrap_or(0)
}
