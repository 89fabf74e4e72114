use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use watchkeeper_core::{
    Engine, Event, Finding, Fingerprint, SessionId, SignedDuration, Status, Timestamp,
    author::SessionFacts, embed::EngineConfig,
};

use crate::{
    budgets::{BudgetDetectors, BudgetRow, Budgets},
    changes::Changes,
    detail::SessionDetail,
    finding::{Acknowledgement, Acknowledgements, FindingCounts, FindingRow},
    quotas::{QuotaRow, Quotas},
    recorder::Recorder,
    row::{SessionRow, Totals},
    unlisted::Unlisted,
};

/// The number of dropped sessions that a board remembers for [`Board::changes_since`].
const MAX_REMOVED: usize = 1024;

/// The time without an event after which a session makes room for another one on a full board.
/// More active sessions than a board lists would otherwise replace each other with each event.
const LISTED: SignedDuration = SignedDuration::from_secs(60);
/// The time between two searches of a full board for a session that makes room.
const SEARCH: SignedDuration = SignedDuration::from_secs(1);

/// The limits of a [`Board`].
#[derive(Clone, Copy, Debug)]
pub struct BoardLimits {
    /// The number of listed sessions. Of more, those with open findings are listed, and then those
    /// that have not ended and had an event within a minute. The totals include all sessions.
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
/// locked for longer than it takes to copy the rows or one timeline. An engine with the detectors
/// of budgets alone counts the events and measures the budgets; its findings are not used.
pub struct Board {
    state: Mutex<State>,
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
    /// The acknowledgements of findings, also of findings that are not reported yet.
    acknowledgements: Acknowledgements,
    /// Version of the latest finding with each fingerprint.
    latest: BTreeMap<Fingerprint, u64>,
    budgets: Budgets,
    quotas: Quotas,
    removed: VecDeque<(u64, SessionId)>,
    /// The version of the latest removal that is forgotten.
    forgotten: u64,
    unlisted: Unlisted,
    /// The time of events before which no session makes room.
    full_until: Timestamp,
}

struct Watched {
    recorder: Recorder,
    version: u64,
    findings: FindingCounts,
    is_looping: bool,
}

impl Board {
    /// Makes an empty board. Prices and labels of the configuration are those of the policy.
    pub fn new(detectors: BudgetDetectors, config: EngineConfig, limits: BoardLimits) -> Self {
        let BudgetDetectors { detectors, units } = detectors;
        let mut engine = Engine::new(detectors, unlimited(config));
        engine.explain_all();
        let state = State {
            limits,
            engine,
            budgets: Budgets::new(units),
            quotas: Quotas::default(),
            version: 0,
            sessions: BTreeMap::new(),
            changes: BTreeMap::new(),
            findings: BTreeMap::new(),
            acknowledgements: Acknowledgements::default(),
            latest: BTreeMap::new(),
            removed: VecDeque::new(),
            forgotten: 0,
            unlisted: Unlisted::default(),
            full_until: Timestamp::MIN,
        };
        Self { state: Mutex::new(state) }
    }

    /// Adds an event.
    pub fn observe(&self, event: &Event) {
        self.state().observe(event);
    }

    /// Adds a finding, or updates the finding of the same episode. Returns whether a silence
    /// hides it, or has hidden all of its episode.
    pub fn report(&self, finding: &Finding) -> bool {
        self.state().report(finding.clone())
    }

    /// Replaces all acknowledgements: each with the fingerprint and the time of its finding.
    ///
    /// One applies to the episode that was open at its time. A restart reports an episode at the
    /// time of its latest finding.
    pub fn acknowledge(
        &self,
        acknowledgements: impl IntoIterator<Item = (Fingerprint, Option<Timestamp>, Acknowledgement)>,
    ) {
        self.state().acknowledge(acknowledgements.into_iter().collect());
    }

    /// Replaces the detectors of budgets, prices and labels after a change of the policy.
    pub fn reconfigure(&self, detectors: BudgetDetectors, config: EngineConfig, now: Timestamp) {
        self.state().reconfigure(detectors, config, now);
    }

    /// Ends the budgets whose time is over at `now`.
    pub fn advance(&self, now: Timestamp) {
        self.state().advance(now);
    }

    /// Returns the time at which [`advance`](Self::advance) has work, or an earlier one.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.state().engine.next_wakeup()
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

    /// Returns all budgets, the latest change last.
    pub fn budgets(&self) -> Vec<BudgetRow> {
        self.state().budgets.since(0).collect()
    }

