use serde::Serialize;
use watchkeeper_core::{
    Timestamp,
    author::{Metric, MetricPoint, MetricValue, Numbers},
};

use super::request::{Attribute, Resource, Scope, nanoseconds, resource};
use crate::json::json_line;

/// The number of `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Returns the request that exports the numbers of a monitor, as one line. Each request contains
/// all counts so far, so that a lost one does no harm.
pub(super) fn metrics(numbers: &Numbers, now: Timestamp) -> String {
    let times = (numbers.started_at, now);
    let metrics = numbers.metrics().into_iter();
    let metrics = metrics.filter(|metric| !metric.points.is_empty());
    let metrics = metrics.map(|metric| MetricRecord::new(&metric, times)).collect();
    let scope_metrics = [ScopeMetrics { scope: Scope::THIS, metrics }];
    json_line(&Metrics {
        resource_metrics: [ResourceMetrics { resource: resource(), scope_metrics }],
    })
}

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
    metrics: Vec<MetricRecord>,
}

#[derive(Serialize)]
struct MetricRecord {
    name: &'static str,
    description: &'static str,
    #[serde(flatten)]
    data: Data,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Data {
    #[serde(rename_all = "camelCase")]
    Sum { aggregation_temporality: u8, is_monotonic: bool, data_points: Vec<DataPoint> },
    #[serde(rename_all = "camelCase")]
    Gauge { data_points: Vec<DataPoint> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DataPoint {
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time_unix_nano: Option<String>,
    time_unix_nano: String,
    #[serde(flatten)]
    value: Number,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Number {
    AsInt(String),
    AsDouble(f64),
}

impl MetricRecord {
    fn new(metric: &Metric, (start, now): (Timestamp, Timestamp)) -> Self {
        let Metric { name, help, is_counter, points } = metric;
        let data_points = points.iter().map(|MetricPoint { labels, value }| DataPoint {
            attributes: labels.iter().map(|(key, text)| Attribute::text(key, text)).collect(),
            start_time_unix_nano: is_counter.then(|| nanoseconds(start)),
            time_unix_nano: nanoseconds(now),
            value: match value {
                MetricValue::Count(n) => Number::AsInt(n.to_string()),
                MetricValue::Measure(n) => Number::AsDouble(*n),
            },
        });
        let data_points = data_points.collect();
        let data = if *is_counter {
            Data::Sum { aggregation_temporality: CUMULATIVE, is_monotonic: true, data_points }
        } else {
            Data::Gauge { data_points }
        };
        Self { name, description: help, data }
    }
}
