//! A command, with the processes that it starts.
//!
//! The command is in the process group of this program and inherits its standard streams. So the
//! terminal, pipelines and the job control of a shell work as without this program.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};
use rustix::{
    process::getpgrp,
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};
use watchkeeper_core::clock::{Clock as _, Deadline, SystemClock};

/// The beginning of the variable that the processes of a command have in their environment.
const MARK: &str = "WATCHKEEPER_RUN_";
/// The time between two looks at processes that end.
const LOOK: Duration = Duration::from_millis(20);
/// The time in which processes end after SIGKILL.
const KILL_TIME: Duration = Duration::from_secs(2);

/// A running command, and the processes that it has started.
pub(crate) struct SupervisedCommand {
    id: Pid,
    /// The variable of its processes, as in an environment.
    mark: String,
    /// The terminal, with its modes at the start; `None` without a terminal.
    terminal: Option<(File, Termios)>,
    end: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

/// Running processes: the id of each, and the time of its start, which distinguishes it from a later
/// process with the same id.
type Processes = BTreeMap<i32, u64>;

impl SupervisedCommand {
    /// Starts a command.
    pub(crate) fn start(program: &OsString, arguments: &[OsString]) -> io::Result<Self> {
        // The time distinguishes the processes of an earlier program with the same id.
        let (name, value) = (format!("{MARK}{}", getpid()), SystemClock.now().to_string());
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        let terminal = terminal.and_then(|file| {
            let modes = tcgetattr(&file).ok()?;
            Some((file, modes))
        });
        let child = Command::new(program).args(arguments).env(&name, &value).spawn()?;
        let id = Pid::from_raw(child.id().cast_signed());
        let (end, ended) = (Mutex::new(None), Condvar::new());
        Ok(Self { id, mark: format!("{name}={value}"), terminal, end, ended })
    }

    /// Waits for the end of the command.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        let status = loop {
            match waitpid(self.id, None) {
                Ok(WaitStatus::Exited(_, code)) => break ExitStatus::from_raw(code << 8),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    break ExitStatus::from_raw(signal as i32);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
        };
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.ended.notify_all();
        Ok(status)
    }

