use std::io::{self, Write};

use super::{
    safe_json::{write_line, write_pretty},
    summary::Report,
};

/// Writes the report as one object.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_pretty(report, out)
}

/// Writes one finding per line.
pub(super) fn write_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    report.episodes().into_iter().try_for_each(|episode| write_line(episode, out))
}
