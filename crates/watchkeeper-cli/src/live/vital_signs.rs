//! Shows that a live monitor works: to the service manager, and by heartbeats to any service.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use watchkeeper_core::{
    Finding, Fingerprint, Severity, Sink, Status, Timestamp,
    author::{Period, SinkError},
    clock::{Clock as _, SystemClock},
    embed::{Feed, Running},
    quote,
};
use watchkeeper_policy::Heartbeat;

use crate::{causes::with_causes, service_manager};

/// The interval between two checks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest time since the last check that found the monitor working, for a heartbeat.
const MAX_AGE: Duration = Duration::from_secs(30);

/// The signs that a monitor works. They end when the thread that follows sessions is blocked,
/// since it makes the checks.
pub(super) struct VitalSigns {
    /// `None` without a watchdog of the service manager.
    watchdog_interval: Option<Duration>,
    notified_at: Duration,
    checked_at: Duration,
    /// The number of handled events at the last check.
    n_handled: u64,
    worked_at: Arc<LastTime>,
    heartbeats: Option<StartedHeartbeats>,
}

/// The heartbeats of a policy. They end when it is dropped.
#[derive(Debug)]
struct StartedHeartbeats {
    every: Period,
    options: Fingerprint,
    stop: Sender<Replaced>,
}

/// The heartbeats end because the policy has others, or none.
#[derive(Debug)]
struct Replaced;

/// The uptime, in milliseconds, of the last check that found the monitor and all sinks working.
#[derive(Debug, Default)]
struct LastTime(AtomicU64);

impl LastTime {
    fn set(&self, at: Duration) {
        self.0.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn is_recent(&self, now: Duration) -> bool {
        let at = Duration::from_millis(self.0.load(Ordering::Acquire));
        now.saturating_sub(at) <= MAX_AGE
    }
}

impl VitalSigns {
    /// Starts the heartbeats of a monitor that has started, and notifies the service manager.
    pub(super) fn start(heartbeat: Option<Heartbeat>, feed: Feed) -> io::Result<Self> {
        let now = SystemClock.uptime();
        let worked_at = Arc::new(LastTime::default());
        worked_at.set(now);
        let mut vital_signs = Self {
            watchdog_interval: service_manager::watchdog_interval(),
            notified_at: now,
            checked_at: now,
            n_handled: 0,
            worked_at,
            heartbeats: None,
        };
        vital_signs.replace_heartbeat(heartbeat, feed)?;
        service_manager::ready();
        Ok(vital_signs)
    }

    /// Ends the heartbeats and starts those of a changed policy, unless they are the same.
    pub(super) fn replace_heartbeat(
        &mut self,
        heartbeat: Option<Heartbeat>,
        feed: Feed,
    ) -> io::Result<()> {
        let new = heartbeat.as_ref().map(|it| (it.every, it.options));
        if new == self.heartbeats.as_ref().map(|it| (it.every, it.options)) {
            return Ok(());
        }
        match self.heartbeats.take() {
            // The thread has ended if the monitor has.
            Some(earlier) => drop(earlier.stop.send(Replaced)),
            // Without a heartbeat there were no checks.
            None => self.worked_at.set(SystemClock.uptime()),
        }
        if let Some(heartbeat) = heartbeat {
            let (stop, stopped) = mpsc::channel();
            let Heartbeat { every, options, .. } = heartbeat;
            let beats = Heartbeats { heartbeat, worked_at: self.worked_at.clone(), feed };
            thread::Builder::new().name("heartbeat".to_owned()).spawn(|| beats.run(stopped))?;
            self.heartbeats = Some(StartedHeartbeats { every, options, stop });
        }
        Ok(())
    }

    /// Returns the longest time until the next check. No check is necessary without a
    /// heartbeat and a watchdog.
    pub(super) fn longest_wait(&self) -> Duration {
        match (self.watchdog_interval, &self.heartbeats) {
            (None, None) => Duration::MAX,
            (watchdog, _) => watchdog.map_or(INTERVAL, |interval| interval.min(INTERVAL)),
        }
    }

    /// Checks the monitor, unless the last check was a moment ago.
    pub(super) fn check(&mut self, running: &Running) {
        let now = SystemClock.uptime();
        if now.saturating_sub(self.checked_at) < self.longest_wait() {
            return;
        }
        self.checked_at = now;
        let n_handled = running.counts().events;
        let has_moved = n_handled != self.n_handled;
        self.n_handled = n_handled;
        if !has_moved && !running.has_handled_all() {
            return;
        }
        if self.watchdog_interval.is_some_and(|it| it <= now.saturating_sub(self.notified_at)) {
            self.notified_at = now;
            service_manager::alive();
        }
        if !running.has_failing_sink() {
            self.worked_at.set(now);
        }
    }

