//! Detectors that share findings, compared with a naive model.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    Engine, EngineConfig, LEVELS, NamedDetector, SESSION_END, Sort, named, observe_event, time,
};
use crate::{
    AgentId, Context, Detector, Event, EventKind, Evidence, Finding, Fingerprint, Origin, Report,
    Severity, Status, Tokens,
    embed::{EpisodeUpdate, ExplanationDetail, Outcome},
};

/// The detectors of these tests, the more specific ones first, with their inhibitors. The
/// order of the names is another one.
const DETECTORS: [(&str, &[&str]); 7] = [
    ("error", &[]),
    ("text", &[]),
    ("call", &["error"]),
    ("a_result", &["call"]),
    ("a_streak", &["a_result", "error"]),
    ("a_least", &["a_streak", "text"]),
    ("alone", &[]),
];

/// The report of a measure, or the end of a condition.
#[derive(Clone, Copy, Debug)]
struct Move {
    detector: &'static str,
    subject: u64,
    /// `None` at the end.
    measure: Option<u64>,
}

/// Acts on the moves in the text of a message that name the detector.
#[derive(Clone, Debug)]
struct Scripted(&'static str);

impl Detector for Scripted {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let EventKind::Message { text, .. } = &event.kind else { return };
        for line in text.lines() {
            let mut words = line.split(' ');
            if words.next() != Some(self.0) {
                continue;
            }
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            let subject = Fingerprint::from(number().unwrap_or_default());
            match number() {
                Some(measure) => {
                    cx.report(subject, measure, || {
                        let since = (self.0 == "text").then(|| evidence(10 - measure));
                        Report::new(format!("{} {measure}", self.0)).since(since)
                    });
                }
                None => cx.resolve(subject, || Report::new(format!("{} ended", self.0))),
            }
        }
    }
}

/// Returns the evidence of a line.
fn evidence(line: u64) -> Evidence {
    let origin = Origin { source: "test", file: "f".into(), line };
    Evidence::new(Some(&origin), "message")
}

fn detectors() -> Vec<NamedDetector> {
    let detector = |(id, inhibitors): (&'static str, &[&'static str])| NamedDetector {
        id: id.into(),
        inhibited_by: inhibitors.iter().map(|id| Arc::from(*id)).collect(),
        detector: Box::new(Scripted(id)),
        ..named(Sort::Messages)
    };
    DETECTORS.map(detector).into()
}

fn engine() -> Engine {
    Engine::new(detectors(), EngineConfig::default())
}

/// Returns the message that makes detectors act.
fn event(secs: i64, agent: Option<&str>, moves: &[Move]) -> Event {
    let line = |it: &Move| {
        let measure = it.measure.map(|measure| measure.to_string()).unwrap_or_default();
        format!("{} {} {measure}\n", it.detector, it.subject)
    };
    let text: String = moves.iter().map(line).collect();
    let message = EventKind::Message { text: text.into(), delta: false };
    let (source, file) = ("test", "f".into());
    let origin = Some(Origin { source, file, line: secs.unsigned_abs() });
    let agent = agent.map(AgentId::from);
    Event { agent, origin, ..Event::new(time(secs), "s", message) }
}

fn report(detector: &'static str, measure: u64) -> Move {
    Move { detector, subject: 0, measure: Some(measure) }
}

fn end(detector: &'static str) -> Move {
    Move { detector, subject: 0, measure: None }
}

/// Returns the findings in lines. Equal numbers stand for equal fingerprints.
fn lines(findings: &[Finding]) -> Vec<String> {
    let mut fingerprints = Vec::new();
    let line = |finding: &Finding| {
        let Finding { detector, severity, count, fingerprint, message, .. } = finding;
        let number = fingerprints.iter().position(|it| it == fingerprint);
        let number = number.unwrap_or_else(|| {
            fingerprints.push(*fingerprint);
            fingerprints.len() - 1
        });
        let agent = finding.agent.as_ref().map_or("", AgentId::as_str);
        let replaces = finding.replaces.as_deref().unwrap_or("-");
        match finding.status {
            Status::Open => {
                format!("{number}{agent} {severity} {detector} {count}, replaces {replaces}")
            }
            Status::Resolved => format!("{number}{agent} resolved {detector} {count}: {message}"),
        }
    };
    findings.iter().map(line).collect()
}

