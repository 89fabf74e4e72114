mod counts;
mod delayed;
mod deliveries;
mod failure;
mod group;
mod metrics_times;
mod outages;
mod state;
mod stored;
#[cfg(test)]
mod tests;
mod waiting;
mod worker;

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

pub use self::{
    counts::QueueCounts,
    deliveries::Deliveries,
    worker::{QueueStep, QueueWorker},
};
pub(crate) use self::{group::Group, outages::Outages};
use self::{
    metrics_times::MetricsTimes,
    state::{Shared, State},
    stored::Stored,
};
use crate::{
    Finding, Sink, SinkError,
    clock::{Clock, Deadline, SystemClock},
    ledger::Ledger,
    metrics::Numbers,
    sync::{
        Mutex,
        thread::{self, JoinHandle},
    },
};

/// A bounded queue in front of a sink, and the thread that empties it.
///
/// Adding a finding never waits for the sink. A full queue drops the oldest of its least
/// severe findings, and counts it. A sink that panics or blocks affects no other sink.
///
/// The thread retries a finding as the sink's [`retry`](Sink::retry) allows. Other findings
/// are delivered meanwhile, except those with the same fingerprint, which keep their order.
/// After a failure the sink receives nothing for a few seconds. When it works again, all
/// findings are due at once.
///
/// With a [ledger](Ledger), findings outlive the process: those that have no outcome when the
/// queue is closed are delivered after the next start, and a full queue keeps up to 100,000
/// findings in the ledger alone. A finding that the ledger has is not delivered again. While
/// the ledger cannot be written, findings are in memory.
///
/// Every finding that a queue receives is delivered, waiting, or lost; see
/// [`QueueCounts`]. Dropping the queue closes it without waiting.
pub struct Queue {
    name: Arc<str>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    receives_silenced: bool,
}

impl Queue {
    /// Starts a thread for a sink, behind a queue of `capacity` findings (at
    /// least one).
    pub fn new(name: &str, sink: Box<dyn Sink>, capacity: usize) -> Self {
        Self::start(name, sink, capacity, None)
    }

    /// Starts a thread for a sink as [`new`](Self::new) does, with a ledger of its findings.
    /// Pending findings of the ledger are delivered first.
    pub fn with_ledger(
        name: &str,
        sink: Box<dyn Sink>,
        capacity: usize,
        ledger: Box<dyn Ledger>,
    ) -> Self {
        Self::start(name, sink, capacity, Some(Stored::new(ledger)))
    }

    fn start(name: &str, sink: Box<dyn Sink>, capacity: usize, stored: Option<Stored>) -> Self {
        let clock = Arc::new(SystemClock);
        let (mut queue, worker) = Self::make_with(name, sink, capacity, stored, clock);
        // The name of a thread has no zero bytes.
        let thread_name = format!("sink-{name}").replace('\0', "");
        let spawned = thread::Builder::new().name(thread_name).spawn(|| worker.run());
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
        Self::make(name, capacity, 1, None, Arc::new(SystemClock))
    }

