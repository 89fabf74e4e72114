use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use serde::Serialize;
use watchkeeper_core::{
    Finding, Fingerprint, SessionId, SignedDuration, Status, Timestamp,
    author::{SessionFacts, known_time},
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
    /// Returns the time from the opening to the end, if both are known.
    pub(crate) fn duration(&self) -> Option<SignedDuration> {
        let opened_at = known_time(self.finding.at)?;
        Some(self.ended_at?.duration_since(opened_at).max(SignedDuration::ZERO))
    }

    /// Sets the detector that explains the episode, and keeps the name of the previous
    /// one.
    fn set_detector(&mut self, detector: &Arc<str>) {
        let finding = &mut self.finding;
        if finding.detector != *detector {
            finding.replaces = Some(mem::replace(&mut finding.detector, detector.clone()));
        }
    }

    /// Sets the end of an open episode: the last event of its session, or a later
    /// update. `None` is the end in a session without times.
    pub(super) fn end(&mut self, last_event_at: Option<Timestamp>) {
        if last_event_at.is_none() || self.finding.status == Status::Open {
            self.ended_at = last_event_at.and(last_event_at.max(self.ended_at));
        }
    }
}

/// Merges the findings and updates of an engine into episodes.
#[derive(Debug, Default)]
pub(crate) struct EpisodeRecorder {
    /// Detectors whose streams several sessions share. An episode of such a detector
    /// can outlast the session that opened it.
    shared_detectors: BTreeSet<Arc<str>>,
    sessions: BTreeMap<SessionId, Vec<Episode>>,
    shared: Vec<Episode>,
    /// Position of the latest episode with each fingerprint.
    latest: BTreeMap<Fingerprint, Position>,
    /// Latest finding about each part of the monitor, by detector.
    about_monitor: BTreeMap<Arc<str>, Finding>,
}

#[derive(Clone, Debug)]
enum Position {
    /// Index among the episodes of the session.
    Session(SessionId, usize),
    /// Index among the shared episodes.
    Shared(usize),
}

impl EpisodeRecorder {
    pub(crate) fn new(shared_detectors: BTreeSet<Arc<str>>) -> Self {
        Self { shared_detectors, ..Self::default() }
    }

    /// Adds the findings and the updates of one event.
    pub(crate) fn record(
        &mut self,
        at: Timestamp,
        findings: &mut Vec<Finding>,
        updates: Vec<EpisodeUpdate>,
    ) {
        for finding in findings.drain(..) {
            if finding.session.as_str().is_empty() {
                self.about_monitor.insert(finding.detector.clone(), finding);
            } else {
                self.add(finding);
            }
        }
        for update in updates {
            let mut about_monitor = self.about_monitor.values_mut();
            match about_monitor.find(|it| it.fingerprint == update.fingerprint) {
                Some(finding) => (finding.count, finding.message) = (update.count, update.message),
                None => self.update(at, update),
            }
        }
    }

    fn add(&mut self, finding: Finding) {
        let latest = self.latest(finding.fingerprint);
        let open = latest.filter(|it| it.finding.status == Status::Open);
        match (finding.status, open) {
            (Status::Open, Some(episode)) => {
                // The session that opened the episode keeps it.
                let Finding { at, session, source, .. } = &episode.finding;
                let (at, session, source) = (*at, session.clone(), *source);
                episode.set_detector(&finding.detector);
                let replaces = episode.finding.replaces.take();
                episode.finding = finding;
                episode.finding.replaces = replaces;
                (episode.finding.at, episode.finding.session) = (at, session);
                episode.finding.source = source;
            }
            (Status::Open, None) => self.open(finding),
            (Status::Resolved, Some(episode)) => {
                episode.finding.status = Status::Resolved;
                // The latest update may be about another condition of the episode.
                if episode.finding.detector == finding.detector {
                    episode.finding.count = finding.count;
                }
                episode.ended_at = Some(finding.at);
            }
            (Status::Resolved, None) => {}
        }
    }

    fn open(&mut self, finding: Finding) {
        let fingerprint = finding.fingerprint;
        let session = finding.session.clone();
        let is_shared = self.shared_detectors.contains(&finding.detector);
        let episode =
            Episode { finding, ended_at: None, resolution: None, tokens: 0, cost_usd: 0.0 };
        let position = if is_shared {
            self.shared.push(episode);
            Position::Shared(self.shared.len() - 1)
        } else {
            let episodes = self.sessions.entry(session.clone()).or_default();
            episodes.push(episode);
            Position::Session(session, episodes.len() - 1)
        };
        self.latest.insert(fingerprint, position);
    }

    fn update(&mut self, at: Timestamp, update: EpisodeUpdate) {
        let Some(episode) = self.latest(update.fingerprint) else { return };
        let is_open = episode.finding.status == Status::Open;
        match (update.status, is_open) {
            (Status::Open, true) => {
                episode.set_detector(&update.detector);
                let finding = &mut episode.finding;
                (finding.count, finding.message) = (update.count, update.message);
                (finding.data, finding.evidence) = (update.data, update.evidence);
                (finding.kind, finding.class) = (update.kind, update.class);
                finding.annotations = update.annotations;
                episode.ended_at = episode.ended_at.max(Some(at));
            }
            // The finding of the resolution comes before its update.
            (Status::Resolved, false) => {
                episode.resolution = Some(update.message);
                (episode.tokens, episode.cost_usd) = (update.tokens, update.cost_usd);
            }
            (Status::Open, false) | (Status::Resolved, true) => {}
        }
    }

