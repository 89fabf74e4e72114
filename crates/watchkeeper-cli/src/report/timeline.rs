use std::{
    io::{self, Write},
    path::Path,
};

use watchkeeper_core::{Severity, SignedDuration, Timestamp, Unit, make_safe};

use super::{
    SessionReport,
    text::{Text, style_of},
};
use crate::{
    counted::{counted, duration, grouped},
    output::Style,
    timeline::{Entry, Explanation, LevelShown, Place, Step, Timeline, Told, Watch},
};

/// Writes one object.
pub(super) fn write_json(
    session: &SessionReport,
    timeline: &Timeline,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Timeline { detectors, entries } = timeline;
    let explanation = Explanation { session, detectors, timeline: entries };
    serde_json::to_writer_pretty(&mut *out, &explanation)?;
    writeln!(out)
}

/// Writes one entry of the timeline a line.
pub(super) fn write_lines(timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
    for entry in &timeline.entries {
        serde_json::to_writer(&mut *out, entry)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes for a person: what the session is, what its detectors measured and
/// when, as far as it came near a level, and what became of each. All that they
/// measured, where `verbose`.
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

/// The widest name of a detector that the others are aligned to.
const MAX_WIDTH: usize = 24;
/// How many different remarks of one detector are repeated at the end.
const MAX_REMARKS: usize = 5;
/// The column for what was measured.
const MEASURE_WIDTH: usize = 16;

#[derive(Clone, Copy)]
struct Page<'a> {
    text: Text,
    session: &'a SessionReport,
    width: usize,
}

impl Page<'_> {
    fn timeline(self, entries: &[Entry], verbose: bool, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", Style::Bold.paint("What the detectors measured", self.text.styled))?;
        let matters = |it: &Entry| it.notes.iter().any(|it| verbose || it.matters);
        if !entries.iter().any(matters) {
            let n = counted(self.session.events, "event");
            let hint =
                if verbose || entries.is_empty() { "" } else { "; `-v` shows what there was" };
            let what = format!("  in {n} nothing came near a level{hint}");
            return writeln!(out, "{}\n", self.text.dim(&what));
        }
        let mut n_told = 0;
        for entry in entries {
            let steps = entry.notes.iter().filter(|it| verbose || it.matters);
            let steps: Vec<&Step> = steps.collect();
            if steps.is_empty() {
                continue;
            }
            self.gap(entry.event_idx.saturating_sub(n_told), out)?;
            n_told = entry.event_idx + u64::from(entry.event.is_some());
            let agent = entry.agent.as_ref();
            let agent = agent.map(|it| format!(" (agent {})", make_safe(it.as_str())));
            let agent = self.text.dim(&agent.unwrap_or_default());
            let place = self.text.dim(&self.place(&entry.place));
            let what = match entry.event {
                Some(_) => entry.what.clone(),
                None => self.text.dim(&entry.what),
            };
            writeln!(out, "  {:>8}  {place}  {what}{agent}", self.since(entry.place.at))?;
            for step in steps {
                self.step(step, out)?;
            }
        }
        self.gap(self.session.events.saturating_sub(n_told), out)?;
        writeln!(out)
    }

    /// Says how many events are not shown.
    fn gap(self, n: u64, out: &mut dyn Write) -> io::Result<()> {
        if n == 0 {
            return Ok(());
        }
        writeln!(out, "            {}", self.text.dim(&format!("… {}", counted(n, "event"))))
    }

    fn step(self, it: &Step, out: &mut dyn Write) -> io::Result<()> {
        let measure = it.measure.map(|n| shown(n, it.unit)).unwrap_or_default();
        let next = it.next.map(|next| format!(" of {}", shown(next.at, it.unit)));
        let next = next.unwrap_or_default();
        let severity = it.severity.map(Severity::name).unwrap_or_default();
        let (column, style) = match it.outcome {
            Told::Opened | Told::Escalated => {
                (format!("{} at {measure}", severity.to_uppercase()), it.severity.map(style_of))
            }
            Told::Below => (format!("{measure}{next}"), None),
            Told::Counted => (format!("{severity}, {measure}{next}"), None),
            Told::Inhibited => (format!("{measure}, left"), None),
            Told::Resolved => ("resolved".to_owned(), Some(Style::Green)),
            Told::Panicked => ("panicked".to_owned(), Some(Style::Red)),
            Told::Ended => ("ended".to_owned(), None),
            Told::Remarked => (String::new(), None),
        };
        let padded = format!("{column:MEASURE_WIDTH$}");
        let column = style.map_or(padded.clone(), |it| it.paint(&padded, self.text.styled));
        let left_to = match &it.left_to[..] {
            [] if it.outcome == Told::Inhibited => "left to another detector: ".to_owned(),
            [] => String::new(),
            ids => format!("left to {}: ", ids.join(", ")),
        };
        let (left_to, message) = (make_safe(&left_to), make_safe(&it.message));
        writeln!(out, "              {} {column} {left_to}{message}", self.name(&it.detector))
    }

    fn detectors(self, watches: &[Watch], out: &mut dyn Write) -> io::Result<()> {
        let title = "What became of each detector";
        writeln!(out, "{}", Style::Bold.paint(title, self.text.styled))?;
        let (idle, rest): (Vec<&Watch>, Vec<&Watch>) = watches.iter().partition(|it| it.is_idle());
        for it in rest {
            let verdict = match (it.severity, it.watches) {
                (Some(severity), _) => {
                    let verdict = format!("{:8}", severity.name().to_uppercase());
                    style_of(severity).paint(&verdict, self.text.styled)
                }
                (None, true) => "nothing ".to_owned(),
                (None, false) => self.text.dim("off     "),
            };
            let mut why = self.why(it);
            let first = if why.is_empty() { String::new() } else { why.remove(0) };
            writeln!(out, "  {} {verdict} {first}", self.name(&it.detector))?;
            for more in why {
                writeln!(out, "  {:width$}          {more}", "", width = self.width)?;
            }
        }
        match &idle[..] {
            [] => Ok(()),
            [it] => {
                let why = format!("nothing that it counts has happened; {}", levels_of(it));
                writeln!(out, "  {} nothing  {why}", self.name(&it.detector))
            }
            _ => {
                let ids: Vec<_> = idle.iter().map(|it| make_safe(&it.detector)).collect();
                let what = "nothing that they count has happened";
                writeln!(out, "  {what}: {}", self.text.dim(&ids.join(", ")))
            }
        }
    }

    /// Why a detector found what it found, in a few lines.
    fn why(self, it: &Watch) -> Vec<String> {
        if !it.watches {
            return vec!["the overrides of the policy switch it off for this session".to_owned()];
        }
        let mut res = Vec::new();
        let levels = levels_of(it);
        if let Some(most) = &it.most {
            let n = match it.findings {
                0 => String::new(),
                n => format!("{}; ", counted(n, "finding")),
            };
            let (measure, place) = (shown(most.measure, it.unit), self.at(&most.place));
            res.push(format!("{n}came to {measure} at {place}; {levels}"));
            if it.severity.is_none() && 1 < most.measure {
                res.push(self.text.dim(&make_safe(&most.message)));
            }
        } else if it.waited.is_none() {
            res.push(format!("nothing that it counts has happened; {levels}"));
        }
        if it.most.is_none()
            && let Some(wait) = &it.waited
        {
            let (waited, of) = (duration(wait.time), duration(wait.of));
            let end = match wait.place.line {
                Some(_) => self.at(&wait.place),
                None => "what was recorded ends".to_owned(),
            };
            let what = format!("waited {waited} at most, until {end}; it would look after {of}");
            res.push(format!("{what}; {levels}"));
        }
        if 0 < it.inhibited {
            let ids: Vec<String> = it.inhibited_by.iter().map(|it| make_safe(it)).collect();
            let n = counted(it.inhibited, "time");
            res.push(format!("left it {n} to {}", ids.join(" or ")));
        }
        for (remark, n) in it.remarks.iter().take(MAX_REMARKS) {
            res.push(format!("{}, {}", make_safe(remark), counted(*n, "time")));
        }
        for reason in &it.overrides {
            res.push(format!("changed for this session: {}", make_safe(reason)));
        }
        if let Some(label) = &it.per_label {
            let label = make_safe(label);
            res.push(format!("counts all sessions with the same label {label} as one"));
        }
        if it.panicked {
            res.push(Style::Red.paint("it panicked, and was off from there on", self.text.styled));
        }
        res
    }

    fn name(self, detector: &str) -> String {
        let padded = format!("{:width$}", make_safe(detector), width = self.width);
        Style::Bold.paint(&padded, self.text.styled)
    }

    /// How long after the start.
    fn since(self, at: Timestamp) -> String {
        let since = at.duration_since(self.session.started_at).max(SignedDuration::ZERO);
        let secs = since.as_secs();
        format!("{}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
    }

    fn place(self, it: &Place) -> String {
        let Some(line) = it.line else { return " ".repeat(9) };
        match &it.file {
            Some(file) if 1 < self.session.files.len() => {
                let name = Path::new(&**file).file_name().unwrap_or_default();
                format!("{}:{line}", make_safe(&name.display().to_string()))
            }
            _ => format!("line {line:<4}"),
        }
    }

    fn at(self, it: &Place) -> String {
        let place = self.place(it);
        match place.trim() {
            "" => self.since(it.at),
            place => format!("{} ({place})", self.since(it.at)),
        }
    }
}

fn levels_of(it: &Watch) -> String {
    let level =
        |level: &LevelShown| format!("{} {}", level.severity.name(), shown(level.at, it.unit));
    let levels = it.levels.iter().map(level);
    format!("levels: {}", levels.collect::<Vec<_>>().join(", "))
}

fn shown(measure: u64, unit: Unit) -> String {
    match unit {
        Unit::Count => grouped(measure),
        Unit::Percent => format!("{}%", grouped(measure)),
    }
}
