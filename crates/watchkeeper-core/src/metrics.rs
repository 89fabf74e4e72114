//! The numbers of a monitor, and their names as metrics. `/metrics` and the sink `otlp` show the
//! same ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    Severity, Status,
    engine::{EngineTotals, SessionStates},
    event::Tokens,
    facts::StateKind,
};

/// The largest number of sinks and of kinds with points of their own. The others are added up
/// under the name [`OTHER`].
const MAX_NAMES: usize = 50;
/// The length after which a name is cut, in bytes.
const MAX_NAME: usize = 128;
/// The name of the others.
const OTHER: &str = "other";
/// The version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The numbers of a monitor at one time.
///
/// All but the sessions and the pending findings only grow while the program runs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Numbers {
    /// The start of the monitor.
    pub started_at: Timestamp,
    /// The counts of the engine.
    pub engine: EngineTotals,
    /// Events dropped because too many were waiting.
    pub events_dropped: u64,
    /// Lines of session files that were not read.
    pub lines_skipped: u64,
    /// Findings by kind, severity and status.
    pub findings: FindingNumbers,
    /// Findings that silences have hidden.
    pub findings_silenced: u64,
    /// The deliveries to each sink, by name.
    pub sinks: BTreeMap<String, SinkNumbers>,
}

/// The findings that no silence has hidden, by kind, severity and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FindingNumbers(BTreeMap<FindingKey, u64>);

type FindingKey = (Box<str>, Severity, &'static str);

/// The deliveries to one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkNumbers {
    /// Findings that the sink accepted.
    pub delivered: u64,
    /// Findings that the sink did not accept in any attempt.
    pub failed: u64,
    /// Findings dropped before any attempt.
    pub dropped: u64,
    /// Findings that wait for the sink.
    pub pending: u64,
}

/// A number with a name, or one for each value of its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name, as in Prometheus.
    pub name: &'static str,
    /// The meaning, in one sentence.
    pub help: &'static str,
    /// Whether the number only grows while the program runs.
    pub is_counter: bool,
    /// The numbers.
    pub points: Vec<MetricPoint>,
}

/// One number of a [`Metric`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Names and values, a few. The values may be hostile.
    pub labels: Vec<(&'static str, Box<str>)>,
    /// The number.
    pub value: MetricValue,
}

/// The number of a [`MetricPoint`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    /// A count.
    Count(u64),
    /// A measure, such as dollars.
    Measure(f64),
}

impl FindingNumbers {
    /// Counts a finding.
    pub fn add(&mut self, kind: &str, severity: Severity, status: Status) {
        let kind = cut(kind);
        let kinds: BTreeSet<&str> = self.0.keys().map(|(kind, ..)| &**kind).collect();
        let has_room = kinds.len() < MAX_NAMES || kinds.contains(kind);
        let kind = if has_room { kind } else { OTHER };
        *self.0.entry((kind.into(), severity, status.name())).or_default() += 1;
    }
}

impl SinkNumbers {
    /// Returns the sum of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            dropped: self.dropped + other.dropped,
            pending: self.pending + other.pending,
        }
    }
}

impl Numbers {
    /// Returns the numbers as metrics, in an order that does not change. There are a few hundred
    /// points at most, whatever the number of sessions.
    pub fn metrics(&self) -> Vec<Metric> {
        let EngineTotals { events, sessions, tokens, cost_usd } = self.engine;
        vec![
            gauge("watchkeeper_build_info", "The version of the program.")
                .with([("version", VERSION)], 1),
            gauge("process_start_time_seconds", "The start of the program, in seconds since 1970.")
                .measuring(self.started_at.as_duration().as_secs_f64()),
            counter(
                "watchkeeper_events_total",
                "Events handled, those that were recorded before the start among them.",
            )
            .with([], events),
            counter(
                "watchkeeper_events_dropped_total",
                "Events dropped because too many were waiting.",
            )
            .with([], self.events_dropped),
            counter(
                "watchkeeper_lines_skipped_total",
                "Lines of session files, and records of telemetry, that were not read.",
            )
            .with([], self.lines_skipped),
            by_state(sessions),
            by_class(tokens),
            counter("watchkeeper_cost_dollars_total", "The cost of the sessions, in US dollars.")
                .measuring(cost_usd),
            self.findings(),
            counter("watchkeeper_findings_silenced_total", "Findings that silences have hidden.")
                .with([], self.findings_silenced),
            self.deliveries(),
            self.pending(),
        ]
    }

    fn findings(&self) -> Metric {
        let metric =
            counter("watchkeeper_findings_total", "Findings by kind, severity and status.");
        self.findings.0.iter().fold(metric, |metric, ((kind, severity, status), n)| {
            let labels = [("kind", &**kind), ("severity", severity.name()), ("status", status)];
            metric.with(labels, *n)
        })
    }

