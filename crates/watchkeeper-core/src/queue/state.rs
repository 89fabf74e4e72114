//! The state of a queue: the findings that wait, the outcomes so far, and the present outage.
//!
//! The state knows no clock: the methods are told the time since a fixed start.

use std::{
    mem,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    counts::QueueCounts,
    delayed::{DelayedFindings, Entry},
    failure::{Failure, RetryAfter, backoff},
    group::{Group, Membership},
    metrics_times::MetricsTimes,
    outages::Outages,
    stored::Stored,
    waiting::WaitingFindings,
};
use crate::{
    Finding, Fingerprint, Retry, Sink,
    clock::Clock,
    metrics::Numbers,
    sync::{Condvar, Mutex, MutexGuard, thread::ThreadId},
};

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
    /// Returns the numbers of the monitor; `None` once there is no monitor.
    pub(super) numbers: OnceLock<Box<dyn Fn() -> Option<Numbers> + Send + Sync>>,
    pub(super) clock: Arc<dyn Clock>,
}

pub(super) struct State {
    pub(super) waiting: WaitingFindings,
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
    /// The findings that the thread has taken and whose outcome is not counted yet.
    pub(super) delivering: Vec<Taken>,
    pub(super) is_closing: bool,
    /// The sink has failed since the queue was closed.
    has_failed_at_end: bool,
    pub(super) is_abandoned: bool,
    pub(super) is_done: bool,
    /// The thread that takes the findings, once it has begun.
    pub(super) thread_id: Option<ThreadId>,
    /// Distinguishes the waits of this process from those of others.
    pub(super) process: u32,
    pub(super) counts: QueueCounts,
    pub(super) last_error: Option<String>,
    pub(super) outages: Outages,
    pub(super) metrics: MetricsTimes,
}

/// A finding that the thread has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    id: Fingerprint,
    is_stored: bool,
}

/// An attempt to deliver something.
pub(super) struct Attempt {
    pub(super) content: Content,
    /// The sink that replaces the present one. The entries are as many as this one delivers
    /// together.
    pub(super) next_sink: Option<Box<dyn Sink>>,
}

/// The content of an attempt.
pub(super) enum Content {
    /// A finding, or a group of them.
    Findings(Vec<Entry>),
    /// The numbers of the monitor.
    Metrics,
}

/// The next step of the thread of a queue.
pub(super) enum Next {
    Deliver(Attempt),
    /// Nothing is due: wait for a change, until a time at most.
    Wait(Option<Duration>),
    /// The queue is closed, and the sink receives nothing more.
    End,
}

impl State {
    /// Adds a finding, unless the ledger has it. A finding of a group waits for others.
    pub(super) fn push(&mut self, mut finding: Finding, group: Option<Group>, now: Duration) {
        if let Some(stored) = &self.stored {
            if stored.contains(&finding) {
                return;
            }
            finding.id = stored.id_of(&finding);
        }
        self.add(finding, group, now);
    }

    /// Adds a finding that the queue may have delivered before, unless it still waits or is being
    /// delivered.
    pub(super) fn push_again(&mut self, finding: &Finding, now: Duration) {
        let is_it = |entry: &mut Entry| entry.finding.id == finding.id;
        let is_waiting = self.delivering.iter().any(|taken| taken.id == finding.id)
            || self.delayed.entries_mut().any(is_it)
            || self.waiting.entries_mut().any(is_it)
            || self.stored.as_ref().is_some_and(|it| it.is_pending(finding.id));
        if !is_waiting {
            self.add(finding.clone(), None, now);
        }
    }

