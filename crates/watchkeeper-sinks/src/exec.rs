use std::{
    collections::BTreeMap,
    fmt,
    io::{self, PipeReader, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind,
    author::{Period, Retry, Secret, SinkError},
    clock::Deadline,
    quote,
};

use crate::render_json;

/// The variables that a program inherits.
const INHERITED: [&str; 3] = ["HOME", "LANG", "PATH"];
/// The longest part of standard error that is kept, in bytes.
const MAX_OUTPUT: usize = 4 << 10;
/// The longest wait for a program that was killed.
const GRACE: Duration = Duration::from_secs(1);
/// `EX_DATAERR` of `sysexits.h`: the program never accepts this finding.
const REFUSED: i32 = 65;

/// Passes each finding to a program, as JSON on its standard input.
pub struct Exec {
    program: String,
    arguments: Vec<String>,
    /// `None` if the policy was read without its secrets.
    environment: Option<BTreeMap<String, String>>,
    timeout: Period,
    /// A program that was killed and has not ended, such as one that waits for a disk.
    stuck: Option<Child>,
}

/// The options of `kind = "exec"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecOptions {
    /// The program and its arguments. No shell reads them. The program is an absolute
    /// path, or a name that is looked up in `PATH`.
    command: Vec<String>,
    /// The longest run of the program. It is killed afterwards.
    #[serde(default = "default_timeout")]
    timeout: Period,
    /// Variables of the environment of the program, in addition to `HOME`, `LANG` and
    /// `PATH`.
    #[serde(default)]
    environment: BTreeMap<String, Secret>,
}

const fn default_timeout() -> Period {
    Period::from_secs(10)
}

watchkeeper_core::register_sink!(Exec);

impl SinkKind for Exec {
    const KIND: &'static str = "exec";
    const DOCS: &'static str = include_str!("exec.md");
    type Options = ExecOptions;

    fn new(options: ExecOptions) -> Result<Self, InvalidOption> {
        let ExecOptions { command, timeout, environment } = options;
        let invalid = |reason: &'static str| InvalidOption::new("command", reason);
        if let Some(idx) = command.iter().position(|word| word.contains('\0')) {
            return Err(invalid("contains a null character").element(idx));
        }
        let mut command = command.into_iter();
        let program = command.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| invalid("names no program"))?;
        if program.contains('/') && !Path::new(&program).is_absolute() {
            return Err(invalid("a program is an absolute path, or a name without `/`").element(0));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = environment.keys().find(|name| !is_name(name)) {
            let reason = "is not the name of a variable";
            return Err(InvalidOption::new("environment", reason).entry(name.clone()));
        }
        let values = environment.into_iter().map(|(name, value)| {
            let value = value.expose()?.to_owned();
            Some((name, value))
        });
        let environment: Option<BTreeMap<_, _>> = values.collect();
        if environment.iter().flatten().any(|(_, value)| value.contains('\0')) {
            return Err(InvalidOption::new("environment", "has a value with a null character"));
        }
        Ok(Self { program, arguments: command.collect(), environment, timeout, stuck: None })
    }
}

impl Sink for Exec {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let Some(environment) = &self.environment else {
            return Err(SinkError::refused("the policy was read without its secrets"));
        };
        if let Some(stuck) = &mut self.stuck {
            if stuck.try_wait()?.is_none() {
                return Err(SinkError::unavailable("the program was killed, and still runs"));
            }
            self.stuck = None;
        }
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(inherited)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C reaches the monitor alone, and a timeout the children of the program, too.
            .process_group(0)
            .spawn()
            .map_err(|err| SinkError::unavailable("cannot start the program").with_source(err))?;
        let line = render_json(finding) + "\n";
        let outcome = Running::new(child, line)?.finish(self.timeout.unsigned());
        match outcome? {
            Outcome::Ended { status, output } => result_of(status, &output),
            Outcome::TimedOut { stuck } => {
                self.stuck = stuck;
                let timeout = self.timeout;
                Err(SinkError::unavailable(format!("the program was killed after {timeout}")))
            }
        }
    }

    fn retry(&self) -> Retry {
        Retry::new(10, Duration::from_secs(1), Duration::from_secs(5 * 60))
    }
}

/// The end of a run.
enum Outcome {
    Ended {
        status: ExitStatus,
        output: Vec<u8>,
    },
    TimedOut {
        /// The program, if it has not ended although it was killed.
        stuck: Option<Child>,
    },
}

