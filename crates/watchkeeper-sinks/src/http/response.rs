//! The outcome of an attempt.

use std::time::Duration;

use jiff::fmt::rfc2822;
use ureq::{
    Timeout,
    http::{StatusCode, Uri},
};
use watchkeeper_core::{
    Timestamp,
    author::{Period, SinkError, make_safe},
};

use super::address::NotPublic;

/// The shortest wait that a receiver may request: a receiver that requests none, or a time
/// in the past, must not use up all attempts at once.
pub(crate) const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that a receiver may request.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The response of a receiver.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// The wait that the receiver requests, moved into its range.
    pub(crate) retry_after: Option<Duration>,
    /// At most 64 KiB of the body.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns the outcome of the attempt. `is_temporary` selects the statuses after which
    /// another attempt can succeed.
    pub(crate) fn outcome(&self, is_temporary: impl Fn(u16) -> bool) -> Result<(), SinkError> {
        let response = format!("the receiver responded {}", self.status);
        match self.status.as_u16() {
            200..=299 => Ok(()),
            status if is_temporary(status) => {
                let unavailable = SinkError::unavailable(response);
                Err(match self.retry_after {
                    Some(wait) => unavailable.with_retry_after(wait),
                    None => unavailable,
                })
            }
            300..=399 => Err(SinkError::refused(format!(
                "{response}; redirects are not followed: name the address it points to"
            ))),
            410 => Err(SinkError::refused(format!(
                "{response}; it accepts no more findings: remove this sink from the policy"
            ))),
            _ => Err(SinkError::refused(response)),
        }
    }
}

/// Parses the value of `retry-after`: seconds, or a date. Short and long waits are moved
/// into the range from [`MIN_RETRY_AFTER`] to [`MAX_RETRY_AFTER`].
pub(crate) fn retry_after_in(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        // A number that does not fit is above the longest wait.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
}

/// Describes the error of an attempt without a response, without secrets.
pub(super) fn describe(err: &ureq::Error, url: &Uri, timeout: Period) -> String {
    let reason = match err {
        ureq::Error::Timeout(Timeout::Connect) => "the connection timed out".to_owned(),
        ureq::Error::Timeout(_) => format!("no response within {timeout}"),
        ureq::Error::HostNotFound => "the host name in the URL does not exist".to_owned(),
        // Without the prefix `io: ` of the HTTP client.
        ureq::Error::Io(err) => err.to_string(),
        ureq::Error::Other(err) if err.is::<NotPublic>() => return err.to_string(),
        err => err.to_string(),
    };
    let mut parts = vec![url.to_string()];
    parts.extend(url.authority().map(ToString::to_string));
    parts.extend(url.host().map(ToOwned::to_owned));
    parts.extend(url.path_and_query().map(ToString::to_string).filter(|it| 1 < it.len()));
    make_safe(&parts.iter().fold(reason, |reason, part| reason.replace(part, "[secret]")))
}