    fn add(&mut self, finding: Finding, group: Option<Group>, now: Duration) {
        self.counts.received += 1;
        let group =
            group.map(|Group { key, wait }| Membership { key, due: now.saturating_add(wait) });
        let has_room = self.waiting.len() < self.capacity && !self.is_closing;
        if let Some(stored) = &mut self.stored {
            let is_stored = stored.add(&finding, has_room);
            self.counts.dropped += stored.take_dropped();
            if is_stored {
                if stored.is_in_memory() {
                    self.append(finding, true, group);
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
            let is_least = self.waiting.are_all_above(finding.severity);
            if is_least && !self.waiting.is_empty() {
                return;
            }
            let dropped = self.waiting.take_least_severe();
            if let (Some(dropped), Some(stored)) = (dropped, &mut self.stored) {
                stored.give_up(dropped.finding.id);
            }
        }
        self.append(finding, false, group);
        self.has_unstored |= self.stored.is_some();
    }

    /// Stores the findings in memory that could not be stored before.
    fn store_late(&mut self) {
        if !self.has_unstored {
            return;
        }
        let Some(stored) = &mut self.stored else { return };
        let mut is_complete = self.delivering.iter().all(|taken| taken.is_stored);
        for entry in self.delayed.entries_mut().chain(self.waiting.entries_mut()) {
            entry.is_stored = entry.is_stored || stored.add_late(&entry.finding);
            is_complete &= entry.is_stored;
        }
        if is_complete {
            // No commit follows: no finding was pushed.
            stored.sync();
        }
        self.has_unstored = !is_complete;
    }

    /// Returns whether the ledger, if there is one, has all findings without an outcome.
    pub(super) fn is_stored(&self) -> bool {
        self.stored.as_ref().is_none_or(Stored::is_safe) && !self.has_unstored
    }

    fn append(&mut self, finding: Finding, is_stored: bool, group: Option<Membership>) {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.add(Entry {
            finding,
            number,
            is_stored,
            n_attempts: 0,
            early_for: None,
            is_last: false,
            group,
        });
    }

    /// Replaces the sink and the capacity. Returns a sink that nothing has used.
    pub(super) fn replace_sink(
        &mut self,
        sink: Box<dyn Sink>,
        capacity: usize,
        now: Duration,
    ) -> Option<Box<dyn Sink>> {
        self.capacity = capacity.max(1);
        self.waiting.set_max_group(sink.max_group());
        self.metrics.replace(sink.metrics_interval(), now);
        for entry in self.delayed.entries_mut() {
            entry.group = None;
        }
        self.next_sink.replace(sink)
    }

    /// Takes the finding that is due, with its group.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.is_closing {
            return self.last();
        }
        if self.next_sink.is_some() {
            // With other options, the sink may accept findings that it has refused.
            self.delayed.make_due();
            self.paused_until = Duration::ZERO;
        }
        if now < self.paused_until {
            return Next::Wait(Some(self.paused_until));
        }
        let metrics_due = self.metrics.next_due();
        if metrics_due.is_some_and(|due| due <= now) {
            return self.attempt(Content::Metrics);
        }
        match self.delayed.take_due(now).or_else(|| self.first_waiting(now)) {
            Some(entries) => self.deliver(entries),
            None => {
                let due = [self.waiting.next_due(now), self.delayed.next_due(), metrics_due];
                Next::Wait(due.into_iter().flatten().min())
            }
        }
    }

    /// Removes the first waiting finding that is due and follows no delayed finding with its
    /// fingerprint, and its group.
    fn first_waiting(&mut self, now: Duration) -> Option<Vec<Entry>> {
        while self.delayed.len() < self.capacity {
            let entry = self.pop(now)?;
            if let Some(entry) = self.delayed.add_behind(entry) {
                return Some(self.with_group(entry));
            }
        }
        None
    }

    /// Removes the waiting findings of the group of a finding.
    fn with_group(&mut self, first: Entry) -> Vec<Entry> {
        let others = first.group.map_or_else(Vec::new, |group| self.waiting.take_others(group));
        let mut entries = vec![first];
        entries.extend(others.into_iter().filter_map(|entry| self.delayed.add_behind(entry)));
        entries
    }

