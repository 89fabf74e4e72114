use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use watchkeeper_core::{
    Engine, Event, Finding, Fingerprint, SessionId, SignedDuration, Status, Timestamp,
    embed::EngineConfig,
};

use crate::{
    changes::Changes,
    detail::SessionDetail,
    finding::{FindingCounts, FindingRow},
    recorder::Recorder,
    row::{SessionRow, Totals},
};

/// The number of dropped sessions that a board remembers for [`Board::changes_since`].
const MAX_REMOVED: usize = 1024;

/// The limits of a [`Board`].
#[derive(Clone, Copy, Debug)]
pub struct BoardLimits {
    /// The number of sessions. Of more, the one is dropped that has ended, or else the one whose
    /// latest event came first.
    pub sessions: usize,
    /// The number of findings. Of more, the earliest is dropped.
    pub findings: usize,
    /// The number of bars in the detail of a session.
    pub bars: usize,
}

impl Default for BoardLimits {
    fn default() -> Self {
        Self { sessions: 500, findings: 2000, bars: 4096 }
    }
}

/// The live sessions and findings of a monitor, for any number of readers.
///
/// Each change increases the version of the board. Readers take snapshots: no call keeps the board
/// locked for longer than it takes to copy the rows or one timeline. Events are counted by an
/// engine without detectors, so the board never changes a finding.
pub struct Board {
    state: Mutex<State>,
    subscribers: Mutex<Subscribers>,
}

/// Calls a closure after each change of a [`Board`], until it is dropped.
#[derive(Debug)]
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription {
    board: Arc<Board>,
    id: u64,
}

#[derive(Default)]
struct Subscribers {
    next_id: u64,
    wake: BTreeMap<u64, Box<dyn Fn() + Send>>,
}

struct State {
    limits: BoardLimits,
    engine: Engine,
    version: u64,
    sessions: BTreeMap<SessionId, Watched>,
    /// Sessions by the version of their latest change.
    changes: BTreeMap<u64, SessionId>,
    /// Findings by the version of their latest change.
    findings: BTreeMap<u64, FindingRow>,
    /// Version of the latest finding with each fingerprint.
    latest: BTreeMap<Fingerprint, u64>,
    removed: VecDeque<(u64, SessionId)>,
    /// The version of the latest removal that is forgotten.
    forgotten: u64,
    dropped: Totals,
}

struct Watched {
    recorder: Recorder,
    version: u64,
    findings: FindingCounts,
    is_looping: bool,
}

impl Board {
    /// Makes an empty board. Prices and labels of the configuration are those of the policy.
    pub fn new(config: EngineConfig, limits: BoardLimits) -> Self {
        let state = State {
            limits,
            engine: Engine::new(Vec::new(), unlimited(config)),
            version: 0,
            sessions: BTreeMap::new(),
            changes: BTreeMap::new(),
            findings: BTreeMap::new(),
            latest: BTreeMap::new(),
            removed: VecDeque::new(),
            forgotten: 0,
            dropped: Totals::default(),
        };
        Self { state: Mutex::new(state), subscribers: Mutex::default() }
    }

    /// Adds an event.
    pub fn observe(&self, event: &Event) {
        self.state().observe(event);
        self.wake();
    }

    /// Adds a finding, or updates the finding of the same episode.
    pub fn report(&self, finding: &Finding) {
        self.state().report(finding.clone());
        self.wake();
    }

    /// Replaces prices and labels after a change of the policy.
    pub fn reconfigure(&self, config: EngineConfig, now: Timestamp) {
        self.state().engine.replace(Vec::new(), unlimited(config), now, &mut Vec::new());
    }

    /// Returns the version, which grows with each change.
    pub fn version(&self) -> u64 {
        self.state().version
    }

    /// Returns the changes since a version; 0 returns everything.
    ///
    /// A version of another board, such as the one before a restart of the program, may be less
    /// than or greater than the version of this board: its owner must compare more than the number.
    pub fn changes_since(&self, version: u64) -> Changes {
        self.state().changes_since(version)
    }

    /// Returns the rows of all sessions, the latest change last.
    pub fn rows(&self) -> Vec<SessionRow> {
        let state = self.state();
        state.changes.values().filter_map(|id| state.row(id)).collect()
    }

    /// Returns all findings, the latest change last.
    pub fn findings(&self) -> Vec<FindingRow> {
        self.state().findings.values().cloned().collect()
    }

    /// Returns the totals of all sessions.
    pub fn totals(&self) -> Totals {
        self.state().totals()
    }

    /// Returns a session with its timeline and its findings.
    pub fn detail(&self, session: &str) -> Option<SessionDetail> {
        let state = self.state();
        let (id, watched) = state.sessions.get_key_value(session)?;
        let row = state.row(id)?;
        let mut detail = watched.recorder.detail(row, state.limits.bars);
        let findings = state.findings.values().filter(|row| row.finding.session == *id);
        detail.findings = findings.cloned().collect();
        detail
            .findings
            .sort_by_key(|row| (std::cmp::Reverse(row.finding.severity), row.finding.at));
        Some(detail)
    }

