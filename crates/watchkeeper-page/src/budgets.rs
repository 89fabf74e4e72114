use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{
    AgentId, Engine, Event, EventKind, Fingerprint, SessionId, Severity, Unit,
    author::known_time,
    embed::{ExplanationDetail, ExplanationEntry, NamedDetector},
};

use crate::rate::RecentRate;

#[cfg(test)]
mod tests;

/// The class of the detectors whose measures are budgets.
const CLASS: &str = "budget";
/// The number of budgets that are kept. Of more, the one whose latest measure came first is
/// dropped.
const MAX_BUDGETS: usize = 2048;

/// The detectors of a policy that measure usage, for a [`Board`](crate::Board).
#[derive(Clone, Default)]
pub struct BudgetDetectors {
    pub(crate) detectors: Vec<NamedDetector>,
    pub(crate) units: BTreeMap<Arc<str>, Unit>,
}

/// The use of one limit, as a detector of class `budget` has measured it last.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BudgetRow {
    /// The name of the detector in the policy.
    pub detector: String,
    /// The kind of the detector.
    pub kind: String,
    /// Distinguishes the limits of one detector, such as one in tokens and one in dollars.
    #[schemars(with = "String")]
    pub subject: Fingerprint,
    /// The session; `null` for a limit that sessions share.
    pub session: Option<String>,
    /// The sub-agent, for a limit of each agent.
    pub agent: Option<String>,
    /// The fact whose sessions share the limit, such as `label:team`.
    pub per: Option<String>,
    /// The value of this fact.
    pub group: Option<String>,
    /// The time of the measure; `null` for a session without times.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The measure.
    pub measure: u64,
    /// The unit of the measure.
    pub unit: Unit,
    /// The measure in words, safe for a terminal.
    pub message: String,
    /// Whether the measure no longer applies: the time of the limit, the agent or the session is
    /// over.
    pub has_ended: bool,
    /// The growth of the measure in an hour, at the rate of the last minutes; `null` if that is
    /// not known.
    pub per_hour: Option<f64>,
    /// The levels of the policy, the lowest first.
    pub levels: Vec<BudgetLevel>,
}

/// A level of the policy, and the time at which a budget reaches it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct BudgetLevel {
    /// Measure from which the level applies.
    pub at: u64,
    /// The severity.
    pub severity: Severity,
    /// The time at which the measure will reach the level at the rate of the last minutes;
    /// `null` if it has reached the level, or will not within 12 hours.
    #[schemars(with = "Option<String>")]
    pub reached_at: Option<Timestamp>,
}

/// The latest measures of all budgets.
#[derive(Default)]
pub(crate) struct Budgets {
    units: BTreeMap<Arc<str>, Unit>,
    by_key: BTreeMap<Key, Budget>,
    /// Budgets by the version of their latest change.
    changes: BTreeMap<u64, Key>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    stream: Stream,
    detector: Arc<str>,
    subject: Fingerprint,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Session(SessionId, Option<AgentId>),
    Group(Box<str>),
}

struct Budget {
    version: u64,
    row: BudgetRow,
    rate: RecentRate,
}

impl BudgetDetectors {
    /// Selects the detectors of a policy that measure usage. `unit_of` returns the unit of the
    /// measures of a kind.
    pub fn new<'a>(
        detectors: impl IntoIterator<Item = &'a NamedDetector>,
        unit_of: impl Fn(&str) -> Option<Unit>,
    ) -> Self {
        let detectors = detectors.into_iter().filter(|detector| &*detector.class == CLASS);
        let detectors: Vec<NamedDetector> = detectors.cloned().collect();
        let units = detectors.iter().filter_map(|it| Some((it.kind.clone(), unit_of(&it.kind)?)));
        Self { units: units.collect(), detectors }
    }
}

impl std::fmt::Debug for BudgetDetectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.detectors.iter().map(|detector| &detector.id)).finish()
    }
}

impl Budgets {
    pub(crate) fn new(units: BTreeMap<Arc<str>, Unit>) -> Self {
        Self { units, ..Self::default() }
    }

    /// Applies an action of a detector. Increases the version if a budget changes.
    pub(crate) fn apply(&mut self, entry: ExplanationEntry, engine: &Engine, version: &mut u64) {
        let ExplanationEntry { at, detector, session, group, agent, what, .. } = entry;
        let stream = match &group {
            Some(group) => Stream::Group(group.clone()),
            None => Stream::Session(session.clone(), agent.clone()),
        };
        let key = |subject| Key { stream, detector: detector.clone(), subject };
        match what {
            ExplanationDetail::Reported {
                subject, measure, message, is_unmeasured: false, ..
            } => {
                let key = key(subject);
                let watching = engine.watching(&session);
                let named = watching.into_iter().find(|named| named.id == detector);
                let Some(named) = named else { return };
                let mut budget = self.take(&key).unwrap_or_else(|| Budget {
                    version: 0,
                    row: self.new_row(named, &key),
                    rate: RecentRate::default(),
                });
                budget.measure(known_time(at), measure, message, named);
                self.put(key, budget, version);
                if MAX_BUDGETS < self.by_key.len()
                    && let Some((_, first)) = self.changes.pop_first()
                {
                    self.by_key.remove(&first);
                }
            }
            ExplanationDetail::Ended { subject, message, .. } => {
                let key = key(subject);
                if let Some(budget) = self.take(&key) {
                    self.put(key, budget.ended(message), version);
                }
            }
            _ => {}
        }
    }