    /// Returns all quotas, the latest statement last.
    pub fn quotas(&self) -> Vec<QuotaRow> {
        self.state().quotas.rows()
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl State {
    fn observe(&mut self, event: &Event) {
        self.engine.observe(event, &mut Vec::new());
        self.measure_budgets();
        self.budgets.end(event, &mut self.version);
        self.quotas.observe(event);
        if !self.sessions.contains_key(&event.session) && !self.make_room(event) {
            self.version += 1;
            self.budgets.remove(&event.session);
            let facts = self.engine.session(&event.session);
            if let Some(forgotten) = facts.and_then(|facts| self.unlisted.observe(facts)) {
                self.engine.forget(&forgotten);
            }
            return;
        }
        let was_unlisted = self.unlisted.remove(&event.session);
        let Some(facts) = self.engine.session(&event.session) else { return };
        let agent = self.engine.agent(&event.session, event.agent.as_ref());
        let watched = self.sessions.entry(event.session.clone()).or_insert_with(|| Watched {
            recorder: Recorder::new(),
            version: 0,
            findings: FindingCounts::default(),
            is_looping: false,
        });
        watched.recorder.observe(event, facts, agent);
        if watched.recorder.has_ended() {
            self.full_until = Timestamp::MIN;
        }
        if was_unlisted {
            self.count_findings(&event.session);
        } else {
            self.touch(&event.session);
        }
    }

    /// Makes room for the session of an event. Returns `false` if the other sessions matter more.
    fn make_room(&mut self, event: &Event) -> bool {
        if self.sessions.len() < self.limits.sessions {
            return true;
        }
        let has_open = self.unlisted.has_open_finding(&event.session);
        if !has_open && event.at < self.full_until {
            return false;
        }
        let least = self.sessions.iter().min_by_key(|(_, watched)| {
            (0 < watched.findings.open, !watched.recorder.has_ended(), watched.version)
        });
        let Some((id, watched)) = least else { return true };
        let latest = self.engine.session(id).map_or(Timestamp::MIN, SessionFacts::last_event_at);
        let is_idle = watched.recorder.has_ended() || LISTED <= event.at.duration_since(latest);
        let may_replace = has_open || is_idle && watched.findings.open == 0;
        if !may_replace {
            self.full_until = event.at.saturating_add(SEARCH).unwrap_or(Timestamp::MAX);
            return false;
        }
        self.drop_session(&id.clone());
        true
    }

    fn advance(&mut self, now: Timestamp) {
        self.engine.advance(now, &mut Vec::new());
        self.measure_budgets();
    }

    /// Takes the measures of the detectors since the last call.
    fn measure_budgets(&mut self) {
        for entry in self.engine.take_explanation() {
            self.budgets.apply(entry, &self.engine, &mut self.version);
        }
    }

    fn reconfigure(&mut self, detectors: BudgetDetectors, config: EngineConfig, now: Timestamp) {
        let BudgetDetectors { detectors, units } = detectors;
        self.engine.replace(detectors, unlimited(config), now, &mut Vec::new());
        // The next model calls measure the new ones, and readers replace all of them.
        self.budgets = Budgets::new(units);
        self.version += 1;
        self.forgotten = self.version;
    }

    fn acknowledge(&mut self, acknowledgements: Acknowledgements) {
        self.acknowledgements = acknowledgements;
        let is_changed =
            |row: &FindingRow| row.acknowledged.as_ref() != self.acknowledgements.of(row);
        let changed = self.findings.iter().filter(|(_, row)| is_changed(row));
        let changed: Vec<u64> = changed.map(|(version, _)| *version).collect();
        for earlier in changed {
            let Some(mut row) = self.findings.remove(&earlier) else { continue };
            self.version += 1;
            row.acknowledged = self.acknowledgements.of(&row).cloned();
            let latest = self.latest.get_mut(&row.finding.fingerprint);
            if let Some(latest) = latest.filter(|latest| **latest == earlier) {
                *latest = self.version;
            }
            self.findings.insert(self.version, row);
        }
    }

    fn report(&mut self, finding: Finding) -> bool {
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
                let mut row = FindingRow::new(finding);
                row.acknowledged = self.acknowledgements.of(&row).cloned();
                row
            }
        };
        let is_silenced = row.silenced.is_some();
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
        is_silenced
    }

    /// Counts the findings of a session again.
    fn count_findings(&mut self, id: &SessionId) {
        let rows = || self.findings.values().filter(|row| row.finding.session == *id);
        let counts = FindingCounts::of(rows());
        let Some(watched) = self.sessions.get_mut(id) else {
            return self.unlisted.count_findings(id, counts);
        };
        watched.findings = counts;
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

    /// Lists a session no longer.
    fn drop_session(&mut self, id: &SessionId) {
        if let Some(row) = self.row(id) {
            self.unlisted.add(id, &row);
        }
        if let Some(watched) = self.sessions.remove(id) {
            self.changes.remove(&watched.version);
        }
        self.budgets.remove(id);
        self.version += 1;
        self.removed.push_back((self.version, id.clone()));
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
        let mut totals = self.unlisted.totals();
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
            budgets: self.budgets.since(since).collect(),
            quotas: self.quotas.rows(),
            totals: self.totals(),
        }
    }
}
