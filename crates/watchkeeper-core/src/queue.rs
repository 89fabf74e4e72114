mod deliveries;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle, ThreadId},
    time::Duration,
};

pub use self::deliveries::Deliveries;
use crate::{Finding, Fingerprint, Retry, Sink, SinkError, panic_message, sink::error_chain};

/// The `tracing` target of everything that sinks do.
const TARGET: &str = "watchkeeper::sink";

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

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Called after the sink's thread has lost a finding, and when an outage begins or
    /// ends.
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct State {
    waiting: VecDeque<Finding>,
    capacity: usize,
    /// The thread has taken a finding whose outcome is not counted yet.
    is_delivering: bool,
    is_closing: bool,
    is_abandoned: bool,
    is_done: bool,
    /// The thread that takes the findings, once it has begun.
    thread_id: Option<ThreadId>,
    counts: QueueCounts,
    last_error: Option<String>,
    outages: Outages,
}

/// The times in which every attempt of a sink fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages {
    /// The number of outages so far.
    pub(crate) n: u64,
    /// The error that began the present outage.
    pub(crate) cause: Option<String>,
}

impl Outages {
    /// Records the outcome of an attempt. Returns whether an outage began or ended.
    fn record(&mut self, outcome: &Result<(), Failure>) -> bool {
        match outcome {
            Ok(()) => self.cause.take().is_some(),
            Err(_) if self.cause.is_some() => false,
            Err(failure) => {
                self.n += 1;
                self.cause = Some(failure.text.clone());
                true
            }
        }
    }
}

/// The outcomes of the findings that a queue received.
///
/// Once the queue is closed and empty, or abandoned, `received` is the sum of
/// `delivered`, `dropped` and `failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Findings added to the queue.
    pub received: u64,
    /// Findings that the sink delivered.
    pub delivered: u64,
    /// Findings dropped before any attempt: the queue was full, closed or
    /// abandoned.
    pub dropped: u64,
    /// Findings that the sink failed to deliver in all attempts.
    pub failed: u64,
}

impl QueueCounts {
    /// Returns the number of findings that were dropped or failed.
    pub const fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

impl Queue {
    /// Starts a thread for a sink, behind a queue of `capacity` findings (at
    /// least one).
    pub fn new(name: &str, sink: Box<dyn Sink>, capacity: usize) -> Self {
        let (mut queue, deliveries) = Self::with_deliveries(name, capacity);
        let worker = Worker { sink, is_open: false, deliveries };
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
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                capacity: capacity.max(1),
                is_delivering: false,
                is_closing: false,
                is_abandoned: false,
                is_done: false,
                thread_id: None,
                counts: QueueCounts::default(),
                last_error: None,
                outages: Outages::default(),
            }),
            changed: Condvar::new(),
            on_change: OnceLock::new(),
        });
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
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        state.is_closing = true;
        state.is_abandoned = true;
        state.counts.dropped += state.waiting.len() as u64;
        state.waiting.clear();
        if state.is_delivering {
            state.is_delivering = false;
            state.counts.failed += 1;
            state.last_error = Some("the sink did not return before the shutdown timeout".into());
        }
        drop(guard);
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Only code of this module runs under the lock, and it keeps the state valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_change(&self) {
        if let Some(on_change) = self.on_change.get() {
            on_change();
        }
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

/// An attempt that failed.
struct Failure {
    text: String,
    /// The wait before the next attempt: `None` if no attempt can succeed.
    retry_after: Option<RetryAfter>,
}

/// The wait before the next attempt.
enum RetryAfter {
    Requested(Duration),
    Backoff,
    /// The attempt was no failure, and does not count.
    Postponed(Duration),
}

impl From<SinkError> for Failure {
    fn from(err: SinkError) -> Self {
        let retry_after = match &err {
            SinkError::Unavailable { retry_after, .. } => {
                Some(retry_after.map_or(RetryAfter::Backoff, RetryAfter::Requested))
            }
            SinkError::Refused { .. } => None,
            SinkError::Postponed { retry_after, .. } => Some(RetryAfter::Postponed(*retry_after)),
        };
        Self { text: error_chain(&err), retry_after }
    }
}

impl Failure {
    fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = match panic_message(payload) {
            Some(message) => format!("the sink panicked: {message}"),
            None => "the sink panicked".to_owned(),
        };
        Self { text, retry_after: None }
    }
}

/// The thread of a sink.
struct Worker {
    sink: Box<dyn Sink>,
    is_open: bool,
    deliveries: Deliveries,
}

impl Worker {
    fn run(mut self) {
        while let Some(finding) = self.deliveries.wait() {
            let outcome = self.deliver(&finding);
            self.deliveries.count(outcome);
        }
        let Self { sink, deliveries, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        drop(deliveries);
    }

    /// Delivers a finding, in as many attempts as the sink allows.
    fn deliver(&mut self, finding: &Finding) -> Result<(), Failure> {
        let retry = catch_unwind(AssertUnwindSafe(|| self.sink.retry())).unwrap_or(Retry::NEVER);
        let mut attempt = 1;
        loop {
            let is_closing = self.deliveries.shared.lock().is_closing;
            let is_last = retry.max_attempts <= attempt || is_closing;
            let failure = match self.attempt(finding) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if let Some(RetryAfter::Postponed(wait)) = failure.retry_after
                && !is_closing
            {
                self.is_closed_within(wait);
                continue;
            }
            let wait = match failure.retry_after {
                _ if is_last => return Err(failure),
                None => return Err(failure),
                Some(RetryAfter::Requested(wait)) => wait,
                Some(RetryAfter::Backoff | RetryAfter::Postponed(_)) => {
                    backoff(retry, attempt, finding)
                }
            };
            if self.deliveries.shared.lock().outages.record(&Err(failure)) {
                self.deliveries.shared.notify_change();
            }
            let wait = wait.min(retry.max);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(target: TARGET, sink = self.deliveries.name, attempt, wait_ms, "waiting to retry");
            if self.is_closed_within(wait) {
                // The caller of `close` is waiting, so this is the last attempt.
                return self.attempt(finding);
            }
            attempt += 1;
        }
    }

    fn attempt(&mut self, finding: &Finding) -> Result<(), Failure> {
        let attempt = AssertUnwindSafe(|| {
            if !self.is_open {
                self.sink.open()?;
                self.is_open = true;
                tracing::debug!(target: TARGET, sink = self.deliveries.name, "opened the sink");
            }
            self.sink.deliver(finding)
        });
        let outcome = match catch_unwind(attempt) {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(payload) => Err(Failure::panicked(&*payload)),
        };
        self.deliveries.log(&outcome);
        outcome
    }

    fn is_closed_within(&self, wait: Duration) -> bool {
        let state = self.deliveries.shared.lock();
        let waited = self
            .deliveries
            .shared
            .changed
            .wait_timeout_while(state, wait, |state| !state.is_closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }
}

/// Returns the wait after an attempt: between zero and `initial * 2^(attempt - 1)`,
/// `max` at most. The finding, the attempt and the process determine the wait,
/// so that monitors do not retry at the same time.
fn backoff(retry: Retry, attempt: u32, finding: &Finding) -> Duration {
    let factor = 2_u32.saturating_pow(attempt - 1);
    let longest = retry.initial.saturating_mul(factor).min(retry.max);
    let hash = finding.id.and(Fingerprint::from(u64::from(attempt)));
    let hash = hash.and(Fingerprint::from(u64::from(std::process::id())));
    #[expect(clippy::cast_precision_loss, reason = "an approximate share is enough")]
    let share = hash.get() as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(longest.as_secs_f64() * share).unwrap_or(longest)
}
