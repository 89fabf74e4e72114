use std::io::Write;

use clap::Args;
use watchkeeper_core::{author::make_safe, embed::Registry, quote};
use watchkeeper_sources::{EndReason, Update};

use crate::{
    error::Error,
    global::Global,
    live::{LiveMonitor, SignalListener},
    loading,
    numbers::counted,
    output::{Output, Status, safe_path},
    session_paths::{Selection, SessionPaths},
};

/// Follow live sessions and deliver findings as they happen
///
/// Without a path, follows the sessions of all known agents on this machine.
/// Press Ctrl-C to stop.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    paths: SessionPaths,
}

impl Watch {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let policy = loading::policy(global, registry, output)?;
        let Selection { paths, source } = self.paths.select(registry)?;
        let names: Vec<String> = paths.iter().map(|path| safe_path(path)).collect();
        let live = LiveMonitor::new(policy, registry, paths, source);
        // Before the first message, so that no signal is missed after it.
        let signals = SignalListener::start(live.stopper())?;
        if !global.quiet {
            writeln!(output.err, "watching {} (press Ctrl-C to stop)", names.join(", "))?;
        }
        let err = &mut *output.err;
        let outcome = live.run(&mut |update| print_update(update, global, err))?;
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
        }
        if 0 < outcome.counts.lost {
            let lost = outcome.counts.lost;
            return Err(Error::FindingsLost { lost, timed_out: !outcome.all_delivered });
        }
        if !outcome.all_delivered {
            return Err(Error::NotAllDelivered);
        }
        Ok(Status::Success)
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
