use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    delayed::Entry,
    deliveries::Deliveries,
    failure::Failure,
    state::{Attempt, Content, Next, TARGET},
};
use crate::{Finding, Retry, Sink, SinkError};

/// Delivers the findings of a [queue](super::Queue) to its sink, on a thread of the program.
///
/// Dropping the worker closes the queue. Its undelivered findings are lost then, or pending if
/// they are stored.
pub struct QueueWorker {
    sink: Box<dyn Sink>,
    is_open: bool,
    deliveries: Deliveries,
}

/// The result of a [step](QueueWorker::step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueStep {
    /// The sink has accepted a finding, a group of findings or the numbers of the monitor, or has
    /// failed.
    Attempted,
    /// Nothing is due before this [uptime](crate::clock::Clock::uptime), or before a finding is
    /// added.
    Idle(Option<Duration>),
    /// The queue is closed, and the sink receives nothing more.
    End,
}

impl QueueWorker {
    pub(super) fn new(sink: Box<dyn Sink>, deliveries: Deliveries) -> Self {
        Self { sink, is_open: false, deliveries }
    }

    /// Makes the attempt that is due, if there is one. Waits for the sink, and for nothing else.
    pub fn step(&mut self) -> QueueStep {
        match self.deliveries.poll() {
            Next::Deliver(attempt) => {
                self.deliver(attempt);
                QueueStep::Attempted
            }
            Next::Wait(until) => QueueStep::Idle(until),
            Next::End => QueueStep::End,
        }
    }

    /// Delivers findings until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(attempt) = self.deliveries.wait() {
            self.deliver(attempt);
        }
        let Self { sink, deliveries, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        drop(deliveries);
    }

    fn deliver(&mut self, Attempt { content, next_sink }: Attempt) {
        if let Some(sink) = next_sink {
            self.replace(sink);
        }
        let outcome = match &content {
            Content::Findings(entries) => self.attempt(|sink| deliver(sink, entries)),
            Content::Metrics => match self.deliveries.numbers() {
                Some(numbers) => self.attempt(|sink| sink.deliver_metrics(&numbers)),
                None => Ok(()),
            },
        };
        let retry = catch_unwind(AssertUnwindSafe(|| self.sink.retry())).unwrap_or(Retry::NEVER);
        match content {
            Content::Findings(entries) => self.deliveries.settle(entries, outcome, retry),
            Content::Metrics => self.deliveries.settle_metrics(&outcome, retry),
        }
    }

    fn replace(&mut self, sink: Box<dyn Sink>) {
        self.is_open = false;
        let replaced = mem::replace(&mut self.sink, sink);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(replaced)));
    }

    /// Calls the sink, after opening it if necessary.
    fn attempt(
        &mut self,
        deliver: impl FnOnce(&mut dyn Sink) -> Result<(), SinkError>,
    ) -> Result<(), Failure> {
        let attempt = AssertUnwindSafe(|| {
            if !self.is_open {
                self.sink.open()?;
                self.is_open = true;
                tracing::debug!(target: TARGET, sink = self.deliveries.name, "opened the sink");
            }
            deliver(&mut *self.sink)
        });
        match catch_unwind(attempt) {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(payload) => Err(Failure::panicked(&*payload)),
        }
    }
}

fn deliver(sink: &mut dyn Sink, entries: &[Entry]) -> Result<(), SinkError> {
    if let [entry] = entries {
        return sink.deliver(&entry.finding);
    }
    let findings: Vec<&Finding> = entries.iter().map(|entry| &entry.finding).collect();
    sink.deliver_group(&findings)
}

impl fmt::Debug for QueueWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWorker").field("deliveries", &self.deliveries).finish_non_exhaustive()
    }
}