    fn latest(&mut self, fingerprint: Fingerprint) -> Option<&mut Episode> {
        match self.latest.get(&fingerprint)? {
            Position::Session(session, idx) => self.sessions.get_mut(session)?.get_mut(*idx),
            Position::Shared(idx) => self.shared.get_mut(*idx),
        }
    }

    /// Removes and returns the episodes of a session at its end, by severity and then
    /// by time. Excludes [shared](Self::finish_shared) ones.
    pub(crate) fn finish(&mut self, facts: &SessionFacts, open: Vec<OpenFinding>) -> Vec<Episode> {
        for open in open {
            if let Some(episode) = self.latest(open.fingerprint) {
                episode.finding.count = open.count;
                (episode.tokens, episode.cost_usd) = (open.tokens, open.cost_usd);
            }
        }
        let mut episodes = self.sessions.remove(&facts.id).unwrap_or_default();
        for episode in &mut episodes {
            self.latest.remove(&episode.finding.fingerprint);
            let last_event_at = facts.has_times().then(|| facts.last_event_at());
            episode.end(last_event_at);
        }
        sort_by_severity(&mut episodes);
        episodes
    }

    /// Returns whether there is a finding about the monitor itself.
    pub(crate) fn has_finding_about_monitor(&self) -> bool {
        !self.about_monitor.is_empty()
    }

    /// Returns the shared episodes after the last session, and the findings about the
    /// monitor itself.
    pub(crate) fn finish_shared(self) -> (Vec<Episode>, Vec<Finding>) {
        (self.shared, self.about_monitor.into_values().collect())
    }
}

/// Sorts episodes by severity. Of two, the one that is first stays first.
pub(super) fn sort_by_severity(episodes: &mut [Episode]) {
    episodes.sort_by_key(|episode| std::cmp::Reverse(episode.finding.severity));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use watchkeeper_core::{
        Engine, Event, EventKind, Finding, Severity, Status, Timestamp, embed::EngineConfig,
    };

    use super::EpisodeRecorder;

    #[test]
    fn keeps_findings_about_the_monitor() {
        let at = Timestamp::UNIX_EPOCH;
        let mut recorder = EpisodeRecorder::new(BTreeSet::new());
        for n in [1, 2] {
            let finding =
                Finding::about_monitor(at, "agents", Severity::Medium, format!("{n} forgotten"));
            recorder.record(at, &mut vec![finding], Vec::new());
        }
        let (_, about_monitor) = recorder.finish_shared();
        let messages: Vec<_> = about_monitor.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(messages, ["2 forgotten"]);
    }

    #[test]
    fn a_finding_that_replaces_another_one_continues_its_episode() {
        let at = |secs| Timestamp::from_second(secs).expect("the time is valid");
        let mut recorder = EpisodeRecorder::new(BTreeSet::new());
        let mut finding = Finding::new(at(1), "failure_streak", "s1", Severity::Medium, "failed");
        recorder.record(at(1), &mut vec![finding.clone()], Vec::new());
        (finding.at, finding.detector) = (at(5), "repeated_error".into());
        (finding.replaces, finding.count) = (Some("failure_streak".into()), 3);
        recorder.record(at(5), &mut vec![finding.clone()], Vec::new());
        (finding.severity, finding.replaces, finding.count) = (Severity::High, None, 6);
        recorder.record(at(6), &mut vec![finding.clone()], Vec::new());
        (finding.at, finding.status, finding.count) = (at(9), Status::Resolved, 7);
        recorder.record(at(9), &mut vec![finding], Vec::new());
        let mut engine = Engine::new(Vec::new(), EngineConfig::default());
        engine.observe(&Event::new(at(9), "s1", EventKind::TurnEnd), &mut Vec::new());
        let facts = engine.session(&"s1".into()).expect("the session has an event");
        let episodes = recorder.finish(facts, Vec::new());
        let [episode] = &episodes[..] else { panic!("{episodes:?}") };
        let Finding { at: opened_at, detector, replaces, severity, count, .. } = &episode.finding;
        assert_eq!((*opened_at, &**detector), (at(1), "repeated_error"));
        assert_eq!(replaces.as_deref(), Some("failure_streak"));
        assert_eq!((*severity, *count, episode.ended_at), (Severity::High, 7, Some(at(9))));
    }

    #[test]
    fn keeps_shared_episodes_after_the_end_of_their_session() {
        let at = |secs| Timestamp::from_second(secs).expect("the time is valid");
        let mut recorder = EpisodeRecorder::new(BTreeSet::from(["team_cost".into()]));
        let mut finding = Finding::new(at(1), "team_cost", "s1", Severity::Low, "opened");
        recorder.record(at(1), &mut vec![finding.clone()], Vec::new());
        let mut engine = Engine::new(Vec::new(), EngineConfig::default());
        engine.observe(&Event::new(at(1), "s1", EventKind::TurnEnd), &mut Vec::new());
        let facts = engine.session(&"s1".into()).expect("the session has an event");
        assert!(recorder.finish(facts, Vec::new()).is_empty());
        (finding.at, finding.session) = (at(5), "s2".into());
        (finding.severity, finding.count) = (Severity::High, 3);
        recorder.record(at(5), &mut vec![finding], Vec::new());
        let (shared, _) = recorder.finish_shared();
        let [episode] = &shared[..] else { panic!("{shared:?}") };
        assert_eq!((episode.finding.session.as_str(), episode.finding.at), ("s1", at(1)));
        assert_eq!((episode.finding.severity, episode.finding.count), (Severity::High, 3));
        assert_eq!(episode.finding.status, Status::Open);
    }
}
