//! The sessions of another machine, which `ssh` brings, on their way to the monitor.

mod connection;
mod machine;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io, mem,
    path::{Component, Path},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use watchkeeper_core::{
    Finding, Fingerprint, Severity, SignedDuration, Timestamp,
    author::make_safe,
    clock::{Clock as _, SystemClock},
    embed::{Entry as _, SourceEntry},
};
use watchkeeper_sources::{
    FollowNotice, FollowOptions, FollowReport, RemoteAnswer, RemoteFollower, Update,
    is_session_name,
};

use self::connection::{Answer, Connection, Process};
pub(crate) use self::{
    connection::{ConnectionError, find_ssh},
    machine::{AddressError, RemotePaths, is_remote},
};
use super::control::Control;
use crate::causes::with_causes;

/// The updates that wait for the monitor at most. The connection waits for it, too.
const MAX_WAITING: usize = 1 << 14;
/// The time between two lists, unless a list takes long.
const INTERVAL: Duration = Duration::from_secs(1);
/// The smallest ratio of the time between two lists to the time that one takes.
const SHARE: u32 = 10;
/// The first and the longest wait for the next connection.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The sessions of one machine.
#[derive(Debug)]
pub(crate) struct Remote {
    /// The beginning of the names of its files.
    name: String,
    inbox: Mutex<Inbox>,
    /// Notified when the inbox has room, and at a stop.
    has_room: Condvar,
    /// Notified when the first files are read, and at the first failure.
    is_settled: Condvar,
    process: Arc<Process>,
}

#[derive(Debug, Default)]
struct Inbox {
    updates: Vec<Update>,
    findings: Vec<Finding>,
    report: FollowReport,
    is_settled: bool,
    is_stopped: bool,
}

/// The sources that a machine is read with.
pub(crate) struct RemoteSources {
    /// The kind of all files; `None` recognizes each file.
    pub(crate) kind: Option<&'static SourceEntry>,
    pub(crate) kinds: Vec<&'static SourceEntry>,
    /// The maximum age of the last change of a file that is read at the start.
    pub(crate) recent: SignedDuration,
}

/// The thread that reads one machine.
struct Reader {
    remote: Arc<Remote>,
    paths: RemotePaths,
    sources: RemoteSources,
    control: Control,
    follower: RemoteFollower,
    /// The finding about the connection, while there is none.
    failure: Option<Finding>,
    /// The time and the uptime at the latest list.
    listed_at: Option<(Timestamp, Duration)>,
    /// It was reported that none of the paths exists.
    is_missing: bool,
}

impl Remote {
    /// Starts to read a machine.
    pub(crate) fn start(
        paths: RemotePaths,
        sources: RemoteSources,
        control: Control,
    ) -> io::Result<Arc<Self>> {
        let name = paths.machine.name.clone();
        let remote = Arc::new(Self {
            name: name.clone(),
            inbox: Mutex::default(),
            has_room: Condvar::new(),
            is_settled: Condvar::new(),
            process: Arc::default(),
        });
        let follower = RemoteFollower::new(name, sources.kind, sources.kinds.iter().copied());
        let mut reader = Reader {
            remote: remote.clone(),
            paths,
            sources,
            control,
            follower,
            failure: None,
            listed_at: None,
            is_missing: false,
        };
        thread::Builder::new().name("ssh".into()).spawn(move || reader.run())?;
        Ok(remote)
    }

    /// Ends the connection.
    pub(crate) fn stop(&self) {
        self.inbox().is_stopped = true;
        self.has_room.notify_all();
        self.process.stop();
    }

    /// Waits until the first files are read or the first connection has failed, at most for `wait`
    /// or until updates can be taken. Returns whether it is so.
    pub(super) fn settle(&self, wait: Duration) -> bool {
        let is_pending = |inbox: &mut Inbox| !inbox.is_settled && inbox.updates.is_empty();
        let inbox = self.is_settled.wait_timeout_while(self.inbox(), wait, is_pending);
        inbox.unwrap_or_else(PoisonError::into_inner).0.is_settled
    }

    /// Takes the updates and the findings that wait for the monitor.
    pub(super) fn take(&self) -> (Vec<Update>, Vec<Finding>) {
        let mut inbox = self.inbox();
        let taken = (mem::take(&mut inbox.updates), mem::take(&mut inbox.findings));
        drop(inbox);
        self.has_room.notify_all();
        taken
    }

