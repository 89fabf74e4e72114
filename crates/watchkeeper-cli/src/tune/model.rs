use std::collections::BTreeSet;

use watchkeeper_core::{Level, Severity};

use super::{
    levels::TunedDetectors,
    measures::{MeasuredSession, Measures, Move},
};

/// A model of the engine: the findings that recorded measures give with other levels.
///
/// Like in the engine, detectors that are connected by `inhibited_by` share one finding in
/// each agent or session. The finding counts for the detector that explains it last. The
/// total is the engine's. Once an explanation has ended while others hold the finding open,
/// the model may count the finding for another detector of the group than the engine does.
pub(crate) struct Model<'a> {
    detectors: &'a TunedDetectors,
    measures: &'a Measures,
    /// For each detector, those that inhibit it, directly or through others.
    inhibitors: Vec<BTreeSet<usize>>,
    /// For each detector, the lowest position in its group.
    groups: Vec<usize>,
}

/// An open finding.
struct Open {
    group: usize,
    stream: usize,
    /// The episode that opened the finding.
    opened_by: usize,
    /// The episode of the latest explanation.
    explained_by: usize,
    severity: Severity,
    /// The episodes that hold the finding open, with the severities that they have reached.
    conditions: Vec<(usize, Severity)>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(detectors: &'a TunedDetectors, measures: &'a Measures) -> Self {
        let mut inhibitors = vec![BTreeSet::new(); detectors.len()];
        let mut groups: Vec<usize> = (0..detectors.len()).collect();
        // Each round adds the inhibitors that are one step further away.
        for _ in 0..detectors.len() {
            for (idx, detector) in detectors.iter().enumerate() {
                let is_related =
                    |other: &&usize| detectors.get(**other).is_per_agent == detector.is_per_agent;
                for other in detector.inhibitors.iter().filter(is_related) {
                    let further = inhibitors[*other].clone();
                    inhibitors[idx].insert(*other);
                    inhibitors[idx].extend(further);
                    let merged = [groups[idx], groups[*other]];
                    let lowest = merged[0].min(merged[1]);
                    groups.iter_mut().filter(|it| merged.contains(it)).for_each(|it| *it = lowest);
                }
            }
        }
        Self { detectors, measures, inhibitors, groups }
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
        let mut count = |finding: &Open| {
            let explained_by = &session.episodes[finding.explained_by];
            let is_counted = Severity::Medium <= finding.severity && explained_by.is_counted;
            n_findings[explained_by.detector] += u64::from(is_counted);
        };
        for step in &session.moves {
            match *step {
                Move::Reached { episode, measure } => {
                    let own = &levels[session.episodes[episode].detector];
                    let reached = own.iter().filter(|level| level.at <= measure);
                    if let Some(severity) = reached.map(|level| level.severity).max() {
                        self.report(session, &mut open, episode, severity);
                    }
                }
                Move::Ended { episode } => open.retain_mut(|finding| {
                    let is_held = !finding.conditions.is_empty();
                    finding.conditions.retain(|(other, _)| *other != episode);
                    let has_ended = is_held && finding.conditions.is_empty();
                    if has_ended {
                        count(finding);
                    }
                    !has_ended
                }),
            }
        }
        open.iter().for_each(count);
    }

