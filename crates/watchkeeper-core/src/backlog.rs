use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{Delivery, Engine, Event, Finding, Fingerprint, Status, open_findings::OpenFindings};

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
    /// The delivered findings that no event has shown so far, by fingerprint, with their sinks.
    expected: BTreeMap<Fingerprint, Vec<(Arc<str>, Finding)>>,
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

    /// Adds findings that an earlier monitor has delivered to a sink, and whose ends it has not:
    /// the latest one of each condition.
    pub fn expect(&mut self, sink: &str, delivered: Vec<Finding>) {
        let sink: Arc<str> = sink.into();
        for finding in delivered {
            let of_condition = self.expected.entry(finding.fingerprint).or_default();
            of_condition.push((sink.clone(), finding));
        }
    }

    /// Observes the next event, in order of time. `is_new` if the event was recorded after the
    /// end of an earlier monitor.
    pub fn observe(&mut self, event: &Event, is_new: bool) {
        self.counts.events += 1;
        let mut findings = Vec::new();
        self.engine.observe(event, &mut findings);
        self.delivery.meter().set(self.engine.totals(), self.delivery.n_silenced());
        for mut finding in findings {
            finding.was_observed = !is_new;
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
    /// be open. Its end is delivered to the sinks that have received a finding of the condition,
    /// if their routes send ends, and to those of routes for ends.
    pub fn end_missing(
        &mut self,
        now: Timestamp,
        reason: impl Fn(&Finding, &Engine) -> Option<&'static str>,
    ) {
        let with_latest = |delivered: Vec<(Arc<str>, Finding)>| {
            let latest = delivered.iter().map(|(_, finding)| finding).max_by_key(|it| it.at);
            Some((latest?.clone(), delivered))
        };
        let expected = std::mem::take(&mut self.expected).into_values();
        let mut missing: Vec<_> = expected.filter_map(with_latest).collect();
        missing.sort_by_key(|(latest, _)| latest.at);
        for (latest, delivered) in missing {
            let Some(message) = reason(&latest, &self.engine) else { continue };
            let end = latest.end(now, message);
            // Its events may show the condition again, under another policy.
            let end = if end.is_about_monitor() { end } else { end.as_withdrawn() };
            self.delivery.end(&delivered, &end);
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::Backlog;
    use crate::{
        Delivery, Engine, Finding, Matcher, Period, Queue, Router, Severity, Status,
        embed::{EngineConfig, Route},
        matcher::SeverityMatch,
    };

    #[test]
    fn an_escalation_waits_from_the_opening() {
        let names = ["0".to_owned()];
        let open_for = Some(Period::from_secs(60));
        let route = Route { open_for, ..Route::new("0", Matcher::default(), names.to_vec()) };
        let (queue, _deliveries) = Queue::with_deliveries("0", 8);
        let delivery = Delivery::new(Router::new(vec![route], &names), vec![queue]);
        let mut backlog = Backlog::new(Engine::new(Vec::new(), EngineConfig::default()), delivery);
        for (secs, severity) in [(0, Severity::Low), (20, Severity::Medium), (50, Severity::High)] {
            let at = Timestamp::from_second(secs).unwrap();
            backlog.report(Finding::new(at, "loop", "s1", severity, ""));
        }
        let (_, delivery, _) = backlog.finish();
        assert_eq!(delivery.next_wakeup(), Timestamp::from_second(60).ok());
    }

    #[test]
    fn each_sink_receives_the_end_of_the_finding_that_it_has() {
        let medium =
            Matcher { severity: Some(SeverityMatch::Only(Severity::Medium)), ..Matcher::default() };
        let ends = Matcher { status: Some(Status::Resolved), ..Matcher::default() };
        let route = |name: &str, matcher| {
            let route = Route::new(name, matcher, vec![name.to_owned()]);
            Route { send_resolved: true, ..route }
        };
        let routes =
            vec![route("medium", medium), route("all", Matcher::default()), route("ends", ends)];
        let names = ["medium", "all", "ends", "other"].map(str::to_owned);
        let (queues, mut deliveries): (Vec<_>, Vec<_>) =
            names.iter().map(|name| Queue::with_deliveries(name, 8)).unzip();
        let delivery = Delivery::new(Router::new(routes, &names), queues);
        let mut backlog = Backlog::new(Engine::new(Vec::new(), EngineConfig::default()), delivery);
        let finding = |severity| Finding::new(Timestamp::UNIX_EPOCH, "loop", "s1", severity, "");
        backlog.expect("medium", vec![finding(Severity::Medium)]);
        backlog.expect("all", vec![finding(Severity::High)]);
        backlog.expect("a former sink", vec![finding(Severity::Medium)]);
        backlog.end_missing(Timestamp::UNIX_EPOCH, |_, _| Some("over"));
        let (_, delivery, _) = backlog.finish();
        delivery.close();
        let received = deliveries.iter_mut().map(|deliveries| {
            let findings = std::iter::from_fn(|| deliveries.next());
            findings.map(|finding| (finding.status, finding.message)).collect::<Vec<_>>()
        });
        let end = (Status::Resolved, "over".to_owned());
        let expected = [vec![end.clone()], vec![end.clone()], vec![end], Vec::new()];
        assert!(received.eq(expected));
    }
}
