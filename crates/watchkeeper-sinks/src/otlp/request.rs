//! The requests of OTLP/HTTP in its JSON encoding, and its responses.
//!
//! The encoding is that of protocol buffers in JSON, with 64-bit integers as strings:
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use watchkeeper_core::{
    Finding, Severity, Timestamp,
    author::{known_time, make_safe},
};

use crate::json::json_line;

/// The name of findings among the log records.
const EVENT_NAME: &str = "watchkeeper.finding";
/// The longest text of a receiver in an error, in characters.
const MAX_REASON: usize = 200;

/// Members of a finding's data that have a name in the semantic conventions of OpenTelemetry.
const CONVENTIONS: &[(&str, &str)] =
    &[("tool", "gen_ai.tool.name"), ("model", "gen_ai.request.model")];

/// Returns the request that exports findings as log records, as one line.
pub(super) fn logs(findings: &[&Finding], now: Timestamp) -> String {
    let log_records = findings.iter().map(|finding| LogRecord::new(finding, now)).collect();
    let scope_logs = [ScopeLogs { scope: Scope::THIS, log_records }];
    json_line(&Logs { resource_logs: [ResourceLogs { resource: resource(), scope_logs }] })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logs {
    resource_logs: [ResourceLogs; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs {
    resource: Resource,
    scope_logs: [ScopeLogs; 1],
}

#[derive(Serialize)]
pub(super) struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<LogRecord>,
}

#[derive(Serialize)]
pub(super) struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Scope {
    pub(super) const THIS: Self = Self { name: "watchkeeper", version: env!("CARGO_PKG_VERSION") };
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    /// `None` for a session without times.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unix_nano: Option<String>,
    observed_time_unix_nano: String,
    severity_number: u8,
    severity_text: &'static str,
    event_name: &'static str,
    body: AnyValue,
    attributes: Vec<Attribute>,
}

/// An attribute of a resource or a record.
#[derive(Serialize)]
pub(super) struct Attribute {
    key: String,
    value: AnyValue,
}

#[derive(Serialize)]
pub(super) enum AnyValue {
    #[serde(rename = "stringValue")]
    String(String),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "arrayValue")]
    Array(Array),
}

#[derive(Serialize)]
pub(super) struct Array {
    values: Vec<AnyValue>,
}

impl LogRecord {
    fn new(finding: &Finding, now: Timestamp) -> Self {
        Self {
            time_unix_nano: known_time(finding.at).map(nanoseconds),
            observed_time_unix_nano: nanoseconds(now),
            severity_number: severity_number(finding.severity),
            severity_text: finding.severity.name(),
            event_name: EVENT_NAME,
            body: AnyValue::text(&finding.message),
            attributes: attributes(finding),
        }
    }
}

pub(super) fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

/// Returns the first number of the range of a severity in the data model of logs.
const fn severity_number(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 9,
        Severity::Medium => 13,
        Severity::High => 17,
    }
}

pub(super) fn resource() -> Resource {
    let attributes = vec![
        Attribute::text("service.name", "watchkeeper"),
        Attribute::text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    Resource { attributes }
}

fn attributes(finding: &Finding) -> Vec<Attribute> {
    let mut attributes = vec![
        Attribute::text("watchkeeper.finding.id", &finding.id.to_string()),
        Attribute::text("watchkeeper.finding.fingerprint", &finding.fingerprint.to_string()),
        Attribute::text("watchkeeper.finding.detector", &finding.detector),
        Attribute::text("watchkeeper.finding.kind", &finding.kind),
        Attribute::text("watchkeeper.finding.class", &finding.class),
        Attribute::text("watchkeeper.finding.severity", finding.severity.name()),
        Attribute::text("watchkeeper.finding.status", finding.status.name()),
        Attribute::new("watchkeeper.finding.count", AnyValue::Int(finding.count.to_string())),
    ];
    let mut add = |key: &str, text: Option<&str>| {
        attributes.extend(text.map(|text| Attribute::text(key, text)));
    };
    // Findings about the monitor have no session.
    let session = finding.session.to_string();
    add("gen_ai.conversation.id", (!session.is_empty()).then_some(&*session));
    add("gen_ai.agent.name", finding.agent.as_ref().map(ToString::to_string).as_deref());
    add("watchkeeper.finding.source", finding.source);
    add("watchkeeper.finding.replaces", finding.replaces.as_deref());
    for (key, value) in &finding.data {
        let convention = CONVENTIONS.iter().find(|(name, _)| name == key);
        let key = match convention {
            Some((_, convention)) => (*convention).to_owned(),
            None => format!("watchkeeper.finding.data.{key}"),
        };
        attributes.push(Attribute::new(&key, AnyValue::from_json(value)));
    }
    for (key, value) in &*finding.labels {
        attributes.push(Attribute::text(&format!("watchkeeper.label.{key}"), value));
    }
    let evidence = finding.evidence.iter().filter_map(|evidence| {
        let file = evidence.file.as_ref()?;
        Some(match evidence.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    });
    attributes.extend(Attribute::list("watchkeeper.finding.evidence", evidence));
    let annotations = &finding.annotations;
    let runbook = annotations.runbook_url.as_ref().map(ToString::to_string);
    attributes.extend(runbook.map(|it| Attribute::text("watchkeeper.finding.runbook_url", &it)));
    let tags = annotations.tags.iter().map(ToString::to_string);
    attributes.extend(Attribute::list("watchkeeper.finding.tags", tags));
    attributes
}

impl Attribute {
    fn new(key: &str, value: AnyValue) -> Self {
        Self { key: key.to_owned(), value }
    }

    pub(super) fn text(key: &str, text: &str) -> Self {
        Self::new(key, AnyValue::text(text))
    }

    /// Returns `None` for an empty list.
    fn list(key: &str, texts: impl Iterator<Item = String>) -> Option<Self> {
        let values: Vec<_> = texts.map(AnyValue::String).collect();
        (!values.is_empty()).then(|| Self::new(key, AnyValue::Array(Array { values })))
    }
}

impl AnyValue {
    fn text(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// Lists and objects become their JSON: most receivers store no other values than texts and
    /// numbers.
    fn from_json(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number.to_string()),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => Self::String(value.to_string()),
        }
    }
}

/// Returns the reason why a receiver rejected records of a request that it accepted.
pub(super) fn rejection(response: &[u8]) -> Option<String> {
    let response: ExportResponse = serde_json::from_slice(response).ok()?;
    let PartialSuccess { rejected_log_records, error_message } = response.partial_success?;
    let n_rejected = match rejected_log_records {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    if n_rejected == 0 {
        return None;
    }
    let reason: String = error_message.chars().take(MAX_REASON).collect();
    Some(format!("the receiver rejected {n_rejected} records: {}", make_safe(&reason)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportResponse {
    partial_success: Option<PartialSuccess>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct PartialSuccess {
    rejected_log_records: Value,
    error_message: String,
}
