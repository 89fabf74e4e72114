use jiff::Timestamp;

use crate::{Delivery, Engine, Event, Finding, Fingerprint, Status};

/// Events of live sessions that were recorded before the monitor started.
///
/// The engine observes them all, since detectors need the whole session. Of the
/// findings, only those still open at the end and dated after `since` are
/// delivered.
pub struct Backlog {
    engine: Engine,
    since: Option<Timestamp>,
    /// Emitted findings, without resolved ones.
    findings: Vec<Finding>,
    n_events: u64,
}

/// Numbers of a [`Backlog`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogCounts {
    /// Events observed.
    pub events: u64,
    /// Findings delivered.
    pub findings: u64,
}

impl Backlog {
    /// Creates an empty backlog. Findings dated before `since` are not delivered.
    pub fn new(engine: Engine, since: Option<Timestamp>) -> Self {
        Self { engine, since, findings: Vec::new(), n_events: 0 }
    }

    /// Observes the next event, in order of time.
    pub fn observe(&mut self, event: &Event) {
        self.n_events += 1;
        let n_before = self.findings.len();
        self.engine.observe(event, &mut self.findings);
        let resolved: Vec<Fingerprint> = self.findings[n_before..]
            .iter()
            .filter(|finding| finding.status == Status::Resolved)
            .map(|finding| finding.fingerprint)
            .collect();
        if !resolved.is_empty() {
            self.findings.retain(|finding| !resolved.contains(&finding.fingerprint));
        }
    }

    /// Adds a finding that no detector made, such as one about a source.
    pub fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Delivers the open findings, each at its present severity. Returns the engine,
    /// which continues with live events.
    pub fn deliver(self, delivery: &mut Delivery) -> (Engine, BacklogCounts) {
        let mut counts = BacklogCounts { events: self.n_events, findings: 0 };
        for (idx, finding) in self.findings.iter().enumerate() {
            let is_recent = self.since.is_none_or(|since| since <= finding.at);
            let escalates =
                self.findings[idx + 1..].iter().any(|it| it.fingerprint == finding.fingerprint);
            if is_recent && !escalates {
                counts.findings += 1;
                delivery.deliver(finding);
            }
        }
        (self.engine, counts)
    }
}