    fn deliver(&mut self, entries: Vec<Entry>) -> Next {
        let taken = |entry: &Entry| Taken { id: entry.finding.id, is_stored: entry.is_stored };
        self.delivering = entries.iter().map(taken).collect();
        self.attempt(Content::Findings(entries))
    }

    fn attempt(&mut self, content: Content) -> Next {
        Next::Deliver(Attempt { content, next_sink: self.next_sink.take() })
    }

    /// Takes the next finding of a closed queue. Each finding gets one attempt; after a failure,
    /// only those that are not stored. The others are delivered after the next start.
    fn last(&mut self) -> Next {
        // No finding waits for others any longer.
        const ALL: Duration = Duration::MAX;
        let alone = |entry: Entry| vec![entry];
        let entries = match self.stored {
            Some(_) if self.has_failed_at_end => self.take_unstored().map(alone),
            Some(_) => self.first_waiting(ALL).or_else(|| self.take_unstored().map(alone)),
            None => match self.delayed.take_first() {
                Some(entry) => Some(alone(entry)),
                None => self.pop(ALL).map(|entry| self.with_group(entry)),
            },
        };
        let Some(mut entries) = entries else {
            let is_working = self.outages.cause.is_none();
            let has_metrics = is_working && self.metrics.take_last();
            return if has_metrics { self.attempt(Content::Metrics) } else { Next::End };
        };
        for entry in &mut entries {
            entry.is_last = true;
        }
        self.deliver(entries)
    }

    fn take_unstored(&mut self) -> Option<Entry> {
        self.delayed.take_unstored().or_else(|| self.waiting.take_unstored())
    }

    /// Removes the first waiting finding that is due; loads stored ones first if none waits.
    fn pop(&mut self, now: Duration) -> Option<Entry> {
        if self.waiting.is_empty()
            && let Some(stored) = &mut self.stored
        {
            let findings = stored.load(self.capacity);
            self.counts.dropped += stored.take_dropped();
            for finding in findings {
                self.append(finding, true, None);
            }
        }
        self.waiting.take_due(now)
    }

    /// Records the outcome of an attempt to deliver a finding, or a group of them. Findings that
    /// failed are delayed if the sink allows another attempt. Those of a group that was refused
    /// are delivered one by one.
    pub(super) fn settle(
        &mut self,
        mut entries: Vec<Entry>,
        outcome: Result<(), Failure>,
        retry: Retry,
        now: Duration,
    ) -> Settled {
        self.delivering.clear();
        let mut settled = Settled::default();
        if self.next_sink.is_some() {
            // Another sink makes the next attempt.
            for entry in &mut entries {
                entry.group = None;
            }
        }
        let failure = match outcome {
            Ok(()) => {
                settled.is_changed = self.outages.record::<String>(Ok(()));
                for entry in entries {
                    self.counts.delivered += 1;
                    if let Some(stored) = &mut self.stored {
                        stored.accept(entry.finding.id);
                    }
                }
                self.store_late();
                // The receiver works: nothing has to wait any longer.
                self.delayed.make_due();
                self.paused_until = Duration::ZERO;
                return settled;
            }
            Err(failure) => failure,
        };
        // The findings of a group have the same attempts.
        let [first, others @ ..] = &entries[..] else { return settled };
        let (is_last, early_for, n_attempts) = (first.is_last, first.early_for, first.n_attempts);
        self.has_failed_at_end |= self.is_closing;
        let can_retry = failure.retry_after.is_some();
        if !can_retry && !is_last && !others.is_empty() {
            for entry in entries {
                self.delayed.add(Entry { group: None, ..entry }, now);
            }
            return settled;
        }
        // The wait that the receiver requests, if there is another attempt.
        let requested: Option<Option<Duration>> = match &failure.retry_after {
            _ if is_last => None,
            Some(RetryAfter::Postponed(wait)) => {
                let due = now.saturating_add(*wait);
                self.delay(entries, due);
                self.paused_until = due;
                return settled;
            }
            Some(_) if early_for.is_some() => {
                let due = early_for.unwrap_or(now);
                settled.is_changed = self.outages.record(Err(&failure.text));
                self.delay(entries, due);
                self.paused_until = now.saturating_add(PAUSE).min(due);
                return settled;
            }
            _ if retry.max_attempts <= n_attempts + 1 => None,
            None => None,
            Some(RetryAfter::Requested(wait)) => Some(Some((*wait).min(retry.max))),
            Some(RetryAfter::Backoff) => Some(None),
        };
        settled.is_changed = self.outages.record(Err(&failure.text));
        if let Some(requested) = requested {
            // A receiver that requests short waits must not use up all attempts soon.
            let scheduled = backoff(retry, n_attempts + 1, &first.finding, self.process);
            let wait = requested.map_or(scheduled, |requested| requested.max(scheduled));
            settled.wait = Some(wait);
            let pause = requested.unwrap_or(wait.min(PAUSE));
            let attempted = |entry: Entry| Entry { n_attempts: n_attempts + 1, ..entry };
            self.delay(entries.into_iter().map(attempted), now.saturating_add(wait));
            self.paused_until = now.saturating_add(pause);
            return settled;
        }
        self.last_error = Some(failure.text);
        let is_alone = others.is_empty();
        for entry in entries {
            if is_last && entry.is_stored {
                // Delivered after the next start.
                self.delayed.add(entry, now);
                continue;
            }
            self.counts.failed += 1;
            settled.n_lost = Some(self.counts.lost());
            settled.is_changed = true;
            // The next process reads the session again, and tries again. Each finding of a
            // group that was refused may be accepted alone.
            let is_final = !is_last || (!can_retry && is_alone);
            if let Some(stored) = self.stored.as_mut().filter(|_| is_final) {
                stored.give_up(entry.finding.id);
            }
            self.store_late();
        }
        settled
    }

