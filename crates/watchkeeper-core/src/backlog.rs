use crate::{Delivery, Engine, Event, Finding, Status, open_findings::OpenFindings};

/// Events of live sessions that were recorded before the monitor started.
///
/// The engine observes them all, since detectors need the whole session. Of the findings that
/// an earlier monitor has observed already, or that ended before the first one started, only
/// those still open at the end are delivered. Findings of events that no monitor has observed
/// are delivered as live ones are.
pub struct Backlog {
    engine: Engine,
    delivery: Delivery,
    open: OpenFindings,
    counts: BacklogCounts,
}

/// Numbers of a [`Backlog`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BacklogCounts {
    /// Events observed.
    pub events: u64,
    /// Open findings delivered, whether or not an earlier monitor has delivered them.
    pub findings: u64,
    /// Findings dropped because more than 16,384 were open.
    pub dropped: u64,
}

impl Backlog {
    /// Creates an empty backlog.
    pub fn new(engine: Engine, delivery: Delivery) -> Self {
        Self { engine, delivery, open: OpenFindings::default(), counts: BacklogCounts::default() }
    }

    /// Observes the next event, in order of time. `is_new` if the event was recorded after the
    /// end of an earlier monitor.
    pub fn observe(&mut self, event: &Event, is_new: bool) {
        self.counts.events += 1;
        let mut findings = Vec::new();
        self.engine.observe(event, &mut findings);
        for finding in findings {
            if is_new {
                self.deliver_new(&finding);
            } else {
                self.report(finding);
            }
        }
    }

    /// Adds a finding. Programs add findings that no detector made, such as one
    /// about a source.
    pub fn report(&mut self, finding: Finding) {
        // Routed in the order in which an earlier monitor has routed them.
        if let Some(previous) = self.open.take_one(finding.fingerprint) {
            self.delivery.remember(&previous);
        }
        match finding.status {
            Status::Open => self.open.add(finding),
            Status::Resolved => self.delivery.remember(&finding),
        }
    }

    fn deliver_new(&mut self, finding: &Finding) {
        // Sinks that have not received the open finding receive it before its end.
        if let Some(open) = self.open.take_one(finding.fingerprint) {
            self.deliver(&open);
        }
        self.deliver(finding);
    }

    fn deliver(&mut self, finding: &Finding) {
        self.counts.findings += u64::from(finding.status == Status::Open);
        self.delivery.deliver_recorded(finding);
    }

    /// Delivers the open findings, each at its present severity. Returns the engine and the
    /// delivery, which continue with live events.
    pub fn finish(mut self) -> (Engine, Delivery, BacklogCounts) {
        let (n_dropped, findings) = self.open.take();
        self.counts.dropped = n_dropped;
        for finding in &findings {
            self.deliver(finding);
        }
        self.delivery.commit();
        (self.engine, self.delivery, self.counts)
    }
}
