use std::{collections::BTreeMap, mem, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    detectors::CompiledDetector,
    replacement::DetectorChange,
    runner::Runner,
    subscriptions::{Selection, SubscriptionTable},
};
use crate::{
    Event, Labels, Price, Prices, SessionFacts, compact::PackedTimestamp, facts::ClockAdjustments,
    interner::Interner, session_filter::SessionMatcher,
};

/// The number of subscription tables that are kept for reuse.
const MAX_TABLES: usize = 64;

/// The configuration of an engine, beside its detectors.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Labels of every finding.
    pub labels: Labels,
    /// Labels of the findings of some sessions. Later rules take precedence over earlier
    /// ones and over `labels`; labels of the session itself over all of them.
    pub label_rules: Vec<LabelRule>,
    /// The prices of models.
    pub prices: Prices,
    /// The time after its latest event at which a session is dropped.
    pub session_expiry: SignedDuration,
    /// The time after its latest event at which a session is dropped that has ended, if it
    /// is shorter than `session_expiry`.
    pub ended_session_expiry: Option<SignedDuration>,
    /// The number of sessions that are watched at once. Of more, a session that has
    /// long been inactive is dropped, and the engine emits a finding.
    pub max_sessions: usize,
    /// Whether the engine records the reports about open findings for
    /// [`Engine::take_updates`](crate::Engine::take_updates), of several reports of a detector
    /// in one event the last. The findings stay the same.
    pub follows_episodes: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            labels: Labels::default(),
            label_rules: Vec::new(),
            prices: Prices::default(),
            session_expiry: SignedDuration::from_hours(24),
            ended_session_expiry: None,
            max_sessions: 1_000_000,
            follows_episodes: false,
        }
    }
}

/// Labels for the sessions that match.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LabelRule {
    /// The sessions.
    pub matcher: SessionMatcher,
    /// The names and values of the labels.
    pub labels: BTreeMap<String, String>,
}

impl LabelRule {
    /// Creates a rule.
    pub fn new(matcher: SessionMatcher, labels: BTreeMap<String, String>) -> Self {
        Self { matcher, labels }
    }
}

impl EngineConfig {
    /// Replaces the labels of an earlier configuration. The labels of the session itself stay.
    pub(super) fn replace_labels(&self, facts: &mut SessionFacts) {
        let own = facts.labels.iter().filter(|(name, _)| facts.has_own_label(name));
        let own: Vec<_> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        facts.labels = self.labels.clone();
        if !own.is_empty() {
            Arc::make_mut(&mut facts.labels).extend(own);
        }
        self.add_labels(facts);
    }

    /// Adds the labels of the rules that match the facts so far.
    pub(super) fn add_labels(&self, facts: &mut SessionFacts) {
        for rule in &self.label_rules {
            if !rule.matcher.matches_known(facts) {
                continue;
            }
            for (name, value) in &rule.labels {
                if !facts.has_own_label(name) && facts.labels.get(name) != Some(value) {
                    Arc::make_mut(&mut facts.labels).insert(name.clone(), value.clone());
                }
            }
        }
    }
}

/// The values that all sessions share.
pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) runner: Runner,
    pub(super) clock: ClockAdjustments,
    /// Whether a detector reads the contributions of calls.
    pub(super) reads_contributions: bool,
    /// Folders and models, each once.
    pub(super) names: Interner<Arc<str>>,
    /// Prices by model. A lookup in `config` takes longer than all other work for a
    /// model call.
    pub(super) prices: Interner<Option<Price>>,
    /// The tables of the sessions so far, each once: nearly all sessions have the
    /// same.
    tables: Vec<Arc<SubscriptionTable>>,
    /// The number of sub-agents that were dropped, over all sessions.
    pub(super) n_evicted_agents: u64,
}

impl Shared {
    pub(super) fn new(detectors: Vec<CompiledDetector>, config: EngineConfig) -> Self {
        let reads_contributions = detectors.iter().any(|it| it.subscription.reads_contributions);
        let mut runner = Runner::new(detectors);
        runner.follows_episodes = config.follows_episodes;
        Self {
            config,
            runner,
            clock: ClockAdjustments::default(),
            reads_contributions,
            names: Interner::default(),
            prices: Interner::default(),
            tables: Vec::new(),
            n_evicted_agents: 0,
        }
    }

    /// Replaces the detectors and the configuration. Returns the runner so far.
    pub(super) fn replace(
        &mut self,
        detectors: Vec<CompiledDetector>,
        config: EngineConfig,
    ) -> Runner {
        let new = Self::new(detectors, config);
        let Self { clock, names, n_evicted_agents, .. } = &mut *self;
        let (clock, names) = (mem::take(clock), mem::take(names));
        let n_evicted_agents = *n_evicted_agents;
        let old = mem::replace(self, Self { clock, names, n_evicted_agents, ..new });
        old.runner
    }

    /// Returns the detectors for a session whose first event is `first`.
    pub(super) fn table(&mut self, facts: &SessionFacts, first: &Event) -> Arc<SubscriptionTable> {
        let selection = Selection::new(&self.runner.detectors, facts, first);
        shared_table(&mut self.tables, &selection)
    }

    /// Returns the detectors for a session that had the detectors of `table` so far.
    pub(super) fn replaced_table(
        &mut self,
        change: &DetectorChange,
        table: &SubscriptionTable,
        facts: &SessionFacts,
    ) -> Arc<SubscriptionTable> {
        let is_selected = |detector: &CompiledDetector| change.selects(detector, table, facts);
        let selection = Selection::of(&self.runner.detectors, is_selected);
        shared_table(&mut self.tables, &selection)
    }

    /// Returns the time at which a session expires whose latest event is at `at`.
    pub(super) fn expiry(&self, at: Timestamp) -> PackedTimestamp {
        let expiry = PackedTimestamp::from(at).checked_add(self.config.session_expiry);
        expiry.unwrap_or_else(|| Timestamp::MAX.into())
    }

    /// Returns the time at which a session expires that has ended at `at`.
    pub(super) fn ended_expiry(&self, at: Timestamp) -> PackedTimestamp {
        let ended = self.config.ended_session_expiry;
        let ended = ended.and_then(|expiry| PackedTimestamp::from(at).checked_add(expiry));
        let expiry = self.expiry(at);
        ended.map_or(expiry, |ended| ended.min(expiry))
    }
}

/// Returns the table of a selection, from the tables so far if they contain it.
fn shared_table(
    tables: &mut Vec<Arc<SubscriptionTable>>,
    selection: &Selection<'_>,
) -> Arc<SubscriptionTable> {
    if let Some(existing) = tables.iter().find(|table| table.is_of(selection)) {
        return existing.clone();
    }
    let table = Arc::new(SubscriptionTable::new(selection));
    // Sessions keep the tables that they have.
    if tables.len() == MAX_TABLES {
        tables.clear();
    }
    tables.push(table.clone());
    table
}
