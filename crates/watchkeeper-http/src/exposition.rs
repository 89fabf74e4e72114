//! The text format of Prometheus.

use std::fmt::{self, Write as _};

use watchkeeper_core::author::{Metric, MetricPoint, MetricValue, Numbers};

/// Returns the numbers of a monitor in the text format of Prometheus.
pub(crate) fn exposition(numbers: &Numbers) -> String {
    let mut text = String::new();
    for metric in numbers.metrics() {
        write(&mut text, &metric).expect("a string can be written");
    }
    text
}

fn write(text: &mut String, metric: &Metric) -> fmt::Result {
    let Metric { name, help, is_counter, points } = metric;
    let kind = if *is_counter { "counter" } else { "gauge" };
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for MetricPoint { labels, value } in points {
        text.push_str(name);
        for (label_idx, (label, value)) in labels.iter().enumerate() {
            text.push(if label_idx == 0 { '{' } else { ',' });
            write!(text, "{label}=\"")?;
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    _ => text.push(character),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        match value {
            MetricValue::Count(n) => writeln!(text, " {n}")?,
            MetricValue::Measure(n) => writeln!(text, " {n}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use watchkeeper_core::{
        Severity, Status, Timestamp,
        author::{Numbers, SinkNumbers},
    };

    use super::exposition;
    use crate::exposition_reader::read;

    fn numbers() -> Numbers {
        let mut numbers = Numbers::default();
        numbers.started_at = Timestamp::from_millisecond(1_800_000_000_500).unwrap();
        numbers.engine.events = 12_345_678;
        numbers.engine.tokens.input = 10;
        numbers.engine.tokens.output = 20;
        numbers.engine.cost_usd = 0.25;
        numbers.events_dropped = 1;
        numbers.lines_skipped = 2;
        for (kind, status) in [
            ("timeout", Status::Open),
            ("timeout", Status::Resolved),
            ("error-loop", Status::Open),
            ("timeout", Status::Open),
        ] {
            numbers.findings.add(kind, Severity::High, status);
        }
        numbers.findings_silenced = 4;
        let sink = SinkNumbers { delivered: 5, failed: 6, dropped: 7, pending: 8 };
        numbers.sinks.insert("a \"b\"\n\\".to_owned(), sink);
        numbers
    }

    #[test]
    fn the_numbers_have_the_form_of_prometheus() {
        let text = exposition(&numbers()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        assert_snapshot!(text, @r#"
        # HELP watchkeeper_build_info The version of the program.
        # TYPE watchkeeper_build_info gauge
        watchkeeper_build_info{version="VERSION"} 1
        # HELP process_start_time_seconds The start of the program, in seconds since 1970.
        # TYPE process_start_time_seconds gauge
        process_start_time_seconds 1800000000.5
        # HELP watchkeeper_events_total Events handled, those that were recorded before the start among them.
        # TYPE watchkeeper_events_total counter
        watchkeeper_events_total 12345678
        # HELP watchkeeper_events_dropped_total Events dropped because too many were waiting.
        # TYPE watchkeeper_events_dropped_total counter
        watchkeeper_events_dropped_total 1
        # HELP watchkeeper_lines_skipped_total Lines of session files, and records of telemetry, that were not read.
        # TYPE watchkeeper_lines_skipped_total counter
        watchkeeper_lines_skipped_total 2
        # HELP watchkeeper_sessions Sessions by state.
        # TYPE watchkeeper_sessions gauge
        watchkeeper_sessions{state="working"} 0
        watchkeeper_sessions{state="waiting_for_model"} 0
        watchkeeper_sessions{state="running_tool"} 0
        watchkeeper_sessions{state="call_pending"} 0
        watchkeeper_sessions{state="waiting_for_permission"} 0
        watchkeeper_sessions{state="waiting_for_person"} 0
        watchkeeper_sessions{state="retrying"} 0
        watchkeeper_sessions{state="idle"} 0
        watchkeeper_sessions{state="ended"} 0
        watchkeeper_sessions{state="gone"} 0
        # HELP watchkeeper_tokens_total Tokens of the sessions, by class.
        # TYPE watchkeeper_tokens_total counter
        watchkeeper_tokens_total{type="input"} 10
        watchkeeper_tokens_total{type="output"} 20
        watchkeeper_tokens_total{type="cache_read"} 0
        watchkeeper_tokens_total{type="cache_write"} 0
        # HELP watchkeeper_cost_dollars_total The cost of the sessions, in US dollars.
        # TYPE watchkeeper_cost_dollars_total counter
        watchkeeper_cost_dollars_total 0.25
        # HELP watchkeeper_findings_total Findings by kind, severity and status.
        # TYPE watchkeeper_findings_total counter
        watchkeeper_findings_total{kind="error-loop",severity="high",status="open"} 1
        watchkeeper_findings_total{kind="timeout",severity="high",status="open"} 2
        watchkeeper_findings_total{kind="timeout",severity="high",status="resolved"} 1
        # HELP watchkeeper_findings_silenced_total Findings that silences have hidden.
        # TYPE watchkeeper_findings_silenced_total counter
        watchkeeper_findings_silenced_total 4
        # HELP watchkeeper_sink_deliveries_total Findings that a sink has received, by outcome.
        # TYPE watchkeeper_sink_deliveries_total counter
        watchkeeper_sink_deliveries_total{sink="a \"b\"\n\\",outcome="delivered"} 5
        watchkeeper_sink_deliveries_total{sink="a \"b\"\n\\",outcome="dropped"} 7
        watchkeeper_sink_deliveries_total{sink="a \"b\"\n\\",outcome="failed"} 6
        # HELP watchkeeper_sink_pending Findings that wait for a sink.
        # TYPE watchkeeper_sink_pending gauge
        watchkeeper_sink_pending{sink="a \"b\"\n\\"} 8
        "#);
    }

    #[test]
    fn empty_numbers_are_well_formed() {
        let metrics = read(&exposition(&Numbers::default()));
        assert!(metrics["watchkeeper_sink_pending"].is_empty());
        assert_eq!(metrics["watchkeeper_events_total"][&vec![]].to_bits(), 0.0_f64.to_bits());
    }

    proptest! {
        #[test]
        fn any_name_of_a_sink_can_be_read(name in ".{0,30}|[\"\\\\\n{}, =#]{0,10}") {
            let mut numbers = numbers();
            let sink = SinkNumbers { pending: 8, ..SinkNumbers::default() };
            numbers.sinks = [(name.clone(), sink)].into();
            let metrics = read(&exposition(&numbers));
            let labels = vec![("sink".to_owned(), name)];
            prop_assert!(metrics["watchkeeper_sink_pending"].contains_key(&labels), "{metrics:?}");
        }
    }
}
