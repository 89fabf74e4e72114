mod metrics;
mod options;
mod request;

use std::{fmt, time::Duration};

use ureq::http::HeaderMap;
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind, Timestamp,
    author::{Numbers, Period, Retry, SinkError},
    clock::{Clock, SystemClock},
};

pub use self::options::OtlpOptions;
use self::{
    metrics::metrics,
    request::{logs, rejection},
};
use crate::http::{Client, ClientOptions, Receiver, ReceiverOptions, Response, schedule};

/// The shortest interval between two requests with metrics.
const MIN_INTERVAL: Period = Period::from_secs(1);
/// The largest number of findings in one request.
const MAX_GROUP: usize = 20;

/// Sends findings to an OTLP receiver, as log records of OpenTelemetry, and the numbers of the
/// monitor as metrics.
pub struct Otlp {
    /// `None` if the policy was read without its secrets.
    receivers: Option<Receivers>,
    retry: Retry,
    client: Client,
    clock: Box<dyn Clock>,
    /// The interval between metrics; `None` if none are sent.
    metrics_interval: Option<Duration>,
}

/// The addresses for the two signals.
struct Receivers {
    logs: Receiver,
    metrics: Receiver,
}

watchkeeper_core::register_sink!(Otlp);

impl SinkKind for Otlp {
    const KIND: &'static str = "otlp";
    const DOCS: &'static str = include_str!("otlp.md");
    type Options = OtlpOptions;

    fn new(options: OtlpOptions) -> Result<Self, InvalidOption> {
        let retry = schedule(options.retry)?;
        let receivers = Receivers::new(&options)?;
        let OtlpOptions { timeout, ca_file, allow_private, proxy_from_environment, .. } = options;
        let client = ClientOptions { timeout, ca_file, allow_private, proxy_from_environment };
        if options.metrics_interval < MIN_INTERVAL {
            return Err(InvalidOption::new("metrics_interval", "is shorter than 1s"));
        }
        let metrics_interval = options.metrics.then(|| options.metrics_interval.unsigned());
        let client = Client::new(client)?;
        Ok(Self { receivers, retry, client, clock: Box::new(SystemClock), metrics_interval })
    }
}

impl Receivers {
    fn new(options: &OtlpOptions) -> Result<Option<Self>, InvalidOption> {
        let OtlpOptions { endpoint, headers, allow_http, allow_private, .. } = options;
        let endpoint = Receiver::new(&ReceiverOptions {
            name: "endpoint",
            url: endpoint,
            example: "https://otlp.example.com:4318",
            headers,
            allow_http: *allow_http,
            allow_private: *allow_private,
        })?;
        let Some(endpoint) = endpoint else { return Ok(None) };
        let path = endpoint.url.path();
        if ["/v1/logs", "/v1/metrics", "/v1/traces"].iter().any(|it| path.ends_with(it)) {
            let reason = "ends with the path of a signal, which the sink adds";
            return Err(InvalidOption::new("endpoint", reason));
        }
        let signal = |path: &str| {
            let receiver = endpoint.at(path);
            receiver.ok_or_else(|| InvalidOption::new("endpoint", "has a query"))
        };
        Ok(Some(Self { logs: signal("v1/logs")?, metrics: signal("v1/metrics")? }))
    }
}

impl Sink for Otlp {
    fn open(&mut self) -> Result<(), SinkError> {
        self.client.open()
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.send(&[finding])
    }

    fn max_group(&self) -> usize {
        MAX_GROUP
    }

    fn deliver_group(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        self.send(findings)
    }

    fn retry(&self) -> Retry {
        self.retry
    }

    fn metrics_interval(&self) -> Option<Duration> {
        self.metrics_interval
    }

    fn deliver_metrics(&mut self, numbers: &Numbers) -> Result<(), SinkError> {
        let now = self.clock.now();
        let receiver = &self.receivers()?.metrics;
        self.post(receiver, metrics(numbers, now), now)?.outcome(is_temporary)
    }
}

impl Otlp {
    fn receivers(&self) -> Result<&Receivers, SinkError> {
        let no_secrets = || SinkError::refused("the policy was read without its secrets");
        self.receivers.as_ref().ok_or_else(no_secrets)
    }

    fn send(&self, findings: &[&Finding]) -> Result<(), SinkError> {
        let now = self.clock.now();
        let response = self.post(&self.receivers()?.logs, logs(findings, now), now)?;
        response.outcome(is_temporary)?;
        if let Some(reason) = rejection(&response.body) {
            return Err(SinkError::refused(reason));
        }
        Ok(())
    }

    fn post(&self, to: &Receiver, body: String, now: Timestamp) -> Result<Response, SinkError> {
        self.client.post(to, "application/json", &HeaderMap::new(), body, now)
    }
}

/// Returns `true` for the statuses after which OTLP allows another attempt.
fn is_temporary(status: u16) -> bool {
    matches!(status, 429 | 502..=504)
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, retry, metrics_interval, .. } = self;
        f.debug_struct("Otlp")
            .field("client", client)
            .field("retry", retry)
            .field("metrics_interval", metrics_interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
