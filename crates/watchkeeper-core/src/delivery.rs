use std::{collections::BTreeSet, mem, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::{
    Annotations, Finding, Fingerprint, Queue, QueueCounts, Router, Severity, Silences, Status,
    grouped,
    meter::Meter,
    queue::Outages,
    quote,
    routes::{Routed, Sending},
};

/// Sends findings to the sinks that the policy's routes choose.
///
/// A sink that fails is itself a finding, for all other sinks: one when an outage begins,
/// and one when the sink works again. The number of findings that a sink has lost is
/// another, and so is a ledger that cannot be written. They are reported for the first time,
/// and each time their number doubles: two sinks that fail now and then would otherwise report
/// each other forever.
#[derive(Debug)]
pub struct Delivery {
    router: Router,
    queues: Vec<Arc<Queue>>,
    /// The first queue that receives every finding, whatever the routes.
    first_unrouted: usize,
    /// By queue.
    reported: Vec<Reported>,
    /// The number of dropped silenced findings in the last report about them.
    n_reported_drops: u64,
    meter: Arc<Meter>,
}

/// The last report about a sink.
#[derive(Clone, Debug, Default)]
struct Reported {
    n_lost: u64,
    sink: ReportedOutages,
    ledger: ReportedOutages,
}

/// The last report about the outages of a sink, or of its ledger.
#[derive(Clone, Debug, Default)]
struct ReportedOutages {
    n: u64,
    /// The report of an outage whose end was not reported.
    open: Option<Finding>,
}

impl Delivery {
    /// Joins a router and the queues, in the order of the router's sinks.
    pub fn new(router: Router, queues: Vec<Queue>) -> Self {
        Self::with_observers(router, queues, Vec::new())
    }

    /// Adds queues that receive every finding, whatever the routes: open, escalated and
    /// resolved, except while silences hide them. Queues [with silenced
    /// findings](Queue::with_silenced) receive these, too.
    pub fn with_observers(router: Router, queues: Vec<Queue>, observers: Vec<Queue>) -> Self {
        let first_unrouted = queues.len();
        let queues: Vec<_> = queues.into_iter().chain(observers).map(Arc::new).collect();
        let reported = vec![Reported::default(); queues.len()];
        let (meter, n_reported_drops) = (Arc::new(Meter::new()), 0);
        Self { router, queues, first_unrouted, reported, n_reported_drops, meter }
    }

    /// Returns the numbers of the monitor that this delivery belongs to.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Replaces the router, the queues of its sinks, in their order, and the queues that receive
    /// every finding.
    ///
    /// The queues may be present ones. Present queues that are not among them are closed, and
    /// deliver the findings that they have; findings about their failures are resolved. The
    /// cooldowns and waits of routes for the same findings and sinks continue, for the times of the
    /// new routes.
    pub fn replace(
        &mut self,
        mut router: Router,
        queues: Vec<Arc<Queue>>,
        observers: Vec<Arc<Queue>>,
        now: Timestamp,
    ) {
        let first_unrouted = queues.len();
        let queues: Vec<_> = queues.into_iter().chain(observers).collect();
        let place = |queue: &Arc<Queue>, among: &[Arc<Queue>]| {
            among.iter().position(|other| Arc::ptr_eq(other, queue))
        };
        let reported = queues.iter().map(|queue| {
            place(queue, &self.queues)
                .map_or_else(Reported::default, |idx| self.reported[idx].clone())
        });
        let reported = reported.collect();
        let new_sink = |idx: usize| {
            let name = self.queues.get(idx)?.name();
            queues[..first_unrouted].iter().position(|queue| queue.name() == name)
        };
        let earlier = mem::replace(&mut self.router, Router::to_all(&[]));
        router.continue_from(earlier, now, new_sink);
        let earlier = self.queues.iter().zip(&self.reported);
        for (gone, reported) in earlier.filter(|(queue, _)| place(queue, &queues).is_none()) {
            gone.close();
            for end in reported.ends(gone, now) {
                self.meter.add(&end);
                for queue in &queues {
                    queue.push(end.clone());
                }
            }
        }
        let (meter, n_reported_drops) = (self.meter.clone(), self.n_reported_drops);
        *self = Self { router, queues, first_unrouted, reported, n_reported_drops, meter };
    }

    /// Replaces the annotations of the findings that wait for a route or for the end of a silence.
    pub(crate) fn refresh_waiting(
        &mut self,
        annotations: impl Fn(&Finding) -> Option<Arc<Annotations>>,
    ) {
        self.router.refresh_waiting(annotations);
    }

    /// Sends every finding to one function: open, escalated and resolved.
    ///
    /// The function runs on a thread of its own; it may panic, and it may
    /// block.
    pub fn to_callback(callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        let router = Router::new(Vec::new(), &[]);
        Self::with_observers(router, Vec::new(), vec![Queue::to_callback(callback)])
    }

    /// Replaces the silences, those of the policy too. They apply to findings from now on;
    /// [`advance`](Self::advance) adds the findings that no silence hides any longer.
    pub fn set_silences(&mut self, silences: Silences) {
        self.router.set_silences(silences);
    }

    /// Adds a finding to the queues of its sinks; never waits for a sink.
    pub fn deliver(&mut self, finding: &Finding) {
        self.add(finding, |_| {});
    }

    /// Adds a finding about the monitor to all queues, whatever the routes and silences.
    pub(crate) fn notify(&self, finding: &Finding) {
        self.meter.add(finding);
        self.queues.iter().for_each(|queue| queue.push(finding.clone()));
    }

    /// Adds a finding of recorded events to the queues of its sinks. Waits while a queue is
    /// full and its sink is working: recorded events lose no findings.
    pub(crate) fn deliver_recorded(&mut self, finding: &Finding) {
        // A sink that accepts nothing for this long counts as blocked.
        const LONGEST_WAIT: Duration = Duration::from_secs(5);
        let received = self.received(finding);
        self.add(finding, |queue| queue.wait_room(LONGEST_WAIT));
        // A silence may have begun since an earlier process has delivered the finding.
        if finding.status == Status::Open {
            self.router.remember(finding, |queue_idx| received[queue_idx]);
        }
    }

    /// Adds the findings that silences or routes with `for` have held back until `now`.
    pub fn advance(&mut self, now: Timestamp) {
        let due = self.router.advance_for_all(now);
        self.add_routed(due, |_| {});
    }

    /// Returns the time of the next call of [`advance`](Self::advance) that adds a finding.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.router.next_wakeup()
    }

    /// Moves the times of the findings that wait, since the wall clock was adjusted.
    pub(crate) fn adjust(&mut self, by: SignedDuration) {
        self.router.adjust(by);
    }

    fn add(&mut self, finding: &Finding, wait: impl Fn(&Queue)) {
        let routed = self.router.route_for_all(finding);
        let is_shown = routed.iter().any(|it| it.is_for_observers && it.finding.id == finding.id);
        self.add_routed(routed, &wait);
        let observers = self.observers().iter();
        for queue in observers.filter(|queue| !is_shown && queue.receives_silenced()) {
            wait(queue);
            queue.push(self.router.silenced(finding));
        }
    }

    fn add_routed(&mut self, routed: Vec<Routed>, wait: impl Fn(&Queue)) {
        for Routed { finding, sinks, is_for_observers } in routed {
            for (sink_idx, Sending { n_suppressed, group, .. }) in sinks {
                if let Some(queue) = self.queues.get(sink_idx) {
                    wait(queue);
                    queue.add(with_suppressed(finding.clone(), n_suppressed), group);
                }
            }
            if is_for_observers {
                self.meter.add(&finding);
                for queue in self.observers() {
                    wait(queue);
                    queue.push(finding.clone());
                }
            }
        }
    }

    /// Routes a finding without delivering it, if an earlier process has delivered it: the
    /// cooldowns and the waits of the routes continue.
    pub(crate) fn remember(&mut self, finding: &Finding) {
        let received = self.received(finding);
        match finding.status {
            Status::Open => {
                self.router.remember(finding, |queue_idx| received[queue_idx]);
                self.router.recall(finding);
            }
            Status::Resolved if received.contains(&Some(true)) => {
                drop(self.router.route(finding));
            }
            // Routes without `send_resolved` deliver no end.
            Status::Resolved => self.router.forget(finding.fingerprint),
        }
    }

    /// Returns, by queue, whether its ledger has a finding; `None` without a ledger.
    fn received(&self, finding: &Finding) -> Vec<Option<bool>> {
        self.queues.iter().map(|queue| queue.remembers(finding)).collect()
    }

    /// Delivers the end of a condition to the sinks to which an earlier process has delivered a
    /// finding of it, and to the sinks of routes for all ends. `delivered` contains the former,
    /// each with its latest finding.
    pub(crate) fn end(&mut self, delivered: &[(Arc<str>, Finding)], end: &Finding) {
        let mut receivers = BTreeSet::new();
        for (sink, finding) in delivered {
            let mut routed = self.queues[..self.first_unrouted].iter();
            if let Some(queue_idx) = routed.position(|queue| queue.name() == &**sink) {
                self.router.remember(finding, |idx| (idx == queue_idx).then_some(true));
                receivers.insert(queue_idx);
            }
        }
        if end.is_about_monitor() {
            // Not all of them came from a route.
            for queue_idx in receivers {
                self.queues[queue_idx].push(end.clone());
            }
            return;
        }
        let mut routed = self.router.route(end);
        for Routed { sinks, is_for_observers, .. } in &mut routed {
            // They have not received the open finding.
            *is_for_observers = false;
            let receives = |idx| receivers.contains(&idx) || self.router.sends_any_end(end, idx);
            sinks.retain(|idx, _| receives(*idx));
        }
        self.add_routed(routed, |_| {});
    }

    /// Lets the findings that were added survive a loss of power, if the ledgers of the queues
    /// are for that.
    pub fn commit(&mut self) {
        self.queues.iter().for_each(|queue| queue.sync());
    }

    /// Reports outages and new losses of each sink to all other sinks, and dropped findings of
    /// silences.
    pub fn report_failures(&mut self, now: Timestamp) {
        let n_dropped = self.router.n_dropped();
        if is_due(n_dropped, self.n_reported_drops) {
            self.n_reported_drops = n_dropped;
            self.deliver(&drops(n_dropped, now));
        }
        for queue_idx in 0..self.queues.len() {
            for finding in self.new_failures(queue_idx, now) {
                self.meter.add(&finding);
                let others = self.queues.iter().enumerate().filter(|(idx, _)| *idx != queue_idx);
                others.for_each(|(_, other)| other.push(finding.clone()));
            }
        }
    }

    /// Makes the findings about a sink since the last call.
    fn new_failures(&mut self, queue_idx: usize, now: Timestamp) -> Vec<Finding> {
        let (queue, reported) = (&self.queues[queue_idx], &mut self.reported[queue_idx]);
        let (outages, n_lost) = queue.failures();
        let name = quote(queue.name());
        let mut findings = Vec::new();
        let is_loss_due = is_due(n_lost, reported.n_lost);
        let loss = is_loss_due.then(|| loss(queue, n_lost, now));
        match reported.sink.next(&outages, is_loss_due) {
            Some(Change::Began(cause)) => {
                // The report of a loss contains the cause.
                let report = loss.clone().unwrap_or_else(|| {
                    let outage = outage(queue, &cause, outages.n, now);
                    findings.push(outage.clone());
                    outage
                });
                reported.sink.open = Some(report);
            }
            Some(Change::Ended(outage)) => {
                findings.push(outage.end(now, format!("sink {name} works again")));
            }
            None => {}
        }
        if let Some(loss) = loss {
            reported.n_lost = n_lost;
            findings.push(loss);
        }
        let outages = queue.ledger_outages();
        match reported.ledger.next(&outages, false) {
            Some(Change::Began(cause)) => {
                let outage = ledger_outage(queue, &cause, outages.n, now);
                reported.ledger.open = Some(outage.clone());
                findings.push(outage);
            }
            Some(Change::Ended(outage)) => {
                findings
                    .push(outage.end(now, format!("findings for sink {name} are stored again")));
            }
            None => {}
        }
        findings
    }

    /// Returns the number of repeats that cooldowns have suppressed.
    pub fn n_suppressed(&self) -> u64 {
        self.router.n_suppressed()
    }

    /// Returns the number of findings that silences have hidden, for some time at least.
    pub fn n_silenced(&self) -> u64 {
        self.router.n_silenced()
    }

    /// Returns the counts of each sink, by name.
    pub fn counts(&self) -> Vec<(&str, QueueCounts)> {
        self.queues.iter().map(|queue| (queue.name(), queue.counts())).collect()
    }

    /// Returns the queues, in the order of their sinks, followed by the observers.
    pub fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    pub(crate) fn sinks(&self) -> &[Arc<Queue>] {
        &self.queues[..self.first_unrouted]
    }

    /// Returns the queues that receive every finding.
    pub(crate) fn observers(&self) -> &[Arc<Queue>] {
        &self.queues[self.first_unrouted..]
    }

    /// Closes all queues; see [`Queue::close`].
    pub fn close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
    }
}

