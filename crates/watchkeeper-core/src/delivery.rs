use std::sync::Arc;

use jiff::Timestamp;

use crate::{Finding, Fingerprint, Queue, QueueCounts, Router, Severity, grouped, quote};

/// Sends findings to the sinks that the policy's routes choose.
///
/// The number of findings that a sink has lost is itself a finding, for all
/// other sinks: one for the first loss, and one each time the number doubles.
#[derive(Debug)]
pub struct Delivery {
    router: Router,
    queues: Arc<[Queue]>,
    /// The first queue that receives every finding, whatever the routes.
    first_unrouted: usize,
    /// For each queue, the number of lost findings in its last report.
    n_reported: Vec<u64>,
}

impl Delivery {
    /// Joins a router and the queues, in the order of the router's sinks.
    pub fn new(router: Router, queues: Vec<Queue>) -> Self {
        Self::with_observers(router, queues, Vec::new())
    }

    /// Adds queues that receive every finding, whatever the routes: open,
    /// escalated and resolved.
    pub fn with_observers(router: Router, mut queues: Vec<Queue>, observers: Vec<Queue>) -> Self {
        let first_unrouted = queues.len();
        queues.extend(observers);
        let n_reported = vec![0; queues.len()];
        Self { router, queues: queues.into(), first_unrouted, n_reported }
    }

    /// Sends every finding to one function: open, escalated and resolved.
    ///
    /// The function runs on a thread of its own; it may panic, and it may
    /// block.
    pub fn to_callback(callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        let router = Router::new(Vec::new(), &[]);
        Self::with_observers(router, Vec::new(), vec![Queue::to_callback(callback)])
    }

    /// Adds a finding to the queues of its sinks; never waits.
    pub fn deliver(&mut self, finding: &Finding) {
        let routed = self.router.route(finding);
        let unrouted = self.first_unrouted..self.queues.len();
        for sink_idx in routed.into_iter().chain(unrouted) {
            if let Some(queue) = self.queues.get(sink_idx) {
                queue.push(finding.clone());
            }
        }
    }

    /// Reports new losses of each sink to all other sinks.
    pub fn report_losses(&mut self, now: Timestamp) {
        for (queue_idx, queue) in self.queues.iter().enumerate() {
            let n_lost = queue.counts().lost();
            let n_reported = &mut self.n_reported[queue_idx];
            if n_lost == 0 || n_lost < n_reported.saturating_mul(2) {
                continue;
            }
            *n_reported = n_lost;
            let finding = loss(queue, n_lost, now);
            for (other_idx, other) in self.queues.iter().enumerate() {
                if other_idx != queue_idx {
                    other.push(finding.clone());
                }
            }
        }
    }

    /// Returns the counts of each sink, by name.
    pub fn counts(&self) -> Vec<(&str, QueueCounts)> {
        self.queues.iter().map(|queue| (queue.name(), queue.counts())).collect()
    }

    /// Returns the queues, in the order of their sinks.
    pub fn queues(&self) -> &Arc<[Queue]> {
        &self.queues
    }

    /// Closes all queues; see [`Queue::close`].
    pub fn close(&self) {
        self.queues.iter().for_each(Queue::close);
    }
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
    finding.fingerprint = finding.fingerprint.and(Fingerprint::of(queue.name()));
    finding.id = finding.id.and(finding.fingerprint);
    finding.count = n_lost;
    finding
}
