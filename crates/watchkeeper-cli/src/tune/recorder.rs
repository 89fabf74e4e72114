use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use watchkeeper_core::{
    AgentId, Engine, Event, EventKind, Fingerprint, SessionId, Severity, Timestamp,
    author::known_time,
    embed::{ExplanationDetail, ExplanationEntry, Kinds, Outcome, Registry, SourceEntry},
};
use watchkeeper_testing::labels::StepCounter;

use super::{
    levels::TunedDetectors,
    measures::{MeasuredEpisode, MeasuredSession, Measures, MediumFinding, Move},
};
use crate::{
    recorded::Group,
    replay::Observer,
    report::{Report, Window},
};

/// One condition of one stream: position of the detector, agent, subject.
type Condition = (usize, Option<AgentId>, Fingerprint);

/// Records the measures of every session, from the explanation of the engine.
pub(crate) struct MeasureRecorder<'a> {
    detectors: &'a TunedDetectors,
    window: Window,
    /// The file whose steps are counted.
    file: Option<&'a str>,
    steps: StepCounter,
    /// The session that the engine explains.
    explained: Option<SessionId>,
    positions: BTreeMap<SessionId, usize>,
    sessions: Vec<Recorded>,
    days: BTreeSet<i64>,
}

/// A session, and the values that only the recorder needs.
struct Recorded {
    session: MeasuredSession,
    /// The episodes that have not ended.
    open: BTreeMap<Condition, usize>,
    /// The streams with an episode: the agent, and whether the stream is one agent.
    streams: Vec<(Option<AgentId>, bool)>,
    /// The file and line of the latest event.
    place: Option<(Arc<str>, u64)>,
}

impl<'a> MeasureRecorder<'a> {
    /// Creates a recorder, which counts the steps of `file`.
    pub(crate) fn new(
        detectors: &'a TunedDetectors,
        window: Window,
        file: Option<&'a str>,
    ) -> Self {
        Self {
            detectors,
            window,
            file,
            steps: StepCounter::default(),
            explained: None,
            positions: BTreeMap::new(),
            sessions: Vec::new(),
            days: BTreeSet::new(),
        }
    }

    /// Returns the number of steps of the file.
    pub(crate) fn n_steps(&self) -> u64 {
        self.steps.count()
    }

    /// Returns the measures of the sessions in the report.
    pub(crate) fn finish(self, report: &Report) -> Measures {
        let reported: HashSet<&SessionId> = report.sessions.iter().map(|it| &it.session).collect();
        let sessions = self.sessions.into_iter().map(|recorded| recorded.session);
        let sessions = sessions.filter(|session| reported.contains(&session.session));
        let mut sessions: Vec<MeasuredSession> = sessions.collect();
        for episode in sessions.iter_mut().flat_map(|session| &mut session.episodes) {
            let [start, end] = [episode.started_at, episode.ended_at].map(known_time);
            episode.is_counted = self.window.overlaps(start, end);
        }
        let mut n_findings = vec![0; self.detectors.len()];
        let findings = report.sessions.iter().flat_map(|session| &session.findings);
        for finding in findings.map(|episode| &episode.finding) {
            if let Some(detector) = self.detectors.position(&finding.detector) {
                n_findings[detector] += u64::from(Severity::Medium <= finding.severity);
            }
        }
        Measures { sessions, n_findings, days: self.days }
    }
}