impl Reported {
    /// Returns the ends of the findings about a sink that is not used any longer.
    fn ends(&self, queue: &Queue, now: Timestamp) -> impl Iterator<Item = Finding> {
        let message = format!("sink {} is not used any longer", quote(queue.name()));
        let open = [&self.sink.open, &self.ledger.open].into_iter().flatten();
        open.map(move |outage| outage.clone().end(now, message.as_str()))
    }
}

/// A change to report.
enum Change {
    /// An outage began, with this error.
    Began(String),
    /// The outage of this report has ended.
    Ended(Box<Finding>),
}

impl ReportedOutages {
    /// Returns the change since the last call that is to be reported. `is_forced` if a present
    /// outage is reported in any case.
    fn next(&mut self, outages: &Outages, is_forced: bool) -> Option<Change> {
        match &outages.cause {
            Some(cause) if self.open.is_none() && (is_forced || is_due(outages.n, self.n)) => {
                if is_due(outages.n, self.n) {
                    self.n = outages.n;
                }
                Some(Change::Began(cause.clone()))
            }
            None => self.open.take().map(Box::new).map(Change::Ended),
            _ => None,
        }
    }
}

/// Returns whether a number is to be reported: it has doubled since the last report.
fn is_due(n: u64, n_reported: u64) -> bool {
    n_reported.saturating_mul(2).max(1) <= n
}

