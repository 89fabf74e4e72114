use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Serialize, Serializer};
use watchkeeper_core::{
    Finding, SessionId, Severity, Timestamp,
    author::{ClientTotal, Labels, SessionFacts, SkippedLine, SkippedLines, Tokens, Totals},
};
use watchkeeper_page::{DetectorMeasures, Recorder, SessionRow};

use super::{
    episodes::{Episode, sort_by_severity},
    safe_json::{lossy_path, lossy_paths},
    usage::{Usage, UsageSlice},
    window::Window,
};
use crate::{numbers::counted, recorded::MisdatedLines};

/// Results of a check of recorded sessions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// By the severity of their findings, then in order of their start time.
    pub(crate) sessions: Vec<SessionReport>,
    /// Named files without a session, and files that could not be read to their end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped_files: Vec<SkippedFile>,
    /// Session files of agents without a source, by agent. Serialized as their
    /// number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "numbers")]
    pub(crate) unsupported_files: BTreeMap<&'static str, Vec<PathBuf>>,
    /// Files in folders that contain no session. Serialized as their number.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "number")]
    pub(crate) other_files: Vec<PathBuf>,
    /// Folders with the sub-agents of named files, which were not read.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "lossy_paths")]
    pub(crate) unread_sub_agents: Vec<PathBuf>,
    /// Files with lines whose time is wrong.
    #[serde(skip)]
    pub(crate) misdated_files: Vec<(PathBuf, MisdatedLines)>,
    /// Findings about the monitor itself, such as dropped sub-agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) about_monitor: Vec<Finding>,
    /// Sessions and findings outside the window of the report.
    #[serde(skip_serializing_if = "Hidden::is_empty")]
    pub(crate) hidden: Hidden,
    pub(crate) totals: ReportTotals,
    /// Selection of sessions and findings.
    #[serde(skip)]
    pub(crate) window: Window,
}

fn number<S: Serializer>(files: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(files.len() as u64)
}

fn numbers<S: Serializer>(
    files: &BTreeMap<&'static str, Vec<PathBuf>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(files.iter().map(|(agent, files)| (agent, files.len())))
}

/// Totals and findings of one session.
#[derive(Debug, Serialize)]
pub(crate) struct SessionReport {
    pub(crate) session: SessionId,
    pub(crate) source: Option<&'static str>,
    pub(crate) cwd: Option<Box<str>>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) labels: Labels,
    #[serde(serialize_with = "lossy_paths")]
    pub(crate) files: Vec<PathBuf>,
    /// `None` if the session has no times.
    pub(crate) started_at: Option<Timestamp>,
    /// `None` if the session has no times.
    pub(crate) ended_at: Option<Timestamp>,
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
    /// Totals of the recorded responses, if the totals of the agent's client differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_difference: Option<ClientDifference>,
    pub(crate) findings: Vec<Episode>,
    /// Number of findings in the period that `--min-severity` hides.
    #[serde(skip)]
    pub(crate) n_hidden_findings: u64,
    pub(crate) skipped_lines: u64,
    /// Number of skipped lines by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) skipped_reasons: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) first_skipped_lines: Vec<SkippedLineReport>,
    /// Usage by day and model, if the report is grouped by one of them.
    #[serde(skip)]
    pub(crate) usage: Vec<UsageSlice>,
    /// The session as a page shows it, if the report is one.
    #[serde(skip)]
    pub(crate) page: Option<Box<SessionPage>>,
}

/// The parts of a session that only a page shows.
#[derive(Debug)]
pub(crate) struct SessionPage {
    pub(crate) row: SessionRow,
    pub(crate) recorder: Recorder,
    /// Measures of the detectors that reported a finding.
    pub(crate) measures: Vec<DetectorMeasures>,
}

/// Totals of one session by two counts that differ by more than one per cent.
///
/// The session's totals are the larger ones: the file does not contain responses that
/// were cut off, and the client does not count sessions that it resumed. Without a known
/// price, the client's cost is the cost of the session.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ClientDifference {
    /// Tokens of the recorded responses.
    pub(crate) recorded_tokens: u64,
    /// Cost of the recorded responses; `None` if no price is known.
    pub(crate) recorded_cost_usd: Option<f64>,
    /// Tokens by the count of the client, if it counts them.
    pub(crate) client_tokens: Option<u64>,
    /// Cost by the count of the client, if it counts it.
    pub(crate) client_cost_usd: Option<f64>,
}

/// A file without a session, or one that could not be read to its end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SkippedFile {
    #[serde(serialize_with = "lossy_path")]
    pub(crate) file: PathBuf,
    pub(crate) reason: String,
    /// Number of skipped lines. The lines of a file that was read in part count in
    /// its session.
    pub(crate) skipped_lines: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) first_skipped_lines: Vec<SkippedLineReport>,
    /// `true` if the command line names the file.
    #[serde(skip)]
    pub(crate) is_named: bool,
}

/// One of the first skipped lines of a session or a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SkippedLineReport {
    file: Arc<str>,
    line: u64,
    reason: &'static str,
}

