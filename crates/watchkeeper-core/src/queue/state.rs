//! The state of a queue: the findings that wait, the outcomes so far, and the present outage.
//!
//! The state knows no clock: the methods are told the time since a fixed start.

use std::{
    any::Any,
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::ThreadId,
    time::Duration,
};

use super::{
    delayed::{DelayedFindings, Entry},
    outages::Outages,
    stored::Stored,
};
use crate::{Finding, Fingerprint, Retry, Sink, SinkError, panic_message, sink::error_chain};

/// The `tracing` target of everything that sinks do.
pub(super) const TARGET: &str = "watchkeeper::sink";

/// The longest time for which a sink that has failed receives no finding, unless the receiver
/// requests a longer one.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The state of a queue, which its thread and the senders of findings share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Called after the sink's thread has lost a finding, and when an outage begins or
    /// ends.
    pub(super) on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

pub(super) struct State {
    /// Findings that the sink has not received yet, oldest first.
    pub(super) waiting: VecDeque<Entry>,
    delayed: DelayedFindings,
    pub(super) capacity: usize,
    /// The sink that replaces the present one at the next attempt.
    next_sink: Option<Box<dyn Sink>>,
    /// `None` for a sink whose findings end with the process.
    pub(super) stored: Option<Stored>,
    /// Findings in memory could not be stored.
    has_unstored: bool,
    /// The sink receives nothing before this time.
    paused_until: Duration,
    next_number: u64,
    /// The finding that the thread has taken and whose outcome is not counted yet.
    pub(super) delivering: Option<Taken>,
    pub(super) is_closing: bool,
    /// The sink has failed since the queue was closed.
    has_failed_at_end: bool,
    pub(super) is_abandoned: bool,
    pub(super) is_done: bool,
    /// The thread that takes the findings, once it has begun.
    pub(super) thread_id: Option<ThreadId>,
    pub(super) counts: QueueCounts,
    pub(super) last_error: Option<String>,
    pub(super) outages: Outages,
}

/// A finding that the thread has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    is_stored: bool,
}

/// The next step of the thread of a queue.
#[derive(Debug)]
pub(super) enum Next {
    Deliver(Box<Entry>),
    /// Nothing is due: wait for a change, until a time at most.
    Wait(Option<Duration>),
    /// The queue is closed, and the sink receives nothing more.
    End,
}

impl State {
    /// Adds a finding, unless the ledger has it.
    pub(super) fn push(&mut self, finding: Finding) {
        if self.stored.as_ref().is_some_and(|stored| stored.contains(&finding)) {
            return;
        }
        self.counts.received += 1;
        let has_room = self.waiting.len() < self.capacity && !self.is_closing;
        if let Some(stored) = &mut self.stored {
            let is_stored = stored.add(&finding, has_room);
            self.counts.dropped += stored.take_dropped();
            if is_stored {
                if stored.is_in_memory() {
                    self.append(finding, true);
                }
                self.store_late();
                return;
            }
        }
        if self.is_closing {
            self.counts.dropped += 1;
            return;
        }
        if !has_room {
            self.counts.dropped += 1;
            let severities = self.waiting.iter().map(|entry| entry.finding.severity);
            let least = severities.min();
            if least.is_some_and(|least| finding.severity < least) {
                return;
            }
            let is_least = |entry: &Entry| Some(entry.finding.severity) == least;
            let oldest = self.waiting.iter().position(is_least);
            let dropped = oldest.and_then(|idx| self.waiting.remove(idx));
            if let (Some(dropped), Some(stored)) = (dropped, &mut self.stored) {
                stored.give_up(dropped.finding.id);
            }
        }
        self.append(finding, false);
        self.has_unstored |= self.stored.is_some();
    }

    /// Stores the findings in memory that could not be stored before.
    fn store_late(&mut self) {
        if !self.has_unstored {
            return;
        }
        let Some(stored) = &mut self.stored else { return };
        let mut is_complete = self.delivering.is_none_or(|taken| taken.is_stored);
        for entry in self.delayed.entries_mut().chain(&mut self.waiting) {
            entry.is_stored = entry.is_stored || stored.add_late(&entry.finding);
            is_complete &= entry.is_stored;
        }
        self.has_unstored = !is_complete;
    }

    /// Returns whether the ledger, if there is one, has all findings without an outcome.
    pub(super) fn is_stored(&self) -> bool {
        self.stored.as_ref().is_none_or(|stored| !stored.is_failing()) && !self.has_unstored
    }

    fn append(&mut self, finding: Finding, is_stored: bool) {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.push_back(Entry {
            finding,
            number,
            is_stored,
            n_attempts: 0,
            early_for: None,
            is_last: false,
        });
    }

