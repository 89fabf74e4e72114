//! The findings that wait for another attempt.

use std::{collections::HashSet, iter, mem, time::Duration};

use super::group::Membership;
use crate::{Finding, Fingerprint};

/// A finding in the memory of a queue.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) finding: Finding,
    /// The place among all findings of the queue.
    pub(super) number: u64,
    /// The ledger has the finding.
    pub(super) is_stored: bool,
    /// The scheduled attempts so far.
    pub(super) n_attempts: u32,
    /// The attempt is an additional one, since the sink works again. Contains the time of the
    /// scheduled attempt.
    pub(super) early_for: Option<Duration>,
    /// The queue is closed, and this is the last attempt.
    pub(super) is_last: bool,
    /// `None` for a finding that is delivered alone.
    pub(super) group: Option<Membership>,
}

/// Findings that the sink has failed to deliver, and later ones with the same fingerprints,
/// oldest first. Of those with one fingerprint, only the first can be due: the receiver learns
/// of the steps of an episode in their order.
#[derive(Debug, Default)]
pub(super) struct DelayedFindings(Vec<Delayed>);

#[derive(Debug)]
struct Delayed {
    entry: Entry,
    due: Duration,
    early: Early,
}

/// The additional attempt before a scheduled one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    Possible,
    Due,
    /// It has failed.
    Made,
}

impl DelayedFindings {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a finding that is due at a time, or before if the sink works again.
    pub(super) fn add(&mut self, mut entry: Entry, due: Duration) {
        // One additional attempt for each scheduled one, so that a finding that always fails
        // among others keeps to its schedule.
        let early = if entry.early_for.take().is_some() { Early::Made } else { Early::Possible };
        let idx = self.0.partition_point(|delayed| delayed.entry.number < entry.number);
        self.0.insert(idx, Delayed { entry, due, early });
    }

    /// Adds a finding behind an earlier one with the same fingerprint. Returns the finding if
    /// there is none.
    pub(super) fn add_behind(&mut self, entry: Entry) -> Option<Entry> {
        let fingerprint = entry.finding.fingerprint;
        if self.0.iter().all(|delayed| delayed.entry.finding.fingerprint != fingerprint) {
            return Some(entry);
        }
        // Due as soon as it is the first.
        self.add(entry, Duration::ZERO);
        None
    }

    /// Returns the indexes of the first findings of all fingerprints.
    fn firsts(&self) -> impl Iterator<Item = (usize, &Delayed)> {
        let mut seen: HashSet<Fingerprint> = HashSet::new();
        let delayed = self.0.iter().enumerate();
        delayed.filter(move |(_, delayed)| seen.insert(delayed.entry.finding.fingerprint))
    }

    /// Removes the first finding that is due, and those of its group that were attempted with it.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Vec<Entry>> {
        let is_due = |delayed: &Delayed| delayed.due <= now || delayed.early == Early::Due;
        let (idx, _) = self.firsts().find(|(_, delayed)| is_due(delayed))?;
        let first = self.0.remove(idx);
        let mut earlier: HashSet<Fingerprint> = HashSet::new();
        let is_with = |delayed: &Delayed| {
            let fingerprint = delayed.entry.finding.fingerprint;
            let is_with = first.entry.group.is_some()
                && delayed.entry.group == first.entry.group
                && (delayed.due, delayed.early) == (first.due, first.early)
                && !earlier.contains(&fingerprint);
            if !is_with {
                // Later findings of an episode that stays are not taken.
                earlier.insert(fingerprint);
            }
            is_with
        };
        let (group, others) = mem::take(&mut self.0).into_iter().partition(is_with);
        self.0 = others;
        let early_for = (now < first.due).then_some(first.due);
        let taken = iter::once(first).chain::<Vec<Delayed>>(group);
        Some(taken.map(|delayed| Entry { early_for, ..delayed.entry }).collect())
    }

    /// Returns the time at which a finding is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.firsts().map(|(_, delayed)| delayed.due).min()
    }

    /// Makes an additional attempt for each finding due.
    pub(super) fn make_due(&mut self) {
        for delayed in self.0.iter_mut().filter(|delayed| delayed.early == Early::Possible) {
            delayed.early = Early::Due;
        }
    }

    /// Removes the oldest finding.
    pub(super) fn take_first(&mut self) -> Option<Entry> {
        (!self.is_empty()).then(|| self.0.remove(0).entry)
    }

    /// Removes the oldest finding that the ledger does not have.
    pub(super) fn take_unstored(&mut self) -> Option<Entry> {
        let idx = self.0.iter().position(|delayed| !delayed.entry.is_stored)?;
        Some(self.0.remove(idx).entry)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.0.iter_mut().map(|delayed| &mut delayed.entry)
    }

    /// Removes all findings.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entry> {
        mem::take(&mut self.0).into_iter().map(|delayed| delayed.entry)
    }
}
