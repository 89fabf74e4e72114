//! The contents of a ledger in memory.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use serde::Deserialize;
use watchkeeper_core::{Finding, Fingerprint, Severity, Status, Timestamp};

use super::body::{BODY_HEAD, Body, OUTCOME_LEN, Outcome};
use crate::{record::HEAD, record_file::NewBody};

/// The largest number of remembered outcomes.
pub(super) const MAX_REMEMBERED: usize = 1 << 20;
/// The number of conditions with accepted open findings from which the older half is forgotten.
pub(super) const MAX_OPEN: usize = 1 << 14;
/// The number of accepted findings of one condition that are kept until its end: more than there
/// are severities.
const MAX_OF_CONDITION: usize = 8;

/// The contents of the file, without the findings.
#[derive(Default)]
pub(super) struct Index {
    /// By number.
    pub(super) pending: BTreeMap<u64, Stored>,
    numbers: HashMap<Fingerprint, u64>,
    next_number: u64,
    pub(super) outcomes: HashMap<Fingerprint, Outcome>,
    /// The ids that are not used again, each with the second of the end.
    pub(super) withdrawn: HashMap<Fingerprint, i64>,
    /// The accepted findings of each condition that is open as far as the sink knows, by the
    /// fingerprint of the condition, in the order of the file.
    pub(super) accepted_open: BTreeMap<Fingerprint, Vec<Stored>>,
    /// The bytes of `pending` and `accepted_open` in the file.
    stored_bytes: u64,
}

/// A finding in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) id: Fingerprint,
    pub(super) summary: Summary,
    /// The place of the JSON.
    pub(super) offset: u64,
    pub(super) len: usize,
}

impl Stored {
    /// Returns the size of the record.
    const fn record_len(&self) -> u64 {
        (HEAD + BODY_HEAD + self.len) as u64
    }

    /// Returns the body of the record.
    pub(super) const fn copy(&self) -> NewBody {
        // The kind and the id precede the JSON.
        NewBody::Copy { offset: self.offset - BODY_HEAD as u64, len: BODY_HEAD + self.len }
    }
}

/// The part of a stored finding that is in memory.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Summary {
    pub(super) severity: Severity,
    pub(super) status: Status,
    #[serde(default)]
    pub(super) withdrawn: bool,
    pub(super) fingerprint: Fingerprint,
    /// `None` in a session without times.
    pub(super) at: Option<Timestamp>,
}

impl Index {
    /// Applies a record of the file. Returns whether it is valid.
    pub(super) fn replay(&mut self, offset: u64, body: &[u8]) -> bool {
        match Body::parse(body) {
            Some(Body::Pending(id, json)) => {
                let Ok(summary) = serde_json::from_slice(json) else { return false };
                if !self.numbers.contains_key(&id) {
                    let offset = offset + BODY_HEAD as u64;
                    self.insert(Stored { id, summary, offset, len: json.len() });
                }
                true
            }
            Some(Body::Ended(id, outcome)) => {
                self.settle(id, outcome);
                true
            }
            Some(Body::Withdrawn(id, second)) => {
                self.withdrawn.insert(id, second);
                true
            }
            None => false,
        }
    }

    /// Returns the id under which a finding is added.
    pub(super) fn unused(&self, mut id: Fingerprint) -> Fingerprint {
        while self.withdrawn.contains_key(&id) {
            id = id.and(Fingerprint::of("again"));
        }
        id
    }

    pub(super) fn is_pending(&self, id: Fingerprint) -> bool {
        self.numbers.contains_key(&id)
    }

    pub(super) fn contains(&self, id: Fingerprint, finding: &Finding) -> bool {
        let is_same = |of: &Outcome| finding.was_observed || finding.at.as_second() <= of.second;
        self.is_pending(id) || self.outcomes.get(&id).is_some_and(is_same)
    }

    /// Returns the second of an outcome at a time: not earlier than the finding, since the clock
    /// of a session may be ahead.
    pub(super) fn second_of_outcome(&self, id: Fingerprint, now: Timestamp) -> i64 {
        let number = self.numbers.get(&id);
        let at = number.and_then(|number| self.pending.get(number)?.summary.at);
        at.map_or(now, |at| at.max(now)).as_second()
    }

