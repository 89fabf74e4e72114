//! The processes of clients, and the state that clients write beside their sessions.
//!
//! A session file does not contain that its client was killed, or that a person is asked
//! for permission. The client's process and its state file do.

mod client_state;
#[cfg(test)]
mod fake;
mod open_session;
mod process_table;
mod state_folder;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use tracing::debug;
use watchkeeper_core::{
    Event, EventKind, SessionId, SignedDuration, Timestamp, author::TurnEffect,
};

use self::{
    client_state::ClientState,
    open_session::{Client, Ending, OpenSession},
    process_table::{Liveness, Process, ProcessTable},
    state_folder::{StateFolder, beside_projects},
};
use crate::follow::{has_passed, safe};

/// The `tracing` target of events about processes.
const TARGET: &str = "watchkeeper::process";

/// The interval between two looks at state files and processes.
const LOOK_INTERVAL: SignedDuration = SignedDuration::from_secs(2);
/// The shortest interval between two searches for the process that writes a file.
const SEARCH_INTERVAL: SignedDuration = SignedDuration::from_secs(10);
/// The number of searches for the process of one turn.
const MAX_SEARCHES: u8 = 3;
/// The largest number of sessions with an open turn. Of more, the half with the oldest
/// events is dropped.
const MAX_SESSIONS: usize = 1 << 14;
/// The largest number of folders with state files.
const MAX_FOLDERS: usize = 64;

/// Options of a [`ProcessTracker`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessOptions {
    /// The folder of the system's files, such as `proc`; `/` by default.
    pub root: PathBuf,
    /// Configuration folders of Claude Code, in addition to those of the followed files.
    pub config_folders: Vec<PathBuf>,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self { root: PathBuf::from("/"), config_folders: Vec::new() }
    }
}

/// Emits the events of live sessions that their files do not contain: waits for a person
/// and for permission, and the end of a session whose process is gone.
///
/// Two clients are known. Claude Code writes `sessions/<pid>.json` beside its `projects`
/// folder, with its process, its present session, and its status. Codex has the session
/// file open while the session lasts.
///
/// # Guarantees
///
/// * Without an open turn, no file is read. With one, state files are listed every two
///   seconds and read after a change. A search for the process of a Codex session lists
///   the open files of all visible processes: at most every ten seconds, and three times a
///   turn.
/// * A process is gone only if it cannot be hidden: it was seen before, or belongs to the
///   user of this program and to this machine. A reused number is another process.
/// * A state file that was removed proves an orderly end, which has no reason. A state
///   file that remains has the reason [`EventKind::PROCESS_GONE`].
/// * State files are hostile input: any content, type or size is read without a failure.
pub struct ProcessTracker {
    processes: ProcessTable,
    folders: BTreeMap<PathBuf, StateFolder>,
    sessions: BTreeMap<SessionId, OpenSession>,
    /// Processes that are gone and whose state files remain. Their sessions have ended, and
    /// may continue without them.
    gone: BTreeSet<Process>,
    looked_at: Option<Timestamp>,
    searched_at: Option<Timestamp>,
}

impl ProcessTracker {
    /// Creates a tracker. Returns `None` if the system does not show its processes:
    /// only Linux is supported.
    pub fn new(options: ProcessOptions) -> Option<Self> {
        let processes = ProcessTable::open(&options.root)?;
        let mut folders = BTreeMap::new();
        for folder in options.config_folders {
            let path = folder.join("sessions");
            folders.insert(path.clone(), StateFolder::new(path));
        }
        Some(Self {
            processes,
            folders,
            sessions: BTreeMap::new(),
            gone: BTreeSet::new(),
            looked_at: None,
            searched_at: None,
        })
    }

    /// Observes an event that was read from a session file.
    pub fn observe(&mut self, event: &Event) {
        let Some(origin) = &event.origin else { return };
        let Some(client) = Client::of(origin.source) else { return };
        if let Some(session) = self.sessions.get_mut(&event.session) {
            session.observe(event);
            if !session.has_open_turn() {
                self.sessions.remove(&event.session);
            }
        } else if event.kind.turn_effect() == TurnEffect::Continues {
            if MAX_SESSIONS <= self.sessions.len() {
                self.remove_older_half();
            }
            if client == Client::ClaudeCode {
                self.add_folder(Path::new(&*origin.file));
            }
            let mut session = OpenSession::new(client, origin);
            session.observe(event);
            self.sessions.insert(event.session.clone(), session);
        }
    }

    /// Returns whether there is a session to look at: one with an open turn.
    pub fn has_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Looks at state files and processes, if that is due at `now`. Passes the waits that
    /// began and ended to `out`.
    ///
    /// Returns whether a process is gone. The caller then reads the session files to
    /// their ends, passes the events to [`observe`](Self::observe), and calls
    /// [`end_sessions`](Self::end_sessions).
    pub fn look(&mut self, now: Timestamp, out: &mut dyn FnMut(Event)) -> bool {
        if self.sessions.is_empty() || !has_passed(LOOK_INTERVAL, self.looked_at, now) {
            return false;
        }
        self.looked_at = Some(now);
        self.look_at_states(now, out);
        self.look_at_files(now);
        self.sessions.values().any(|session| session.ending.is_some())
    }

