//! The findings that the sink has not received yet.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    time::Duration,
};

use super::{delayed::Entry, group::Membership};
use crate::{Fingerprint, Severity};

/// Findings that the sink has not received yet, oldest first. Those of a group wait for each
/// other.
#[derive(Debug)]
pub(super) struct WaitingFindings {
    entries: VecDeque<Entry>,
    /// The largest number of findings in a group.
    max_group: usize,
}

impl WaitingFindings {
    pub(super) const fn new(max_group: usize) -> Self {
        Self { entries: VecDeque::new(), max_group }
    }

    /// Sets the largest number of findings in a group, since the sink was replaced.
    pub(super) fn set_max_group(&mut self, max_group: usize) {
        self.max_group = max_group;
        if max_group < 2 {
            for entry in &mut self.entries {
                entry.group = None;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a finding. One with a group joins the findings of this group that wait. An earlier
    /// finding with the same fingerprint in another group waits no longer, so that it is not
    /// overtaken.
    pub(super) fn add(&mut self, mut entry: Entry) {
        if 1 < self.max_group {
            entry.group = self.join(entry.finding.fingerprint, entry.group);
        } else {
            entry.group = None;
        }
        self.entries.push_back(entry);
    }

    fn join(&mut self, fingerprint: Fingerprint, new: Option<Membership>) -> Option<Membership> {
        let place = |entry: &Entry| Some((entry.finding.fingerprint, entry.group?));
        let places: Vec<(Fingerprint, Membership)> =
            self.entries.iter().filter_map(place).collect();
        let is_overtaken = |place: &&(Fingerprint, Membership)| {
            place.0 == fingerprint && Some(place.1.key) != new.map(|new| new.key)
        };
        for (_, overtaken) in places.iter().filter(is_overtaken) {
            self.end_wait(*overtaken);
        }
        let new = new?;
        let is_joined = |group: &Membership| group.key == new.key && !group.due.is_zero();
        let mut members = places.iter().map(|(_, group)| *group).filter(is_joined);
        let Some(joined) = members.next() else { return Some(new) };
        let is_full = self.max_group <= members.count() + 2;
        Some(if is_full { self.end_wait(joined) } else { joined })
    }

    /// Makes a group due.
    fn end_wait(&mut self, ended: Membership) -> Membership {
        let due = Membership { due: Duration::ZERO, ..ended };
        for group in self.entries.iter_mut().filter_map(|entry| entry.group.as_mut()) {
            if *group == ended {
                *group = due;
            }
        }
        due
    }

    /// Removes the first finding that is due.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Entry> {
        let is_due = |entry: &Entry| entry.group.is_none_or(|group| group.due <= now);
        let idx = self.entries.iter().position(is_due)?;
        self.entries.remove(idx)
    }

    /// Removes the other findings of a group, as many as it may have. A finding that follows an
    /// earlier one with its fingerprint stays.
    pub(super) fn take_others(&mut self, group: Membership) -> Vec<Entry> {
        let (mut others, mut kept) = (Vec::new(), VecDeque::new());
        let mut earlier: HashSet<Fingerprint> = HashSet::new();
        for entry in mem::take(&mut self.entries) {
            let is_other = others.len() + 1 < self.max_group && entry.group == Some(group);
            let fingerprint = entry.finding.fingerprint;
            if is_other && !earlier.contains(&fingerprint) {
                others.push(entry);
            } else {
                earlier.insert(fingerprint);
                kept.push_back(entry);
            }
        }
        self.entries = kept;
        others
    }

    /// Returns the time after `now` at which the next group is due.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let groups = self.entries.iter().filter_map(|entry| entry.group);
        groups.map(|group| group.due).filter(|due| now < *due).min()
    }

    /// Removes the oldest of the least severe findings.
    pub(super) fn take_least_severe(&mut self) -> Option<Entry> {
        let least = self.entries.iter().map(|entry| entry.finding.severity).min()?;
        let idx = self.entries.iter().position(|entry| entry.finding.severity == least)?;
        self.entries.remove(idx)
    }

    /// Returns whether a severity is below those of all findings.
    pub(super) fn are_all_above(&self, severity: Severity) -> bool {
        self.entries.iter().all(|entry| severity < entry.finding.severity)
    }

    /// Removes the oldest finding that the ledger does not have.
    pub(super) fn take_unstored(&mut self) -> Option<Entry> {
        let idx = self.entries.iter().position(|entry| !entry.is_stored)?;
        self.entries.remove(idx)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// Removes all findings.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entry> {
        mem::take(&mut self.entries).into_iter()
    }
}
