use crate::{Delivery, Engine, Event, Finding, open_findings::OpenFindings};

/// Events of live sessions that were recorded before the monitor started.
///
/// The engine observes them all, since detectors need the whole session. Of the
/// findings, only those still open at the end are delivered.
pub struct Backlog {
    engine: Engine,
    open: OpenFindings,
    n_events: u64,
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
        Self { engine, open: OpenFindings::default(), n_events: 0 }
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
        self.open.add(finding);
    }

    /// Delivers the open findings, each at its present severity. Returns the engine,
    /// which continues with live events.
    pub fn deliver(mut self, delivery: &mut Delivery) -> (Engine, BacklogCounts) {
        let (n_dropped, findings) = self.open.take();
        for finding in &findings {
            delivery.deliver(finding);
        }
        let counts = BacklogCounts {
            events: self.n_events,
            findings: findings.len() as u64,
            dropped: n_dropped,
        };
        (self.engine, counts)
    }
}