    /// Replaces the sink and the capacity. Returns a sink that nothing has used.
    pub(super) fn replace_sink(
        &mut self,
        sink: Box<dyn Sink>,
        capacity: usize,
    ) -> Option<Box<dyn Sink>> {
        self.capacity = capacity.max(1);
        self.next_sink.replace(sink)
    }

    /// Returns the sink that replaces the present one.
    pub(super) fn take_next_sink(&mut self) -> Option<Box<dyn Sink>> {
        self.next_sink.take()
    }

    /// Takes the finding that is due.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.is_closing {
            return self.last();
        }
        if self.next_sink.is_some() {
            // With other options, the sink may accept what it has refused.
            self.delayed.make_due();
            self.paused_until = Duration::ZERO;
        }
        if now < self.paused_until {
            return Next::Wait(Some(self.paused_until));
        }
        match self.delayed.take_due(now).or_else(|| self.first_waiting()) {
            Some(entry) => self.deliver(entry),
            None => Next::Wait(self.delayed.next_due()),
        }
    }

    /// Removes the first waiting finding that follows no delayed finding with its fingerprint.
    fn first_waiting(&mut self) -> Option<Entry> {
        while self.delayed.len() < self.capacity {
            let entry = self.pop()?;
            let entry = self.delayed.add_behind(entry);
            if entry.is_some() {
                return entry;
            }
        }
        None
    }

    fn deliver(&mut self, entry: Entry) -> Next {
        self.delivering = Some(Taken { is_stored: entry.is_stored });
        Next::Deliver(Box::new(entry))
    }

    /// Takes the next finding of a closed queue. Each finding gets one attempt; after a failure,
    /// only those that are not stored. The others are delivered after the next start.
    fn last(&mut self) -> Next {
        let entry = match self.stored {
            Some(_) if self.has_failed_at_end => self.take_unstored(),
            Some(_) => self.first_waiting().or_else(|| self.take_unstored()),
            None => self.delayed.take_first().or_else(|| self.pop()),
        };
        entry.map_or(Next::End, |entry| self.deliver(Entry { is_last: true, ..entry }))
    }

    fn take_unstored(&mut self) -> Option<Entry> {
        self.delayed.take_unstored().or_else(|| {
            let idx = self.waiting.iter().position(|entry| !entry.is_stored)?;
            self.waiting.remove(idx)
        })
    }

    /// Removes the first waiting finding; loads stored ones first if there is none.
    fn pop(&mut self) -> Option<Entry> {
        if self.waiting.is_empty()
            && let Some(stored) = &mut self.stored
        {
            let findings = stored.load(self.capacity);
            self.counts.dropped += stored.take_dropped();
            for finding in findings {
                self.append(finding, true);
            }
        }
        self.waiting.pop_front()
    }

    /// Records the outcome of an attempt. A finding that failed is delayed if the sink allows
    /// another attempt.
    pub(super) fn settle(
        &mut self,
        mut entry: Entry,
        outcome: Result<(), Failure>,
        retry: Retry,
        now: Duration,
    ) -> Settled {
        self.delivering = None;
        let mut settled = Settled::default();
        let failure = match outcome {
            Ok(()) => {
                settled.is_changed = self.outages.record::<String>(Ok(()));
                self.counts.delivered += 1;
                if let Some(stored) = &mut self.stored {
                    stored.accept(entry.finding.id);
                }
                self.store_late();
                // The receiver works: nothing has to wait any longer.
                self.delayed.make_due();
                self.paused_until = Duration::ZERO;
                return settled;
            }
            Err(failure) => failure,
        };
        let is_last = entry.is_last;
        self.has_failed_at_end |= self.is_closing;
        let can_retry = failure.retry_after.is_some();
        let wait = match &failure.retry_after {
            _ if is_last => None,
            Some(RetryAfter::Postponed(wait)) => {
                let due = now.saturating_add(*wait);
                self.delayed.add(entry, due);
                self.paused_until = due;
                return settled;
            }
            Some(_) if entry.early_for.is_some() => {
                let due = entry.early_for.unwrap_or(now);
                settled.is_changed = self.outages.record(Err(&failure.text));
                self.delayed.add(entry, due);
                self.paused_until = now.saturating_add(PAUSE).min(due);
                return settled;
            }
            _ if retry.max_attempts <= entry.n_attempts + 1 => None,
            None => None,
            Some(RetryAfter::Requested(wait)) => Some(((*wait).min(retry.max), true)),
            Some(RetryAfter::Backoff) => {
                Some((backoff(retry, entry.n_attempts + 1, &entry.finding), false))
            }
        };
        let text = failure.text;
        settled.is_changed = self.outages.record(Err(&text));
        entry.n_attempts += 1;
        match wait {
            Some((wait, is_requested)) => {
                settled.wait = Some(wait);
                let pause = if is_requested { wait } else { wait.min(PAUSE) };
                self.delayed.add(entry, now.saturating_add(wait));
                self.paused_until = now.saturating_add(pause);
            }
            // Delivered after the next start.
            None if is_last && entry.is_stored => {
                self.last_error = Some(text);
                self.delayed.add(entry, now);
            }
            None => {
                self.counts.failed += 1;
                self.last_error = Some(text);
                settled.n_lost = Some(self.counts.lost());
                settled.is_changed = true;
                // The next process reads the session again, and tries again.
                let is_final = !is_last || !can_retry;
                if let Some(stored) = self.stored.as_mut().filter(|_| is_final) {
                    stored.give_up(entry.finding.id);
                }
                self.store_late();
            }
        }
        settled
    }

    /// Returns whether every finding has its outcome.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.delayed.is_empty()
            && self.delivering.is_none()
            && self.stored.as_ref().is_none_or(Stored::is_in_memory)
    }

    /// Accepts no more findings. The undelivered ones are pending if they are stored, and lost
    /// otherwise. `reason` is the error of the finding that is being delivered.
    pub(super) fn end(&mut self, reason: &str) {
        self.is_closing = true;
        for entry in self.delayed.take_all().chain(self.waiting.drain(..)) {
            if entry.is_stored {
                self.counts.pending += 1;
            } else {
                self.counts.dropped += 1;
            }
        }
        if let Some(stored) = &mut self.stored {
            self.counts.pending += stored.take_unloaded();
        }
        if let Some(taken) = self.delivering.take() {
            self.last_error = Some(reason.to_owned());
            if taken.is_stored {
                self.counts.pending += 1;
            } else {
                self.counts.failed += 1;
            }
        }
    }
}

