use std::{
    io::{self, Write},
    path::Path,
};

use watchkeeper_core::{Finding, Severity, Status, author::make_safe};

use super::summary::{FindingTotals, Report, ReportTotals, SessionReport};
use crate::{
    numbers::{counted, dollars, duration, grouped, short},
    output::{Style, safe_path},
};

/// Writes a report for people: sessions with findings or skipped lines, and the
/// totals. `verbose` adds all other sessions.
pub(super) fn write(
    report: &Report,
    verbose: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { styled };
    for session in &report.sessions {
        if verbose
            || !session.findings.is_empty()
            || 0 < session.skipped_lines
            || report.sessions.len() <= 3
        {
            text.session(session, out)?;
        }
    }
    for skipped in &report.skipped_files {
        writeln!(out, "{}", Style::Bold.paint(&safe_path(&skipped.file), styled))?;
        let lines = match skipped.skipped_lines {
            0 => String::new(),
            n => format!(" ({} skipped)", counted(n, "line")),
        };
        let reason = Style::Yellow.paint(&make_safe(&skipped.reason), styled);
        writeln!(out, "  {reason}{lines}\n")?;
    }
    text.totals(&report.totals, out)
}

/// Writer of reports for people.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) styled: bool,
}

impl Text {
    /// Writes the numbers and findings of one session.
    pub(super) fn session(self, session: &SessionReport, out: &mut dyn Write) -> io::Result<()> {
        let title = session
            .files
            .first()
            .map_or_else(|| make_safe(session.session.as_str()), |file| safe_path(file));
        writeln!(out, "{}", Style::Bold.paint(&title, self.styled))?;
        if 1 < session.files.len() {
            let more = counted(session.files.len() as u64 - 1, "more file");
            writeln!(out, "  {}", self.dim(&format!("and {more}")))?;
        }

        let mut origin = vec![session.source.unwrap_or("unknown source").to_owned()];
        origin.extend(session.model.as_deref().map(make_safe));
        origin.extend(session.cwd.as_deref().map(|cwd| format!("in {}", make_safe(cwd))));
        writeln!(out, "  {}", self.dim(&origin.join(" · ")))?;

        let started = session.started_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
        let lasted = duration(session.ended_at.duration_since(session.started_at));
        let calls = counted(session.tool_calls, "tool call");
        let calls = match session.failed_results {
            0 => calls,
            n => format!("{calls} ({} failed)", grouped(n)),
        };
        writeln!(out, "  {started}, {lasted} · {} · {calls}", counted(session.events, "event"))?;

        if 0 < session.model_calls {
            let tokens = &session.tokens;
            writeln!(
                out,
                "  {} · {} tokens in, {} from cache, {} to cache, {} out · {}",
                counted(session.model_calls, "model call"),
                short(tokens.input),
                short(tokens.cache_read),
                short(tokens.cache_write),
                short(tokens.output),
                cost(session.cost_usd, session.unpriced_calls),
            )?;
        }
        for finding in &session.findings {
            self.finding(finding, out)?;
        }
        if 0 < session.skipped_lines {
            let reasons: Vec<String> = session
                .skipped_reasons
                .iter()
                .map(|(reason, n)| format!("{reason} ({})", grouped(*n)))
                .collect();
            let n = counted(session.skipped_lines, "line");
            let skipped = format!("{n} skipped: {}", reasons.join(", "));
            writeln!(out, "  {}", Style::Yellow.paint(&skipped, self.styled))?;
        }
        writeln!(out)
    }

    fn finding(self, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let tag = format!("{:8}", format!("[{}]", finding.severity.name().to_uppercase()));
        let status = match finding.status {
            Status::Open => "",
            Status::Resolved => " (resolved)",
        };
        let agent = finding.agent.as_ref().map(|it| format!(" (agent {})", make_safe(it.as_str())));
        writeln!(
            out,
            "  {} {}: {}{}{}",
            severity_style(finding.severity).paint(&tag, self.styled),
            Style::Bold.paint(&make_safe(&finding.detector), self.styled),
            make_safe(&finding.message),
            agent.unwrap_or_default(),
            self.dim(status),
        )?;
        for evidence in &finding.evidence {
            if let Some(file) = &evidence.file {
                let line = evidence.line.map_or(String::new(), |line| format!(":{line}"));
                let file = safe_path(Path::new(&**file));
                writeln!(out, "           {}", self.dim(&format!("{file}{line}")))?;
            }
        }
        Ok(())
    }

    fn totals(self, totals: &ReportTotals, out: &mut dyn Write) -> io::Result<()> {
        let (sessions, files) =
            (counted(totals.sessions, "session"), counted(totals.files, "file"));
        writeln!(
            out,
            "{}: {}, {} ({} failed), {}, {} tokens, {}",
            Style::Bold.paint(&format!("{sessions} in {files}"), self.styled),
            counted(totals.events, "event"),
            counted(totals.tool_calls, "tool call"),
            grouped(totals.failed_results),
            counted(totals.model_calls, "model call"),
            short(totals.tokens.total()),
            cost(totals.cost_usd, totals.unpriced_calls),
        )?;
        if 0 < totals.skipped_lines {
            let skipped = format!("{} skipped", counted(totals.skipped_lines, "line"));
            writeln!(out, "{}", Style::Yellow.paint(&skipped, self.styled))?;
        }
        let FindingTotals { low, medium, high } = totals.findings;
        let findings = match high + medium + low {
            0 => Style::Green.paint("no findings", self.styled),
            n => {
                let style = match (high, medium) {
                    (0, 0) => Style::Cyan,
                    (0, _) => Style::Yellow,
                    _ => Style::Red,
                };
                let n = style.paint(&counted(n, "finding"), self.styled);
                format!("{n}: {high} high, {medium} medium, {low} low")
            }
        };
        writeln!(out, "{findings}")
    }

    /// Returns `text` in a dim style.
    pub(super) fn dim(self, text: &str) -> String {
        if text.is_empty() { String::new() } else { Style::Dim.paint(text, self.styled) }
    }
}

/// Returns the style of a severity.
pub(super) const fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::High => Style::Red,
        Severity::Medium => Style::Yellow,
        Severity::Low => Style::Cyan,
    }
}

fn cost(usd: Option<f64>, unpriced_calls: u64) -> String {
    match (usd, unpriced_calls) {
        (Some(usd), 0) => dollars(usd),
        (Some(usd), n) => {
            format!("{} and {} without a known price", dollars(usd), counted(n, "call"))
        }
        (None, _) => "unknown cost".to_owned(),
    }
}
