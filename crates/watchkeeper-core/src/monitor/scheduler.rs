//! The thread of a monitor.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    config::MonitorConfig,
    mailbox::Inbox,
    reload::Reload,
    shared::{DeferredEvent, Message, Shared, TARGET, lock},
};
use crate::{
    Delivery, Engine, Event, Finding, Fingerprint, SessionId, Severity, Silences, Status,
    clock::ClockReading,
    grouped, make_safe,
    open_findings::OpenFindings,
    period::known_time,
    sync::{atomic::Ordering, mpsc::SyncSender},
};

/// The largest number of messages between two readings of the clock.
const BURST: usize = 256;
/// The largest difference between the wall clock and the monotonic clock that is
/// not an adjustment.
const MAX_DRIFT: SignedDuration = SignedDuration::from_secs(5);
/// The largest time by which an event may be ahead of the monitor's time.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// A function that the thread calls for each finding.
pub(super) type ImmediateCallback = Box<dyn FnMut(&Finding) + Send>;

/// Passes events and time to the engine, and findings to the delivery.
pub(super) struct Scheduler {
    pub(super) engine: Engine,
    pub(super) delivery: Delivery,
    pub(super) immediate: Option<ImmediateCallback>,
    pub(super) inbox: Inbox<Message>,
    pub(super) config: MonitorConfig,
    pub(super) shared: Arc<Shared>,
}

/// Marks the thread as ended, also if the thread panics.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *lock(&self.0.has_ended) = true;
        self.0.ended.notify_all();
    }
}

/// The state of the thread between two bursts of messages.
#[derive(Default)]
struct Progress {
    findings: Vec<Finding>,
    /// The open findings from before [`MonitorConfig::since`] that are not delivered.
    old: OpenFindings,
    /// Those of sessions without a recent event, whose ends are not delivered either.
    inactive: OpenFindings,
    /// The callers of `flush` to reply to after this burst.
    flushes: Vec<SyncSender<()>>,
    n_holds: usize,
    /// The number of dropped events in the last finding about them.
    n_reported_drops: u64,
    /// The time by which the engine is ahead of the wall clock, since the wall clock
    /// was set back. The time of the engine never goes back.
    ahead: SignedDuration,
}

impl Scheduler {
    pub(super) fn run_to_end(self) {
        let _guard = EndGuard(self.shared.clone());
        self.run();
    }

