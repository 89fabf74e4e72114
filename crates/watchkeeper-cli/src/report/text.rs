use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use watchkeeper_core::{Severity, Status, author::make_safe};

use super::{
    episodes::Episode,
    notices::{NO_SESSION, UNREAD_SUB_AGENTS, misdated_lines},
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
    let (listed, unlisted): (Vec<&SessionReport>, Vec<&SessionReport>) =
        report.sessions.iter().partition(is_listed);
    for session in listed {
        text.session(session, out)?;
    }
    text.skipped_files(report, out)?;
    text.totals(&report.totals, out)?;
    if report.window.has_period() && 0 < report.totals.sessions {
        let line = "the numbers are of whole sessions, also outside the period";
        writeln!(out, "{}", text.dim(line))?;
    }
    let (healthy, others): (Vec<&SessionReport>, Vec<&SessionReport>) =
        unlisted.into_iter().partition(|session| session.n_hidden_findings == 0);
    text.unlisted(&healthy, "without findings", out)?;
    text.unlisted(&others, "with findings below `--min-severity` only", out)?;
    text.omissions(report, verbose, out)?;
    text.findings(report, out)
}

/// Writes the notices of a report after a table: the files, sessions and findings that
/// the table leaves out.
pub(super) fn write_notices(
    report: &Report,
    verbose: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { styled };
    if !report.skipped_files.is_empty() {
        writeln!(out)?;
    }
    text.skipped_files(report, out)?;
    text.omissions(report, verbose, out)?;
    if report.is_empty() { text.no_session(out) } else { Ok(()) }
}

/// Writer of reports for people.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) styled: bool,
}

impl Text {
    fn skipped_files(self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        for skipped in &report.skipped_files {
            writeln!(out, "{}", Style::Bold.paint(&safe_path(&skipped.file), self.styled))?;
            let lines = match skipped.skipped_lines {
                0 => String::new(),
                n => format!(" ({} skipped)", counted(n, "line")),
            };
            let reason = Style::Yellow.paint(&make_safe(&skipped.reason), self.styled);
            writeln!(out, "  {reason}{lines}\n")?;
        }
        Ok(())
    }

    /// Writes the number and the cost of sessions that are not listed.
    fn unlisted(
        self,
        sessions: &[&SessionReport],
        kind: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let usd = dollars(sessions.iter().filter_map(|session| session.cost_usd).sum());
        let n = counted(sessions.len() as u64, "session");
        writeln!(out, "{}", self.dim(&format!("{n} {kind}: {usd}; `-v` lists them")))
    }

    /// Writes the numbers of files, sessions and findings that the report leaves out,
    /// and the findings about the monitor. `verbose` lists the files.
    fn omissions(self, report: &Report, verbose: bool, out: &mut dyn Write) -> io::Result<()> {
        for folder in &report.unread_sub_agents {
            let line = format!("{}: {UNREAD_SUB_AGENTS}", safe_path(folder));
            writeln!(out, "{}", Style::Yellow.paint(&line, self.styled))?;
        }
        for (file, misdated) in &report.misdated_files {
            let line = format!("{}: {}", safe_path(file), misdated_lines(misdated));
            writeln!(out, "{}", Style::Yellow.paint(&line, self.styled))?;
        }
        for finding in &report.about_monitor {
            let line = make_safe(&finding.message);
            writeln!(out, "{}", Style::Yellow.paint(&line, self.styled))?;
        }
        if let Some(line) = report.unsupported() {
            writeln!(out, "{}", Style::Yellow.paint(&line, self.styled))?;
            if verbose {
                let files = report.unsupported_files.values().flatten();
                self.files(files, out)?;
            }
        }
        if let Some(line) = report.others() {
            writeln!(out, "{}", self.dim(&line))?;
            if verbose {
                self.files(&report.other_files, out)?;
            }
        }
        for line in report.hidden.lines() {
            writeln!(out, "{}", self.dim(&line))?;
        }
        Ok(())
    }

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
        let usage = |tokens: Option<u64>, cost: Option<String>| {
            let tokens = tokens.map(|n| format!("{} tokens", short(n)));
            tokens.into_iter().chain(cost).collect::<Vec<_>>().join(", ")
        };
        let recorded_cost = difference.recorded_cost_usd.map_or("unknown cost".to_owned(), dollars);
        let recorded = usage(Some(difference.recorded_tokens), Some(recorded_cost));
        let client = usage(difference.client_tokens, difference.client_cost_usd.map(dollars));
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
        if let Some(link) = &finding.annotations.runbook_url {
            writeln!(out, "           {}", self.dim(&format!("runbook: {link}")))?;
        }
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
            return self.no_session(out);
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

    fn no_session(self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", Style::Red.paint(NO_SESSION, self.styled))
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
    let replaced = episode.finding.replaces.as_ref();
    let replaced = replaced.map(|detector| format!("replaced {}, ", make_safe(detector)));
    let end = match (episode.finding.status, &lasted) {
        (Status::Open, None) => "open at the end".to_owned(),
        (Status::Open, Some(lasted)) => format!("open at the end, {lasted} after it was found"),
        (Status::Resolved, None) => "resolved".to_owned(),
        (Status::Resolved, Some(lasted)) => format!("resolved {lasted} after it was found"),
    };
    let mut line = format!("{}{end}", replaced.unwrap_or_default());
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
        (None, 0) => dollars(0.0),
        (None, _) => "unknown cost".to_owned(),
    }
}
