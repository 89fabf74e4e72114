use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use watchkeeper::{
    SessionId, Severity, Status,
    clock::{Clock as _, SystemClock},
    core::{Finding, Fingerprint},
};

/// The kind of findings about interventions. Unlike findings about the monitor, they are
/// not logged as warnings, which could be drawn over a terminal program.
const INTERVENTION_KIND: &str = "attach";

/// The open findings of the sessions that a program decides about.
#[derive(Debug, Default)]
pub(crate) struct OpenFindings {
    /// Locked for microseconds: the monitor's thread and the agent's threads use it.
    by_session: Mutex<HashMap<SessionId, Vec<Finding>>>,
}

impl OpenFindings {
    /// Starts collecting the findings of a session.
    pub(crate) fn watch(&self, session: SessionId) {
        self.lock().entry(session).or_default();
    }

    /// Stops collecting the findings of a session.
    pub(crate) fn forget(&self, session: &str) {
        self.lock().remove(&SessionId::from(session));
    }

    /// Adds, replaces or removes a finding of a watched session.
    pub(crate) fn update(&self, finding: &Finding) {
        if &*finding.kind == INTERVENTION_KIND {
            return;
        }
        let mut by_session = self.lock();
        let Some(findings) = by_session.get_mut(&finding.session) else { return };
        findings.retain(|open| open.fingerprint != finding.fingerprint);
        if finding.status == Status::Open {
            findings.push(finding.clone());
        }
    }

    /// Returns the open findings of a session, in the order of their last change.
    pub(crate) fn of(&self, session: &str) -> Vec<Finding> {
        self.lock().get(&SessionId::from(session)).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Finding>>> {
        self.by_session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the finding that the program intervened in a session.
pub(crate) fn intervention(session: &str, agent: Option<&str>, message: &str) -> Finding {
    let mut finding = Finding::about_monitor(SystemClock.now(), "attach", Severity::Low, message);
    finding.kind = INTERVENTION_KIND.into();
    finding.session = session.into();
    finding.agent = agent.map(Into::into);
    finding.fingerprint = finding.fingerprint.and(Fingerprint::of(session));
    finding.id = finding.id.and(finding.fingerprint).and(Fingerprint::of(message));
    finding
}
