//! The differences between the findings of two policies.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::Serialize;
use watchkeeper_core::{
    AgentId, Finding, Fingerprint, SessionId, Severity, Timestamp,
    author::{known_time, make_safe},
};

use crate::{
    numbers::counted,
    report::{FindingTotals, Report},
};

/// The findings of recorded sessions that two policies do not have in common.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    sessions: u64,
    /// The number of findings that are the same.
    unchanged: u64,
    /// In the order of the sessions and of the time.
    changes: Vec<Difference>,
    /// The findings of the policy to compare with.
    before: FindingTotals,
    /// The findings of the new policy.
    after: FindingTotals,
}

/// A finding that only one policy reports, or with another severity.
#[derive(Debug, Serialize)]
struct Difference {
    change: ChangeKind,
    session: SessionId,
    agent: Option<AgentId>,
    detector: String,
    kind: String,
    /// The severity by the new policy; of a finding that is gone, the former one.
    severity: Severity,
    /// The severity by the policy to compare with, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_severity: Option<Severity>,
    /// `None` for a session without times.
    at: Option<Timestamp>,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangeKind {
    New,
    Gone,
    Severity,
}

/// A session, a condition, and the number of its earlier findings.
type Key = (SessionId, Fingerprint, usize);

impl Comparison {
    /// Compares the reports of two policies about the same sessions.
    pub(crate) fn new(before: &Report, after: &Report) -> Self {
        let (mut old, new) = (by_condition(before), by_condition(after));
        let (mut changes, mut unchanged) = (Vec::new(), 0);
        for (key, finding) in new {
            match old.remove(&key) {
                None => changes.push(Difference::new(ChangeKind::New, finding)),
                Some(previous) if previous.severity == finding.severity => unchanged += 1,
                Some(previous) => changes.push(Difference {
                    previous_severity: Some(previous.severity),
                    ..Difference::new(ChangeKind::Severity, finding)
                }),
            }
        }
        changes.extend(old.into_values().map(|finding| Difference::new(ChangeKind::Gone, finding)));
        changes
            .sort_by(|a, b| (&a.session, a.at, &a.detector).cmp(&(&b.session, b.at, &b.detector)));
        Self {
            sessions: after.totals.sessions,
            unchanged,
            changes,
            before: before.totals.findings,
            after: after.totals.findings,
        }
    }

    /// Returns whether the policies report different findings.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Writes the comparison for people.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for change in &self.changes {
            writeln!(out, "{}", make_safe(&change.text()))?;
        }
        let n = |kind| self.changes.iter().filter(|it| it.change == kind).count();
        let [new, gone, severity] =
            [ChangeKind::New, ChangeKind::Gone, ChangeKind::Severity].map(n);
        let sessions = counted(self.sessions, "session");
        let unchanged = self.unchanged;
        writeln!(
            out,
            "{sessions}: {new} new, {gone} gone, {severity} of another severity, {unchanged} unchanged"
        )?;
        for (name, totals) in [("before", self.before), ("after", self.after)] {
            let FindingTotals { low, medium, high } = totals;
            writeln!(out, "{name}: {high} high, {medium} medium, {low} low")?;
        }
        Ok(())
    }
}

impl Difference {
    fn new(change: ChangeKind, finding: &Finding) -> Self {
        Self {
            change,
            session: finding.session.clone(),
            agent: finding.agent.clone(),
            detector: finding.detector.to_string(),
            kind: finding.kind.to_string(),
            severity: finding.severity,
            previous_severity: None,
            at: known_time(finding.at),
            message: finding.message.clone(),
        }
    }

    fn text(&self) -> String {
        let Self { change, session, detector, severity, message, .. } = self;
        let (sign, severity) = match (change, self.previous_severity) {
            (ChangeKind::New, _) => ('+', severity.to_string()),
            (ChangeKind::Gone, _) => ('-', severity.to_string()),
            (ChangeKind::Severity, previous) => {
                ('~', format!("{} > {severity}", previous.unwrap_or(*severity)))
            }
        };
        let agent = self.agent.as_ref().map(|it| format!("/{}", it.as_str())).unwrap_or_default();
        format!("{sign} {severity} {detector} {}{agent}: {message}", session.as_str())
    }
}

/// Returns the findings of a report, by their conditions.
fn by_condition(report: &Report) -> BTreeMap<Key, &Finding> {
    let mut findings: Vec<&Finding> = report
        .sessions
        .iter()
        .flat_map(|session| session.findings.iter().map(|episode| &episode.finding))
        .collect();
    findings.sort_by_key(|finding| finding.at);
    let mut n_earlier = BTreeMap::new();
    let keyed = findings.into_iter().map(|finding| {
        let condition = (finding.session.clone(), finding.fingerprint);
        let n: &mut usize = n_earlier.entry(condition.clone()).or_default();
        *n += 1;
        ((condition.0, condition.1, *n), finding)
    });
    keyed.collect()
}