    /// Opens a finding, or adds an episode to the open one of its group.
    fn report(
        &self,
        session: &MeasuredSession,
        open: &mut Vec<Open>,
        episode: usize,
        severity: Severity,
    ) {
        let measured = &session.episodes[episode];
        let (detector, stream) = (measured.detector, measured.stream);
        let group = self.groups[detector];
        let has_group = 1 < self.groups.iter().filter(|other| **other == group).count();
        let shared = open.iter_mut().find(|finding| {
            let is_own = finding.opened_by == episode;
            is_own || has_group && finding.group == group && finding.stream == stream
        });
        let Some(finding) = shared else {
            let conditions = vec![(episode, severity)];
            let (opened_by, explained_by) = (episode, episode);
            open.push(Open { group, stream, opened_by, explained_by, severity, conditions });
            return;
        };
        let explaining = session.episodes[finding.explained_by].detector;
        let is_explained = finding.conditions.iter().any(|(_, it)| *it == finding.severity);
        let is_better = self.inhibitors[explaining].contains(&detector) || !is_explained;
        if finding.severity < severity || finding.severity == severity && is_better {
            (finding.severity, finding.explained_by) = (severity, episode);
        }
        match finding.conditions.iter_mut().find(|(other, _)| *other == episode) {
            Some((_, reached)) => *reached = severity.max(*reached),
            None => finding.conditions.push((episode, severity)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use watchkeeper_core::{
        Context, Detector, Engine, Event, EventKind, Fingerprint, Level, Report, Severity, Status,
        Timestamp, Unit,
        embed::{EngineConfig, NamedDetector, SessionFilter},
    };

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
            emitted_at: Vec::new(),
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
        assert_eq!(findings(&more_severe, [None, None]), [0, 1]);
    }

    #[test]
    fn an_episode_is_one_finding() {
        let grows = session(&[(1, 0)], &[(0, Some(2)), (0, Some(4)), (0, Some(20))]);
        assert_eq!(findings(&grows, [None, None]), [0, 1]);
        assert_eq!(findings(&grows, [None, Some(25)]), [0, 0]);
    }

    /// The names of detectors, with the positions of their inhibitors.
    const CONNECTED: [(&str, &[usize]); 5] =
        [("a", &[]), ("b", &[0]), ("c", &[1]), ("d", &[]), ("e", &[0, 3])];

    /// Reports the measure, or the end, in a prompt that names the detector.
    #[derive(Clone, Debug)]
    struct Scripted(&'static str);

    impl Detector for Scripted {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            let EventKind::Prompt { text, .. } = &event.kind else { return };
            let mut words = text.split(' ');
            if words.next() != Some(self.0) {
                return;
            }
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            let subject = Fingerprint::from(number().unwrap_or_default());
            match number() {
                Some(measure) => cx.report(subject, measure, || Report::new("reached")),
                None => cx.resolve(subject, || Report::new("ended")),
            }
        }
    }

    /// Returns the levels of every detector.
    fn levels() -> Vec<Level> {
        let levels = [2, 4, 8].into_iter().zip(Severity::ALL);
        levels.map(|(at, severity)| Level::new(at, severity)).collect()
    }

    /// Returns the findings of `medium` or above that the engine emits for the moves, by
    /// the detector of the latest explanation.
    fn engine_findings(measures: &Measures) -> Vec<u64> {
        let named = CONNECTED.map(|(id, inhibitors)| NamedDetector {
            id: id.into(),
            kind: "invented".into(),
            class: "invented".into(),
            annotations: std::sync::Arc::default(),
            levels: levels(),
            inhibited_by: inhibitors.iter().map(|idx| CONNECTED[*idx].0.into()).collect(),
            per: None,
            sessions: SessionFilter::default(),
            options: Fingerprint::NONE,
            detector: Box::new(Scripted(id)),
        });
        let mut engine = Engine::new(named.into(), EngineConfig::default());
        let mut emitted = Vec::new();
        let session = &measures.sessions[0];
        for step in &session.moves {
            let (episode, measure) = match *step {
                Move::Reached { episode, measure } => (episode, measure.to_string()),
                Move::Ended { episode } => (episode, String::new()),
            };
            let MeasuredEpisode { detector, stream, .. } = session.episodes[episode];
            let text = format!("{} {episode} {measure}", CONNECTED[detector].0);
            let prompt = EventKind::Prompt { text: text.into(), synthetic: false };
            let event = Event::new(Timestamp::UNIX_EPOCH, "s", prompt);
            let event = if stream == 0 { event } else { event.in_agent("sub") };
            engine.observe(&event, &mut emitted);
        }
        let mut episodes = Vec::new();
        for finding in emitted {
            let is_same = |other: &&mut watchkeeper_core::Finding| {
                other.status == Status::Open && other.fingerprint == finding.fingerprint
            };
            match (episodes.iter_mut().find(is_same), finding.status) {
                (Some(open), Status::Resolved) => open.status = Status::Resolved,
                (Some(open), Status::Open) => *open = finding,
                (None, _) => episodes.push(finding),
            }
        }
        let count = |(id, _): (&str, _)| {
            let is_own = |finding: &&watchkeeper_core::Finding| {
                *finding.detector == *id && Severity::Medium <= finding.severity
            };
            episodes.iter().filter(is_own).count() as u64
        };
        CONNECTED.into_iter().map(count).collect()
    }

    #[test]
    fn detectors_of_a_group_share_a_finding() {
        // The first detector replaces the finding of the second.
        let both = session(&[(1, 0), (0, 0)], &[(0, Some(5)), (1, Some(5))]);
        assert_eq!(findings(&both, [None, None]), [1, 0]);
        // The low report of the first detector holds the finding open.
        let moves = [(0, Some(2)), (1, Some(5)), (1, None), (2, Some(6))];
        let held = session(&[(0, 0), (1, 0), (1, 0)], &moves);
        assert_eq!(findings(&held, [None, None]), [0, 1]);
    }

    proptest! {
        #[test]
        fn totals_are_those_of_the_engine(
            episodes in vec((0..5_usize, 0..2_usize), 8),
            moves in vec((0..8_usize, prop_oneof![4 => (1..12_u64).prop_map(Some), 1 => Just(None)]), 0..40),
        ) {
            let measures = session(&episodes, &moves);
            let tuned = CONNECTED.iter().map(|(id, inhibitors)| TunedDetector {
                id: (*id).into(),
                kind: "invented".into(),
                unit: Unit::Count,
                levels: levels(),
                is_budget: false,
                is_per_agent: true,
                inhibitors: inhibitors.to_vec(),
            });
            let tuned = TunedDetectors::of(tuned.collect());
            let counted = Model::new(&tuned, &measures).n_findings(&[None; 5]);
            let emitted = engine_findings(&measures);
            prop_assert_eq!(counted.iter().sum::<u64>(), emitted.iter().sum::<u64>());
        }

        #[test]
        fn findings_reach_the_level(
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
                prop_assert!(findings.iter().zip(&reaching).all(|(few, all)| few <= all));
            }
        }
    }
}
