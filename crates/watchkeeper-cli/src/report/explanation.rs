use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{Severity, SignedDuration, Timestamp, Unit, author::make_safe};
use watchkeeper_page::{LevelSummary, StepOutcome};

use super::{
    safe_json::{write_line, write_pretty},
    summary::SessionReport,
    text::{Text, severity_style},
};
use crate::{
    explanation::{DetectorSummary, Entry, Location, Step, Timeline},
    numbers::{counted, duration, grouped},
    output::{Style, safe_path},
};

/// Output of `check --explain --format json`. With `ndjson`, each entry of the
/// timeline is one line.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation<'a> {
    /// The session, as in the report of `check`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) session: &'a SessionReport,
    /// Detectors of the policy: first those with findings, then by how near they
    /// came to one.
    pub(crate) detectors: &'a [DetectorSummary],
    /// In order of time.
    pub(crate) timeline: &'a [Entry],
}

/// Writes one object.
pub(super) fn write_json(
    session: &SessionReport,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Timeline { detectors, entries } = timeline;
    let explanation = Explanation { session, detectors, timeline: entries };
    write_pretty(&explanation, out)
}

/// Writes one entry of the timeline per line.
pub(super) fn write_lines(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    for entry in &timeline.entries {
        write_line(entry, out)?;
    }
    Ok(())
}

/// Writes an explanation for people: the session, the measures near a level in
/// order of time, and a summary of each detector. `verbose` adds all other
/// measures.
pub(super) fn write(
    session: &SessionReport,
    timeline: &Timeline,
    verbose: bool,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Text { styled };
    text.session(session, out)?;
    let width = timeline.detectors.iter().map(|it| it.detector.chars().count()).max();
    let page = Page { text, session, width: width.unwrap_or_default().min(MAX_WIDTH) };
    page.timeline(&timeline.entries, verbose, out)?;
    page.detectors(&timeline.detectors, out)
}

/// Maximum width of the column of detector ids.
const MAX_WIDTH: usize = 24;
/// Limit of the notes shown for each detector.
const MAX_NOTES: usize = 5;
/// Width of the column of measures.
const MEASURE_WIDTH: usize = 16;
/// Summary of a detector that counted no event.
const NO_EVENTS: &str = "no event counted";

#[derive(Clone, Copy)]
struct Page<'a> {
    text: Text,
    session: &'a SessionReport,
    /// Width of the column of detector ids.
    width: usize,
}

