use std::{io, path::PathBuf};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use watchkeeper_core::{Severity, author::make_safe, embed::Registry};
use watchkeeper_policy::Policy;

use crate::{
    error::Error,
    explain_request::{ExplainError, ExplainRequest},
    global::Global,
    loading,
    output::{Output, Status, quoted_path},
    replay::{self, Recording},
    report::{self, Format, Report, SkippedFile},
    session_paths::{Selection, SessionPaths, require_all},
};

/// Check recorded sessions and report findings
///
/// Without a path, checks the sessions of all known agents on this machine. A file
/// that cannot be read does not affect the other files; the exit status is 2 if the
/// command line names that file, or if no session was read.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    paths: SessionPaths,

    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Lowest severity that sets the exit status to 1
    #[arg(long, value_name = "SEVERITY", default_value = "medium", value_parser = severity())]
    fail_on: Severity,

    /// Explain the findings of one session: the measures of each detector, in
    /// order of time
    #[arg(long)]
    explain: bool,

    /// Start of the id of the session to explain, if there are several
    #[arg(long, value_name = "ID", requires = "explain")]
    session: Option<String>,

    /// Id of the only detector to explain
    #[arg(long, value_name = "ID", requires = "explain")]
    detector: Option<String>,
}

fn severity() -> impl clap::builder::TypedValueParser<Value = Severity> {
    let names = PossibleValuesParser::new(Severity::ALL.map(Severity::name));
    names.map(|name| {
        let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name);
        // The parser accepts only these names.
        severity.unwrap_or(Severity::High)
    })
}

impl Check {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let policy = loading::policy(global, registry, output)?;
        let Selection { paths, source } = self.paths.select(registry)?;
        require_all(&paths)?;
        let mut request = self.explain_request(&policy)?;

        let files = watchkeeper_sources::discover(&paths, registry.sources.iter());
        let bar = progress_bar(&files, global.quiet, output);
        let recording = Recording { files, source, named: paths };
        let mut report = replay::check(policy, registry, recording, request.as_mut(), &bar);
        bar.finish_and_clear();

        match request {
            Some(request) => {
                let timeline = request.finish(&mut report)?;
                for session in &report.sessions {
                    report::write_explanation(
                        session,
                        &timeline,
                        self.format,
                        global.is_verbose(),
                        output,
                    )?;
                }
                warn_about(&report.skipped_files, output)?;
            }
            None => {
                report::write(&report, self.format, global.is_verbose(), output)?;
                if !self.format.lists_skipped_files() {
                    warn_about(&report.skipped_files, output)?;
                }
            }
        }
        output.out.flush()?;
        Ok(self.status(&report))
    }

    fn explain_request(&self, policy: &Policy) -> Result<Option<ExplainRequest>, ExplainError> {
        if !self.explain {
            return Ok(None);
        }
        if let Format::Sarif | Format::Github = self.format {
            return Err(ExplainError::Format);
        }
        ExplainRequest::new(policy, self.detector.as_deref(), self.session.as_deref()).map(Some)
    }

    fn status(&self, report: &Report) -> Status {
        let skipped = &report.skipped_files;
        let has_failed = skipped.iter().any(|file| file.is_named)
            || report.sessions.is_empty() && !skipped.is_empty();
        if has_failed {
            Status::Failure
        } else if report.reaches(self.fail_on) {
            Status::Findings
        } else {
            Status::Success
        }
    }
}

/// Prints the files that were not read, for formats that cannot contain them.
fn warn_about(files: &[SkippedFile], output: &mut Output<'_>) -> io::Result<()> {
    for SkippedFile { file, reason, .. } in files {
        writeln!(output.err, "warning: {}: {}", quoted_path(file), make_safe(reason))?;
    }
    Ok(())
}

/// Returns a progress bar on standard error, which is hidden unless that is a
/// terminal and the work is long.
fn progress_bar(files: &[PathBuf], quiet: bool, output: &Output<'_>) -> ProgressBar {
    /// Smaller inputs are read before the bar would be visible.
    const LONG: u64 = 32 << 20;
    let total = replay::size_of(files);
    if quiet || !output.styles.err_is_terminal || total < LONG {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    let template = "{bar:30} {percent:>3}%  {binary_bytes} of {binary_total_bytes}  {eta} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}
