use std::{any::Any, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::detectors::{CompiledDetector, NamedDetector, Per};
use crate::{
    Action, AgentId, Annotations, Evidence, Finding, Fingerprint, Report, SessionFacts, Severity,
    Status, Totals,
    detector::condition::{ConditionId, Episode},
    finding::{cause_at, finding_id},
    grouped, make_safe, panic_message, quote,
};

/// A report of a detector about an open finding, or its resolution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpisodeUpdate {
    /// The fingerprint of the finding.
    pub fingerprint: Fingerprint,
    /// The detector of the condition that explains the finding.
    pub detector: Arc<str>,
    /// The kind of the detector.
    pub kind: Arc<str>,
    /// The class of the findings of the detector.
    pub class: Arc<str>,
    /// Whether the condition persists.
    pub status: Status,
    /// The highest measure of the condition so far.
    pub count: u64,
    /// The tokens of the session since the finding was opened, at its resolution; 0
    /// before, and for a finding about usage.
    pub tokens: u64,
    /// The cost of the session in US dollars since the finding was opened, like
    /// `tokens`.
    pub cost_usd: f64,
    /// The texts of the policy about the detector.
    pub annotations: Arc<Annotations>,
    /// The message, without the usage since the finding was opened.
    pub message: String,
    /// The facts of the message.
    pub data: Map<String, Value>,
    /// The events that caused the report, oldest first.
    pub evidence: Vec<Evidence>,
}

/// A finding that is open, and the usage of its session since it was opened.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpenFinding {
    /// The fingerprint of the finding.
    pub fingerprint: Fingerprint,
    /// The highest measure so far.
    pub count: u64,
    /// Tokens; 0 for a finding about usage.
    pub tokens: u64,
    /// US dollars; 0 for a finding about usage.
    pub cost_usd: f64,
}

/// The session, and the agent or label, that the findings of a stream are about.
#[derive(Clone, Copy)]
pub(super) struct StreamScope<'a> {
    pub(super) session: &'a SessionFacts,
    pub(super) agent_id: Option<&'a AgentId>,
    /// The value of the label, if its sessions share the stream.
    pub(super) label_value: Option<&'a str>,
}

/// An open finding and the detectors that it names.
#[derive(Clone, Copy)]
pub(super) struct EpisodeView<'a> {
    pub(super) episode: &'a Episode,
    /// All detectors of the engine.
    pub(super) detectors: &'a [CompiledDetector],
}

