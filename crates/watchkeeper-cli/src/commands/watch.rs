use std::{
    io::{self, Write},
    thread,
};

use clap::Args;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use watchkeeper_core::{Registry, make_safe, quote};
use watchkeeper_sources::{EndReason, Update};

use crate::{
    Global, Output, Status,
    counted::counted,
    live::{self, Live},
    loading,
    places::{Found, Places},
};

/// Follow live sessions, and deliver findings as they happen
///
/// Without a path it follows the sessions of every known agent on this
/// machine. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    places: Places,
}

impl Watch {
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
        // Before anything is followed, so that no signal is missed.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        if !global.quiet {
            let names: Vec<String> =
                paths.iter().map(|it| make_safe(&it.display().to_string())).collect();
            writeln!(output.err, "watching {} (Ctrl-C ends it)", names.join(", "))?;
        }

        let options = live::Options { source, ..live::Options::default() };
        let live = Live::new(policy, registry, paths, &options);
        let stopper = live.stopper();
        let handle = signals.handle();
        let listener = thread::spawn(move || {
            if signals.forever().next().is_some() {
                stopper.stop();
            }
        });
        let err = &mut *output.err;
        let outcome = live.run(&mut |update| tell(update, global, err))?;
        handle.close();
        let _ = listener.join();

        if !global.quiet {
            let (counts, followed) = (outcome.counts, &outcome.followed);
            writeln!(
                output.err,
                "watched {} in {}: {}, {}",
                counted(counts.events, "event"),
                counted(followed.n_followed as u64, "file"),
                counted(counts.findings, "finding"),
                counted(followed.skipped_lines.total(), "line") + " not read",
            )?;
        }
        if 0 < outcome.counts.lost {
            let lost = counted(outcome.counts.lost, "finding");
            let hint = if outcome.all_delivered { "" } else { "; see `shutdown_timeout`" };
            return Ok(output.fail(&format!("error: sinks lost {lost}{hint}\n")));
        }
        if !outcome.all_delivered {
            let message = "error: not every finding was delivered before the time was up; \
                           see `shutdown_timeout`\n";
            return Ok(output.fail(message));
        }
        Ok(Status::Success)
    }
}

/// Says what happens to the files, as much of it as is asked for.
fn tell(update: &Update, global: &Global, err: &mut dyn Write) -> io::Result<()> {
    let (text, is_detail) = match update {
        Update::Event(_) => return Ok(()),
        Update::Began { file, source } => (format!("{source}: reading {}", quote(file)), true),
        Update::Moved { from, to } => (format!("{} is now {}", quote(from), quote(to)), true),
        Update::Ended { file, reason: EndReason::Gone } => {
            (format!("{} is gone", quote(file)), true)
        }
        Update::Ended { file, reason: EndReason::Rewritten } => {
            (format!("{} was written anew", quote(file)), true)
        }
        Update::SkippedLine { file, line, reason } => {
            (format!("line {line} of {} not read: {reason}", quote(file)), true)
        }
        Update::Unreadable { file, reason } => {
            (format!("warning: cannot read {}: {}", quote(file), make_safe(reason)), false)
        }
        Update::Notice(text) => (format!("note: {text}"), false),
        Update::SourceFailed { file, panic } => {
            (format!("error: {panic}; {} is not read any further", quote(file)), false)
        }
        _ => return Ok(()),
    };
    if global.verbose || (!is_detail && !global.quiet) {
        writeln!(err, "{text}")?;
    }
    Ok(())
}
