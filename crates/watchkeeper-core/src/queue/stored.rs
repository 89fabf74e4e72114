//! The findings of a queue in its ledger.

use std::mem;

use super::outages::Outages;
use crate::{Finding, Fingerprint, ledger::Ledger};

/// The largest number of findings that wait in the ledger alone.
const MAX_UNLOADED: u64 = 100_000;

/// A ledger, and the position of the queue in it.
///
/// While the memory of the queue has room, it has all pending findings. Otherwise the later
/// ones are in the ledger alone, until the queue loads them.
pub(super) struct Stored {
    ledger: Box<dyn Ledger>,
    /// The pending findings that are in the ledger alone: those with numbers of at least
    /// `load_from`.
    n_unloaded: u64,
    load_from: u64,
    /// Findings that the ledger has lost and the queue has not counted yet.
    n_dropped: u64,
    /// The last [`sync`](Self::sync) failed.
    is_unsynced: bool,
    /// The times in which the ledger cannot be written.
    pub(super) outages: Outages,
}

impl Stored {
    pub(super) fn new(ledger: Box<dyn Ledger>) -> Self {
        let n_unloaded = ledger.n_pending() as u64;
        Self {
            ledger,
            n_unloaded,
            load_from: 0,
            n_dropped: 0,
            is_unsynced: false,
            outages: Outages::default(),
        }
    }

    pub(super) fn id_of(&self, finding: &Finding) -> Fingerprint {
        self.ledger.id_of(finding)
    }

    pub(super) fn is_pending(&self, id: Fingerprint) -> bool {
        self.ledger.is_pending(id)
    }

    pub(super) fn contains(&self, finding: &Finding) -> bool {
        self.ledger.contains(finding)
    }

    /// Returns whether the last write failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.outages.cause.is_some()
    }

    /// Returns whether everything that was added survives what the ledger is for.
    pub(super) const fn is_safe(&self) -> bool {
        !self.is_failing() && !self.is_unsynced
    }

    /// Returns whether the memory of the queue has all pending findings.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.n_unloaded == 0
    }

    /// Returns whether another finding can be stored without dropping one.
    pub(super) const fn has_room(&self) -> bool {
        !self.is_failing() && self.n_unloaded < MAX_UNLOADED
    }

    pub(super) const fn n_unloaded(&self) -> u64 {
        self.n_unloaded
    }

    /// Stores a finding, in the ledger alone if the memory of the queue has no room. Returns
    /// whether the finding is stored.
    pub(super) fn add(&mut self, finding: &Finding, has_room: bool) -> bool {
        let added = self.ledger.add(finding);
        self.outages.record(added.as_ref().map(drop));
        let Ok(number) = added else { return false };
        if has_room && self.is_in_memory() {
            self.load_from = number + 1;
            return true;
        }
        self.n_unloaded += 1;
        if MAX_UNLOADED < self.n_unloaded {
            self.ledger.give_up_least_severe(self.load_from);
            self.n_unloaded -= 1;
            self.n_dropped += 1;
        }
        true
    }

    /// Stores a finding in memory that could not be stored before. Returns whether it is stored
    /// now.
    pub(super) fn add_late(&mut self, finding: &Finding) -> bool {
        // Behind findings that are in the ledger alone, it would be loaded again.
        self.is_in_memory() && !self.is_failing() && self.add(finding, true)
    }

    /// Returns at most `max` findings that were in the ledger alone, the oldest first.
    pub(super) fn load(&mut self, max: usize) -> Vec<Finding> {
        if self.is_in_memory() {
            return Vec::new();
        }
        let findings = self.ledger.pending(self.load_from, max);
        if let Some((number, _)) = findings.last() {
            self.load_from = number + 1;
        }
        self.n_unloaded = self.n_unloaded.saturating_sub(findings.len() as u64);
        if findings.len() < max {
            self.n_dropped += mem::take(&mut self.n_unloaded);
        }
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    pub(super) fn accept(&mut self, id: Fingerprint) {
        let accepted = self.ledger.accept(id);
        self.outages.record(accepted.as_ref().map(drop));
    }

    pub(super) fn give_up(&mut self, id: Fingerprint) {
        let given_up = self.ledger.give_up(id);
        self.outages.record(given_up.as_ref().map(drop));
    }

    pub(super) fn sync(&mut self) {
        let synced = self.ledger.sync();
        self.is_unsynced = synced.is_err();
        // That there was nothing to write does not show that the ledger can be written.
        if let Err(err) = synced {
            self.outages.record(Err(&err));
        }
    }

    /// Returns the number of findings that the ledger has lost since the last call.
    pub(super) const fn take_dropped(&mut self) -> u64 {
        mem::replace(&mut self.n_dropped, 0)
    }

    /// Forgets the findings that are in the ledger alone, and returns their number.
    pub(super) const fn take_unloaded(&mut self) -> u64 {
        mem::replace(&mut self.n_unloaded, 0)
    }
}
