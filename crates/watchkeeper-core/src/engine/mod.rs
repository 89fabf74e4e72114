//! The engine: runs the detectors of a policy over any number of sessions.
//!
//! # The way of one event
//!
//! [`Engine::observe`] finds the session ([`sessions`]) and first handles the
//! wake-ups that are due before the event. The session ([`session`]) updates its
//! facts and those of the agent, then runs the streams of the agent and its own
//! ([`streams`]). Each detector that receives the event ([`subscriptions`]) reads
//! the facts from a [`Context`](crate::Context) and leaves measures and a wake-up
//! request in an outbox. The streams compare the measures with the levels
//! ([`episodes`]), and turn every opened, escalated and resolved condition into a
//! finding ([`findings`]). The request becomes a wake-up, and the first wake-up of
//! the session its timer ([`timers`]). [`Engine::advance`] takes the same way from
//! the timers, without an event.
//!
//! Sessions that share a label are one session with another key, the value of the
//! label: its stream runs after those of the session itself, in the same way.
//!
//! An explanation records the actions of detectors as the outbox is emptied, and
//! changes nothing. A panic is caught around the detectors of one agent or session and
//! attributed to the one that ran; the others continue.
//!
//! Imports point from this module down this list, and never back: `sessions`,
//! `session`, `shared`, `streams`, `runner`, `subscriptions`, `episodes`, `findings`,
//! `detectors`, `explanation`, `wakeups`, `timers`, `totals`, `replacement`, `detector_set`.

mod detector_set;
mod detectors;
mod episodes;
mod explanation;
mod findings;
mod replacement;
mod runner;
mod session;
mod sessions;
mod shared;
mod streams;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;
mod totals;
mod wakeups;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use self::{
    detectors::{CompiledDetector, compile},
    explanation::{Explained, Explanation},
    findings::sort_name,
    replacement::DetectorChange,
    session::Session,
    sessions::{Sessions, SessionsKind},
    shared::Shared,
    subscriptions::SubscriptionTable,
};
pub use self::{
    detectors::{NamedDetector, Per},
    explanation::{ExplanationDetail, ExplanationEntry, Outcome},
    findings::{EpisodeUpdate, OpenFinding},
    shared::{EngineConfig, LabelRule},
    totals::{EngineTotals, SessionStates},
};
use crate::{
    AgentFacts, AgentId, Annotations, Event, Finding, SessionFacts, SessionId, detector::Observed,
    facts::Step,
};

/// Runs the detectors of a policy over any number of sessions.
///
/// The engine has no clock, no thread and no socket: its caller passes the time. The
/// [`Monitor`](crate::Monitor) has a thread and a clock for it. Each session has a
/// time of its own, which its events move forward and never back, so sessions of
/// different years can be read in any order. [`advance`](Self::advance) moves the
/// time of all sessions.
///
/// A wake-up that is due at the time of an event comes before the event. The same
/// events cause the same findings with the same ids, live or replayed, regardless of
/// the calls of `advance` between them.
pub struct Engine {
    shared: Shared,
    sessions: Sessions,
    labels: Vec<LabelStreams>,
    /// Without the numbers of sessions.
    totals: EngineTotals,
}

/// The streams of one detector with a `per`: one for each group of sessions.
struct LabelStreams {
    per: Per,
    table: Arc<SubscriptionTable>,
    sessions: Sessions,
}

impl LabelStreams {
    /// Returns the streams of a detector; `None` if it has no `per`.
    fn new(detector: &CompiledDetector) -> Option<Self> {
        Some(Self {
            per: detector.named.per.clone()?,
            table: Arc::new(SubscriptionTable::of_label(detector)),
            sessions: Sessions::new(SessionsKind::Group { is_budget: detector.is_budget }),
        })
    }
}

impl Engine {
    /// Makes an engine for the detectors of a policy.
    pub fn new(detectors: Vec<NamedDetector>, config: EngineConfig) -> Self {
        let detectors = compile(detectors);
        let labels = detectors.iter().filter_map(LabelStreams::new).collect();
        let sessions = Sessions::new(SessionsKind::Session);
        let shared = Shared::new(detectors, config);
        Self { shared, sessions, labels, totals: EngineTotals::default() }
    }

    /// Handles one event, after the wake-ups of its session that are due by then.
    pub fn observe(&mut self, event: &Event, findings: &mut Vec<Finding>) {
        let new = |shared: &Shared| {
            let labels = shared.config.labels.clone();
            let facts = SessionFacts::new(event.session.clone(), event.at, labels);
            Session::new(facts, shared.expiry(event.at))
        };
        let mut step = Step::default();
        let handle = |session: &mut Session, at, shared: &mut Shared, findings: &mut Vec<_>| {
            let n_before = findings.len();
            session.observe(event, at, shared, &mut step, findings);
            (at, n_before)
        };
        let visited =
            self.sessions.visit(&event.session, event.at, &mut self.shared, findings, new, handle);
        let (at, n_before) = visited;
        self.totals.add(step.usage);
        if !self.labels.is_empty() {
            self.observe_labels(event, &step, at, findings);
        }
        // The streams of agents, sessions and labels have run in turn. Findings are in
        // order of time and detector.
        let detectors = &self.shared.runner.detectors;
        findings[n_before..].sort_by(|a, b| {
            let names = [a, b].map(|finding| sort_name(finding, detectors));
            (a.at, names[0]).cmp(&(b.at, names[1]))
        });
    }

