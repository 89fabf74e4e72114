use std::collections::{BTreeMap, HashMap};

use crate::{Finding, Fingerprint, Status};

/// The largest number of open findings that are kept.
const MAX_OPEN: usize = 1 << 14;

/// The findings that are open, with one finding for each fingerprint, in the order in
/// which they were emitted. Of more than 16,384, the oldest are dropped.
#[derive(Debug, Default)]
pub(crate) struct OpenFindings {
    /// The findings by their numbers, which count emitted findings.
    findings: BTreeMap<u64, Finding>,
    numbers: HashMap<Fingerprint, u64>,
    next_number: u64,
    n_dropped: u64,
}

impl OpenFindings {
    /// Replaces the finding with the same fingerprint, or removes it if the new one is
    /// resolved.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.remove(finding.fingerprint);
        if finding.status == Status::Open {
            self.numbers.insert(finding.fingerprint, self.next_number);
            self.findings.insert(self.next_number, finding);
            self.next_number += 1;
        }
        if MAX_OPEN < self.findings.len()
            && let Some((_, finding)) = self.findings.pop_first()
        {
            self.numbers.remove(&finding.fingerprint);
            self.n_dropped += 1;
        }
    }

    /// Removes a finding. Returns whether there was one.
    pub(crate) fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        self.take_one(fingerprint).is_some()
    }

    /// Removes and returns a finding.
    pub(crate) fn take_one(&mut self, fingerprint: Fingerprint) -> Option<Finding> {
        let number = self.numbers.remove(&fingerprint)?;
        self.findings.remove(&number)
    }

    /// Returns the findings, in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.findings.values_mut()
    }

    /// Returns the number of findings that were dropped since all were removed last.
    pub(crate) const fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    /// Removes all findings. Returns the number that was dropped, and the findings.
    pub(crate) fn take(&mut self) -> (u64, Vec<Finding>) {
        let Self { findings, n_dropped, .. } = std::mem::take(self);
        (n_dropped, findings.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{MAX_OPEN, OpenFindings};
    use crate::{Finding, Fingerprint, Severity, Status};

    /// Makes a finding of a subject.
    fn finding(subject: u64, secs: i64, severity: Severity) -> Finding {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        let mut finding = Finding::about_monitor(at, "test", severity, String::new());
        finding.fingerprint = Fingerprint::from(subject);
        finding
    }

    /// Returns the number of dropped findings, and the seconds and severities of the
    /// others.
    fn take(mut open: OpenFindings) -> (u64, Vec<(i64, Severity)>) {
        let (n_dropped, findings) = open.take();
        let findings = findings.iter().map(|finding| (finding.at.as_second(), finding.severity));
        (n_dropped, findings.collect())
    }

    #[test]
    fn keeps_the_latest_of_each_open_finding() {
        let mut open = OpenFindings::default();
        open.add(finding(1, 1, Severity::Low));
        open.add(finding(2, 2, Severity::Low));
        open.add(finding(3, 3, Severity::Low));
        open.add(finding(1, 4, Severity::High));
        open.add(Finding { status: Status::Resolved, ..finding(2, 5, Severity::Low) });
        assert_eq!(take(open), (0, vec![(3, Severity::Low), (4, Severity::High)]));
    }

    #[test]
    fn drops_and_counts_the_oldest_findings() {
        let mut open = OpenFindings::default();
        for n in 0..MAX_OPEN as u64 + 2 {
            open.add(finding(n, n.cast_signed(), Severity::Low));
        }
        let (n_dropped, findings) = take(open);
        assert_eq!((n_dropped, findings.len()), (2, MAX_OPEN));
        assert_eq!(findings[0], (2, Severity::Low));
    }
}