    fn run(mut self) {
        let mut progress = Progress::default();
        let mut last = self.read_clocks();
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            let message = self.wait(&progress);
            // Before the events, since each of them advances the time of its session.
            self.detect_adjustment(&mut last, &mut progress.ahead);
            self.handle_burst(message, &mut progress);
            let now = self.detect_adjustment(&mut last, &mut progress.ahead);
            if progress.n_holds == 0 {
                let settled = later(now, progress.ahead.saturating_sub(self.lag()));
                self.engine.advance(settled, &mut progress.findings);
            }
            // Once each time the number has doubled.
            let n_dropped = self.shared.n_overflowed.load(Ordering::Relaxed);
            if progress.n_reported_drops.saturating_mul(2) <= n_dropped {
                progress.report_drops(now, n_dropped);
            }
            self.deliver(now, &mut progress);
            let n_handled = self.shared.n_handled.load(Ordering::Relaxed);
            self.shared.n_settled.store(n_handled, Ordering::Release);
            for flush in progress.flushes.drain(..) {
                // The caller may have given up.
                let _ = flush.try_send(());
            }
        }
        self.finish(progress);
    }

    /// Handles a message and the waiting messages behind it, up to the end of a hold: the time
    /// that was held passes before the next one begins.
    fn handle_burst(&mut self, first: Option<Message>, progress: &mut Progress) {
        let mut n_handled = 0;
        let mut next = first;
        while let Some(message) = next.take() {
            n_handled += 1;
            let ends_hold = matches!(message, Message::Release) && progress.n_holds == 1;
            match message {
                Message::Event(event) => self.observe(event, progress),
                Message::DeferredEvent(event) => self.observe_deferred(event, progress),
                Message::Hold => progress.n_holds += 1,
                Message::Release => progress.n_holds = progress.n_holds.saturating_sub(1),
                Message::Finding(finding) => progress.findings.push(*finding),
                Message::Notice(finding) => self.notify(&finding, progress),
                Message::Withdraw(id, reason) => self.withdraw(&id, reason, progress),
                Message::Flush(reply) => progress.flushes.push(reply),
                Message::Reload(reload) => self.reload(*reload, progress),
                Message::Silences(silences) => self.set_silences(silences, progress),
                Message::Look => {}
            }
            if n_handled < BURST && !ends_hold {
                next = self.inbox.try_recv();
            }
        }
    }

    /// Handles the waiting events, delivers their findings, and closes the
    /// queues of the sinks.
    fn finish(&mut self, mut progress: Progress) {
        // No more than fit into the queue: other threads may go on recording.
        for _ in 0..self.config.queue_capacity.max(1) {
            let Some(message) = self.inbox.try_recv() else { break };
            match message {
                Message::Event(event) => self.observe(event, &mut progress),
                Message::DeferredEvent(event) => self.observe_deferred(event, &mut progress),
                Message::Finding(finding) => progress.findings.push(*finding),
                Message::Notice(finding) => self.notify(&finding, &mut progress),
                Message::Withdraw(id, reason) => self.withdraw(&id, reason, &mut progress),
                Message::Hold => progress.n_holds += 1,
                Message::Release => progress.n_holds = progress.n_holds.saturating_sub(1),
                Message::Flush(_) | Message::Reload(_) | Message::Silences(_) | Message::Look => {}
            }
        }
        let now = self.shared.clock.now();
        let n_dropped = self.shared.n_overflowed.load(Ordering::Relaxed);
        progress.report_drops(now, n_dropped);
        self.deliver(now, &mut progress);
        self.delivery.close();
    }

    /// Delivers a finding about the monitor to all sinks, after the findings so far.
    fn notify(&mut self, finding: &Finding, progress: &mut Progress) {
        self.deliver_recent(progress);
        trace_finding(finding);
        let n_findings = u64::from(finding.status == Status::Open);
        self.shared.n_findings.fetch_add(n_findings, Ordering::Relaxed);
        self.call_immediate(finding);
        self.delivery.notify(finding);
    }

    /// Replaces the silences, after the findings so far.
    fn set_silences(&mut self, silences: Silences, progress: &mut Progress) {
        self.deliver_recent(progress);
        self.delivery.set_silences(silences);
    }

    fn withdraw(&mut self, id: &SessionId, reason: &str, progress: &mut Progress) {
        let now = later(self.shared.clock.now(), progress.ahead);
        self.engine.withdraw(id, reason, now, &mut progress.findings);
    }

    fn reload(&mut self, reload: Reload, progress: &mut Progress) {
        let Reload { detectors, engine, router, queues, observers, check_interval, .. } = reload;
        let now = later(self.shared.clock.now(), progress.ahead);
        self.engine.replace(detectors, engine, now, &mut progress.findings);
        // The sinks of the earlier policy have received the findings that are resolved now.
        self.deliver_recent(progress);
        let now = self.shared.clock.now();
        self.delivery.refresh_waiting(|finding| self.engine.annotations(finding));
        self.delivery.replace(router, queues, observers, now);
        self.config.check_interval = check_interval;
        tracing::info!(target: TARGET, "took over a changed policy");
    }

    fn observe(&mut self, mut event: Event, progress: &mut Progress) {
        if self.shared.is_abandoned.load(Ordering::Acquire) {
            return;
        }
        self.shared.n_handled.fetch_add(1, Ordering::AcqRel);
        // No event is later than its arrival, although its time may be.
        let now = self.shared.clock.now();
        if later(now, MAX_AHEAD) < event.at {
            event.at = now;
        }
        event.at = later(event.at, progress.ahead);
        event.kind.limit_names();
        self.engine.observe(&event, &mut progress.findings);
    }

    fn observe_deferred(&mut self, event: DeferredEvent, progress: &mut Progress) {
        if self.shared.is_abandoned.load(Ordering::Acquire) {
            return;
        }
        match event.make() {
            Some(event) => self.observe(event, progress),
            None => _ = self.shared.n_overflowed.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn read_clocks(&self) -> ClockReading {
        let clock = &self.shared.clock;
        ClockReading { now: clock.now(), uptime: clock.uptime() }
    }

    /// Reads the clocks. If the wall clock was set forward since the last reading,
    /// postpones wake-ups; if the wall clock was set back, `ahead` grows. Returns the
    /// time of the wall clock.
    fn detect_adjustment(
        &mut self,
        last: &mut ClockReading,
        ahead: &mut SignedDuration,
    ) -> Timestamp {
        let reading = self.read_clocks();
        let passed = reading.uptime.saturating_sub(last.uptime);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let expected = last.now.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let adjustment = reading.now.duration_since(expected);
        if adjustment < -MAX_DRIFT {
            tracing::info!(
                target: TARGET,
                seconds = -adjustment.as_secs(),
                "the wall clock was set back; the time of sessions continues"
            );
            *ahead = ahead.saturating_sub(adjustment);
            self.delivery.adjust(adjustment);
        } else if MAX_DRIFT < adjustment {
            self.delivery.adjust(adjustment);
            let expected = later(expected, *ahead);
            let caught_up = adjustment.min(*ahead);
            *ahead = ahead.saturating_sub(caught_up);
            let adjustment = adjustment.saturating_sub(caught_up);
            tracing::info!(
                target: TARGET,
                seconds = adjustment.as_secs(),
                "the wall clock was set forward; wake-ups are postponed"
            );
            self.engine.postpone(expected, adjustment);
        }
        *last = reading;
        reading.now
    }

    /// Waits for a message, or until a wake-up is due.
    fn wait(&self, progress: &Progress) -> Option<Message> {
        let is_free = progress.n_holds == 0;
        let engine = self.engine.next_wakeup().map(|due| later(due, -progress.ahead));
        let due = engine.into_iter().chain(self.delivery.next_wakeup()).min();
        let timeout = due.filter(|_| is_free).map(|due| {
            let wait = due.duration_since(self.shared.clock.now()).saturating_add(self.lag());
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        });
        self.inbox.recv(timeout)
    }

    fn lag(&self) -> SignedDuration {
        SignedDuration::try_from(self.config.check_interval).unwrap_or(SignedDuration::MAX)
    }

    fn deliver(&mut self, now: Timestamp, progress: &mut Progress) {
        self.deliver_recent(progress);
        if progress.n_holds == 0 {
            self.deliver_old(progress);
            self.delivery.advance(later(now, -self.lag()));
        }
        self.delivery.report_failures(now);
        self.delivery.commit();
        self.shared.n_suppressed.store(self.delivery.n_suppressed(), Ordering::Relaxed);
        self.shared.n_silenced.store(self.delivery.n_silenced(), Ordering::Relaxed);
        self.delivery.meter().set(self.engine.totals(), self.delivery.n_silenced());
    }

    /// Delivers the recent findings, and keeps the old ones that are open.
    fn deliver_recent(&mut self, progress: &mut Progress) {
        for mut finding in progress.findings.drain(..) {
            let is_recent = match (self.config.since, known_time(finding.at)) {
                (Some(since), Some(at)) => since <= at,
                _ => true,
            };
            // Findings about the monitor have the time of the wall clock.
            if !finding.is_about_monitor() {
                finding.at = later(finding.at, -progress.ahead);
            }
            trace_finding(&finding);
            let is_open = finding.status == Status::Open;
            if is_open && !is_recent {
                progress.old.add(finding);
                continue;
            }
            let was_kept = progress.old.remove(finding.fingerprint)
                || progress.inactive.remove(finding.fingerprint);
            if is_open {
                self.shared.n_findings.fetch_add(1, Ordering::Relaxed);
            } else if was_kept {
                // The end of a finding that was not delivered.
                continue;
            }
            self.call_immediate(&finding);
            self.delivery.deliver(&finding);
        }
    }

    fn call_immediate(&mut self, finding: &Finding) {
        let Some(callback) = &mut self.immediate else { return };
        if catch_unwind(AssertUnwindSafe(|| callback(finding))).is_err() {
            tracing::error!(target: TARGET, "the immediate callback panicked");
            self.immediate = None;
        }
    }

    /// Delivers the old findings that are still open, if their session has a recent event:
    /// the problem continues.
    fn deliver_old(&mut self, progress: &mut Progress) {
        let (_, findings) = progress.old.take();
        let (findings, inactive): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| {
            let session = self.engine.session(&finding.session);
            session.is_none_or(|facts| self.config.since <= Some(facts.last_event_at()))
        });
        for finding in inactive {
            progress.inactive.add(finding);
        }
        self.shared.n_findings.fetch_add(findings.len() as u64, Ordering::Relaxed);
        for finding in &findings {
            self.call_immediate(finding);
            self.delivery.deliver(finding);
        }
    }
}