    /// Runs the streams of the labels that the session of an event has.
    fn observe_labels(
        &mut self,
        event: &Event,
        step: &Step,
        at: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        let Some(source) = self.sessions.get(&event.session) else { return };
        for LabelStreams { per, table, sessions } in &mut self.labels {
            let Some(value) = per.value(&source.facts) else { continue };
            let new = |shared: &Shared| {
                let SessionFacts { id, labels, .. } = &source.facts;
                let facts = SessionFacts::new(id.clone(), at, labels.clone());
                Session::of_label(facts, shared.expiry(at), table.clone())
            };
            let observed = Observed { event, step };
            let handle = |session: &mut Session, at, shared: &mut Shared, findings: &mut Vec<_>| {
                session.observe_shared(observed, at, value, source, shared, findings);
            };
            let value = SessionId::from(value);
            sessions.visit(&value, at, &mut self.shared, findings, new, handle);
        }
    }

    /// Replaces the detectors and the configuration, for a policy that was changed at `now`.
    ///
    /// A detector that watches a session or group before and after the change keeps its state
    /// there: one of the same name and kind, with the same [`options`](NamedDetector::options)
    /// and `per`. Its open findings stay open if they reach one of its levels. All other
    /// findings are resolved, and all other detectors begin with the next event.
    ///
    /// A condition on sessions, such as one of an override, is compared with the facts of a
    /// session so far, unless the earlier detectors of the session had it: then it is as true
    /// or false as at the first event.
    ///
    /// Labels of the configuration are replaced in all sessions. Prices, limits and expiries
    /// are used from the next event on.
    pub fn replace(
        &mut self,
        detectors: Vec<NamedDetector>,
        config: EngineConfig,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        let detectors = compile(detectors);
        let change = DetectorChange::new(now, &self.shared.runner.detectors, &detectors);
        let mut old = self.shared.replace(detectors, config);
        let Self { shared, sessions, labels, .. } = self;
        for (_, session) in sessions.sorted_mut() {
            // Labels select detectors.
            shared.config.replace_labels(&mut session.facts);
            let table = shared.replaced_table(&change, session.table(), &session.facts);
            let replacement = change.in_session(session.table(), &table);
            session.replace((&replacement, table), None, (&mut old, shared), findings);
        }
        let replacement = change.in_group();
        let old_idxs = old.detectors.iter().filter(|it| it.named.per.is_some());
        let old_idxs: Vec<u32> = old_idxs.map(CompiledDetector::idx).collect();
        let mut streams: BTreeMap<u32, LabelStreams> =
            old_idxs.into_iter().zip(std::mem::take(labels)).collect();
        for (old_idx, LabelStreams { table, sessions, .. }) in &mut streams {
            let new_idx = replacement.new_idx(*old_idx);
            let detector = new_idx.map(|idx| &shared.runner.detectors[idx as usize]);
            *table = Arc::new(detector.map_or_else(Default::default, SubscriptionTable::of_label));
            for (value, session) in sessions.sorted_mut() {
                let is_off = !session.table().contains(*old_idx);
                let table = match new_idx.filter(|_| is_off) {
                    Some(new_idx) => Arc::new(table.without(new_idx)),
                    None => table.clone(),
                };
                let value = Some(value.as_str());
                session.replace((&replacement, table), value, (&mut old, shared), findings);
            }
        }
        let mut kept = |it: &CompiledDetector| streams.remove(&change.old_idx(it.idx())?);
        let detectors = shared.runner.detectors.iter();
        *labels = detectors.filter_map(|it| kept(it).or_else(|| LabelStreams::new(it))).collect();
        shared.runner.explanation = old.explanation;
        shared.runner.updates = old.updates;
    }

    /// Moves the time of every session to `now`, and handles every wake-up that is
    /// due by then, in order of time. The time of a session without times stays.
    pub fn advance(&mut self, now: Timestamp, findings: &mut Vec<Finding>) {
        loop {
            let labels = self.labels.iter_mut().map(|label| &mut label.sessions);
            let first = labels
                .filter(|sessions| sessions.first_timer().is_some_and(|at| at <= now))
                .min_by_key(|sessions| sessions.first_timer());
            let until = first.as_ref().and_then(|it| it.first_timer()).unwrap_or(now);
            if self.sessions.wake_first(until, &mut self.shared, findings) {
                continue;
            }
            let Some(sessions) = first else { return };
            sessions.wake_first(now, &mut self.shared, findings);
        }
    }

