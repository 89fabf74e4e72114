use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
    time::Duration,
};

use jiff::fmt::rfc2822;
use schemars::JsonSchema;
use serde::Deserialize;
use ureq::{
    Agent, Proxy, Timeout,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, uri::Scheme},
    tls::{RootCerts, TlsConfig},
    unversioned::{resolver::DefaultResolver, transport::DefaultConnector},
};
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind, Timestamp,
    author::{Period, Retry, Secret, SinkError, make_safe},
    clock::{Clock, SystemClock},
};

use self::{
    address::{NotPublic, PublicResolver, THIS_HOST, place_of_name},
    signature::Keys,
};
use crate::{count::Count, render_json};

mod address;
mod signature;

/// The longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a response, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The longest part of a response body that is read, in bytes.
const MAX_BODY: u64 = 64 << 10;
/// The longest wait that a receiver may request.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Headers that a policy cannot set.
const OWN_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
];

/// Posts each finding to a URL as JSON.
pub struct Webhook {
    /// The receiver; `None` if the policy was read without its secrets.
    target: Option<Target>,
    timeout: Period,
    retry: RetryOptions,
    allow_private: bool,
    proxy_from_environment: bool,
    agent: Option<Agent>,
    clock: Box<dyn Clock>,
    /// The receiver responded `410 Gone`: it accepts no more findings.
    is_gone: bool,
}

/// The options of `kind = "webhook"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookOptions {
    /// The address to post to, with `https`.
    url: Secret,
    /// The key to sign with, in the form of Standard Webhooks: `whsec_` and 24 to
    /// 64 bytes in base64. During a rotation, two keys separated by a space.
    #[serde(default)]
    sign: Option<Secret>,
    /// The longest time of one attempt, from the name lookup to the end of the
    /// response.
    #[serde(default = "default_timeout")]
    timeout: Period,
    /// Additional headers, such as `authorization`.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// The number of attempts, and the waits between them.
    #[serde(default)]
    retry: RetryOptions,
    /// Allows an `http` address of another machine. Anyone on the network path
    /// can then read every finding.
    #[serde(default)]
    allow_http: bool,
    /// Allows a receiver on this machine or in a private network. Without it, the
    /// sink connects to addresses of the public internet only.
    #[serde(default)]
    allow_private: bool,
    /// Uses the proxy that the environment variable `HTTPS_PROXY`, `HTTP_PROXY`
    /// or `ALL_PROXY` sets.
    #[serde(default)]
    proxy_from_environment: bool,
}

const fn default_timeout() -> Period {
    Period::from_secs(10)
}

/// The number of attempts, and the waits between them.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RetryOptions {
    /// The largest number of attempts for a finding, the first included.
    max_attempts: Count<1, 1000>,
    /// The longest wait before the second attempt; it doubles with each attempt.
    initial: Period,
    /// The longest wait before any attempt.
    max: Period,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            max_attempts: Count::new(10),
            initial: Period::from_secs(1),
            max: Period::from_secs(5 * 60),
        }
    }
}

/// The receiver: its address, and the keys and headers of each request.
struct Target {
    url: Uri,
    keys: Option<Keys>,
    headers: HeaderMap,
}

watchkeeper_core::register_sink!(Webhook);

impl SinkKind for Webhook {
    const KIND: &'static str = "webhook";
    const DOCS: &'static str = include_str!("webhook.md");
    type Options = WebhookOptions;

    fn new(options: WebhookOptions) -> Result<Self, InvalidOption> {
        let WebhookOptions { timeout, retry, allow_private, proxy_from_environment, .. } = options;
        if retry.max < retry.initial {
            return Err(InvalidOption::new("retry", "`max` is shorter than `initial`"));
        }
        let target = Target::new(&options)?;
        let clock = Box::new(SystemClock);
        Ok(Self {
            target,
            timeout,
            retry,
            allow_private,
            proxy_from_environment,
            agent: None,
            clock,
            is_gone: false,
        })
    }
}

impl Target {
    /// Checks the known secrets; returns `None` if a secret is unknown.
    fn new(options: &WebhookOptions) -> Result<Option<Self>, InvalidOption> {
        let WebhookOptions { sign, headers, .. } = options;
        let url = options.url.expose().map(|text| parse_url(text, options)).transpose()?;
        let keys = match sign.as_ref().map(Secret::expose) {
            None => Some(None),
            Some(None) => None,
            Some(Some(text)) => Some(Some(Keys::parse(text).ok_or_else(|| {
                let reason = "must be `whsec_` followed by 24 to 64 bytes in base64";
                InvalidOption::new("sign", reason)
            })?)),
        };
        let headers = parse_headers(headers)?;
        let all = url.zip(keys).zip(headers);
        Ok(all.map(|((url, keys), headers)| Self { url, keys, headers }))
    }
}

