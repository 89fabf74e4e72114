use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, InvalidOption, Sink, SinkKind,
    author::{Period, Retry, Secret, SinkError},
    quote,
};

use crate::render_json;

/// The variables that a program inherits.
const INHERITED: [&str; 3] = ["HOME", "LANG", "PATH"];
/// The longest part of standard error that is kept, in bytes.
const MAX_OUTPUT: u64 = 4 << 10;
/// The longest wait for a program that was killed, and for its output.
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

/// A program that runs, and the threads that wait for it and serve its pipes.
struct Running {
    child: Child,
    /// Receives a message when the program has ended.
    ended: Receiver<()>,
    /// Receives the beginning of standard error when no process writes to it any more.
    output: Receiver<Vec<u8>>,
}

impl Running {
    fn new(mut child: Child, input: String) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let (ended_sender, ended) = mpsc::channel();
        let (output_sender, output) = mpsc::channel();
        let mut running = Self { child, ended, output };
        let spawn = |task: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name("exec".to_owned()).spawn(task).map(drop)
        };
        // Each thread ends when the processes of the program have ended.
        let threads = [
            spawn(Box::new(move || {
                // The program stays a zombie, so that its id still belongs to it.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
                ended_sender.send(()).ok();
            })),
            spawn(Box::new(move || {
                // A program need not read its input.
                stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
            })),
            spawn(Box::new(move || {
                output_sender.send(stderr.map(beginning).unwrap_or_default()).ok();
            })),
        ];
        if let Some(err) = threads.into_iter().find_map(Result::err) {
            running.kill();
            running.child.wait()?;
            return Err(err);
        }
        Ok(running)
    }

    /// Waits for the end of the program, and ends the processes that it left.
    fn finish(mut self, timeout: Duration) -> io::Result<Outcome> {
        let is_ended = self.ended.recv_timeout(timeout).is_ok();
        self.kill();
        if !is_ended && self.ended.recv_timeout(GRACE).is_err() {
            return Ok(Outcome::TimedOut { stuck: Some(self.child) });
        }
        let status = self.child.wait()?;
        if !is_ended {
            return Ok(Outcome::TimedOut { stuck: None });
        }
        let output = self.output.recv_timeout(GRACE).unwrap_or_default();
        Ok(Outcome::Ended { status, output })
    }

    /// Kills the process group of the program. Nobody has waited for the program yet, so that
    /// no other program can have its id.
    fn kill(&mut self) {
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).ok();
    }
}

/// Reads to the end, and keeps the beginning.
fn beginning(mut stderr: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    stderr.by_ref().take(MAX_OUTPUT).read_to_end(&mut kept).ok();
    io::copy(&mut stderr, &mut io::sink()).ok();
    kept
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
