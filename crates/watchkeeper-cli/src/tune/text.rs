use std::io::{self, Write};

use watchkeeper_core::{Unit, author::make_safe};

use super::{
    fragment::levels_text,
    proposal::{Balance, MAX_RAISE},
    report::{DetectorReport, Example, LabelsReport, LevelCount, TuneReport},
};
use crate::{
    numbers::{counted, grouped},
    output::Style,
};

/// The width of the columns of a table.
const WIDTH: usize = 7;
/// Columns of a table. Of more levels, those with the most findings are left out.
const MAX_COLUMNS: usize = 10;
/// The limit of a proposal without labels.
const UNJUDGED: &str = "a number of findings does not show which findings are true: judge the \
                        examples, or use `--labels`";

/// Writes a report for people. `shows_policy` adds the text of the policy.
pub(crate) fn write(
    report: &TuneReport,
    shows_policy: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { report, styled };
    let (counted, silent): (Vec<_>, Vec<_>) =
        report.detectors.iter().partition(|it| it.counts.iter().any(|level| level.episodes != 0));
    for detector in counted {
        text.detector(detector, out)?;
    }
    text.names("no episode reaches a level", silent.iter().map(|it| &*it.detector), out)?;
    let shared = report.not_counted.iter().map(|id| &**id);
    text.names("not counted, because they count several sessions together", shared, out)?;
    if let Some(labels) = &report.labels {
        text.labels(labels, out)?;
    }
    writeln!(out)?;
    for line in summary(report) {
        writeln!(out, "{}", Style::Bold.paint(&line, styled))?;
    }
    if shows_policy && report.has_changes() {
        write!(out, "\n{}", report.policy)?;
    }
    Ok(())
}

/// Returns the result in some lines, for people and for the head of the policy.
pub(crate) fn summary(report: &TuneReport) -> Vec<String> {
    let mut lines = vec![scope(report)];
    match &report.labels {
        Some(labels) => {
            lines.push(format!("present levels:  {}", balance_text(labels.present)));
            if report.has_changes() {
                lines.push(format!("proposed levels: {}", balance_text(labels.proposed)));
            } else {
                lines.push("no other levels are better".to_owned());
            }
            if let Some(held_out) = labels.held_out {
                let text = balance_text(held_out);
                lines.push(format!("sessions that did not choose the levels: {text}"));
            }
        }
        None => {
            let rate = |n: u64| {
                let (n, rate) = (grouped(n), rate_text(report.pace.rate(n)));
                format!("{n} of medium or above, {rate} {}", report.pace.unit())
            };
            lines.push(format!("present levels:  {}", rate(report.findings)));
            if report.has_changes() {
                lines.push(format!("proposed levels: {}", rate(report.proposed_findings)));
            }
            if let Some(wanted) = report.wanted {
                let at_most = if wanted.may_lower { "" } else { "at most " };
                let n = wanted.per_day;
                let stay = if report.has_changes() { "" } else { "; the levels stay" };
                let limit = if report.exceeds(wanted) {
                    let left = counted(report.proposed_findings, "finding");
                    format!(
                        "; not reached: no level of medium rises above {MAX_RAISE} times the \
                         present one, which leaves {left}"
                    )
                } else {
                    String::new()
                };
                lines.push(format!("wanted:          {at_most}{n} a day{stay}{limit}"));
            }
            if report.has_changes() {
                lines.push(UNJUDGED.to_owned());
            }
        }
    }
    lines
}

/// Returns the number of sessions and days.
fn scope(report: &TuneReport) -> String {
    let pace = report.pace;
    let n_sessions = counted(report.sessions, "session");
    if report.labels.is_some() {
        return format!("{n_sessions} with labels");
    }
    let scope = match pace.days {
        0 => n_sessions,
        n => format!("{n_sessions} on {}", counted(n, "day")),
    };
    match pace.sessions_without_times {
        0 => scope,
        _ if pace.days == 0 => format!("{scope} without times; 10 sessions count as a day"),
        n => format!("{scope}; {} without times, of which 10 count as a day", grouped(n)),
    }
}

/// Writer of reports for people.
struct Text<'a> {
    report: &'a TuneReport,
    styled: bool,
}