impl<'a> EpisodeView<'a> {
    /// Returns the detector of the finding that was emitted last.
    pub(super) fn detector(self) -> &'a CompiledDetector {
        self.of(self.episode.explained_by)
    }

    fn of(self, id: ConditionId) -> &'a CompiledDetector {
        &self.detectors[id.detector_idx as usize]
    }

    /// Returns the fingerprint of the findings of the episode.
    pub(super) fn fingerprint(self, scope: &StreamScope<'_>) -> Fingerprint {
        let opened_by = self.episode.opened_by;
        self.of(opened_by).fingerprint(scope, opened_by.subject)
    }

    /// Makes the finding for an episode that was opened, escalated or explained better.
    pub(super) fn open_finding(
        self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        replaces: Option<Arc<str>>,
        count: u64,
        report: Report,
    ) -> Finding {
        let step = (self.episode.severity, Status::Open);
        let mut finding = self.finding(at, scope, step, count, report);
        let explained_by = self.episode.explained_by;
        if explained_by != self.episode.opened_by {
            // Two explanations may reach one severity at the same time.
            finding.id = finding.id.and(self.detector().fingerprint(scope, explained_by.subject));
        }
        let action = self.detector().action(self.episode.severity);
        Finding { replaces, action, ..finding }
    }

    /// Makes the finding for an episode that has ended.
    pub(super) fn resolved_finding(
        self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        report: Report,
    ) -> Finding {
        let step = (Severity::Low, Status::Resolved);
        self.finding(at, scope, step, self.episode.measure, report)
    }

    fn finding(
        self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        step: (Severity, Status),
        count: u64,
        report: Report,
    ) -> Finding {
        let report = self.detector().about_group(report, scope);
        let identity = (self.fingerprint(scope), self.episode.cause);
        self.detector().finding(at, scope, identity, step, count, report)
    }

    /// Returns the update of an episode that has ended.
    pub(super) fn resolution(self, scope: &StreamScope<'_>, report: &Report) -> EpisodeUpdate {
        let OpenFinding { fingerprint, count, tokens, cost_usd } = self.open_finding_totals(scope);
        let update = EpisodeUpdate::new(self.detector(), fingerprint, count, report.clone());
        let evidence = Vec::new();
        EpisodeUpdate { status: Status::Resolved, tokens, cost_usd, evidence, ..update }
    }

    /// Returns the count and the usage of an open finding.
    pub(super) fn open_finding_totals(self, scope: &StreamScope<'_>) -> OpenFinding {
        let Self { episode, .. } = self;
        let explanation = episode.explanation();
        let (mut tokens, mut cost_usd) = (0, 0.0);
        if !self.detector().is_budget {
            let totals = &scope.session.totals;
            tokens = totals.tokens.total().saturating_sub(episode.tokens);
            cost_usd = (totals.cost_usd - episode.cost_usd).max(0.0);
        }
        let count = explanation.map_or(episode.measure, |condition| condition.measure);
        OpenFinding { fingerprint: self.fingerprint(scope), count, tokens, cost_usd }
    }

    /// Adds the usage of the session since the finding was opened, unless the finding
    /// is about usage.
    pub(super) fn with_cost(self, report: Report, totals: &Totals) -> Report {
        let tokens = totals.tokens.total().saturating_sub(self.episode.tokens);
        if self.detector().is_budget || tokens == 0 {
            return report;
        }
        let noun = if tokens == 1 { "token" } else { "tokens" };
        let mut used = format!("{} {noun}", grouped(tokens));
        let mut report = report.with("tokens_since_found", tokens);
        let cost_usd = totals.cost_usd - self.episode.cost_usd;
        if 0.005 <= cost_usd {
            used = format!("{used}, ${cost_usd:.2}");
            report = report.with("cost_usd_since_found", cost_usd);
        }
        report.message = format!("{}; since it was found: {used}", report.message);
        report
    }
}

impl CompiledDetector {
    /// Returns the action that the policy suggests for findings of a severity: the action of the
    /// lowest level with this severity, since the others emit no finding.
    fn action(&self, severity: Severity) -> Option<Action> {
        let mut levels = self.named.levels.iter();
        levels.find(|level| level.severity == severity)?.action
    }

    /// Returns the sub-agent that a finding is about.
    pub(super) fn agent_of<'a>(&self, scope: &StreamScope<'a>) -> Option<&'a AgentId> {
        scope.agent_id.filter(|_| self.is_per_agent())
    }

    /// Returns the fingerprint of the findings about a condition.
    pub(super) fn fingerprint(&self, scope: &StreamScope<'_>, subject: Fingerprint) -> Fingerprint {
        let agent = || {
            let agent = self.agent_of(scope);
            agent.map_or(Fingerprint::NONE, |id| Fingerprint::of(id.as_str()))
        };
        let stream = scope.label_value.map_or_else(
            || Fingerprint::of(scope.session.id.as_str()).and(agent()),
            Fingerprint::of,
        );
        Fingerprint::of(&*self.named.id).and(stream).and(subject)
    }

    /// Adds the group of sessions to a report. The value of a label is in the labels.
    pub(super) fn about_group(&self, mut report: Report, scope: &StreamScope<'_>) -> Report {
        let (Some(value), Some(per)) = (scope.label_value, &self.named.per) else { return report };
        report.message = format!("{} ({})", report.message, per.describe(value));
        match per {
            Per::Label(_) => report,
            Per::Cwd => report.with("cwd", make_safe(value)),
            Per::Model => report.with("model", make_safe(value)),
        }
    }

    fn finding(
        &self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        (fingerprint, cause): (Fingerprint, Fingerprint),
        (severity, status): (Severity, Status),
        count: u64,
        report: Report,
    ) -> Finding {
        let Report { message, data, evidence, .. } = report;
        Finding {
            id: finding_id(fingerprint, cause, severity, status),
            at,
            detector: self.named.id.clone(),
            replaces: None,
            kind: self.named.kind.clone(),
            class: self.named.class.clone(),
            severity,
            action: None,
            status,
            withdrawn: false,
            was_observed: false,
            count,
            session: scope.session.id.clone(),
            agent: self.agent_of(scope).cloned(),
            source: scope.session.source,
            fingerprint,
            labels: scope.session.labels.clone(),
            annotations: self.named.annotations.clone(),
            message,
            data,
            evidence,
            silenced: None,
        }
    }

    /// Makes the finding for a panic of the detector.
    pub(super) fn panic_finding(
        &self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        panic: &(dyn Any + Send),
    ) -> Finding {
        let text = panic_message(panic).unwrap_or("no message");
        let stream = match (scope.label_value, &self.named.per) {
            (Some(value), Some(per)) => format!("for {}", per.describe(value)),
            _ => "for this session".to_owned(),
        };
        let detector = quote(&self.named.id);
        let message = format!("detector {detector} panicked and is off {stream}: {}", quote(text));
        let fingerprint = self.fingerprint(scope, Fingerprint::of("panic"));
        let identity = (fingerprint, cause_at(at));
        let step = (Severity::Medium, Status::Open);
        let finding = self.finding(at, scope, identity, step, 1, Report::new(message));
        // A runbook about the condition does not help.
        let annotations = Arc::default();
        Finding { class: "error".into(), annotations, ..finding }
    }
}