    /// Passes the ends of the sessions whose process is gone to `out`: those without an
    /// event since the look.
    pub fn end_sessions(&mut self, now: Timestamp, out: &mut dyn FnMut(Event)) {
        self.sessions.retain(|id, session| {
            let Some(Ending { is_amid_turn, origin }) = session.ending.take() else { return true };
            debug!(target: TARGET, is_amid_turn, "the process of a session is gone");
            if session.client == Client::ClaudeCode {
                self.gone.extend(session.process);
            }
            let reason = is_amid_turn.then(|| EventKind::PROCESS_GONE.into());
            let (session, kind) = (id.clone(), EventKind::SessionEnd { reason });
            out(Event { at: now, session, agent: None, origin: Some(origin), kind });
            false
        });
    }

    fn remove_older_half(&mut self) {
        let mut ages: Vec<_> =
            self.sessions.iter().map(|(id, session)| (session.latest, id.clone())).collect();
        let middle = ages.len() / 2;
        let (older, ..) = ages.select_nth_unstable(middle);
        for (_, id) in older {
            self.sessions.remove(id);
        }
    }

    fn add_folder(&mut self, session_file: &Path) {
        let Some(path) = beside_projects(session_file) else { return };
        if self.folders.len() < MAX_FOLDERS && !self.folders.contains_key(&path) {
            debug!(target: TARGET, folder = safe(&path), "reads state files");
            self.folders.insert(path.clone(), StateFolder::new(path));
        }
    }

    fn look_at_states(&mut self, now: Timestamp, out: &mut dyn FnMut(Event)) {
        let Self { processes, folders, sessions, gone, .. } = self;
        let is_used = |session: &OpenSession| session.client == Client::ClaudeCode;
        if !sessions.values().any(is_used) {
            return;
        }
        folders.values_mut().for_each(StateFolder::refresh);
        let states: Vec<&ClientState> = folders.values().flat_map(StateFolder::states).collect();
        gone.retain(|process| states.iter().any(|state| state.process == *process));
        // The state of each session: the latest of a live process, if there is one.
        let mut found: BTreeMap<&SessionId, (&ClientState, Liveness)> = BTreeMap::new();
        for state in &states {
            let is_own =
                state.domain.as_deref().is_none_or(|domain| processes.is_own_domain(domain));
            let is_over = gone.contains(&state.process);
            if !is_own || is_over || !sessions.contains_key(&state.session) {
                continue;
            }
            let liveness = processes.liveness(state.process);
            let rank = |state: &ClientState, liveness| {
                (liveness == Liveness::Alive, state.activity.map(|(_, since)| since))
            };
            let is_better = |(other, other_liveness): &(&ClientState, Liveness)| {
                rank(other, *other_liveness) < rank(state, liveness)
            };
            if found.get(&state.session).is_none_or(is_better) {
                found.insert(&state.session, (state, liveness));
            }
        }
        for (id, session) in sessions.iter_mut().filter(|(_, session)| is_used(session)) {
            match (found.get(id), session.process) {
                (Some((state, Liveness::Alive)), _) => {
                    session.process = Some(state.process);
                    session.ending = None;
                    session.update_waits(id, state, now, out);
                }
                (Some((state, Liveness::Gone)), known) => {
                    let is_visible =
                        state.domain.is_some() && processes.shows_processes_of(state.user);
                    if is_visible || known == Some(state.process) {
                        let is_amid_turn = state.is_left_behind() && !session.is_idle(state);
                        let origin = session.origin_in(state);
                        session.process = Some(state.process);
                        session.ending = Some(Ending { is_amid_turn, origin });
                    }
                }
                (None, Some(process)) => {
                    if states.iter().any(|state| state.process == process) {
                        // The client works on another session now.
                        session.process = None;
                    } else if processes.liveness(process) == Liveness::Gone {
                        let origin = session.origin.clone();
                        session.ending = Some(Ending { is_amid_turn: false, origin });
                    }
                }
                (Some((_, Liveness::Unknown)) | None, _) => {}
            }
        }
    }

    /// Looks at the processes that have the files of Codex sessions open.
    fn look_at_files(&mut self, now: Timestamp) {
        let Self { processes, sessions, searched_at, .. } = self;
        let mut sought: BTreeMap<PathBuf, Vec<&mut OpenSession>> = BTreeMap::new();
        let is_search_due = has_passed(SEARCH_INTERVAL, *searched_at, now);
        for session in sessions.values_mut().filter(|session| session.client == Client::Codex) {
            let is_sought = match session.process {
                Some(process) => processes.liveness(process) == Liveness::Gone,
                None => is_search_due && session.n_searches < MAX_SEARCHES,
            };
            if is_sought && let Ok(path) = fs::canonicalize(&*session.origin.file) {
                sought.entry(path).or_default().push(session);
            }
        }
        if sought.is_empty() {
            return;
        }
        *searched_at = Some(now);
        let found = processes.writers(&sought.keys().cloned().collect::<BTreeSet<_>>());
        for (path, sessions) in sought {
            let writer = found.as_ref().map(|writers| writers.get(&path));
            for session in sessions {
                let was_known = session.process.is_some();
                session.process = writer.ok().flatten().copied();
                session.n_searches = session.n_searches.saturating_add(1);
                if was_known && matches!(writer, Ok(None)) {
                    let origin = session.origin.clone();
                    session.ending = Some(Ending { is_amid_turn: true, origin });
                }
            }
        }
    }
}

impl fmt::Debug for ProcessTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTracker")
            .field("n_folders", &self.folders.len())
            .field("n_sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}
