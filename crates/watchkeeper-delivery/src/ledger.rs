use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{self, ErrorKind},
    mem,
    sync::Arc,
};

use serde::Deserialize;
use watchkeeper_core::{
    Finding, Fingerprint, Severity, SignedDuration, Status, Timestamp,
    clock::Clock,
    embed::{Durability, Ledger},
};

use crate::{
    record::{HEAD, MAX_BODY},
    record_file::{Header, NewBody, RecordFile},
    storage::Storage,
};

const FORMAT: Header = Header { name: *b"wkledger", version: 1 };
/// The time for which the outcome of a finding is remembered. A finding of a session that
/// changes later may be delivered again.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);
/// The largest number of remembered outcomes.
const MAX_REMEMBERED: usize = 1 << 20;
/// The number of accepted open findings from which the older half is forgotten.
const MAX_OPEN: usize = 1 << 14;
/// The size below which a file is not compacted, in bytes.
const MIN_COMPACTED: u64 = 1 << 20;

/// A ledger in a file.
///
/// Each record of the file is about one finding: that it is pending, with its JSON; that the
/// sink has accepted it; or that it is given up. Damaged records are skipped and counted. The
/// file is written again, without the records that have no effect any longer, when these take
/// most of it. Outcomes are remembered for 90 days.
///
/// The findings that the sink has accepted, without an end of their conditions so far, remain in
/// the file: a later process can [end](Self::open_findings) them.
pub struct FileLedger<S> {
    file: RecordFile<S>,
    clock: Arc<dyn Clock>,
    is_synced: bool,
    index: Index,
    /// Something was written since the last `sync`.
    is_dirty: bool,
}

/// The contents of the file, without the findings.
#[derive(Default)]
struct Index {
    /// By number.
    pending: BTreeMap<u64, Stored>,
    numbers: HashMap<Fingerprint, u64>,
    next_number: u64,
    outcomes: HashMap<Fingerprint, Outcome>,
    /// The latest accepted finding of each condition that is open as far as the sink knows, by
    /// the fingerprint of the condition.
    accepted_open: BTreeMap<Fingerprint, Stored>,
    /// The bytes of `pending` and `accepted_open` in the file.
    stored_bytes: u64,
}

/// A finding in the file.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: Fingerprint,
    summary: Summary,
    /// The place of the JSON.
    offset: u64,
    len: usize,
}

impl Stored {
    /// Returns the size of the record.
    const fn record_len(&self) -> u64 {
        (HEAD + BODY_HEAD + self.len) as u64
    }

    /// Returns the body of the record.
    const fn copy(&self) -> NewBody {
        // The kind and the id precede the JSON.
        NewBody::Copy { offset: self.offset - BODY_HEAD as u64, len: BODY_HEAD + self.len }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    is_accepted: bool,
    /// Since 1970.
    second: i64,
}

/// A body: its kind, the id of the finding, and the rest.
enum Body<'a> {
    /// With the JSON of the finding.
    Pending(Fingerprint, &'a [u8]),
    Ended(Fingerprint, Outcome),
}

const PENDING: u8 = 1;
const ACCEPTED: u8 = 2;
const GIVEN_UP: u8 = 3;
/// The length of the kind and the id.
const BODY_HEAD: usize = 9;
/// The length of a record about an outcome.
const OUTCOME_LEN: u64 = (HEAD + BODY_HEAD + 8) as u64;

impl<'a> Body<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let id = Fingerprint::from(u64::from_le_bytes(*id));
        let ended = |is_accepted| {
            let second = i64::from_le_bytes(rest.try_into().ok()?);
            Some(Self::Ended(id, Outcome { is_accepted, second }))
        };
        match *kind {
            PENDING => Some(Self::Pending(id, rest)),
            ACCEPTED => ended(true),
            GIVEN_UP => ended(false),
            _ => None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let second;
        let (kind, id, rest) = match self {
            Self::Pending(id, json) => (PENDING, id, *json),
            Self::Ended(id, outcome) => {
                second = outcome.second.to_le_bytes();
                (if outcome.is_accepted { ACCEPTED } else { GIVEN_UP }, id, second.as_slice())
            }
        };
        let mut body = vec![kind];
        body.extend(id.get().to_le_bytes());
        body.extend(rest);
        body
    }
}

/// The part of a stored finding that is in memory.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Summary {
    severity: Severity,
    status: Status,
    fingerprint: Fingerprint,
}

