//! The thread that delivers the findings of a queue to a sink.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{delayed::Entry, deliveries::Deliveries, failure::Failure, state::TARGET};
use crate::{Finding, Retry, Sink};

/// The thread of a sink.
pub(super) struct Worker {
    sink: Box<dyn Sink>,
    is_open: bool,
    deliveries: Deliveries,
}

impl Worker {
    pub(super) fn new(sink: Box<dyn Sink>, deliveries: Deliveries) -> Self {
        Self { sink, is_open: false, deliveries }
    }

    pub(super) fn run(mut self) {
        while let Some(entries) = self.deliveries.wait() {
            let next_sink = self.deliveries.shared.lock().take_next_sink();
            if let Some(sink) = next_sink {
                self.replace(sink);
            }
            let outcome = self.attempt(&entries);
            let retry =
                catch_unwind(AssertUnwindSafe(|| self.sink.retry())).unwrap_or(Retry::NEVER);
            self.deliveries.settle(entries, outcome, retry);
        }
        let Self { sink, deliveries, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        drop(deliveries);
    }

    fn replace(&mut self, sink: Box<dyn Sink>) {
        self.is_open = false;
        let replaced = mem::replace(&mut self.sink, sink);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(replaced)));
    }

    fn attempt(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let attempt = AssertUnwindSafe(|| {
            if !self.is_open {
                self.sink.open()?;
                self.is_open = true;
                tracing::debug!(target: TARGET, sink = self.deliveries.name, "opened the sink");
            }
            if let [entry] = entries {
                return self.sink.deliver(&entry.finding);
            }
            let findings: Vec<&Finding> = entries.iter().map(|entry| &entry.finding).collect();
            self.sink.deliver_group(&findings)
        });
        match catch_unwind(attempt) {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(payload) => Err(Failure::panicked(&*payload)),
        }
    }
}
