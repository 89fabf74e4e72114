use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use watchkeeper_core::{
    author::make_safe,
    embed::{Queue, Registry},
    quote,
};
use watchkeeper_delivery::StateError;
use watchkeeper_policy::Policy;
use watchkeeper_sinks::{Lines, Stdout};
use watchkeeper_sources::{EndReason, FollowReport, Update};

use crate::{
    causes::with_causes,
    error::Error,
    global::Global,
    live::{LiveMonitor, SignalListener, Stopper},
    loading,
    numbers::counted,
    output::{Output, Status, Styles, quoted_path, safe_path},
    policy_file::PolicyFile,
    report::unsupported_agents,
    session_paths::{Selection, SessionPaths},
    state_folder::StateFolder,
    watch_state::WatchState,
};

/// Follow live sessions and deliver findings as they happen
///
/// Without a path, follows the sessions of all known agents on this machine. A path
/// that does not exist yet is followed as soon as it appears. Findings go to the sinks
/// of the policy: the sink `console` prints them on standard output. If no route of the
/// policy uses a sink for the terminal, `watch` prints all findings. Press Ctrl-C to stop.
/// If the reader of standard output ends and no other sink is used, `watch` stops with an
/// error at the next finding.
///
/// For sinks other than terminals, `watch` stores which findings were delivered. After a
/// restart it delivers those that were not, and those of events that were recorded meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    paths: SessionPaths,

    /// Format of the findings on standard output [default: the format of the policy]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FindingFormat>,

    /// Folder in which the findings that sinks have accepted, and those that wait, are stored
    /// [default: `state_dir` of the policy, or `watchkeeper` in `$XDG_STATE_HOME` or
    /// `~/.local/state`]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Format of the findings on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FindingFormat {
    /// A line for people
    Text,
    /// A line of JSON
    Json,
}

impl From<FindingFormat> for watchkeeper_sinks::Format {
    fn from(format: FindingFormat) -> Self {
        match format {
            FindingFormat::Text => Self::Text,
            FindingFormat::Json => Self::Json,
        }
    }
}

impl Watch {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let policy_file = loading::find(global.policy.as_deref(), output);
        let needs_sinks = |policy: &Policy| !self.prints_all(policy);
        let policy =
            loading::policy_with_secrets(&policy_file, global, registry, needs_sinks, output)?;
        let Selection { paths, source } = self.paths.select_all(registry)?;
        if paths.iter().any(|path| path == Path::new("-")) {
            return Err(Error::StandardInput);
        }
        let summary = Summary::new(&paths, &policy_file, &policy);
        let sink_files = loading::sink_files(&policy);
        let observers = self.printer(&policy, output.styles);
        let has_other_sinks = uses_other_sinks(&policy);
        let state = self.open_state(&policy, &paths, global, output)?;
        if let Some(state) = state.as_ref().filter(|_| global.is_verbose()) {
            writeln!(output.err, "state: {}", safe_path(state.path()))?;
        }
        let live = LiveMonitor::new(policy, registry, paths, source, observers, state);
        stop_without_reader(live.stopper(), has_other_sinks);
        // Before the first message, so that no signal is missed after it. A closed terminal
        // ends the program; a service has none.
        let signals = SignalListener::start(live.stopper(), !output.styles.err_is_terminal)?;
        if !global.quiet {
            if let Some(note) = self.paths.unsupported_note() {
                writeln!(output.err, "{note}")?;
            }
            summary.print_start(output.err)?;
        }
        if global.is_verbose() {
            output.err.write_all(sink_files.as_bytes())?;
        }
        let err = RefCell::new(&mut *output.err);
        // Used once, at the start.
        let recognized = RefCell::new(Some(BTreeSet::new()));
        let outcome = live.run(
            &mut |update| {
                if let (Update::Began { file, .. }, Some(recognized)) =
                    (update, &mut *recognized.borrow_mut())
                {
                    recognized.insert(PathBuf::from(&**file));
                }
                print_update(update, global, &mut **err.borrow_mut());
            },
            &mut |report, n_sessions| {
                let recognized = recognized.take().unwrap_or_default();
                if !global.quiet {
                    summary.print_read(report, n_sessions, &recognized, &mut **err.borrow_mut());
                }
            },
        )?;
        signals.finish();

