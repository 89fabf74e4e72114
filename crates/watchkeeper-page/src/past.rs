use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{Finding, Fingerprint, Status};

use crate::finding::FindingRow;

/// A finding of this run or an earlier one, as the ledgers of sinks have it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PastFindingRow {
    /// The finding about the whole episode.
    #[serde(flatten)]
    pub row: FindingRow,
    /// The names of the sinks that received it, in order.
    pub sinks: Vec<String>,
    /// The time at which the first of them accepted it; `null` if none has.
    #[schemars(with = "Option<String>")]
    pub delivered_at: Option<Timestamp>,
}

/// Joins the findings of sinks to episodes. Takes the finding, the sink and the time of the
/// delivery, in order of the times of the findings. Returns the latest `max` episodes, the latest
/// first.
pub fn past_episodes(
    findings: impl IntoIterator<Item = (Finding, String, Option<Timestamp>)>,
    max: usize,
) -> Vec<PastFindingRow> {
    let mut episodes: Vec<PastFindingRow> = Vec::new();
    let mut latest: BTreeMap<Fingerprint, usize> = BTreeMap::new();
    for (finding, sink, delivered_at) in findings {
        let is_end = finding.status == Status::Resolved;
        // Each sink has the same end.
        let is_continued = |row: &FindingRow| {
            row.finding.status == Status::Open || is_end && row.ended_at == Some(finding.at)
        };
        let known = latest.get(&finding.fingerprint).copied();
        let idx = match known.filter(|idx| is_continued(&episodes[*idx].row)) {
            Some(idx) => {
                episodes[idx].row.update(finding);
                idx
            }
            None => {
                latest.insert(finding.fingerprint, episodes.len());
                let ended_at = is_end.then_some(finding.at);
                let row = FindingRow { ended_at, ..FindingRow::new(finding) };
                episodes.push(PastFindingRow { row, sinks: Vec::new(), delivered_at: None });
                episodes.len() - 1
            }
        };
        let episode = &mut episodes[idx];
        if let Err(place) = episode.sinks.binary_search(&sink) {
            episode.sinks.insert(place, sink);
        }
        let times = [episode.delivered_at, delivered_at];
        episode.delivered_at = times.into_iter().flatten().min();
    }
    episodes.drain(..episodes.len().saturating_sub(max));
    episodes.reverse();
    episodes
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Finding, Severity, SignedDuration, Timestamp};

    use super::{PastFindingRow, past_episodes};

    fn at(secs: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
    }

    fn finding(session: &str, secs: i64, severity: Severity) -> Finding {
        Finding::new(at(secs), "x", session, severity, "m")
    }

    #[test]
    fn findings_of_all_sinks_are_one_episode() {
        let open = finding("a", 1, Severity::Medium);
        let worse = finding("a", 2, Severity::High);
        let end = worse.clone().end(at(3), "over");
        let again = finding("a", 4, Severity::Low);
        let other = finding("b", 5, Severity::Low);
        let mut past = Vec::new();
        for finding in [&open, &worse, &end, &again, &other] {
            past.push((finding.clone(), "ops".to_owned(), Some(at(9))));
            past.push((finding.clone(), "file".to_owned(), None));
        }
        let episodes = past_episodes(past.clone(), 9);
        let lines = episodes.iter().map(|PastFindingRow { row, .. }| {
            (row.finding.session.as_str(), row.finding.at, row.finding.severity, row.ended_at)
        });
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                ("b", at(5), Severity::Low, None),
                ("a", at(4), Severity::Low, None),
                ("a", at(1), Severity::High, Some(at(3))),
            ]
        );
        assert_eq!(episodes[0].sinks, ["file", "ops"]);
        assert_eq!(episodes[0].delivered_at, Some(at(9)));
        assert_eq!(past_episodes(past, 1).len(), 1);
    }
}
