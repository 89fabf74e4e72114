//! The sockets through which hooks ask each running `watch` for the open findings of a session.
//!
//! A hook reads the file of its own agent. `watch` also knows the usage of its sub-agents, which
//! counts in the budgets of the session. A request is a line of JSON, and its answer is a list of
//! findings, or nothing for another version. The folder and the sockets are private: who can
//! connect can read the state of `watch` anyway.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::{Deserialize, Serialize};
use watchkeeper_core::{
    Finding, SessionId, Sink, Status, author::SinkError, clock::Deadline, embed::Queue,
};
use watchkeeper_delivery::create_private_folder;

/// The name of the queue of open findings, which is no sink of the policy.
const QUEUE: &str = "hooks";
/// The findings that wait at most.
const CAPACITY: usize = 4096;
/// The findings that are kept. Of more, the earliest are dropped.
const MAX_OPEN: usize = 4096;
/// The findings of an answer at most.
const MAX_FINDINGS: usize = 64;
/// The largest request, in bytes.
const MAX_REQUEST: usize = 4 << 10;
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// The longest time for a request and its answer. A hook that is silent holds up another one, which
/// waits longer.
const SERVER_PATIENCE: Duration = Duration::from_millis(10);
/// The sockets that a hook asks.
const MAX_SOCKETS: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// The version, so that two versions of the program do not misunderstand each other.
    v: u32,
    session: SessionId,
}

const VERSION: u32 = 1;

/// The open findings about whole sessions. Those about one agent are in its file, which `watch` may
/// read later than a hook.
#[derive(Debug, Default)]
pub(crate) struct OpenFindings(Mutex<VecDeque<Finding>>);

impl OpenFindings {
    /// Returns a queue through which the findings arrive.
    pub(crate) fn queue(self: &Arc<Self>) -> Queue {
        Queue::new(QUEUE, Box::new(OpenFindingsSink(self.clone())), CAPACITY)
    }

    fn findings(&self) -> MutexGuard<'_, VecDeque<Finding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, finding: &Finding) {
        let mut findings = self.findings();
        findings.retain(|open| open.fingerprint != finding.fingerprint);
        if finding.status == Status::Open && finding.agent.is_none() {
            findings.push_back(finding.clone());
        }
        let n_dropped = findings.len().saturating_sub(MAX_OPEN);
        findings.drain(..n_dropped);
    }

    fn of_session(&self, session: &SessionId) -> Vec<Finding> {
        let findings = self.findings();
        let of_session = findings.iter().rev().filter(|finding| finding.session == *session);
        of_session.take(MAX_FINDINGS).cloned().collect()
    }
}

struct OpenFindingsSink(Arc<OpenFindings>);

impl Sink for OpenFindingsSink {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        self.0.report(finding);
        Ok(())
    }
}

/// Answers hooks until it is dropped.
#[derive(Debug)]
pub(crate) struct HookSocket {
    path: PathBuf,
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HookSocket {
    /// Creates the socket of this process in a folder, and removes those of processes that have
    /// ended.
    pub(crate) fn start(folder: &Path, open: Arc<OpenFindings>) -> io::Result<Self> {
        create_private_folder(folder)?;
        for path in sockets(folder) {
            if connect_to(&path).is_err_and(|err| err.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = fs::remove_file(path);
            }
        }
        let path = folder.join(process::id().to_string());
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = is_stopped.clone();
        let serve = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A hook that does not read its answer goes on without it.
                let _ = stream.and_then(|stream| answer(stream, &open));
            }
        };
        let thread = thread::Builder::new().name("hooks".to_owned()).spawn(serve)?;
        Ok(Self { path, is_stopped, thread: Some(thread) })
    }
}

impl Drop for HookSocket {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Release);
        // Ends the wait for a hook.
        let is_woken = connect_to(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| is_woken) {
            let _ = thread.join();
        }
    }
}

fn answer(stream: UnixStream, open: &OpenFindings) -> io::Result<()> {
    let mut stream = Timed { stream, deadline: Deadline::after(SERVER_PATIENCE) };
    let request: Request = serde_json::from_slice(&stream.read_to(b'\n', MAX_REQUEST)?)?;
    if request.v == VERSION {
        stream.write(&serde_json::to_vec(&open.of_session(&request.session))?)?;
    }
    Ok(())
}

/// Asks up to eight running `watch` for the open findings about a whole session, and returns the
/// answers that arrive within `patience`.
pub(crate) fn ask(folder: &Path, session: &SessionId, patience: Duration) -> Vec<Finding> {
    let deadline = Deadline::after(patience);
    let asked = sockets(folder).take(MAX_SOCKETS);
    asked.filter_map(|path| ask_one(&path, session, deadline).ok()).flatten().collect()
}

fn ask_one(path: &Path, session: &SessionId, deadline: Deadline) -> io::Result<Vec<Finding>> {
    let mut stream = Timed { stream: connect_to(path)?, deadline };
    let request = serde_json::to_string(&Request { v: VERSION, session: session.clone() })?;
    stream.write(format!("{request}\n").as_bytes())?;
    // The answer contains no line break.
    Ok(serde_json::from_slice(&stream.read_to(b'\n', MAX_ANSWER)?)?)
}

