//! The kinds and encodings of requests.

use thiserror::Error;

/// A kind of telemetry, each of which has an endpoint of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Log records, sent to `/v1/logs`.
    Logs,
    /// Spans, sent to `/v1/traces`.
    Traces,
    /// Metrics, sent to `/v1/metrics`.
    Metrics,
}

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// The body of a request is not in the encoding of its type. Sending it again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the body is not a request of OTLP: {reason}")]
pub struct DecodeError {
    /// The reason, in a few words.
    pub reason: &'static str,
}
