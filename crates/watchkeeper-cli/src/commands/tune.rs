use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use watchkeeper_core::{
    clock::{Clock as _, SystemClock},
    embed::{Registry, SourceEntry},
};
use watchkeeper_policy::{Loader, Policy};

use super::init;
use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status, safe_path},
    policy_file::PolicyFile,
    progress::progress_bar,
    recorded::is_standard_input,
    replay::{self, CheckOptions, ConfiguredDetectors, Recording},
    report::{Report, TimeArgument, Window, warn_about, write_pretty},
    session_paths::{SessionPaths, require_any},
    tune::{
        LabelledFiles, LabelledFindings, LabelsFileError, LabelsReport, MeasureRecorder, Measures,
        Model, Pace, Proposal, TuneReport, TunedDetectors, Wanted, add_levels, best_balance,
        choices, fragment, held_out, summary, wanted_rate, write as write_text,
    },
};

/// The number of findings a day if none is wanted.
const DEFAULT_PER_DAY: f64 = 1.0;
/// Labelled sessions, and those with a finding that is due, from which on levels are also
/// tried on sessions that are left out.
const MIN_HELD_OUT: (usize, usize) = (20, 5);

/// Propose levels for the detectors of a policy from recorded sessions
///
/// Counts the episodes of each detector in recorded sessions by the highest measure that
/// they reach, and proposes levels for a wanted number of findings of severity `medium`
/// or above. Prints the proposal as a policy that extends the active one.
///
/// The row `episodes` counts every episode that reaches a level, also one that another
/// detector suppresses. The row `findings` counts what the policy would report with this
/// level of `medium`, if the other detectors kept their levels. The totals of the proposed
/// levels are counted by a second reading of the sessions with them.
///
/// Rates are per day on which a session has events, in UTC; ten sessions without times
/// count as a day. Levels of `low` stay, and so do detectors that report at most `low`,
/// budgets, and detectors that count several sessions together.
#[derive(Debug, Args)]
pub(crate) struct Tune {
    #[command(flatten)]
    paths: SessionPaths,

    /// Wanted number of findings of severity `medium` or above a day [default: at most 1]
    ///
    /// While there are more findings, the detector with the most gets its next higher
    /// level, up to five times its present one. While there are fewer, the detector whose next lower level adds the fewest
    /// gets that level; without this option, no level is lowered.
    #[arg(long, value_name = "N", value_parser = positive)]
    per_day: Option<f64>,

    /// Propose levels by labels: a table with the columns `file`, `verdict`, `kind`,
    /// `from_step`, `to_step`, `tell_step` and `why`, separated by tabs
    ///
    /// The verdict is `quiet`, or the severity of the finding that is due in a stretch of
    /// the session. Steps count the tool calls of the file, from 1. Paths of files start
    /// at PATH or at the folder of the table. Only these files are read, each with its
    /// sub-agents.
    ///
    /// A session counts as found if a finding of `medium` or above is due and one is
    /// reported, and a stretch if one is reported in it; findings of budgets do not count.
    /// The proposed levels have the highest recall with the precision of --precision, then
    /// the highest precision, then the fewest changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["per_day", "since", "until"])]
    labels: Option<PathBuf>,

    /// Lowest precision of levels that are proposed by labels
    #[arg(long, value_name = "SHARE", default_value = "0.9", requires = "labels")]
    #[arg(value_parser = share)]
    precision: f64,

    /// Count only sessions and findings that last into this time or later: a date, a
    /// time, or an age such as 7d; UTC
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,

    /// Count only sessions and findings that begin before the end of this date, or before
    /// this time
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,

    /// Largest number of episodes of each detector to show, next to its level of `medium`
    #[arg(long, value_name = "N", default_value = "3")]
    examples: usize,

    /// Write the policy with the proposed levels to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long, requires = "write")]
    force: bool,

    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TuneFormat,
}

/// Format of a report of `tune`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TuneFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