/// Sessions and findings that the report leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Hidden {
    /// Sessions outside the period.
    pub(crate) sessions: u64,
    /// Findings outside the period, in sessions that overlap the period.
    pub(crate) findings_outside_period: FindingTotals,
    /// Findings in the period that are below `--min-severity`.
    pub(crate) findings_below_severity: FindingTotals,
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

impl SkippedFile {
    pub(crate) fn new(
        file: PathBuf,
        reason: String,
        skipped: &SkippedLines,
        is_named: bool,
    ) -> Self {
        let first_skipped_lines = SkippedLineReport::of(skipped);
        Self { file, reason, skipped_lines: skipped.total(), first_skipped_lines, is_named }
    }
}

impl SkippedLineReport {
    fn of(skipped: &SkippedLines) -> Vec<Self> {
        let first = skipped.first.iter();
        first
            .map(|SkippedLine { file, line, reason, .. }| Self {
                file: file.clone(),
                line: *line,
                reason,
            })
            .collect()
    }
}

impl SessionReport {
    pub(crate) fn new(
        facts: &SessionFacts,
        files: Vec<PathBuf>,
        findings: Vec<Episode>,
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
            labels: facts.labels.clone(),
            files,
            started_at: facts.has_times().then(|| facts.started_at()),
            ended_at: facts.has_times().then(|| facts.last_event_at()),
            events: events.into(),
            tool_calls: tool_calls.into(),
            tool_results: tool_results.into(),
            failed_results: failed_results.into(),
            model_calls: model_calls.into(),
            tokens,
            cost_usd: (facts.totals.unpriced_calls < model_calls || model_calls == 0)
                .then_some(facts.totals.cost_usd),
            unpriced_calls: facts.totals.unpriced_calls.into(),
            client_difference: None,
            findings,
            n_hidden_findings: 0,
            skipped_lines: skipped.total(),
            skipped_reasons: skipped.lines.clone(),
            first_skipped_lines: SkippedLineReport::of(skipped),
            usage: Vec::new(),
            page: None,
        }
    }

    /// Compares the totals with those of the agent's client.
    pub(crate) fn compare(&mut self, client: ClientTotal) {
        #[expect(clippy::cast_precision_loss, reason = "the difference is a fraction")]
        let tokens = |tokens: Tokens| tokens.total() as f64;
        let has_other_tokens =
            client.tokens.is_some_and(|own| differ(tokens(self.tokens), tokens(own)));
        let has_other_cost = client
            .cost_usd
            .is_some_and(|own| self.cost_usd.is_none_or(|recorded| differ(recorded, own)));
        if !has_other_tokens && !has_other_cost {
            return;
        }
        self.client_difference = Some(ClientDifference {
            recorded_tokens: self.tokens.total(),
            recorded_cost_usd: self.cost_usd,
            client_tokens: client.tokens.map(|tokens| tokens.total()),
            client_cost_usd: client.cost_usd,
        });
        if let Some(own) = client.tokens.filter(|own| self.tokens.total() < own.total()) {
            self.tokens = own;
        }
        if let Some(own) = client.cost_usd
            && self.cost_usd.is_none_or(|recorded| recorded < own)
        {
            // The client's cost includes the calls without a known price.
            (self.cost_usd, self.unpriced_calls) = (Some(own), 0);
        }
    }

    /// Returns the totals of the model calls.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            model_calls: self.model_calls,
            tokens: self.tokens,
            cost_usd: self.cost_usd.unwrap_or(0.0),
            unpriced_calls: self.unpriced_calls,
        }
    }

    /// Adds an episode of a detector that counts several sessions together. This session
    /// opened the episode, and others can continue it.
    pub(crate) fn add_shared(&mut self, mut episode: Episode) {
        episode.end(self.ended_at);
        self.findings.push(episode);
        sort_by_severity(&mut self.findings);
    }

    /// Returns the highest severity of the findings.
    pub(super) fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|episode| episode.finding.severity).max()
    }
}

impl Report {
    /// Adds a session, and its numbers to the totals. Leaves out what the window
    /// hides.
    pub(crate) fn add(&mut self, mut session: SessionReport) {
        // A finding that sessions share may last longer than the session that has it.
        let lasts_into_window = |episode: &Episode| {
            episode.ended_at.is_some()
                && self.window.overlaps(Some(episode.finding.at), episode.ended_at)
        };
        if !self.window.overlaps(session.started_at, session.ended_at)
            && !session.findings.iter().any(lasts_into_window)
        {
            self.hidden.sessions += 1;
            return;
        }
        session.findings.retain(|episode| {
            let Episode { finding, ended_at, .. } = episode;
            let start = ended_at.map(|_| finding.at);
            if !self.window.overlaps(start, *ended_at) {
                self.hidden.findings_outside_period.add(finding.severity);
                return false;
            }
            let is_severe = self.window.min_severity.is_none_or(|min| min <= finding.severity);
            if !is_severe {
                self.hidden.findings_below_severity.add(finding.severity);
                session.n_hidden_findings += 1;
            }
            is_severe
        });
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
        for episode in &session.findings {
            totals.findings.add(episode.finding.severity);
        }
        self.sessions.push(session);
    }

