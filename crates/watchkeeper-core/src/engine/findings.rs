use std::any::Any;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::detectors::{CompiledDetector, Per};
use crate::{
    AgentId, Evidence, Finding, Fingerprint, Report, SessionFacts, Severity, Status, Totals,
    detector::condition::Condition, finding::finding_id, grouped, make_safe, panic_message, quote,
};

/// A report of a detector about an open finding, or its resolution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpisodeUpdate {
    /// The fingerprint of the finding.
    pub fingerprint: Fingerprint,
    /// Whether the condition persists.
    pub status: Status,
    /// The highest measure of the episode so far.
    pub count: u64,
    /// The tokens of the session since the finding was opened, at its resolution; 0
    /// before, and for a finding about usage.
    pub tokens: u64,
    /// The cost of the session in US dollars since the finding was opened, like
    /// `tokens`.
    pub cost_usd: f64,
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

impl CompiledDetector {
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

    /// Makes the finding for a condition that was opened or escalated.
    pub(super) fn open_finding(
        &self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        condition: &Condition,
        measure: u64,
        report: Report,
    ) -> Finding {
        let (subject, severity) = (condition.subject, condition.severity);
        let report = self.about_group(report, scope);
        self.finding(at, scope, subject, (severity, Status::Open), measure, report)
    }

    /// Makes the finding for a condition that has ended.
    pub(super) fn resolved_finding(
        &self,
        at: Timestamp,
        scope: &StreamScope<'_>,
        condition: &Condition,
        report: Report,
    ) -> Finding {
        let severity = (Severity::Low, Status::Resolved);
        let report = self.about_group(report, scope);
        self.finding(at, scope, condition.subject, severity, condition.measure, report)
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
        subject: Fingerprint,
        (severity, status): (Severity, Status),
        count: u64,
        report: Report,
    ) -> Finding {
        let Report { message, data, evidence } = report;
        let fingerprint = self.fingerprint(scope, subject);
        Finding {
            id: finding_id(fingerprint, at, severity, status),
            at,
            detector: self.named.id.clone(),
            kind: self.named.kind.clone(),
            class: self.named.class.clone(),
            severity,
            status,
            count,
            session: scope.session.id.clone(),
            agent: self.agent_of(scope).cloned(),
            source: scope.session.source,
            fingerprint,
            labels: scope.session.labels.clone(),
            message,
            data,
            evidence,
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
        let subject = Fingerprint::of("panic");
        let severity = (Severity::Medium, Status::Open);
        let finding = self.finding(at, scope, subject, severity, 1, Report::new(message));
        Finding { class: "error".into(), ..finding }
    }

    /// Returns the update of an episode that has ended.
    pub(super) fn resolution(
        &self,
        scope: &StreamScope<'_>,
        condition: &Condition,
        report: &Report,
    ) -> EpisodeUpdate {
        let OpenFinding { fingerprint, count, tokens, cost_usd } =
            self.open_condition(scope, condition);
        EpisodeUpdate {
            fingerprint,
            status: Status::Resolved,
            count,
            tokens,
            cost_usd,
            message: report.message.clone(),
            data: report.data.clone(),
            evidence: Vec::new(),
        }
    }

    /// Describes an open condition of a stream.
    pub(super) fn open_condition(
        &self,
        scope: &StreamScope<'_>,
        condition: &Condition,
    ) -> OpenFinding {
        let fingerprint = self.fingerprint(scope, condition.subject);
        let (mut tokens, mut cost_usd) = (0, 0.0);
        if !self.is_budget {
            let totals = &scope.session.totals;
            tokens = totals.tokens.total().saturating_sub(condition.tokens);
            cost_usd = (totals.cost_usd - condition.cost_usd).max(0.0);
        }
        OpenFinding { fingerprint, count: condition.measure, tokens, cost_usd }
    }

    /// Adds the usage of the session since a condition was opened, unless the finding
    /// is about usage.
    pub(super) fn with_cost(
        &self,
        report: Report,
        condition: &Condition,
        totals: &Totals,
    ) -> Report {
        let tokens = totals.tokens.total().saturating_sub(condition.tokens);
        if self.is_budget || tokens == 0 {
            return report;
        }
        let noun = if tokens == 1 { "token" } else { "tokens" };
        let mut used = format!("{} {noun}", grouped(tokens));
        let mut report = report.with("tokens_since_found", tokens);
        let cost_usd = totals.cost_usd - condition.cost_usd;
        if 0.005 <= cost_usd {
            used = format!("{used}, ${cost_usd:.2}");
            report = report.with("cost_usd_since_found", cost_usd);
        }
        report.message = format!("{}; since it was found: {used}", report.message);
        report
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
    /// Makes an update with the contents of a finding.
    pub(super) fn of_finding(finding: Finding) -> Self {
        let Finding { fingerprint, status, count, message, data, evidence, .. } = finding;
        Self { fingerprint, status, count, tokens: 0, cost_usd: 0.0, message, data, evidence }
    }
}
