use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use crate::{
    Annotations, Detector, Fingerprint, Level, Scope, SessionFacts, SessionFilter, Subscription,
    detector::condition::Rules, quote,
};

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
    /// The texts of the policy about it.
    pub annotations: Arc<Annotations>,
    /// The measures from which findings have a severity.
    pub levels: Vec<Level>,
    /// The names of the detectors that report the same problem more precisely.
    ///
    /// Detectors that are connected in this way, directly or through others, share one
    /// finding in each agent or session. While it is open, this detector replaces it only
    /// if its own measure is more severe, and each of the named detectors replaces the
    /// finding of this one if its measure is as severe. Policies refuse two detectors
    /// that inhibit each other.
    pub inhibited_by: Vec<Arc<str>>,
    /// The fact whose groups of sessions share one stream each; `None` for a stream of
    /// each session or agent. Sessions of no group are not monitored.
    pub per: Option<Per>,
    /// The sessions that it watches. Others of the same name may watch other
    /// sessions.
    pub sessions: SessionFilter,
    /// A hash of the options of `detector`: two detectors of the same kind with the same hash
    /// have the same options. See [`Engine::replace`](crate::Engine::replace).
    pub options: Fingerprint,
    /// The detector in its pristine state.
    pub detector: Box<dyn Detector>,
}

/// A detector of the engine, with values that are computed once.
pub(super) struct CompiledDetector {
    pub(super) named: NamedDetector,
    pub(super) subscription: Subscription,
    pub(super) rules: Rules,
    /// Whether its findings are about usage.
    pub(super) is_budget: bool,
}

/// An idle copy of a detector, which runs for the streams in which the detector is idle.
#[derive(Default)]
pub(super) struct IdleCopy(Option<Box<dyn Detector>>);

impl IdleCopy {
    /// Returns the copy, which stays here.
    pub(super) fn get(&mut self, pristine: &dyn Detector) -> &mut Box<dyn Detector> {
        self.0.get_or_insert_with(|| pristine.clone_box())
    }

    /// Removes the copy that [`get`](Self::get) returned.
    pub(super) fn take(&mut self, pristine: &dyn Detector) -> Box<dyn Detector> {
        self.0.take().unwrap_or_else(|| pristine.clone_box())
    }

    /// Keeps a detector that has become idle.
    pub(super) fn put(&mut self, detector: Box<dyn Detector>) {
        self.0 = Some(detector);
    }

    /// Drops the copy, which has panicked.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

impl CompiledDetector {
    fn new(idx: u32, mut named: NamedDetector) -> Self {
        named.levels.sort_by_key(|level| level.at);
        let subscription = named.detector.subscription();
        let is_budget = &*named.class == "budget";
        let rules = Rules {
            detector_idx: idx,
            group: None,
            less_specific: Box::default(),
            levels: named.levels.clone().into(),
            reads_contributions: subscription.reads_contributions,
        };
        Self { named, subscription, rules, is_budget }
    }

    /// Returns the index among all detectors.
    pub(super) const fn idx(&self) -> u32 {
        self.rules.detector_idx
    }

    /// Returns whether this detector can continue with the state of another one. Levels and
    /// sessions are no part of the state.
    pub(super) fn works_like(&self, other: &Self) -> bool {
        let identity = |detector: &'_ Self| {
            let NamedDetector { kind, per, options, .. } = &detector.named;
            (kind.clone(), per.clone(), *options)
        };
        identity(self) == identity(other)
    }

    /// Returns whether another detector inhibits this one and has the same streams.
    fn is_inhibited_by(&self, other: &Self) -> bool {
        let is_shared = self.named.per.is_some() || other.named.per.is_some();
        self.named.inhibited_by.contains(&other.named.id)
            && !is_shared
            && self.subscription.scope == other.subscription.scope
    }

    /// Returns whether a stream is one agent.
    pub(super) fn is_per_agent(&self) -> bool {
        self.subscription.scope == Scope::Agent && self.named.per.is_none()
    }
}

/// Sorts detectors, and computes their subscriptions and groups.
pub(super) fn compile(mut detectors: Vec<NamedDetector>) -> Vec<CompiledDetector> {
    sort(&mut detectors);
    let detectors = detectors.into_iter().zip(0..);
    let mut compiled: Vec<_> =
        detectors.map(|(named, idx)| CompiledDetector::new(idx, named)).collect();
    set_groups(&mut compiled);
    compiled
}

/// Sets the groups of detectors and the detectors that each one inhibits.
fn set_groups(detectors: &mut [CompiledDetector]) {
    let mut groups: Vec<u32> = detectors.iter().map(CompiledDetector::idx).collect();
    let mut inhibitors: Vec<BTreeSet<u32>> = Vec::new();
    // Overrides create several detectors of the same name.
    let mut by_id: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for detector in &*detectors {
        let idx = detector.idx() as usize;
        let mut all = BTreeSet::new();
        // An inhibitor comes before the detector, unless detectors inhibit each other.
        let named = detector.named.inhibited_by.iter().filter_map(|id| by_id.get(&**id));
        let others: BTreeSet<usize> = named.flatten().copied().collect();
        let others = others.into_iter().map(|other| &detectors[other]);
        for other in others.filter(|other| detector.is_inhibited_by(other)) {
            all.insert(other.idx());
            all.extend(&inhibitors[other.idx() as usize]);
            let merged = [groups[idx], groups[other.idx() as usize]];
            let lowest = merged[0].min(merged[1]);
            groups.iter_mut().filter(|it| merged.contains(it)).for_each(|it| *it = lowest);
        }
        inhibitors.push(all);
        by_id.entry(&detector.named.id).or_default().push(idx);
    }
    let mut less_specific = vec![Vec::new(); detectors.len()];
    for (all, idx) in inhibitors.iter().zip(0..) {
        for other in all {
            less_specific[*other as usize].push(idx);
        }
    }
    let mut n_members = vec![0; detectors.len()];
    for group in &groups {
        n_members[*group as usize] += 1;
    }
    for (detector, less_specific) in detectors.iter_mut().zip(less_specific) {
        detector.rules.less_specific = less_specific.into_iter().collect();
        let group = groups[detector.idx() as usize];
        let is_shared = 1 < n_members[group as usize];
        detector.rules.group = is_shared.then_some(group);
    }
}

/// Sorts each detector after its inhibitors, and otherwise by name.
fn sort(detectors: &mut [NamedDetector]) {
    detectors.sort_by(|a, b| a.id.cmp(&b.id));
    let mut depths: BTreeMap<Arc<str>, usize> =
        detectors.iter().map(|named| (named.id.clone(), 0)).collect();
    // Each round completes one depth at least, unless detectors inhibit each other.
    for _ in 0..detectors.len() {
        let mut is_complete = true;
        for named in detectors.iter().filter(|named| !named.inhibited_by.is_empty()) {
            let inhibitors = named.inhibited_by.iter().filter_map(|id| depths.get(id));
            let depth = inhibitors.map(|depth| depth + 1).max().unwrap_or(0);
            is_complete &= depths.insert(named.id.clone(), depth) == Some(depth);
        }
        if is_complete {
            break;
        }
    }
    detectors.sort_by_key(|named| depths[&named.id]);
}
