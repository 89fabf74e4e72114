use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::{Handle, SignalsInfo, exfiltrator::WithOrigin},
    low_level::{emulate_default_handler, siginfo::Cause},
};
use watchkeeper_core::{
    Action, Finding, Sink, Status as FindingStatus, Timestamp,
    author::{Period, SinkError},
    clock::{Clock as _, SystemClock},
    embed::{Queue, Registry},
};
use watchkeeper_page::SessionRow;

use crate::{
    error::Error,
    global::Global,
    hook::{Allowed, HookFolder, action_record},
    live::{LiveMonitor, LivePage, Quiet},
    loading, open_files,
    output::{Output, Status},
    session_paths::default_folders,
    state_folder::StateFolder,
    supervised_command::{SupervisedCommand, without_ignored},
};

/// The queue of the findings that may stop the command.
const QUEUE: &str = "run";
const CAPACITY: usize = 4096;
/// The findings that are printed after the end of the command at most.
const MAX_PRINTED: usize = 20;

/// Run a command, watch its sessions, and stop it if it runs away
///
/// The command has the terminal, and its output is not touched. Its sessions are those in the
/// working folder that change while it runs, of all known agents. Findings go to the sinks of the
/// policy, except to terminals, and are printed when the command has ended.
///
/// A finding with the action `stop` ends the command if the policy has the mode `enforce`. It is
/// interrupted, terminated after the time of `--grace`, and killed after the same time again, with
/// all processes that it has started. With `dry_run` in the policy, this is reported only.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: the status of the command. If a signal ended the command, the same signal, or 128 and
its number. 126 or 127 if the command cannot be run.")]
pub(crate) struct Run {
    /// Strongest action, in any mode of the policy [default: by the mode of the policy]
    #[arg(long, value_name = "ACTION")]
    act: Option<Act>,

    /// Time for the command to end by itself, after it was interrupted
    #[arg(long, value_name = "TIME", default_value = "10s")]
    grace: Period,

    #[command(flatten)]
    folder: StateFolder,

    /// Command, with its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// The strongest action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    /// Report findings only
    Observe,
    /// End the command at a finding with the action `stop`, and at findings of class `runaway` and
    /// `budget` of severity `high` without an action
    Stop,
}

impl From<Act> for Action {
    fn from(act: Act) -> Self {
        match act {
            Act::Observe => Self::Observe,
            Act::Stop => Self::Stop,
        }
    }
}

/// Selects the findings about the sessions of the command.
struct Supervisor {
    page: Arc<LivePage>,
    folder: PathBuf,
    start: Timestamp,
    allowed: Allowed,
    findings: Mutex<Vec<Finding>>,
    /// Receives the finding that ends the command; `None` when it has ended.
    stop: Sender<Option<Finding>>,
}

/// Passes findings to the supervisor.
struct SupervisorSink(Arc<Supervisor>);

impl Run {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let policy_file = loading::find(global.policy.as_deref(), output);
        let mut policy =
            loading::policy_with_secrets(&policy_file, global, registry, |_| true, output)?;
        // The terminal belongs to the command.
        policy.sinks.retain(|sink| !sink.sink.is_display());
        let page = LivePage::new(&policy, registry);
        let (stop, stops) = mpsc::channel();
        let ledger = self.folder.path(Some(&policy)).as_deref().map(HookFolder::of);
        let is_dry_run = policy.monitor.dry_run;
        let supervisor = Arc::new(Supervisor {
            page: page.clone(),
            folder: env::current_dir()?,
            start: SystemClock.now(),
            allowed: Allowed { mode: policy.monitor.mode, act: self.act.map(Action::from) },
            findings: Mutex::default(),
            stop,
        });
        let queue = Queue::new(QUEUE, Box::new(SupervisorSink(supervisor.clone())), CAPACITY);
        let paths = default_folders(registry, None);
        let live =
            LiveMonitor::new(policy, registry, paths, None, vec![page.queue(), queue], None, None);
        let live = live.with_page(Some(page));

        let [program, arguments @ ..] = self.command.as_slice() else { return Ok(Status::Success) };
        // Before the start: nothing that fails may leave the command without supervision.
        let signals = without_ignored(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2]);
        let signals = SignalsInfo::<WithOrigin>::new(signals)?;
        let command = match SupervisedCommand::start(program, arguments) {
            Ok(command) => Arc::new(command),
            Err(err) => return Ok(cannot_start(program, &err, output)),
        };
        // After the start: the command has the limit that the user chose.
        open_files::raise_limit();
        let signals = forward(signals, command.clone());
        let (waiting, control) = (command.clone(), live.control());
        let waiter = thread::spawn(move || {
            let status = waiting.wait();
            control.stop();
            status
        });
        let grace = self.grace.get().unsigned_abs();
        let stopper = thread::spawn(move || {
            let finding = stops.recv().ok().flatten()?;
            let record = record(&finding, is_dry_run);
            let add = |ledger: &HookFolder| {
                let _lock = ledger.lock()?;
                ledger.add_action(&record)
            };
            let not_recorded = ledger.as_ref().and_then(|ledger| add(ledger).err());
            let remaining = (!is_dry_run).then(|| command.stop(grace));
            Some(Stopped { finding, remaining, not_recorded })
        });
        let outcome = live.run(&mut Quiet);
        if let Err(err) = &outcome {
            output.fail(&format!("error: the command is not supervised any longer: {err}\n"));
        }
        let status = waiter.join().map_err(|_| io::Error::other("the command was lost"))??;
        signals.close();
        // After a finding, nobody receives it.
        let _ = supervisor.stop.send(None);
        let stopped = stopper.join().ok().flatten();
        if !global.quiet {
            let findings = supervisor.findings.lock().unwrap_or_else(PoisonError::into_inner);
            print_end(&findings, stopped.as_ref(), output)?;
        }
        if let Some(loss) = outcome.ok().and_then(Error::of_losses) {
            output.fail(&format!("{}\n", loss.render()));
        }
        end_as(status, output)
    }
}