impl Observer for MeasureRecorder<'_> {
    fn select(&mut self, groups: Vec<Group>, _: bool, _: &Kinds<SourceEntry>) -> Vec<Group> {
        groups
    }

    fn before_event(&mut self, event: &Event, engine: &mut Engine) {
        // A session runs only when it has an event, so that each is explained in turn.
        if self.explained.as_ref() != Some(&event.session) {
            engine.explain(event.session.clone());
            self.explained = Some(event.session.clone());
        }
    }

    fn after_event(&mut self, event: &Event, engine: &mut Engine, _: &Registry) {
        if let Some(at) = known_time(event.at).filter(|at| self.window.contains(*at)) {
            self.days.insert(at.as_second().div_euclid(24 * 60 * 60));
        }
        let n_sessions = self.sessions.len();
        let position = match self.positions.get(&event.session) {
            Some(position) => *position,
            None => {
                self.positions.insert(event.session.clone(), n_sessions);
                self.sessions.push(Recorded::new(event));
                n_sessions
            }
        };
        let recorded = &mut self.sessions[position];
        let (wakeups, reports): (Vec<_>, Vec<_>) =
            engine.take_explanation().into_iter().partition(|entry| entry.is_wakeup);
        // Wake-ups come before the event.
        for entry in wakeups {
            recorded.add(entry, self.steps.count(), self.detectors);
        }
        if let Some(origin) = &event.origin {
            recorded.place = Some((origin.file.clone(), origin.line));
            if self.file == Some(&*origin.file) {
                self.steps.observe(event);
            }
        }
        for entry in reports {
            recorded.add(entry, self.steps.count(), self.detectors);
        }
        if matches!(event.kind, EventKind::AgentEnd) {
            recorded.end_agent(event.agent.as_ref());
        }
    }
}

impl Recorded {
    fn new(event: &Event) -> Self {
        let session = MeasuredSession {
            session: event.session.clone(),
            episodes: Vec::new(),
            moves: Vec::new(),
        };
        Self { session, open: BTreeMap::new(), streams: Vec::new(), place: None }
    }

    /// Applies one entry of the explanation.
    fn add(&mut self, entry: ExplanationEntry, step: u64, detectors: &TunedDetectors) {
        let Some(detector) = detectors.position(&entry.detector) else { return };
        match entry.what {
            ExplanationDetail::Reported { subject, measure, message, outcome, .. } => {
                let condition = (detector, entry.agent, subject);
                let Some(episode) = self.episode(condition, measure, entry.at, detectors) else {
                    return;
                };
                let place = self.place.clone();
                let recorded = &mut self.session.episodes[episode];
                recorded.ended_at = entry.at;
                if let Outcome::Opened(severity)
                | Outcome::Escalated(severity)
                | Outcome::Replaced { severity, .. } = outcome
                    && Severity::Medium <= severity
                {
                    recorded.emitted_at.push(step);
                    let step = recorded.finding.map_or(step, |finding| finding.step);
                    recorded.finding = Some(MediumFinding { step, severity });
                }
                if recorded.measure < measure {
                    recorded.measure = measure;
                    (recorded.message, recorded.place) = (message, place);
                    self.session.moves.push(Move::Reached { episode, measure });
                }
            }
            ExplanationDetail::Ended { subject, .. } => {
                let condition = (detector, entry.agent, subject);
                if let Some(episode) = self.open.remove(&condition) {
                    self.session.episodes[episode].ended_at = entry.at;
                    self.session.moves.push(Move::Ended { episode });
                }
            }
            _ => {}
        }
    }

    /// Returns the position of the open episode of a condition. Begins one if the measure
    /// reaches the lowest level.
    fn episode(
        &mut self,
        condition: Condition,
        measure: u64,
        at: Timestamp,
        detectors: &TunedDetectors,
    ) -> Option<usize> {
        if let Some(episode) = self.open.get(&condition) {
            return Some(*episode);
        }
        let detector = detectors.get(condition.0);
        if measure < detector.lowest_level() {
            return None;
        }
        let stream = (condition.1.clone(), detector.is_per_agent);
        let n_streams = self.streams.len();
        let known = self.streams.iter().position(|known| *known == stream);
        let stream = known.unwrap_or_else(|| {
            self.streams.push(stream);
            n_streams
        });
        let episode = self.session.episodes.len();
        self.session.episodes.push(MeasuredEpisode {
            detector: condition.0,
            stream,
            measure: 0,
            message: String::new(),
            place: None,
            started_at: at,
            ended_at: at,
            emitted_at: Vec::new(),
            finding: None,
            is_counted: true,
        });
        self.open.insert(condition, episode);
        Some(episode)
    }

    /// Ends the episodes of a sub-agent.
    fn end_agent(&mut self, agent: Option<&AgentId>) {
        let Self { session, open, .. } = self;
        if agent.is_some() {
            open.retain(|(_, other, _), episode| {
                let ends = other.as_ref() == agent;
                if ends {
                    session.moves.push(Move::Ended { episode: *episode });
                }
                !ends
            });
        }
    }
}
