use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use super::outcome::SinkOutcome;
use crate::{Queue, QueueCounts, metrics::SinkNumbers};

/// The queues of a monitor, from one policy to the next.
pub(super) struct Queues {
    /// The present queues, and closed queues of earlier policies that may still deliver.
    all: Vec<Arc<Queue>>,
    /// The outcomes of closed queues, by name.
    ended: Vec<Outcome>,
    /// The queues among all that receive every finding, and are no sinks of the policy.
    observers: Vec<Weak<Queue>>,
}

/// The outcome of the queues of one name.
#[derive(Clone)]
struct Outcome {
    name: String,
    counts: QueueCounts,
    last_error: Option<String>,
    is_observer: bool,
}

impl Queues {
    pub(super) fn new(sinks: &[Arc<Queue>], observers: &[Arc<Queue>]) -> Self {
        let mut queues = Self { all: Vec::new(), ended: Vec::new(), observers: Vec::new() };
        queues.replace(sinks, observers);
        queues
    }

    pub(super) fn all(&self) -> &[Arc<Queue>] {
        &self.all
    }

    /// Adds the queues that are new among those of a changed policy, and returns them. Forgets
    /// queues that are not present, and have delivered everything.
    pub(super) fn replace(
        &mut self,
        sinks: &[Arc<Queue>],
        observers: &[Arc<Queue>],
    ) -> Vec<Arc<Queue>> {
        let present = || sinks.iter().chain(observers);
        let is_present = |queue: &Arc<Queue>| present().any(|it| Arc::ptr_eq(it, queue));
        let has_ended =
            |queue: &mut Arc<Queue>| !is_present(queue) && queue.wait_closed(Duration::ZERO);
        let ended: Vec<Arc<Queue>> = self.all.extract_if(.., has_ended).collect();
        for queue in ended {
            let outcome = self.outcome(&queue);
            add(&mut self.ended, outcome);
        }
        let is_new = |queue: &&Arc<Queue>| self.all.iter().all(|it| !Arc::ptr_eq(it, queue));
        let new: Vec<Arc<Queue>> = present().filter(is_new).cloned().collect();
        for queue in new.iter().filter(|queue| queue.has_ledger()) {
            // It has received the findings that are pending.
            for earlier in self.ended.iter_mut().filter(|sink| sink.name == queue.name()) {
                earlier.counts.received -= earlier.counts.pending;
                earlier.counts.pending = 0;
            }
        }
        self.all.extend_from_slice(&new);
        self.observers.retain(|queue| 0 < queue.strong_count());
        self.observers.extend(observers.iter().map(Arc::downgrade));
        new
    }

    /// Returns the number of findings that are lost so far.
    pub(super) fn n_lost(&self) -> u64 {
        let ended = self.ended.iter().map(|sink| sink.counts.lost());
        ended.chain(self.all.iter().map(|queue| queue.counts().lost())).sum()
    }

    /// Returns the outcomes of all sinks, if nothing more is delivered.
    pub(super) fn outcomes(&self) -> Vec<SinkOutcome> {
        let outcomes =
            self.by_name().into_iter().map(|Outcome { name, counts, last_error, .. }| {
                let QueueCounts { received, delivered, pending, .. } = counts;
                let lost = received - delivered - pending;
                SinkOutcome { name, delivered, lost, pending, last_error }
            });
        outcomes.collect()
    }

    /// Returns the numbers of the sinks of the policy so far, those of earlier ones among them.
    pub(super) fn numbers(&self) -> BTreeMap<String, SinkNumbers> {
        let sinks = self.by_name().into_iter().filter(|sink| !sink.is_observer);
        let numbers = sinks.map(|Outcome { name, counts, .. }| {
            let QueueCounts { received, delivered, dropped, failed, .. } = counts;
            let pending = received.saturating_sub(delivered + dropped + failed);
            (name, SinkNumbers { delivered, failed, dropped, pending })
        });
        numbers.collect()
    }

    fn by_name(&self) -> Vec<Outcome> {
        let mut outcomes = self.ended.clone();
        self.all.iter().for_each(|queue| add(&mut outcomes, self.outcome(queue)));
        outcomes
    }

    fn outcome(&self, queue: &Arc<Queue>) -> Outcome {
        let is_it = |observer: &Weak<Queue>| observer.as_ptr() == Arc::as_ptr(queue);
        Outcome {
            name: queue.name().to_owned(),
            counts: queue.counts(),
            last_error: queue.last_error(),
            is_observer: self.observers.iter().any(is_it),
        }
    }
}

/// Adds the outcome of a later queue of the same sink.
fn add(outcomes: &mut Vec<Outcome>, later: Outcome) {
    let is_same =
        |it: &&mut Outcome| (&it.name, it.is_observer) == (&later.name, later.is_observer);
    match outcomes.iter_mut().find(is_same) {
        Some(sink) => {
            let (sum, counts) = (&mut sink.counts, later.counts);
            sum.received += counts.received;
            sum.delivered += counts.delivered;
            sum.dropped += counts.dropped;
            sum.failed += counts.failed;
            sum.pending += counts.pending;
            sink.last_error = later.last_error.or(sink.last_error.take());
        }
        None => outcomes.push(later),
    }
}
