use std::{collections::BTreeSet, sync::Arc};

use watchkeeper_core::{SessionId, Severity, Timestamp};

/// The measures of the detectors in recorded sessions.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    /// In order of their first events.
    pub(crate) sessions: Vec<MeasuredSession>,
    /// For each detector, the findings of `medium` or above in the report of the sessions.
    pub(super) n_findings: Vec<u64>,
    /// The days on which sessions have events, counted from 1970 in UTC.
    pub(crate) days: BTreeSet<i64>,
}

/// The episodes of one session.
#[derive(Debug)]
pub(crate) struct MeasuredSession {
    pub(crate) session: SessionId,
    pub(crate) episodes: Vec<MeasuredEpisode>,
    /// What happened to the episodes, in order.
    pub(super) moves: Vec<Move>,
}

/// A period in which a condition holds, and in which its measure reaches the lowest level
/// of the detector.
#[derive(Debug)]
pub(crate) struct MeasuredEpisode {
    /// The position of the detector.
    pub(crate) detector: usize,
    /// The stream of the session, as a number.
    pub(super) stream: usize,
    /// The highest measure.
    pub(crate) measure: u64,
    /// The message of the highest measure.
    pub(crate) message: String,
    /// The file and line of the event of the highest measure, or of the last event
    /// before.
    pub(crate) place: Option<(Arc<str>, u64)>,
    /// The time of the lowest level.
    pub(super) started_at: Timestamp,
    /// The time of the last report, or of the end.
    pub(super) ended_at: Timestamp,
    /// The steps at which a finding of `medium` or above was emitted.
    pub(super) emitted_at: Vec<u64>,
    /// The first finding of `medium` or above, if there is one.
    pub(crate) finding: Option<MediumFinding>,
    /// `false` if the episode is outside of the period to count.
    pub(crate) is_counted: bool,
}

/// A finding of severity `medium` or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediumFinding {
    /// The number of steps of the file until then.
    pub(crate) step: u64,
    /// The highest severity of the episode.
    pub(crate) severity: Severity,
}

/// A change of an episode of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The measure of an episode has reached a further level.
    Reached { episode: usize, measure: u64 },
    /// An episode has ended.
    Ended { episode: usize },
}

impl Measures {
    /// Adds the measures of other sessions.
    pub(crate) fn add(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.n_findings.resize(other.n_findings.len(), 0);
        for (n, other) in self.n_findings.iter_mut().zip(other.n_findings) {
            *n += other;
        }
        self.days.extend(other.days);
    }

    pub(crate) fn episodes(&self) -> impl Iterator<Item = &MeasuredEpisode> {
        let episodes = self.sessions.iter().flat_map(|session| &session.episodes);
        episodes.filter(|episode| episode.is_counted)
    }

    /// Returns the highest measure of a detector, or 0.
    pub(crate) fn highest(&self, detector: usize) -> u64 {
        let own = self.episodes().filter(|episode| episode.detector == detector);
        own.map(|episode| episode.measure).max().unwrap_or(0)
    }

    /// Returns the number of episodes of a detector whose highest measure reaches a level.
    pub(super) fn n_reaching(&self, detector: usize, level: u64) -> u64 {
        let reaches = |it: &&MeasuredEpisode| it.detector == detector && level <= it.measure;
        self.episodes().filter(reaches).count() as u64
    }
}
