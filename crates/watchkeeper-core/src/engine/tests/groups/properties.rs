//! Findings of random measures, compared with a naive model.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::{LEVELS, SESSION_END, observe_event, time},
    DETECTORS, Move, detectors, engine, event, lines,
};
use crate::{AgentId, Engine, Event, Finding, Fingerprint, Severity, Status, embed::EngineConfig};

/// A naive model of the findings of one agent.
#[derive(Default)]
struct Model {
    /// Detector, subject, severity and highest measure of each condition that holds.
    conditions: Vec<(&'static str, u64, Severity, u64)>,
    /// The detector, subject and severity of each finding whose condition holds.
    emitted: Vec<(&'static str, u64, Severity)>,
    /// The open findings.
    open: Vec<OpenFinding>,
}

struct OpenFinding {
    opened_by: (&'static str, u64),
    latest: (&'static str, u64),
    count: u64,
    severity: Severity,
}

/// Returns whether a detector inhibits another one, directly or through others.
fn is_more_specific(detector: &str, other: &str) -> bool {
    let inhibitors = DETECTORS.iter().find(|(id, _)| *id == other).map_or(&[][..], |it| it.1);
    inhibitors.iter().any(|id| *id == detector || is_more_specific(detector, id))
}

impl OpenFinding {
    fn includes(&self, detector: &str, subject: u64) -> bool {
        match self.opened_by {
            ("alone", own) => (detector, subject) == ("alone", own),
            _ => detector != "alone",
        }
    }
}

impl Model {
    /// Returns the lines of the findings, each with the condition that opened it.
    fn step(&mut self, step: Move) -> Option<((&'static str, u64), String)> {
        let Move { detector, subject, measure } = step;
        let own = |it: &(&str, u64, Severity, u64)| (it.0, it.1) == (detector, subject);
        let Some(measure) = measure else {
            let before = self.conditions.len();
            self.conditions.retain(|it| !own(it));
            self.emitted.retain(|it| (it.0, it.1) != (detector, subject));
            if self.conditions.len() == before {
                return None;
            }
            let place = self.open.iter().position(|it| it.includes(detector, subject))?;
            let open = &self.open[place];
            if self.conditions.iter().any(|it| open.includes(it.0, it.1)) {
                return None;
            }
            let OpenFinding { opened_by, latest, count, .. } = self.open.remove(place);
            return Some((opened_by, format!("resolved {0} {count}: {0} ended", latest.0)));
        };
        let reached = LEVELS.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        let open = self.open.iter_mut().find(|it| it.includes(detector, subject));
        let is_better = reached.is_some_and(|reached| {
            open.as_ref().is_none_or(|open| {
                let latest_holds = self
                    .conditions
                    .iter()
                    .any(|it| (it.0, it.1) == open.latest && it.2 == open.severity);
                // The conditions for which a finding of this severity was emitted.
                let known: Vec<_> = self
                    .emitted
                    .iter()
                    .filter(|it| open.includes(it.0, it.1) && it.2 == open.severity)
                    .collect();
                let is_known = known.iter().any(|it| (it.0, it.1) == (detector, subject));
                let is_better = if latest_holds {
                    is_more_specific(detector, open.latest.0)
                } else if known.is_empty() {
                    true
                } else {
                    let is_other = (detector, subject) != open.latest && !is_known;
                    let is_best = || known.iter().all(|it| is_more_specific(detector, it.0));
                    is_other && (detector == open.latest.0 || is_best())
                };
                open.severity < reached || open.severity == reached && is_better
            })
        });
        let highest = match (self.conditions.iter_mut().find(|it| own(it)), reached) {
            (Some(condition), _) => {
                condition.2 = condition.2.max(reached.unwrap_or(Severity::Low));
                condition.3 = condition.3.max(measure);
                condition.3
            }
            (None, Some(severity)) => {
                self.conditions.push((detector, subject, severity, measure));
                measure
            }
            (None, None) => return None,
        };
        let latest = (detector, subject);
        let Some(open) = open else {
            let severity = reached?;
            self.open.push(OpenFinding { opened_by: latest, latest, count: measure, severity });
            self.emitted.push((detector, subject, severity));
            let line = format!("{severity} {detector} {measure}, replaces -");
            return Some((latest, line));
        };
        if is_better {
            let replaces = if open.latest.0 == detector { "-" } else { open.latest.0 };
            (open.latest, open.count, open.severity) = (latest, highest, reached?);
            self.emitted.push((detector, subject, open.severity));
            let line = format!("{} {detector} {measure}, replaces {replaces}", open.severity);
            return Some((open.opened_by, line));
        }
        if open.latest == latest {
            open.count = highest;
            // The condition may have ended meanwhile.
            let severity = self.conditions.iter().find(|it| own(it)).map(|it| it.2)?;
            self.emitted.push((detector, subject, severity));
        }
        None
    }
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let id = select(DETECTORS.map(|it| it.0).to_vec());
    let measure = prop_oneof![3 => (1..8_u64).prop_map(Some), 2 => Just(None)];
    let step = (id, 0..2_u64, measure);
    vec(step.prop_map(|(detector, subject, measure)| Move { detector, subject, measure }), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<(Option<&'static str>, Vec<Move>)>> {
    vec((select(vec![None, Some("x")]), moves()), 1..40)
}

/// Returns the findings of each event.
fn findings_of(
    engine: &mut Engine,
    steps: &[(Option<&'static str>, Vec<Move>)],
) -> Vec<Vec<Finding>> {
    let events = steps.iter().zip(0..).map(|((agent, moves), secs)| event(secs, *agent, moves));
    events.map(|event| observe_event(engine, &event)).collect()
}

proptest! {
    #[test]
    fn findings_agree_with_the_model(steps in steps()) {
        let mut models = [Model::default(), Model::default()];
        let mut expected: Vec<Vec<_>> = Vec::new();
        let mut numbers = Vec::new();
        for (agent, moves) in &steps {
            let model = &mut models[usize::from(agent.is_some())];
            let of = |id: &'static str| moves.iter().filter(move |it| it.detector == id);
            let mut lines: Vec<_> =
                DETECTORS.iter().flat_map(|it| of(it.0)).filter_map(|it| model.step(*it)).collect();
            // The detector that has no part in the group.
            lines.sort_by_key(|it| it.0.0 == "alone");
            let agent = agent.unwrap_or_default();
            let number = |((opened_by, line), numbers): (_, &mut Vec<_>)| {
                let key = (agent, opened_by);
                let known = numbers.iter().position(|it| *it == key).unwrap_or_else(|| {
                    numbers.push(key);
                    numbers.len() - 1
                });
                format!("{known}{agent} {line}")
            };
            expected.push(lines.into_iter().map(|it| number((it, &mut numbers))).collect());
        }
        let mut found = findings_of(&mut engine(), &steps);
        for findings in &mut found {
            findings.sort_by_key(|it| &*it.detector == "alone");
        }
        let n_of_each: Vec<_> = expected.iter().map(Vec::len).collect();
        prop_assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), n_of_each);
        prop_assert_eq!(lines(&found.concat()), expected.concat());
    }

    #[test]
    fn a_condition_that_reaches_the_severity_is_explained(steps in steps()) {
        let mut engine = engine();
        // The highest severity of each condition of the group that holds.
        let mut conditions = BTreeMap::new();
        // The conditions of the findings of the open episode.
        let mut emitted = Vec::new();
        let mut severity = None;
        let moves = steps.iter().flat_map(|it| &it.1).filter(|it| it.detector != "alone");
        for (step, secs) in moves.zip(0..) {
            let id = (step.detector, step.subject);
            let findings = observe_event(&mut engine, &event(secs, None, &[*step]));
            let Some(measure) = step.measure else {
                conditions.remove(&id);
                if conditions.is_empty() {
                    emitted.clear();
                    severity = None;
                }
                continue;
            };
            let reached = LEVELS.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
            let Some(reached) = reached else { continue };
            let condition = conditions.entry(id).or_insert(reached);
            *condition = reached.max(*condition);
            if !findings.is_empty() {
                emitted.push((id, reached));
            }
            severity = severity.max(Some(reached));
            // No finding is needed if a person has read about a condition that still holds.
            let is_explained = emitted
                .iter()
                .any(|it| Some(it.1) == severity && conditions.get(&it.0) == severity.as_ref());
            prop_assert!(Some(reached) < severity || is_explained);
        }
    }

    #[test]
    fn at_most_one_finding_of_a_group_is_open(steps in steps()) {
        let mut engine = engine();
        let mut findings = findings_of(&mut engine, &steps).concat();
        let end = Event::new(time(100), "s", SESSION_END);
        findings.extend(observe_event(&mut engine, &end));
        let mut open: BTreeMap<Fingerprint, &Finding> = BTreeMap::new();
        for finding in &findings {
            let before = open.insert(finding.fingerprint, finding);
            prop_assert_eq!(before.is_none(), finding.status == Status::Open && before.is_none());
            if let Some(before) = before {
                let is_same = before.detector == finding.detector;
                prop_assert_eq!(finding.replaces.as_ref(), (!is_same).then_some(&before.detector));
                prop_assert!(
                    finding.status == Status::Resolved || before.severity <= finding.severity
                );
            } else {
                prop_assert_eq!(&finding.replaces, &None);
            }
            if finding.status == Status::Resolved {
                open.remove(&finding.fingerprint);
            }
            for agent in [None, Some("x")] {
                let is_of_group = |it: &&&Finding| {
                    it.agent.as_ref().map(AgentId::as_str) == agent && &*it.detector != "alone"
                };
                prop_assert!(open.values().filter(is_of_group).count() <= 1);
            }
        }
        prop_assert!(open.is_empty());
        let mut ids: Vec<_> = findings.iter().map(|it| it.id).collect();
        ids.sort();
        ids.dedup();
        // A finding of the same severity may be opened again by the same event.
        prop_assert!(findings.len() <= ids.len() + steps.len());
    }

    #[test]
    fn explanations_and_updates_change_no_finding(steps in steps()) {
        let config = EngineConfig { follows_episodes: true, ..EngineConfig::default() };
        let mut plain = Engine::new(detectors(), config.clone());
        let mut explained = Engine::new(detectors(), config);
        explained.explain("s".into());
        let findings = findings_of(&mut engine(), &steps);
        prop_assert_eq!(&findings_of(&mut explained, &steps), &findings);
        prop_assert_eq!(&findings_of(&mut plain, &steps), &findings);
        prop_assert_eq!(explained.take_updates(), plain.take_updates());
    }
}

#[test]
fn equal_measures_of_one_event_are_one_update() {
    let measure = |measure| Move { detector: "alone", subject: 0, measure: Some(measure) };
    let steps = [(None, vec![measure(3)]), (None, vec![measure(4), measure(4), measure(4)])];
    let config = EngineConfig { follows_episodes: true, ..EngineConfig::default() };
    for is_explained in [false, true] {
        let mut engine = Engine::new(detectors(), config.clone());
        if is_explained {
            engine.explain("s".into());
        }
        findings_of(&mut engine, &steps);
        assert_eq!(engine.take_updates().len(), 1);
    }
}