    fn delay(&mut self, entries: impl IntoIterator<Item = Entry>, due: Duration) {
        entries.into_iter().for_each(|entry| self.delayed.add(entry, due));
    }

    /// Returns whether every finding has its outcome.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.delayed.is_empty()
            && self.delivering.is_empty()
            && self.stored.as_ref().is_none_or(Stored::is_in_memory)
    }

    /// Accepts no more findings. The undelivered ones are pending if they are stored, and lost
    /// otherwise. `reason` is the error of the finding that is being delivered.
    pub(super) fn end(&mut self, reason: &str) {
        self.is_closing = true;
        self.has_unstored = false;
        for entry in self.delayed.take_all().chain(self.waiting.take_all()) {
            if entry.is_stored {
                self.counts.pending += 1;
            } else {
                self.counts.dropped += 1;
            }
        }
        if let Some(stored) = &mut self.stored {
            self.counts.pending += stored.take_unloaded();
        }
        for taken in mem::take(&mut self.delivering) {
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

impl Shared {
    /// Creates the state of a queue of `capacity` findings (at least one), for a sink that
    /// delivers up to `max_group` findings in one notification.
    pub(super) fn new(
        capacity: usize,
        max_group: usize,
        stored: Option<Stored>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut counts = QueueCounts::default();
        counts.received += stored.as_ref().map_or(0, Stored::n_unloaded);
        let state = State {
            waiting: WaitingFindings::new(max_group),
            delayed: DelayedFindings::default(),
            capacity: capacity.max(1),
            next_sink: None,
            stored,
            has_unstored: false,
            paused_until: Duration::ZERO,
            next_number: 0,
            delivering: Vec::new(),
            is_closing: false,
            has_failed_at_end: false,
            is_abandoned: false,
            is_done: false,
            thread_id: None,
            process: std::process::id(),
            counts,
            last_error: None,
            outages: Outages::default(),
            metrics: MetricsTimes::default(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            on_change: OnceLock::new(),
            numbers: OnceLock::new(),
            clock,
        }
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

#[cfg(test)]
mod tests;
