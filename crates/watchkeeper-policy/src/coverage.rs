//! The findings that no route sends to a sink.

use std::collections::{BTreeMap, BTreeSet};

use watchkeeper_core::{
    Severity, Status,
    author::Glob,
    embed::{Matcher, NamedDetector, Route},
};

use crate::{diagnostic::Diagnostic, sinks::SinkName, tree::Span};

/// The largest number of detectors that a warning names.
const MAX_NAMED: usize = 4;

/// Findings that no sink receives.
pub(crate) enum Undelivered {
    /// The policy has no enabled sink.
    All,
    /// The routes leave out some findings.
    Some {
        /// The severities, each with its detectors; `None` for all detectors.
        by_severity: BTreeMap<Severity, Option<BTreeSet<String>>>,
        /// The keys of routes that match such findings of some sessions only.
        conditions: BTreeSet<String>,
    },
}

/// Returns the number of patterns of routes, which [`undelivered`] compares with each detector.
pub(crate) fn n_patterns(routes: &[Route]) -> usize {
    let patterns =
        |it: &Matcher| 1 + it.detector.len() + it.kind.len() + it.class.len() + it.labels.len();
    routes.iter().map(|it| patterns(&it.matcher)).sum()
}

/// Returns the findings that no sink receives, or that only some sessions deliver.
pub(crate) fn undelivered(
    detectors: &[NamedDetector],
    routes: &[Route],
    sinks: &[SinkName],
) -> Option<Undelivered> {
    let is_on = |id: &String| sinks.iter().any(|it| it.is_on && it.id.get_ref() == id);
    if !sinks.iter().any(|it| it.is_on) {
        return (!detectors.is_empty()).then_some(Undelivered::All);
    }
    let routes: Vec<&Matcher> = routes
        .iter()
        .filter(|it| it.sinks.iter().any(is_on) && it.matcher.status != Some(Status::Resolved))
        .map(|it| &it.matcher)
        .collect();
    let mut missing: BTreeMap<Severity, BTreeSet<String>> = BTreeMap::new();
    let mut possible: BTreeMap<Severity, BTreeSet<String>> = BTreeMap::new();
    let mut conditions = BTreeSet::new();
    for detector in detectors {
        for severity in detector.levels.iter().map(|it| it.severity) {
            possible.entry(severity).or_default().insert(detector.id.to_string());
            let matching = || routes.iter().filter(|it| matches(it, detector, severity));
            if matching().any(|it| session_keys(it).is_empty()) {
                continue;
            }
            conditions.extend(matching().flat_map(|it| session_keys(it)));
            missing.entry(severity).or_default().insert(detector.id.to_string());
        }
    }
    if missing.is_empty() {
        return None;
    }
    let by_severity = missing.into_iter().map(|(severity, ids)| {
        let is_all = possible.get(&severity) == Some(&ids);
        (severity, Some(ids).filter(|_| !is_all))
    });
    Some(Undelivered::Some { by_severity: by_severity.collect(), conditions })
}

/// Returns whether a route accepts findings of a detector with this severity, in some
/// session at least.
fn matches(matcher: &Matcher, detector: &NamedDetector, severity: Severity) -> bool {
    let any =
        |globs: &[Glob], text: &str| globs.is_empty() || globs.iter().any(|it| it.matches(text));
    matcher.severity.is_none_or(|it| it.matches(severity))
        && any(&matcher.detector, &detector.id)
        && any(&matcher.kind, &detector.kind)
        && any(&matcher.class, &detector.class)
}

/// Returns the keys of a route that depend on the session.
fn session_keys(matcher: &Matcher) -> Vec<String> {
    let facts =
        [("agent", &matcher.agent), ("session", &matcher.session), ("source", &matcher.source)];
    let is_any = |globs: &[Glob]| globs.is_empty() || globs.iter().any(|it| it.as_str() == "*");
    // Findings of the main agent have no sub-agent.
    let facts = facts.into_iter().filter(|(key, globs)| match *key {
        "agent" => !globs.is_empty(),
        _ => !is_any(globs),
    });
    let labels = matcher.labels.keys().map(|label| format!("label:{label}"));
    facts.map(|(key, _)| key.to_owned()).chain(labels).collect()
}

impl Undelivered {
    /// Returns a warning about the routes.
    pub(crate) fn warning(self, routes: Span) -> Diagnostic {
        let Self::Some { by_severity, conditions } = self else {
            let message = "the policy has no sinks, so nobody is notified of a finding";
            return Diagnostic::warning(0..0, message)
                .note("add a sink, such as `[sinks.console]` with `kind = \"console\"`");
        };
        let parts: Vec<String> = by_severity
            .into_iter()
            .map(|(severity, ids)| match ids {
                None => format!("`{severity}`"),
                Some(ids) => format!("`{severity}` ({})", list(&ids)),
            })
            .collect();
        let parts = joined(&parts);
        let message = if conditions.is_empty() {
            format!("no sink receives findings of severity {parts}")
        } else {
            let conditions: Vec<String> = conditions.iter().map(|it| format!("`{it}`")).collect();
            let conditions = joined(&conditions);
            format!(
                "no sink receives findings of severity {parts} of sessions that match no route by \
                 {conditions}"
            )
        };
        let note =
            "add a route with `fallback = true` for them, such as one to a sink of kind `file`";
        Diagnostic::warning(routes, message).note(note)
    }
}

/// Returns the first names of a set, and the number of the others.
fn list(ids: &BTreeSet<String>) -> String {
    let named: Vec<String> = ids.iter().take(MAX_NAMED).map(|it| format!("`{it}`")).collect();
    match ids.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Joins texts with commas and `and`.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
