mod display;
mod hooks;
mod host;
mod messages;
mod options;
mod ui;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use watchkeeper_core::embed::Registry;
use watchkeeper_policy::Policy;

pub(crate) use self::ui::UiError;
use self::{
    display::DisplayOptions,
    hooks::HookAnswers,
    host::{UsedPolicy, WatchHost},
    messages::Summary,
    options::{WatchOptions, uses_other_sinks},
    ui::{Ui, UiOptions},
};
use crate::{
    error::Error,
    file_watcher::FileWatcher,
    global::Global,
    live::{
        Control, LiveMonitor, Outcome, RemotePaths, SignalListener, StandardInput, find_ssh,
        is_remote,
    },
    loading,
    numbers::counted,
    open_files,
    output::{Output, Status, safe_path},
    recorded::is_standard_input,
    session_paths::{Selection, SessionPaths, SessionPathsError},
    stored_silences::StoredSilences,
};

/// Follow live sessions and deliver findings as they happen
///
/// Without a path, follows the sessions of all known agents on this machine. A path
/// that does not exist yet is followed as soon as it appears. Findings go to the sinks
/// of the policy: the sink `console` prints them on standard output. If no route of the
/// policy uses a sink for the terminal, `watch` prints all findings, except silenced
/// ones. Press Ctrl-C to stop. If the reader of standard output ends and no other sink is used, `watch` stops with an
/// error at the next finding.
///
/// A policy that is changed is used at once if it is valid; otherwise the earlier one stays in
/// use. SIGHUP loads the policy again, with its secrets. A policy at another place is used after
/// the next start.
///
/// With the path `-`, another program writes a session to standard input, such as the stream of a
/// client without a terminal: `codex exec --json | watchkeeper watch -`. Lines without a time get
/// the time of their arrival. The lines are not passed on: use `tee`. `watch` ends with the input.
///
/// With the path `ssh://[user@]host[:port]`, follows the sessions of all known agents in the home
/// folder of a user of another machine, and with `ssh://host/path` or `ssh://host/~/path` those of
/// a folder or a file there. The program `ssh` connects with your configuration and keys, without a
/// question; nothing is installed on the other machine. Only files of lines and documents are read,
/// no databases. A broken connection is made again, and the reading goes on where it was.
///
/// For sinks other than terminals, `watch` stores which findings were delivered. After a
/// restart it delivers the others, and the findings of events that were recorded meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    paths: SessionPaths,

    #[command(flatten)]
    options: WatchOptions,

    #[command(flatten)]
    display: DisplayOptions,

    #[command(flatten)]
    ui: UiOptions,
}

impl Watch {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        open_files::raise_limit();
        let policy_file = loading::find(global.policy.as_deref(), output);
        let needs_sinks = |policy: &Policy| !self.options.prints_all(policy);
        let mut policy =
            loading::policy_with_secrets(&policy_file, global, registry, needs_sinks, output)?;
        let Selection { paths, source } = self.paths.select_all(registry)?;
        let reads_input = paths.iter().any(|path| is_standard_input(path));
        if reads_input && 1 < paths.len() {
            return Err(Error::StandardInputAndFiles);
        }
        let machines = machines(&paths)?;
        let summary = Summary::new(&paths, &policy_file, &policy);
        let sink_files = loading::sink_files(&policy);
        let display = self.display.display(output.styles)?;
        let page = self.ui.page(&policy, registry, display.is_screen());
        // Before anything is read: an address that is in use is an error at once.
        let folder = self.options.state_folder(&policy);
        let ui_token = policy.monitor.ui_token.as_ref();
        let ui = self.ui.start(page.as_ref(), ui_token, folder.as_deref())?;
        let hooks = HookAnswers::start(folder.as_deref(), &paths);
        let observers = self.options.observers(&policy, &display, page.as_ref(), &hooks);
        let has_other_sinks = Arc::new(AtomicBool::new(uses_other_sinks(&policy)));
        let state = self.options.open_state(&policy, &paths, registry, global, output)?;
        if let Some(state) = state.as_ref().filter(|_| global.is_verbose()) {
            writeln!(output.err, "state: {}", safe_path(state.path()))?;
        }
        let used = UsedPolicy::new(&policy, &self.options);
        let silences = self.options.silences(&policy);
        self.options.remove_unused_displays(&mut policy, &display);
        let silences_file = silences.as_ref().map(StoredSilences::path);
        let local = paths.iter().filter(|path| !reads_input && !is_remote(path));
        let followed = local.cloned().collect();
        let live = LiveMonitor::new(policy, registry, followed, source, observers, state, silences);
        let telemetry = ui.as_ref().map(Ui::telemetry);
        let live = live.with_page(page.clone()).with_telemetry(telemetry);
        let control = live.control();
        let start = || StandardInput::start(source, registry.sources.iter(), control.clone());
        let input = reads_input.then(start).transpose()?;
        let live = live.with_input(input.clone());
        let live = live.with_machines(machines, registry, source)?;
        stop_without_reader(control.clone(), has_other_sinks.clone());
        // Before the first message, so that no signal is missed after it. A closed terminal
        // ends the program; a service has none.
        let signals = SignalListener::start(control.clone(), output.styles.err_is_terminal)?;
        if !global.quiet {
            if let Some(note) = self.paths.unsupported_note() {
                writeln!(output.err, "{note}")?;
            }
            summary.print_start(output.err)?;
            if let Some(ui) = &ui {
                ui.print_start(output);
            }
        }
        if let Some(ui) = ui.as_ref().filter(|_| self.ui.opens_browser()) {
            ui.open(output);
        }
        if global.is_verbose() {
            output.err.write_all(sink_files.as_bytes())?;
        }
        let silences_control = control.clone();
        let _silences_watcher = silences_file
            .map(|file| FileWatcher::start(vec![file], move || silences_control.read_silences()));
        let shown = display.show(page.as_ref(), &control, output.styles)?;
        let watcher = FileWatcher::start(used.files().to_vec(), move || control.reload());
        let Output { out, err, styles } = &mut *output;
        let (mut messages, styles) = display.messages(*err, *styles);
        let mut host = WatchHost {
            options: &self.options,
            global,
            registry,
            output: &mut Output { out: *out, err: &mut *messages, styles },
            display: &display,
            paths,
            policy_file,
            summary,
            recognized: Some(BTreeSet::new()),
            has_other_sinks,
            used,
            next: None,
            watcher,
            page,
            hooks: &hooks,
        };
        let outcome = live.run(&mut host);
        drop(host);
        drop(messages);
        let drawn = shown.finish();
        for line in display.take_unprinted() {
            writeln!(output.err, "{line}")?;
        }
        let outcome = outcome?;
        drawn?;
        if let Some(ui) = ui {
            ui.stop();
        }
        signals.finish();