/// Returns the findings of one event after the other.
fn run(steps: &[&[Move]]) -> Vec<String> {
    let mut engine = engine();
    let mut findings = Vec::new();
    for (moves, secs) in steps.iter().zip(0..) {
        engine.observe(&event(secs, None, moves), &mut findings);
    }
    lines(&findings)
}

#[test]
fn a_more_specific_detector_replaces_a_finding_of_the_same_severity() {
    let steps: [&[Move]; 8] = [
        &[report("a_streak", 4)],
        &[report("error", 2), report("a_streak", 5)],
        &[report("error", 4), report("a_streak", 5)],
        &[report("a_streak", 5)],
        &[end("a_streak")],
        &[report("error", 5)],
        &[end("error")],
        &[report("error", 2)],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 medium a_streak 4, replaces -",
            "0 medium error 4, replaces a_streak",
            "0 resolved error 5: error ended",
            "1 low error 2, replaces -",
        ]
    );
}

#[test]
fn a_less_specific_detector_escalates_the_finding() {
    let steps: [&[Move]; 4] = [
        &[report("error", 4)],
        &[report("a_least", 5)],
        &[report("a_least", 6)],
        &[end("error"), end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 medium error 4, replaces -",
            "0 high a_least 6, replaces error",
            "0 resolved a_least 6: a_least ended",
        ]
    );
}

#[test]
fn detectors_that_a_third_one_connects_share_a_finding() {
    let steps: [&[Move]; 3] =
        [&[report("text", 4)], &[report("error", 4)], &[end("text"), end("error")]];
    let all = ["0 medium text 4, replaces -", "0 resolved text 4: text ended"];
    assert_eq!(run(&steps), all);
    let separate: [&[Move]; 2] = [&[report("text", 4)], &[report("alone", 4)]];
    let all = ["0 medium text 4, replaces -", "1 medium alone 4, replaces -"];
    assert_eq!(run(&separate), all);
}

#[test]
fn a_finding_stays_open_while_any_condition_holds() {
    let steps: [&[Move]; 8] = [
        &[report("a_least", 3)],
        &[report("call", 4)],
        &[end("call")],
        // Not as severe as the finding.
        &[report("a_result", 3)],
        // The finding is as bad again.
        &[report("a_result", 4)],
        &[end("a_result")],
        &[report("a_least", 3)],
        &[end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 low a_least 3, replaces -",
            "0 medium call 4, replaces a_least",
            "0 medium a_result 4, replaces call",
            "0 resolved a_result 4: a_least ended",
        ]
    );
}

#[test]
fn an_explanation_of_the_same_kind_is_not_emitted_again() {
    let steps: [&[Move]; 5] = [
        &[report("a_least", 4)],
        &[report("call", 4)],
        &[end("call")],
        &[report("call", 4)],
        &[end("call"), end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 medium a_least 4, replaces -",
            "0 medium call 4, replaces a_least",
            "0 resolved call 4: a_least ended",
        ]
    );
}

#[test]
fn the_findings_of_one_event_stay_in_order_within_a_group() {
    let steps: [&[Move]; 1] = [&[report("error", 2), report("a_streak", 4), report("alone", 2)]];
    let all = [
        "0 low alone 2, replaces -",
        "1 low error 2, replaces -",
        "1 medium a_streak 4, replaces error",
    ];
    assert_eq!(run(&steps), all);
}

#[test]
fn a_finding_keeps_its_earliest_evidence_and_its_cost() {
    let mut engine = engine();
    let mut findings = Vec::new();
    let steps =
        [report("a_least", 4), report("call", 4), report("a_least", 6)].into_iter().zip(1..);
    for (step, line) in steps {
        let usage = crate::ModelCall {
            tokens: Tokens { output: 10, ..Tokens::default() },
            ..crate::ModelCall::default()
        };
        engine.observe(&Event::new(time(line), "s", EventKind::ModelCall(usage)), &mut findings);
        engine.observe(&event(line, None, &[step]), &mut findings);
    }
    let lines: Vec<Vec<_>> = findings
        .iter()
        .map(|finding| finding.evidence.iter().filter_map(|it| it.line).collect())
        .collect();
    assert_eq!(lines, [vec![1], vec![1, 2], vec![1, 3]]);
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a_least 4",
            "call 4; since it was found: 10 tokens",
            "a_least 6; since it was found: 20 tokens"
        ]
    );
}

