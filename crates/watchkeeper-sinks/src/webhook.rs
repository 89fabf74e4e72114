mod address;
mod body;
mod client;
mod options;
mod rate_limit;
mod response;
mod signature;
mod target;
mod update;

use std::{
    fmt,
    io::{self, Read as _},
    path::PathBuf,
    time::Duration,
};

use ureq::{
    Agent,
    http::{StatusCode, header},
    tls::RootCerts,
};
use watchkeeper_core::{
    Finding, Fingerprint, InvalidOption, Sink, SinkKind, Timestamp,
    author::{Period, Retry, SinkError},
    clock::{Clock, SystemClock},
};

pub use self::options::{BodyFormat, WebhookOptions};
use self::{
    client::{ClientOptions, client, read_authorities},
    rate_limit::{Permit, RateLimit},
    response::{describe, outcome_of, retry_after_in},
    target::Target,
    update::OpenConditions,
};

/// The longest part of a response body that is read, in bytes.
const MAX_BODY: u64 = 64 << 10;
/// The longest body of a request, in bytes.
const MAX_REQUEST: usize = 256 << 10;

/// The target of log messages.
const TARGET: &str = "watchkeeper::sink";

/// Posts each finding to a URL as JSON.
pub struct Webhook {
    /// The receiver; `None` if the policy was read without its secrets.
    target: Option<Target>,
    timeout: Period,
    retry: Retry,
    client: ClientOptions,
    /// The file of the authorities that sign the certificate of the receiver; `None` for
    /// those that browsers trust.
    ca_file: Option<PathBuf>,
    agent: Option<Agent>,
    clock: Box<dyn Clock>,
    rate_limit: Option<RateLimit>,
    conditions: OpenConditions,
    /// The receiver responded `410 Gone`: it accepts no more findings.
    is_gone: bool,
}

watchkeeper_core::register_sink!(Webhook);

impl SinkKind for Webhook {
    const KIND: &'static str = "webhook";
    const DOCS: &'static str = include_str!("webhook.md");
    type Options = WebhookOptions;

    fn new(options: WebhookOptions) -> Result<Self, InvalidOption> {
        if options.ca_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(InvalidOption::new("ca_file", "is empty"));
        }
        let retry = options::schedule(options.retry)?;
        let target = Target::new(&options)?;
        let WebhookOptions { timeout, allow_private, proxy_from_environment, .. } = options;
        let client =
            ClientOptions { timeout: timeout.unsigned(), allow_private, proxy_from_environment };
        Ok(Self {
            target,
            timeout,
            retry,
            client,
            ca_file: options.ca_file,
            agent: None,
            clock: Box::new(SystemClock),
            rate_limit: options.rate_limit.map(RateLimit::new),
            conditions: OpenConditions::default(),
            is_gone: false,
        })
    }
}

impl Sink for Webhook {
    fn open(&mut self) -> Result<(), SinkError> {
        let roots = match &self.ca_file {
            Some(path) => read_authorities(path)?,
            None => RootCerts::WebPki,
        };
        self.agent = Some(client(self.client, roots));
        Ok(())
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.send(&[finding])
    }

    fn max_group(&self) -> usize {
        self.target.as_ref().map_or(1, |target| target.body.max_group())
    }

    fn deliver_group(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        self.send(findings)
    }

    fn retry(&self) -> Retry {
        self.retry
    }
}

impl Webhook {
    /// Posts findings in one request.
    fn send(&mut self, findings: &[&Finding]) -> Result<(), SinkError> {
        let refused = |reason: &str| SinkError::refused(reason);
        if self.is_gone {
            return Err(refused("the receiver responded 410 Gone before"));
        }
        let Some(target) = &self.target else {
            return Err(refused("the policy was read without its secrets"));
        };
        let Some(agent) = &self.agent else {
            return Err(refused("the sink was not opened"));
        };
        // The same for the same findings: receivers recognize a repeated request.
        let Some(id) = findings.iter().map(|finding| finding.id).reduce(Fingerprint::and) else {
            return Ok(());
        };
        let body = target.body.render(&self.conditions.updates_of(findings))?;
        if MAX_REQUEST < body.len() {
            let len = body.len();
            let reason = format!("the request has {len} bytes, and may have {MAX_REQUEST}");
            return Err(SinkError::refused(reason));
        }
        if let Some(limit) = &mut self.rate_limit {
            check_rate(limit, id, self.clock.uptime())?;
        }
        let now = self.clock.now();
        let mut response = match post(agent, target, &id.to_string(), body, now) {
            Ok(response) => response,
            Err(err) => {
                let reason = describe(&err, target, self.timeout);
                return Err(SinkError::unavailable(reason));
            }
        };
        // Reading the response to its end allows the connection to be reused. A
        // failure does not matter: the status is known.
        io::copy(&mut response.body_mut().as_reader().take(MAX_BODY), &mut io::sink()).ok();

        let status = response.status();
        self.is_gone = status == StatusCode::GONE;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        outcome_of(status, retry_after.and_then(|it| retry_after_in(it.to_str().ok()?, now)))?;
        for finding in findings {
            self.conditions.record(finding);
        }
        Ok(())
    }
}

/// Postpones a request that is above the rate limit.
fn check_rate(limit: &mut RateLimit, id: Fingerprint, now: Duration) -> Result<(), SinkError> {
    match limit.take(id, now) {
        Permit::Now { held: 0 } => Ok(()),
        Permit::Now { held } => {
            tracing::info!(target: TARGET, held, "findings above `rate_limit` have waited");
            Ok(())
        }
        Permit::After(wait) => Err(SinkError::postponed("`rate_limit` is reached", wait)),
    }
}

fn post(
    agent: &Agent,
    target: &Target,
    id: &str,
    body: String,
    now: Timestamp,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let timestamp = now.as_second();
    let mut request = agent
        .post(&target.url)
        .header(header::CONTENT_TYPE, target.body.content_type())
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp);
    if let Some(keys) = &target.keys {
        request = request.header("webhook-signature", keys.sign(id, timestamp, &body));
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    request.send(body)
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, retry, is_gone, .. } = self;
        f.debug_struct("Webhook")
            .field("timeout", timeout)
            .field("retry", retry)
            .field("is_gone", is_gone)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