fn parse_url(text: &str, options: &WebhookOptions) -> Result<Uri, InvalidOption> {
    let WebhookOptions { allow_http, allow_private, .. } = *options;
    let invalid = |reason: &str| InvalidOption::new("url", reason.to_owned());
    let no_url = || invalid("must be an address such as `https://example.com/hook`");
    let url: Uri = text.parse().map_err(|_| no_url())?;
    let (Some(scheme), Some(host)) = (url.scheme(), url.host()) else { return Err(no_url()) };
    if host.is_empty() || ![Scheme::HTTP, Scheme::HTTPS].contains(scheme) {
        return Err(no_url());
    }
    let place = place_of_name(host);
    if let Some(place) = place
        && !allow_private
    {
        return Err(invalid(&format!(
            "the host is an address {place}; set `allow_private = true` if the receiver is there"
        )));
    }
    if *scheme == Scheme::HTTP && !allow_http && place != Some(THIS_HOST) {
        return Err(invalid(
            "`http` lets anyone on the network path read the findings; use `https`, or set `allow_http = true`",
        ));
    }
    Ok(url)
}

fn parse_headers(headers: &BTreeMap<String, Secret>) -> Result<Option<HeaderMap>, InvalidOption> {
    let mut parsed = Some(HeaderMap::new());
    for (name, value) in headers {
        let shown = make_safe(name);
        let invalid = |reason: &str| InvalidOption::new("headers", format!("`{shown}` {reason}"));
        let name: HeaderName = name.parse().map_err(|_| invalid("is not a valid header name"))?;
        if OWN_HEADERS.contains(&name) || name.as_str().starts_with("webhook-") {
            return Err(invalid("is set by the sink itself"));
        }
        let Some(value) = value.expose() else {
            parsed = None;
            continue;
        };
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| invalid("has a value that is not valid in a header"))?;
        value.set_sensitive(true);
        if let Some(parsed) = &mut parsed {
            parsed.insert(name, value);
        }
    }
    Ok(parsed)
}

impl Webhook {
    /// Makes the HTTP client, which trusts certificates signed by `roots`.
    fn agent(&self, roots: RootCerts) -> Agent {
        let timeout = self.timeout.get().unsigned_abs();
        let proxy = if self.proxy_from_environment { Proxy::try_from_env() } else { None };
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT)))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEAD)
            .proxy(proxy)
            .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
            .build();
        if self.allow_private {
            return config.into();
        }
        let resolver = PublicResolver(DefaultResolver::default());
        Agent::with_parts(config, DefaultConnector::default(), resolver)
    }
}

impl Sink for Webhook {
    fn open(&mut self) -> Result<(), SinkError> {
        self.agent = Some(self.agent(RootCerts::WebPki));
        Ok(())
    }

    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
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
        let now = self.clock.now();
        let mut response = match post(agent, target, finding, now) {
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
        outcome_of(status, retry_after.and_then(|it| retry_after_in(it.to_str().ok()?, now)))
    }

    fn retry(&self) -> Retry {
        let RetryOptions { max_attempts, initial, max } = self.retry;
        Retry::new(max_attempts.get(), initial.get().unsigned_abs(), max.get().unsigned_abs())
    }
}

fn post(
    agent: &Agent,
    target: &Target,
    finding: &Finding,
    now: Timestamp,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let body = render_json(finding);
    let id = finding.id.to_string();
    let timestamp = now.as_second();
    let mut request = agent
        .post(&target.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", timestamp);
    if let Some(keys) = &target.keys {
        request = request.header("webhook-signature", keys.sign(&id, timestamp, &body));
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    request.send(body)
}

/// Returns the outcome of an attempt whose response has this status.
fn outcome_of(status: StatusCode, retry_after: Option<Duration>) -> Result<(), SinkError> {
    let response = format!("the receiver responded {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500 | 502..=599 => {
            let unavailable = SinkError::unavailable(response);
            Err(match retry_after {
                Some(wait) => unavailable.with_retry_after(wait),
                None => unavailable,
            })
        }
        300..=399 => Err(SinkError::refused(format!(
            "{response}; redirects are not followed: set `url` to the address it points to"
        ))),
        410 => Err(SinkError::refused(format!(
            "{response}; it accepts no more findings: remove this sink from the policy"
        ))),
        _ => Err(SinkError::refused(response)),
    }
}

/// Parses the value of `retry-after`: seconds, or a date.
fn retry_after_in(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        // A number that does not fit is above the longest wait.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Describes an error without secrets.
fn describe(err: &ureq::Error, target: &Target, timeout: Period) -> String {
    let reason = match err {
        ureq::Error::Timeout(Timeout::Connect) => "the connection timed out".to_owned(),
        ureq::Error::Timeout(_) => format!("no response within {timeout}"),
        ureq::Error::HostNotFound => "the host name in the URL does not exist".to_owned(),
        // Without the prefix `io: ` of the HTTP client.
        ureq::Error::Io(err) => err.to_string(),
        ureq::Error::Other(err) if err.is::<NotPublic>() => return err.to_string(),
        err => err.to_string(),
    };
    let url = &target.url;
    let mut parts = vec![url.to_string()];
    parts.extend(url.authority().map(ToString::to_string));
    parts.extend(url.host().map(ToOwned::to_owned));
    parts.extend(url.path_and_query().map(ToString::to_string).filter(|it| 1 < it.len()));
    make_safe(&parts.iter().fold(reason, |reason, part| reason.replace(part, "[secret]")))
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
