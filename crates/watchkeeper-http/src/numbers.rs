//! The numbers of a monitor, and their form for Prometheus.

use std::fmt::{self, Write as _};

/// The numbers of a monitor at one time.
///
/// All but the sessions and the pending findings only grow while the program runs. Prometheus
/// notices a restart by the start time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// The start of the program, in seconds since 1970.
    pub started_at: f64,
    /// Events handled.
    pub events: u64,
    /// Events dropped because too many were waiting.
    pub events_dropped: u64,
    /// Lines of session files that were not read.
    pub lines_skipped: u64,
    /// Sessions by state.
    pub sessions: Vec<(&'static str, u64)>,
    /// Tokens by class, such as `input`.
    pub tokens: Vec<(&'static str, u64)>,
    /// The cost of all sessions, in US dollars.
    pub cost_usd: f64,
    /// Findings by kind, severity and status.
    pub findings: Vec<FindingNumber>,
    /// Findings that silences have hidden.
    pub findings_silenced: u64,
    /// The deliveries to each sink.
    pub sinks: Vec<SinkNumbers>,
}

/// The number of findings of one kind, severity and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingNumber {
    /// The kind of the detector.
    pub kind: Box<str>,
    /// The severity, such as `high`.
    pub severity: &'static str,
    /// The status: `open` or `resolved`.
    pub status: &'static str,
    /// The number of findings.
    pub count: u64,
}

/// The deliveries to one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkNumbers {
    /// The name of the sink in the policy.
    pub name: Box<str>,
    /// Findings that the sink accepted.
    pub delivered: u64,
    /// Findings that the sink did not accept in any attempt.
    pub failed: u64,
    /// Findings dropped before any attempt.
    pub dropped: u64,
    /// Findings that wait for the sink.
    pub pending: u64,
}

/// The largest number of sinks and of kinds with lines of their own. The others are added up
/// under the name `other`.
const MAX_NAMES: usize = 100;
/// The length after which a name is cut, in bytes.
const MAX_NAME: usize = 128;
/// The version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Numbers {
    /// Returns the numbers in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = Exposition(String::new());
        self.write(&mut text).expect("a string can be written");
        text.0
    }

    fn write(&self, text: &mut Exposition) -> fmt::Result {
        text.family("watchkeeper_build_info", "gauge", "The version of the program.")?;
        text.sample("watchkeeper_build_info", &[("version", VERSION)], 1.0)?;
        text.single(
            "process_start_time_seconds",
            "gauge",
            "The start of the program, in seconds since 1970.",
            self.started_at,
        )?;
        text.single(
            "watchkeeper_events_total",
            "counter",
            "Events handled, those that were recorded before the start among them.",
            count(self.events),
        )?;
        text.single(
            "watchkeeper_events_dropped_total",
            "counter",
            "Events dropped because too many were waiting.",
            count(self.events_dropped),
        )?;
        text.single(
            "watchkeeper_lines_skipped_total",
            "counter",
            "Lines of session files that were not read.",
            count(self.lines_skipped),
        )?;
        text.family("watchkeeper_sessions", "gauge", "Sessions by state.")?;
        for (state, n) in &self.sessions {
            text.sample("watchkeeper_sessions", &[("state", state)], count(*n))?;
        }
        text.family("watchkeeper_tokens_total", "counter", "Tokens of the sessions, by class.")?;
        for (class, n) in &self.tokens {
            text.sample("watchkeeper_tokens_total", &[("type", class)], count(*n))?;
        }
        text.single(
            "watchkeeper_cost_dollars_total",
            "counter",
            "The cost of the sessions, in US dollars.",
            self.cost_usd,
        )?;
        self.write_findings(text)?;
        self.write_sinks(text)
    }

    fn write_findings(&self, text: &mut Exposition) -> fmt::Result {
        const NAME: &str = "watchkeeper_findings_total";
        text.family(NAME, "counter", "Findings by kind, severity and status.")?;
        let mut findings = self.findings.clone();
        let mut kinds: Vec<Box<str>> = findings.iter().map(|it| it.kind.clone()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for finding in &mut findings {
            if kinds.iter().position(|kind| *kind == finding.kind).is_none_or(|at| MAX_NAMES <= at)
            {
                finding.kind = "other".into();
            }
        }
        let key = |it: &FindingNumber| (it.kind.clone(), it.severity, it.status);
        findings.sort_by_key(key);
        for same in findings.chunk_by(|a, b| key(a) == key(b)) {
            let FindingNumber { kind, severity, status, .. } = &same[0];
            let labels = [("kind", &**kind), ("severity", severity), ("status", status)];
            text.sample(NAME, &labels, count(same.iter().map(|it| it.count).sum()))?;
        }
        text.single(
            "watchkeeper_findings_silenced_total",
            "counter",
            "Findings that silences have hidden.",
            count(self.findings_silenced),
        )
    }

    fn write_sinks(&self, text: &mut Exposition) -> fmt::Result {
        let mut sinks: Vec<SinkNumbers> = Vec::new();
        for sink in &self.sinks {
            let is_known = sinks.iter().any(|known| known.name == sink.name);
            let name = if is_known || sinks.len() < MAX_NAMES { &*sink.name } else { "other" };
            let known = sinks.iter_mut().find(|known| &*known.name == name);
            match known {
                Some(known) => {
                    known.delivered += sink.delivered;
                    known.failed += sink.failed;
                    known.dropped += sink.dropped;
                    known.pending += sink.pending;
                }
                None => sinks.push(SinkNumbers { name: name.into(), ..sink.clone() }),
            }
        }
        const DELIVERIES: &str = "watchkeeper_sink_deliveries_total";
        text.family(DELIVERIES, "counter", "Findings that a sink has received, by outcome.")?;
        for sink in &sinks {
            let outcomes =
                [("delivered", sink.delivered), ("dropped", sink.dropped), ("failed", sink.failed)];
            for (outcome, n) in outcomes {
                text.sample(DELIVERIES, &[("sink", &sink.name), ("outcome", outcome)], count(n))?;
            }
        }
        const PENDING: &str = "watchkeeper_sink_pending";
        text.family(PENDING, "gauge", "Findings that wait for a sink.")?;
        for sink in &sinks {
            text.sample(PENDING, &[("sink", &sink.name)], count(sink.pending))?;
        }
        Ok(())
    }
}

