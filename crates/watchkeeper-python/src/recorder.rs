//! The way of an event to the present run of the monitor.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use pyo3::Python;
use watchkeeper::{
    AgentId, EventKind, SessionHandle, SessionId, Timestamp, core::author::SessionStart,
};

use crate::{logging, run::Run};

const DROPS_AFTER_FORK: &str = "the monitor does not run in this forked process, so its events are dropped; start another \
     monitor, or set restart_after_fork";

/// The facts of a session, which each run of the monitor receives once.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) start: SessionStart,
    pub(crate) started_at: Option<Timestamp>,
    /// The last run that has received the facts.
    generation: AtomicU64,
}

/// Records the events of one session or sub-agent.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) run: Arc<Run>,
    pub(crate) session: SessionId,
    pub(crate) agent: Option<AgentId>,
    facts: Arc<Facts>,
    generation: u64,
    /// The handle of the run `generation`; `None` in a forked process.
    handle: Option<SessionHandle>,
}

impl Recorder {
    pub(crate) fn new(
        run: Arc<Run>,
        session: SessionId,
        agent: Option<AgentId>,
        facts: Arc<Facts>,
    ) -> Self {
        let generation = run.generation();
        let mut recorder = Self { run, session, agent, facts, generation, handle: None };
        if let Some((handle, generation)) = recorder.present_handle() {
            (recorder.handle, recorder.generation) = (Some(handle), generation);
        }
        recorder
    }

    /// Returns a handle of the present run, to which the facts of the session are recorded, and
    /// the number of the run.
    fn present_handle(&self) -> Option<(SessionHandle, u64)> {
        let (running, generation) = self.run.present()?;
        let session = running.session(self.session.clone());
        if self.facts.generation.swap(generation, Ordering::AcqRel) != generation {
            let start = EventKind::SessionStart(self.facts.start.clone());
            match self.facts.started_at {
                Some(at) => session.record_at(at, start),
                None => session.record(start),
            }
        }
        let handle = match &self.agent {
            Some(agent) => session.started_agent(agent.clone()),
            None => session,
        };
        Some((handle, generation))
    }

    /// Records an event. Never waits.
    pub(crate) fn record(&self, py: Python<'_>, at: Option<Timestamp>, kind: EventKind) {
        self.with_handle(py, |handle| match at {
            Some(at) => handle.record_at(at, kind),
            None => handle.record(kind),
        });
    }

    /// Records an event that the monitor's thread makes. Never waits.
    pub(crate) fn record_deferred(
        &self,
        py: Python<'_>,
        at: Option<Timestamp>,
        make: impl FnOnce() -> EventKind + Send + 'static,
    ) {
        self.with_handle(py, |handle| match at {
            Some(at) => handle.record_deferred_at(at, make),
            None => handle.record_deferred(make),
        });
    }

    fn with_handle(&self, py: Python<'_>, record: impl FnOnce(&SessionHandle)) {
        if let Some(handle) = &self.handle
            && self.run.generation() == self.generation
        {
            record(handle);
        } else if let Some((handle, _)) = self.present_handle() {
            record(&handle);
        } else if self.run.count_not_recorded() {
            logging::warn(py, "monitor", DROPS_AFTER_FORK);
        }
    }

    /// Returns a recorder for the events of a sub-agent of the session.
    pub(crate) fn of_agent(&self, id: AgentId) -> Self {
        Self::new(self.run.clone(), self.session.clone(), Some(id), self.facts.clone())
    }
}
