use std::collections::BTreeMap;

use serde::Serialize;
use watchkeeper_core::{
    Finding, Fingerprint, SessionId, SignedDuration, Status, Timestamp,
    author::SessionFacts,
    embed::{EpisodeUpdate, OpenFinding},
};

/// A finding about a whole episode: with the highest severity, the time of its
/// opening, and the count and message of its end.
#[derive(Debug, Serialize)]
pub(crate) struct Episode {
    #[serde(flatten)]
    pub(crate) finding: Finding,
    /// Time of the resolution, or of the last event of the session. `None` if the
    /// session has no times.
    pub(crate) ended_at: Option<Timestamp>,
    /// Reason of the resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolution: Option<String>,
    /// Tokens that the session used from the opening to the end. 0 for a finding
    /// about usage.
    pub(crate) tokens: u64,
    /// US dollars that the session used from the opening to the end. 0 for a finding
    /// about usage.
    pub(crate) cost_usd: f64,
}

impl Episode {
    /// Returns the time from the opening to the end.
    pub(crate) fn duration(&self) -> Option<SignedDuration> {
        Some(self.ended_at?.duration_since(self.finding.at).max(SignedDuration::ZERO))
    }
}

/// Merges the findings and updates of an engine into episodes.
#[derive(Debug, Default)]
pub(crate) struct EpisodeRecorder {
    sessions: BTreeMap<SessionId, Vec<Episode>>,
    /// Session and index of the latest episode with each fingerprint.
    latest: BTreeMap<Fingerprint, (SessionId, usize)>,
}

impl EpisodeRecorder {
    /// Adds the findings and the updates of one event.
    pub(crate) fn record(&mut self, findings: &mut Vec<Finding>, updates: Vec<EpisodeUpdate>) {
        for finding in findings.drain(..) {
            self.add(finding);
        }
        for update in updates {
            self.update(update);
        }
    }

    fn add(&mut self, finding: Finding) {
        let latest = self.latest(finding.fingerprint);
        let open = latest.filter(|it| it.finding.status == Status::Open);
        match (finding.status, open) {
            (Status::Open, Some(episode)) => {
                let opened_at = episode.finding.at;
                episode.finding = finding;
                episode.finding.at = opened_at;
            }
            (Status::Open, None) => {
                let episodes = self.sessions.entry(finding.session.clone()).or_default();
                let position = (finding.session.clone(), episodes.len());
                self.latest.insert(finding.fingerprint, position);
                episodes.push(Episode {
                    finding,
                    ended_at: None,
                    resolution: None,
                    tokens: 0,
                    cost_usd: 0.0,
                });
            }
            (Status::Resolved, Some(episode)) => {
                episode.finding.status = Status::Resolved;
                episode.finding.count = finding.count;
                episode.ended_at = Some(finding.at);
            }
            (Status::Resolved, None) => {}
        }
    }

    fn update(&mut self, update: EpisodeUpdate) {
        let Some(episode) = self.latest(update.fingerprint) else { return };
        if update.status == Status::Resolved {
            if episode.finding.status == Status::Resolved {
                episode.resolution = Some(update.message);
                (episode.tokens, episode.cost_usd) = (update.tokens, update.cost_usd);
            }
            return;
        }
        let finding = &mut episode.finding;
        (finding.count, finding.message) = (update.count, update.message);
        (finding.data, finding.evidence) = (update.data, update.evidence);
    }

    fn latest(&mut self, fingerprint: Fingerprint) -> Option<&mut Episode> {
        let (session, idx) = self.latest.get(&fingerprint)?;
        self.sessions.get_mut(session)?.get_mut(*idx)
    }

    /// Removes and returns the episodes of a session at its end, by severity and then
    /// by time.
    pub(crate) fn finish(&mut self, facts: &SessionFacts, open: Vec<OpenFinding>) -> Vec<Episode> {
        let mut episodes = self.sessions.remove(&facts.id).unwrap_or_default();
        for open in open {
            if let Some((_, idx)) = self.latest.get(&open.fingerprint)
                && let Some(episode) = episodes.get_mut(*idx)
            {
                episode.finding.count = open.count;
                (episode.tokens, episode.cost_usd) = (open.tokens, open.cost_usd);
            }
        }
        for episode in &mut episodes {
            self.latest.remove(&episode.finding.fingerprint);
            if !facts.has_times() {
                episode.ended_at = None;
            } else if episode.finding.status == Status::Open {
                episode.ended_at = Some(facts.last_event_at);
            }
        }
        episodes.sort_by_key(|episode| std::cmp::Reverse(episode.finding.severity));
        episodes
    }
}