/// Adds the number of repeats that a cooldown has suppressed to the finding after them.
fn with_suppressed(mut finding: Finding, n_suppressed: u32) -> Finding {
    if 0 < n_suppressed {
        let s = if n_suppressed == 1 { "" } else { "s" };
        let n = grouped(n_suppressed.into());
        finding.message = format!("{} ({n} earlier repeat{s} suppressed)", finding.message);
        finding.data.insert("suppressed_repeats".to_owned(), n_suppressed.into());
    }
    finding
}

/// Makes the finding that silenced findings were dropped.
fn drops(n_dropped: u64, now: Timestamp) -> Finding {
    let s = if n_dropped == 1 { "" } else { "s" };
    let n = grouped(n_dropped);
    let message = format!("dropped {n} silenced finding{s}: too many were open at a time");
    let mut finding = Finding::about_monitor(now, "silences", Severity::Medium, message);
    finding.count = n_dropped;
    finding.fingerprint = finding.fingerprint.and(Fingerprint::of("dropped"));
    finding.id = finding.id.and(finding.fingerprint).and(Fingerprint::from(n_dropped));
    finding
}

/// Makes the finding that a sink fails.
fn outage(queue: &Queue, cause: &str, n_outages: u64, now: Timestamp) -> Finding {
    let message = format!("sink {} fails: {}", quote(queue.name()), quote(cause));
    let mut finding = Finding::about_monitor(now, "delivery", Severity::Medium, message);
    finding.count = n_outages;
    identify(&mut finding, queue, "outage");
    finding
}

