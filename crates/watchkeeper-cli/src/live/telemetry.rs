//! The telemetry that agents send to the server, on its way to the monitor.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    time::Duration,
};

use watchkeeper_core::{
    Event,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_http::{OtlpReceiver, OtlpRefusal};
use watchkeeper_sources::{
    Waker,
    otlp::{Accepted, Encoding, Receiver, Signal},
};

/// The events that wait for the monitor at most. Exporters send the others again.
const MAX_WAITING: usize = 1 << 16;
/// The size of the bodies that these events are from, in bytes: the events contain their texts.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// The events that the monitor takes at a time. It reads session files in between.
const MAX_TAKEN: usize = 1 << 12;
/// The time between two releases of events that wait: exporters send every five seconds.
const RELEASE_AFTER: Duration = Duration::from_secs(5);

/// The events of requests that the monitor has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    /// Locked before the inbox, and while a body is read. The monitor does not wait for it.
    receiver: Mutex<Receiver>,
    inbox: Mutex<Inbox>,
    /// Empty until the monitor starts.
    waker: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct Inbox {
    requests: VecDeque<Request>,
    n_events: usize,
    n_bytes: usize,
    /// The number of skipped records that were not counted yet.
    n_skipped: u64,
    /// The uptime of the next release; `None` while no event waits.
    release_at: Option<Duration>,
}

/// The events of one request.
#[derive(Debug)]
struct Request {
    events: VecDeque<Event>,
    /// The size of the body.
    n_bytes: usize,
}

impl Telemetry {
    /// Wakes the thread that takes the events, from now on.
    pub(super) fn connect(&self, waker: Waker) {
        // A monitor is started once.
        let _ = self.waker.set(waker);
    }

    /// Moves waiting events to `events`. If more wait, the thread is woken.
    pub(super) fn take(&self, events: &mut Vec<Event>) {
        let now = SystemClock.uptime();
        let is_due = self.inbox().release_at.is_some_and(|at| at <= now);
        if is_due {
            match self.receiver.try_lock() {
                Ok(mut receiver) => self.release(&mut receiver, now),
                Err(TryLockError::Poisoned(err)) => self.release(&mut err.into_inner(), now),
                // After the body that is read now, the time is set again.
                Err(TryLockError::WouldBlock) => self.inbox().release_at = None,
            }
        }
        let mut inbox = self.inbox();
        inbox.take(MAX_TAKEN, events);
        if 0 < inbox.n_events {
            self.wake();
        }
    }

    /// Moves the waiting events, and the events that the receiver holds, to `events`.
    pub(super) fn take_all(&self, events: &mut Vec<Event>) {
        let mut held = Vec::new();
        self.receiver().flush(&mut held);
        let mut inbox = self.inbox();
        inbox.take(usize::MAX, events);
        inbox.release_at = None;
        events.append(&mut held);
    }

    /// Takes the number of records that were skipped since the last call.
    pub(super) fn take_n_skipped(&self) -> u64 {
        mem::take(&mut self.inbox().n_skipped)
    }

    /// Returns the counts of skipped records, by reason.
    pub(super) fn skipped(&self) -> BTreeMap<&'static str, u64> {
        self.receiver().skipped().parts.clone()
    }

    /// Returns the time after which [`take`](Self::take) has something to do without a request.
    pub(super) fn longest_wait(&self) -> Duration {
        let release_at = self.inbox().release_at;
        release_at.map_or(Duration::MAX, |at| at.saturating_sub(SystemClock.uptime()))
    }

    /// Releases events that wait if that is due.
    fn release(&self, receiver: &mut Receiver, now: Duration) {
        let mut inbox = self.inbox();
        if inbox.release_at.is_some_and(|at| at <= now) {
            let mut events = Vec::new();
            receiver.release(&mut events);
            inbox.push(events, 0);
            inbox.release_at = None;
        }
        if inbox.release_at.is_none() && receiver.holds_events() {
            inbox.release_at = Some(now + RELEASE_AFTER);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Returns whether there is room for the events of a body. Any body has room if none waits.
    fn has_room(&self, n_bytes: usize) -> bool {
        let has_bytes = self.n_bytes == 0 || self.n_bytes + n_bytes <= MAX_WAITING_BYTES;
        has_bytes && self.n_events < MAX_WAITING
    }

    fn push(&mut self, events: Vec<Event>, n_bytes: usize) {
        if !events.is_empty() {
            self.n_events += events.len();
            self.n_bytes += n_bytes;
            self.requests.push_back(Request { events: events.into(), n_bytes });
        }
    }

    /// Moves the oldest events to `events`, as many as `n_wanted`.
    fn take(&mut self, mut n_wanted: usize, events: &mut Vec<Event>) {
        while 0 < n_wanted
            && let Some(request) = self.requests.front_mut()
        {
            let n_taken = n_wanted.min(request.events.len());
            events.extend(request.events.drain(..n_taken));
            self.n_events -= n_taken;
            n_wanted -= n_taken;
            if request.events.is_empty() {
                self.n_bytes -= request.n_bytes;
                self.requests.pop_front();
            }
        }
    }
}

impl OtlpReceiver for Telemetry {
    fn receive(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: &[u8],
    ) -> Result<Accepted, OtlpRefusal> {
        let mut receiver = self.receiver();
        if !self.inbox().has_room(body.len()) {
            return Err(OtlpRefusal::Busy);
        }
        let mut events = Vec::new();
        let n_skipped = |receiver: &Receiver| receiver.skipped().parts.values().sum::<u64>();
        let n_before = n_skipped(&receiver);
        let accepted = receiver.receive(signal, encoding, body, &mut events);
        let accepted = accepted.map_err(|err| OtlpRefusal::Malformed(err.to_string()))?;
        let mut inbox = self.inbox();
        inbox.push(events, body.len());
        inbox.n_skipped += n_skipped(&receiver) - n_before;
        drop(inbox);
        self.release(&mut receiver, SystemClock.uptime());
        drop(receiver);
        self.wake();
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use watchkeeper_core::{Event, SignedDuration};
    use watchkeeper_http::{OtlpReceiver as _, OtlpRefusal};
    use watchkeeper_sources::otlp::{Encoding, Signal};

    use super::{Duration, MAX_TAKEN, MAX_WAITING, MAX_WAITING_BYTES, Telemetry};

    const PROMPT: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
        "timeUnixNano":"1760000000000000000","body":{"stringValue":"claude_code.user_prompt"},
        "attributes":[{"key":"session.id","value":{"stringValue":"s-1"}},
        {"key":"prompt","value":{"stringValue":"fix the build"}}]}]}]}]}"#;

    fn send(telemetry: &Telemetry, body: &str) -> Result<u64, OtlpRefusal> {
        let accepted = telemetry.receive(Signal::Logs, Encoding::Json, body.as_bytes());
        accepted.map(|accepted| accepted.rejected)
    }

    #[test]
    fn a_request_that_is_sent_again_adds_nothing() {
        let telemetry = Telemetry::default();
        let mut events = Vec::new();
        assert_eq!(send(&telemetry, PROMPT), Ok(0));
        telemetry.take(&mut events);
        let n_events = events.len();
        assert!(0 < n_events);
        assert_eq!(send(&telemetry, PROMPT), Ok(0));
        telemetry.take(&mut events);
        assert_eq!(events.len(), n_events);
        assert!(matches!(send(&telemetry, "{"), Err(OtlpRefusal::Malformed(_))));
    }

    #[test]
    fn skipped_records_are_counted_once_and_by_reason() {
        let telemetry = Telemetry::default();
        send(&telemetry, PROMPT).unwrap();
        assert_eq!((telemetry.take_n_skipped(), telemetry.skipped()), (0, BTreeMap::new()));
        for body in [
            PROMPT.replace("user_prompt", "brand_new"),
            PROMPT.replace("claude_code.user_prompt", "orders.paid"),
            PROMPT.replace("session.id", "order.id"),
        ] {
            // An exporter sends a request again if it has lost the response.
            assert_eq!([send(&telemetry, &body), send(&telemetry, &body)], [Ok(0), Ok(0)]);
        }
        assert_eq!(send(&telemetry, &PROMPT.replace("1760000000000000000", "0")), Ok(1));
        assert_eq!([telemetry.take_n_skipped(), telemetry.take_n_skipped()], [4, 0]);
        let reasons =
            ["no session", "no time", "not of a known agent", "unknown event of Claude Code"];
        assert_eq!(telemetry.skipped(), reasons.map(|reason| (reason, 1)).into());
    }

    #[test]
    fn a_span_without_a_session_waits_for_ten_seconds_whatever_other_clients_send() {
        let telemetry = Telemetry::default();
        let span = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
            "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
            "parentSpanId":"eee19b7ec3c1b173","name":"execute_tool read",
            "startTimeUnixNano":"1760000000000000000","endTimeUnixNano":"1760000001000000000",
            "attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"execute_tool"}},
            {"key":"gen_ai.tool.name","value":{"stringValue":"read"}}]}]}]}]}"#;
        telemetry.receive(Signal::Traces, Encoding::Json, span.as_bytes()).unwrap();
        let first = telemetry.inbox().release_at.unwrap();
        for (secs, is_released) in [(0, false), (1, false), (4, false), (6, true)] {
            telemetry.release(&mut telemetry.receiver(), first + Duration::from_secs(secs));
            let n_events = telemetry.inbox().n_events;
            assert_eq!(0 < n_events, is_released, "{secs} seconds after the first");
        }
        assert_eq!(telemetry.inbox().release_at, None);
    }

    #[test]
    fn requests_are_refused_while_too_many_events_wait() {
        let telemetry = Telemetry::default();
        send(&telemetry, PROMPT).unwrap();
        let event = telemetry.inbox().requests[0].events[0].clone();
        telemetry.inbox().push(vec![event; MAX_WAITING], 0);
        assert_eq!(send(&telemetry, PROMPT), Err(OtlpRefusal::Busy));
        telemetry.take_all(&mut Vec::new());
        assert_eq!(send(&telemetry, PROMPT), Ok(0));
    }

    #[test]
    fn requests_are_refused_while_large_bodies_wait() {
        let telemetry = Telemetry::default();
        let large = |n: usize| {
            let text = format!("{n}{}", "x".repeat(MAX_WAITING_BYTES / 4));
            PROMPT.replace("fix the build", &text)
        };
        let results: Vec<_> = (0..4).map(|n| send(&telemetry, &large(n))).collect();
        assert_eq!(results, [Ok(0), Ok(0), Ok(0), Err(OtlpRefusal::Busy)]);
        telemetry.take(&mut Vec::new());
        assert_eq!(send(&telemetry, &large(3)), Ok(0));
    }

    #[test]
    fn events_are_taken_in_order_and_some_at_a_time() {
        let telemetry = Telemetry::default();
        send(&telemetry, PROMPT).unwrap();
        let event = telemetry.inbox().requests[0].events[0].clone();
        telemetry.take_all(&mut Vec::new());
        let mut at = event.at;
        let mut all: Vec<_> = std::iter::repeat_with(|| {
            at += SignedDuration::from_secs(1);
            Event { at, ..event.clone() }
        })
        .take(2 * MAX_TAKEN + 1)
        .collect();
        let late = all.split_off(MAX_TAKEN + 7);
        telemetry.inbox().push(all, 7);
        telemetry.inbox().push(late, 5);
        let (mut events, mut sizes) = (Vec::new(), Vec::new());
        while 0 < telemetry.inbox().n_events {
            telemetry.take(&mut events);
            sizes.push(events.len());
        }
        assert_eq!(sizes, [MAX_TAKEN, 2 * MAX_TAKEN, 2 * MAX_TAKEN + 1]);
        assert!(events.is_sorted_by_key(|event| event.at));
        assert_eq!(telemetry.inbox().n_bytes, 0);
    }

    #[test]
    fn events_are_taken_while_another_body_is_read() {
        let telemetry = Telemetry::default();
        send(&telemetry, PROMPT).unwrap();
        let reading = telemetry.receiver();
        telemetry.inbox().release_at = Some(Duration::ZERO);
        let mut events = Vec::new();
        telemetry.take(&mut events);
        assert!(!events.is_empty());
        assert_eq!(telemetry.longest_wait(), Duration::MAX);
        drop(reading);
    }
}