fn positive(text: &str) -> Result<f64, InvalidNumber> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && 0.0 < *number);
    number.ok_or(InvalidNumber("write a number above 0, such as `2` or `0.5`"))
}

fn share(text: &str) -> Result<f64, InvalidNumber> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or(InvalidNumber("write a number from 0 to 1, such as `0.9`"))
}

/// The text is no number in the range.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
struct InvalidNumber(&'static str);

/// The sessions to read, and the way to read them.
struct Input<'a> {
    registry: &'a Registry,
    paths: Vec<PathBuf>,
    missing: Vec<PathBuf>,
    source: Option<&'static SourceEntry>,
    labelled: Option<LabelledFiles>,
    window: Window,
}

/// The measures of one reading.
struct ReadMeasures {
    measures: Measures,
    /// For each labelled file.
    labelled: Vec<LabelledSessionMeasures>,
    /// The sessions, and the files that were not read.
    report: Report,
}

/// The measures of one labelled file.
struct LabelledSessionMeasures {
    /// The highest measure of each detector.
    peaks: Vec<u64>,
    findings: LabelledFindings,
}

impl Tune {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let window = self.window()?;
        let file = loading::find(global.policy.as_deref(), output);
        if global.is_verbose() || file.is_in_project() && !global.quiet {
            loading::print_place(&file, output);
        }
        self.require_new_file(&file)?;
        let policy = loading::policy(&file, global, registry, output)?;
        let input = self.input(registry, window)?;
        let bar = progress_bar(&input.files(), global.quiet, output);
        // The sessions are read once more with the proposed levels.
        bar.set_length(bar.length().unwrap_or_default() * 2);