/// Makes the finding that the ledger of a sink cannot be written.
fn ledger_outage(queue: &Queue, cause: &str, n_outages: u64, now: Timestamp) -> Finding {
    let name = quote(queue.name());
    let cause = quote(cause);
    let message =
        format!("findings for sink {name} are not stored, and end with the process: {cause}");
    let mut finding = Finding::about_monitor(now, "ledger", Severity::Medium, message);
    finding.count = n_outages;
    identify(&mut finding, queue, "ledger outage");
    finding
}

/// Sets the fingerprint and the id of a finding about a sink.
///
/// The findings about one sink have the same fingerprint: a receiver that was notified of
/// an outage or of a loss closes it at the end of the outage.
fn identify(finding: &mut Finding, queue: &Queue, event: &str) {
    finding.fingerprint = finding.fingerprint.and(Fingerprint::of(queue.name()));
    let event = Fingerprint::of(event).and(Fingerprint::from(finding.count));
    finding.id = finding.id.and(finding.fingerprint).and(event);
}

/// Makes the finding about the losses of a sink.
fn loss(queue: &Queue, n_lost: u64, now: Timestamp) -> Finding {
    let name = quote(queue.name());
    let s = if n_lost == 1 { "" } else { "s" };
    let mut message = format!("sink {name} lost {} finding{s}", grouped(n_lost));
    if let Some(reason) = queue.last_error() {
        message = format!("{message}: {}", quote(&reason));
    }
    let mut finding = Finding::about_monitor(now, "delivery", Severity::Medium, message);
    finding.count = n_lost;
    identify(&mut finding, queue, "loss");
    finding
}