#[test]
fn updates_are_about_the_condition_that_explains_the_finding() {
    let config = EngineConfig { follows_episodes: true, ..EngineConfig::default() };
    let mut engine = Engine::new(detectors(), config);
    let steps: [&[Move]; 5] = [
        &[report("a_least", 4)],
        &[report("call", 4), report("a_least", 4)],
        &[report("call", 5), report("a_least", 5)],
        &[end("call"), report("a_least", 5)],
        &[end("a_least")],
    ];
    for (moves, secs) in steps.iter().zip(0..) {
        observe_event(&mut engine, &event(secs, None, moves));
    }
    let updates = engine.take_updates();
    assert!(updates.iter().all(|it| it.fingerprint == updates[0].fingerprint));
    let line = |it: &EpisodeUpdate| format!("{} {} {:?}", it.detector, it.message, it.status);
    assert_eq!(
        updates.iter().map(line).collect::<Vec<_>>(),
        [
            "call call 4 Open",
            "call call 5 Open",
            "a_least a_least 5 Open",
            "call a_least ended Resolved",
        ]
    );
}

#[test]
fn an_explanation_contains_replacements() {
    let mut engine = engine();
    engine.explain("s".into());
    let steps: [&[Move]; 3] =
        [&[report("a_least", 4)], &[report("call", 4)], &[end("call"), end("a_least")]];
    for (moves, secs) in steps.iter().zip(0..) {
        observe_event(&mut engine, &event(secs, None, moves));
    }
    let line = |detail: ExplanationDetail| match detail {
        ExplanationDetail::Reported {
            outcome: Outcome::Replaced { severity, detector }, ..
        } => {
            format!("{severity}, replaces {detector}")
        }
        ExplanationDetail::Reported { outcome, .. } => format!("{outcome:?}"),
        ExplanationDetail::Ended { was_open, .. } => format!("ended, resolved: {was_open}"),
        _ => "another entry".to_owned(),
    };
    let entries = engine.take_explanation().into_iter();
    assert_eq!(
        entries.map(|it| format!("{} {}", it.detector, line(it.what))).collect::<Vec<_>>(),
        [
            "a_least Opened(Medium)",
            "call medium, replaces a_least",
            "call ended, resolved: false",
            "a_least ended, resolved: true",
        ]
    );
}

/// A naive model of the findings of one agent.
#[derive(Default)]
struct Model {
    /// Detector, subject, severity and highest measure of each condition that holds.
    conditions: Vec<(&'static str, u64, Severity, u64)>,
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
            if self.conditions.len() == before {
                return None;
            }
            let place = self.open.iter().position(|it| it.includes(detector, subject))?;
            let open = &self.open[place];
            if self.conditions.iter().any(|it| open.includes(it.0, it.1)) {
                return None;
            }
            let OpenFinding { opened_by, latest, count, .. } = self.open.remove(place);
            return Some((opened_by, format!("resolved {} {count}: {detector} ended", latest.0)));
        };
        let reached = LEVELS.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        let open = self.open.iter_mut().find(|it| it.includes(detector, subject));
        let is_better = reached.is_some_and(|reached| {
            open.as_ref().is_none_or(|open| {
                let holds = self
                    .conditions
                    .iter()
                    .any(|it| open.includes(it.0, it.1) && it.2 == open.severity);
                open.severity < reached
                    || open.severity == reached
                        && (!holds || is_more_specific(detector, open.latest.0))
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
            let line = format!("{severity} {detector} {measure}, replaces -");
            return Some((latest, line));
        };
        if is_better {
            let replaces = if open.latest.0 == detector { "-" } else { open.latest.0 };
            (open.latest, open.count, open.severity) = (latest, highest, reached?);
            let line = format!("{} {detector} {measure}, replaces {replaces}", open.severity);
            return Some((open.opened_by, line));
        }
        if open.latest == latest {
            open.count = highest;
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
