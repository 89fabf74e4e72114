mod deliveries;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

pub(crate) use self::state::Outages;
pub use self::{deliveries::Deliveries, state::QueueCounts};
use self::{
    state::{Shared, State},
    worker::Worker,
};
use crate::{Finding, Sink, SinkError};

/// A bounded queue in front of a sink, and the thread that empties it.
///
/// Adding a finding never waits. A full queue drops the oldest of its least
/// severe findings, and counts it. The thread retries a finding as the sink's
/// [`retry`](Sink::retry) allows. A sink that panics or blocks affects no other
/// sink.
///
/// Every finding that a queue receives is delivered, waiting, or lost; see
/// [`QueueCounts`]. Dropping the queue closes it without waiting.
pub struct Queue {
    name: Arc<str>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    /// Starts a thread for a sink, behind a queue of `capacity` findings (at
    /// least one).
    pub fn new(name: &str, sink: Box<dyn Sink>, capacity: usize) -> Self {
        let (mut queue, deliveries) = Self::with_deliveries(name, capacity);
        let worker = Worker::new(sink, deliveries);
        let spawned = thread::Builder::new().name(format!("sink-{name}")).spawn(|| worker.run());
        match spawned {
            Ok(thread) => queue.thread = Mutex::new(Some(thread)),
            Err(err) => {
                let error = format!("cannot start a thread for the sink: {err}");
                queue.shared.lock().last_error = Some(error);
            }
        }
        queue
    }

    /// Creates a queue of `capacity` findings (at least one) that a thread of the program
    /// empties.
    pub fn with_deliveries(name: &str, capacity: usize) -> (Self, Deliveries) {
        let shared = Arc::new(Shared::new(capacity));
        let deliveries = Deliveries::new(name, shared.clone());
        (Self { name: name.into(), shared, thread: Mutex::new(None) }, deliveries)
    }

    /// Starts a thread for a function, behind a queue of 1,024 findings.
    pub fn to_callback(callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        const CAPACITY: usize = 1024;
        Self::new("callback", Box::new(Callback(callback)), CAPACITY)
    }

    /// Returns the name of the sink in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a finding.
    pub fn push(&self, finding: Finding) {
        let mut state = self.shared.lock();
        state.counts.received += 1;
        if state.is_closing {
            state.counts.dropped += 1;
            return;
        }
        if state.waiting.len() == state.capacity {
            state.counts.dropped += 1;
            let least = state.waiting.iter().map(|waiting| waiting.severity).min();
            if least.is_some_and(|least| finding.severity < least) {
                return;
            }
            let oldest = state.waiting.iter().position(|other| Some(other.severity) == least);
            oldest.and_then(|index| state.waiting.remove(index));
        }
        state.waiting.push_back(finding);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Returns the outcomes so far.
    pub fn counts(&self) -> QueueCounts {
        self.shared.lock().counts
    }

    /// Returns the error of the finding that the sink failed to deliver last.
    pub fn last_error(&self) -> Option<String> {
        self.shared.lock().last_error.clone()
    }

    /// Returns the outages of the sink and the number of findings that are lost, at one
    /// moment.
    pub(crate) fn failures(&self) -> (Outages, u64) {
        let state = self.shared.lock();
        (state.outages.clone(), state.counts.lost())
    }

    /// Calls `on_change` each time after the sink has failed to deliver a finding, and
    /// when an outage begins or ends. Only the first function that is set is called.
    pub(crate) fn set_on_change(&self, on_change: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.on_change.set(Box::new(on_change));
    }

    /// Accepts no more findings, and delivers the waiting findings, each in one
    /// attempt. Does not wait for them; see [`wait_closed`](Self::wait_closed).
    pub fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }

    /// Waits until a closed queue is empty and its thread has ended, for
    /// `timeout` at most. Returns whether the thread has ended.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let is_done = self.wait_until(timeout, |state| state.is_done);
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if is_done && let Some(thread) = thread.take() {
            // The thread returns right after it sets `is_done`.
            let _ = thread.join();
        }
        is_done
    }

    /// Waits until no finding waits for delivery, for `timeout` at most.
    /// Returns whether the queue is empty.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> bool {
        let is_empty = |state: &State| state.waiting.is_empty() && !state.is_delivering;
        self.wait_until(timeout, |state| state.is_done || is_empty(state))
    }

    fn wait_until(&self, timeout: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let state = self.shared.lock();
        let wait =
            self.shared.changed.wait_timeout_while(state, timeout, |state| !condition(state));
        condition(&wait.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Closes the queue and counts every finding that is not delivered yet as
    /// lost. The outcome of a delivery that is under way is ignored.
    pub(crate) fn abandon(&self) {
        let mut state = self.shared.lock();
        state.is_abandoned = true;
        state.end("the sink did not return before the shutdown timeout");
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Returns whether the calling thread is the one that takes the findings.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.shared.lock().thread_id == Some(thread::current().id())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        f.debug_struct("Queue")
            .field("name", &self.name)
            .field("counts", &counts)
            .finish_non_exhaustive()
    }
}

/// A sink that passes findings to a function.
struct Callback<F>(F);

impl<F: FnMut(&Finding) + Send> Sink for Callback<F> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        (self.0)(finding);
        Ok(())
    }
}
