//! The options of the sink.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::{Period, Secret};

use super::rate_limit::RateLimitOptions;
use crate::http::RetryOptions;

/// The options of `kind = "webhook"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookOptions {
    /// The address to post to, with `https`.
    pub(super) url: Secret,
    /// The key to sign with, in the form of Standard Webhooks: `whsec_` and 24 to
    /// 64 bytes in base64. During a rotation, two keys separated by a space.
    pub(super) sign: Option<Secret>,
    /// The format of the body.
    #[serde(default)]
    pub(super) format: BodyFormat,
    /// A template of the body, in a part of the syntax of Jinja, in place of `format`. Its output
    /// is JSON.
    pub(super) template: Option<String>,
    /// The key of the integration, for `format = "pagerduty"`.
    pub(super) routing_key: Option<Secret>,
    /// The longest time of one attempt, from the name lookup to the end of the
    /// response.
    #[serde(default = "default_timeout")]
    pub(super) timeout: Period,
    /// Additional headers, such as `authorization`.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Secret>,
    /// The number of attempts, and the waits between them, which double with each
    /// attempt; without it, the schedule of Standard Webhooks, which ends after three
    /// days.
    pub(super) retry: Option<RetryOptions>,
    /// The largest number of requests in a period. Further findings wait.
    pub(super) rate_limit: Option<RateLimitOptions>,
    /// A file of certificates in PEM format. The certificate of the receiver must be
    /// signed by one of these authorities, in place of those that browsers trust. A
    /// relative path starts at the folder of the policy.
    #[schemars(extend("format" = "input-path"))]
    pub(super) ca_file: Option<PathBuf>,
    /// Allows an `http` address of another machine. Anyone on the network path
    /// can then read every finding.
    #[serde(default)]
    pub(super) allow_http: bool,
    /// Allows a receiver on this machine or in a private network. Without it, the
    /// sink connects to addresses of the public internet only.
    #[serde(default)]
    pub(super) allow_private: bool,
    /// Uses the proxy that the environment variable `HTTPS_PROXY`, `HTTP_PROXY`
    /// or `ALL_PROXY` sets.
    #[serde(default)]
    pub(super) proxy_from_environment: bool,
}

const fn default_timeout() -> Period {
    Period::from_secs(10)
}

/// The format of the body of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// `type`, `timestamp` and `data`, as Standard Webhooks recommends.
    #[default]
    Standard,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// A message for a webhook of Discord.
    Discord,
    /// An Adaptive Card for a workflow of Microsoft Teams.
    Teams,
    /// An event for the Events API v2 of PagerDuty.
    Pagerduty,
    /// A CloudEvents 1.0 event in structured mode.
    Cloudevents,
}