        if !global.quiet {
            let (counts, followed) = (outcome.counts, &outcome.followed);
            writeln!(
                output.err,
                "watched {} in {}: {}, {} skipped",
                counted(counts.events, "event"),
                counted(followed.n_followed as u64, "file"),
                counted(counts.findings, "finding"),
                counted(followed.skipped_lines.total(), "line"),
            )?;
            if 0 < counts.suppressed {
                let repeats = counted(counts.suppressed, "repeat");
                writeln!(output.err, "cooldowns of routes suppressed {repeats} of findings")?;
            }
        }
        if 0 < outcome.n_pending && !global.quiet {
            let n_pending = counted(outcome.n_pending, "finding");
            writeln!(output.err, "{n_pending} not delivered yet; stored for the next start")?;
        }
        if 0 < outcome.counts.lost {
            return Err(Error::FindingsLost {
                lost: outcome.counts.lost,
                sinks: outcome.losses,
                timed_out: !outcome.all_delivered,
            });
        }
        if !outcome.all_delivered {
            return Err(Error::NotAllDelivered);
        }
        Ok(Status::Success)
    }

    /// Opens the state. Without a folder that the user has chosen, a folder that cannot be used
    /// is a warning, and findings end with the process.
    fn open_state(
        &self,
        policy: &Policy,
        paths: &[PathBuf],
        global: &Global,
        output: &mut Output<'_>,
    ) -> Result<Option<WatchState>, Error> {
        let chosen = self.state_dir.as_ref().or(policy.monitor.state_dir.as_ref());
        let warn = |reason: &str, output: &mut Output<'_>| {
            if !global.quiet {
                let remedy = "findings end with this program; use --state-dir";
                output.fail(&format!("warning: {reason}; {remedy}\n"));
            }
        };
        let Some(base) = chosen.cloned().or_else(|| StateFolder::default().path()) else {
            if WatchState::is_needed(policy) {
                warn("HOME is not set", output);
            }
            return Ok(None);
        };
        match WatchState::open(policy, &base, paths) {
            Err(err @ StateError::Io { .. }) if chosen.is_none() => {
                warn(&with_causes(&err), output);
                Ok(None)
            }
            opened => Ok(opened?),
        }
    }

    /// Returns whether all findings are printed, because no route of the policy uses a
    /// sink for the terminal.
    fn prints_all(&self, policy: &Policy) -> bool {
        let is_used = |kind: &str| {
            let mut sinks = policy.sinks.iter().filter(|sink| sink.kind == kind);
            sinks.any(|sink| policy.routes.iter().any(|route| route.sinks.contains(&sink.id)))
        };
        !is_used("console") && (self.format.is_some() || !is_used("stderr"))
    }

    /// Makes the consoles of the policy print to standard output. Returns a printer of all
    /// findings if the policy uses no console.
    fn printer(&self, policy: &Policy, styles: Styles) -> Vec<Queue> {
        const CAPACITY: usize = 1024;
        let format = self.format.map(watchkeeper_sinks::Format::from);
        watchkeeper_sinks::print_to_stdout(format);
        if !self.prints_all(policy) {
            return Vec::new();
        }
        let lines = Lines::new(Stdout::default(), format.unwrap_or_default(), styles.out);
        vec![Queue::new("stdout", Box::new(lines), CAPACITY)]
    }
}

/// Returns whether a route of the policy uses a sink that does not print to standard output.
fn uses_other_sinks(policy: &Policy) -> bool {
    let mut used = policy.routes.iter().flat_map(|route| &route.sinks);
    used.any(|id| policy.sinks.iter().any(|sink| sink.id == *id && sink.kind != "console"))
}

/// Stops the monitor when the reader of standard output is gone, unless findings have other
/// sinks.
fn stop_without_reader(stopper: Stopper, has_other_sinks: bool) {
    watchkeeper_sinks::on_closed_stdout(move || {
        let message = if has_other_sinks {
            "warning: standard output was closed; findings go to the other sinks only\n"
        } else {
            stopper.stop();
            "note: stopping, since standard output was closed\n"
        };
        // A closed standard error does not end the monitor.
        let _ = io::stderr().write_all(message.as_bytes());
    });
}

/// The messages at the start: the paths, the policy, and the files that are read.
struct Summary {
    existing: Vec<PathBuf>,
    missing: Vec<PathBuf>,
    policy: String,
}