    /// Adds the counts to those of local files.
    pub(super) fn add_to(&self, report: &mut FollowReport) {
        let inbox = self.inbox();
        let own = &inbox.report;
        report.n_followed += own.n_followed;
        report.n_unrecognized += own.n_unrecognized;
        report.n_unreadable += own.n_unreadable;
        report.n_failed += own.n_failed;
        report.n_rewritten += own.n_rewritten;
        report.n_lines += own.n_lines;
        report.n_bytes += own.n_bytes;
        report.skipped_lines.add(&own.skipped_lines);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds updates. Waits while too many wait. Returns whether the reading goes on.
    fn push(&self, updates: &mut Vec<Update>, follower: &RemoteFollower) -> bool {
        let has_no_room =
            |inbox: &mut Inbox| !inbox.is_stopped && MAX_WAITING <= inbox.updates.len();
        let inbox = self.has_room.wait_while(self.inbox(), has_no_room);
        let mut inbox = inbox.unwrap_or_else(PoisonError::into_inner);
        if !updates.is_empty() {
            inbox.updates.append(updates);
            inbox.report = FollowReport::default();
            follower.add_to(&mut inbox.report);
            self.is_settled.notify_all();
        }
        !inbox.is_stopped
    }

    fn report_settled(&self) {
        self.inbox().is_settled = true;
        self.is_settled.notify_all();
    }

    /// Waits. Returns whether the reading goes on.
    fn wait(&self, time: Duration) -> bool {
        let is_running = |inbox: &mut Inbox| !inbox.is_stopped;
        let inbox = self.has_room.wait_timeout_while(self.inbox(), time, is_running);
        !inbox.unwrap_or_else(PoisonError::into_inner).0.is_stopped
    }
}

impl Reader {
    /// Connects again and again, until stopped.
    fn run(&mut self) {
        let mut backoff = BACKOFF.0;
        loop {
            let listed_at = self.listed_at;
            let Err(error) = self.follow() else { return };
            if self.remote.inbox().is_stopped {
                return;
            }
            self.report_failure(&error);
            let was_connected = self.listed_at != listed_at;
            backoff = if was_connected { BACKOFF.0 } else { backoff };
            if !self.remote.wait(backoff) {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Follows the files until the connection fails, or until stopped.
    fn follow(&mut self) -> Result<(), ConnectionError> {
        let mut connection = Connection::open(&self.paths.machine, self.remote.process.clone())?;
        let roots = self.roots(&connection.home);
        loop {
            let begun_at = SystemClock.uptime();
            if !self.read(&mut connection, &roots)? {
                return Ok(());
            }
            let taken = SystemClock.uptime().saturating_sub(begun_at);
            if !self.remote.wait(INTERVAL.max(taken * SHARE)) {
                return Ok(());
            }
        }
    }

    /// Reads the added lines. Returns whether the reading goes on.
    fn read(
        &mut self,
        connection: &mut Connection,
        roots: &BTreeSet<String>,
    ) -> Result<bool, ConnectionError> {
        let names: Vec<String> = roots.iter().cloned().collect();
        let (now, uptime) = (SystemClock.now(), SystemClock.uptime());
        let list = connection.list(self.minutes(now, uptime), &names)?;
        self.listed_at = Some((now, uptime));
        let mut updates = Vec::new();
        if let Some(failure) = self.failure.take() {
            let machine = self.remote.name.clone();
            let end = failure.end(SystemClock.now(), format!("{machine} is read again"));
            self.remote.inbox().findings.push(end);
            updates.push(Update::Notice(FollowNotice::ReadAgain { machine }));
        }
        if list.n_roots == 0 && !mem::replace(&mut self.is_missing, true) {
            updates.push(self.nothing_found(&connection.home));
        }
        let kinds = &self.sources.kinds;
        let is_wanted = |path: &str| {
            let is_name = || is_session_name(Path::new(path), kinds.iter().copied());
            roots.contains(path) || roots.iter().any(|root| is_below(path, root)) && is_name()
        };
        let entries = list.entries.into_iter().filter(|entry| is_wanted(&entry.path));
        self.follower.take_list(entries, list.clock, now, &mut |update| updates.push(update));
        if !self.pass(&mut updates) {
            return Ok(false);
        }
        while let Some(request) = self.follower.next_request() {
            let answer = connection.read(&request)?;
            let answer = match &answer {
                Answer::Bytes(bytes) => RemoteAnswer::Bytes(bytes),
                Answer::Gone => RemoteAnswer::Gone,
                Answer::Unreadable => RemoteAnswer::Unreadable,
            };
            self.follower.take(&request, answer, &mut |update| updates.push(update));
            if !self.pass(&mut updates) {
                return Ok(false);
            }
        }
        self.remote.report_settled();
        Ok(true)
    }

    fn pass(&self, updates: &mut Vec<Update>) -> bool {
        let has_news = !updates.is_empty();
        let goes_on = self.remote.push(updates, &self.follower);
        if has_news {
            self.control.wake();
        }
        goes_on
    }

    /// Returns the age in minutes up to which files are listed: all that may have changed since
    /// the latest list.
    fn minutes(&self, now: Timestamp, uptime: Duration) -> i64 {
        let recent = self.listed_at.map_or(self.sources.recent, |(at, uptime_then)| {
            // The wall clock may be set back, and the uptime has no time of sleep.
            let passed = SignedDuration::try_from(uptime.saturating_sub(uptime_then));
            let since_list = now.duration_since(at).max(passed.unwrap_or_default());
            FollowOptions::default().recent.saturating_add(since_list)
        });
        recent.as_mins().saturating_add(2)
    }

    /// Returns the folders and files to follow.
    fn roots(&self, home: &str) -> BTreeSet<String> {
        let in_home = |path: &String| match path.strip_prefix('~') {
            Some(rest) => format!("{}{rest}", home.trim_end_matches('/')),
            None => path.clone(),
        };
        let mut roots: BTreeSet<String> = self.paths.paths.iter().map(in_home).collect();
        if self.paths.follows_usual {
            let environment = |name: &str| (name == "HOME").then(|| OsString::from(home));
            let only = self.sources.kind;
            let kinds = self.sources.kinds.iter();
            let kinds = kinds.filter(|it| only.is_none_or(|only| only.kind() == it.kind()));
            let folders = kinds.flat_map(|kind| kind.folders(&environment));
            roots.extend(folders.filter_map(|folder| folder.into_os_string().into_string().ok()));
        }
        roots
    }

    /// Reports that none of the paths exists.
    fn nothing_found(&self, home: &str) -> Update {
        let reason = if self.paths.follows_usual && self.paths.paths.is_empty() {
            format!("no folder of a known agent in {}; waiting for one", make_safe(home))
        } else {
            "the path does not exist yet; waiting for it".to_owned()
        };
        Update::Unreadable { file: self.remote.name.as_str().into(), reason }
    }

    /// Reports the first failure since the latest success.
    fn report_failure(&mut self, error: &ConnectionError) {
        if self.failure.is_none() {
            let (name, reason) = (&self.remote.name, with_causes(error));
            let message = format!("cannot read {name}: {reason}; trying again");
            let mut finding =
                Finding::about_monitor(SystemClock.now(), "ssh", Severity::Medium, message);
            let machine = Fingerprint::of(&**name);
            finding.id = finding.id.and(machine);
            finding.fingerprint = finding.fingerprint.and(machine);
            let mut inbox = self.remote.inbox();
            inbox.findings.push(finding.clone());
            inbox.updates.push(Update::Unreadable { file: name.as_str().into(), reason });
            drop(inbox);
            self.failure = Some(finding);
            self.control.wake();
        }
        self.remote.report_settled();
    }
}

/// Returns whether a path is below a folder. The name of another folder may contain a line break
/// and make a line of the list.
fn is_below(path: &str, folder: &str) -> bool {
    let rest = Path::new(path).strip_prefix(folder);
    rest.is_ok_and(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))))
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_path_that_leads_out_of_a_folder_is_not_below_it() {
        assert!(is_below("/home/me/.claude/projects/p/s.jsonl", "/home/me/.claude/projects"));
        assert!(is_below("/s.jsonl", "/"));
        for path in ["/etc/s.jsonl", "/a/../etc/s.jsonl", "/ab/s.jsonl", "a/s.jsonl"] {
            assert!(!is_below(path, "/a"), "{path}");
        }
    }
}
