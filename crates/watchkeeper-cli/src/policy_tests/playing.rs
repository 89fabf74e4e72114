use std::{collections::BTreeSet, ops::Range};

use watchkeeper_core::{
    Engine, Finding, SignedDuration, Timestamp,
    embed::{Routed, Router},
};
use watchkeeper_policy::Policy;
use watchkeeper_testing::Step;

/// Findings of a policy in a session.
pub(super) struct Played {
    pub(super) findings: Vec<Finding>,
    /// Ids of the sinks that receive any of them.
    pub(super) sinks: BTreeSet<String>,
}

/// Runs the detectors of a policy over the steps of a session, and routes the
/// findings.
pub(super) fn play(policy: &Policy, steps: impl IntoIterator<Item = Step>) -> Played {
    let mut engine = Engine::new(policy.detectors.clone(), policy.engine_config());
    let mut findings = Vec::new();
    let mut end = Timestamp::MIN;
    for step in steps {
        match step {
            Step::Event(event) => {
                end = end.max(event.at);
                engine.observe(&event, &mut findings);
            }
            Step::Advance(now) => {
                end = end.max(now);
                engine.advance(now, &mut findings);
            }
        }
    }
    let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
    let mut router = Router::new(policy.routes.clone(), &ids);
    let mut routed: Vec<Routed> = findings.iter().flat_map(|it| router.route(it)).collect();
    routed.extend(router.advance(end));
    let sinks = routed.iter().flat_map(|routed| routed.sinks.keys());
    let sinks = sinks.map(|sink_idx| ids[*sink_idx].clone()).collect();
    Played { findings, sinks }
}

/// Formats a time since the start: `2h30m5s`.
pub(super) fn offset(since: SignedDuration) -> String {
    format!("{since:#}").replace(' ', "")
}

/// Returns the span of a line in `text` without its indentation. Lines are counted
/// from 1, from the start of `part`.
pub(super) fn line_span(text: &str, part: &Range<usize>, line: usize) -> Range<usize> {
    let mut start = part.start;
    for (n, current) in (1..).zip(text[part.clone()].split_inclusive('\n')) {
        if n == line {
            let indent = current.len() - current.trim_start().len();
            return start + indent..start + current.trim_end().len().max(indent);
        }
        start += current.len();
    }
    part.clone()
}
