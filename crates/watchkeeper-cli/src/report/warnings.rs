use std::io;

use super::notices::Notice;
use crate::output::{Output, quoted_path};

/// Prints notices to standard error. `quiet` prints only errors.
pub(crate) fn warn_about(
    notices: Vec<Notice<'_>>,
    quiet: bool,
    output: &mut Output<'_>,
) -> io::Result<()> {
    for notice in notices {
        let (label, Notice { is_error, file, text }) = (notice.level(), notice);
        let file = file.map(|file| format!("{}: ", quoted_path(file))).unwrap_or_default();
        if is_error || !quiet {
            writeln!(output.err, "{label}: {file}{text}")?;
        }
    }
    Ok(())
}