/// Makes the finding that sessions, sub-agents or labels were dropped because there were
/// too many.
pub(super) fn evicted(at: Timestamp, part: &str, limit: &str, n_evicted: u64) -> Finding {
    let message = format!("{limit}: {n_evicted} forgotten so far");
    let mut finding = Finding::about_monitor(at, part, Severity::Medium, message);
    finding.count = n_evicted;
    finding.id = finding.id.and(Fingerprint::from(n_evicted));
    finding
}

impl EpisodeUpdate {
    /// Makes an update of an open episode.
    pub(super) fn new(
        detector: &CompiledDetector,
        fingerprint: Fingerprint,
        count: u64,
        report: Report,
    ) -> Self {
        let Report { message, data, evidence, .. } = report;
        let NamedDetector { id, kind, class, annotations, .. } = &detector.named;
        Self {
            fingerprint,
            detector: id.clone(),
            kind: kind.clone(),
            class: class.clone(),
            status: Status::Open,
            count,
            tokens: 0,
            cost_usd: 0.0,
            annotations: annotations.clone(),
            message,
            data,
            evidence,
        }
    }

    /// Makes an update with the contents of a finding.
    pub(super) fn of_finding(finding: Finding) -> Self {
        let Finding { fingerprint, detector, kind, class, status, count, .. } = finding;
        let Finding { annotations, message, data, evidence, .. } = finding;
        let (tokens, cost_usd) = (0, 0.0);
        Self {
            fingerprint,
            detector,
            kind,
            class,
            status,
            count,
            tokens,
            cost_usd,
            annotations,
            message,
            data,
            evidence,
        }
    }
}

/// Removes the update before the latest one if the latest one replaces it: both report what one
/// detector has found in one event. Without an explanation, the outbox leaves such reports out.
pub(super) fn drop_superseded(updates: &mut Vec<EpisodeUpdate>, n_before: usize) {
    if let [.., earlier, latest] = &updates[n_before..]
        && earlier.fingerprint == latest.fingerprint
        && (earlier.status, latest.status) == (Status::Open, Status::Open)
    {
        updates.swap_remove(updates.len() - 2);
    }
}

/// Returns the name by which the findings of one event are sorted: one for all detectors
/// of a group, whose findings are in order already.
pub(super) fn sort_name<'a>(finding: &'a Finding, detectors: &'a [CompiledDetector]) -> &'a str {
    let detector = detectors.iter().find(|it| it.named.id == finding.detector);
    let group = detector.and_then(|detector| detector.rules.group);
    group.map_or(&finding.detector, |idx| &detectors[idx as usize].named.id)
}