/// A stream that is used until a deadline.
struct Timed {
    stream: UnixStream,
    deadline: Deadline,
}

impl Timed {
    /// Reads up to the first `end`, or to the end of the stream.
    fn read_to(&mut self, end: u8, max: usize) -> io::Result<Vec<u8>> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4 << 10]);
        while bytes.last() != Some(&end) {
            self.stream.set_read_timeout(Some(self.remaining()?))?;
            match self.stream.read(&mut chunk)? {
                0 => break,
                n if max < bytes.len() + n => return Err(io::ErrorKind::InvalidData.into()),
                n => bytes.extend_from_slice(&chunk[..n]),
            }
        }
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(self.remaining()?))?;
            rest = &rest[self.stream.write(rest)?..];
        }
        Ok(())
    }

    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.remaining();
        if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
    }
}

/// Connects without waiting, as a process that is suspended may have a full queue of connections.
fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Returns the sockets in a folder.
fn sockets(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
        path::Path,
        sync::Arc,
        time::Duration,
    };

    use watchkeeper_core::{Finding, Fingerprint, Severity, Status, Timestamp, clock::Deadline};

    use super::{HookSocket, MAX_FINDINGS, MAX_OPEN, OpenFindings, ask, connect_to};

    fn finding(session: &str, key: u64) -> Finding {
        let mut finding = Finding::new(Timestamp::UNIX_EPOCH, "d", session, Severity::High, "m");
        finding.fingerprint = Fingerprint::from(key);
        finding
    }

    const LONG: Duration = Duration::from_secs(60);

    /// Asks until there are findings: one that has no time at this moment may get no answer.
    fn asked(folder: &Path, session: &str) -> Vec<Finding> {
        let deadline = Deadline::after(LONG);
        loop {
            let findings = ask(folder, &session.into(), LONG);
            if !findings.is_empty() || deadline.remaining().is_zero() {
                return findings;
            }
        }
    }

    fn is_silent(folder: &Path, session: &str) -> bool {
        ask(folder, &session.into(), LONG).is_empty()
    }

    #[test]
    fn a_hook_gets_the_open_findings_of_its_session() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = folder.path().join("watch");
        assert!(is_silent(&sockets, "a"));
        let open = Arc::new(OpenFindings::default());
        let socket = HookSocket::start(&sockets, open.clone()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&sockets), mode(&socket.path)), (0o700, 0o600));
        for (session, key) in [("a", 1), ("b", 2), ("a", 3)] {
            open.report(&finding(session, key));
        }
        let mut of_agent = finding("a", 4);
        of_agent.agent = Some("sub".into());
        open.report(&of_agent);
        let mut end = finding("a", 1);
        end.status = Status::Resolved;
        open.report(&end);
        assert_eq!(asked(&sockets, "a"), [finding("a", 3)]);
        assert_eq!(asked(&sockets, "b"), [finding("b", 2)]);
        assert!(is_silent(&sockets, "c"));
        drop(socket);
        assert_eq!(std::fs::read_dir(&sockets).unwrap().count(), 0);
        assert!(is_silent(&sockets, "a"));
    }

    #[test]
    fn the_number_of_findings_is_bounded() {
        let open = OpenFindings::default();
        for key in 0..MAX_OPEN as u64 + 10 {
            open.report(&finding("a", key));
        }
        assert_eq!(open.findings().len(), MAX_OPEN);
        let latest = &open.of_session(&"a".into())[0];
        assert_eq!(latest.fingerprint, Fingerprint::from(MAX_OPEN as u64 + 9));
        assert_eq!(open.of_session(&"a".into()).len(), MAX_FINDINGS);
    }

    #[test]
    fn a_hook_that_sends_garbage_or_nothing_holds_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let open = Arc::new(OpenFindings::default());
        let socket = HookSocket::start(folder.path(), open.clone()).unwrap();
        open.report(&finding("a", 1));
        for bytes in
            [&b""[..], b"{}\n", b"\xff\n", b"{\"v\":2,\"session\":\"a\"}\n", &[b'x'; 9_000]]
        {
            let mut stream = connect_to(&socket.path).unwrap();
            // The server may have closed the connection by then.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"");
        }
        let silent = connect_to(&socket.path).unwrap();
        assert_eq!(asked(folder.path(), "a"), [finding("a", 1)]);
        drop(silent);
    }

    #[test]
    fn a_process_that_does_not_answer_is_none_and_one_that_has_ended_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let suspended = UnixListener::bind(folder.path().join("1")).unwrap();
        assert_eq!(ask(folder.path(), &"a".into(), Duration::from_millis(1)), []);
        drop(suspended);
        assert!(is_silent(folder.path(), "a"));
        let socket = HookSocket::start(folder.path(), Arc::default()).unwrap();
        assert!(!folder.path().join("1").exists());
        drop(socket);
    }
}