    /// Creates a queue as [`with_ledger`](Self::with_ledger) does, whose sink a thread of the
    /// program drives in steps, by the time of a clock. The waits between attempts are the same
    /// in each process, so that tests can simulate days.
    pub fn with_worker(
        name: &str,
        sink: Box<dyn Sink>,
        capacity: usize,
        ledger: Box<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> (Self, QueueWorker) {
        let stored = Some(Stored::new(ledger));
        let (queue, worker) = Self::make_with(name, sink, capacity, stored, clock);
        queue.shared.lock().process = 0;
        (queue, worker)
    }

    fn make_with(
        name: &str,
        sink: Box<dyn Sink>,
        capacity: usize,
        stored: Option<Stored>,
        clock: Arc<dyn Clock>,
    ) -> (Self, QueueWorker) {
        let (queue, deliveries) = Self::make(name, capacity, sink.max_group(), stored, clock);
        queue.shared.lock().metrics = MetricsTimes::new(sink.metrics_interval());
        (queue, QueueWorker::new(sink, deliveries))
    }

    fn make(
        name: &str,
        capacity: usize,
        max_group: usize,
        stored: Option<Stored>,
        clock: Arc<dyn Clock>,
    ) -> (Self, Deliveries) {
        let shared = Arc::new(Shared::new(capacity, max_group, stored, clock));
        let deliveries = Deliveries::new(name, shared.clone());
        let (name, thread) = (name.into(), Mutex::new(None));
        (Self { name, shared, thread, receives_silenced: false }, deliveries)
    }

    /// Lets the queue receive the findings that silences hide, too, with
    /// [`silenced`](Finding::silenced), if it receives every finding.
    pub fn with_silenced(mut self) -> Self {
        self.receives_silenced = true;
        self
    }

    pub(crate) fn receives_silenced(&self) -> bool {
        self.receives_silenced
    }

    /// Starts a thread for a function, behind a queue of 1,024 findings.
    pub fn to_callback(callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        const CAPACITY: usize = 1024;
        Self::new("callback", Box::new(Callback(callback)), CAPACITY)
    }

    /// Replaces the sink, and the largest number of findings that wait. The next attempt goes to
    /// the new sink, and findings that wait get an additional attempt at once, as after a success.
    /// `notices` are delivered to the new sink also if the earlier one has received them, unless
    /// they still wait or are being delivered. Without effect on a queue of [`with_deliveries`](Self::with_deliveries).
    pub fn replace_sink(&self, sink: Box<dyn Sink>, capacity: usize, notices: &[Finding]) {
        let now = self.shared.clock.uptime();
        let mut state = self.shared.lock();
        let unused = state.replace_sink(sink, capacity, now);
        for notice in notices {
            state.push_again(notice, now);
        }
        drop(state);
        self.shared.changed.notify_all();
        // Not under the lock.
        drop(unused);
    }

    /// Returns the name of the sink in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a finding. Does nothing if the ledger of the queue has it.
    pub fn push(&self, finding: Finding) {
        self.add(finding, None);
    }

    /// Adds a finding as [`push`](Self::push) does. A sink that delivers several findings in one
    /// notification receives it with the other findings of its group.
    pub(crate) fn add(&self, finding: Finding, group: Option<Group>) {
        let now = self.shared.clock.uptime();
        self.shared.lock().push(finding, group, now);
        self.shared.changed.notify_all();
    }

    /// Waits until the queue or its ledger has room for a finding, for `timeout` at most. Does
    /// not wait for a sink that fails.
    pub(crate) fn wait_room(&self, timeout: Duration) {
        self.wait_until(timeout, |state| {
            let is_failing = state.outages.cause.is_some();
            let has_ledger = state.stored.as_ref().is_some_and(Stored::has_room);
            is_failing || has_ledger || state.waiting.len() < state.capacity
        });
    }

    /// Returns whether all findings without an outcome are in the ledger, if there is one.
    pub fn is_stored(&self) -> bool {
        self.shared.lock().is_stored()
    }

    /// Returns whether the ledger of the queue has a finding; `None` without a ledger.
    pub(crate) fn remembers(&self, finding: &Finding) -> Option<bool> {
        self.shared.lock().stored.as_ref().map(|stored| stored.contains(finding))
    }

    /// Lets the findings that were added survive a loss of power, if the ledger is for that.
    pub(crate) fn sync(&self) {
        if let Some(stored) = &mut self.shared.lock().stored {
            stored.sync();
        }
    }

    /// Returns the times in which the ledger cannot be written.
    pub(crate) fn ledger_outages(&self) -> Outages {
        let state = self.shared.lock();
        state.stored.as_ref().map_or_else(Outages::default, |stored| stored.outages.clone())
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

    /// Returns whether the sink has failed in its last attempt. A closed queue has no sink that
    /// could work again.
    pub(crate) fn is_failing(&self) -> bool {
        let state = self.shared.lock();
        !state.is_closing && state.outages.cause.is_some()
    }

    /// Calls `on_change` each time after the sink has failed to deliver a finding, and
    /// when an outage begins or ends. Only the first function that is set is called.
    pub(crate) fn set_on_change(&self, on_change: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.on_change.set(Box::new(on_change));
    }

    /// Lets the sink receive the numbers of the monitor, if it uses them. Only the first function
    /// that is set is called, on the thread of the sink; it returns `None` once there is no monitor.
    pub(crate) fn set_numbers(
        &self,
        numbers: impl Fn() -> Option<Numbers> + Send + Sync + 'static,
    ) {
        if self.shared.numbers.set(Box::new(numbers)).is_ok() {
            let now = self.shared.clock.uptime();
            self.shared.lock().metrics.start(now);
            self.shared.changed.notify_all();
        }
    }

    /// Accepts no more findings, and delivers the waiting findings, each in one attempt: with a
    /// ledger until the sink fails. Does not wait for them; see
    /// [`wait_closed`](Self::wait_closed).
    pub fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }

    /// Waits until a closed queue is empty and its thread has ended, for
    /// `timeout` at most. Returns whether the thread has ended.
    ///
    /// With a ledger, waits for no single attempt longer than 250 ms: the finding is stored.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        const LONGEST_ATTEMPT: Duration = Duration::from_millis(250);
        let deadline = Deadline::after(timeout);
        let is_done = loop {
            let (has_ledger, counts) = {
                let state = self.shared.lock();
                (state.stored.is_some(), state.counts)
            };
            let remaining = deadline.remaining();
            let wait = if has_ledger { remaining.min(LONGEST_ATTEMPT) } else { remaining };
            self.wait_until(wait, |state| state.is_done || (has_ledger && state.counts != counts));
            let state = self.shared.lock();
            if state.is_done || state.counts == counts || deadline.remaining().is_zero() {
                break state.is_done;
            }
        };
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if is_done && let Some(thread) = thread.take() {
            // The thread returns right after it sets `is_done`.
            let _ = thread.join();
        }
        is_done
    }

    /// Returns whether the queue has a ledger.
    pub fn has_ledger(&self) -> bool {
        self.shared.lock().stored.is_some()
    }

    /// Waits until no finding waits for delivery, for `timeout` at most.
    /// Returns whether the queue is empty.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> bool {
        self.wait_until(timeout, |state| state.is_done || state.is_empty())
    }

    fn wait_until(&self, timeout: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let state = self.shared.lock();
        let wait =
            self.shared.changed.wait_timeout_while(state, timeout, |state| !condition(state));
        condition(&wait.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Closes the queue and counts every finding that is not delivered yet as lost, or as
    /// pending if it is stored. The outcome of a delivery that is under way is not counted.
    pub(crate) fn abandon(&self) {
        let mut state = self.shared.lock();
        state.is_abandoned = true;
        state.end("the sink did not return before the shutdown timeout");
        // Another process may use it from now on. If the sink still accepts the finding, the
        // next process repeats it.
        state.stored = None;
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