    /// Sends a signal to the command, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.has_ended() {
            let _ = kill(self.id, signal);
        }
    }

    /// Interrupts the command, so that it can store its work, and ends it after `grace`. After the
    /// same time again, kills its processes. Returns the processes that do not end.
    pub(crate) fn stop(&self, grace: Duration) -> BTreeSet<i32> {
        let mut processes = Processes::new();
        for (signal, time) in
            [(Signal::SIGINT, grace), (Signal::SIGTERM, grace), (Signal::SIGKILL, KILL_TIME)]
        {
            self.look(&mut processes);
            for process in processes.keys().copied().map(Pid::from_raw) {
                let _ = kill(process, signal);
                // A suspended process handles signals when it continues.
                let _ = kill(process, Signal::SIGCONT);
            }
            if self.wait_gone(time, &mut processes) {
                break;
            }
        }
        self.restore_terminal();
        processes.into_keys().collect()
    }

    /// Waits until no process is left, for `time` at most.
    fn wait_gone(&self, time: Duration, processes: &mut Processes) -> bool {
        let deadline = Deadline::after(time);
        loop {
            if self.has_ended() {
                self.look(processes);
                if processes.is_empty() {
                    return true;
                }
            }
            if deadline.remaining().is_zero() {
                return false;
            }
            let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = self.ended.wait_timeout(end, LOOK.min(deadline.remaining()));
            drop(wait.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Sets the modes of the terminal that it had at the start: a command that was killed has not
    /// done so. In the background, the terminal belongs to others.
    fn restore_terminal(&self) {
        if let Some((terminal, modes)) = &self.terminal
            && tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
        {
            // It may have been closed.
            let _ = tcsetattr(terminal, OptionalActions::Now, modes);
        }
    }

    fn has_ended(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Removes the processes that have ended, and adds the new ones: the command, its descendants
    /// and the descendants of known processes, and processes with the variable of the command. If
    /// the system does not list processes in `/proc`, the command is the only one.
    fn look(&self, known: &mut Processes) {
        let command = (!self.has_ended()).then(|| self.id.as_raw());
        let Some(running) = running_processes() else {
            *known = command.map(|id| (id, 0)).into_iter().collect();
            return;
        };
        let is_same = |id: &i32, start: &u64| running.get(id).is_some_and(|it| it.start == *start);
        known.retain(|id, start| is_same(id, start));
        for (id, process) in &running {
            let is_known = known.contains_key(id);
            if !is_known && (Some(*id) == command || has_variable(*id, &self.mark)) {
                known.insert(*id, process.start);
            }
        }
        loop {
            let is_child = |(id, process): &(&i32, &Running)| {
                !known.contains_key(id) && known.contains_key(&process.parent)
            };
            let children: Vec<_> = running.iter().filter(is_child).collect();
            if children.is_empty() {
                break;
            }
            known.extend(children.into_iter().map(|(id, process)| (*id, process.start)));
        }
    }
}

/// A process that has not ended.
struct Running {
    parent: i32,
    /// The time of its start, in ticks since the start of the system.
    start: u64,
}

/// Returns the processes of the system that have not ended, by id. `None` if it does not list them
/// in `/proc`.
fn running_processes() -> Option<BTreeMap<i32, Running>> {
    let entries = fs::read_dir("/proc/self").and_then(|_| fs::read_dir("/proc")).ok()?;
    let processes = entries.flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // `id (name) state parent …`; the name may contain parentheses. The start is the 22nd.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let has_ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        (!has_ended).then_some((id, Running { parent, start }))
    });
    Some(processes.collect())
}

/// Returns whether a process has a variable, written as in an environment.
fn has_variable(process: i32, variable: &str) -> bool {
    let path = Path::new("/proc").join(process.to_string()).join("environ");
    let environment = fs::read(path).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|it| it == variable.as_bytes())
}

/// Returns the signals that were not ignored at the start of this program: `nohup` lets it ignore
/// one, and its commands, too.
pub(crate) fn without_ignored(signals: &[i32]) -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let is_ignored = move |signal: i32| {
        let bit = u32::try_from(signal - 1).ok().and_then(|place| 1_u64.checked_shl(place));
        bit.is_some_and(|bit| mask & bit != 0)
    };
    signals.iter().copied().filter(move |signal| !is_ignored(*signal))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

    use super::{Processes, SupervisedCommand};

    fn start(script: &str) -> Arc<SupervisedCommand> {
        let arguments = ["-c".into(), script.into()];
        Arc::new(SupervisedCommand::start(&"sh".into(), &arguments).expect("a shell exists"))
    }

    #[test]
    fn returns_the_status_of_the_command() {
        assert_eq!(start("exit 7").wait().unwrap().code(), Some(7));
        let status = start("kill -TERM $$").wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }

    #[test]
    fn a_command_that_ignores_signals_is_gone_with_all_its_processes() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        // One process leaves the group, and one the environment as well.
        let script = format!(
            "trap '' INT TERM; (setsid sleep 300 &) ; env -i setsid sleep 300 & sleep 300 & \
             echo > {}; wait; wait; sleep 300",
            ready.display()
        );
        let command = start(&script);
        let waiting = command.clone();
        let waiter = thread::spawn(move || waiting.wait().unwrap());
        let mut processes = Processes::new();
        while !ready.exists() || processes.len() < 4 {
            command.look(&mut processes);
            thread::yield_now();
        }
        assert_eq!(command.stop(Duration::from_millis(20)), BTreeSet::new());
        command.look(&mut processes);
        assert!(processes.is_empty(), "{processes:?}");
        assert!(!waiter.join().unwrap().success());
    }
}