/// The effect of the outcome of an attempt.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The finding is lost, which makes this number of lost findings.
    pub(super) n_lost: Option<u64>,
    /// The wait before the next attempt.
    pub(super) wait: Option<Duration>,
    /// An outage began or ended, or a finding was lost.
    pub(super) is_changed: bool,
}

/// The outcomes of the findings that a queue received.
///
/// Once the queue is closed and empty, or abandoned, `received` is the sum of
/// `delivered`, `dropped`, `failed` and `pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Findings added to the queue, and those that its ledger had pending at the start.
    pub received: u64,
    /// Findings that the sink delivered.
    pub delivered: u64,
    /// Findings dropped before any attempt: the queue was full, closed or
    /// abandoned.
    pub dropped: u64,
    /// Findings that the sink failed to deliver in all attempts.
    pub failed: u64,
    /// Findings of a closed queue that its ledger keeps for the next start.
    pub pending: u64,
}

impl QueueCounts {
    /// Returns the number of findings that were dropped or failed.
    pub const fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

impl Shared {
    /// Creates the state of a queue of `capacity` findings (at least one).
    pub(super) fn new(capacity: usize, stored: Option<Stored>) -> Self {
        let mut counts = QueueCounts::default();
        counts.received += stored.as_ref().map_or(0, Stored::n_unloaded);
        let state = State {
            waiting: VecDeque::new(),
            delayed: DelayedFindings::default(),
            capacity: capacity.max(1),
            next_sink: None,
            stored,
            has_unstored: false,
            paused_until: Duration::ZERO,
            next_number: 0,
            delivering: None,
            is_closing: false,
            has_failed_at_end: false,
            is_abandoned: false,
            is_done: false,
            thread_id: None,
            counts,
            last_error: None,
            outages: Outages::default(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), on_change: OnceLock::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Only code of the queue runs under the lock, and it keeps the state valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify_change(&self) {
        if let Some(on_change) = self.on_change.get() {
            on_change();
        }
    }
}

/// An attempt that failed.
pub(super) struct Failure {
    pub(super) text: String,
    /// The wait before the next attempt: `None` if no attempt can succeed.
    pub(super) retry_after: Option<RetryAfter>,
}

/// The wait before the next attempt.
pub(super) enum RetryAfter {
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
    pub(super) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = match panic_message(payload) {
            Some(message) => format!("the sink panicked: {message}"),
            None => "the sink panicked".to_owned(),
        };
        Self { text, retry_after: None }
    }
}

/// Returns the wait after an attempt: between zero and the longest one. The finding, the attempt
/// and the process determine the wait, so that monitors do not retry at the same time.
pub(super) fn backoff(retry: Retry, attempt: u32, finding: &Finding) -> Duration {
    let longest = retry.longest_wait(attempt);
    let hash = finding.id.and(Fingerprint::from(u64::from(attempt)));
    let hash = hash.and(Fingerprint::from(u64::from(std::process::id())));
    #[expect(clippy::cast_precision_loss, reason = "an approximate share is enough")]
    let share = hash.get() as f64 / u64::MAX as f64;
    Duration::try_from_secs_f64(longest.as_secs_f64() * share).unwrap_or(longest)
}

#[cfg(test)]
mod tests;