        if !global.quiet {
            print_end(&outcome, output.err)?;
        }
        if let Some(failure) = input.and_then(|input| input.take_failure()) {
            return Err(failure.into());
        }
        Error::of_losses(outcome).map_or(Ok(Status::Success), Err)
    }
}

/// Returns the machines among the paths. Fails if one cannot be reached in any case.
fn machines(paths: &[PathBuf]) -> Result<Vec<RemotePaths>, Error> {
    let mut machines = Vec::new();
    for path in paths.iter().filter(|path| is_remote(path)) {
        let added = RemotePaths::add(&mut machines, path);
        added.map_err(|source| SessionPathsError::Address { path: path.clone(), source })?;
    }
    if !machines.is_empty() {
        find_ssh()?;
    }
    Ok(machines)
}

/// Prints the counts of a run.
fn print_end(outcome: &Outcome, err: &mut dyn Write) -> io::Result<()> {
    let (counts, followed) = (outcome.counts, &outcome.followed);
    writeln!(
        err,
        "watched {} in {}: {}, {} skipped",
        counted(counts.events, "event"),
        counted(followed.n_followed as u64, "file"),
        counted(counts.findings, "finding"),
        counted(followed.skipped_lines.total(), "line"),
    )?;
    let skipped = &outcome.skipped_records;
    if !skipped.is_empty() {
        let n_records = counted(skipped.values().sum(), "record");
        let reasons: Vec<_> = skipped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        writeln!(err, "skipped {n_records} of telemetry: {}", reasons.join(", "))?;
    }
    if 0 < counts.suppressed {
        let repeats = counted(counts.suppressed, "repeat");
        writeln!(err, "cooldowns of routes suppressed {repeats} of findings")?;
    }
    if 0 < counts.silenced {
        writeln!(err, "silences hid {}", counted(counts.silenced, "finding"))?;
    }
    if 0 < outcome.n_pending {
        let n_pending = counted(outcome.n_pending, "finding");
        writeln!(err, "{n_pending} not delivered yet; stored for the next start")?;
    }
    Ok(())
}

/// Stops the monitor when the reader of standard output is gone, unless findings have other
/// sinks.
fn stop_without_reader(control: Control, has_other_sinks: Arc<AtomicBool>) {
    watchkeeper_sinks::on_closed_stdout(move || {
        let message = if has_other_sinks.load(Ordering::Acquire) {
            "warning: standard output was closed; findings go to the other sinks only\n"
        } else {
            control.stop();
            "note: stopping, since standard output was closed\n"
        };
        // A closed standard error does not end the monitor.
        let _ = io::stderr().write_all(message.as_bytes());
    });
}
