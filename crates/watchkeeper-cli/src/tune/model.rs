use watchkeeper_core::{Level, Severity};

use super::{
    levels::TunedDetectors,
    measures::{MeasuredSession, Measures, Move},
};

/// A model of the engine: the findings that recorded measures give with other levels.
///
/// Like the engine, it opens or escalates an episode only if no detector that suppresses
/// it has an episode of at least the same severity open in the same agent or session. It
/// differs in one case: if an episode is suppressed, and its measure grows no more after
/// the suppression ends, the engine can report it and the model does not.
pub(crate) struct Model<'a> {
    detectors: &'a TunedDetectors,
    measures: &'a Measures,
}

/// An episode with a finding.
struct Open {
    episode: usize,
    severity: Severity,
}

impl<'a> Model<'a> {
    pub(crate) fn new(detectors: &'a TunedDetectors, measures: &'a Measures) -> Self {
        Self { detectors, measures }
    }

    /// Returns the number of findings of `medium` or above of each detector. `medium`
    /// has the level of `medium` of each detector; `None` leaves the levels unchanged.
    pub(crate) fn n_findings(&self, medium: &[Option<u64>]) -> Vec<u64> {
        let levels = self.detectors.iter().zip(medium).map(|(detector, medium)| match medium {
            Some(medium) => detector.with_medium_level(*medium),
            None => detector.levels.clone(),
        });
        let levels: Vec<Vec<Level>> = levels.collect();
        let mut n_findings = vec![0; levels.len()];
        for session in &self.measures.sessions {
            self.add_findings(session, &levels, &mut n_findings);
        }
        n_findings
    }

