use std::io;

use clap::ValueEnum;

use super::{
    explanation, github, json, sarif,
    summary::{Report, SessionReport},
    text,
};
use crate::{explanation::Timeline, output::Output};

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object with all sessions
    Json,
    /// One finding per line, as JSON
    Ndjson,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Workflow commands of GitHub Actions
    Github,
}

impl Format {
    /// Returns `true` if reports in this format list the skipped files.
    pub(crate) fn lists_skipped_files(self) -> bool {
        matches!(self, Self::Text | Self::Json)
    }
}

/// Writes a report to standard output. `verbose` adds sessions without findings
/// to the text format.
pub(crate) fn write(
    report: &Report,
    format: Format,
    verbose: bool,
    output: &mut Output<'_>,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(report, verbose, output.styles.out, output.out),
        Format::Json => json::write(report, output.out),
        Format::Ndjson => json::write_lines(report, output.out),
        Format::Sarif => sarif::write(report, output.out),
        Format::Github => github::write(report, output.out),
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
