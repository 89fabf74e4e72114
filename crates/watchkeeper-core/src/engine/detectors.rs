use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{Detector, Level, Scope, SessionFacts, SessionFilter, Subscription, quote};

/// The fact whose value groups sessions: all sessions of a group share one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Per {
    /// A label. A session belongs to a group from the event on that gives it the label,
    /// and to none before.
    Label(String),
    /// The working folder. Sessions without a recorded folder form one group.
    Cwd,
    /// The model of the latest model call. Events before the first model call belong
    /// to the group of unknown models.
    Model,
}

impl Per {
    /// The group of sessions without a recorded value.
    const UNKNOWN: &'static str = "unknown";

    /// Returns the value of a session; `None` if the session belongs to no group.
    pub(super) fn value<'a>(&self, facts: &'a SessionFacts) -> Option<&'a str> {
        match self {
            Self::Label(label) => facts.labels.get(label).map(String::as_str),
            Self::Cwd => Some(facts.cwd.as_deref().unwrap_or(Self::UNKNOWN)),
            Self::Model => Some(facts.model.as_deref().unwrap_or(Self::UNKNOWN)),
        }
    }

    /// Returns a text for a group, such as "team `payments`" or "folder `/srv/app`".
    pub(super) fn describe(&self, value: &str) -> String {
        let name = match self {
            Self::Label(label) => quote(label).trim_matches('`').to_owned(),
            Self::Cwd => "folder".to_owned(),
            Self::Model => "model".to_owned(),
        };
        format!("{name} {}", quote(value))
    }
}

/// The spelling in a policy, such as `label:team`.
impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label:{label}"),
            Self::Cwd => f.write_str("cwd"),
            Self::Model => f.write_str("model"),
        }
    }
}

/// A detector, configured and named by a policy.
#[derive(Clone)]
pub struct NamedDetector {
    /// The name in the policy.
    pub id: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The class of its findings.
    pub class: Arc<str>,
    /// The measures from which findings have a severity.
    pub levels: Vec<Level>,
    /// The names of the detectors that report the same problem more precisely. While
    /// one of them has a finding open in the same agent or session, this detector
    /// opens or escalates only findings that are more severe. Policies refuse two
    /// detectors that inhibit each other.
    pub inhibited_by: Vec<Arc<str>>,
    /// The fact whose groups of sessions share one stream each; `None` for a stream of
    /// each session or agent. Sessions of no group are not monitored.
    pub per: Option<Per>,
    /// The sessions that it watches. Others of the same name may watch other
    /// sessions.
    pub sessions: SessionFilter,
    /// The detector in its pristine state.
    pub detector: Box<dyn Detector>,
}

/// A detector of the engine, with values that are computed once.
pub(super) struct CompiledDetector {
    /// The index among all detectors.
    pub(super) idx: u32,
    pub(super) named: NamedDetector,
    pub(super) subscription: Subscription,
    /// The indexes of the detectors that inhibit it.
    pub(super) inhibitors: Box<[u32]>,
    /// Whether its findings are about usage.
    pub(super) is_budget: bool,
}

impl CompiledDetector {
    fn new(idx: u32, mut named: NamedDetector, all: &[Arc<str>]) -> Self {
        named.levels.sort_by_key(|level| level.at);
        let subscription = named.detector.subscription();
        // Detectors run in order, and only one that has run can inhibit another.
        let earlier = all.iter().zip(0..idx);
        let inhibitors = earlier.filter(|(id, _)| named.inhibited_by.contains(id));
        let inhibitors = inhibitors.map(|(_, idx)| idx).collect();
        let is_budget = &*named.class == "budget";
        Self { idx, named, subscription, inhibitors, is_budget }
    }

    /// Returns whether a stream is one agent.
    pub(super) fn is_per_agent(&self) -> bool {
        self.subscription.scope == Scope::Agent && self.named.per.is_none()
    }
}

/// Sorts detectors and computes their subscriptions and inhibitors.
pub(super) fn compile(mut detectors: Vec<NamedDetector>) -> Vec<CompiledDetector> {
    sort(&mut detectors);
    let ids: Vec<_> = detectors.iter().map(|named| named.id.clone()).collect();
    let compiled = detectors.into_iter().zip(0..);
    compiled.map(|(named, idx)| CompiledDetector::new(idx, named, &ids)).collect()
}

/// Sorts each detector after its inhibitors, and otherwise by name.
fn sort(detectors: &mut [NamedDetector]) {
    detectors.sort_by(|a, b| a.id.cmp(&b.id));
    let mut depths: BTreeMap<Arc<str>, usize> =
        detectors.iter().map(|named| (named.id.clone(), 0)).collect();
    // Each round completes one depth at least, unless detectors inhibit each other.
    for _ in 0..detectors.len() {
        for named in &*detectors {
            let inhibitors = named.inhibited_by.iter().filter_map(|id| depths.get(id));
            let depth = inhibitors.map(|depth| depth + 1).max().unwrap_or(0);
            depths.insert(named.id.clone(), depth);
        }
    }
    detectors.sort_by_key(|named| depths[&named.id]);
}
