mod body;
mod index;

use std::{
    collections::HashSet,
    fmt,
    io::{self, ErrorKind},
    sync::Arc,
};

use watchkeeper_core::{
    Finding, Fingerprint, SignedDuration, Status, Timestamp,
    author::known_time,
    clock::Clock,
    embed::{Durability, Ledger},
};

pub(crate) use self::body::Body;
use self::{
    body::{BODY_HEAD, Outcome},
    index::{Index, MAX_REMEMBERED, Stored, Summary},
};
use crate::{
    record::MAX_BODY,
    record_file::{Header, NewBody, RecordFile},
    storage::Storage,
};

pub(crate) const FORMAT: Header = Header { name: *b"wkledger", version: 1 };
/// The time for which the outcome of a finding is remembered. A finding of a session that
/// changes later may be delivered again.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);
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
/// the file: a later process can [end](Self::open_findings) them. The ids of findings whose end
/// is [withdrawn](Finding::withdrawn) are not used again: later reports of the same findings have
/// other ids, which are the same for each process.
pub struct FileLedger<S> {
    file: RecordFile<S>,
    clock: Arc<dyn Clock>,
    is_synced: bool,
    is_lost: bool,
    index: Index,
    /// Something was written since the last `sync`.
    is_dirty: bool,
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
        let mut ledger = Self { file, clock, is_synced, is_lost: false, index, is_dirty: false };
        if ledger.file.has_damaged_header() {
            ledger.compact()?;
        }
        ledger.compact_if_large();
        Ok(ledger)
    }

    /// Marks a new ledger as the one after another that was lost.
    pub(crate) fn after_loss(self) -> Self {
        Self { is_lost: true, ..self }
    }

    /// Returns whether an earlier ledger of the sink was lost: its file was removed or emptied.
    pub const fn is_lost(&self) -> bool {
        self.is_lost
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
        let latest = accepted_open.filter_map(|(_, findings)| findings.last());
        let json = latest.filter_map(|it| file.read(it.offset, it.len).ok());
        json.filter_map(|json| serde_json::from_slice(&json).ok()).collect()
    }

    fn settle(&mut self, id: Fingerprint, is_accepted: bool) -> io::Result<()> {
        let second = self.index.second_of_outcome(id, self.clock.now());
        let outcome = Outcome { is_accepted, second };
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
        let Index { pending, outcomes, withdrawn, accepted_open, .. } = &mut self.index;
        // Before the outcomes, so that a reader does not take accepted findings for pending.
        let of_accepted = accepted_open.values().flatten().map(Stored::copy);
        let n_accepted = of_accepted.clone().count();
        let ended = outcomes.iter().map(|(id, outcome)| Body::Ended(*id, *outcome).encode());
        let of_withdrawn =
            withdrawn.iter().map(|(id, second)| Body::Withdrawn(*id, *second).encode());
        let bodies = of_accepted.chain(ended.chain(of_withdrawn).map(NewBody::Bytes));
        let offsets = self.file.replace(bodies.chain(pending.values().map(Stored::copy)))?;
        let (of_accepted, of_others) = offsets.split_at(n_accepted);
        let of_pending = &of_others[outcomes.len() + withdrawn.len()..];
        for (stored, offset) in accepted_open
            .values_mut()
            .flatten()
            .chain(pending.values_mut())
            .zip(of_accepted.iter().chain(of_pending))
        {
            stored.offset = offset + BODY_HEAD as u64;
        }
        Ok(())
    }
}

impl<S: Storage> Ledger for FileLedger<S> {
    fn id_of(&self, finding: &Finding) -> Fingerprint {
        self.index.unused(finding.id)
    }

    fn contains(&self, finding: &Finding) -> bool {
        self.index.contains(self.id_of(finding), finding)
    }

    fn is_pending(&self, id: Fingerprint) -> bool {
        self.index.is_pending(id)
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
        let Finding { id, severity, status, withdrawn, fingerprint, at, .. } = *finding;
        let summary = Summary { severity, status, withdrawn, fingerprint, at: known_time(at) };
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
