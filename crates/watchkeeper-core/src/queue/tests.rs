use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use jiff::Timestamp;

use proptest::prelude::*;

use super::{Queue, QueueCounts, failure::backoff, state::Shared};
use crate::{Finding, Fingerprint, Retry, Severity, Sink, SinkError};

const LONG: Duration = Duration::from_secs(60);

/// A sink that the test controls: it sends each message to the test, and
/// returns the result that the test sends back.
struct Controlled {
    given: Sender<String>,
    results: Receiver<Result<(), SinkError>>,
}

impl Sink for Controlled {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.given.send(finding.message.clone()).expect("the test receives messages");
        let result = self.results.recv();
        result.unwrap_or_else(|_| panic!("no more results"))
    }

    fn retry(&self) -> Retry {
        Retry::new(3, Duration::from_nanos(1), LONG)
    }
}

fn finding(severity: Severity, message: &str) -> Finding {
    Finding::about_monitor(Timestamp::UNIX_EPOCH, "test", severity, message)
}

fn controlled(capacity: usize) -> (Queue, Receiver<String>, Sender<Result<(), SinkError>>) {
    let (sender, given) = mpsc::channel();
    let (results, receiver) = mpsc::channel();
    let sink = Controlled { given: sender, results: receiver };
    (Queue::new("controlled", Box::new(sink), capacity), given, results)
}

fn unavailable() -> Result<(), SinkError> {
    Err(SinkError::unavailable("down"))
}

#[test]
fn retries_and_gives_up_after_the_last_attempt() {
    let (queue, given, results) = controlled(8);
    for result in
        [unavailable(), unavailable(), Ok(()), unavailable(), unavailable(), unavailable()]
    {
        results.send(result).unwrap();
    }
    queue.push(finding(Severity::Low, "a"));
    queue.push(finding(Severity::Low, "b"));
    let given: Vec<_> = given.iter().take(6).collect();
    assert_eq!(given, ["a", "a", "a", "b", "b", "b"]);
    queue.close();
    assert!(queue.wait_closed(LONG));
    let counts = QueueCounts { received: 2, delivered: 1, dropped: 0, failed: 1, pending: 0 };
    assert_eq!(queue.counts(), counts);
    assert_eq!(queue.last_error().as_deref(), Some("unavailable: down"));
}

#[test]
fn a_postponed_finding_is_no_failure_until_the_queue_is_closed() {
    let (queue, given, results) = controlled(8);
    let postponed = |wait| Err(SinkError::postponed("busy", wait));
    (0..5).for_each(|_| results.send(postponed(Duration::ZERO)).unwrap());
    results.send(Ok(())).unwrap();
    queue.push(finding(Severity::Low, "a"));
    assert_eq!(given.iter().take(6).collect::<Vec<_>>(), ["a"; 6]);
    assert!(queue.wait_empty(LONG));
    assert_eq!(queue.failures().0.n, 0);

    results.send(postponed(LONG)).unwrap();
    queue.push(finding(Severity::Low, "b"));
    assert_eq!(given.recv().unwrap(), "b");
    results.send(postponed(LONG)).unwrap();
    queue.close();
    assert!(queue.wait_closed(LONG));
    let counts = QueueCounts { received: 2, delivered: 1, dropped: 0, failed: 1, pending: 0 };
    assert_eq!(queue.counts(), counts);
    assert_eq!(queue.last_error().as_deref(), Some("postponed: busy"));
}

#[test]
fn a_replaced_sink_gets_the_findings_that_wait_at_once() {
    let (queue, given, results) = controlled(8);
    results.send(Err(SinkError::postponed("busy", LONG))).unwrap();
    queue.push(finding(Severity::Low, "a"));
    assert_eq!(given.recv().unwrap(), "a");
    let (sender, given) = mpsc::channel();
    let (results, receiver) = mpsc::channel();
    queue.replace_sink(
        Box::new(Controlled { given: sender, results: receiver }),
        1,
        &[finding(Severity::Low, "a")],
    );
    results.send(Ok(())).unwrap();
    assert_eq!(given.recv().unwrap(), "a");
    assert!(queue.wait_empty(LONG));
    assert_eq!(queue.counts().delivered, 1);
    // A notice that the earlier sink has delivered.
    let (sender, given) = mpsc::channel();
    let (results, receiver) = mpsc::channel();
    let notice = finding(Severity::Low, "a");
    queue.replace_sink(Box::new(Controlled { given: sender, results: receiver }), 1, &[notice]);
    results.send(Ok(())).unwrap();
    assert_eq!(given.recv().unwrap(), "a");
}

