//! The requests of OTLP/HTTP in its JSON encoding, and its responses.
//!
//! The encoding is that of protocol buffers in JSON, with 64-bit integers as strings:
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use watchkeeper_core::{
    Finding, Severity, Status, Timestamp,
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
struct Resource {
    attributes: Vec<Attribute>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs {
    scope: Scope,
    log_records: Vec<LogRecord>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Scope {
    const THIS: Self = Self { name: "watchkeeper", version: env!("CARGO_PKG_VERSION") };
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
struct Attribute {
    key: String,
    value: AnyValue,
}

#[derive(Serialize)]
enum AnyValue {
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
struct Array {
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

fn nanoseconds(at: Timestamp) -> String {
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

const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Open => "open",
        Status::Resolved => "resolved",
    }
}

fn resource() -> Resource {
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
        Attribute::text("watchkeeper.finding.status", status_name(finding.status)),
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

    fn text(key: &str, text: &str) -> Self {
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

/// The findings that were delivered since the sink was made.
#[derive(Debug)]
pub(super) struct FindingCounts {
    since: Timestamp,
    counts: BTreeMap<Series, u64>,
}

/// The attributes of one count: kind, severity, status.
type Series = (String, Severity, &'static str);

/// The largest number of counts. Findings of further kinds are not counted: kinds are those
/// that are linked, so that no program reaches this number.
const MAX_SERIES: usize = 1024;

impl FindingCounts {
    pub(super) const fn new(since: Timestamp) -> Self {
        Self { since, counts: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, finding: &Finding) {
        let series = (finding.kind.to_string(), finding.severity, status_name(finding.status));
        if self.counts.len() < MAX_SERIES || self.counts.contains_key(&series) {
            *self.counts.entry(series).or_default() += 1;
        }
    }

    /// Returns the request that exports the counts, as one line. Each request contains all
    /// counts, so that a lost one does no harm.
    pub(super) fn render(&self, now: Timestamp) -> String {
        let data_points = self.counts.iter().map(|((kind, severity, status), count)| DataPoint {
            attributes: vec![
                Attribute::text("kind", kind),
                Attribute::text("severity", severity.name()),
                Attribute::text("status", status),
            ],
            start_time_unix_nano: nanoseconds(self.since),
            time_unix_nano: nanoseconds(now),
            as_int: count.to_string(),
        });
        let metric = Metric {
            name: "watchkeeper.findings",
            description: "Findings that were delivered to this receiver.",
            unit: "{finding}",
            sum: Sum {
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
                data_points: data_points.collect(),
            },
        };
        let scope_metrics = [ScopeMetrics { scope: Scope::THIS, metrics: [metric] }];
        let resource_metrics = [ResourceMetrics { resource: resource(), scope_metrics }];
        json_line(&Metrics { resource_metrics })
    }
}

/// The number of `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    resource_metrics: [ResourceMetrics; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Resource,
    scope_metrics: [ScopeMetrics; 1],
}

#[derive(Serialize)]
struct ScopeMetrics {
    scope: Scope,
    metrics: [Metric; 1],
}

#[derive(Serialize)]
struct Metric {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    sum: Sum,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    aggregation_temporality: u8,
    is_monotonic: bool,
    data_points: Vec<DataPoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataPoint {
    attributes: Vec<Attribute>,
    start_time_unix_nano: String,
    time_unix_nano: String,
    as_int: String,
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