    pub(super) fn insert(&mut self, pending: Stored) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(pending.id, number);
        self.outcomes.remove(&pending.id);
        self.stored_bytes += pending.record_len();
        self.pending.insert(number, pending);
        if pending.summary.withdrawn {
            self.withdraw(&pending.summary);
        }
        number
    }

    /// Lets later reports of the findings of a condition have other ids, and those of its end.
    fn withdraw(&mut self, end: &Summary) {
        let is_of_condition = |it: &&Stored| it.summary.fingerprint == end.fingerprint;
        let accepted = self.accepted_open.get(&end.fingerprint).into_iter().flatten();
        let findings = accepted.chain(self.pending.values().filter(is_of_condition));
        let second = end.at.unwrap_or(Timestamp::MAX).as_second();
        self.withdrawn.extend(findings.map(|finding| (finding.id, second)));
    }

    pub(super) fn settle(&mut self, id: Fingerprint, outcome: Outcome) {
        let number = self.numbers.remove(&id);
        if let Some(pending) = number.and_then(|number| self.pending.remove(&number)) {
            self.stored_bytes -= pending.record_len();
            if outcome.is_accepted {
                self.record_accepted(pending);
            }
        }
        self.outcomes.insert(id, outcome);
    }

    /// Updates the findings that are open as far as the sink knows.
    fn record_accepted(&mut self, finding: Stored) {
        let Summary { status, fingerprint, .. } = finding.summary;
        if status == Status::Resolved {
            let earlier = self.accepted_open.remove(&fingerprint).unwrap_or_default();
            self.stored_bytes -= earlier.iter().map(Stored::record_len).sum::<u64>();
            return;
        }
        let of_condition = self.accepted_open.entry(fingerprint).or_default();
        // The outcomes of a compacted file are in another order.
        let place = of_condition.partition_point(|it| it.offset < finding.offset);
        of_condition.insert(place, finding);
        self.stored_bytes += finding.record_len();
        if MAX_OF_CONDITION < of_condition.len() {
            self.stored_bytes -= of_condition.remove(0).record_len();
        }
        if MAX_OPEN < self.accepted_open.len() {
            let latest = self.accepted_open.values().filter_map(|findings| findings.last());
            let mut offsets: Vec<u64> = latest.map(|it| it.offset).collect();
            let (_, median, _) = offsets.select_nth_unstable(MAX_OPEN / 2);
            let median = *median;
            self.keep_accepted_open(|latest| median < latest.offset);
        }
    }

    /// Forgets the accepted findings of the conditions whose latest one is not to be kept.
    fn keep_accepted_open(&mut self, is_kept: impl Fn(&Stored) -> bool) {
        let mut n_bytes = 0;
        self.accepted_open.retain(|_, findings| {
            let is_kept = findings.last().is_some_and(&is_kept);
            let of_condition = findings.iter().map(Stored::record_len).sum::<u64>();
            n_bytes += if is_kept { 0 } else { of_condition };
            is_kept
        });
        self.stored_bytes -= n_bytes;
    }

    /// Returns the size of the file after a compaction.
    pub(super) fn live_bytes(&self) -> u64 {
        let n_ids = self.outcomes.len() + self.withdrawn.len();
        self.stored_bytes + n_ids as u64 * OUTCOME_LEN
    }

    /// Forgets the outcomes and the ends before a second; of too many, also the older half.
    pub(super) fn forget(&mut self, oldest: i64) {
        forget(&mut self.outcomes, oldest, |outcome| outcome.second);
        forget(&mut self.withdrawn, oldest, |second| *second);
        // Without its outcome, a finding in the file is pending.
        let outcomes = mem::take(&mut self.outcomes);
        for findings in self.accepted_open.values_mut() {
            let mut n_bytes = 0;
            findings.retain(|it| {
                let is_kept = outcomes.contains_key(&it.id);
                n_bytes += if is_kept { 0 } else { it.record_len() };
                is_kept
            });
            self.stored_bytes -= n_bytes;
        }
        self.keep_accepted_open(|_| true);
        self.outcomes = outcomes;
    }
}

/// Forgets the entries before a second; of too many, also the older half.
fn forget<T>(entries: &mut HashMap<Fingerprint, T>, oldest: i64, second: impl Fn(&T) -> i64) {
    entries.retain(|_, it| oldest <= second(it));
    if MAX_REMEMBERED < entries.len() {
        let mut seconds: Vec<i64> = entries.values().map(&second).collect();
        let (_, median, _) = seconds.select_nth_unstable(MAX_REMEMBERED / 2);
        let median = *median;
        entries.retain(|_, it| median < second(it));
    }
}
