use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use watchkeeper_core::{
    DedupCache, Engine, EngineConfig, Finding, Registry, SessionId, Severity, SignedDuration,
    SourceEntry, quote,
};
use watchkeeper_policy::Policy;

use crate::{
    Global, Output, Status, loading,
    places::{Found, Places},
    question::Question,
    recorded,
    report::{Format, Report, SessionReport, UnreadFile},
};

/// Check recorded sessions, and report what is found
///
/// Without a path it looks where the agents on this machine keep their
/// sessions.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    places: Places,

    /// The form of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,

    /// The least severity that makes the exit status 1
    #[arg(long, value_name = "SEVERITY", default_value = "medium", value_parser = severity)]
    fail_on: Severity,

    /// Show for one session what each detector measured and when, and why it found
    /// what it found, and nothing else
    #[arg(long)]
    explain: bool,

    /// The session to explain, by the beginning of its id, where there are more
    #[arg(long, value_name = "ID", requires = "explain")]
    session: Option<String>,

    /// The one detector to explain, by its name in the policy
    #[arg(long, value_name = "NAME", requires = "explain")]
    detector: Option<String>,
}

fn severity(text: &str) -> Result<Severity, String> {
    let known = Severity::ALL.map(Severity::name);
    let found = Severity::ALL.into_iter().find(|it| it.name() == text);
    found.ok_or_else(|| format!("expected one of {}", known.join(", ")))
}

impl Check {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let policy = match loading::policy(global, registry, output) {
            Ok(it) => it,
            Err(status) => return Ok(status),
        };
        let Found { paths, source } = match self.places.find(registry) {
            Ok(it) => it,
            Err(message) => return Ok(output.fail(&message)),
        };
        if let Some(missing) = paths.iter().find(|it| !it.exists()) {
            let missing = quote(&missing.display().to_string());
            return Ok(output.fail(&format!("error: {missing} does not exist\n")));
        }
        let files = watchkeeper_sources::discover(&paths, registry.sources.iter());
        let is_named = |file: &Path| paths.iter().any(|it| it == file);

        let mut question = match self.question(&policy).transpose() {
            Ok(it) => it,
            Err(message) => return Ok(output.fail(&message)),
        };
        let bar = progress(&files, global.quiet, output);
        let mut report = report(policy, registry, source, files, &is_named, &mut question, &bar);
        bar.finish_and_clear();

        if let Some(question) = question {
            let timeline = match question.answer(&mut report) {
                Ok(it) => it,
                Err(message) => return Ok(output.fail(&message)),
            };
            for session in &report.sessions {
                Report::explain(session, &timeline, self.format, global.verbose, output)?;
            }
            output.out.flush()?;
            let is_found = report.reaches(self.fail_on);
            return Ok(if is_found { Status::Findings } else { Status::Success });
        }
        report.write(self.format, global.verbose, output)?;
        output.out.flush()?;
        Ok(if report.reaches(self.fail_on) {
            Status::Findings
        } else if report.sessions.is_empty() && !report.unread_files.is_empty() {
            Status::Failure
        } else {
            Status::Success
        })
    }

    /// What is to be explained, if anything. The error is for a person.
    fn question(&self, policy: &Policy) -> Option<Result<Question, String>> {
        self.explain.then(|| match self.format {
            Format::Text | Format::Json | Format::Ndjson => {
                Question::new(policy, self.detector.as_deref(), self.session.as_deref())
            }
            Format::Sarif | Format::Github => {
                Err("error: what `--explain` says is `text`, `json` or `ndjson`\n".to_owned())
            }
        })
    }
}

/// A bar on standard error, if that is a terminal and the work is long.
fn progress(files: &[PathBuf], quiet: bool, output: &Output<'_>) -> ProgressBar {
    /// Less is read before a bar could be seen.
    const LONG: u64 = 32 << 20;
    let sizes = files.iter().filter_map(|it| fs::metadata(it).ok()).map(|it| it.len());
    let total = sizes.sum::<u64>();
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

/// Runs the detectors of a policy over recorded sessions, one after the other.
fn report(
    policy: Policy,
    registry: &Registry,
    only: Option<&'static SourceEntry>,
    files: Vec<PathBuf>,
    is_named: &dyn Fn(&Path) -> bool,
    question: &mut Option<Question>,
    bar: &ProgressBar,
) -> Report {
    // What is recorded is read once and forgotten at its end, not before.
    let config = EngineConfig {
        max_sessions: usize::MAX,
        session_expiry: SignedDuration::MAX,
        ..policy.engine_config()
    };
    let mut engine = Engine::new(policy.detectors, config);
    let mut seen = DedupCache::default();
    let mut report = Report::default();
    report.totals.files = files.len() as u64;
    let (groups, without) = recorded::group(files, only, &registry.sources);
    for (file, reason) in without {
        // In a folder there may be anything; a file that was named is meant.
        if is_named(&file) {
            let unread_lines = recorded::count_unread(&file, only, &registry.sources);
            report.totals.unread_lines += unread_lines;
            report.unread_files.push(UnreadFile { file, reason, unread_lines });
        } else {
            report.totals.files -= 1;
        }
    }
    let groups = match question {
        Some(it) => it.narrow(groups),
        None => groups,
    };
    for group in groups {
        let mut findings: Vec<Finding> = Vec::new();
        let mut sessions: BTreeSet<SessionId> = BTreeSet::new();
        let read = group.read(only, &registry.sources, &mut seen, &mut |event| {
            if let Some(it) = question {
                it.hear(&event, &mut engine);
            }
            engine.observe(&event, &mut findings);
            if let Some(it) = question {
                it.observe(&event, &mut engine, registry);
            }
            if !sessions.contains(&event.session) {
                sessions.insert(event.session);
            }
        });
        let mut unread = match read {
            Ok(it) => it,
            Err(err) => {
                let file = group.files[0].clone();
                report.unread_files.push(UnreadFile {
                    file,
                    reason: err.to_string(),
                    unread_lines: 0,
                });
                continue;
            }
        };
        for id in sessions {
            // A finding says how often it had happened when it was made.
            for (fingerprint, count) in engine.open_findings(&id) {
                let latest = findings.iter_mut().rfind(|it| it.fingerprint == fingerprint);
                if let Some(finding) = latest {
                    finding.count = count;
                }
            }
            let (own, rest) = findings.into_iter().partition(|it| it.session == id);
            findings = rest;
            if let Some(facts) = engine.session(&id) {
                let files = group.files.clone();
                report.add(SessionReport::new(facts, files, own, &unread));
                // They are counted once, whatever number of sessions a file holds.
                unread = watchkeeper_core::SkippedLines::default();
            }
            engine.forget(&id);
        }
        let sizes = group.files.iter().filter_map(|it| fs::metadata(it).ok()).map(|it| it.len());
        bar.inc(sizes.sum());
    }
    report
}
