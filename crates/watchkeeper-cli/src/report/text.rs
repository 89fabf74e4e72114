use std::{
    io::{self, Write},
    path::Path,
};

use watchkeeper_core::{Finding, Severity, Status, make_safe};

use super::{FindingTotals, Report, ReportTotals, SessionReport};
use crate::{
    counted::{counted, dollars, duration, grouped, short},
    output::Style,
};

/// Writes a report for a person: sessions in which something was found at
/// length, the others in a line each where `verbose`, and the totals.
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
            || 0 < session.unread_lines
            || report.sessions.len() <= 3
        {
            text.session(session, out)?;
        }
    }
    for it in &report.unread_files {
        let file = make_safe(&it.file.display().to_string());
        writeln!(out, "{}", Style::Bold.paint(&file, styled))?;
        let lines = match it.unread_lines {
            0 => String::new(),
            n => format!(" ({} not read)", counted(n, "line")),
        };
        writeln!(out, "  {}{lines}\n", Style::Yellow.paint(&make_safe(&it.reason), styled))?;
    }
    text.totals(&report.totals, out)
}

#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) styled: bool,
}

impl Text {
    pub(super) fn session(self, it: &SessionReport, out: &mut dyn Write) -> io::Result<()> {
        let title = it.files.first().map_or_else(
            || make_safe(it.session.as_str()),
            |file| make_safe(&file.display().to_string()),
        );
        writeln!(out, "{}", Style::Bold.paint(&title, self.styled))?;
        if 1 < it.files.len() {
            let more = counted(it.files.len() as u64 - 1, "more file");
            writeln!(out, "  {}", self.dim(&format!("and {more}")))?;
        }

        let mut what = vec![it.source.unwrap_or("unknown source").to_owned()];
        what.extend(it.model.as_deref().map(make_safe));
        what.extend(it.cwd.as_deref().map(|it| format!("in {}", make_safe(it))));
        writeln!(out, "  {}", self.dim(&what.join(" · ")))?;

        let started = it.started_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
        let lasted = duration(it.ended_at.duration_since(it.started_at));
        let mut did = vec![format!("{started}, {lasted}"), counted(it.events, "event")];
        did.push(match it.failed_results {
            0 => counted(it.tool_calls, "tool call"),
            n => format!("{} ({} failed)", counted(it.tool_calls, "tool call"), grouped(n)),
        });
        writeln!(out, "  {}", did.join(" · "))?;

        if 0 < it.model_calls {
            let tokens = &it.tokens;
            let used = format!(
                "{} · {} tokens in, {} from cache, {} to cache, {} out",
                counted(it.model_calls, "model call"),
                short(tokens.input),
                short(tokens.cache_read),
                short(tokens.cache_write),
                short(tokens.output),
            );
            writeln!(out, "  {used} · {}", cost(it.cost_usd, it.unpriced_calls))?;
        }
        for finding in &it.findings {
            self.finding(finding, out)?;
        }
        if 0 < it.unread_lines {
            let reasons: Vec<String> = it
                .unread_reasons
                .iter()
                .map(|(why, n)| format!("{why} ({})", grouped(*n)))
                .collect();
            let unread =
                format!("{} not read: {}", counted(it.unread_lines, "line"), reasons.join(", "));
            writeln!(out, "  {}", Style::Yellow.paint(&unread, self.styled))?;
        }
        writeln!(out)
    }

    fn finding(self, it: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let tag = format!("{:8}", format!("[{}]", it.severity.name().to_uppercase()));
        let style = style_of(it.severity);
        let over = match it.status {
            Status::Open => "",
            Status::Resolved => ", since resolved",
        };
        let detector = Style::Bold.paint(&make_safe(&it.detector), self.styled);
        let agent = it.agent.as_ref().map(|it| format!(" (agent {})", make_safe(it.as_str())));
        writeln!(
            out,
            "  {} {detector}: {}{}{}",
            style.paint(&tag, self.styled),
            make_safe(&it.message),
            agent.unwrap_or_default(),
            self.dim(over),
        )?;
        for place in &it.evidence {
            if let Some(file) = &place.file {
                let line = place.line.map_or(String::new(), |it| format!(":{it}"));
                let file = make_safe(&Path::new(&**file).display().to_string());
                writeln!(out, "           {}", self.dim(&format!("{file}{line}")))?;
            }
        }
        Ok(())
    }

    fn totals(self, it: &ReportTotals, out: &mut dyn Write) -> io::Result<()> {
        let title = format!("{} in {}", counted(it.sessions, "session"), counted(it.files, "file"));
        writeln!(
            out,
            "{}: {}, {} ({} failed), {}, {} tokens, {}",
            Style::Bold.paint(&title, self.styled),
            counted(it.events, "event"),
            counted(it.tool_calls, "tool call"),
            grouped(it.failed_results),
            counted(it.model_calls, "model call"),
            short(it.tokens.total()),
            cost(it.cost_usd, it.unpriced_calls),
        )?;
        if 0 < it.unread_lines {
            let unread = format!("{} not read", counted(it.unread_lines, "line"));
            writeln!(out, "{}", Style::Yellow.paint(&unread, self.styled))?;
        }
        let FindingTotals { low, medium, high } = it.findings;
        let found = match high + medium + low {
            0 => Style::Green.paint("nothing found", self.styled),
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
        writeln!(out, "{found}")
    }

    pub(super) fn dim(self, text: &str) -> String {
        if text.is_empty() { String::new() } else { Style::Dim.paint(text, self.styled) }
    }
}

pub(super) const fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::High => Style::Red,
        Severity::Medium => Style::Yellow,
        Severity::Low => Style::Cyan,
    }
}

fn cost(usd: Option<f64>, unpriced_calls: u64) -> String {
    match (usd, unpriced_calls) {
        (Some(usd), 0) => dollars(usd),
        (Some(usd), n) => format!("{} and {} of unknown price", dollars(usd), counted(n, "call")),
        (None, _) => "price unknown".to_owned(),
    }
}