    fn add_findings(
        &self,
        session: &MeasuredSession,
        levels: &[Vec<Level>],
        n_findings: &mut [u64],
    ) {
        let mut open: Vec<Open> = Vec::new();
        for step in &session.moves {
            let (episode, measure) = match *step {
                Move::Reached { episode, measure } => (episode, measure),
                Move::Ended { episode } => {
                    open.retain(|other| other.episode != episode);
                    continue;
                }
            };
            let measured = &session.episodes[episode];
            let detector = measured.detector;
            let reached = levels[detector].iter().filter(|level| level.at <= measure);
            let Some(severity) = reached.map(|level| level.severity).max() else { continue };
            let inhibitors = &self.detectors.get(detector).inhibitors;
            let is_inhibited = open.iter().any(|other| {
                let inhibitor = &session.episodes[other.episode];
                severity <= other.severity
                    && inhibitor.stream == measured.stream
                    && inhibitors.contains(&inhibitor.detector)
            });
            if is_inhibited {
                continue;
            }
            let known = open.iter_mut().find(|other| other.episode == episode);
            let before = known.as_ref().map(|known| known.severity);
            match known {
                Some(known) => known.severity = known.severity.max(severity),
                None => open.push(Open { episode, severity }),
            }
            let is_new = before < Some(Severity::Medium) && Severity::Medium <= severity;
            n_findings[detector] += u64::from(is_new && measured.is_counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use watchkeeper_core::{Level, Severity, Timestamp, Unit};

    use super::Model;
    use crate::tune::{
        levels::{TunedDetector, TunedDetectors},
        measures::{MeasuredEpisode, MeasuredSession, Measures, Move},
    };

    /// Returns two detectors, of which the first suppresses the second.
    fn detectors() -> TunedDetectors {
        let detector = |id: &str, inhibitors| TunedDetector {
            id: id.into(),
            kind: "invented".into(),
            unit: Unit::Count,
            levels: [2, 4, 8]
                .into_iter()
                .zip(Severity::ALL)
                .map(|(at, severity)| Level::new(at, severity))
                .collect(),
            is_budget: false,
            is_per_agent: true,
            inhibitors,
        };
        TunedDetectors::of(vec![detector("a", Vec::new()), detector("b", vec![0])])
    }

    /// Returns a session with one episode for each entry: its detector and stream. The
    /// moves are those of episodes, by position, with `None` for the end, after which an
    /// episode has no more.
    fn session(episodes: &[(usize, usize)], moves: &[(usize, Option<u64>)]) -> Measures {
        let episode = |(detector, stream): &(usize, usize)| MeasuredEpisode {
            detector: *detector,
            stream: *stream,
            measure: 0,
            message: String::new(),
            place: None,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
            last_step: 0,
            finding: None,
            is_counted: true,
        };
        let mut session = MeasuredSession {
            session: "s".into(),
            episodes: episodes.iter().map(episode).collect(),
            moves: Vec::new(),
        };
        let mut has_ended = vec![false; episodes.len()];
        for (episode, measure) in moves {
            if has_ended[*episode] {
                continue;
            }
            let Some(measure) = *measure else {
                has_ended[*episode] = true;
                session.moves.push(Move::Ended { episode: *episode });
                continue;
            };
            let highest = &mut session.episodes[*episode].measure;
            if *highest < measure {
                *highest = measure;
                session.moves.push(Move::Reached { episode: *episode, measure });
            }
        }
        Measures { sessions: vec![session], ..Measures::default() }
    }

    fn findings(measures: &Measures, medium: [Option<u64>; 2]) -> Vec<u64> {
        Model::new(&detectors(), measures).n_findings(&medium)
    }

    #[test]
    fn an_open_finding_suppresses_those_of_the_same_stream() {
        let a_then_b = session(&[(0, 0), (1, 0)], &[(0, Some(5)), (1, Some(5))]);
        assert_eq!(findings(&a_then_b, [None, None]), [1, 0]);
        // The finding of `a` is only `low`.
        assert_eq!(findings(&a_then_b, [Some(6), None]), [0, 1]);
        let other_stream = session(&[(0, 0), (1, 1)], &[(0, Some(5)), (1, Some(5))]);
        assert_eq!(findings(&other_stream, [None, None]), [1, 1]);
        let ended = session(&[(0, 0), (1, 0)], &[(0, Some(5)), (0, None), (1, Some(5))]);
        assert_eq!(findings(&ended, [None, None]), [1, 1]);
        let more_severe = session(&[(0, 0), (1, 0)], &[(0, Some(5)), (1, Some(8))]);
        assert_eq!(findings(&more_severe, [None, None]), [1, 1]);
    }

    #[test]
    fn an_episode_is_one_finding() {
        let grows = session(&[(1, 0)], &[(0, Some(2)), (0, Some(4)), (0, Some(20))]);
        assert_eq!(findings(&grows, [None, None]), [0, 1]);
        assert_eq!(findings(&grows, [None, Some(25)]), [0, 0]);
    }

    proptest! {
        #[test]
        fn counts_are_monotone_in_the_level(
            episodes in vec((0..2_usize, 0..2_usize), 8),
            moves in vec((0..8_usize, prop_oneof![4 => (2..12_u64).prop_map(Some), 1 => Just(None)]), 0..40),
            other in 3..12_u64,
        ) {
            let measures = session(&episodes, &moves);
            for idx in 0..2 {
                let levels = 3..13_u64;
                let reaching = levels.clone().map(|level| measures.n_reaching(idx, level));
                let findings = levels.map(|level| {
                    let mut medium = [Some(other); 2];
                    medium[idx] = Some(level);
                    findings(&measures, medium)[idx]
                });
                let (reaching, findings): (Vec<_>, Vec<_>) = (reaching.collect(), findings.collect());
                prop_assert!(reaching.is_sorted_by(|a, b| a >= b), "{reaching:?}");
                prop_assert!(findings.is_sorted_by(|a, b| a >= b), "{findings:?}");
                prop_assert!(findings.iter().zip(&reaching).all(|(few, all)| few <= all));
            }
        }
    }
}
