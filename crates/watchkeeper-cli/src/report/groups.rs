use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value, json};
use watchkeeper_core::{
    Timestamp,
    author::{Labels, make_safe},
};

use super::{
    safe_json::write_pretty,
    summary::{FindingTotals, Report, SessionReport},
    text::dollars_and_unpriced,
    usage::{Usage, UsageSlice, day_of},
};
use crate::{
    numbers::{counted, grouped, short},
    output::Style,
};

/// The property that the sessions of a group share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// Day of the model calls and of the findings, in UTC
    Day,
    /// Working folder
    Project,
    /// Model of the model calls
    Model,
    /// Session
    Session,
}

/// Sessions, usage and findings of one group.
#[derive(Clone, Debug, Default, Serialize)]
struct Group {
    sessions: u64,
    #[serde(flatten)]
    usage: Usage,
    findings: FindingTotals,
}

/// The groups of a report, and their sum.
struct Table<'a> {
    /// By day, or else by cost.
    rows: Vec<Row<'a>>,
    total: Group,
}

struct Row<'a> {
    /// Value of the property; `None` is the group without the property.
    key: Option<String>,
    group: Group,
    /// The session, if the groups are sessions.
    session: Option<&'a SessionReport>,
}

/// Facts of one session, in place of the number of sessions.
#[derive(Debug, Serialize)]
struct SessionColumns<'a> {
    project: Option<&'a str>,
    model: Option<&'a str>,
    source: Option<&'static str>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    labels: &'a Labels,
}

impl GroupBy {
    const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Project => "project",
            Self::Model => "model",
            Self::Session => "session",
        }
    }

    /// Returns the group of a part of the usage of a session.
    fn key_of_slice(self, session: &SessionReport, slice: &UsageSlice) -> Option<String> {
        match self {
            Self::Day => slice.day.map(|day| day.to_string()),
            Self::Model => slice.model.as_deref().map(str::to_owned),
            Self::Project => session.cwd.as_deref().map(str::to_owned),
            Self::Session => Some(session.session.as_str().to_owned()),
        }
    }
}

impl<'a> Table<'a> {
    /// Creates a table of the sessions, usage and findings in the window of a report.
    fn new(report: &'a Report, by: GroupBy) -> Self {
        let mut groups: BTreeMap<Option<String>, Group> = BTreeMap::new();
        let mut sessions: BTreeMap<&str, &SessionReport> = BTreeMap::new();
        let mut total = Group::default();
        for session in &report.sessions {
            let mut keys = BTreeSet::new();
            for slice in &session.usage {
                let key = by.key_of_slice(session, slice);
                let group = groups.entry(key.clone()).or_default();
                group.usage = group.usage.plus(slice.usage);
                total.usage = total.usage.plus(slice.usage);
                keys.insert(key);
            }
            for episode in &session.findings {
                let key = match by {
                    GroupBy::Day => {
                        // The first day of the episode in the window.
                        let at = report.window.clamp(episode.finding.at);
                        session.started_at.map(|_| day_of(at).to_string())
                    }
                    GroupBy::Model => session.model.as_deref().map(str::to_owned),
                    GroupBy::Project => session.cwd.as_deref().map(str::to_owned),
                    GroupBy::Session => Some(session.session.as_str().to_owned()),
                };
                groups.entry(key.clone()).or_default().findings.add(episode.finding.severity);
                total.findings.add(episode.finding.severity);
                keys.insert(key);
            }
            for key in keys {
                groups.entry(key).or_default().sessions += 1;
            }
            total.sessions += 1;
            if by == GroupBy::Session {
                sessions.insert(session.session.as_str(), session);
            }
        }
        let rows = groups.into_iter().map(|(key, group)| {
            let session = key.as_deref().and_then(|id| sessions.get(id)).copied();
            Row { key, group, session }
        });
        let mut rows: Vec<Row<'a>> = rows.collect();
        if by != GroupBy::Day {
            rows.sort_by(|a, b| by_cost(&a.group, &b.group));
        }
        Self { rows, total }
    }
}

impl<'a> SessionColumns<'a> {
    fn new(session: &'a SessionReport) -> Self {
        let SessionReport { cwd, model, source, started_at, ended_at, labels, .. } = session;
        Self {
            project: cwd.as_deref(),
            model: model.as_deref(),
            source: *source,
            started_at: *started_at,
            ended_at: *ended_at,
            labels,
        }
    }
}

fn by_cost(a: &Group, b: &Group) -> Ordering {
    let by_cost = b.usage.cost_usd.total_cmp(&a.usage.cost_usd);
    let by_tokens = || b.usage.tokens.total().cmp(&a.usage.tokens.total());
    by_cost.then_with(by_tokens).then_with(|| b.sessions.cmp(&a.sessions))
}

/// Returns a name for a cell, safe for a terminal. Of a long name, only the end remains: it
/// distinguishes folders.
fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 100;
    let name = make_safe(name);
    match name.char_indices().rev().nth(MAX_CHARS - 1) {
        Some((start, _)) if 0 < start => format!("…{}", &name[start..]),
        _ => name,
    }
}