    /// Sorts the sessions by the severity of their findings. Of two, the one that
    /// started first is first.
    pub(crate) fn sort(&mut self) {
        self.sessions.sort_by(|a, b| {
            let by_severity = b.severity().cmp(&a.severity());
            by_severity.then_with(|| (a.started_at, &a.files).cmp(&(b.started_at, &b.files)))
        });
    }

    /// Returns `true` if there is a finding of at least this severity in the period,
    /// in the report or below its lowest severity.
    pub(crate) fn reaches(&self, severity: Severity) -> bool {
        let [shown, hidden] = [self.totals.findings, self.hidden.findings_below_severity];
        shown.reaches(severity) || hidden.reaches(severity)
    }

    /// Returns `true` if no session was read, in the window or outside.
    pub(crate) fn is_empty(&self) -> bool {
        self.totals.sessions + self.hidden.sessions == 0
    }

    /// Returns the findings of all sessions, by severity and then in order of their
    /// sessions.
    pub(super) fn episodes(&self) -> Vec<&Episode> {
        let mut episodes: Vec<&Episode> =
            self.sessions.iter().flat_map(|session| &session.findings).collect();
        episodes.sort_by_key(|episode| std::cmp::Reverse(episode.finding.severity));
        episodes
    }

    /// Returns the findings of [`episodes`](Self::episodes).
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        let episodes = self.sessions.into_iter().flat_map(|session| session.findings);
        let mut findings: Vec<Finding> = episodes.map(|episode| episode.finding).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }
}

impl Hidden {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns a line for each reason to leave something out.
    pub(super) fn lines(&self) -> Vec<String> {
        let parts = [
            (self.sessions, "session", "outside the period"),
            (self.findings_outside_period.total(), "finding", "outside the period"),
            (self.findings_below_severity.total(), "finding", "below `--min-severity`"),
        ];
        let parts = parts.into_iter().filter(|(n, ..)| 0 < *n);
        parts.map(|(n, noun, place)| format!("{} {place}", counted(n, noun))).collect()
    }
}

impl FindingTotals {
    pub(super) fn add(&mut self, severity: Severity) {
        match severity {
            Severity::Low => self.low += 1,
            Severity::Medium => self.medium += 1,
            Severity::High => self.high += 1,
        }
    }

    /// Returns the number of findings of every severity.
    pub(crate) fn total(self) -> u64 {
        self.low + self.medium + self.high
    }

    fn reaches(self, severity: Severity) -> bool {
        let Self { low, medium, high } = self;
        0 < high
            || 0 < medium && severity <= Severity::Medium
            || 0 < low && severity <= Severity::Low
    }
}

/// Returns whether two totals differ by more than one per cent of the larger one.
fn differ(a: f64, b: f64) -> bool {
    0.01 * a.max(b) < (a - b).abs()
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::author::{ClientTotal, Tokens};

    use super::SessionReport;

    fn session(cost_usd: Option<f64>) -> SessionReport {
        SessionReport {
            session: "s".into(),
            source: None,
            cwd: None,
            model: None,
            labels: std::sync::Arc::default(),
            files: Vec::new(),
            started_at: None,
            ended_at: None,
            events: 0,
            tool_calls: 0,
            tool_results: 0,
            failed_results: 0,
            model_calls: 1,
            tokens: tokens(1_000),
            cost_usd,
            unpriced_calls: u64::from(cost_usd.is_none()),
            client_difference: None,
            findings: Vec::new(),
            n_hidden_findings: 0,
            skipped_lines: 0,
            first_skipped_lines: Vec::new(),
            skipped_reasons: std::collections::BTreeMap::new(),
            usage: Vec::new(),
            page: None,
        }
    }

    fn tokens(input: u64) -> Tokens {
        Tokens { input, ..Tokens::default() }
    }

    #[test]
    fn uses_the_larger_totals_if_the_client_counts_differently() {
        for (recorded_usd, client_tokens, client_usd, expected) in [
            (Some(2.0), 1_000, Some(2.0), (1_000, Some(2.0), false)),
            (Some(2.0), 1_009, Some(2.01), (1_000, Some(2.0), false)),
            (Some(2.0), 3_000, Some(5.0), (3_000, Some(5.0), true)),
            (Some(2.0), 400, Some(1.0), (1_000, Some(2.0), true)),
            // Without a known price, the client's cost is the only one.
            (None, 1_000, Some(5.0), (1_000, Some(5.0), true)),
            (None, 1_000, None, (1_000, None, false)),
        ] {
            let mut session = session(recorded_usd);
            let tokens = Some(tokens(client_tokens));
            session.compare(ClientTotal { tokens, cost_usd: client_usd });
            let actual =
                (session.tokens.input, session.cost_usd, session.client_difference.is_some());
            assert_eq!(actual, expected);
            assert_eq!(session.unpriced_calls, u64::from(expected.1.is_none()));
        }
    }
}
