use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, ThreadId},
    time::Duration,
};

use crate::{Finding, Fingerprint, Retry, Sink, SinkError};

/// A bounded queue in front of a sink, and the thread that empties it.
///
/// Handing a finding over never waits. When the queue is full, the oldest of
/// its least severe findings goes, and is counted. The thread tries a finding
/// again as its sink's [`retry`](Sink::retry) says; a sink that panics or
/// blocks for ever harms nobody but itself.
///
/// Dropping the queue closes it without waiting for what is in it.
pub struct Queue {
    name: Arc<str>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Finding>,
    capacity: usize,
    is_closing: bool,
    is_done: bool,
    counts: QueueCounts,
    last_error: Option<String>,
}

/// What became of the findings that a queue was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Handed over.
    pub received: u64,
    /// Delivered by the sink.
    pub delivered: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Given up on: the sink refused them, or every attempt failed.
    pub failed: u64,
}

impl Queue {
    /// Puts a queue of `capacity` findings in front of a sink; of less than
    /// one, of one.
    pub fn new(name: &str, sink: Box<dyn Sink>, capacity: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                capacity: capacity.max(1),
                is_closing: false,
                is_done: false,
                counts: QueueCounts::default(),
                last_error: None,
            }),
            changed: Condvar::new(),
        });
        let name: Arc<str> = name.into();
        let worker = Worker { sink, is_open: false, shared: shared.clone() };
        let spawned = thread::Builder::new().name(format!("sink-{name}")).spawn(|| worker.run());
        let thread = match spawned {
            Ok(thread) => Some(thread),
            Err(err) => {
                let mut state = shared.lock();
                state.is_closing = true;
                state.is_done = true;
                state.last_error = Some(format!("no thread for the sink: {err}"));
                None
            }
        };
        Self { name, shared, thread: Mutex::new(thread) }
    }

    /// The name of the sink in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands a finding over.
    pub fn push(&self, finding: Finding) {
        let mut state = self.shared.lock();
        state.counts.received += 1;
        if state.is_closing {
            state.counts.dropped += 1;
            return;
        }
        if state.waiting.len() == state.capacity {
            state.counts.dropped += 1;
            let least = state.waiting.iter().map(|it| it.severity).min();
            if least.is_some_and(|it| finding.severity < it) {
                return;
            }
            let oldest = state.waiting.iter().position(|it| Some(it.severity) == least);
            oldest.and_then(|it| state.waiting.remove(it));
        }
        state.waiting.push_back(finding);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// What became of the findings so far.
    pub fn counts(&self) -> QueueCounts {
        self.shared.lock().counts
    }

    /// Why the sink last failed to deliver a finding.
    pub fn last_error(&self) -> Option<String> {
        self.shared.lock().last_error.clone()
    }

    /// Takes nothing more, and has the sink deliver what waits, each finding
    /// in one attempt. Does not wait for it; see [`wait_closed`](Self::wait_closed).
    pub fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.changed.notify_all();
    }

    /// Waits until a closed queue is empty and its thread is done, for
    /// `timeout` at most. Says whether that was enough.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let wait = self.shared.changed.wait_timeout_while(state, timeout, |it| !it.is_done);
        let is_done = wait.unwrap_or_else(PoisonError::into_inner).0.is_done;
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if is_done && let Some(thread) = thread.take() {
            // It has nothing left to do but to go.
            let _ = thread.join();
        }
        is_done
    }

    /// The thread that the sink runs on, until it has been waited for.
    pub(crate) fn thread_id(&self) -> Option<ThreadId> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().map(|it| it.thread().id())
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
        // No code but ours runs under the lock, and ours leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    sink: Box<dyn Sink>,
    is_open: bool,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        while let Some(finding) = self.next() {
            let outcome = self.deliver(&finding);
            let mut state = self.shared.lock();
            match outcome {
                Ok(()) => state.counts.delivered += 1,
                Err(reason) => {
                    state.counts.failed += 1;
                    state.last_error = Some(reason);
                }
            }
        }
        let Self { sink, shared, .. } = self;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        shared.lock().is_done = true;
        shared.changed.notify_all();
    }

    /// Waits for a finding; `None` says that the queue is closed and empty.
    fn next(&self) -> Option<Finding> {
        let state = self.shared.lock();
        let is_idle = |it: &mut State| it.waiting.is_empty() && !it.is_closing;
        let state = self.shared.changed.wait_while(state, is_idle);
        state.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    /// Delivers a finding, in as many attempts as the sink wants.
    fn deliver(&mut self, finding: &Finding) -> Result<(), String> {
        let retry = catch_unwind(AssertUnwindSafe(|| self.sink.retry())).unwrap_or(Retry::NEVER);
        let mut attempt = 1;
        loop {
            let is_last = retry.max_attempts <= attempt || self.shared.lock().is_closing;
            let err = match self.attempt(finding) {
                Ok(()) => return Ok(()),
                Err(it) => it,
            };
            let reason = err.to_string();
            let SinkError::Unavailable { retry_after, .. } = err else { return Err(reason) };
            if is_last {
                return Err(reason);
            }
            let wait = retry_after.unwrap_or_else(|| backoff(retry, attempt, finding));
            if self.is_closed_within(wait.min(retry.max)) {
                // The last chance: whoever stops us is waiting.
                return self.attempt(finding).map_err(|err| err.to_string());
            }
            attempt += 1;
        }
    }

    fn attempt(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let attempt = AssertUnwindSafe(|| {
            if !self.is_open {
                self.sink.open()?;
                self.is_open = true;
            }
            self.sink.deliver(finding)
        });
        catch_unwind(attempt)
            .unwrap_or_else(|_| Err(SinkError::Refused { reason: "the sink panicked".to_owned() }))
    }

    fn is_closed_within(&self, wait: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, wait, |it| !it.is_closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }
}

