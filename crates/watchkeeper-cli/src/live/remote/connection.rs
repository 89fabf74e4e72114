//! A connection to another machine: an `ssh` process, in which a script of ours answers requests.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    io::{self, Read, Write as _},
    mem,
    process::{Child, ChildStdin, Command, Stdio},
    str,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use thiserror::Error;
use watchkeeper_core::{author::make_safe, clock::Deadline, quote};
use watchkeeper_sources::{RemoteEntry, RemoteRequest};

use super::machine::Machine;

/// The script that runs on the machine.
const SCRIPT: &str = include_str!("script.sh");
/// The longest time without a byte of an answer. A long list needs some time.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// The longest time in which the last message of `ssh` is awaited.
const LAST_MESSAGE_TIME: Duration = Duration::from_secs(2);
/// The number of bytes that are read before the first answer at most: a shell may greet.
const MAX_GREETING: usize = 64 << 10;
/// The largest list, in bytes.
const MAX_LIST: usize = 16 << 20;
/// The longest line of an answer.
const MAX_LINE: usize = 8 << 10;
/// The longest message of `ssh` that is kept.
const MAX_MESSAGE: usize = 512;
/// The unit of offsets in requests.
const BLOCK: u64 = 4096;
/// The size of a read, in bytes.
const CHUNK: usize = 64 << 10;
/// The number of reads that wait at most.
const MAX_CHUNKS: usize = 4;

/// The reason why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error("cannot start `ssh`; install an OpenSSH client")]
    NotStarted(#[source] io::Error),
    /// `message` is safe for a terminal.
    #[error("{message}{}", hint(message))]
    Closed { message: String },
    #[error("no answer for {} seconds", ANSWER_TIME.as_secs())]
    Silent,
    /// `answer` is quoted.
    #[error("the machine answers {answer} where {expected} belongs")]
    Unexpected { expected: &'static str, answer: String },
    #[error("the machine sends more than {limit} bytes where {expected} belongs")]
    TooLong { expected: &'static str, limit: usize },
    /// `message` is safe for a terminal.
    #[error("{message} on the machine")]
    Script { message: String },
}

/// Returns what to do about a message of `ssh`.
fn hint(message: &str) -> &'static str {
    if message.contains("Host key verification failed") {
        "; connect once with `ssh`, and accept the key of the host"
    } else if message.contains("Permission denied") {
        "; `ssh` has to log in without a question, such as by a key"
    } else {
        ""
    }
}

/// The files of a machine that have changed recently.
pub(super) struct List {
    pub(super) entries: Vec<RemoteEntry>,
    /// The number of requested folders and files that exist.
    pub(super) n_roots: usize,
    /// The time of the machine, in seconds.
    pub(super) clock: i64,
}

/// The answer to a request of bytes.
pub(super) enum Answer {
    Bytes(Vec<u8>),
    Gone,
    Unreadable,
}

/// The `ssh` process of a machine, which another thread can end.
#[derive(Debug, Default)]
pub(super) struct Process(Mutex<ProcessState>);

#[derive(Debug, Default)]
struct ProcessState {
    child: Option<Child>,
    is_stopped: bool,
}

impl Process {
    fn set(&self, mut child: Child) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            end(&mut child);
        } else {
            state.child = Some(child);
        }
    }

    /// Ends the process.
    fn end(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.child.take().as_mut().map(end);
    }

    /// Ends the process, and each later one.
    pub(super) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_stopped = true;
        self.end();
    }
}

fn end(child: &mut Child) {
    // It may have ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// A connection whose script is running.
pub(super) struct Connection {
    process: Arc<Process>,
    requests: ChildStdin,
    chunks: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    /// The number of bytes of the chunk that were taken.
    n_taken: usize,
    messages: Arc<Mutex<String>>,
    /// Disconnected at the end of the messages.
    end_of_messages: Receiver<()>,
    /// Begins each answer, so that the name of a file cannot be taken for one.
    token: String,
    /// The home folder of the user.
    pub(super) home: String,
}

/// Returns whether `ssh` can be started.
pub(crate) fn find_ssh() -> Result<(), ConnectionError> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ssh.status().map(drop).map_err(ConnectionError::NotStarted)
}

/// Returns the command that connects to a machine and runs `sh` there.
fn command(machine: &Machine) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.arg("-T");
    for option in [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=3",
        "ClearAllForwardings=yes",
        "ControlMaster=no",
        "ForwardAgent=no",
        "ForwardX11=no",
        "PermitLocalCommand=no",
    ] {
        ssh.args(["-o", option]);
    }
    if let Some(port) = machine.port {
        ssh.args(["-p", &port.to_string()]);
    }
    if let Some(user) = &machine.user {
        ssh.args(["-l", user]);
    }
    ssh.args(["--", &machine.host, "sh"]);
    // The terminal's Ctrl-C ends this program, which ends `ssh`.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut ssh, 0);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    ssh
}