    /// Notifies the service manager that the monitor stops, and ends the heartbeats.
    pub(super) fn stop(self) {
        service_manager::stopping();
    }
}

/// The thread that makes the requests.
struct Heartbeats {
    heartbeat: Heartbeat,
    worked_at: Arc<LastTime>,
    feed: Feed,
}

impl Heartbeats {
    fn run(mut self, stopped: Receiver<Replaced>) {
        let every = self.heartbeat.every.unsigned();
        let (mut is_open, mut failure) = (false, None::<Finding>);
        loop {
            if self.worked_at.is_recent(SystemClock.uptime()) {
                let now = SystemClock.now();
                let outcome = beat(&mut *self.heartbeat.sink, &mut is_open, now);
                let change = match (outcome, failure.take()) {
                    (Err(err), None) => {
                        let cause = quote(&with_causes(&err));
                        let finding = self.failure(now, format!("the heartbeat fails: {cause}"));
                        failure = Some(finding.clone());
                        Some(finding)
                    }
                    (Ok(()), Some(failure)) => Some(failure.end(now, "the heartbeat works again")),
                    (_, same) => {
                        failure = same;
                        None
                    }
                };
                change.map(|finding| self.feed.report(finding));
            }
            match stopped.recv_timeout(every) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Replaced) => {
                    let message = "the heartbeat is not used any longer";
                    let end = failure.map(|failure| failure.end(SystemClock.now(), message));
                    end.map(|end| self.feed.report(end));
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Makes the finding that heartbeats fail.
    fn failure(&self, now: Timestamp, message: String) -> Finding {
        let mut finding = Finding::about_monitor(now, "heartbeat", Severity::Medium, message);
        // Not the one of the heartbeats that follow.
        finding.fingerprint = finding.fingerprint.and(self.heartbeat.options);
        finding.id = finding.id.and(finding.fingerprint);
        finding
    }
}

fn beat(sink: &mut dyn Sink, is_open: &mut bool, now: Timestamp) -> Result<(), SinkError> {
    if !*is_open {
        sink.open()?;
        *is_open = true;
    }
    let message = "the monitor and its sinks work";
    let mut finding = Finding::about_monitor(now, "heartbeat", Severity::Low, message);
    finding.status = Status::Resolved;
    sink.deliver(&finding)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use watchkeeper_core::{
        Engine, Monitor,
        embed::{Delivery, EngineConfig, MonitorConfig},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Returns these results, and then ends the heartbeats.
    struct Scripted {
        results: VecDeque<Result<(), SinkError>>,
        stop: Option<Sender<Replaced>>,
        is_replaced: bool,
    }

    impl Sink for Scripted {
        fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
            let result = self.results.pop_front().unwrap_or(Ok(()));
            if self.results.is_empty() {
                let stop = self.stop.take();
                if let Some(stop) = stop.filter(|_| self.is_replaced) {
                    stop.send(Replaced).unwrap();
                }
            }
            result
        }
    }

    fn monitor(callback: impl FnMut(&Finding) + Send + 'static) -> Running {
        let engine = Engine::new(Vec::new(), EngineConfig::default());
        let delivery = Delivery::to_callback(callback);
        Monitor::new(engine, delivery, MonitorConfig::default()).start().unwrap()
    }

    /// Makes heartbeats with these results. Returns the findings about them.
    fn findings(
        results: impl IntoIterator<Item = Result<(), SinkError>>,
        is_replaced: bool,
    ) -> Vec<String> {
        let (sender, findings) = mpsc::channel();
        let running = monitor(move |finding| drop(sender.send(finding.message.clone())));
        let (stop, stopped) = mpsc::channel();
        let sink =
            Scripted { results: results.into_iter().collect(), stop: Some(stop), is_replaced };
        let every: Period = "1ms".parse().unwrap();
        let heartbeat = Heartbeat::new(every, Fingerprint::NONE, Box::new(sink));
        let worked_at = Arc::new(LastTime::default());
        worked_at.set(SystemClock.uptime());
        Heartbeats { heartbeat, worked_at, feed: running.feed() }.run(stopped);
        assert!(running.flush(LONG));
        drop(running);
        findings.iter().collect()
    }

    #[test]
    fn the_begin_and_the_end_of_failures_are_reported() {
        let down = || Err(SinkError::unavailable("no route to host"));
        let found = findings([Ok(()), down(), down(), Ok(()), Ok(())], false);
        let failed = "the heartbeat fails: `unavailable: no route to host`";
        assert_eq!(found, [failed, "the heartbeat works again"]);
    }

    #[test]
    fn the_failure_of_a_heartbeat_ends_when_another_policy_replaces_the_heartbeat() {
        let down = || Err(SinkError::unavailable("no route to host"));
        let failed = "the heartbeat fails: `unavailable: no route to host`";
        assert_eq!(findings([down()], false), [failed]);
        assert_eq!(findings([down()], true), [failed, "the heartbeat is not used any longer"]);
        assert_eq!(findings([Ok(())], true), [""; 0]);
    }

    #[test]
    fn an_equal_heartbeat_is_not_started_again() {
        let running = monitor(|_| {});
        let heartbeat = |every: &str| {
            let sink = Scripted { results: VecDeque::new(), stop: None, is_replaced: false };
            Heartbeat::new(every.parse().unwrap(), Fingerprint::NONE, Box::new(sink))
        };
        let mut vital_signs = VitalSigns::start(Some(heartbeat("1h")), running.feed()).unwrap();
        let (probe, stopped) = mpsc::channel();
        vital_signs.heartbeats.as_mut().unwrap().stop = probe;
        vital_signs.replace_heartbeat(Some(heartbeat("1h")), running.feed()).unwrap();
        assert!(stopped.try_recv().is_err());
        vital_signs.replace_heartbeat(Some(heartbeat("2h")), running.feed()).unwrap();
        assert!(stopped.try_recv().is_ok());
    }

    #[test]
    fn a_monitor_that_was_not_seen_working_for_long_has_no_heartbeat() {
        let worked_at = LastTime::default();
        worked_at.set(LONG);
        assert!(worked_at.is_recent(LONG + MAX_AGE));
        assert!(!worked_at.is_recent(LONG + MAX_AGE + Duration::from_millis(1)));
    }
}
