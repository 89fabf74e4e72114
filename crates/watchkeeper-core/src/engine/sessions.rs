use std::collections::{HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use rapidhash::fast::RandomState;

use super::{session::Session, shared::Shared, timers::TimerQueue, totals::SessionStates};
use crate::{
    Finding, SessionId,
    period::{Elapsed, known_time},
};

/// Sessions by id, with their timers: all sessions of the engine; or, for a detector
/// with `per`, one for each group of sessions.
pub(super) struct Sessions {
    by_id: HashMap<SessionId, Box<Session>, RandomState>,
    timers: TimerQueue,
    /// The order in which sessions are considered when one must be dropped. Contains
    /// ids of dropped sessions, too.
    turns: VecDeque<SessionId>,
    kind: SessionsKind,
    /// Kept up to date for sessions; of groups, nothing is counted.
    states: SessionStates,
    n_evicted: u64,
}

/// The meaning of the ids.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionsKind {
    Session,
    /// Values of `per`. The group of a budget is kept until its detector is idle: a
    /// week without events does not reset the budget of a month.
    Group {
        is_budget: bool,
    },
}

impl Sessions {
    pub(super) fn new(kind: SessionsKind) -> Self {
        Self {
            by_id: HashMap::default(),
            timers: TimerQueue::default(),
            turns: VecDeque::new(),
            kind,
            states: SessionStates::default(),
            n_evicted: 0,
        }
    }

    /// Adds a session if there is none with this id, handles every wake-up that is
    /// due at `at`, and then calls `handle` with the session and its time.
    pub(super) fn visit<R>(
        &mut self,
        id: &SessionId,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
        new: impl FnOnce(&Shared) -> Session,
        handle: impl FnOnce(&mut Session, Timestamp, &mut Shared, &mut Vec<Finding>) -> R,
    ) -> R {
        let label_value = self.kind.label_value(id);
        let session = match self.by_id.get_mut(id) {
            Some(session) if !session.is_expired(at) => {
                session.is_recent = true;
                session
            }
            _ => {
                self.expire_until(id, at, shared, findings);
                let is_kept = self.by_id.contains_key(id);
                if !is_kept {
                    self.make_room(at, shared, findings);
                    self.turns.push_back(id.clone());
                }
                let session = self.by_id.entry(id.clone()).or_insert_with(|| Box::new(new(shared)));
                session.is_recent = is_kept;
                session
            }
        };
        let at = at.max(session.now());
        session.wake_until(at, label_value, shared, findings);
        let result = handle(session, at, shared, findings);
        if self.kind == SessionsKind::Session {
            let state = Some(session.state());
            self.states.replace(session.counted_as, state);
            session.counted_as = state;
        }
        // In a session without times, no time passes between two events.
        if known_time(at).is_some() {
            let due_at = session.due_at();
            self.timers.set(&mut session.timer_at, due_at, id);
        }
        result
    }

    /// Drops a session that has expired at `at`, or keeps the group of a budget. Keeps a
    /// session without times whose first known time is `at`.
    fn expire_until(
        &mut self,
        id: &SessionId,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let label_value = self.kind.label_value(id);
        if let Some(session) = self.by_id.get_mut(id)
            && session.is_expired(at)
        {
            if known_time(session.now()).is_none() && known_time(at).is_some() {
                // The time between the two events is not known, so none has passed.
                session.postpone(Timestamp::MIN, at.duration_since(session.now()));
                return;
            }
            let expires_at = session.expires_at();
            session.wake_until(expires_at, label_value, shared, findings);
            if !self.kind.keeps(session) || !session.extend(at, shared) {
                self.expire(id, expires_at, shared, findings);
            }
        }
    }

    /// Handles the wake-ups of the session with the first timer, if it is due at
    /// `now`, and drops an expired session. Returns whether a timer was due.
    pub(super) fn wake_first(
        &mut self,
        now: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let Some((at, id)) = self.timers.pop_due(now) else { return false };
        let Some(session) = self.by_id.get_mut(&id) else { return true };
        session.timer_at = None;
        session.wake_until(at, self.kind.label_value(&id), shared, findings);
        if session.is_expired(at) && !(self.kind.keeps(session) && session.extend(at, shared)) {
            self.expire(&id, at, shared, findings);
        } else {
            let due_at = session.due_at();
            self.timers.set(&mut session.timer_at, due_at, &id);
        }
        true
    }

