use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{
    Args, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use watchkeeper_core::{
    Severity,
    clock::{Clock as _, SystemClock},
    embed::Registry,
};
use watchkeeper_policy::Policy;

use crate::{
    error::Error,
    explain_request::{ExplainError, ExplainRequest},
    global::Global,
    loading,
    output::{Output, Status, Styles},
    progress::progress_bar,
    recorded::available_threads,
    replace_file::replace_file,
    replay::{self, CheckOptions, Observer, Recording},
    report::{self, Format, GroupBy, Report, TimeArgument, Window, warn_about},
    session_paths::{Selection, SessionPaths, require_any},
};

/// Check recorded sessions and report findings
///
/// Without a path, checks the sessions of all known agents on this machine. A path
/// that is missing or cannot be read does not affect the other files; the exit status
/// is 2 if the command line names that path, or if no session was read. `-q` prints no
/// report.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    paths: SessionPaths,

    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// Write the report to a file in place of standard output
    ///
    /// A file that exists is replaced at once, when the report is complete. A new one can be read
    /// by its owner only. The file is written with `-q`, too.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Report only sessions and findings that last into this time or later: a date,
    /// a time, or an age such as 7d; UTC
    #[arg(long, value_name = "TIME", conflicts_with = "explain")]
    since: Option<TimeArgument>,

    /// Report only sessions and findings that begin before the end of this date, or
    /// before this time
    #[arg(long, value_name = "TIME", conflicts_with = "explain")]
    until: Option<TimeArgument>,

    /// Lowest severity of the findings in the report
    ///
    /// Does not change the exit status.
    #[arg(long, value_name = "SEVERITY", value_parser = severity(), conflicts_with = "explain")]
    min_severity: Option<Severity>,

    /// Print a table of sessions, tokens, dollars and findings of the period for each
    /// group; formats: text, json, csv
    #[arg(long, value_name = "PROPERTY", conflicts_with = "explain")]
    group_by: Option<GroupBy>,

    /// Lowest severity that sets the exit status to 1
    #[arg(long, value_name = "SEVERITY", default_value = "medium", value_parser = severity())]
    fail_on: Severity,

    /// Number of threads that read sessions [default: the processors of this machine]
    ///
    /// Does not change the report. One thread reads all sessions if a detector of the policy
    /// has `per`.
    #[arg(long, short, value_name = "N", conflicts_with = "explain")]
    jobs: Option<NonZeroUsize>,

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

/// A report, and the arguments for printing it.
struct Printed<'a> {
    report: &'a mut Report,
    request: Option<ExplainRequest>,
    global: &'a Global,
    registry: &'a Registry,
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
        self.require_groups()?;
        self.require_destination(output)?;
        let window = self.window()?;
        let file = loading::find(global.policy.as_deref(), output);
        // An agent can write the policy of its own project.
        if global.is_verbose() || file.is_in_project() && !global.quiet {
            loading::print_place(&file, output);
        }
        let policy = loading::policy(&file, global, registry, output)?;
        if !global.quiet
            && let Some(note) = self.paths.unsupported_note()
        {
            writeln!(output.err, "{note}")?;
        }
        let Selection { paths, source } = self.paths.select(registry)?;
        let missing = require_any(&paths)?;
        let mut request = self.explain_request(&policy)?;

        let existing = paths.iter().filter(|path| !missing.contains(path));
        let found = watchkeeper_sources::discover(existing, registry.sources.iter());
        let is_read = found.files.iter().map(PathBuf::as_path).chain(file.path());
        self.require_other_file(is_read)?;
        let bar = progress_bar(&found.files, global.quiet, output);
        let recording = Recording { found, source, named: paths, missing };
        let options = CheckOptions {
            observer: request.as_mut().map(|request| request as &mut dyn Observer),
            window,
            with_usage: self.group_by.is_some() || self.format == Format::Csv,
            with_page: self.format == Format::Html,
            jobs: self.jobs.unwrap_or_else(available_threads),
        };
        let mut report = replay::check(policy.into(), registry, recording, options, &bar);
        bar.finish_and_clear();

        let printed = Printed { report: &mut report, request, global, registry };
        match self.print_or_write(printed, output) {
            // The reader of standard output, such as `head`, has closed the pipe.
            Err(Error::Io(err)) if err.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
        Ok(self.status(&report))
    }

    /// Prints the report, or writes it to the file of `--output`.
    fn print_or_write(&self, printed: Printed<'_>, output: &mut Output<'_>) -> Result<(), Error> {
        let Some(path) = &self.output else { return self.print(printed, output) };
        let mut content = Vec::new();
        let styles = Styles { out: false, ..output.styles };
        let mut to_content = Output { out: &mut content, err: &mut *output.err, styles };
        self.print(printed, &mut to_content)?;
        let written = write_file(path, &content);
        written.map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// Prints the report, or the explanation.
    fn print(&self, printed: Printed<'_>, output: &mut Output<'_>) -> Result<(), Error> {
        let Printed { report, request, global, registry } = printed;
        match request {
            Some(request) => {
                let timeline = request.finish(report)?;
                for session in &report.sessions {
                    report::write_explanation(
                        session,
                        &timeline,
                        self.format,
                        global.is_verbose(),
                        output,
                    )?;
                }
                warn_about(report.notices(), global.quiet, output)?;
            }
            None => {
                let verbose = global.is_verbose();
                let is_wanted = !global.quiet || self.output.is_some();
                if is_wanted && let Some(by) = self.group_by {
                    report::write_groups(report, by, self.format, verbose, output)?;
                } else if is_wanted {
                    let kinds = &registry.detectors;
                    report::write(report, self.format, verbose, kinds, output)?;
                }
                if global.quiet || !self.format.has_notices() {
                    warn_about(report.notices(), global.quiet, output)?;
                }
            }
        }
        output.out.flush()?;
        Ok(())
    }

    fn explain_request(&self, policy: &Policy) -> Result<Option<ExplainRequest>, ExplainError> {
        if !self.explain {
            return Ok(None);
        }
        if let Format::Sarif | Format::Github | Format::Csv | Format::Html = self.format {
            return Err(ExplainError::Format);
        }
        ExplainRequest::new(policy, self.detector.as_deref(), self.session.as_deref()).map(Some)
    }

    fn require_groups(&self) -> Result<(), Error> {
        match self.group_by {
            Some(_) if !self.format.has_groups() => Err(Error::GroupFormat),
            _ => Ok(()),
        }
    }

    /// Checks the destination of the report, before the sessions are read.
    fn require_destination(&self, output: &Output<'_>) -> Result<(), Error> {
        let Some(path) = &self.output else {
            let is_page = self.format == Format::Html;
            let is_shown = is_page && output.styles.out_is_terminal;
            return if is_shown { Err(Error::PageOnTerminal) } else { Ok(()) };
        };
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if !folder.is_dir() => {
                Err(Error::NoFolder { folder: folder.to_owned(), path: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the report replaces none of these files.
    fn require_other_file<'a>(
        &self,
        mut is_read: impl Iterator<Item = &'a Path>,
    ) -> Result<(), Error> {
        let Some(path) = &self.output else { return Ok(()) };
        let Ok(real) = fs::canonicalize(path) else { return Ok(()) };
        let is_same = |other: &Path| fs::canonicalize(other).is_ok_and(|other| other == real);
        if is_read.any(is_same) { Err(Error::OutputIsRead(path.clone())) } else { Ok(()) }
    }

    fn window(&self) -> Result<Window, Error> {
        let now = SystemClock.now();
        let window = Window {
            since: self.since.map(|time| time.start(now)),
            until: self.until.map(|time| time.end(now)),
            min_severity: self.min_severity,
        };
        if window.is_empty() { Err(Error::EmptyPeriod) } else { Ok(window) }
    }

    fn status(&self, report: &Report) -> Status {
        if report.skipped_files.iter().any(|file| file.is_named) || report.is_empty() {
            Status::Failure
        } else if report.reaches(self.fail_on) {
            Status::Findings
        } else {
            Status::Success
        }
    }
}

/// Replaces a file. Something that is no file, such as a pipe, is written to.
fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    if path.exists() && !path.is_file() {
        fs::write(path, content)
    } else {
        replace_file(path, content)
    }
}
