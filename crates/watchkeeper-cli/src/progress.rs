//! Progress of long work.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{output::Output, recorded};

/// Returns a progress bar on standard error, which is hidden unless that is a
/// terminal and the work is long.
pub(crate) fn progress_bar(files: &[PathBuf], quiet: bool, output: &Output<'_>) -> ProgressBar {
    /// Smaller inputs are read before the bar would be visible.
    const LONG: u64 = 32 << 20;
    if quiet || !output.styles.err_is_terminal {
        return ProgressBar::hidden();
    }
    let total = files.iter().map(|file| recorded::size_of(file)).sum();
    if total < LONG {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    // Fits into any terminal.
    let template = "{wide_bar} {percent:>3}%  {eta:>4} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}