    /// Drops a session that had no event for long, and ends its findings. Each process that reads
    /// the session does so at the same time.
    fn expire(
        &mut self,
        id: &SessionId,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let reason = format!("over, as nothing came for {}", Elapsed(shared.config.session_expiry));
        self.end(id, &reason, at, shared, findings);
        self.remove(id);
    }

    /// Drops a session, and withdraws its findings for this reason.
    pub(super) fn withdraw(
        &mut self,
        id: &SessionId,
        reason: &str,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let mut ends = Vec::new();
        self.end(id, reason, at, shared, &mut ends);
        findings.extend(ends.into_iter().map(Finding::as_withdrawn));
        self.remove(id);
    }

    /// Ends the findings of a session for this reason.
    fn end(
        &mut self,
        id: &SessionId,
        reason: &str,
        at: Timestamp,
        shared: &mut Shared,
        findings: &mut Vec<Finding>,
    ) {
        let label_value = self.kind.label_value(id);
        if let Some(session) = self.by_id.get_mut(id) {
            session.end_findings(reason, label_value, at, shared, findings);
        }
    }

    /// Returns the time of the first timer.
    pub(super) fn first_timer(&self) -> Option<Timestamp> {
        self.timers.first()
    }

    /// Drops a session.
    pub(super) fn remove(&mut self, id: &SessionId) {
        let Some(session) = self.by_id.remove(id) else { return };
        self.timers.cancel(session.timer_at, id);
        self.states.replace(session.counted_as, None);
        // This halves the list each time, so the cost per session is constant.
        if 2 * self.by_id.len() + 64 < self.turns.len() {
            let mut seen = HashSet::with_hasher(RandomState::default());
            self.turns.retain(|id| self.by_id.contains_key(id) && seen.insert(id.clone()));
        }
    }

    /// Drops sessions until there is room for another one: several if the limit is lower than
    /// before.
    fn make_room(&mut self, at: Timestamp, shared: &mut Shared, findings: &mut Vec<Finding>) {
        let max = self.kind.max(shared);
        // A session with an event since its last turn gets another turn.
        while max <= self.by_id.len()
            && let Some(id) = self.turns.pop_front()
        {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            if std::mem::take(&mut session.is_recent) && 1 < max {
                self.turns.push_back(id);
                continue;
            }
            self.n_evicted += 1;
            let (part, limit) = match self.kind {
                SessionsKind::Session => ("sessions", format!("more than {max} sessions at once")),
                SessionsKind::Group { .. } => {
                    ("labels", format!("more than {max} values of one label at once"))
                }
            };
            let reason = format!("no longer observed, as there are {limit}");
            self.withdraw(&id, &reason, at, shared, findings);
            shared.runner.report_evicted(at, (part, &limit), self.n_evicted, findings);
        }
    }

    pub(super) fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        // The timers stay, since a timer may be early.
        self.by_id.values_mut().for_each(|session| session.postpone(since, duration));
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Session> {
        self.by_id.get(id).map(|session| &**session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values().map(|session| &**session)
    }

    /// Returns the sessions in order of their ids.
    pub(super) fn sorted_mut(&mut self) -> Vec<(&SessionId, &mut Session)> {
        let sessions = self.by_id.iter_mut().map(|(id, session)| (id, &mut **session));
        let mut sessions: Vec<_> = sessions.collect();
        sessions.sort_by_key(|(id, _)| *id);
        sessions
    }

    pub(super) fn states(&self) -> SessionStates {
        self.states
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    #[cfg(test)]
    pub(super) fn n_timers(&self) -> usize {
        self.timers.len()
    }

    #[cfg(test)]
    pub(super) fn n_turns(&self) -> usize {
        self.turns.len()
    }
}

impl SessionsKind {
    /// The number of groups of one detector that are watched at once.
    pub(super) const MAX_GROUPS: usize = 4096;

    fn max(self, shared: &Shared) -> usize {
        match self {
            Self::Session => shared.config.max_sessions.max(1),
            Self::Group { .. } => Self::MAX_GROUPS,
        }
    }

    fn label_value(self, id: &SessionId) -> Option<&str> {
        matches!(self, Self::Group { .. }).then(|| id.as_str())
    }

    /// Returns whether a session stays although it has expired.
    fn keeps(self, session: &Session) -> bool {
        self == Self::Group { is_budget: true } && !session.is_idle()
    }
}
