//! The messages of `watch` about the files that it follows.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

use watchkeeper_core::{author::make_safe, quote};
use watchkeeper_policy::Policy;
use watchkeeper_sources::{EndReason, FollowReport, Update};

use crate::{
    global::Global,
    live::is_remote,
    loading,
    numbers::counted,
    output::{quoted_path, safe_path},
    policy_file::PolicyFile,
    recorded::is_standard_input,
    report::unsupported_agents,
};

/// The messages at the start: the paths, the policy, and the files that are read.
pub(super) struct Summary {
    existing: Vec<PathBuf>,
    missing: Vec<PathBuf>,
    /// Standard input is the only path.
    reads_input: bool,
    policy: String,
}

impl Summary {
    pub(super) fn new(paths: &[PathBuf], file: &PolicyFile, policy: &Policy) -> Self {
        let reads_input = paths.iter().any(|path| is_standard_input(path));
        let (existing, missing) =
            paths.iter().cloned().partition(|path| reads_input || is_remote(path) || path.exists());
        let sinks: Vec<&str> = policy.sinks.iter().map(|sink| &*sink.id).collect();
        let sinks = if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") };
        let policy = format!(
            "policy: {} ({}); {}; sinks: {}",
            loading::policy_name(file.path()),
            file.reason(),
            counted(policy.n_detectors() as u64, "detector"),
            make_safe(&sinks),
        );
        Self { existing, missing, reads_input, policy }
    }

    pub(super) fn print_start(&self, err: &mut dyn Write) -> io::Result<()> {
        let list = |paths: &[PathBuf]| {
            paths.iter().map(|path| safe_path(path)).collect::<Vec<_>>().join(", ")
        };
        if !self.missing.is_empty() {
            writeln!(err, "waiting for paths that do not exist yet: {}", list(&self.missing))?;
        }
        writeln!(err, "{}", self.policy)?;
        if self.reads_input {
            return writeln!(err, "watching standard input until its end");
        }
        let paths = match &self.existing[..] {
            [] => "for new files".to_owned(),
            existing => list(existing),
        };
        writeln!(err, "watching {paths} (press Ctrl-C to stop)")
    }

    /// Prints the counts of files. A closed standard error does not end the monitor.
    pub(super) fn print_read(
        &self,
        report: &FollowReport,
        n_sessions: usize,
        recognized: &BTreeSet<PathBuf>,
        err: &mut dyn Write,
    ) {
        if self.reads_input {
            return;
        }
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
        for path in self.existing.iter().filter(|path| !is_remote(path) && !path.is_dir()) {
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
pub(super) fn print_update(update: &Update, global: &Global, err: &mut dyn Write) {
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
