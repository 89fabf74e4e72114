use std::collections::{BTreeMap, HashMap};

use crate::{Delivery, Engine, Event, Finding, Fingerprint, Status};

/// The largest number of open findings that a backlog keeps.
const MAX_OPEN: usize = 1 << 14;

/// Events of live sessions that were recorded before the monitor started.
///
/// The engine observes them all, since detectors need the whole session. Of the
/// findings, only those still open at the end are delivered.
pub struct Backlog {
    engine: Engine,
    open: OpenFindings,
    n_events: u64,
    n_dropped: u64,
}

/// Open findings in the order in which they were emitted, one for each fingerprint.
#[derive(Default)]
struct OpenFindings {
    /// The findings by their numbers, which count emitted findings.
    findings: BTreeMap<u64, Finding>,
    numbers: HashMap<Fingerprint, u64>,
    next_number: u64,
}

/// Numbers of a [`Backlog`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BacklogCounts {
    /// Events observed.
    pub events: u64,
    /// Findings delivered.
    pub findings: u64,
    /// Findings dropped because more than 16,384 were open.
    pub dropped: u64,
}

impl Backlog {
    /// Creates an empty backlog.
    pub fn new(engine: Engine) -> Self {
        Self { engine, open: OpenFindings::default(), n_events: 0, n_dropped: 0 }
    }

    /// Observes the next event, in order of time.
    pub fn observe(&mut self, event: &Event) {
        self.n_events += 1;
        let mut findings = Vec::new();
        self.engine.observe(event, &mut findings);
        for finding in findings {
            self.report(finding);
        }
    }

    /// Adds a finding. Programs add findings that no detector made, such as one
    /// about a source.
    pub fn report(&mut self, finding: Finding) {
        self.open.remove(finding.fingerprint);
        if finding.status == Status::Open {
            self.open.push(finding);
        }
        if MAX_OPEN < self.open.findings.len() {
            self.open.remove_oldest();
            self.n_dropped += 1;
        }
    }

    /// Delivers the open findings, each at its present severity. Returns the engine,
    /// which continues with live events.
    pub fn deliver(self, delivery: &mut Delivery) -> (Engine, BacklogCounts) {
        let findings = self.open.findings;
        for finding in findings.values() {
            delivery.deliver(finding);
        }
        let counts = BacklogCounts {
            events: self.n_events,
            findings: findings.len() as u64,
            dropped: self.n_dropped,
        };
        (self.engine, counts)
    }
}

impl OpenFindings {
    /// Adds a finding whose fingerprint has no finding.
    fn push(&mut self, finding: Finding) {
        self.numbers.insert(finding.fingerprint, self.next_number);
        self.findings.insert(self.next_number, finding);
        self.next_number += 1;
    }

    fn remove(&mut self, fingerprint: Fingerprint) {
        if let Some(number) = self.numbers.remove(&fingerprint) {
            self.findings.remove(&number);
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((_, finding)) = self.findings.pop_first() {
            self.numbers.remove(&finding.fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{Severity, embed::EngineConfig};

    fn backlog() -> Backlog {
        Backlog::new(Engine::new(Vec::new(), EngineConfig::default()))
    }

    /// Makes a finding of a subject.
    fn finding(subject: u64, secs: i64, severity: Severity) -> Finding {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
        let mut finding = Finding::about_monitor(at, "test", severity, String::new());
        finding.fingerprint = Fingerprint::from(subject);
        finding
    }

    /// Returns the seconds and severities of the open findings.
    fn open(backlog: &Backlog) -> Vec<(i64, Severity)> {
        let findings = backlog.open.findings.values();
        findings.map(|finding| (finding.at.as_second(), finding.severity)).collect()
    }

    #[test]
    fn keeps_the_latest_of_each_open_finding() {
        let mut backlog = backlog();
        backlog.report(finding(1, 1, Severity::Low));
        backlog.report(finding(2, 2, Severity::Low));
        backlog.report(finding(3, 3, Severity::Low));
        backlog.report(finding(1, 4, Severity::High));
        backlog.report(Finding { status: Status::Resolved, ..finding(2, 5, Severity::Low) });
        assert_eq!(open(&backlog), [(3, Severity::Low), (4, Severity::High)]);
    }

    #[test]
    fn drops_and_counts_the_oldest_findings() {
        let mut backlog = backlog();
        let n_findings = MAX_OPEN as u64 + 2;
        for n in 0..n_findings {
            backlog.report(finding(n, n.cast_signed(), Severity::Low));
        }
        assert_eq!(open(&backlog).first(), Some(&(2, Severity::Low)));
        let (_, counts) = backlog.deliver(&mut Delivery::to_callback(|_| ()));
        assert_eq!((counts.findings, counts.dropped), (MAX_OPEN as u64, 2));
    }
}