impl<S: Storage> FileLedger<S> {
    /// Reads a ledger. An empty file is a new one.
    ///
    /// Fails if the file cannot be read or written, or is no ledger of a version that this
    /// program knows.
    pub fn open(storage: S, clock: Arc<dyn Clock>, durability: Durability) -> io::Result<Self> {
        let mut index = Index::default();
        let file = RecordFile::open(storage, FORMAT, |offset, body| index.replay(offset, body))?;
        let is_synced = durability == Durability::Power;
        let mut ledger = Self { file, clock, is_synced, index, is_dirty: false };
        if ledger.file.has_damaged_header() {
            ledger.compact()?;
        }
        ledger.compact_if_large();
        Ok(ledger)
    }

    /// Returns the time of the last outcome; `None` without one.
    pub fn last_outcome(&self) -> Option<Timestamp> {
        let seconds = self.index.outcomes.values().map(|outcome| outcome.second);
        Timestamp::from_second(seconds.max()?).ok()
    }

    /// Returns the number of damaged places of the file that were skipped when it was opened.
    pub const fn n_damaged(&self) -> u64 {
        self.file.n_damaged()
    }

    /// Returns the findings that the sink has accepted and that are open as far as the ledger
    /// knows. An end that is pending is no longer missing.
    pub fn open_findings(&mut self) -> Vec<Finding> {
        let Self { file, index, .. } = self;
        let ends = index.pending.values().filter(|it| it.summary.status == Status::Resolved);
        let ends: HashSet<Fingerprint> = ends.map(|it| it.summary.fingerprint).collect();
        let accepted_open =
            index.accepted_open.iter().filter(|(fingerprint, _)| !ends.contains(fingerprint));
        let json = accepted_open.filter_map(|(_, it)| file.read(it.offset, it.len).ok());
        json.filter_map(|json| serde_json::from_slice(&json).ok()).collect()
    }

    fn settle(&mut self, id: Fingerprint, is_accepted: bool) -> io::Result<()> {
        let outcome = Outcome { is_accepted, second: self.clock.now().as_second() };
        self.index.settle(id, outcome);
        self.is_dirty = true;
        self.file.append_or_keep(&Body::Ended(id, outcome).encode())?;
        self.compact_if_large();
        Ok(())
    }

    /// Writes the file again if most of its records have no effect. A failure leaves the file
    /// unchanged; the next outcome tries again.
    fn compact_if_large(&mut self) {
        let is_large = MIN_COMPACTED.max(3 * self.index.live_bytes()) < self.file.len();
        if is_large || MAX_REMEMBERED < self.index.outcomes.len() {
            let _ = self.compact();
        }
    }

    fn compact(&mut self) -> io::Result<()> {
        self.index.forget(self.clock.now().as_second() - REMEMBERED.as_secs());
        let Index { pending, outcomes, accepted_open, .. } = &mut self.index;
        // Before the outcomes, so that a reader does not take accepted findings for pending.
        let of_accepted = accepted_open.values().map(Stored::copy);
        let ended = outcomes.iter().map(|(id, outcome)| Body::Ended(*id, *outcome).encode());
        let bodies = of_accepted.chain(ended.map(NewBody::Bytes));
        let offsets = self.file.replace(bodies.chain(pending.values().map(Stored::copy)))?;
        let (of_accepted, of_others) = offsets.split_at(accepted_open.len());
        let of_pending = &of_others[outcomes.len()..];
        for (stored, offset) in accepted_open
            .values_mut()
            .chain(pending.values_mut())
            .zip(of_accepted.iter().chain(of_pending))
        {
            stored.offset = offset + BODY_HEAD as u64;
        }
        Ok(())
    }
}

