use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use watchkeeper_core::{
    clock::{Clock as _, SystemClock},
    embed::Registry,
};

use crate::{
    backtest::Comparison,
    error::Error,
    global::Global,
    loading,
    output::{Output, Status},
    policy_file::PolicyFile,
    progress::progress_bar,
    recorded::{available_threads, is_standard_input},
    replay::{self, CheckOptions, Recording},
    report::{Report, TimeArgument, Window, warn_about, write_pretty},
    session_paths::{Selection, SessionPaths, require_any},
};

/// Compare the findings of two policies in recorded sessions
///
/// Checks the sessions with the policy of --policy and the policy of --against, and prints the
/// findings that are new, that are gone, and that have another severity. A finding is the same if
/// its session, its detector and its subject are.
#[derive(Debug, Args)]
pub(crate) struct Backtest {
    #[command(flatten)]
    paths: SessionPaths,

    /// Policy to compare with [default: the first policy at the usual places]
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Compare only sessions and findings that last into this time or later: a date, a time, or
    /// an age such as 7d; UTC
    #[arg(long, value_name = "TIME")]
    since: Option<TimeArgument>,

    /// Compare only sessions and findings that begin before the end of this date, or before this
    /// time
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,

    /// Exit with status 1 if the findings differ
    #[arg(long)]
    fail_on_change: bool,

    /// Format of the comparison
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: BacktestFormat,

    /// Number of threads that read sessions [default: the processors of this machine]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

/// Format of a comparison of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BacktestFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

impl Backtest {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let window = self.window()?;
        let after = loading::find(global.policy.as_deref(), output);
        let before = loading::find(self.against.as_deref(), output);
        if !global.quiet {
            for (name, file) in [("before", &before), ("after", &after)] {
                let file_name = loading::policy_name(file.path());
                writeln!(output.err, "{name}: {file_name} ({})", reason(file, name))?;
            }
        }
        let policies = [
            loading::policy(&before, global, registry, output)?,
            loading::policy(&after, global, registry, output)?,
        ];
        let Selection { paths, source } = self.paths.select(registry)?;
        if paths.iter().any(|path| is_standard_input(path)) {
            return Err(Error::StandardInputTwice);
        }
        let missing = require_any(&paths)?;
        let discover = || {
            let existing = paths.iter().filter(|path| !missing.contains(path));
            watchkeeper_sources::discover(existing, registry.sources.iter())
        };
        let bar = progress_bar(&discover().files, global.quiet, output);
        bar.set_length(bar.length().unwrap_or_default() * 2);
        let [before, after] = policies.map(|policy| {
            let recording = Recording {
                found: discover(),
                source,
                named: paths.clone(),
                missing: missing.clone(),
            };
            self.check(policy, registry, recording, window, &bar)
        });
        bar.finish_and_clear();
        let comparison = Comparison::new(&before, &after);
        match self.format {
            BacktestFormat::Json => write_pretty(&comparison, output.out)?,
            BacktestFormat::Text if after.is_empty() => {}
            BacktestFormat::Text => comparison.write(output.out)?,
        }
        output.out.flush()?;
        warn_about(after.notices(), global.quiet, output)?;
        Ok(if after.skipped_files.iter().any(|file| file.is_named) || after.is_empty() {
            Status::Failure
        } else if self.fail_on_change && comparison.has_changes() {
            Status::Findings
        } else {
            Status::Success
        })
    }

    fn check(
        &self,
        policy: watchkeeper_policy::Policy,
        registry: &Registry,
        recording: Recording,
        window: Window,
        bar: &ProgressBar,
    ) -> Report {
        let options = CheckOptions {
            observer: None,
            window,
            with_usage: false,
            with_page: false,
            jobs: self.jobs.unwrap_or_else(available_threads),
        };
        replay::check(policy.into(), registry, recording, options, bar)
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
}

/// Returns the reason for which a policy is one of the two.
fn reason(file: &PolicyFile, name: &str) -> &'static str {
    match file {
        PolicyFile::Given(_) if name == "before" => "given by --against",
        file => file.reason(),
    }
}