/// A program that runs, its pipes, and the thread that waits for its end.
///
/// No thread waits for the ends of the pipes: a process that the program leaves behind, such as a
/// daemon, may keep them open for ever.
struct Running {
    child: Child,
    /// The pipe that the thread closes when the program has ended.
    ended: PipeReader,
    /// Standard input of the program, and the rest of the input.
    stdin: Option<ChildStdin>,
    input: Vec<u8>,
    /// Standard error of the program, and its beginning.
    stderr: Option<ChildStderr>,
    output: Vec<u8>,
}

impl Running {
    fn new(mut child: Child, input: String) -> io::Result<Self> {
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let (input, output) = (input.into_bytes(), Vec::new());
        match wait_on_thread(&child, stdin.as_ref(), stderr.as_ref()) {
            Ok(ended) => Ok(Self { child, ended, stdin, input, stderr, output }),
            Err(err) => {
                kill(&child);
                child.wait()?;
                Err(err)
            }
        }
    }

    /// Waits for the end of the program, and ends the processes that it left.
    fn finish(mut self, timeout: Duration) -> io::Result<Outcome> {
        let served = self.serve(timeout);
        let is_ended = matches!(served, Ok(true));
        kill(&self.child);
        if !is_ended && !self.serve(GRACE)? {
            return Ok(Outcome::TimedOut { stuck: Some(self.child) });
        }
        let status = self.child.wait()?;
        if !served? {
            return Ok(Outcome::TimedOut { stuck: None });
        }
        // The rest is in the pipe already. Another process may go on writing.
        while self.output.len() < MAX_OUTPUT && self.read_output() {}
        Ok(Outcome::Ended { status, output: self.output })
    }

    /// Serves the pipes until the program has ended; returns `false` after the timeout.
    fn serve(&mut self, timeout: Duration) -> io::Result<bool> {
        let deadline = Deadline::after(timeout);
        loop {
            let mut pipes = vec![PollFd::new(&self.ended, PollFlags::IN)];
            pipes.extend(self.stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            pipes.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
            let remaining = deadline.remaining();
            match poll(&mut pipes, Timespec::try_from(remaining).ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
            if !pipes[0].revents().is_empty() {
                return Ok(true);
            }
            if remaining.is_zero() {
                return Ok(false);
            }
            self.write_input();
            self.read_output();
        }
    }

    /// Writes what the pipe has room for. A program need not read its input.
    fn write_input(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(&self.input) {
            Ok(n) => drop(self.input.drain(..n)),
            Err(err) if is_later(&err) => return,
            Err(_) => self.input.clear(),
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
    }

    /// Reads a part of the output, and keeps the beginning. Returns `false` if there is none now.
    fn read_output(&mut self) -> bool {
        let Some(stderr) = &mut self.stderr else { return false };
        let mut part = [0; MAX_OUTPUT];
        match stderr.read(&mut part) {
            Ok(n) if 0 < n => {
                let n_kept = n.min(MAX_OUTPUT - self.output.len());
                self.output.extend(&part[..n_kept]);
                true
            }
            Err(err) if is_later(&err) => false,
            Ok(_) | Err(_) => {
                self.stderr = None;
                false
            }
        }
    }
}

/// Starts a thread that waits for the end of a program, makes its pipes such that they never
/// block, and returns the pipe that the thread closes.
fn wait_on_thread(
    child: &Child,
    stdin: Option<&ChildStdin>,
    stderr: Option<&ChildStderr>,
) -> io::Result<PipeReader> {
    stdin.map(|pipe| ioctl_fionbio(pipe, true)).transpose()?;
    stderr.map(|pipe| ioctl_fionbio(pipe, true)).transpose()?;
    let (ended, writer) = io::pipe()?;
    let pid = Pid::from_child(child);
    thread::Builder::new().name("exec".to_owned()).spawn(move || {
        // The program stays a zombie, so that its id still belongs to it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        drop(writer);
    })?;
    Ok(ended)
}

/// Kills the process group of a program. Nobody has waited for the program yet, so that no other
/// program can have its id.
fn kill(child: &Child) {
    kill_process_group(Pid::from_child(child), Signal::KILL).ok();
}

fn is_later(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn result_of(status: ExitStatus, output: &[u8]) -> Result<(), SinkError> {
    let end = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("the program exited with status {code}"),
        (None, signal) => format!("signal {} ended the program", signal.unwrap_or_default()),
    };
    let output = String::from_utf8_lossy(output);
    let reason = match output.trim() {
        "" => end,
        output => format!("{end}: {}", quote(output)),
    };
    Err(if status.code() == Some(REFUSED) {
        SinkError::refused(reason)
    } else {
        SinkError::unavailable(reason)
    })
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The arguments and the environment may contain secrets.
        f.debug_struct("Exec")
            .field("program", &self.program)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
