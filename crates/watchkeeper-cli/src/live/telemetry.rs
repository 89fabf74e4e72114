//! The telemetry that agents send to the server, on its way to the monitor.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use watchkeeper_core::{
    Event,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_http::{
    OtlpAccepted, OtlpBody, OtlpEncoding, OtlpReceiver, OtlpRefusal, OtlpSignal,
};
use watchkeeper_sources::{
    Waker,
    otlp::{Encoding, Receiver, Signal},
};

/// The events that wait for the monitor at most. Exporters send the others again.
const MAX_WAITING: usize = 1 << 16;
/// The time without a request after which the receiver waits for no further span: exporters send
/// every five seconds.
const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// The events of requests that the monitor has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    inbox: Mutex<Inbox>,
    /// Empty until the monitor starts.
    waker: OnceLock<Waker>,
}

#[derive(Debug, Default)]
struct Inbox {
    receiver: Receiver,
    events: Vec<Event>,
    /// The uptime at which the receiver is to be flushed.
    flush_at: Option<Duration>,
}

impl Telemetry {
    /// Wakes the thread that takes the events, from now on.
    pub(super) fn connect(&self, waker: Waker) {
        // A monitor is started once.
        let _ = self.waker.set(waker);
    }

    /// Moves the waiting events to `events`.
    pub(super) fn take(&self, events: &mut Vec<Event>) {
        let mut inbox = self.inbox();
        if inbox.flush_at.is_some_and(|at| at <= SystemClock.uptime()) {
            let Inbox { receiver, events, flush_at } = &mut *inbox;
            receiver.flush(events);
            *flush_at = None;
        }
        events.append(&mut inbox.events);
    }

    /// Returns the time after which [`take`](Self::take) has something to do without a request.
    pub(super) fn longest_wait(&self) -> Duration {
        let flush_at = self.inbox().flush_at;
        flush_at.map_or(Duration::MAX, |at| at.saturating_sub(SystemClock.uptime()))
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OtlpReceiver for Telemetry {
    fn receive(&self, body: OtlpBody<'_>) -> Result<OtlpAccepted, OtlpRefusal> {
        let signal = match body.signal {
            OtlpSignal::Logs => Signal::Logs,
            OtlpSignal::Traces => Signal::Traces,
            OtlpSignal::Metrics => Signal::Metrics,
        };
        let encoding = match body.encoding {
            OtlpEncoding::Protobuf => Encoding::Protobuf,
            OtlpEncoding::Json => Encoding::Json,
        };
        let mut inbox = self.inbox();
        if MAX_WAITING <= inbox.events.len() {
            return Err(OtlpRefusal::Busy);
        }
        let Inbox { receiver, events, flush_at } = &mut *inbox;
        let accepted = receiver.receive(signal, encoding, body.bytes, events);
        let accepted = accepted.map_err(|err| OtlpRefusal::Malformed(err.to_string()))?;
        *flush_at = Some(SystemClock.uptime() + FLUSH_AFTER);
        drop(inbox);
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        let message = accepted.first_rejection.unwrap_or_default().into();
        Ok(OtlpAccepted { rejected: accepted.rejected, message })
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_http::{OtlpBody, OtlpEncoding, OtlpReceiver as _, OtlpRefusal, OtlpSignal};

    use super::{MAX_WAITING, Telemetry};

    const PROMPT: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
        "timeUnixNano":"1760000000000000000","body":{"stringValue":"claude_code.user_prompt"},
        "attributes":[{"key":"session.id","value":{"stringValue":"s-1"}},
        {"key":"prompt","value":{"stringValue":"fix the build"}}]}]}]}]}"#;

    fn send(telemetry: &Telemetry, body: &str) -> Result<u64, OtlpRefusal> {
        let body = OtlpBody {
            signal: OtlpSignal::Logs,
            encoding: OtlpEncoding::Json,
            bytes: body.as_bytes(),
        };
        telemetry.receive(body).map(|accepted| accepted.rejected)
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
    fn requests_are_refused_while_too_many_events_wait() {
        let telemetry = Telemetry::default();
        send(&telemetry, PROMPT).unwrap();
        let event = telemetry.inbox().events[0].clone();
        telemetry.inbox().events.resize(MAX_WAITING, event);
        assert_eq!(send(&telemetry, PROMPT), Err(OtlpRefusal::Busy));
        telemetry.take(&mut Vec::new());
        assert_eq!(send(&telemetry, PROMPT), Ok(0));
    }
}
