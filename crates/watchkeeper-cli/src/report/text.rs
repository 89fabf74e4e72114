use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use watchkeeper_core::{Severity, Status, author::make_safe};

use super::{
    episodes::Episode,
    summary::{ClientDifference, FindingTotals, Report, ReportTotals, SessionReport},
};
use crate::{
    numbers::{counted, dollars, duration, grouped, short},
    output::{Style, safe_path},
};

/// Number of sessions that are always listed.
const FEW: usize = 3;

/// Writes a report for people: sessions with findings or skipped lines, and the
/// totals. `verbose` adds all other sessions, and the files without a session.
pub(super) fn write(
    report: &Report,
    verbose: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { styled };
    let is_listed = |session: &&SessionReport| {
        verbose
            || !session.findings.is_empty()
            || session.client_difference.is_some()
            || 0 < session.skipped_lines
            || report.sessions.len() <= FEW
    };
    let (listed, healthy): (Vec<&SessionReport>, Vec<&SessionReport>) =
        report.sessions.iter().partition(is_listed);
    for session in listed {
        text.session(session, out)?;
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
    text.totals(&report.totals, out)?;
    if !healthy.is_empty() {
        let usd = healthy.iter().filter_map(|session| session.cost_usd).sum();
        let sessions = counted(healthy.len() as u64, "session");
        let line = format!("{sessions} without findings: {}; `-v` lists them", dollars(usd));
        writeln!(out, "{}", text.dim(&line))?;
    }
    write_omissions(report, verbose, styled, out)?;
    text.findings(report, out)
}

/// Writes the numbers of files, sessions and findings that the report leaves out.
/// `verbose` lists the files.
pub(super) fn write_omissions(
    report: &Report,
    verbose: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { styled };
    if let Some(line) = report.unsupported() {
        writeln!(out, "{}", Style::Yellow.paint(&line, styled))?;
        if verbose {
            let files = report.unsupported_files.values().flatten();
            text.files(files, out)?;
        }
    }
    if let Some(line) = report.others() {
        writeln!(out, "{}", text.dim(&line))?;
        if verbose {
            text.files(&report.other_files, out)?;
        }
    }
    let hidden = &report.hidden;
    let parts = [
        (hidden.sessions, "session", "outside the period"),
        (hidden.findings.total(), "finding", "outside the period or below `--min-severity`"),
    ];
    for (n, noun, place) in parts {
        if 0 < n {
            writeln!(out, "{}", text.dim(&format!("{} {place}", counted(n, noun))))?;
        }
    }
    Ok(())
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

        let times = match (session.started_at, session.ended_at) {
            (Some(start), Some(end)) => {
                let lasted = duration(end.duration_since(start));
                format!("{}, {lasted}", start.strftime("%Y-%m-%d %H:%M UTC"))
            }
            _ => "times not known".to_owned(),
        };
        let calls = counted(session.tool_calls, "tool call");
        let calls = match session.failed_results {
            0 => calls,
            n => format!("{calls} ({} failed)", grouped(n)),
        };
        writeln!(out, "  {times} · {} · {calls}", counted(session.events, "event"))?;

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
        if let Some(difference) = &session.client_difference {
            self.client_difference(difference, out)?;
        }
        for episode in &session.findings {
            self.episode(episode, out)?;
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

    fn client_difference(
        self,
        difference: &ClientDifference,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let usage = |tokens: Option<u64>, usd: Option<f64>| {
            let tokens = tokens.map(|n| format!("{} tokens", short(n)));
            let parts: Vec<String> = tokens.into_iter().chain(usd.map(dollars)).collect();
            parts.join(", ")
        };
        let recorded = usage(Some(difference.recorded_tokens), difference.recorded_cost_usd);
        let client = usage(difference.client_tokens, difference.client_cost_usd);
        let text = format!("recorded responses: {recorded}; total of the client: {client}");
        writeln!(out, "  {}", Style::Yellow.paint(&text, self.styled))
    }

    fn episode(self, episode: &Episode, out: &mut dyn Write) -> io::Result<()> {
        let finding = &episode.finding;
        let tag = format!("{:8}", format!("[{}]", finding.severity.name().to_uppercase()));
        let agent = finding.agent.as_ref().map(|it| format!(" (agent {})", make_safe(it.as_str())));
        writeln!(
            out,
            "  {} {}: {}{}",
            severity_style(finding.severity).paint(&tag, self.styled),
            Style::Bold.paint(&make_safe(&finding.detector), self.styled),
            make_safe(&finding.message),
            agent.unwrap_or_default(),
        )?;
        writeln!(out, "           {}", self.dim(&end(episode)))?;
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
        Ok(())
    }

    /// Writes the number of findings, or that there is no session.
    fn findings(self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        if report.is_empty() {
            return writeln!(out, "{}", Style::Red.paint("no session was read", self.styled));
        }
        let FindingTotals { low, medium, high } = report.totals.findings;
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

    fn files<'a>(
        self,
        files: impl IntoIterator<Item = &'a PathBuf>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut files = files.into_iter();
        files.try_for_each(|file| writeln!(out, "  {}", self.dim(&safe_path(file))))
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

/// Returns a line about the end of an episode: its duration, the reason, and the
/// usage of the session in it.
fn end(episode: &Episode) -> String {
    let lasted = episode.duration().map(duration);
    let mut line = match (episode.finding.status, &lasted) {
        (Status::Open, None) => "open at the end".to_owned(),
        (Status::Open, Some(lasted)) => format!("open at the end, {lasted} after it was found"),
        (Status::Resolved, None) => "resolved".to_owned(),
        (Status::Resolved, Some(lasted)) => format!("resolved {lasted} after it was found"),
    };
    if 0 < episode.tokens {
        line.extend([format!(", {} tokens", short(episode.tokens))]);
    }
    if 0.005 <= episode.cost_usd {
        line.extend([format!(", {}", dollars(episode.cost_usd))]);
    }
    if let Some(reason) = &episode.resolution {
        line.extend([format!(": {}", make_safe(reason))]);
    }
    line
}

/// Returns the cost of model calls of a group.
pub(super) fn dollars_and_unpriced(usd: f64, unpriced_calls: u64, model_calls: u64) -> String {
    match unpriced_calls {
        0 => dollars(usd),
        n if n == model_calls => "unknown".to_owned(),
        _ => format!("{}+", dollars(usd)),
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
