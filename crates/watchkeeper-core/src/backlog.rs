use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    Delivery, Engine, Event, Finding, Fingerprint, Severity, Status, finding::finding_id,
    open_findings::OpenFindings,
};

/// Events of live sessions that were recorded before the monitor started.
///
/// The engine observes them all, since detectors need the whole session. Of the findings that
/// an earlier monitor has observed already, or that ended before the first one started, only
/// those still open at the end are delivered. Findings of events that no monitor has observed
/// are delivered as live ones are. Findings that an earlier monitor has delivered and that the
/// events no longer show can be [ended](Self::end_missing).
pub struct Backlog {
    engine: Engine,
    delivery: Delivery,
    open: OpenFindings,
    /// The delivered findings that no event has shown so far, by fingerprint.
    expected: BTreeMap<Fingerprint, Finding>,
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
        let (open, expected) = (OpenFindings::default(), BTreeMap::new());
        Self { engine, delivery, open, expected, counts: BacklogCounts::default() }
    }

    /// Adds findings that an earlier monitor has delivered, and whose ends it has not.
    pub fn expect(&mut self, delivered: Vec<Finding>) {
        self.expected.extend(delivered.into_iter().map(|finding| (finding.fingerprint, finding)));
    }

    /// Observes the next event, in order of time. `is_new` if the event was recorded after the
    /// end of an earlier monitor.
    pub fn observe(&mut self, event: &Event, is_new: bool) {
        self.counts.events += 1;
        let mut findings = Vec::new();
        self.engine.observe(event, &mut findings);
        for finding in findings {
            self.expected.remove(&finding.fingerprint);
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

    /// Ends the expected findings that no event has shown, after all events were observed.
    ///
    /// `reason` returns the message of a finding that is over, and `None` for one that may still
    /// be open. Its end is delivered to the sinks that have received the finding, if their
    /// routes send ends.
    pub fn end_missing(
        &mut self,
        now: Timestamp,
        reason: impl Fn(&Finding, &Engine) -> Option<&'static str>,
    ) {
        let mut missing: Vec<_> = std::mem::take(&mut self.expected).into_values().collect();
        missing.sort_by_key(|finding| finding.at);
        for finding in missing {
            let Some(message) = reason(&finding, &self.engine) else { continue };
            let (severity, status) = (Severity::Low, Status::Resolved);
            let end = Finding {
                id: finding_id(finding.fingerprint, finding.id, severity, status),
                at: now,
                replaces: None,
                severity,
                action: None,
                status,
                message: message.to_owned(),
                data: serde_json::Map::new(),
                evidence: Vec::new(),
                ..finding.clone()
            };
            self.delivery.end(&finding, &end);
        }
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