/// Returns the time `by` after `at`, or before `at` if `by` is negative.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    let limit = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    at.saturating_add(by).unwrap_or(limit)
}

/// Traces a finding. Findings about the monitor itself, such as evicted sessions,
/// are warnings.
fn trace_finding(finding: &Finding) {
    let detector = make_safe(&finding.detector);
    if finding.is_about_monitor() {
        let problem = make_safe(&finding.message);
        tracing::warn!(target: TARGET, detector, problem, "a finding about the monitor");
        return;
    }
    tracing::debug!(
        target: TARGET,
        detector,
        session = make_safe(finding.session.as_str()),
        severity = finding.severity.name(),
        status = ?finding.status,
        count = finding.count,
        "a finding"
    );
}

impl Progress {
    /// Adds a finding about the dropped events, if there are new ones.
    fn report_drops(&mut self, now: Timestamp, n_dropped: u64) {
        if n_dropped <= self.n_reported_drops {
            return;
        }
        self.n_reported_drops = n_dropped;
        tracing::warn!(target: TARGET, dropped = n_dropped, "dropped recorded events");
        let s = if n_dropped == 1 { "" } else { "s" };
        let n = grouped(n_dropped);
        let message = format!("dropped {n} recorded event{s}: the monitor's queue was full");
        let mut finding = Finding::about_monitor(now, "record", Severity::Medium, message);
        finding.count = n_dropped;
        finding.id = finding.id.and(Fingerprint::from(n_dropped));
        self.findings.push(finding);
    }
}
