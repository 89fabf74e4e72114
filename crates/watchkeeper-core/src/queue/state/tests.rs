//! The state of a queue in virtual time.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};

use super::{
    Attempt, Content, Entry, Failure, Group, MetricsTimes, Next, PAUSE, QueueCounts, RetryAfter,
    Shared, State,
};
use crate::{
    Finding, Fingerprint, Retry, Severity, Sink, SinkError, clock::SystemClock, ledger::Ledger,
    queue::stored::Stored,
};

/// A sink that delivers one finding at a time.
struct Single;

impl Sink for Single {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A ledger in memory, which outlives its queue. It may be full.
#[derive(Clone, Default)]
struct TestLedger(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// All findings that were added, by number.
    findings: BTreeMap<u64, Finding>,
    ended: Vec<Fingerprint>,
    is_full: bool,
}

impl TestLedger {
    fn with<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn end(&self, id: Fingerprint) -> io::Result<()> {
        self.with(|ledger| {
            assert!(!ledger.ended.contains(&id), "the outcome of {id} is recorded twice");
            ledger.ended.push(id);
            // A full ledger remembers outcomes, and writes them later.
            if ledger.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }
}

impl Contents {
    fn pending(&self, from: u64) -> impl Iterator<Item = (u64, Finding)> {
        let findings = self.findings.range(from..);
        let pending = findings.filter(|(_, finding)| !self.ended.contains(&finding.id));
        pending.map(|(number, finding)| (*number, finding.clone()))
    }
}

impl Ledger for TestLedger {
    fn contains(&self, finding: &Finding) -> bool {
        self.with(|ledger| {
            let is_added = ledger.findings.values().any(|added| added.id == finding.id);
            is_added || ledger.ended.contains(&finding.id)
        })
    }

    fn is_pending(&self, id: Fingerprint) -> bool {
        self.with(|ledger| ledger.pending(0).any(|(_, finding)| finding.id == id))
    }

    fn add(&mut self, finding: &Finding) -> io::Result<u64> {
        self.with(|ledger| {
            if ledger.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let number = ledger.findings.len() as u64;
            ledger.findings.insert(number, finding.clone());
            Ok(number)
        })
    }

    fn accept(&mut self, id: Fingerprint) -> io::Result<()> {
        self.end(id)
    }

    fn give_up(&mut self, id: Fingerprint) -> io::Result<()> {
        self.end(id)
    }

    fn n_pending(&self) -> usize {
        self.with(|ledger| ledger.pending(0).count())
    }

    fn pending(&mut self, from: u64, max: usize) -> Vec<(u64, Finding)> {
        self.with(|ledger| ledger.pending(from).take(max).collect())
    }

    fn give_up_least_severe(&mut self, _: u64) {
        unreachable!("no test has that many findings");
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MAX_GROUP: usize = 3;

fn state(capacity: usize, ledger: Option<&TestLedger>) -> State {
    let stored = ledger.map(|ledger| Stored::new(Box::new(ledger.clone())));
    Shared::new(capacity, MAX_GROUP, stored, Arc::new(SystemClock)).state.into_inner().unwrap()
}

/// Makes a finding. Those of one subject are steps of one episode.
fn finding(id: u64, subject: u64) -> Finding {
    let mut finding =
        Finding::about_monitor(Timestamp::UNIX_EPOCH, "test", Severity::Low, id.to_string());
    finding.id = Fingerprint::from(id);
    finding.fingerprint = Fingerprint::from(subject);
    finding
}

const RETRY: Retry = Retry::scheduled(&[
    Duration::from_secs(5),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
]);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn down() -> Failure {
    Failure { text: "down".to_owned(), retry_after: Some(RetryAfter::Backoff) }
}

fn asks_to_wait(wait: Duration) -> Failure {
    Failure { text: "busy".to_owned(), retry_after: Some(RetryAfter::Requested(wait)) }
}

#[track_caller]
fn take(state: &mut State, now: Duration) -> Vec<Entry> {
    match state.next(now) {
        Next::Deliver(attempt) => entries_of(attempt),
        Next::Wait(until) => panic!("no finding is due until {until:?}"),
        Next::End => panic!("the queue has ended"),
    }
}

fn entries_of(attempt: Attempt) -> Vec<Entry> {
    match attempt.content {
        Content::Findings(entries) => entries,
        Content::Metrics => panic!("metrics are due"),
    }
}

/// Takes a finding that is due, and lets the sink accept it. Returns its id.
#[track_caller]
fn accept(state: &mut State, now: Duration) -> u64 {
    let [id] = accept_group(state, now)[..] else { panic!("more than one finding is due") };
    id
}

/// Takes the findings that are due together, and lets the sink accept them. Returns their ids.
#[track_caller]
fn accept_group(state: &mut State, now: Duration) -> Vec<u64> {
    let entries = take(state, now);
    let ids = entries.iter().map(|entry| entry.finding.id.get()).collect();
    state.settle(entries, Ok(()), RETRY, now);
    ids
}

/// Adds a finding of a group that waits for ten seconds.
fn push_grouped(state: &mut State, finding: Finding, key: u64, now: Duration) {
    state.push(finding, Some(Group { key: Fingerprint::from(key), wait: secs(10) }), now);
}

/// Takes a finding that is due, and lets the sink fail.
#[track_caller]
fn fail(state: &mut State, now: Duration) {
    let entries = take(state, now);
    state.settle(entries, Err(down()), RETRY, now);
}

#[track_caller]
fn wait(state: &mut State, now: Duration) -> Duration {
    match state.next(now) {
        Next::Wait(Some(until)) => until,
        Next::Wait(None) => panic!("nothing will be due"),
        Next::Deliver(_) | Next::End => panic!("nothing waits"),
    }
}

/// Lets time pass until a finding is due. Returns the time, and the finding.
#[track_caller]
fn next_attempt(state: &mut State, mut now: Duration) -> (Duration, Vec<Entry>) {
    loop {
        match state.next(now) {
            Next::Deliver(attempt) => return (now, entries_of(attempt)),
            Next::Wait(Some(until)) => now = until,
            Next::Wait(None) | Next::End => panic!("nothing will be due"),
        }
    }
}

#[test]
fn attempts_follow_the_schedule() {
    let mut state = state(8, None);
    state.push(finding(1, 1), None, Duration::ZERO);
    let mut last = Duration::ZERO;
    for longest in [0, 5, 300, 1_800] {
        let (now, entries) = next_attempt(&mut state, last);
        assert!(now <= last + secs(longest), "{now:?} after {last:?}");
        assert_eq!(state.counts.failed, 0);
        state.settle(entries, Err(down()), RETRY, now);
        last = now;
    }
    assert_eq!((state.counts.failed, state.is_empty()), (1, true));
}

#[test]
fn a_requested_wait_holds_all_findings() {
    let mut state = state(8, None);
    state.push(finding(1, 1), None, Duration::ZERO);
    state.push(finding(2, 2), None, Duration::ZERO);
    let entries = take(&mut state, Duration::ZERO);
    state.settle(entries, Err(asks_to_wait(secs(60))), RETRY, Duration::ZERO);
    assert_eq!(wait(&mut state, secs(59)), secs(60));
    assert_eq!(accept(&mut state, secs(60)), 1);
    assert_eq!(accept(&mut state, secs(60)), 2);
}

#[test]
fn short_requested_waits_use_up_no_attempts() {
    let times = |failure: &dyn Fn() -> Failure| {
        let mut state = state(8, None);
        state.push(finding(1, 1), None, Duration::ZERO);
        let mut times = Vec::new();
        while !state.is_empty() {
            let (now, entries) =
                next_attempt(&mut state, times.last().copied().unwrap_or_default());
            state.settle(entries, Err(failure()), RETRY, now);
            times.push(now);
        }
        times
    };
    let scheduled = times(&down);
    let requested = times(&|| asks_to_wait(secs(1)));
    assert_eq!(requested.len(), RETRY.max_attempts as usize);
    assert!(scheduled.last() <= requested.last(), "{scheduled:?} {requested:?}");
}

#[test]
fn others_are_delivered_while_a_finding_waits_and_the_steps_of_an_episode_keep_their_order() {
    let mut state = state(8, None);
    state.push(finding(1, 1), None, Duration::ZERO);
    state.push(finding(2, 1), None, Duration::ZERO);
    state.push(finding(3, 3), None, Duration::ZERO);
    fail(&mut state, Duration::ZERO);
    // The first attempt after a failure is the earlier one of the pause and the retry.
    let now = wait(&mut state, Duration::ZERO);
    assert!(now <= PAUSE);
    let first = accept(&mut state, now);
    let order = [first, accept(&mut state, now), accept(&mut state, now)];
    let place = |id| order.iter().position(|other| *other == id).unwrap();
    assert!(place(1) < place(2), "{order:?}");
    assert!(state.is_empty());
}

#[test]
fn waits_while_the_first_step_of_an_episode_waits() {
    let mut state = state(8, None);
    state.push(finding(1, 1), None, Duration::ZERO);
    state.push(finding(2, 1), None, Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..2 {
        let (at, entries) = next_attempt(&mut state, now);
        assert_eq!(entries[0].finding.id, Fingerprint::from(1));
        state.settle(entries, Err(down()), RETRY, at);
        now = at;
    }
    let now = wait(&mut state, now);
    assert!(now < wait(&mut state, now), "the second step is not due");
}

#[test]
fn a_finding_that_always_fails_keeps_to_its_schedule() {
    let mut state = state(8, None);
    state.push(finding(0, 0), None, Duration::ZERO);
    fail(&mut state, Duration::ZERO);
    // Others are accepted, and each time there is one additional attempt.
    let mut now = Duration::ZERO;
    for id in 1..100 {
        state.push(finding(id, id), None, Duration::ZERO);
        let (at, entries) = next_attempt(&mut state, now);
        now = at;
        let is_first = entries[0].finding.id == Fingerprint::from(0);
        let outcome = if is_first { Err(down()) } else { Ok(()) };
        state.settle(entries, outcome, RETRY, now);
    }
    assert!(now <= secs(60), "{now:?}");
    assert_eq!(state.counts.failed, 0);
}

#[test]
fn after_a_success_all_findings_are_due() {
    let mut state = state(8, None);
    (1..=3).for_each(|id| state.push(finding(id, id), None, Duration::ZERO));
    let mut now = Duration::ZERO;
    for _ in 0..6 {
        let (at, entries) = next_attempt(&mut state, now);
        state.settle(entries, Err(down()), RETRY, at);
        now = at;
    }
    let (now, entries) = next_attempt(&mut state, now);
    state.settle(entries, Ok(()), RETRY, now);
    accept(&mut state, now);
    accept(&mut state, now);
    assert!(state.is_empty());
}

#[test]
fn findings_beyond_the_capacity_wait_in_the_ledger_in_order() {
    let ledger = TestLedger::default();
    let mut state = state(2, Some(&ledger));
    (0..7).for_each(|id| state.push(finding(id, id), None, Duration::ZERO));
    assert_eq!(state.waiting.len(), 2);
    let order: Vec<u64> = (0..7).map(|_| accept(&mut state, Duration::ZERO)).collect();
    assert_eq!(order, (0..7).collect::<Vec<_>>());
    assert!(state.is_empty());
    let counts = QueueCounts { received: 7, delivered: 7, ..QueueCounts::default() };
    assert_eq!(state.counts, counts);
}

#[test]
fn a_restart_delivers_what_has_no_outcome_and_nothing_else() {
    let ledger = TestLedger::default();
    let mut first = state(2, Some(&ledger));
    (0..5).for_each(|id| first.push(finding(id, id), None, Duration::ZERO));
    accept(&mut first, Duration::ZERO);
    take(&mut first, Duration::ZERO);
    first.end("killed");
    let counts = QueueCounts { received: 5, delivered: 1, pending: 4, ..QueueCounts::default() };
    assert_eq!(first.counts, counts);

    let mut second = state(2, Some(&ledger));
    (0..6).for_each(|id| second.push(finding(id, id), None, Duration::ZERO));
    let order: Vec<u64> = (1..6).map(|_| accept(&mut second, Duration::ZERO)).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
    assert!(second.is_empty());
}

#[test]
fn a_closed_queue_leaves_stored_findings_to_the_next_start_after_a_failure() {
    let ledger = TestLedger::default();
    let mut state = state(8, Some(&ledger));
    (0..4).for_each(|id| state.push(finding(id, id), None, Duration::ZERO));
    state.is_closing = true;
    accept(&mut state, Duration::ZERO);
    fail(&mut state, Duration::ZERO);
    assert!(matches!(state.next(Duration::ZERO), Next::End));
    state.push(finding(9, 9), None, Duration::ZERO);
    state.end("closed");
    let counts = QueueCounts { received: 5, delivered: 1, pending: 4, ..QueueCounts::default() };
    assert_eq!(state.counts, counts);
    assert_eq!(ledger.n_pending(), 4);
}

#[test]
fn a_full_disk_keeps_findings_in_memory_and_stores_them_later() {
    let ledger = TestLedger::default();
    let mut first = state(8, Some(&ledger));
    ledger.with(|ledger| ledger.is_full = true);
    first.push(finding(1, 1), None, Duration::ZERO);
    first.push(finding(2, 2), None, Duration::ZERO);
    assert!(first.stored.as_ref().unwrap().is_failing());
    assert_eq!(accept(&mut first, Duration::ZERO), 1);
    ledger.with(|ledger| ledger.is_full = false);
    assert!(!first.is_stored());
    first.push(finding(3, 3), None, Duration::ZERO);
    assert!(first.is_stored());
    first.end("killed");
    let counts = QueueCounts { received: 3, delivered: 1, pending: 2, ..QueueCounts::default() };
    assert_eq!(first.counts, counts);

    let mut second = state(8, Some(&ledger));
    let mut order = [accept(&mut second, Duration::ZERO), accept(&mut second, Duration::ZERO)];
    order.sort_unstable();
    assert_eq!(order, [2, 3]);
}

#[test]
fn a_finding_that_could_not_be_stored_is_not_given_up_at_the_end() {
    let ledger = TestLedger::default();
    let mut state = state(8, Some(&ledger));
    ledger.with(|ledger| ledger.is_full = true);
    state.push(finding(1, 1), None, Duration::ZERO);
    state.push(finding(2, 2), None, Duration::ZERO);
    state.is_closing = true;
    fail(&mut state, Duration::ZERO);
    let entries = take(&mut state, Duration::ZERO);
    let refused = Failure { text: "no".to_owned(), retry_after: None };
    state.settle(entries, Err(refused), RETRY, Duration::ZERO);
    assert!(matches!(state.next(Duration::ZERO), Next::End));
    assert_eq!(state.counts.lost(), 2);
    // The next process reads its session again.
    assert!(!ledger.contains(&finding(1, 1)));
    assert!(ledger.contains(&finding(2, 2)));
}

#[test]
fn findings_of_a_group_are_delivered_together_after_the_wait_of_the_first() {
    let mut state = state(8, None);
    push_grouped(&mut state, finding(1, 1), 7, secs(0));
    push_grouped(&mut state, finding(2, 2), 8, secs(1));
    push_grouped(&mut state, finding(3, 3), 7, secs(9));
    assert_eq!(wait(&mut state, secs(9)), secs(10));
    assert_eq!(accept_group(&mut state, secs(10)), [1, 3]);
    push_grouped(&mut state, finding(4, 4), 7, secs(10));
    assert_eq!(accept_group(&mut state, secs(11)), [2]);
    assert_eq!(wait(&mut state, secs(11)), secs(20));
    assert_eq!(accept_group(&mut state, secs(20)), [4]);
}

#[test]
fn a_full_group_does_not_wait() {
    let mut state = state(8, None);
    (1..=4).for_each(|id| push_grouped(&mut state, finding(id, id), 7, secs(0)));
    assert_eq!(accept_group(&mut state, secs(0)), [1, 2, 3]);
    assert_eq!(wait(&mut state, secs(0)), secs(10));
}

#[test]
fn a_finding_that_does_not_wait_follows_the_group_with_the_start_of_its_episode() {
    let mut state = state(8, None);
    push_grouped(&mut state, finding(1, 1), 7, secs(0));
    push_grouped(&mut state, finding(2, 2), 7, secs(0));
    state.push(finding(3, 1), None, secs(1));
    assert_eq!(accept_group(&mut state, secs(1)), [1, 2]);
    assert_eq!(accept_group(&mut state, secs(1)), [3]);
}

#[test]
fn a_group_that_failed_is_attempted_again_with_the_same_findings() {
    let mut state = state(8, None);
    push_grouped(&mut state, finding(1, 1), 7, secs(0));
    push_grouped(&mut state, finding(2, 1), 7, secs(0));
    fail(&mut state, secs(10));
    push_grouped(&mut state, finding(3, 3), 7, secs(10));
    let (now, entries) = next_attempt(&mut state, secs(10));
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].n_attempts, 1);
    state.settle(entries, Ok(()), RETRY, now);
    assert_eq!(next_attempt(&mut state, now).0, secs(20));
}

#[test]
fn a_group_that_is_refused_is_delivered_one_by_one() {
    let ledger = TestLedger::default();
    let mut state = state(8, Some(&ledger));
    push_grouped(&mut state, finding(1, 1), 7, secs(0));
    push_grouped(&mut state, finding(2, 2), 7, secs(0));
    let entries = take(&mut state, secs(10));
    let refused = || Failure { text: "no".to_owned(), retry_after: None };
    state.settle(entries, Err(refused()), RETRY, secs(10));
    let entries = take(&mut state, secs(10));
    assert_eq!(entries[0].finding.id, Fingerprint::from(1));
    state.settle(entries, Err(refused()), RETRY, secs(10));
    assert_eq!(accept(&mut state, secs(10)), 2);
    assert_eq!((state.counts.delivered, state.counts.failed), (1, 1));
    assert!(state.is_empty());
}

#[test]
fn a_sink_without_groups_receives_those_of_an_earlier_sink_one_by_one() {
    let mut state = state(8, None);
    for id in 1..=2 {
        push_grouped(&mut state, finding(id, id), 7, secs(0));
    }
    let entries = take(&mut state, secs(10));
    assert_eq!(entries.len(), 2);
    // While the attempt of the earlier sink is under way.
    state.replace_sink(Box::new(Single), 8, secs(10));
    state.settle(entries, Err(down()), RETRY, secs(10));
    for id in 1..=2 {
        let Next::Deliver(Attempt { content: Content::Findings(entries), next_sink }) =
            state.next(secs(10))
        else {
            panic!("a finding is due");
        };
        assert_eq!((entries.len(), next_sink.is_some()), (1, id == 1));
        state.settle(entries, Ok(()), RETRY, secs(10));
    }
}

/// Returns whether metrics are due, and lets the sink accept them.
fn accept_metrics(state: &mut State, now: Duration) -> bool {
    let is_due =
        matches!(state.next(now), Next::Deliver(Attempt { content: Content::Metrics, .. }));
    state.metrics.settle(Ok(()), RETRY, now);
    is_due
}

#[test]
fn metrics_are_due_between_findings_and_after_the_last_one() {
    let mut state = state(8, None);
    state.metrics = MetricsTimes::new(Some(secs(60)));
    assert!(matches!(state.next(secs(0)), Next::Wait(None)));
    state.metrics.start(secs(1));
    assert!(accept_metrics(&mut state, secs(1)));
    assert_eq!(wait(&mut state, secs(1)), secs(61));
    for id in 1..=3 {
        state.push(finding(id, id), None, secs(61));
    }
    assert!(accept_metrics(&mut state, secs(61)));
    assert_eq!(accept(&mut state, secs(61)), 1);
    state.is_closing = true;
    assert_eq!([accept(&mut state, secs(62)), accept(&mut state, secs(62))], [2, 3]);
    assert!(accept_metrics(&mut state, secs(62)));
    assert!(matches!(state.next(secs(62)), Next::End));
}

#[test]
fn a_sink_that_fails_receives_no_last_metrics() {
    let mut state = state(8, None);
    state.metrics = MetricsTimes::new(Some(secs(60)));
    state.metrics.start(secs(0));
    assert!(accept_metrics(&mut state, secs(0)));
    state.push(finding(1, 1), None, secs(1));
    fail(&mut state, secs(1));
    assert_eq!(state.counts.failed, 0);
    state.is_closing = true;
    fail(&mut state, secs(2));
    assert!(matches!(state.next(secs(2)), Next::End));
}

#[test]
fn a_kill_during_the_wait_of_a_group_loses_nothing() {
    let ledger = TestLedger::default();
    let mut first = state(8, Some(&ledger));
    push_grouped(&mut first, finding(1, 1), 7, secs(0));
    push_grouped(&mut first, finding(2, 2), 7, secs(0));
    first.end("killed");
    let mut second = state(8, Some(&ledger));
    assert_eq!([accept(&mut second, secs(0)), accept(&mut second, secs(0))], [1, 2]);
    assert_eq!(ledger.n_pending(), 0);
}

#[test]
fn a_closed_queue_does_not_wait_for_a_group() {
    let mut state = state(8, None);
    push_grouped(&mut state, finding(1, 1), 7, secs(0));
    push_grouped(&mut state, finding(2, 2), 7, secs(0));
    state.is_closing = true;
    assert_eq!(accept_group(&mut state, secs(0)), [1, 2]);
    assert!(matches!(state.next(secs(0)), Next::End));
}

/// A step of a queue's life.
#[derive(Clone, Debug)]
enum Step {
    Push {
        subject: u64,
        group: Option<u64>,
    },
    Accept,
    Fail,
    Refuse,
    Pass(u64),
    Full(bool),
    /// The process is killed and starts again.
    Kill,
    /// The queue is closed, and the process starts again.
    Stop,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u64..4, proptest::option::of(0_u64..2))
            .prop_map(|(subject, group)| Step::Push { subject, group }),
        4 => Just(Step::Accept),
        2 => Just(Step::Fail),
        1 => Just(Step::Refuse),
        2 => (1_u64..4_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ]
}

proptest! {
    /// Findings are delivered in the order of each subject, none is lost without a count, and
    /// none is delivered twice, whatever the sink does and whenever the process ends.
    #[test]
    fn keeps_its_promises(steps in vec(any_step(), 0..80), has_ledger: bool) {
        let ledger = has_ledger.then(TestLedger::default);
        let mut state = state(3, ledger.as_ref());
        let (mut now, mut next_id) = (Duration::ZERO, 0);
        let mut delivered: Vec<Finding> = Vec::new();
        let mut was_full = false;
        for step in steps {
            match step {
                Step::Push { subject, group: None } => {
                    state.push(finding(next_id, subject), None, now);
                    next_id += 1;
                }
                Step::Push { subject, group: Some(key) } => {
                    push_grouped(&mut state, finding(next_id, subject), key, now);
                    next_id += 1;
                }
                Step::Accept | Step::Fail | Step::Refuse => {
                    let next = state.next(now);
                    if let Next::Wait(Some(until)) = next {
                        prop_assert!(now < until);
                    }
                    if let Next::Deliver(Attempt { content: Content::Findings(entries), .. }) = next {
                        prop_assert!(entries.len() <= MAX_GROUP);
                        let outcome = match step {
                            Step::Accept => {
                                delivered.extend(entries.iter().map(|it| it.finding.clone()));
                                Ok(())
                            }
                            Step::Fail => Err(down()),
                            _ => Err(Failure { text: "no".to_owned(), retry_after: None }),
                        };
                        state.settle(entries, outcome, RETRY, now);
                    }
                }
                Step::Pass(n) => now += secs(n),
                Step::Full(full) => {
                    was_full |= full;
                    if let Some(ledger) = &ledger {
                        ledger.with(|ledger| ledger.is_full = full);
                    }
                }
                Step::Kill | Step::Stop => {
                    if matches!(step, Step::Stop) {
                        state.is_closing = true;
                        while let Next::Deliver(Attempt { content: Content::Findings(entries), .. }) = state.next(now) {
                            delivered.extend(entries.iter().map(|it| it.finding.clone()));
                            state.settle(entries, Ok(()), RETRY, now);
                        }
                    }
                    state.end("ended");
                    let QueueCounts { received, delivered, dropped, failed, pending } = state.counts;
                    prop_assert_eq!(received, delivered + dropped + failed + pending);
                    let n_stored = ledger.as_ref().map_or(0, Ledger::n_pending);
                    prop_assert_eq!(pending, n_stored as u64);
                    state = self::state(3, ledger.as_ref());
                }
            }

        }
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        // Findings that cannot be stored do not wait for stored ones.
        for finding in delivered.iter().filter(|_| !was_full) {
            let (id, subject) = (finding.id.get(), finding.fingerprint.get());
            let previous = last.insert(subject, id);
            prop_assert!(previous < Some(id), "{} after {:?} of {}", id, previous, subject);
        }
    }
}