    /// Calls `wake` after each later change, in the thread that made the change: it must return
    /// at once and must not call the board. Without a subscription, a change costs nothing more.
    pub fn subscribe(self: &Arc<Self>, wake: impl Fn() + Send + 'static) -> Subscription {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        let id = subscribers.next_id;
        subscribers.next_id += 1;
        subscribers.wake.insert(id, Box::new(wake));
        Subscription { board: self.clone(), id }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.wake.values().for_each(|wake| wake());
    }
}

/// Returns a configuration that keeps every session until the board drops it.
fn unlimited(config: EngineConfig) -> EngineConfig {
    EngineConfig {
        max_sessions: usize::MAX,
        session_expiry: SignedDuration::MAX,
        ended_session_expiry: None,
        follows_episodes: false,
        ..config
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.board.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.wake.remove(&self.id);
    }
}

impl State {
    fn observe(&mut self, event: &Event) {
        self.engine.observe(event, &mut Vec::new());
        let Some(facts) = self.engine.session(&event.session) else { return };
        let agent = self.engine.agent(&event.session, event.agent.as_ref());
        let watched = self.sessions.entry(event.session.clone()).or_insert_with(|| Watched {
            recorder: Recorder::new(),
            version: 0,
            findings: FindingCounts::default(),
            is_looping: false,
        });
        watched.recorder.observe(event, facts, agent);
        self.touch(&event.session);
        if self.limits.sessions < self.sessions.len() {
            self.drop_session(&event.session);
        }
    }

    fn report(&mut self, finding: Finding) {
        self.version += 1;
        let session = finding.session.clone();
        let earlier = self.latest.remove(&finding.fingerprint);
        let earlier = earlier.and_then(|version| Some((version, self.findings.remove(&version)?)));
        let is_open = |row: &FindingRow| row.finding.status == Status::Open;
        let row = match earlier {
            Some((_, mut row)) if is_open(&row) => {
                row.update(finding);
                row
            }
            earlier => {
                self.findings.extend(earlier);
                FindingRow::new(finding)
            }
        };
        self.latest.insert(row.finding.fingerprint, self.version);
        self.findings.insert(self.version, row);
        while self.limits.findings < self.findings.len() {
            let Some((version, row)) = self.findings.pop_first() else { break };
            let fingerprint = row.finding.fingerprint;
            if self.latest.get(&fingerprint) == Some(&version) {
                self.latest.remove(&fingerprint);
            }
        }
        self.count_findings(&session);
    }

    /// Counts the findings of a session again.
    fn count_findings(&mut self, id: &SessionId) {
        let Some(watched) = self.sessions.get_mut(id) else { return };
        let rows = || self.findings.values().filter(|row| row.finding.session == *id);
        watched.findings = FindingCounts::of(rows());
        watched.is_looping = rows().any(FindingRow::is_open_loop);
        self.touch(id);
    }

    /// Marks a session as changed.
    fn touch(&mut self, id: &SessionId) {
        self.version += 1;
        let Some(watched) = self.sessions.get_mut(id) else { return };
        let earlier = std::mem::replace(&mut watched.version, self.version);
        let id = self.changes.remove(&earlier).unwrap_or_else(|| id.clone());
        self.changes.insert(self.version, id);
    }

    /// Drops the session that matters least, except the one with the latest event.
    fn drop_session(&mut self, latest: &SessionId) {
        let others = self.sessions.iter().filter(|(id, _)| *id != latest);
        let least =
            others.min_by_key(|(_, watched)| (!watched.recorder.has_ended(), watched.version));
        let Some(id) = least.map(|(id, _)| id.clone()) else { return };
        if let Some(row) = self.row(&id) {
            self.dropped.add(&row);
            self.dropped.dropped_sessions += 1;
        }
        if let Some(watched) = self.sessions.remove(&id) {
            self.changes.remove(&watched.version);
        }
        self.engine.forget(&id);
        self.version += 1;
        self.removed.push_back((self.version, id));
        if MAX_REMOVED < self.removed.len()
            && let Some((version, _)) = self.removed.pop_front()
        {
            self.forgotten = version;
        }
    }

    fn row(&self, id: &SessionId) -> Option<SessionRow> {
        let (watched, facts) = (self.sessions.get(id)?, self.engine.session(id)?);
        let Watched { recorder, findings, is_looping, .. } = watched;
        let row = recorder.row(facts);
        Some(SessionRow { findings: *findings, is_looping: *is_looping, ..row })
    }

    fn totals(&self) -> Totals {
        let mut totals = self.dropped;
        self.changes.values().filter_map(|id| self.row(id)).for_each(|row| totals.add(&row));
        totals
    }

    fn changes_since(&self, version: u64) -> Changes {
        let is_complete = version < self.forgotten || self.version < version || version == 0;
        let since = if is_complete { 0 } else { version + 1 };
        let removed = self.removed.iter().filter(|(version, _)| since <= *version);
        let removed = removed.map(|(_, id)| id.as_str().to_owned());
        Changes {
            version: self.version,
            is_complete,
            sessions: self.changes.range(since..).filter_map(|(_, id)| self.row(id)).collect(),
            removed: if is_complete { Vec::new() } else { removed.collect() },
            findings: self.findings.range(since..).map(|(_, row)| row.clone()).collect(),
            totals: self.totals(),
        }
    }
}