impl Index {
    /// Applies a record of the file. Returns whether it is valid.
    fn replay(&mut self, offset: u64, body: &[u8]) -> bool {
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
            None => false,
        }
    }

    fn contains(&self, id: Fingerprint, second: i64) -> bool {
        let outcome = self.outcomes.get(&id);
        self.numbers.contains_key(&id) || outcome.is_some_and(|outcome| second <= outcome.second)
    }

    fn insert(&mut self, pending: Stored) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(pending.id, number);
        self.outcomes.remove(&pending.id);
        self.stored_bytes += pending.record_len();
        self.pending.insert(number, pending);
        number
    }

    fn settle(&mut self, id: Fingerprint, outcome: Outcome) {
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
        let earlier = self.accepted_open.remove(&fingerprint);
        self.stored_bytes -= earlier.map_or(0, |earlier| earlier.record_len());
        if status == Status::Open {
            self.accepted_open.insert(fingerprint, finding);
            self.stored_bytes += finding.record_len();
        }
        if MAX_OPEN < self.accepted_open.len() {
            let mut offsets: Vec<u64> = self.accepted_open.values().map(|it| it.offset).collect();
            let (_, median, _) = offsets.select_nth_unstable(MAX_OPEN / 2);
            let median = *median;
            self.keep_accepted_open(|it| median < it.offset);
        }
    }

    fn keep_accepted_open(&mut self, is_kept: impl Fn(&Stored) -> bool) {
        let mut n_bytes = 0;
        self.accepted_open.retain(|_, it| {
            let is_kept = is_kept(it);
            n_bytes += if is_kept { 0 } else { it.record_len() };
            is_kept
        });
        self.stored_bytes -= n_bytes;
    }

    /// Returns the size of the file after a compaction.
    fn live_bytes(&self) -> u64 {
        self.stored_bytes + self.outcomes.len() as u64 * OUTCOME_LEN
    }

    /// Forgets the outcomes before a second; of too many, also the older half.
    fn forget(&mut self, oldest: i64) {
        self.outcomes.retain(|_, outcome| oldest <= outcome.second);
        if MAX_REMEMBERED < self.outcomes.len() {
            let mut seconds: Vec<i64> = self.outcomes.values().map(|it| it.second).collect();
            let (_, median, _) = seconds.select_nth_unstable(MAX_REMEMBERED / 2);
            let median = *median;
            self.outcomes.retain(|_, outcome| median < outcome.second);
        }
        // Without its outcome, a finding in the file is pending.
        let outcomes = mem::take(&mut self.outcomes);
        self.keep_accepted_open(|it| outcomes.contains_key(&it.id));
        self.outcomes = outcomes;
    }
}

impl<S: Storage> Ledger for FileLedger<S> {
    fn contains(&self, finding: &Finding) -> bool {
        self.index.contains(finding.id, finding.at.as_second())
    }

    fn add(&mut self, finding: &Finding) -> io::Result<u64> {
        let json = serde_json::to_vec(finding)?;
        let body = Body::Pending(finding.id, &json).encode();
        if MAX_BODY < body.len() {
            let reason = format!("a finding of {} bytes is too large", json.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        let offset = self.file.append(&body)? + BODY_HEAD as u64;
        self.is_dirty = true;
        let Finding { id, severity, status, fingerprint, .. } = *finding;
        let summary = Summary { severity, status, fingerprint };
        Ok(self.index.insert(Stored { id, summary, offset, len: json.len() }))
    }

    fn accept(&mut self, id: Fingerprint) -> io::Result<()> {
        self.settle(id, true)
    }

    fn give_up(&mut self, id: Fingerprint) -> io::Result<()> {
        self.settle(id, false)
    }

    fn n_pending(&self) -> usize {
        self.index.pending.len()
    }

    fn pending(&mut self, from: u64, max: usize) -> Vec<(u64, Finding)> {
        let (mut findings, mut next) = (Vec::new(), from);
        while findings.len() < max {
            let found = self.index.pending.range(next..).next();
            let Some((number, pending)) = found.map(|(number, it)| (*number, *it)) else { break };
            next = number + 1;
            let json = self.file.read(pending.offset, pending.len);
            // A finding that cannot be read now may be readable for the next process, or for
            // another version. The queue counts the finding as lost.
            let finding = json.ok().and_then(|json| serde_json::from_slice(&json).ok());
            findings.extend(finding.map(|finding| (number, finding)));
        }
        findings
    }

    fn give_up_least_severe(&mut self, from: u64) {
        let pending = self.index.pending.range(from..);
        let least = pending.min_by_key(|(number, pending)| (pending.summary.severity, **number));
        if let Some(id) = least.map(|(_, pending)| pending.id) {
            // An outcome that cannot be written is remembered.
            let _ = self.give_up(id);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.is_synced && self.is_dirty {
            self.file.sync()?;
        }
        self.is_dirty = false;
        Ok(())
    }
}

impl<S> fmt::Debug for FileLedger<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLedger")
            .field("n_pending", &self.index.pending.len())
            .field("n_outcomes", &self.index.outcomes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
