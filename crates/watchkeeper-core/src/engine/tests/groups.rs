//! Detectors that share findings.

mod properties;

use std::sync::Arc;

use super::{Engine, EngineConfig, NamedDetector, Sort, named, observe_event, time};
use crate::{
    AgentId, Context, Detector, Event, EventKind, Evidence, Finding, Fingerprint, Origin, Report,
    Status, Tokens,
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
                None => cx.resolve(subject, || {
                    Report::new(format!("{} ended", self.0)).with("of", self.0)
                }),
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
fn a_condition_of_no_finding_is_the_next_explanation() {
    let steps: [&[Move]; 9] = [
        &[report("error", 4)],
        // Both are suppressed, however often they are reported.
        &[report("a_least", 4), report("a_streak", 5)],
        &[report("a_least", 5), report("a_streak", 5)],
        &[end("error")],
        &[report("a_least", 5)],
        &[report("a_streak", 5)],
        &[report("a_least", 5), report("a_streak", 5)],
        // The finding of `a_least` was emitted.
        &[end("a_streak"), report("a_least", 5)],
        &[end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 medium error 4, replaces -",
            "0 medium a_least 5, replaces error",
            "0 medium a_streak 5, replaces a_least",
            "0 resolved a_streak 5: a_streak ended",
        ]
    );
}

#[test]
fn another_subject_of_the_detector_is_the_next_explanation() {
    let of = |subject, measure| Move { detector: "error", subject, measure };
    let steps: [&[Move]; 7] = [
        &[report("a_least", 4)],
        &[of(1, Some(4))],
        // Suppressed while the first cause holds.
        &[of(2, Some(4)), report("a_least", 4)],
        &[of(1, None)],
        &[of(2, Some(5)), report("a_least", 4)],
        &[of(2, Some(5)), report("a_least", 4)],
        &[of(2, None), end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 medium a_least 4, replaces -",
            "0 medium error 4, replaces a_least",
            "0 medium error 5, replaces -",
            "0 resolved error 5: error ended",
        ]
    );
}

#[test]
fn a_suppressed_condition_is_emitted_at_its_higher_severity() {
    let steps: [&[Move]; 5] = [
        &[report("a_least", 2)],
        &[report("error", 4)],
        &[report("a_least", 4)],
        &[end("error"), report("a_least", 4)],
        &[end("a_least")],
    ];
    assert_eq!(
        run(&steps),
        [
            "0 low a_least 2, replaces -",
            "0 medium error 4, replaces a_least",
            "0 medium a_least 4, replaces error",
            "0 resolved a_least 4: a_least ended",
        ]
    );
}

#[test]
fn a_resolved_finding_has_the_data_of_its_own_detector() {
    let mut engine = engine();
    let mut findings = Vec::new();
    let steps: [&[Move]; 5] = [
        &[report("a_least", 4)],
        &[report("call", 4)],
        &[end("call")],
        &[report("a_least", 4)],
        &[end("a_least")],
    ];
    for (moves, secs) in steps.iter().zip(0..) {
        engine.observe(&event(secs, None, moves), &mut findings);
    }
    let resolved = findings.last().expect("a finding is emitted");
    assert_eq!((&*resolved.detector, &*resolved.message), ("call", "call ended"));
    assert_eq!(resolved.data.get("of"), Some(&"call".into()));
    assert_eq!(resolved.at, time(4));
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
            "0 resolved a_result 4: a_result ended",
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
            "0 resolved call 4: call ended",
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
            "call call ended Resolved",
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