impl Page<'_> {
    fn timeline(self, entries: &[Entry], verbose: bool, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", Style::Bold.paint("Timeline", self.text.styled))?;
        let is_shown = |step: &&Step| verbose || step.is_notable;
        if !entries.iter().any(|entry| entry.steps.iter().any(|step| is_shown(&step))) {
            let n = counted(self.session.events, "event");
            let hint = if verbose || entries.is_empty() { "" } else { "; `-v` shows all measures" };
            let line = format!("  no measure came near a level in {n}{hint}");
            return writeln!(out, "{}\n", self.text.dim(&line));
        }
        let mut n_shown = 0;
        for entry in entries {
            let steps: Vec<&Step> = entry.steps.iter().filter(is_shown).collect();
            if steps.is_empty() {
                continue;
            }
            self.gap(entry.event_idx.saturating_sub(n_shown), out)?;
            n_shown = entry.event_idx + u64::from(entry.event.is_some());
            self.entry(entry, out)?;
            for step in steps {
                self.step(step, out)?;
            }
        }
        self.gap(self.session.events.saturating_sub(n_shown), out)?;
        writeln!(out)
    }

    fn entry(self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let agent = entry.agent.as_ref().map(|it| format!(" (agent {})", make_safe(it.as_str())));
        let agent = self.text.dim(&agent.unwrap_or_default());
        let location = self.text.dim(&self.file_and_line(&entry.location));
        let summary = match entry.event {
            Some(_) => entry.summary.clone(),
            None => self.text.dim(&entry.summary),
        };
        let since = self.since_start(entry.location.at);
        writeln!(out, "  {since:>8}  {location}  {summary}{agent}")
    }

    /// Writes the number of omitted events.
    fn gap(self, n: u64, out: &mut dyn Write) -> io::Result<()> {
        if n == 0 {
            return Ok(());
        }
        writeln!(out, "            {}", self.text.dim(&format!("… {}", counted(n, "event"))))
    }

    fn step(self, step: &Step, out: &mut dyn Write) -> io::Result<()> {
        let measure = step.measure.map(|n| with_unit(n, step.unit)).unwrap_or_default();
        let next = step.next_level.map(|level| format!(" of {}", with_unit(level.at, step.unit)));
        let next = next.unwrap_or_default();
        let severity = step.severity.map(Severity::name).unwrap_or_default();
        let (column, style) = match step.outcome {
            StepOutcome::Opened | StepOutcome::Escalated | StepOutcome::Replaced => {
                let style = step.severity.map(severity_style);
                (format!("{} at {measure}", severity.to_uppercase()), style)
            }
            StepOutcome::Below => (format!("{measure}{next}"), None),
            StepOutcome::Counted => (format!("{severity}, {measure}{next}"), None),
            StepOutcome::Suppressed => (format!("{measure}, suppressed"), None),
            StepOutcome::Resolved => ("resolved".to_owned(), Some(Style::Green)),
            StepOutcome::Panicked => ("panicked".to_owned(), Some(Style::Red)),
            StepOutcome::Ended => ("ended".to_owned(), None),
            StepOutcome::Comment => (String::new(), None),
        };
        let padded = format!("{column:MEASURE_WIDTH$}");
        let column = style.map_or(padded.clone(), |it| it.paint(&padded, self.text.styled));
        let relation = match (&step.suppressed_by[..], &step.replaces) {
            (_, Some(detector)) => format!("replaces {detector}: "),
            ([], None) => String::new(),
            (ids, None) => format!("suppressed by {}: ", ids.join(", ")),
        };
        let (relation, message) = (make_safe(&relation), make_safe(&step.message));
        let id = self.id(&step.detector);
        writeln!(out, "              {id} {column} {relation}{message}")
    }

    fn detectors(self, summaries: &[DetectorSummary], out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", Style::Bold.paint("Detectors", self.text.styled))?;
        let (unremarkable, shown): (Vec<&DetectorSummary>, Vec<&DetectorSummary>) =
            summaries.iter().partition(|summary| summary.is_unremarkable());
        for summary in shown {
            let verdict = match (summary.severity, summary.active) {
                (Some(severity), _) => {
                    let verdict = format!("{:8}", severity.name().to_uppercase());
                    severity_style(severity).paint(&verdict, self.text.styled)
                }
                (None, true) => "-       ".to_owned(),
                (None, false) => self.text.dim("off     "),
            };
            let details = self.details(summary);
            let (first, others) = details
                .split_first()
                .map_or(("", &[][..]), |(first, others)| (first.as_str(), others));
            writeln!(out, "  {} {verdict} {first}", self.id(&summary.detector))?;
            for line in others {
                writeln!(out, "  {:width$}          {line}", "", width = self.width)?;
            }
        }
        match &unremarkable[..] {
            [] => Ok(()),
            [summary] => {
                let (id, levels) = (self.id(&summary.detector), levels(summary));
                writeln!(out, "  {id} -        {NO_EVENTS}; {levels}")
            }
            _ => {
                let ids: Vec<_> = unremarkable.iter().map(|it| make_safe(&it.detector)).collect();
                writeln!(out, "  {NO_EVENTS}: {}", self.text.dim(&ids.join(", ")))
            }
        }
    }

    /// Returns lines that explain the result of a detector.
    fn details(self, summary: &DetectorSummary) -> Vec<String> {
        if !summary.active {
            return vec!["an override of the policy disables it for this session".to_owned()];
        }
        let mut lines = Vec::new();
        let levels = levels(summary);
        if let Some(maximum) = &summary.maximum {
            let findings = match summary.findings {
                0 => String::new(),
                n => format!("{}; ", counted(n, "finding")),
            };
            let measure = with_unit(maximum.measure, summary.unit);
            let location = self.time_and_line(&maximum.location);
            lines.push(format!("{findings}reached {measure} at {location}; {levels}"));
            if summary.severity.is_none() && 1 < maximum.measure {
                lines.push(self.text.dim(&make_safe(&maximum.message)));
            }
        } else if let Some(wait) = &summary.longest_wait {
            let (waited, limit) = (duration(wait.time), duration(wait.limit));
            let end = match wait.location.line {
                Some(_) => self.time_and_line(&wait.location),
                None => "the end of the recording".to_owned(),
            };
            lines.push(format!("longest wait {waited} of {limit}, until {end}; {levels}"));
        } else {
            lines.push(format!("{NO_EVENTS}; {levels}"));
        }
        if 0 < summary.suppressed {
            let n = counted(summary.suppressed, "time");
            lines.push(format!("suppressed {n} by {}", names(&summary.suppressed_by, " or ")));
        }
        if !summary.replaced.is_empty() {
            lines.push(format!("replaced {}", names(&summary.replaced, " and ")));
        }
        for (note, n) in summary.notes.iter().take(MAX_NOTES) {
            lines.push(format!("{}, {}", make_safe(note), counted(*n, "time")));
        }
        for reason in &summary.overrides {
            lines.push(format!("overridden for this session: {}", make_safe(reason)));
        }
        if let Some(per) = &summary.per {
            let per = make_safe(per);
            lines.push(format!("counts all sessions with the same `{per}` together"));
        }
        if summary.panicked {
            lines.push(Style::Red.paint("panicked, and was disabled", self.text.styled));
        }
        lines
    }

    /// Returns a detector's id, padded to the width of the column.
    fn id(self, detector: &str) -> String {
        let padded = format!("{:width$}", make_safe(detector), width = self.width);
        Style::Bold.paint(&padded, self.text.styled)
    }

    /// Returns the time since the start of the session; nothing if the session has
    /// no times.
    fn since_start(self, at: Timestamp) -> String {
        let Some(started_at) = self.session.started_at else { return String::new() };
        let since = at.duration_since(started_at).max(SignedDuration::ZERO);
        let secs = since.as_secs();
        format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
    }

    /// Returns the line of a location, with the file if the session has several.
    fn file_and_line(self, location: &Location) -> String {
        let Some(line) = location.line else { return " ".repeat(9) };
        match &location.file {
            Some(file) if 1 < self.session.files.len() => {
                let name = Path::new(&**file).file_name().unwrap_or_default();
                format!("{}:{line}", safe_path(Path::new(name)))
            }
            _ => format!("line {line:<4}"),
        }
    }

    fn time_and_line(self, location: &Location) -> String {
        let since = self.since_start(location.at);
        match self.file_and_line(location).trim() {
            "" => since,
            line if since.is_empty() => line.to_owned(),
            line => format!("{since} ({line})"),
        }
    }
}

/// Joins the names of detectors.
fn names(detectors: &BTreeSet<Arc<str>>, separator: &str) -> String {
    let names: Vec<String> = detectors.iter().map(|name| make_safe(name)).collect();
    names.join(separator)
}

fn levels(summary: &DetectorSummary) -> String {
    let level = |level: &LevelSummary| {
        format!("{} {}", level.severity.name(), with_unit(level.at, summary.unit))
    };
    let levels = summary.levels.iter().map(level);
    format!("levels: {}", levels.collect::<Vec<_>>().join(", "))
}

fn with_unit(measure: u64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{}%", grouped(measure)),
        _ => grouped(measure),
    }
}
