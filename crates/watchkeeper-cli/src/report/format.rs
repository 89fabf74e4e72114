use std::io;

use clap::ValueEnum;
use watchkeeper_core::embed::{DetectorEntry, Kinds};

use super::{
    explanation, github,
    groups::{self, GroupBy},
    html, json, sarif,
    summary::{Report, SessionReport},
    text,
};
use crate::{explanation::Timeline, output::Output};

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object with all sessions, or all groups
    Json,
    /// One finding per line, as JSON
    Ndjson,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Workflow commands of GitHub Actions
    Github,
    /// One line per session or group, for spreadsheets
    Csv,
    /// One page with the timelines of the sessions, for a browser
    Html,
}

impl Format {
    /// Returns `true` if reports and tables in this format contain the notices, such as
    /// files that were not read. For other formats, they belong on standard error.
    pub(crate) fn has_notices(self) -> bool {
        match self {
            Self::Text | Self::Json | Self::Sarif | Self::Github | Self::Html => true,
            Self::Ndjson | Self::Csv => false,
        }
    }

    /// Returns `true` if there is a table of groups in this format.
    pub(crate) fn has_groups(self) -> bool {
        matches!(self, Self::Text | Self::Json | Self::Csv)
    }
}

/// Writes a report to standard output. `verbose` adds sessions without findings
/// and files without a session to the text format.
pub(crate) fn write(
    report: &Report,
    format: Format,
    verbose: bool,
    kinds: &Kinds<DetectorEntry>,
    output: &mut Output<'_>,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(report, verbose, output.styles.out, output.out),
        Format::Json => json::write(report, output.out),
        Format::Ndjson => json::write_lines(report, output.out),
        Format::Sarif => sarif::write(report, kinds, output.out),
        Format::Github => github::write(report, output.out),
        Format::Csv => groups::write_csv(report, GroupBy::Session, output.out),
        Format::Html => html::write(report, output.out),
    }
}

/// Writes the groups of a report to standard output, in a format that
/// [has groups](Format::has_groups). `verbose` adds files without a session to the text
/// format.
pub(crate) fn write_groups(
    report: &Report,
    by: GroupBy,
    format: Format,
    verbose: bool,
    output: &mut Output<'_>,
) -> io::Result<()> {
    match format {
        Format::Json => groups::write_json(report, by, output.out),
        Format::Csv => groups::write_csv(report, by, output.out),
        _ => {
            let styled = output.styles.out;
            groups::write(report, by, styled, output.out)?;
            text::write_notices(report, verbose, styled, output.out)
        }
    }
}

/// Writes the explanation of one session to standard output. `verbose` adds
/// measures far below a level to the text format.
pub(crate) fn write_explanation(
    session: &SessionReport,
    timeline: &Timeline,
    format: Format,
    verbose: bool,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let styled = output.styles.out;
    match format {
        Format::Json => explanation::write_json(session, timeline, output.out),
        Format::Ndjson => explanation::write_lines(timeline, output.out),
        _ => explanation::write(session, timeline, verbose, styled, output.out),
    }
}
