use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{self, ErrorKind},
    sync::Arc,
};

use serde::Deserialize;
use watchkeeper_core::{
    Finding, Fingerprint, Severity, SignedDuration, Timestamp,
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
/// The size below which a file is not compacted, in bytes.
const MIN_COMPACTED: u64 = 1 << 20;

/// A ledger in a file.
///
/// Each record of the file is about one finding: that it is pending, with its JSON; that the
/// sink has accepted it; or that it is given up. Damaged records are skipped and counted. The
/// file is written again, without the records that have no effect any longer, when these take
/// most of it. Outcomes are remembered for 90 days.
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
    pending: BTreeMap<u64, Pending>,
    numbers: HashMap<Fingerprint, u64>,
    next_number: u64,
    outcomes: HashMap<Fingerprint, Outcome>,
    /// The bytes of `pending` in the file.
    pending_bytes: u64,
}

/// A pending finding in the file.
#[derive(Clone, Copy, Debug)]
struct Pending {
    id: Fingerprint,
    severity: Severity,
    /// The place of the body.
    offset: u64,
    len: usize,
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
#[derive(Deserialize)]
struct Summary {
    severity: Severity,
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
        let Index { pending, outcomes, .. } = &mut self.index;
        let ended = outcomes.iter().map(|(id, outcome)| Body::Ended(*id, *outcome).encode());
        let copied = pending.values().map(|pending| {
            // The kind and the id precede the JSON.
            let offset = pending.offset - BODY_HEAD as u64;
            NewBody::Copy { offset, len: BODY_HEAD + pending.len }
        });
        let n_ended = outcomes.len();
        let offsets = self.file.replace(ended.map(NewBody::Bytes).chain(copied))?;
        for (pending, offset) in pending.values_mut().zip(&offsets[n_ended..]) {
            pending.offset = offset + BODY_HEAD as u64;
        }
        Ok(())
    }
}

impl Index {
    /// Applies a record of the file. Returns whether it is valid.
    fn replay(&mut self, offset: u64, body: &[u8]) -> bool {
        match Body::parse(body) {
            Some(Body::Pending(id, json)) => {
                let Ok(Summary { severity }) = serde_json::from_slice(json) else { return false };
                if !self.numbers.contains_key(&id) {
                    let offset = offset + BODY_HEAD as u64;
                    self.insert(Pending { id, severity, offset, len: json.len() });
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

    fn insert(&mut self, pending: Pending) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(pending.id, number);
        self.outcomes.remove(&pending.id);
        self.pending_bytes += (HEAD + BODY_HEAD + pending.len) as u64;
        self.pending.insert(number, pending);
        number
    }

    fn settle(&mut self, id: Fingerprint, outcome: Outcome) {
        let number = self.numbers.remove(&id);
        if let Some(pending) = number.and_then(|number| self.pending.remove(&number)) {
            self.pending_bytes -= (HEAD + BODY_HEAD + pending.len) as u64;
        }
        self.outcomes.insert(id, outcome);
    }

    /// Returns the size of the file after a compaction.
    fn live_bytes(&self) -> u64 {
        self.pending_bytes + self.outcomes.len() as u64 * OUTCOME_LEN
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
        let Finding { id, severity, .. } = *finding;
        Ok(self.index.insert(Pending { id, severity, offset, len: json.len() }))
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
        let least = pending.min_by_key(|(number, pending)| (pending.severity, **number));
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
