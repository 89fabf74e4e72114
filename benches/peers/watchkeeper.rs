//! The findings of Watchkeeper in a session, with the steps at which they were emitted.

use std::path::Path;

use watchkeeper_core::{
    Engine, Event, Finding, Severity, SignedDuration, Status,
    author::known_time,
    embed::{EngineConfig, Registry},
};
use watchkeeper_policy::{Loader, Policy};
use watchkeeper_testing::labels::StepCounter;

use crate::error::Error;

/// A policy, with the registry that it was read with.
pub(crate) struct Watchkeeper {
    pub(crate) registry: Registry,
    policy: Policy,
}

/// A finding, when it was opened, became more severe, or replaced another one.
pub(crate) struct Emitted {
    /// The number of tool calls that the session had by then.
    pub(crate) step: u64,
    pub(crate) finding: Finding,
}

impl Watchkeeper {
    /// Reads the policy at `path`, or the built-in policy.
    pub(crate) fn new(path: Option<&Path>) -> Result<Self, Error> {
        let registry = Registry::linked().map_err(|err| Error::Policy(err.to_string()))?;
        let read_file = |path: &Path| std::fs::read_to_string(path);
        let loader = Loader::new(&registry, &read_file);
        let loaded = path.map_or_else(|| loader.load_builtin(), |path| loader.load(path));
        let policy = loaded.into_policy().map_err(|err| Error::Policy(err.to_string()))?;
        Ok(Self { registry, policy })
    }

    /// Returns the findings about a session, without those about budgets.
    ///
    /// Time passes by events only. A finding that is due before an event is emitted before it.
    pub(crate) fn findings(&self, events: &[Event]) -> Vec<Emitted> {
        let config =
            EngineConfig { session_expiry: SignedDuration::MAX, ..self.policy.engine_config() };
        let mut engine = Engine::new(self.policy.detectors.clone(), config);
        let (mut steps, mut findings, mut emitted) =
            (StepCounter::default(), Vec::new(), Vec::new());
        for event in events {
            if let Some(at) = known_time(event.at) {
                engine.advance(at, &mut findings);
                emitted.extend(findings.drain(..).filter_map(|it| Emitted::new(steps.count(), it)));
            }
            steps.observe(event);
            engine.observe(event, &mut findings);
            emitted.extend(findings.drain(..).filter_map(|it| Emitted::new(steps.count(), it)));
        }
        emitted
    }
}

impl Emitted {
    fn new(step: u64, finding: Finding) -> Option<Self> {
        let counts = finding.status == Status::Open && &*finding.class != "budget";
        counts.then_some(Self { step, finding })
    }

    /// Returns whether the severity is `medium` or higher.
    pub(crate) fn is_alarm(&self) -> bool {
        Severity::Medium <= self.finding.severity
    }
}