    /// Ends the budgets of an agent or session that ends with this event.
    pub(crate) fn end(&mut self, event: &Event, version: &mut u64) {
        let has_ended = |agent: &Option<AgentId>| match &event.kind {
            EventKind::AgentEnd => event.agent.is_some() && *agent == event.agent,
            EventKind::SessionEnd { .. } => event.agent.is_none() || *agent == event.agent,
            _ => false,
        };
        if !matches!(event.kind, EventKind::AgentEnd | EventKind::SessionEnd { .. }) {
            return;
        }
        for key in self.keys_of(&event.session) {
            if matches!(&key.stream, Stream::Session(_, agent) if has_ended(agent))
                && let Some(budget) = self.take(&key)
            {
                let message = budget.row.message.clone();
                self.put(key, budget.ended(message), version);
            }
        }
    }

    /// Drops the budgets of a session.
    pub(crate) fn remove(&mut self, session: &SessionId) {
        for key in self.keys_of(session) {
            self.take(&key);
        }
    }

    /// Returns the budgets that have changed since a version, the latest change last.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = BudgetRow> {
        self.changes.range(version..).filter_map(|(_, key)| Some(self.by_key.get(key)?.row()))
    }

    fn keys_of(&self, session: &SessionId) -> Vec<Key> {
        let first = Key {
            stream: Stream::Session(session.clone(), None),
            detector: "".into(),
            subject: Fingerprint::NONE,
        };
        let is_own = |key: &&Key| matches!(&key.stream, Stream::Session(id, _) if id == session);
        self.by_key.range(first..).map(|(key, _)| key).take_while(is_own).cloned().collect()
    }

    fn take(&mut self, key: &Key) -> Option<Budget> {
        let budget = self.by_key.remove(key)?;
        self.changes.remove(&budget.version);
        Some(budget)
    }

    fn put(&mut self, key: Key, budget: Budget, version: &mut u64) {
        *version += 1;
        self.changes.insert(*version, key.clone());
        self.by_key.insert(key, Budget { version: *version, ..budget });
    }

    fn new_row(&self, named: &NamedDetector, key: &Key) -> BudgetRow {
        let (session, agent, group) = match &key.stream {
            Stream::Session(session, agent) => (Some(session), agent.as_ref(), None),
            Stream::Group(group) => (None, None, Some(group)),
        };
        BudgetRow {
            detector: named.id.to_string(),
            kind: named.kind.to_string(),
            subject: key.subject,
            session: session.map(|id| id.as_str().to_owned()),
            agent: agent.map(|agent| agent.as_str().to_owned()),
            per: named.per.as_ref().map(ToString::to_string),
            group: group.map(ToString::to_string),
            at: None,
            measure: 0,
            unit: self.units.get(&named.kind).copied().unwrap_or(Unit::Count),
            message: String::new(),
            has_ended: false,
            per_hour: None,
            levels: Vec::new(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates and forecasts need not be exact")]
impl Budget {
    fn measure(
        &mut self,
        at: Option<Timestamp>,
        measure: u64,
        message: String,
        named: &NamedDetector,
    ) {
        if let Some(at) = at {
            self.rate.push(at, measure as f64);
        }
        let level = |level: &watchkeeper_core::Level| BudgetLevel {
            at: level.at,
            severity: level.severity,
            reached_at: None,
        };
        let mut levels: Vec<BudgetLevel> = named.levels.iter().map(level).collect();
        levels.sort_by_key(|level| level.at);
        let row = &mut self.row;
        (row.at, row.measure, row.message, row.levels) = (at, measure, message, levels);
        row.has_ended = false;
    }

    fn ended(mut self, message: String) -> Self {
        self.rate = RecentRate::default();
        (self.row.message, self.row.has_ended) = (message, true);
        self
    }

    /// Returns the row with its forecast.
    fn row(&self) -> BudgetRow {
        let mut row = self.row.clone();
        row.per_hour = self.rate.per_hour();
        for level in &mut row.levels {
            level.reached_at = self.rate.reaches(level.at as f64);
        }
        row
    }
}
