use std::{sync::Arc, time::Duration};

use super::outcome::SinkOutcome;
use crate::{Queue, QueueCounts};

/// The queues of a monitor, from one policy to the next.
pub(super) struct Queues {
    /// The present queues, and closed queues of earlier policies that may still deliver.
    all: Vec<Arc<Queue>>,
    /// The outcomes of closed queues, by name.
    ended: Vec<SinkOutcome>,
}

impl Queues {
    pub(super) fn new(present: Vec<Arc<Queue>>) -> Self {
        Self { all: present, ended: Vec::new() }
    }

    pub(super) fn all(&self) -> &[Arc<Queue>] {
        &self.all
    }

    /// Adds the queues that are new among those of a changed policy, and returns them. Forgets
    /// queues that are not present, and have delivered everything.
    pub(super) fn replace<'q>(
        &mut self,
        present: impl Iterator<Item = &'q Arc<Queue>> + Clone,
    ) -> Vec<Arc<Queue>> {
        let is_present = |queue: &Arc<Queue>| present.clone().any(|it| Arc::ptr_eq(it, queue));
        let has_ended =
            |queue: &mut Arc<Queue>| !is_present(queue) && queue.wait_closed(Duration::ZERO);
        for queue in self.all.extract_if(.., has_ended) {
            add(&mut self.ended, outcome(&queue));
        }
        let is_new = |queue: &&Arc<Queue>| self.all.iter().all(|it| !Arc::ptr_eq(it, queue));
        let new: Vec<Arc<Queue>> = present.filter(is_new).cloned().collect();
        for queue in new.iter().filter(|queue| queue.has_ledger()) {
            // It has received the findings that are pending.
            let earlier = self.ended.iter_mut().filter(|sink| sink.name == queue.name());
            earlier.for_each(|sink| sink.pending = 0);
        }
        self.all.extend_from_slice(&new);
        new
    }

    /// Returns the number of findings that are lost so far.
    pub(super) fn n_lost(&self) -> u64 {
        let ended = self.ended.iter().map(|sink| sink.lost);
        ended.chain(self.all.iter().map(|queue| queue.counts().lost())).sum()
    }

    /// Returns the outcomes of all sinks, if nothing more is delivered.
    pub(super) fn outcomes(&self) -> Vec<SinkOutcome> {
        let mut outcomes = self.ended.clone();
        self.all.iter().for_each(|queue| add(&mut outcomes, outcome(queue)));
        outcomes
    }
}

fn outcome(queue: &Queue) -> SinkOutcome {
    let QueueCounts { received, delivered, pending, .. } = queue.counts();
    SinkOutcome {
        name: queue.name().to_owned(),
        delivered,
        lost: received - delivered - pending,
        pending,
        last_error: queue.last_error(),
    }
}

/// Adds the outcome of a later queue of the same sink.
fn add(outcomes: &mut Vec<SinkOutcome>, later: SinkOutcome) {
    match outcomes.iter_mut().find(|sink| sink.name == later.name) {
        Some(sink) => {
            sink.delivered += later.delivered;
            sink.lost += later.lost;
            sink.pending += later.pending;
            sink.last_error = later.last_error.or(sink.last_error.take());
        }
        None => outcomes.push(later),
    }
}