/// Prometheus has only floating-point numbers.
#[expect(clippy::cast_precision_loss, reason = "exact up to 9 * 10^15")]
const fn count(n: u64) -> f64 {
    n as f64
}

/// A text in the format of Prometheus.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) -> fmt::Result {
        self.family(name, kind, help)?;
        self.sample(name, &[], value)
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> fmt::Result {
        self.0.push_str(name);
        for (label_idx, (label, text)) in labels.iter().enumerate() {
            self.0.push(if label_idx == 0 { '{' } else { ',' });
            write!(self.0, "{label}=\"")?;
            for (_, character) in text.char_indices().take_while(|(at, _)| *at < MAX_NAME) {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    _ => self.0.push(character),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        writeln!(self.0, " {value}")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use insta::assert_snapshot;

    use super::{FindingNumber, MAX_NAMES, Numbers, SinkNumbers};

    fn finding(kind: &str, count: u64) -> FindingNumber {
        FindingNumber { kind: kind.into(), severity: "high", status: "open", count }
    }

    fn numbers() -> Numbers {
        Numbers {
            started_at: 1_800_000_000.5,
            events: 12_345_678,
            events_dropped: 1,
            lines_skipped: 2,
            sessions: vec![("idle", 3), ("working", 1)],
            tokens: vec![("input", 10), ("output", 20)],
            cost_usd: 0.25,
            findings: vec![finding("timeout", 2), finding("error-loop", 1), finding("timeout", 3)],
            findings_silenced: 4,
            sinks: vec![SinkNumbers {
                name: "a \"b\"\n\\".into(),
                delivered: 5,
                failed: 6,
                dropped: 7,
                pending: 8,
            }],
        }
    }

    #[test]
    fn the_numbers_have_the_form_of_prometheus() {
        let text = numbers().render().replace(super::VERSION, "VERSION");
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
        # HELP watchkeeper_lines_skipped_total Lines of session files that were not read.
        # TYPE watchkeeper_lines_skipped_total counter
        watchkeeper_lines_skipped_total 2
        # HELP watchkeeper_sessions Sessions by state.
        # TYPE watchkeeper_sessions gauge
        watchkeeper_sessions{state="idle"} 3
        watchkeeper_sessions{state="working"} 1
        # HELP watchkeeper_tokens_total Tokens of the sessions, by class.
        # TYPE watchkeeper_tokens_total counter
        watchkeeper_tokens_total{type="input"} 10
        watchkeeper_tokens_total{type="output"} 20
        # HELP watchkeeper_cost_dollars_total The cost of the sessions, in US dollars.
        # TYPE watchkeeper_cost_dollars_total counter
        watchkeeper_cost_dollars_total 0.25
        # HELP watchkeeper_findings_total Findings by kind, severity and status.
        # TYPE watchkeeper_findings_total counter
        watchkeeper_findings_total{kind="error-loop",severity="high",status="open"} 1
        watchkeeper_findings_total{kind="timeout",severity="high",status="open"} 5
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
    fn names_are_bounded() {
        let many = || (0..2 * MAX_NAMES).map(|idx| format!("{idx:0>500}"));
        let numbers = Numbers {
            findings: many().map(|kind| finding(&kind, 1)).collect(),
            sinks: many()
                .map(|it| SinkNumbers { name: it.into(), delivered: 1, ..SinkNumbers::default() })
                .collect(),
            ..Numbers::default()
        };
        let text = numbers.render();
        assert!(text.len() < 1 << 17, "{}", text.len());
        let other = r#"watchkeeper_findings_total{kind="other",severity="high",status="open"} 100"#;
        assert!(text.contains(other), "{text}");
        let other = r#"watchkeeper_sink_deliveries_total{sink="other",outcome="delivered"} 100"#;
        assert!(text.contains(other), "{text}");
    }

    /// Runs Prometheus's own check, where it is installed.
    #[test]
    fn prometheus_accepts_the_numbers() {
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else { return };
        promtool.stdin.take().unwrap().write_all(numbers().render().as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    }
}