impl Summary {
    fn new(paths: &[PathBuf], file: &PolicyFile, policy: &Policy) -> Self {
        let (existing, missing) = paths.iter().cloned().partition(|path| path.exists());
        let sinks: Vec<&str> = policy.sinks.iter().map(|sink| &*sink.id).collect();
        let sinks = if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") };
        let policy = format!(
            "policy: {} ({}); {}; sinks: {}",
            loading::policy_name(file.path()),
            file.reason(),
            counted(policy.n_detectors() as u64, "detector"),
            make_safe(&sinks),
        );
        Self { existing, missing, policy }
    }

    fn print_start(&self, err: &mut dyn Write) -> io::Result<()> {
        let list = |paths: &[PathBuf]| {
            paths.iter().map(|path| safe_path(path)).collect::<Vec<_>>().join(", ")
        };
        if !self.missing.is_empty() {
            writeln!(err, "waiting for paths that do not exist yet: {}", list(&self.missing))?;
        }
        writeln!(err, "{}", self.policy)?;
        let paths = match &self.existing[..] {
            [] => "for new files".to_owned(),
            existing => list(existing),
        };
        writeln!(err, "watching {paths} (press Ctrl-C to stop)")
    }

    /// Prints the counts of files. A closed standard error does not end the monitor.
    fn print_read(
        &self,
        report: &FollowReport,
        n_sessions: usize,
        recognized: &BTreeSet<PathBuf>,
        err: &mut dyn Write,
    ) {
        let files = |n: usize| counted(n as u64, "file");
        let read = format!(
            "read {} of {}",
            files(report.n_followed),
            counted(n_sessions as u64, "session")
        );
        let mut parts = vec![read];
        for (n, reason) in [
            (report.n_dormant, "not read until they change"),
            (report.n_unrecognized, "of no known format"),
            (report.n_unreadable, "not readable"),
            (report.n_failed, "given up after a panic of their source"),
        ] {
            if 0 < n {
                parts.push(format!("{} {reason}", files(n)));
            }
        }
        let unsupported = report.unsupported.iter().map(|(agent, n)| (*agent, *n)).collect();
        parts.extend(unsupported_agents(unsupported));
        let _ = writeln!(err, "{}", parts.join("; "));
        for path in self.existing.iter().filter(|path| !path.is_dir()) {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            if !recognized.contains(&absolute) {
                let reason = reason_not_read(path);
                let _ = writeln!(err, "warning: {} is not read: {reason}", quoted_path(path));
            }
        }
    }
}

/// Returns the reason why a file is not read, or not yet.
fn reason_not_read(path: &Path) -> String {
    if !path.is_file() {
        return "it is neither a file nor a folder".to_owned();
    }
    match watchkeeper_sources::unsupported_agent(path) {
        Some(agent) => format!("it is a session of {agent}, which is not supported"),
        None => "no source recognizes it yet".to_owned(),
    }
}

/// Prints a change of a file: problems unless `--quiet` is set, everything else if
/// `--verbose` is set.
fn print_update(update: &Update, global: &Global, err: &mut dyn Write) {
    let (text, is_problem) = match update {
        Update::Began { file, source } => (format!("{source}: reading {}", quote(file)), false),
        Update::Moved { from, to } => {
            (format!("{} was renamed to {}", quote(from), quote(to)), false)
        }
        Update::Ended { file, reason: EndReason::Gone } => {
            (format!("{} was removed", quote(file)), false)
        }
        Update::Ended { file, reason: EndReason::Rewritten } => {
            (format!("{} was rewritten", quote(file)), false)
        }
        Update::SkippedLine { file, line, reason } => {
            (format!("skipped line {line} of {}: {reason}", quote(file)), false)
        }
        Update::Unreadable { file, reason } => {
            (format!("warning: cannot read {}: {}", quote(file), make_safe(reason)), true)
        }
        Update::Notice(notice) => (format!("note: {notice}"), true),
        Update::SourceFailed { file, panic } => {
            (format!("error: {panic}; stopped reading {}", quote(file)), true)
        }
        _ => return,
    };
    if global.is_verbose() || (is_problem && !global.quiet) {
        // A closed standard error does not end the monitor.
        let _ = writeln!(err, "{text}");
    }
}