    fn deliveries(&self) -> Metric {
        let metric = counter(
            "watchkeeper_sink_deliveries_total",
            "Findings that a sink has received, by outcome.",
        );
        self.sinks().into_iter().fold(metric, |metric, (sink, numbers)| {
            let SinkNumbers { delivered, failed, dropped, .. } = numbers;
            let outcomes = [("delivered", delivered), ("dropped", dropped), ("failed", failed)];
            outcomes.into_iter().fold(metric, |metric, (outcome, n)| {
                metric.with([("sink", sink), ("outcome", outcome)], n)
            })
        })
    }

    fn pending(&self) -> Metric {
        let metric = gauge("watchkeeper_sink_pending", "Findings that wait for a sink.");
        let sinks = self.sinks().into_iter();
        sinks.fold(metric, |metric, (sink, it)| metric.with([("sink", sink)], it.pending))
    }

    /// Returns the numbers of as many sinks as have names of their own, and the sum of the others.
    fn sinks(&self) -> BTreeMap<&str, SinkNumbers> {
        let mut sinks = BTreeMap::<&str, SinkNumbers>::new();
        for (name, numbers) in &self.sinks {
            let name = cut(name);
            let has_room = sinks.len() < MAX_NAMES || sinks.contains_key(name);
            let sink = sinks.entry(if has_room { name } else { OTHER }).or_default();
            *sink = sink.plus(*numbers);
        }
        sinks
    }
}

fn by_state(sessions: SessionStates) -> Metric {
    let metric = gauge("watchkeeper_sessions", "Sessions by state.");
    let states = StateKind::ALL.into_iter();
    states.fold(metric, |metric, state| metric.with([("state", state.name())], sessions.of(state)))
}

fn by_class(tokens: Tokens) -> Metric {
    let Tokens { input, output, cache_read, cache_write, .. } = tokens;
    // These classes do not overlap.
    let classes = [
        ("input", input),
        ("output", output),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
    ];
    let metric = counter("watchkeeper_tokens_total", "Tokens of the sessions, by class.");
    classes.into_iter().fold(metric, |metric, (class, n)| metric.with([("type", class)], n))
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, is_counter: true, points: Vec::new() }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, is_counter: false, points: Vec::new() }
}

impl Metric {
    fn with<const N: usize>(mut self, labels: [(&'static str, &str); N], count: u64) -> Self {
        let labels = labels.map(|(name, value)| (name, value.into())).to_vec();
        self.points.push(MetricPoint { labels, value: MetricValue::Count(count) });
        self
    }

    fn measuring(mut self, value: f64) -> Self {
        self.points.push(MetricPoint { labels: Vec::new(), value: MetricValue::Measure(value) });
        self
    }
}

fn cut(name: &str) -> &str {
    let is_end = |at: &usize| name.is_char_boundary(*at);
    let end = (0..=name.len().min(MAX_NAME)).rev().find(is_end);
    &name[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(metric: &Metric) -> Vec<(&str, u64)> {
        let points = metric.points.iter();
        let count = |value| match value {
            MetricValue::Count(n) => n,
            MetricValue::Measure(_) => 0,
        };
        points.map(|point| (&*point.labels[0].1, count(point.value))).collect()
    }

    #[test]
    fn kinds_without_room_are_counted_together() {
        let mut numbers = Numbers::default();
        for round in 0..2 {
            for kind in 0..=MAX_NAMES + 1 {
                let kind = format!("{kind:0>3}{:x>500}", "");
                numbers.findings.add(&kind, Severity::High, Status::Open);
            }
            let metric = numbers.findings();
            let counts = names(&metric);
            assert_eq!(counts.len(), MAX_NAMES + 1);
            assert!(counts.iter().all(|(name, _)| name.len() <= MAX_NAME));
            assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 52 * (round + 1));
        }
    }

    #[test]
    fn sinks_without_room_are_counted_together() {
        let numbers = SinkNumbers { delivered: 1, pending: 2, ..SinkNumbers::default() };
        let sinks = (0..MAX_NAMES + 3).map(|idx| (format!("sink-{idx:0>3}"), numbers)).collect();
        let numbers = Numbers { sinks, ..Numbers::default() };
        let metric = numbers.pending();
        let pending = names(&metric);
        assert_eq!(pending.len(), MAX_NAMES + 1);
        assert_eq!(pending[0], (OTHER, 6));
        assert_eq!(numbers.deliveries().points.len(), 3 * (MAX_NAMES + 1));
    }
}