    /// Returns the time at which [`advance`](Self::advance) has work, or an earlier
    /// one.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let labels = self.labels.iter().map(|label| &label.sessions);
        labels.chain([&self.sessions]).filter_map(Sessions::first_timer).min()
    }

    /// Postpones by `duration` every wake-up and expiry that is due after `since`.
    ///
    /// For a wall clock that has skipped a period, since the machine was suspended:
    /// the agents were suspended, too.
    /// [`Context::time_since`](crate::Context::time_since) leaves the period out.
    pub fn postpone(&mut self, since: Timestamp, duration: SignedDuration) {
        self.shared.clock.add(since, duration);
        let labels = self.labels.iter_mut().map(|label| &mut label.sessions);
        labels.chain([&mut self.sessions]).for_each(|it| it.postpone(since, duration));
    }

    /// Returns the facts of a session.
    pub fn session(&self, id: &SessionId) -> Option<&SessionFacts> {
        self.sessions.get(id).map(|session| &session.facts)
    }

    /// Returns the facts of an agent of a session; `None` is the main agent. A sub-agent that
    /// has ended has none.
    pub fn agent(&self, session: &SessionId, agent: Option<&AgentId>) -> Option<&AgentFacts> {
        self.sessions.get(session)?.known_agent(agent).map(|agent| &agent.facts)
    }

    /// Returns the facts of every session, in order of their ids.
    pub fn sessions(&self) -> Vec<&SessionFacts> {
        let mut sessions: Vec<_> = self.sessions.iter().map(|session| &session.facts).collect();
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        sessions
    }

    /// Returns the open findings of a session.
    pub fn open_findings(&self, id: &SessionId) -> Vec<OpenFinding> {
        let session = self.sessions.get(id);
        session.map_or_else(Vec::new, |session| session.open_findings(&self.shared))
    }

    /// Returns the texts of the present policy about a finding; `None` if it has no detector of
    /// this name and class for the session.
    pub(crate) fn annotations(&self, finding: &Finding) -> Option<Arc<Annotations>> {
        let watching = self.watching(&finding.session).into_iter();
        let mut named = watching.filter(|it| it.id == finding.detector);
        named.find(|it| it.class == finding.class).map(|it| it.annotations.clone())
    }

    /// Returns the detectors that watch a session and have not panicked in it. Its
    /// first event selects them.
    pub fn watching(&self, id: &SessionId) -> Vec<&NamedDetector> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let watching = self.shared.runner.detectors.iter().filter(|detector| {
            let per = detector.named.per.as_ref();
            session.is_watched_by(detector.idx())
                || per.is_some_and(|per| per.value(&session.facts).is_some())
        });
        watching.map(|detector| &detector.named).collect()
    }

    /// Explains one session from now on, in place of any other: records the actions
    /// of its detectors for [`take_explanation`](Self::take_explanation). The findings
    /// stay the same.
    pub fn explain(&mut self, id: SessionId) {
        let explained = Explained::One(id);
        self.shared.runner.explanation = Explanation { explained, entries: Vec::new() };
    }

    /// Explains all sessions from now on.
    pub fn explain_all(&mut self) {
        let explained = Explained::All;
        self.shared.runner.explanation = Explanation { explained, entries: Vec::new() };
    }

    /// Returns the entries of the explanation since the last call, in order.
    ///
    /// Call it after each event: the number of entries has no bound.
    pub fn take_explanation(&mut self) -> Vec<ExplanationEntry> {
        std::mem::take(&mut self.shared.runner.explanation.entries)
    }

    /// Returns the reports about open findings since the last call, in order, if
    /// [`EngineConfig::follows_episodes`] is set.
    ///
    /// Call it after each event: the number of updates has no bound.
    pub fn take_updates(&mut self) -> Vec<EpisodeUpdate> {
        std::mem::take(&mut self.shared.runner.updates)
    }

    /// Returns the counts so far.
    pub fn totals(&self) -> EngineTotals {
        EngineTotals { sessions: self.sessions.states(), ..self.totals }
    }

    /// Returns the number of sessions.
    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Drops a session that is no longer observed, and [withdraws](Finding::withdrawn) its open
    /// findings for this reason. Those about groups of sessions stay open.
    pub fn withdraw(
        &mut self,
        id: &SessionId,
        reason: &str,
        now: Timestamp,
        findings: &mut Vec<Finding>,
    ) {
        self.sessions.withdraw(id, reason, now, &mut self.shared, findings);
    }

    /// Drops a session that will have no more events.
    pub fn forget(&mut self, id: &SessionId) {
        self.sessions.remove(id);
    }
}
