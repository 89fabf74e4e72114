use std::collections::{BTreeMap, VecDeque};

use watchkeeper_core::{SessionId, author::SessionFacts};

use crate::{
    finding::FindingCounts,
    row::{SessionRow, Totals},
};

/// The largest number of sessions whose totals are known one by one. A session beyond it that goes
/// on counts as another one.
const MAX_SESSIONS: usize = 1 << 14;

/// The totals of the sessions that a board does not list, since there are too many.
#[derive(Default)]
pub(crate) struct Unlisted {
    sessions: BTreeMap<SessionId, Totals>,
    /// The sessions in the order in which they were added. Contains listed ones, too.
    order: VecDeque<SessionId>,
    /// The totals of sessions beyond the limit.
    forgotten: Totals,
}

impl Unlisted {
    /// Adds a session that is listed no longer.
    pub(crate) fn add(&mut self, id: &SessionId, row: &SessionRow) {
        let mut totals = Totals { dropped_sessions: 1, ..Totals::default() };
        totals.add(row);
        self.insert(id, totals);
    }

    /// Takes the facts of a session after an event. Returns a session to forget, if there are too
    /// many.
    pub(crate) fn observe(&mut self, facts: &SessionFacts) -> Option<SessionId> {
        if !self.sessions.contains_key(&facts.id) {
            let totals = Totals { sessions: 1, dropped_sessions: 1, ..Totals::default() };
            self.insert(&facts.id, totals);
        }
        if let Some(totals) = self.sessions.get_mut(&facts.id) {
            totals.set_facts(facts);
        }
        self.forget_oldest()
    }

    /// Replaces the counts of the findings of a session, if it is here.
    pub(crate) fn count_findings(&mut self, id: &SessionId, findings: FindingCounts) {
        if let Some(totals) = self.sessions.get_mut(id) {
            totals.findings = findings;
        }
    }

    /// Returns whether a session is here and has an open finding.
    pub(crate) fn has_open_finding(&self, id: &SessionId) -> bool {
        self.sessions.get(id).is_some_and(|totals| 0 < totals.findings.open)
    }

    /// Removes a session that is listed again. Returns whether it was here.
    pub(crate) fn remove(&mut self, id: &SessionId) -> bool {
        self.sessions.remove(id).is_some()
    }

    /// Returns the totals of all sessions.
    pub(crate) fn totals(&self) -> Totals {
        self.sessions.values().fold(self.forgotten, Totals::plus)
    }

    fn insert(&mut self, id: &SessionId, totals: Totals) {
        self.sessions.insert(id.clone(), totals);
        self.order.push_back(id.clone());
        if 2 * MAX_SESSIONS < self.order.len() {
            self.order.retain(|id| self.sessions.contains_key(id));
        }
    }

    fn forget_oldest(&mut self) -> Option<SessionId> {
        if self.sessions.len() <= MAX_SESSIONS {
            return None;
        }
        while let Some(id) = self.order.pop_front() {
            if let Some(totals) = self.sessions.remove(&id) {
                self.forgotten = self.forgotten.plus(&totals);
                return Some(id);
            }
        }
        None
    }
}
