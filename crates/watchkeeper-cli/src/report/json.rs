use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::{
    notices::Notice,
    safe_json::{write_line, write_pretty},
    summary::Report,
};

/// A report, with its messages for people.
#[derive(Debug, Serialize)]
struct ReportAndNotices<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<Notice<'a>>,
}

/// Writes the report as one object.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_pretty(&ReportAndNotices { report, notices: report.notices() }, out)
}

/// Returns the report as one object.
pub(crate) fn to_json(report: &Report) -> serde_json::Result<Value> {
    serde_json::to_value(ReportAndNotices { report, notices: report.notices() })
}

/// Writes one finding per line.
pub(super) fn write_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    report.episodes().into_iter().try_for_each(|episode| write_line(episode, out))
}