        let detectors = TunedDetectors::new(&policy.detectors, registry);
        let read = input.read(policy, &detectors, &bar)?;
        let pace = pace(&read);
        let proposal = self.proposal(&detectors, &read, &input, pace);
        // The numbers of the proposal are those of the policy that is written.
        let mut report = TuneReport::new(
            &detectors,
            [&read.measures, &read.measures],
            &proposal,
            pace,
            self.examples,
        );
        let mut proposed = None;
        if report.has_changes() {
            let text = fragment(&report, file.path(), &[]);
            let policy = load_text(&text, registry)?;
            let tuned = TunedDetectors::new(&policy.detectors, registry);
            let second = input.read(policy, &tuned, &bar)?;
            let both = [&read.measures, &second.measures];
            report = TuneReport::new(&detectors, both, &proposal, pace, self.examples);
            proposed = Some(second);
        }
        bar.finish_and_clear();
        match &input.labelled {
            Some(files) => {
                let second = proposed.as_ref().unwrap_or(&read);
                report.labels = Some(self.labels_report(&detectors, files, &read, second));
            }
            None => report.wanted = Some(self.wanted()),
        }
        report.policy = fragment(&report, file.path(), &summary(&report));
        let written = self.write.as_deref();
        if let Some(path) = written.filter(|_| report.has_changes()) {
            init::write(path, &report.policy, self.force)?;
        }
        match self.print(&report, &read.report, global, output) {
            // The reader of standard output, such as `head`, has closed the pipe.
            Err(Error::Io(err)) if err.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed?,
        }
        if let Some(path) = written.filter(|_| !global.quiet) {
            if report.has_changes() {
                writeln!(output.err, "wrote {}", safe_path(path))?;
            } else {
                writeln!(output.err, "no levels to propose; did not write {}", safe_path(path))?;
            }
        }
        Ok(self.status(&read.report))
    }

    fn print(
        &self,
        report: &TuneReport,
        read: &Report,
        global: &Global,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        if !global.quiet {
            match self.format {
                TuneFormat::Json => write_pretty(report, output.out)?,
                TuneFormat::Text if read.is_empty() => {}
                TuneFormat::Text => {
                    write_text(report, self.write.is_none(), output.styles.out, output.out)?;
                }
            }
            output.out.flush()?;
        }
        warn_about(read.notices(), global.quiet, output)?;
        Ok(())
    }

    fn status(&self, report: &Report) -> Status {
        if report.skipped_files.iter().any(|file| file.is_named) || report.is_empty() {
            Status::Failure
        } else {
            Status::Success
        }
    }

    fn window(&self) -> Result<Window, Error> {
        let now = SystemClock.now();
        let window = Window {
            since: self.since.map(|time| time.start(now)),
            until: self.until.map(|time| time.end(now)),
            min_severity: None,
        };
        if window.is_empty() { Err(Error::EmptyPeriod) } else { Ok(window) }
    }

    fn wanted(&self) -> Wanted {
        let per_day = self.per_day.unwrap_or(DEFAULT_PER_DAY);
        Wanted { per_day, may_lower: self.per_day.is_some() }
    }

    /// Returns an error if the policy cannot be written, before the sessions are read.
    fn require_new_file(&self, policy: &PolicyFile) -> Result<(), Error> {
        let Some(path) = &self.write else { return Ok(()) };
        let is_policy = |policy: &Path| {
            let [a, b] = [policy, path].map(fs::canonicalize);
            matches!((a, b), (Ok(a), Ok(b)) if a == b)
        };
        if policy.path().is_some_and(is_policy) {
            return Err(Error::TunedPolicy { path: path.clone() });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::NoFolder { folder: folder.to_owned(), path: path.clone() });
        }
        if !self.force && fs::symlink_metadata(path).is_ok() {
            return Err(Error::PolicyExists { path: path.clone() });
        }
        Ok(())
    }

    fn input<'a>(&self, registry: &'a Registry, window: Window) -> Result<Input<'a>, Error> {
        let (named, source) = self.paths.named(registry)?;
        if named.iter().any(|path| is_standard_input(path)) {
            return Err(Error::StandardInputTwice);
        }
        if let Some(labels) = &self.labels {
            let labelled = Some(LabelledFiles::read(labels, named)?);
            let (paths, missing) = (Vec::new(), Vec::new());
            return Ok(Input { registry, paths, missing, source, labelled, window });
        }
        let paths = self.paths.select(registry)?.paths;
        let missing = require_any(&paths)?;
        Ok(Input { registry, paths, missing, source, labelled: None, window })
    }

    fn proposal(
        &self,
        detectors: &TunedDetectors,
        read: &ReadMeasures,
        input: &Input<'_>,
        pace: Pace,
    ) -> Proposal {
        let choices = choices(detectors, &read.measures);
        if let Some(files) = &input.labelled {
            let (peaks, is_due) = (read.peaks(), is_due(files));
            return best_balance(&choices, &peaks, &is_due, self.precision);
        }
        let Wanted { per_day, may_lower } = self.wanted();
        let model = Model::new(detectors, &read.measures);
        let wanted = per_day * pace.in_days();
        wanted_rate(&choices, wanted, may_lower, |levels| model.n_findings(levels))
    }

    fn labels_report(
        &self,
        detectors: &TunedDetectors,
        files: &LabelledFiles,
        present: &ReadMeasures,
        proposed: &ReadMeasures,
    ) -> LabelsReport {
        let is_due = is_due(files);
        let n_due = is_due.iter().filter(|is_due| **is_due).count();
        let is_enough = MIN_HELD_OUT.0 <= is_due.len() && MIN_HELD_OUT.1 <= n_due;
        let held_out = is_enough.then(|| {
            let choices = choices(detectors, &present.measures);
            held_out(&choices, &present.peaks(), &is_due, &files.groups(), self.precision)
        });
        let findings = [present, proposed].map(|read| {
            read.labelled.iter().map(|labelled| &labelled.findings).collect::<Vec<_>>()
        });
        let [present, proposed] = &findings;
        LabelsReport::new(&files.files, [present, proposed], held_out, self.precision)
    }
}

