mod body;
mod options;
mod rate_limit;
mod signature;
mod target;
mod update;

use std::{fmt, time::Duration};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use watchkeeper_core::{
    Finding, Fingerprint, InvalidOption, Sink, SinkKind, Timestamp,
    author::{Retry, SinkError},
    clock::{Clock, SystemClock},
};

pub use self::options::{BodyFormat, WebhookOptions};
use self::{
    rate_limit::{Permit, RateLimit},
    target::Target,
    update::OpenConditions,
};
use crate::http::{Client, ClientOptions, schedule};

/// The target of log messages.
const TARGET: &str = "watchkeeper::sink";

/// Posts each finding to a URL as JSON.
pub struct Webhook {
    /// The receiver; `None` if the policy was read without its secrets.
    target: Option<Target>,
    retry: Retry,
    client: Client,
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
        let retry = schedule(options.retry)?;
        let target = Target::new(&options)?;
        let WebhookOptions { timeout, ca_file, allow_private, proxy_from_environment, .. } =
            options;
        let client = ClientOptions { timeout, ca_file, allow_private, proxy_from_environment };
        Ok(Self {
            target,
            retry,
            client: Client::new(client)?,
            clock: Box::new(SystemClock),
            rate_limit: options.rate_limit.map(RateLimit::new),
            conditions: OpenConditions::default(),
            is_gone: false,
        })
    }
}

impl Sink for Webhook {
    fn open(&mut self) -> Result<(), SinkError> {
        self.client.open()
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
        // The same for the same findings: receivers recognize a repeated request.
        let Some(id) = findings.iter().map(|finding| finding.id).reduce(Fingerprint::and) else {
            return Ok(());
        };
        let body = target.body.render(&self.conditions.updates_of(findings))?;
        if let Some(limit) = &mut self.rate_limit {
            check_rate(limit, id, self.clock.uptime())?;
        }
        let now = self.clock.now();
        let headers = headers(target, &id.to_string(), &body, now);
        let content_type = target.body.content_type();
        let response = self.client.post(&target.receiver, content_type, &headers, body, now)?;
        self.is_gone = response.status == StatusCode::GONE;
        response.outcome(|status| matches!(status, 408 | 425 | 429 | 500 | 502..=599))?;
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

/// Returns the headers of Standard Webhooks.
fn headers(target: &Target, id: &str, body: &str, now: Timestamp) -> HeaderMap {
    let timestamp = now.as_second();
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: String| {
        // Ids, numbers and base64 are valid values.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("webhook-id", id.to_owned());
    add("webhook-timestamp", timestamp.to_string());
    if let Some(keys) = &target.keys {
        add("webhook-signature", keys.sign(id, timestamp, body));
    }
    headers
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, retry, is_gone, .. } = self;
        f.debug_struct("Webhook")
            .field("client", client)
            .field("retry", retry)
            .field("is_gone", is_gone)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