/// The end of a command by a finding.
struct Stopped {
    finding: Finding,
    /// The processes that do not end; `None` if the command was not stopped, as actions are only
    /// reported.
    remaining: Option<BTreeSet<i32>>,
    /// The reason why the action is not in the ledger.
    not_recorded: Option<io::Error>,
}

impl Sink for SupervisorSink {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let supervisor = &self.0;
        if finding.status != FindingStatus::Open || !supervisor.is_of_command(finding) {
            return Ok(());
        }
        let mut findings = supervisor.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.retain(|known| known.fingerprint != finding.fingerprint);
        if findings.len() < CAPACITY {
            findings.push(finding.clone());
        }
        if supervisor.allowed.reaction(finding) == Action::Stop {
            // The command may have ended by itself.
            let _ = supervisor.stop.send(Some(finding.clone()));
        }
        Ok(())
    }
}

impl Supervisor {
    /// Returns whether a finding is about a session of the command.
    fn is_of_command(&self, finding: &Finding) -> bool {
        let rows = self.page.board().rows();
        let row = rows.iter().find(|row| row.session == finding.session.as_str());
        row.is_some_and(|row| self.has_row(row))
    }

    /// Returns whether a session is in the working folder and has changed since the start.
    fn has_row(&self, row: &SessionRow) -> bool {
        let is_after = |time: Option<Timestamp>| time.is_some_and(|time| self.is_after_start(time));
        match &row.cwd {
            Some(cwd) => Path::new(cwd).starts_with(&self.folder) && is_after(row.last_event_at),
            // Some clients do not write their folder. A session that is older is not of the command.
            None => is_after(row.started_at),
        }
    }

    /// Returns whether a time is after the start, or may be: some clients write no fractions of
    /// seconds.
    fn is_after_start(&self, time: Timestamp) -> bool {
        let is_whole = time.subsec_nanosecond() == 0;
        self.start <= time || is_whole && self.start.as_second() == time.as_second()
    }
}

/// Makes the finding of class `action` for the ledger.
fn record(finding: &Finding, is_dry_run: bool) -> Finding {
    let verb = if is_dry_run { "would have stopped" } else { "stopped" };
    let text = format!("{verb} the command: {}", finding.message);
    action_record("run", Action::Stop, text, Some(finding), &finding.session, is_dry_run)
}

/// Passes signals on to the command. Those of the terminal reach it anyway.
fn forward(mut signals: SignalsInfo<WithOrigin>, command: Arc<SupervisedCommand>) -> Handle {
    let handle = signals.handle();
    thread::spawn(move || {
        for origin in signals.forever() {
            if origin.cause != Cause::Kernel
                && let Ok(signal) = Signal::try_from(origin.signal)
            {
                command.signal(signal);
            }
        }
    });
    handle
}

/// Reports a command that cannot be run, with the status that a shell has for it.
fn cannot_start(program: &OsString, err: &io::Error, output: &mut Output<'_>) -> Status {
    let name = crate::output::quoted_path(Path::new(program));
    output.fail(&format!("error: cannot run {name}: {err}\n"));
    Status::OfCommand(if err.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// Ends as the command has ended. By the signal of an interrupted command, a shell knows that the
/// user wants to interrupt its script, too.
fn end_as(status: ExitStatus, output: &mut Output<'_>) -> Result<Status, Error> {
    if let Some(signal @ (SIGINT | SIGTERM | SIGHUP)) = status.signal() {
        output.out.flush()?;
        output.err.flush()?;
        emulate_default_handler(signal)?;
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(Status::OfCommand(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
}

/// Prints the findings about the command, and why it was stopped.
fn print_end(
    findings: &[Finding],
    stopped: Option<&Stopped>,
    output: &mut Output<'_>,
) -> io::Result<()> {
    for finding in findings.iter().take(MAX_PRINTED) {
        let line = watchkeeper_sinks::render_line(finding, output.styles.err);
        writeln!(output.err, "{line}")?;
    }
    let n_more = findings.len().saturating_sub(MAX_PRINTED);
    if 0 < n_more {
        writeln!(output.err, "and {n_more} more")?;
    }
    let Some(Stopped { finding, remaining, not_recorded }) = stopped else { return Ok(()) };
    let detector = watchkeeper_core::quote(&finding.detector);
    let verb = if remaining.is_some() { "stopped" } else { "would have stopped" };
    write!(output.err, "watchkeeper {verb} the command because of {detector}")?;
    let remaining = remaining.iter().flatten().take(MAX_PRINTED).map(i32::to_string);
    let remaining: Vec<_> = remaining.collect();
    if !remaining.is_empty() {
        write!(output.err, "; processes that do not end: {}", remaining.join(", "))?;
    }
    writeln!(output.err)?;
    if let Some(err) = not_recorded {
        writeln!(output.err, "cannot store this action in the state folder: {err}")?;
    }
    Ok(())
}
