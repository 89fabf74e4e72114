//! The findings that a route with `for` sends.

use std::collections::BTreeMap;

use watchkeeper_core::{Finding, Fingerprint, SignedDuration, Status, Timestamp};

/// The decision about a finding of a route with `for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The finding is sent, whatever happens to the process.
    Sent,
    /// The finding is sent or not: a process that starts within the wait begins it again with the
    /// present severity.
    Either,
    /// The finding is never sent.
    Never,
}

/// The open findings of an episode, as indexes, and its end.
#[derive(Default)]
struct Episode {
    open: Vec<usize>,
    end: Option<usize>,
}

/// Returns the decisions about the findings of a process that is never interrupted.
pub(crate) fn held(findings: &[Finding], open_for: SignedDuration) -> Vec<Held> {
    let mut held = vec![Held::Either; findings.len()];
    let mut present: BTreeMap<Fingerprint, Episode> = BTreeMap::new();
    let mut ended = Vec::new();
    for (idx, finding) in findings.iter().enumerate() {
        let episode = present.entry(finding.fingerprint).or_default();
        match finding.status {
            Status::Open => episode.open.push(idx),
            Status::Resolved => {
                episode.end = Some(idx);
                ended.extend(present.remove(&finding.fingerprint));
            }
        }
    }
    for Episode { open, end } in ended.into_iter().chain(present.into_values()) {
        let (first, last) = (open[0], open[open.len() - 1]);
        let end_at = end.map_or(Timestamp::MAX, |end| findings[end].at);
        let lasts = |idx: usize| open_for <= end_at.duration_since(findings[idx].at);
        if lasts(last) {
            held[last] = Held::Sent;
            if let Some(end) = end {
                held[end] = Held::Sent;
            }
        } else if !lasts(first) {
            open.into_iter().chain(end).for_each(|idx| held[idx] = Held::Never);
        }
    }
    held
}