impl Connection {
    /// Connects to a machine, and starts the script.
    pub(super) fn open(machine: &Machine, process: Arc<Process>) -> Result<Self, ConnectionError> {
        let mut child = command(machine).spawn().map_err(ConnectionError::NotStarted)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        process.set(child);
        let (Some(requests), Some(output), Some(errors)) = pipes else {
            process.end();
            return Err(ConnectionError::NotStarted(io::ErrorKind::BrokenPipe.into()));
        };
        let (sender, chunks) = sync_channel(MAX_CHUNKS);
        let messages = Arc::<Mutex<String>>::default();
        let (of_messages, end_of_messages) = sync_channel(0);
        let kept = messages.clone();
        let read_messages = move || {
            keep_last_line(errors, &kept);
            drop(of_messages);
        };
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(run).map(drop)
        };
        let started = start("ssh output", Box::new(move || pass_chunks(output, &sender)))
            .and_then(|()| start("ssh messages", Box::new(read_messages)));
        let token = format!("wk-{:016x}", RandomState::new().hash_one(0));
        let (chunk, n_taken, home) = (Vec::new(), 0, String::new());
        let mut connection = Self {
            process,
            requests,
            chunks,
            chunk,
            n_taken,
            messages,
            end_of_messages,
            token,
            home,
        };
        started.map_err(ConnectionError::NotStarted)?;
        connection.start()?;
        Ok(connection)
    }

    /// Sends the script, and waits until it runs. Skips what the login shell prints before.
    fn start(&mut self) -> Result<(), ConnectionError> {
        const EXPECTED: &str = "the greeting of the script";
        self.send(&format!("token={}\n{SCRIPT}", self.token));
        let mut n_bytes = 0;
        let mut greeting = None;
        loop {
            let line = match self.line(EXPECTED) {
                Err(ConnectionError::Closed { message }) if message == CLOSED => {
                    let message = greeting.map_or(message, |it: Vec<u8>| {
                        format!("{CLOSED} after the text {}", quote(&String::from_utf8_lossy(&it)))
                    });
                    return Err(ConnectionError::Closed { message });
                }
                line => line?,
            };
            match self.answer(&line) {
                Some(("ready", home)) if is_path(home) => {
                    home.clone_into(&mut self.home);
                    return Ok(());
                }
                Some(("error", message)) => {
                    return Err(ConnectionError::Script { message: make_safe(message) });
                }
                Some(_) => return Err(self.unexpected(EXPECTED, &line)),
                None => {}
            }
            n_bytes += line.len() + 1;
            if MAX_GREETING < n_bytes {
                return Err(ConnectionError::TooLong { expected: EXPECTED, limit: MAX_GREETING });
            }
            greeting = Some(line).filter(|line| !line.trim_ascii().is_empty()).or(greeting);
        }
    }

    /// Lists the files in `roots` that have changed in the last minutes.
    pub(super) fn list(&mut self, minutes: i64, roots: &[String]) -> Result<List, ConnectionError> {
        const EXPECTED: &str = "a list of files";
        let mut request = format!("list {minutes} {}\n", roots.len());
        for root in roots {
            request.push_str(root);
            request.push('\n');
        }
        self.send(&request);
        let line = self.line(EXPECTED)?;
        let (n_roots, clock) = match self.answer(&line) {
            Some(("list", rest)) => rest.split_once(' ').unwrap_or_default(),
            _ => return Err(self.unexpected(EXPECTED, &line)),
        };
        let (Ok(n_roots), Ok(clock)) = (n_roots.parse(), clock.parse()) else {
            return Err(self.unexpected(EXPECTED, &line));
        };
        let mut list = List { entries: Vec::new(), n_roots, clock };
        let mut n_bytes = 0;
        loop {
            let line = self.line(EXPECTED)?;
            if let Some(("end", _)) = self.answer(&line) {
                return Ok(list);
            }
            n_bytes += line.len() + 1;
            if MAX_LIST < n_bytes {
                return Err(ConnectionError::TooLong { expected: EXPECTED, limit: MAX_LIST });
            }
            // A name may contain a line break. Its lines are no files, or files that are not wanted.
            list.entries.extend(entry(&line));
        }
    }

    /// Requests bytes of a file.
    pub(super) fn read(&mut self, request: &RemoteRequest) -> Result<Answer, ConnectionError> {
        const EXPECTED: &str = "a part of a file";
        let RemoteRequest { path, offset, len } = request;
        let n_before = offset % BLOCK;
        let n_bytes = n_before + len;
        let (block, n_blocks) = (offset / BLOCK, n_bytes.div_ceil(BLOCK));
        self.send(&format!("read {block} {n_blocks} {n_bytes}\n{path}\n"));
        let line = self.line(EXPECTED)?;
        match self.answer(&line) {
            Some(("gone", _)) => Ok(Answer::Gone),
            Some(("unreadable", _)) => Ok(Answer::Unreadable),
            Some(("bytes", _)) => {
                self.skip(n_before)?;
                self.bytes(*len).map(Answer::Bytes)
            }
            _ => Err(self.unexpected(EXPECTED, &line)),
        }
    }

    /// Returns the first word of an answer and the rest of its line. `None` if the line is
    /// something else.
    fn answer<'a>(&self, line: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = line.strip_prefix(self.token.as_bytes())?.strip_prefix(b" ")?;
        let rest = str::from_utf8(rest).ok()?;
        Some(rest.split_once(' ').unwrap_or((rest, "")))
    }

    /// Sends a request. After a failure, the output ends where the answer belongs, and may have a
    /// reason before its end.
    fn send(&mut self, text: &str) {
        let _ = self.requests.write_all(text.as_bytes()).and_then(|()| self.requests.flush());
    }

    /// Takes a line, without its line break.
    fn line(&mut self, expected: &'static str) -> Result<Vec<u8>, ConnectionError> {
        let mut line = Vec::new();
        loop {
            self.fill()?;
            let rest = &self.chunk[self.n_taken..];
            let end = memchr::memchr(b'\n', rest);
            line.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            self.n_taken += end.map_or(rest.len(), |end| end + 1);
            if MAX_LINE < line.len() {
                return Err(ConnectionError::TooLong { expected, limit: MAX_LINE });
            }
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ConnectionError> {
        let mut bytes = Vec::new();
        let mut rest = len;
        while 0 < rest {
            self.fill()?;
            let n = self.n_at_most(rest);
            bytes.extend_from_slice(&self.chunk[self.n_taken..][..n]);
            self.n_taken += n;
            rest -= n as u64;
        }
        Ok(bytes)
    }

    fn skip(&mut self, len: u64) -> Result<(), ConnectionError> {
        self.bytes(len).map(drop)
    }

    /// Returns the number of bytes of the chunk that can be taken.
    fn n_at_most(&self, limit: u64) -> usize {
        let n_left = self.chunk.len() - self.n_taken;
        usize::try_from(limit).map_or(n_left, |limit| limit.min(n_left))
    }

    /// Waits for bytes if none are left.
    fn fill(&mut self) -> Result<(), ConnectionError> {
        while self.n_taken == self.chunk.len() {
            self.chunk = match self.chunks.recv_timeout(ANSWER_TIME) {
                Ok(chunk) => chunk,
                Err(RecvTimeoutError::Timeout) => return Err(ConnectionError::Silent),
                Err(RecvTimeoutError::Disconnected) => return Err(self.closed()),
            };
            self.n_taken = 0;
        }
        Ok(())
    }

    fn unexpected(&self, expected: &'static str, line: &[u8]) -> ConnectionError {
        let answer = String::from_utf8_lossy(line).replace(&self.token, "<token>");
        ConnectionError::Unexpected { expected, answer: quote(&answer) }
    }

    /// Makes the error of a connection that has ended: the last message of `ssh`.
    fn closed(&self) -> ConnectionError {
        let deadline = Deadline::after(LAST_MESSAGE_TIME);
        // Nothing is sent.
        let _ = self.end_of_messages.recv_timeout(deadline.remaining());
        let message = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let message = message.trim_end_matches('.');
        let message = if message.is_empty() { CLOSED.to_owned() } else { make_safe(message) };
        ConnectionError::Closed { message }
    }
}

/// The message of an end without a message.
const CLOSED: &str = "the connection was closed";

impl Drop for Connection {
    fn drop(&mut self) {
        self.process.end();
    }
}

/// Reads the line of a file in a list. `None` if it is none, or if its path cannot be requested.
fn entry(line: &[u8]) -> Option<RemoteEntry> {
    let mut parts = str::from_utf8(line).ok()?.splitn(4, ' ');
    let mut part = || parts.next();
    let (inode, len) = (part()?.parse().ok()?, part()?.parse().ok()?);
    let modified = part()?.parse().ok()?;
    let path = part().filter(|path| is_path(path))?.to_owned();
    Some(RemoteEntry { path, inode, len, modified })
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains(char::is_control)
}

/// Passes the output on, until it or the connection ends.
fn pass_chunks(mut output: impl Read, chunks: &SyncSender<Vec<u8>>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        match output.read(&mut chunk) {
            Ok(n) if 0 < n => {
                if chunks.send(chunk[..n].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Keeps the latest line that is not blank.
fn keep_last_line(mut errors: impl Read, kept: &Mutex<String>) {
    let mut bytes = [0; MAX_MESSAGE];
    let mut line = Vec::new();
    let keep = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        line.clear();
        if !text.is_empty() {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    };
    loop {
        match errors.read(&mut bytes) {
            Ok(n) if 0 < n => {
                for byte in &bytes[..n] {
                    match byte {
                        b'\n' => keep(&mut line),
                        byte if line.len() < MAX_MESSAGE => line.push(*byte),
                        _ => {}
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return keep(&mut mem::take(&mut line)),
        }
    }
}
