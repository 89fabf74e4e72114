use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value, json};
use watchkeeper_core::author::make_safe;

use super::{
    safe_json::write_pretty,
    summary::{FindingTotals, Report, SessionReport},
    text::dollars_and_unpriced,
    usage::{Usage, UsageSlice, day_of},
};
use crate::{
    numbers::{grouped, short},
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
struct Table {
    /// By day, or else by cost. `None` is the group without the property.
    rows: Vec<(Option<String>, Group)>,
    total: Group,
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

impl Table {
    fn new(report: &Report, by: GroupBy) -> Self {
        let mut groups: BTreeMap<Option<String>, Group> = BTreeMap::new();
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
                        session.started_at.map(|_| day_of(episode.finding.at).to_string())
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
        }
        let mut rows: Vec<(Option<String>, Group)> = groups.into_iter().collect();
        if by != GroupBy::Day {
            rows.sort_by(|(_, a), (_, b)| by_cost(a, b));
        }
        Self { rows, total }
    }
}

fn by_cost(a: &Group, b: &Group) -> Ordering {
    let by_cost = b.usage.cost_usd.total_cmp(&a.usage.cost_usd);
    let by_tokens = || b.usage.tokens.total().cmp(&a.usage.tokens.total());
    by_cost.then_with(by_tokens).then_with(|| b.sessions.cmp(&a.sessions))
}

/// Writes a table for people.
pub(super) fn write(
    report: &Report,
    by: GroupBy,
    styled: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    const NUMBERS: [&str; 9] = [
        "sessions",
        "input",
        "cache read",
        "cache write",
        "output",
        "cost",
        "high",
        "medium",
        "low",
    ];
    let table = Table::new(report, by);
    let cells = |name: String, group: &Group| {
        let Group { sessions, usage, findings } = group;
        let tokens = &usage.tokens;
        let mut cells = vec![name, grouped(*sessions)];
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
    let mut lines = vec![std::iter::once(by.name()).chain(NUMBERS).map(str::to_owned).collect()];
    for (key, group) in &table.rows {
        let name = key.as_deref().map_or_else(|| "unknown".to_owned(), make_safe);
        lines.push(cells(name, group));
    }
    lines.push(cells("total".to_owned(), &table.total));
    let width = |column: usize| {
        let cells = lines.iter().map(|line: &Vec<String>| line[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..=NUMBERS.len()).map(width).collect();
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
    let rows = rows.into_iter().map(|(key, group)| -> Result<Value, serde_json::Error> {
        let mut row = Map::new();
        row.insert(by.name().to_owned(), key.into());
        if let Value::Object(numbers) = serde_json::to_value(group)? {
            row.extend(numbers);
        }
        Ok(Value::Object(row))
    });
    let rows: Vec<Value> = rows.collect::<Result<_, _>>()?;
    write_pretty(&json!({ "group_by": by.name(), "groups": rows, "total": total }), out)
}

/// Writes one line for each group, without their sum.
pub(super) fn write_csv(report: &Report, by: GroupBy, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{},sessions,model_calls,input_tokens,cache_read_tokens,cache_write_tokens,\
         output_tokens,cost_usd,unpriced_calls,high,medium,low",
        by.name()
    )?;
    for (key, Group { sessions, usage, findings }) in Table::new(report, by).rows {
        let Usage { model_calls, tokens, cost_usd, unpriced_calls } = usage;
        let FindingTotals { low, medium, high } = findings;
        writeln!(
            out,
            "{},{sessions},{model_calls},{},{},{},{},{cost_usd:.6},{unpriced_calls},{high},\
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
