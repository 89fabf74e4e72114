use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use watchkeeper_core::{
    Finding, Fingerprint, SessionId, Severity, Status, Timestamp,
    author::{SessionFacts, SkippedLines, Tokens, Totals},
};

/// Results of a check of recorded sessions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// In order of their start time.
    pub(crate) sessions: Vec<SessionReport>,
    /// Files without a session, and files that could not be read to their end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped_files: Vec<SkippedFile>,
    pub(crate) totals: ReportTotals,
}

/// Totals and findings of one session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionReport {
    pub(crate) session: SessionId,
    pub(crate) source: Option<&'static str>,
    pub(crate) cwd: Option<Box<str>>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    pub(crate) events: u64,
    pub(crate) tool_calls: u64,
    pub(crate) tool_results: u64,
    pub(crate) failed_results: u64,
    pub(crate) model_calls: u64,
    pub(crate) tokens: Tokens,
    /// Total cost; `None` if no model call has a known price.
    pub(crate) cost_usd: Option<f64>,
    /// Number of model calls without a known price, which `cost_usd` excludes.
    pub(crate) unpriced_calls: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) skipped_lines: u64,
    /// Number of skipped lines by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) skipped_reasons: BTreeMap<&'static str, u64>,
}

/// A file without a session, or one that could not be read to its end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SkippedFile {
    pub(crate) file: PathBuf,
    pub(crate) reason: String,
    /// Number of skipped lines. The lines of a file that was read in part count in
    /// its session.
    pub(crate) skipped_lines: u64,
    /// `true` if the command line names the file.
    #[serde(skip)]
    pub(crate) is_named: bool,
}

/// Totals of all sessions.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ReportTotals {
    pub(crate) sessions: u64,
    pub(crate) files: u64,
    pub(crate) events: u64,
    pub(crate) tool_calls: u64,
    pub(crate) tool_results: u64,
    pub(crate) failed_results: u64,
    pub(crate) model_calls: u64,
    pub(crate) tokens: Tokens,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) unpriced_calls: u64,
    pub(crate) findings: FindingTotals,
    pub(crate) skipped_lines: u64,
}

/// Number of findings of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FindingTotals {
    pub(crate) low: u64,
    pub(crate) medium: u64,
    pub(crate) high: u64,
}

impl SessionReport {
    pub(crate) fn new(
        facts: &SessionFacts,
        files: Vec<PathBuf>,
        findings: Vec<Finding>,
        skipped: &SkippedLines,
    ) -> Self {
        let Totals {
            events, tool_calls, tool_results, failed_results, model_calls, tokens, ..
        } = facts.totals;
        Self {
            session: facts.id.clone(),
            source: facts.source,
            cwd: facts.cwd.as_deref().map(Into::into),
            model: facts.model.as_deref().map(Into::into),
            files,
            started_at: facts.started_at,
            ended_at: facts.last_event_at,
            events,
            tool_calls,
            tool_results,
            failed_results,
            model_calls,
            tokens,
            cost_usd: (facts.totals.unpriced_calls < model_calls || model_calls == 0)
                .then_some(facts.totals.cost_usd),
            unpriced_calls: facts.totals.unpriced_calls,
            findings: episodes(findings),
            skipped_lines: skipped.total(),
            skipped_reasons: skipped.lines.clone(),
        }
    }
}

/// Merges the findings of each episode into one: the finding of the highest
/// severity, with the time of the first and the count and status of the last.
fn episodes(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    let mut open: BTreeMap<Fingerprint, usize> = BTreeMap::new();
    for finding in findings {
        match (finding.status, open.get(&finding.fingerprint).copied()) {
            (Status::Open, None) => {
                open.insert(finding.fingerprint, merged.len());
                merged.push(finding);
            }
            (Status::Open, Some(idx)) => {
                let opened_at = merged[idx].at;
                merged[idx] = finding;
                merged[idx].at = opened_at;
            }
            (Status::Resolved, Some(idx)) => {
                open.remove(&finding.fingerprint);
                merged[idx].status = Status::Resolved;
                merged[idx].count = finding.count;
            }
            (Status::Resolved, None) => {}
        }
    }
    merged
}

impl Report {
    /// Adds a session, and its numbers to the totals.
    pub(crate) fn add(&mut self, session: SessionReport) {
        let totals = &mut self.totals;
        totals.sessions += 1;
        totals.events += session.events;
        totals.tool_calls += session.tool_calls;
        totals.tool_results += session.tool_results;
        totals.failed_results += session.failed_results;
        totals.model_calls += session.model_calls;
        totals.tokens = totals.tokens.plus(session.tokens);
        if let Some(cost) = session.cost_usd {
            *totals.cost_usd.get_or_insert(0.0) += cost;
        }
        totals.unpriced_calls += session.unpriced_calls;
        totals.skipped_lines += session.skipped_lines;
        totals.findings.add(&session.findings);
        self.sessions.push(session);
    }

    /// Returns `true` if there is a finding of at least this severity.
    pub(crate) fn reaches(&self, severity: Severity) -> bool {
        let FindingTotals { low, medium, high } = self.totals.findings;
        0 < high
            || 0 < medium && severity <= Severity::Medium
            || 0 < low && severity <= Severity::Low
    }

    /// Returns the findings of all sessions.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sessions.iter().flat_map(|it| &it.findings)
    }
}

impl FindingTotals {
    fn add(&mut self, findings: &[Finding]) {
        for finding in findings {
            match finding.severity {
                Severity::Low => self.low += 1,
                Severity::Medium => self.medium += 1,
                Severity::High => self.high += 1,
            }
        }
    }
}
