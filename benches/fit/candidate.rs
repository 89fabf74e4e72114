//! Candidates for the weights and the level, and their scores.

use std::fmt;

use watchkeeper_core::{DetectorKind, Severity};
use watchkeeper_detector_no_progress::{Evidence, NoProgress, Weights};

use crate::sessions::{Session, StepKind};

/// Weights, and the level from which a finding is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) weights: Weights,
    pub(crate) level: u64,
}

/// The number of sessions with and without reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    due: usize,
    /// The sessions with a report that is due.
    found: usize,
    /// The sessions with a report in which none is due.
    false_alarms: usize,
}

impl Candidate {
    /// The weights of the detector, and its lowest level of severity `medium`.
    pub(crate) const SHIPPED: Self = Self { weights: Weights::FITTED, level: medium() };

    /// Returns all candidates.
    fn grid() -> impl Iterator<Item = Self> {
        const ADDED: [u32; 3] = [1, 2, 3];
        let mut candidates = Vec::new();
        for nothing in ADDED {
            for failed in ADDED {
                for known in ADDED {
                    for partly_known in 0..=known.min(2) {
                        for new in [0, 1, 2] {
                            for new_in_a_row in [3, 4, 6] {
                                for level in 4..=10 {
                                    let repeated_change = 2;
                                    let weights = Weights {
                                        nothing,
                                        failed,
                                        known,
                                        partly_known,
                                        repeated_change,
                                        new,
                                        new_in_a_row,
                                    };
                                    candidates.push(Self { weights, level });
                                }
                            }
                        }
                    }
                }
            }
        }
        candidates.into_iter()
    }

    /// Returns the steps at which the evidence reaches the level.
    fn reports<'a>(&'a self, session: &'a Session) -> impl Iterator<Item = u64> + 'a {
        let mut agents: Vec<Evidence> = Vec::new();
        session.steps.iter().filter_map(move |step| {
            if agents.len() <= step.agent {
                agents.resize(step.agent + 1, Evidence::default());
            }
            let evidence = &mut agents[step.agent];
            match step.kind {
                StepKind::Start => *evidence = Evidence::default(),
                StepKind::Call { contribution, response } => {
                    evidence.add(contribution, response, &self.weights);
                }
            }
            (self.level <= evidence.steps()).then_some(step.number)
        })
    }
}

/// Returns the lowest level of the detector with the severity `medium`.
const fn medium() -> u64 {
    let mut idx = 0;
    while !matches!(NoProgress::LEVELS[idx].severity, Severity::Medium) {
        idx += 1;
    }
    NoProgress::LEVELS[idx].at
}

impl Score {
    /// Returns the score of a candidate in these sessions.
    pub(crate) fn of<'a>(
        candidate: &Candidate,
        sessions: impl IntoIterator<Item = &'a Session>,
    ) -> Self {
        let mut score = Self::default();
        for session in sessions {
            let mut reports = candidate.reports(session);
            if session.is_due() {
                score.due += 1;
                score.found += usize::from(reports.any(|step| session.is_due_at(step)));
            } else {
                score.false_alarms += usize::from(reports.next().is_some());
            }
        }
        score
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.due += other.due;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
    }

    fn precision(self) -> f64 {
        share(self.found, self.found + self.false_alarms)
    }
}

/// Returns the candidate that finds most of the due sessions with at least this precision, and its
/// score. Of equal candidates, the one that raises fewer false alarms, then the one closest to the
/// weights of the detector.
pub(crate) fn best<'a>(
    sessions: impl IntoIterator<Item = &'a Session> + Clone,
    precision: f64,
) -> Option<(Candidate, Score)> {
    Candidate::grid()
        .map(|candidate| (candidate, Score::of(&candidate, sessions.clone())))
        .filter(|(_, score)| precision <= score.precision())
        .min_by_key(|(candidate, score)| {
            (score.due - score.found, score.false_alarms, candidate.distance())
        })
}

impl Candidate {
    /// Returns the sum of the differences from the weights and the level of the detector.
    fn distance(&self) -> u64 {
        let Self { weights, level } = self;
        let shipped = Self::SHIPPED;
        let pairs = [
            (weights.nothing, shipped.weights.nothing),
            (weights.failed, shipped.weights.failed),
            (weights.known, shipped.weights.known),
            (weights.partly_known, shipped.weights.partly_known),
            (weights.new, shipped.weights.new),
            (weights.new_in_a_row.into(), shipped.weights.new_in_a_row.into()),
        ];
        let of_weights: u32 = pairs.into_iter().map(|(a, b)| a.abs_diff(b)).sum();
        u64::from(of_weights) + level.abs_diff(shipped.level)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, level } = self;
        write!(
            f,
            "nothing {}, failed {}, known {}, partly known {}, repeated change {}, new -{}, {} in a \
             row, level {level}",
            steps(weights.nothing),
            steps(weights.failed),
            steps(weights.known),
            steps(weights.partly_known),
            steps(weights.repeated_change),
            steps(weights.new),
            weights.new_in_a_row,
        )
    }
}

/// Returns a number of half steps as a number of steps.
fn steps(half_steps: u32) -> f64 {
    f64::from(half_steps) / 2.0
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, found, false_alarms } = self;
        write!(
            f,
            "found {found} of {due}, {false_alarms} false alarms (recall {:.2}, precision {:.2})",
            share(*found, *due),
            self.precision()
        )
    }
}

/// Returns a share; 1 of nothing.
#[expect(clippy::cast_precision_loss, reason = "sessions are few")]
fn share(n: usize, of: usize) -> f64 {
    if of == 0 { 1.0 } else { n as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::author::Contribution::{self, Failed, New, Nothing};

    use super::{Candidate, Score, best};
    use crate::sessions::Session;

    fn session(due: &[(u64, u64)], contributions: &[Contribution]) -> Session {
        Session::new("a", due, contributions)
    }

    #[test]
    fn a_report_counts_in_a_due_stretch_only() {
        let calls = [Failed; 8];
        for (due, expected) in [
            (&[(1, 8)][..], Score { due: 1, found: 1, false_alarms: 0 }),
            (&[(20, 30)], Score { due: 1, found: 0, false_alarms: 0 }),
            (&[], Score { due: 0, found: 0, false_alarms: 1 }),
        ] {
            let sessions = [session(due, &calls)];
            assert_eq!(Score::of(&Candidate::SHIPPED, &sessions), expected);
        }
        let quiet = [session(&[], &[Failed, New, Failed, New, Nothing, New])];
        assert_eq!(Score::of(&Candidate::SHIPPED, &quiet), Score::default());
    }

    #[test]
    fn finds_weights_that_separate_due_from_quiet_sessions() {
        let sessions = [session(&[(1, 9)], &[Nothing; 9]), session(&[], &[Failed; 9])];
        let (candidate, score) = best(&sessions, 1.0).expect("there are such weights");
        assert_eq!(score, Score { due: 1, found: 1, false_alarms: 0 });
        assert!(candidate.weights.failed < candidate.weights.nothing);
        assert_eq!(best(&[session(&[], &[Failed; 30])], 1.1), None);
    }
}