#[test]
fn a_full_queue_drops_the_oldest_of_the_least_severe() {
    let (queue, given, results) = controlled(2);
    queue.push(finding(Severity::High, "in delivery"));
    assert_eq!(given.recv().unwrap(), "in delivery");
    queue.push(finding(Severity::Medium, "old"));
    queue.push(finding(Severity::High, "severe"));
    queue.push(finding(Severity::Medium, "new"));
    queue.push(finding(Severity::Low, "slight"));
    (0..3).for_each(|_| results.send(Ok(())).unwrap());
    queue.close();
    assert!(queue.wait_closed(LONG));
    assert_eq!(given.iter().collect::<Vec<_>>(), ["severe", "new"]);
    let counts = QueueCounts { received: 5, delivered: 3, dropped: 2, failed: 0, pending: 0 };
    assert_eq!(queue.counts(), counts);
}

#[test]
fn a_sink_that_panics_gets_the_next_finding() {
    let (queue, given, results) = controlled(2);
    drop(results);
    queue.push(finding(Severity::Low, "a"));
    queue.push(finding(Severity::Low, "b"));
    assert_eq!(given.iter().take(2).collect::<Vec<_>>(), ["a", "b"]);
    queue.close();
    assert!(queue.wait_closed(LONG));
    assert_eq!(queue.counts().failed, 2);
    assert_eq!(queue.last_error().as_deref(), Some("the sink panicked: no more results"));
}

#[test]
fn waiting_for_a_blocked_sink_ends_at_the_timeout() {
    let (queue, given, results) = controlled(2);
    queue.push(finding(Severity::Low, "a"));
    given.recv().unwrap();
    queue.close();
    assert!(!queue.wait_closed(Duration::from_millis(1)));
    results.send(Ok(())).unwrap();
    assert!(queue.wait_closed(LONG));
}

#[test]
fn a_closed_queue_makes_one_attempt() {
    let (queue, given, results) = controlled(2);
    queue.push(finding(Severity::Low, "a"));
    queue.push(finding(Severity::Low, "b"));
    assert_eq!(given.recv().unwrap(), "a");
    queue.close();
    // The finding in delivery gets one more attempt.
    (0..3).for_each(|_| results.send(unavailable()).unwrap());
    assert!(queue.wait_closed(LONG));
    assert_eq!(given.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(queue.counts().failed, 2);
    queue.push(finding(Severity::Low, "late"));
    assert_eq!(queue.counts().dropped, 1);
}

#[test]
fn a_sink_may_panic_in_every_method() {
    struct Broken;
    impl Sink for Broken {
        fn open(&mut self) -> Result<(), SinkError> {
            std::panic::resume_unwind(Box::new("out of ink"))
        }

        fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
            Ok(())
        }

        fn retry(&self) -> Retry {
            std::panic::resume_unwind(Box::new("out of ink"))
        }
    }
    impl Drop for Broken {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("out of ink"))
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
    fn a_backoff_is_within_its_bounds(
        initial: u64,
        max: u64,
        attempt in 1_u32..,
        message in any::<u64>(),
    ) {
        let (initial, max) = (Duration::from_nanos(initial), Duration::from_nanos(max));
        let retry = Retry::new(u32::MAX, initial, max);
        let id = Fingerprint::from(message);
        let wait = backoff(retry, attempt, &Finding { id, ..finding(Severity::Low, "") }, 7);
        let longest = initial.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(max);
        // The wait is rounded to a float.
        prop_assert!(wait <= longest.saturating_add(longest / 1_000_000), "{:?}", wait);
        let endless = Retry { initial: Duration::MAX, max: Duration::MAX, ..retry };
        backoff(endless, attempt, &finding(Severity::Low, ""), 7);
    }
}

#[test]
fn an_abandoned_queue_counts_undelivered_findings_once() {
    let (queue, given, results) = controlled(8);
    for message in ["a", "b", "c"] {
        queue.push(finding(Severity::Low, message));
    }
    assert_eq!(given.recv().unwrap(), "a");
    queue.abandon();
    let counts = QueueCounts { received: 3, delivered: 0, dropped: 2, failed: 1, pending: 0 };
    assert_eq!(queue.counts(), counts);
    // The sink returns after all; the finding stays counted as lost.
    results.send(Ok(())).unwrap();
    assert!(queue.wait_closed(LONG));
    assert_eq!(queue.counts(), counts);
}