impl Input<'_> {
    /// Returns the files to read, for the length of the progress.
    fn files(&self) -> Vec<PathBuf> {
        match &self.labelled {
            Some(labelled) => labelled.files.iter().map(|file| file.path.clone()).collect(),
            None => self.discover(&self.paths).files,
        }
    }

    fn discover(&self, paths: &[PathBuf]) -> watchkeeper_sources::Discovery {
        let existing = paths.iter().filter(|path| !self.missing.contains(path));
        watchkeeper_sources::discover(existing, self.registry.sources.iter())
    }

    /// Reads the sessions with the detectors of a policy.
    fn read(
        &self,
        policy: Policy,
        detectors: &TunedDetectors,
        bar: &ProgressBar,
    ) -> Result<ReadMeasures, LabelsFileError> {
        let mut configured = ConfiguredDetectors::from(policy);
        add_levels(&mut configured.detectors, self.registry);
        let Some(labelled) = &self.labelled else {
            let mut recorder = MeasureRecorder::new(detectors, self.window, None);
            let report = self.check(configured, &self.paths, &mut recorder, bar);
            let measures = recorder.finish(&report);
            return Ok(ReadMeasures { measures, labelled: Vec::new(), report });
        };
        let mut all = ReadMeasures {
            measures: Measures::default(),
            labelled: Vec::new(),
            report: Report::default(),
        };
        for file in &labelled.files {
            let name = file.path.display().to_string();
            let mut recorder = MeasureRecorder::new(detectors, self.window, Some(&name));
            let mut paths = vec![file.path.clone()];
            paths.extend(watchkeeper_sources::sub_agent_folder(&file.path));
            let report = self.check(configured.clone(), &paths, &mut recorder, bar);
            labelled.require_session(file, &report)?;
            labelled.require_steps(file, recorder.n_steps())?;
            let measures = recorder.finish(&report);
            let peaks = (0..detectors.len()).map(|idx| measures.highest(idx)).collect();
            let findings = LabelledFindings::new(detectors, &measures);
            all.labelled.push(LabelledSessionMeasures { peaks, findings });
            all.measures.add(measures);
            report.sessions.into_iter().for_each(|session| all.report.add(session));
        }
        Ok(all)
    }

    fn check(
        &self,
        configured: ConfiguredDetectors,
        paths: &[PathBuf],
        recorder: &mut MeasureRecorder<'_>,
        bar: &ProgressBar,
    ) -> Report {
        let recording = Recording {
            found: self.discover(paths),
            source: self.source,
            named: paths.to_vec(),
            missing: self.missing.clone(),
        };
        let options = CheckOptions {
            observer: Some(recorder),
            window: self.window,
            with_usage: false,
            with_page: false,
            jobs: NonZeroUsize::MIN,
        };
        replay::check(configured, self.registry, recording, options, bar)
    }
}

impl ReadMeasures {
    fn peaks(&self) -> Vec<Vec<u64>> {
        self.labelled.iter().map(|labelled| labelled.peaks.clone()).collect()
    }
}

/// Returns whether a finding of `medium` or above is due in each file.
fn is_due(files: &LabelledFiles) -> Vec<bool> {
    files.files.iter().map(|file| file.label.is_due()).collect()
}

fn pace(read: &ReadMeasures) -> Pace {
    let untimed = read.report.sessions.iter().filter(|session| session.started_at.is_none());
    Pace { days: read.measures.days.len() as u64, sessions_without_times: untimed.count() as u64 }
}

/// Loads a policy that is not in a file.
fn load_text(text: &str, registry: &Registry) -> Result<Policy, Error> {
    const NAME: &str = "the proposed policy";
    let read_file = |path: &Path| {
        if path == Path::new(NAME) {
            Ok(text.to_owned())
        } else {
            watchkeeper_policy::read_file(path)
        }
    };
    let home = loading::home();
    let loader = Loader::new(registry, &read_file).home(home.as_deref()).today(loading::today());
    Ok(loading::require_valid(loader.load(Path::new(NAME)))?)
}
