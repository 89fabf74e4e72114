use jiff::Timestamp;

use crate::{Finding, Queue, QueueCounts, Router, Severity, Sink, SinkError, clock::Deadline};

/// Takes findings to the sinks that the policy's routes choose.
///
/// What a sink lost is a finding of its own, for all the others: once for
/// every doubling of the number.
#[derive(Debug)]
pub struct Delivery {
    router: Router,
    queues: Vec<Queue>,
    /// For each queue, how many lost findings were told of.
    told: Vec<u64>,
}

impl Delivery {
    /// Joins a router and the queues that it numbers.
    pub fn new(router: Router, queues: Vec<Queue>) -> Self {
        let told = vec![0; queues.len()];
        Self { router, queues, told }
    }

    /// Takes every finding to one function, which runs on a thread of its own:
    /// it may panic, and it may block.
    pub fn to_callback(callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        const CAPACITY: usize = 1024;
        let queue = Queue::new("callback", Box::new(Callback(callback)), CAPACITY);
        Self::new(Router::to_all(&["callback".to_owned()]), vec![queue])
    }

    /// Hands a finding to its sinks; never waits.
    pub fn deliver(&mut self, finding: &Finding) {
        for sink_idx in self.router.route(finding) {
            if let Some(queue) = self.queues.get(sink_idx) {
                queue.push(finding.clone());
            }
        }
    }

    /// Tells the other sinks what one has lost.
    pub fn tell_losses(&mut self, now: Timestamp) {
        for queue_idx in 0..self.queues.len() {
            let queue = &self.queues[queue_idx];
            let QueueCounts { dropped, failed, .. } = queue.counts();
            let n_lost = dropped + failed;
            if n_lost == 0 || n_lost < self.told[queue_idx].saturating_mul(2) {
                continue;
            }
            self.told[queue_idx] = n_lost;
            let mut message = format!("sink `{}` lost {n_lost} findings", queue.name());
            if n_lost == 1 {
                message.pop();
            }
            if let Some(reason) = queue.last_error() {
                message = format!("{message}: {}", crate::quote(&reason));
            }
            let mut finding = Finding::about_monitor(now, "delivery", Severity::Medium, message);
            finding.fingerprint = finding.fingerprint.and(crate::Fingerprint::of(queue.name()));
            finding.id = finding.id.and(finding.fingerprint);
            finding.count = n_lost;
            for (_, other) in self.queues.iter().enumerate().filter(|(it, _)| *it != queue_idx) {
                other.push(finding.clone());
            }
        }
    }

    /// What became of the findings, by sink.
    pub fn counts(&self) -> Vec<(&str, QueueCounts)> {
        self.queues.iter().map(|it| (it.name(), it.counts())).collect()
    }

    /// The queues, in the order of their sinks.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Takes nothing more, and waits until all is delivered or the time is up.
    /// Says whether all was delivered.
    pub fn close(&self, deadline: Deadline) -> bool {
        self.queues.iter().for_each(Queue::close);
        let mut all = true;
        for queue in &self.queues {
            all &= queue.wait_closed(deadline.remaining());
        }
        all
    }
}

struct Callback<F>(F);

impl<F: FnMut(&Finding) + Send> Sink for Callback<F> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        (self.0)(finding);
        Ok(())
    }
}