/// Writes a table for people.
pub(super) fn write(
    report: &Report,
    by: GroupBy,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    const NUMBERS: [&str; 8] =
        ["input", "cache read", "cache write", "output", "cost", "high", "medium", "low"];
    let table = Table::new(report, by);
    // The groups by session contain one session each.
    let second = if by == GroupBy::Session { "date" } else { "sessions" };
    let cells = |name: String, second: String, group: &Group| {
        let Group { usage, findings, .. } = group;
        let tokens = &usage.tokens;
        let mut cells = vec![name, second];
        cells.extend(
            [tokens.input, tokens.cache_read, tokens.cache_write, tokens.output].map(short),
        );
        cells.push(dollars_and_unpriced(usage.cost_usd, usage.unpriced_calls, usage.model_calls));
        cells.extend([findings.high, findings.medium, findings.low].map(|n| match n {
            0 => "-".to_owned(),
            n => grouped(n),
        }));
        cells
    };
    let titles = [by.name(), second].into_iter().chain(NUMBERS);
    let mut lines = vec![titles.map(str::to_owned).collect()];
    for Row { key, group, session } in &table.rows {
        let name = key.as_deref().map_or_else(|| "unknown".to_owned(), shortened);
        let second = match session {
            None => grouped(group.sessions),
            Some(session) => {
                let date = session.started_at.map(|at| day_of(at).to_string());
                date.unwrap_or_else(|| "-".to_owned())
            }
        };
        lines.push(cells(name, second, group));
    }
    let n_sessions = match by {
        GroupBy::Session => counted(table.total.sessions, "session"),
        _ => grouped(table.total.sessions),
    };
    lines.push(cells("total".to_owned(), n_sessions, &table.total));
    let width = |column: usize| {
        let cells = lines.iter().map(|line: &Vec<String>| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..NUMBERS.len() + 2).map(width).collect();
    let last = lines.len() - 1;
    for (n, line) in lines.iter().enumerate() {
        let mut text = format!("{:width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            text.extend([format!("  {cell:>width$}")]);
        }
        let is_bold = styled && (n == 0 || n == last);
        writeln!(out, "{}", Style::Bold.paint(text.trim_end(), is_bold))?;
    }
    Ok(())
}

/// Writes the groups as one object.
pub(super) fn write_json(report: &Report, by: GroupBy, out: &mut dyn Write) -> io::Result<()> {
    let Table { rows, total } = Table::new(report, by);
    let rows = rows.into_iter().map(|row| -> Result<Value, serde_json::Error> {
        let mut fields = Map::new();
        fields.insert(by.name().to_owned(), row.key.into());
        let columns = row.session.map(|session| serde_json::to_value(SessionColumns::new(session)));
        let columns = columns.transpose()?.into_iter();
        for numbers in columns.chain([serde_json::to_value(row.group)?]) {
            if let Value::Object(numbers) = numbers {
                fields.extend(numbers);
            }
        }
        if row.session.is_some() {
            fields.remove("sessions");
        }
        Ok(Value::Object(fields))
    });
    let rows: Vec<Value> = rows.collect::<Result<_, _>>()?;
    let notices = report.notices();
    let table = json!({
        "group_by": by.name(),
        "groups": rows,
        "total": total,
        "hidden": report.hidden,
        "notices": notices,
    });
    write_pretty(&table, out)
}

/// Writes one line for each group, without their sum. A line about a session has its
/// project, model, source and times.
pub(super) fn write_csv(report: &Report, by: GroupBy, out: &mut dyn Write) -> io::Result<()> {
    let columns = match by {
        GroupBy::Session => "project,model,source,started_at,ended_at",
        _ => "sessions",
    };
    writeln!(
        out,
        "{},{columns},model_calls,input_tokens,cache_read_tokens,cache_write_tokens,\
         output_tokens,cost_usd,unpriced_calls,high,medium,low",
        by.name()
    )?;
    for Row { key, group: Group { sessions, usage, findings }, session } in
        Table::new(report, by).rows
    {
        let columns = match session.map(SessionColumns::new) {
            None => sessions.to_string(),
            Some(SessionColumns { project, model, source, started_at, ended_at, .. }) => {
                let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
                let texts = [project, model, source].map(|text| field(text.unwrap_or_default()));
                [&texts[..], &[time(started_at), time(ended_at)]].concat().join(",")
            }
        };
        let Usage { model_calls, tokens, cost_usd, unpriced_calls } = usage;
        let FindingTotals { low, medium, high } = findings;
        writeln!(
            out,
            "{},{columns},{model_calls},{},{},{},{},{cost_usd:.6},{unpriced_calls},{high},\
             {medium},{low}",
            field(key.as_deref().unwrap_or_default()),
            tokens.input,
            tokens.cache_read,
            tokens.cache_write,
            tokens.output,
        )?;
    }
    Ok(())
}

/// Returns a field of CSV (RFC 4180). A spreadsheet does not take it for a formula.
fn field(text: &str) -> String {
    let text = make_safe(text);
    let prefix = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if text.contains([',', '"']) {
        format!("\"{prefix}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{prefix}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn quotes_fields_and_disarms_formulas() {
        for (text, expected) in [
            ("/w/app", "/w/app"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("=1+1", "'=1+1"),
            ("a\nb\u{1b}", "a\\nb\\u{1b}"),
        ] {
            assert_eq!(field(text), expected);
        }
    }
}
