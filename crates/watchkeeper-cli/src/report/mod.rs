//! What `check` found, and the forms in which it says so.

mod github;
mod json;
mod sarif;
mod text;
mod timeline;

use std::{collections::BTreeMap, io, path::PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use watchkeeper_core::{
    Finding, Fingerprint, SessionFacts, SessionId, Severity, SkippedLines, Status, Timestamp,
    Tokens, Totals,
};

use crate::{Output, timeline::Timeline};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person
    Text,
    /// One object with all sessions
    Json,
    /// One finding a line
    Ndjson,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Workflow commands of GitHub Actions
    Github,
}

/// What was found in recorded sessions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// In order of their start.
    pub(crate) sessions: Vec<SessionReport>,
    /// Files of which no session was read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread_files: Vec<UnreadFile>,
    pub(crate) totals: ReportTotals,
}

/// What one session did, and what was found in it.
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
    /// `None` if no model call has a known price.
    pub(crate) cost_usd: Option<f64>,
    /// Model calls whose price is not known, and not in `cost_usd`.
    pub(crate) unpriced_calls: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) unread_lines: u64,
    /// Why, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unread_reasons: BTreeMap<&'static str, u64>,
}

/// A file of which no session was read.
#[derive(Debug, Serialize)]
pub(crate) struct UnreadFile {
    pub(crate) file: PathBuf,
    pub(crate) reason: String,
    pub(crate) unread_lines: u64,
}

/// The sums over all sessions.
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
    pub(crate) unread_lines: u64,
}

/// How many findings there are of each severity.
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
        unread: &SkippedLines,
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
            unread_lines: unread.total(),
            unread_reasons: unread.lines.clone(),
        }
    }
}

/// Makes one finding of each episode: the gravest, with its last count and
/// status.
fn episodes(findings: Vec<Finding>) -> Vec<Finding> {
    let mut res: Vec<Finding> = Vec::new();
    let mut open: BTreeMap<Fingerprint, usize> = BTreeMap::new();
    for finding in findings {
        match (finding.status, open.get(&finding.fingerprint).copied()) {
            (Status::Open, None) => {
                open.insert(finding.fingerprint, res.len());
                res.push(finding);
            }
            (Status::Open, Some(at)) => {
                let at = &mut res[at];
                // It began where the episode did.
                let first = std::mem::replace(at, finding);
                at.at = first.at;
            }
            (Status::Resolved, Some(at)) => {
                open.remove(&finding.fingerprint);
                res[at].status = Status::Resolved;
                res[at].count = finding.count;
            }
            (Status::Resolved, None) => {}
        }
    }
    res
}

impl Report {
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
        totals.unread_lines += session.unread_lines;
        totals.findings.add(&session.findings);
        self.sessions.push(session);
    }

    /// Whether anything was found at this severity or above.
    pub(crate) fn reaches(&self, severity: Severity) -> bool {
        let FindingTotals { low, medium, high } = self.totals.findings;
        0 < high
            || 0 < medium && severity <= Severity::Medium
            || 0 < low && severity <= Severity::Low
    }

    pub(crate) fn write(
        &self,
        format: Format,
        verbose: bool,
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        match format {
            Format::Text => text::write(self, verbose, output.styles.out, output.out),
            Format::Json => json::write(self, output.out),
            Format::Ndjson => json::write_lines(self, output.out),
            Format::Sarif => sarif::write(self, output.out),
            Format::Github => github::write(self, output.out),
        }
    }

    /// Writes what was found in one session, and why.
    pub(crate) fn explain(
        session: &SessionReport,
        timeline: &Timeline,
        format: Format,
        verbose: bool,
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        let styled = output.styles.out;
        match format {
            Format::Json => timeline::write_json(session, timeline, output.out),
            Format::Ndjson => timeline::write_lines(timeline, output.out),
            _ => timeline::write(session, timeline, verbose, styled, output.out),
        }
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sessions.iter().flat_map(|it| &it.findings)
    }
}

impl FindingTotals {
    pub(crate) fn add(&mut self, findings: &[Finding]) {
        for it in findings {
            match it.severity {
                Severity::Low => self.low += 1,
                Severity::Medium => self.medium += 1,
                Severity::High => self.high += 1,
            }
        }
    }
}
