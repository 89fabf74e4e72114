use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::author::{Period, Secret};

use crate::http::RetryOptions;

/// The options of `kind = "otlp"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpOptions {
    /// The address of the receiver without `/v1/logs`, as in `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(super) endpoint: Secret,
    /// Additional headers, such as `authorization`.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Secret>,
    /// Sends the numbers of the monitor, too: those of `/metrics`.
    #[serde(default = "yes")]
    pub(super) metrics: bool,
    /// The interval between two requests with metrics; at least 1s.
    #[serde(default = "default_interval")]
    pub(super) metrics_interval: Period,
    /// The longest time of one attempt, from the name lookup to the end of the
    /// response.
    #[serde(default = "default_timeout")]
    pub(super) timeout: Period,
    /// The number of attempts, and the waits between them, which double with each
    /// attempt; without it, the schedule of Standard Webhooks, which ends after three
    /// days.
    pub(super) retry: Option<RetryOptions>,
    /// A file of certificates in PEM format. The certificate of the receiver must be
    /// signed by one of these authorities, in place of those that browsers trust. A
    /// relative path starts at the folder of the policy.
    #[schemars(extend("format" = "input-path"))]
    pub(super) ca_file: Option<PathBuf>,
    /// Allows an `http` address of another machine. Anyone on the network path
    /// can then read every finding.
    #[serde(default)]
    pub(super) allow_http: bool,
    /// Allows a receiver on this machine or in a private network, such as a collector.
    /// Without it, the sink connects to addresses of the public internet only.
    #[serde(default)]
    pub(super) allow_private: bool,
    /// Uses the proxy that the environment variable `HTTPS_PROXY`, `HTTP_PROXY`
    /// or `ALL_PROXY` sets.
    #[serde(default)]
    pub(super) proxy_from_environment: bool,
}

const fn yes() -> bool {
    true
}

const fn default_interval() -> Period {
    Period::from_secs(60)
}

const fn default_timeout() -> Period {
    Period::from_secs(10)
}