/// How long to wait after an attempt: anything between nothing and
/// `initial * 2^(attempt - 1)` or `max`, as the finding and the attempt have
/// it, so that many monitors do not try again at the same moment.
fn backoff(retry: Retry, attempt: u32, finding: &Finding) -> Duration {
    let factor = 2_u32.saturating_pow(attempt - 1);
    let longest = retry.initial.saturating_mul(factor).min(retry.max);
    let dice = finding.id.and(Fingerprint::from(u64::from(attempt)));
    let dice = dice.and(Fingerprint::from(u64::from(std::process::id())));
    #[expect(clippy::cast_precision_loss, reason = "any number between 0 and 1 will do")]
    let share = dice.get() as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(longest.as_secs_f64() * share).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{self, Receiver, Sender},
        time::Duration,
    };

    use jiff::Timestamp;

    use proptest::prelude::*;

    use super::{Queue, QueueCounts, backoff};
    use crate::{Finding, Retry, Severity, Sink, SinkError};

    const LONG: Duration = Duration::from_secs(60);

    /// Says what it was given, and does what it is told next.
    struct Told {
        given: Sender<String>,
        orders: Receiver<Result<(), SinkError>>,
    }

    impl Sink for Told {
        fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
            self.given.send(finding.message.clone()).expect("the test listens");
            let order = self.orders.recv();
            order.unwrap_or_else(|_| panic!("no more orders"))
        }

        fn retry(&self) -> Retry {
            Retry { max_attempts: 3, initial: Duration::from_nanos(1), max: LONG }
        }
    }

    fn finding(severity: Severity, message: &str) -> Finding {
        Finding::about_monitor(Timestamp::UNIX_EPOCH, "test", severity, message)
    }

    fn told(capacity: usize) -> (Queue, Receiver<String>, Sender<Result<(), SinkError>>) {
        let (given, was_given) = mpsc::channel();
        let (orders, told) = mpsc::channel();
        (Queue::new("told", Box::new(Told { given, orders: told }), capacity), was_given, orders)
    }

    fn unavailable() -> Result<(), SinkError> {
        Err(SinkError::Unavailable { reason: "down".into(), retry_after: None })
    }

    #[test]
    fn tries_again_and_gives_up() {
        let (queue, given, orders) = told(8);
        for order in
            [unavailable(), unavailable(), Ok(()), unavailable(), unavailable(), unavailable()]
        {
            orders.send(order).unwrap();
        }
        queue.push(finding(Severity::Low, "a"));
        queue.push(finding(Severity::Low, "b"));
        let given: Vec<_> = given.iter().take(6).collect();
        assert_eq!(given, ["a", "a", "a", "b", "b", "b"]);
        queue.close();
        assert!(queue.wait_closed(LONG));
        let counts = QueueCounts { received: 2, delivered: 1, dropped: 0, failed: 1 };
        assert_eq!(queue.counts(), counts);
        assert_eq!(queue.last_error().as_deref(), Some("unavailable: down"));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_the_least() {
        let (queue, given, orders) = told(2);
        queue.push(finding(Severity::High, "at work"));
        assert_eq!(given.recv().unwrap(), "at work");
        queue.push(finding(Severity::Medium, "old"));
        queue.push(finding(Severity::High, "grave"));
        queue.push(finding(Severity::Medium, "new"));
        queue.push(finding(Severity::Low, "slight"));
        (0..3).for_each(|_| orders.send(Ok(())).unwrap());
        queue.close();
        assert!(queue.wait_closed(LONG));
        assert_eq!(given.iter().collect::<Vec<_>>(), ["grave", "new"]);
        let counts = QueueCounts { received: 5, delivered: 3, dropped: 2, failed: 0 };
        assert_eq!(queue.counts(), counts);
    }

    #[test]
    fn a_sink_that_panics_goes_on() {
        let (queue, given, orders) = told(2);
        drop(orders);
        queue.push(finding(Severity::Low, "a"));
        queue.push(finding(Severity::Low, "b"));
        assert_eq!(given.iter().take(2).collect::<Vec<_>>(), ["a", "b"]);
        queue.close();
        assert!(queue.wait_closed(LONG));
        assert_eq!(queue.counts().failed, 2);
    }

    #[test]
    fn a_sink_that_blocks_does_not_hold_up_whoever_stops_it() {
        let (queue, given, orders) = told(2);
        queue.push(finding(Severity::Low, "a"));
        given.recv().unwrap();
        queue.close();
        assert!(!queue.wait_closed(Duration::from_millis(1)));
        orders.send(Ok(())).unwrap();
        assert!(queue.wait_closed(LONG));
    }

    #[test]
    fn a_closed_queue_tries_once() {
        let (queue, given, orders) = told(2);
        queue.push(finding(Severity::Low, "a"));
        queue.push(finding(Severity::Low, "b"));
        assert_eq!(given.recv().unwrap(), "a");
        queue.close();
        // One that was under way gets a last chance.
        (0..3).for_each(|_| orders.send(unavailable()).unwrap());
        assert!(queue.wait_closed(LONG));
        assert_eq!(given.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(queue.counts().failed, 2);
        queue.push(finding(Severity::Low, "late"));
        assert_eq!(queue.counts().dropped, 1);
    }

    #[test]
    fn a_sink_may_panic_anywhere() {
        struct Broken;
        impl Sink for Broken {
            fn open(&mut self) -> Result<(), SinkError> {
                std::panic::resume_unwind(Box::new("in silence"))
            }

            fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
                Ok(())
            }

            fn retry(&self) -> Retry {
                std::panic::resume_unwind(Box::new("in silence"))
            }
        }
        impl Drop for Broken {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("in silence"))
            }
        }
        let queue = Queue::new("broken", Box::new(Broken), 2);
        queue.push(finding(Severity::Low, "a"));
        queue.close();
        assert!(queue.wait_closed(LONG));
        assert_eq!(queue.counts().failed, 1);
    }

    proptest! {
        #[test]
        fn it_waits_no_longer_than_it_may(
            initial: u64,
            max: u64,
            attempt in 1_u32..,
            message in any::<u64>(),
        ) {
            let (initial, max) = (Duration::from_nanos(initial), Duration::from_nanos(max));
            let retry = Retry { max_attempts: u32::MAX, initial, max };
            let id = crate::Fingerprint::from(message);
            let it = backoff(retry, attempt, &Finding { id, ..finding(Severity::Low, "") });
            let longest = initial.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(max);
            // A share of it is rounded to the nearest nanosecond of a float.
            prop_assert!(it <= longest.saturating_add(longest / 1_000_000), "{:?}", it);
            let endless = Retry { initial: Duration::MAX, max: Duration::MAX, ..retry };
            backoff(endless, attempt, &finding(Severity::Low, ""));
        }
    }
}
