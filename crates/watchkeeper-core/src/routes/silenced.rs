use jiff::Timestamp;

use crate::{Finding, Fingerprint, Silences, open_findings::OpenFindings};

/// The open findings that silences hide, each until no silence matches it: the latest one of each
/// episode.
#[derive(Debug, Default)]
pub(super) struct Silenced {
    findings: OpenFindings,
    /// A time before which no finding is released; `None` without findings.
    next: Option<Timestamp>,
    n_dropped: u64,
}

/// A finding that silences no longer hide.
#[derive(Debug)]
pub(super) struct Released {
    /// The time from which no silence hides the finding.
    pub(super) at: Timestamp,
    pub(super) finding: Finding,
}

impl Released {
    /// Returns the finding if no silence hides it at `now`. If its silence was removed, the finding
    /// is released at `now`.
    pub(super) fn new(finding: Finding, now: Timestamp, silences: &Silences) -> Option<Self> {
        let at = silences.hidden_until(&finding, finding.at).unwrap_or(now);
        (at <= now).then_some(Self { at, finding })
    }
}

impl Silenced {
    /// Adds a finding that silences hide until a time, in place of the earlier one of its episode.
    pub(super) fn add(&mut self, finding: Finding, until: Timestamp) {
        self.findings.add(finding);
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
    }

    /// Removes and returns the finding of an episode.
    pub(super) fn take_one(&mut self, fingerprint: Fingerprint) -> Option<Finding> {
        self.findings.take_one(fingerprint)
    }

    /// Removes and returns the findings that no silence hides at `now`, in the order in which
    /// their silences have ended.
    pub(super) fn take_released(&mut self, now: Timestamp, silences: &Silences) -> Vec<Released> {
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.next = None;
        let (n_dropped, findings) = self.findings.take();
        self.n_dropped += n_dropped;
        let mut released = Vec::new();
        for finding in findings {
            match silences.hidden_until(&finding, finding.at) {
                Some(until) if now < until => self.add(finding, until),
                until => released.push(Released { at: until.unwrap_or(now), finding }),
            }
        }
        released.sort_by_key(|released| released.at);
        released
    }

    /// Lets the next call of [`take_released`](Self::take_released) look at all findings, since
    /// the silences have changed.
    pub(super) fn recheck(&mut self) {
        self.next = self.next.map(|_| Timestamp::MIN);
    }

    pub(super) const fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// Returns the number of findings that were dropped because too many were hidden.
    pub(super) fn n_dropped(&self) -> u64 {
        self.n_dropped + self.findings.n_dropped()
    }

    pub(super) fn findings_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.findings.iter_mut()
    }
}