impl Text<'_> {
    fn detector(&self, detector: &DetectorReport, out: &mut dyn Write) -> io::Result<()> {
        let name = Style::Bold.paint(&make_safe(&detector.detector), self.styled);
        let levels = levels_text(&detector.levels, detector.unit);
        writeln!(out, "{name}  {}", self.dim(&format!("{}: {levels}", detector.kind)))?;
        self.table(detector, out)?;
        if let Some(proposed) = &detector.proposed_levels {
            let levels = levels_text(proposed, detector.unit);
            let line = format!("proposed: {levels}");
            writeln!(out, "  {}", Style::Green.paint(&line, self.styled))?;
        } else if !detector.is_tunable {
            writeln!(out, "  {}", self.dim("its levels stay: a budget, or at most low"))?;
        }
        for example in &detector.examples {
            self.example(example, detector.unit, out)?;
        }
        writeln!(out)
    }

    /// Writes the numbers of episodes and findings by level.
    fn table(&self, detector: &DetectorReport, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(detector);
        let row = |name: &str, cell: &dyn Fn(&LevelCount) -> String| {
            let cells = columns.iter().map(|level| format!(" {:>WIDTH$}", cell(level)));
            format!("  {name:<10}{}", cells.collect::<String>())
        };
        let level = |level: &LevelCount| at_text(level.at, detector.unit);
        writeln!(out, "{}", self.dim(&row("level", &level)))?;
        writeln!(out, "{}", row("episodes", &|level| grouped(level.episodes)))?;
        if detector.is_tunable {
            let findings = |level: &LevelCount| level.findings.map_or_else(String::new, grouped);
            writeln!(out, "{}", row("findings", &findings))?;
            if self.report.labels.is_none() {
                let pace = self.report.pace;
                let rate = |level: &LevelCount| {
                    level.findings.map_or_else(String::new, |n| rate_text(pace.rate(n)))
                };
                writeln!(out, "{}", row(pace.unit(), &rate))?;
            }
        }
        Ok(())
    }

    fn example(&self, example: &Example, unit: Unit, out: &mut dyn Write) -> io::Result<()> {
        let side = if example.reaches { "reached" } else { "below" };
        let file = example.file.as_deref().map(make_safe);
        let place = file.unwrap_or_else(|| make_safe(example.session.as_str()));
        let line = example.line.map(|line| format!(":{line}")).unwrap_or_default();
        let measure = at_text(example.measure, unit);
        writeln!(out, "  {side:<7} {measure:>6}  {}", self.dim(&format!("{place}{line}")))?;
        writeln!(out, "    {}", make_safe(&example.message))
    }

    fn labels(&self, labels: &LabelsReport, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        let header =
            format!("  {:<16}{:>10}{:>10}{:>10}", "kind", "stretches", "present", "proposed");
        writeln!(out, "{}", self.dim(&header))?;
        for kind in &labels.kinds {
            let name = make_safe(&kind.kind);
            let (n, found, proposed) = (kind.stretches, kind.found, kind.proposed_found);
            writeln!(out, "  {name:<16}{n:>10}{found:>10}{proposed:>10}")?;
        }
        if !labels.wrong.is_empty() {
            writeln!(out)?;
        }
        for wrong in &labels.wrong {
            let (label, style) = if wrong.is_missed {
                ("missed", Style::Yellow)
            } else {
                ("false alarm", Style::Red)
            };
            let when = match (wrong.at_present, wrong.as_proposed) {
                (true, false) => " at present",
                (false, true) => " as proposed",
                _ => "",
            };
            let label = style.paint(&format!("{label}{when}"), self.styled);
            writeln!(out, "{label}  {}: {}", make_safe(&wrong.file), make_safe(&wrong.reason))?;
        }
        Ok(())
    }

    fn names<'a>(
        &self,
        title: &str,
        names: impl Iterator<Item = &'a str>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let names: Vec<String> = names.map(make_safe).collect();
        if names.is_empty() {
            return Ok(());
        }
        writeln!(out, "{}", self.dim(&format!("{title}: {}", names.join(", "))))
    }

    fn dim(&self, text: &str) -> String {
        Style::Dim.paint(text, self.styled)
    }
}

/// Returns the levels to show: the present and proposed ones, and those at which the
/// number of episodes changes. Of too many, the highest are shown.
fn columns(detector: &DetectorReport) -> Vec<LevelCount> {
    let proposed = detector.proposed_levels.iter().flatten();
    let named: Vec<u64> = detector.levels.iter().chain(proposed).map(|level| level.at).collect();
    let counts = &detector.counts;
    let is_shown = |idx: &usize| {
        let next = counts.get(idx + 1).map(|next| next.episodes);
        // Of levels with equal numbers, the highest is shown.
        named.contains(&counts[*idx].at) || next != Some(counts[*idx].episodes)
    };
    let mut shown: Vec<usize> = (0..counts.len()).filter(is_shown).collect();
    while MAX_COLUMNS < shown.len() {
        let Some(first) = shown.iter().position(|idx| !named.contains(&counts[*idx].at)) else {
            break;
        };
        shown.remove(first);
    }
    shown.into_iter().map(|idx| counts[idx]).collect()
}

fn balance_text(balance: Balance) -> String {
    let Balance { found, missed, false_alarms } = balance;
    format!(
        "recall {} ({found} of {}), precision {} ({})",
        share_text(found + missed, balance.recall()),
        found + missed,
        share_text(found + false_alarms, balance.precision()),
        counted(false_alarms, "false alarm")
    )
}

/// Returns a share of `n` sessions, or a dash for the share of none.
fn share_text(n: u64, share: f64) -> String {
    if n == 0 { "–".to_owned() } else { format!("{share:.2}") }
}

fn at_text(at: u64, unit: Unit) -> String {
    let percent = if unit == Unit::Percent { "%" } else { "" };
    format!("{}{percent}", grouped(at))
}

/// `0`, `0.04`, `0.8`, `12`.
fn rate_text(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..0.095 => format!("{rate:.2}"),
        ..9.95 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}