#[test]
fn opens_again_until_it_succeeds() {
    struct Stubborn {
        opened: Sender<()>,
        n_failures: usize,
    }
    impl Sink for Stubborn {
        fn open(&mut self) -> Result<(), SinkError> {
            self.opened.send(()).expect("the test receives");
            match self.n_failures {
                0 => Ok(()),
                _ => {
                    self.n_failures -= 1;
                    Err(SinkError::unavailable("not yet"))
                }
            }
        }

        fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
            Ok(())
        }
    }
    let (opened, was_opened) = mpsc::channel();
    let queue = Queue::new("stubborn", Box::new(Stubborn { opened, n_failures: 2 }), 8);
    for message in ["a", "b", "c", "d"] {
        queue.push(finding(Severity::Low, message));
    }
    queue.close();
    assert!(queue.wait_closed(LONG));
    assert_eq!(was_opened.iter().count(), 3);
    let counts = QueueCounts { received: 4, delivered: 2, dropped: 0, failed: 2, pending: 0 };
    assert_eq!(queue.counts(), counts);
}

#[test]
fn an_outage_is_seen_together_with_its_first_loss() {
    struct Refuses;

    impl Sink for Refuses {
        fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
            Err(SinkError::refused("closed"))
        }
    }

    let queue = Arc::new(Queue::new("sink", Box::new(Refuses), 8));
    let (sender, failures) = mpsc::channel();
    let changed = Arc::downgrade(&queue);
    queue.set_on_change(move || {
        if let Some(queue) = changed.upgrade() {
            let (outages, n_lost) = queue.failures();
            let _ = sender.send((outages.n, n_lost));
        }
    });
    for n_lost in 1..=3 {
        queue.push(finding(Severity::Low, "x"));
        assert_eq!(failures.recv_timeout(LONG), Ok((1, n_lost)));
    }
}

#[test]
fn a_thread_of_the_program_takes_the_findings() {
    let (queue, mut deliveries) = Queue::with_deliveries("program", 8);
    for message in ["a", "b", "c"] {
        queue.push(finding(Severity::Low, message));
    }
    assert!(!queue.is_own_thread());
    assert_eq!(deliveries.next().unwrap().message, "a");
    assert!(queue.is_own_thread());
    assert!(!queue.wait_empty(Duration::ZERO));
    assert_eq!(deliveries.next().unwrap().message, "b");
    deliveries.fail(SinkError::refused("no"));
    // The outcome of a finding is counted once.
    deliveries.fail(SinkError::refused("no"));
    assert_eq!(deliveries.next().unwrap().message, "c");
    queue.close();
    assert!(deliveries.next().is_none());
    assert!(queue.wait_closed(Duration::ZERO));
    let counts = QueueCounts { received: 3, delivered: 2, dropped: 0, failed: 1, pending: 0 };
    assert_eq!(queue.counts(), counts);
}

/// A log that counts its lines, and those during which it finds the queue locked.
struct LockProbe {
    shared: Arc<Shared>,
    n_lines: Arc<AtomicUsize>,
    n_locked: Arc<AtomicUsize>,
}

impl tracing::Subscriber for LockProbe {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.n_lines.fetch_add(1, Ordering::Relaxed);
        let is_locked = self.shared.state.try_lock().is_err();
        self.n_locked.fetch_add(usize::from(is_locked), Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_queue_is_not_locked_while_it_writes_to_the_log() {
    let (queue, mut deliveries) = Queue::with_deliveries("program", 8);
    for message in ["a", "b", "c"] {
        queue.push(finding(Severity::Low, message));
    }
    let [n_lines, n_locked] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let probe = LockProbe {
        shared: Arc::clone(&deliveries.shared),
        n_lines: Arc::clone(&n_lines),
        n_locked: Arc::clone(&n_locked),
    };
    tracing::subscriber::with_default(probe, || {
        for _ in 0..2 {
            deliveries.next().unwrap();
            deliveries.fail(SinkError::unavailable("down"));
        }
        deliveries.next().unwrap();
        queue.close();
        assert!(deliveries.next().is_none());
    });
    assert!(3 <= n_lines.load(Ordering::Relaxed));
    assert_eq!(n_locked.load(Ordering::Relaxed), 0);
}

#[test]
fn findings_without_a_thread_that_takes_them_are_lost() {
    let (queue, mut deliveries) = Queue::with_deliveries("program", 8);
    for message in ["a", "b"] {
        queue.push(finding(Severity::Low, message));
    }
    assert!(deliveries.next().is_some());
    drop(deliveries);
    queue.push(finding(Severity::Low, "c"));
    assert!(queue.wait_closed(Duration::ZERO));
    let counts = QueueCounts { received: 3, delivered: 0, dropped: 2, failed: 1, pending: 0 };
    assert_eq!(queue.counts(), counts);
}
