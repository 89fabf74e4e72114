use jiff::Timestamp;

use super::{
    detectors::{CompiledDetector, IdleCopy},
    explanation::{Explanation, ExplanationDetail, ExplanationEntry},
    findings::{EpisodeUpdate, StreamScope, evicted},
};
use crate::{
    AgentFacts, Finding,
    compact::PackedTimestamp,
    detector::{Input, Observed, outbox::Outbox},
    facts::ClockAdjustments,
};

/// The detectors of the engine, and the values that all streams share while they run.
pub(super) struct Runner {
    /// Each after its inhibitors.
    pub(super) detectors: Vec<CompiledDetector>,
    /// For each detector, the copy that runs for the streams in which it is idle.
    pub(super) idle: Vec<IdleCopy>,
    pub(super) outbox: Outbox,
    /// The detector that runs, or ran last.
    pub(super) running: u32,
    /// The first of the wake-ups that were requested since this was last taken.
    pub(super) requested: Option<PackedTimestamp>,
    /// The detectors that have just panicked, until they are turned off for the whole
    /// session.
    pub(super) panicked: Vec<u32>,
    pub(super) explanation: Explanation,
    /// Whether reports about open findings become updates.
    pub(super) follows_episodes: bool,
    /// The updates since they were last taken.
    pub(super) updates: Vec<EpisodeUpdate>,
}

/// The event or wake-up that streams handle, and the session and agent of the
/// streams.
pub(super) struct Dispatch<'a> {
    pub(super) input: Input<'a>,
    pub(super) scope: StreamScope<'a>,
}

impl Runner {
    pub(super) fn new(detectors: Vec<CompiledDetector>) -> Self {
        Self {
            idle: detectors.iter().map(|_| IdleCopy::default()).collect(),
            detectors,
            outbox: Outbox::default(),
            running: 0,
            requested: None,
            panicked: Vec::new(),
            explanation: Explanation::default(),
            follows_episodes: false,
            updates: Vec::new(),
        }
    }

    /// Emits a finding for each doubling of the number of evictions, so that there are
    /// few findings. The other numbers are updates, if updates are needed.
    pub(super) fn report_evicted(
        &mut self,
        at: Timestamp,
        (part, limit): (&str, &str),
        n_evicted: u64,
        findings: &mut Vec<Finding>,
    ) {
        if n_evicted.is_power_of_two() {
            findings.push(evicted(at, part, limit, n_evicted));
        } else if self.follows_episodes {
            let finding = evicted(at, part, limit, n_evicted);
            self.updates.push(EpisodeUpdate::of_finding(finding));
        }
    }
}

impl<'a> Dispatch<'a> {
    pub(super) fn new(
        now: Timestamp,
        observed: Option<Observed<'a>>,
        agent: &'a AgentFacts,
        scope: StreamScope<'a>,
        clock: &'a ClockAdjustments,
        runner: &Runner,
    ) -> Self {
        let session = scope.session;
        let is_explained = runner.explanation.explained.contains(&session.id);
        let follows_episodes = runner.follows_episodes;
        let input = Input {
            now,
            observed,
            session,
            agent,
            clock,
            is_explained,
            follows_episodes,
            session_episodes: &[],
        };
        Self { input, scope }
    }
}

impl Explanation {
    /// Adds an entry, if the session is explained.
    pub(super) fn record(
        &mut self,
        compiled: &CompiledDetector,
        dispatch: &Dispatch<'_>,
        what: ExplanationDetail,
    ) {
        if dispatch.input.is_explained {
            self.entries.push(ExplanationEntry {
                at: dispatch.input.now,
                detector: compiled.named.id.clone(),
                session: dispatch.scope.session.id.clone(),
                group: dispatch.scope.label_value.map(Into::into),
                agent: compiled.agent_of(&dispatch.scope).cloned(),
                is_wakeup: dispatch.input.observed.is_none(),
                what,
            });
        }
    }
}
