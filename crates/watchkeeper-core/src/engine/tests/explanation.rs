//! The explanation of a session.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    ALL, Engine, Finding, LEVELS, NamedDetector, Sort, Step, engine, message, named, observe,
    panic_quietly, prompt, steps, time,
};
use crate::{
    Context, Detector, Event, Fingerprint, Level, Report, Severity, Status,
    embed::{EngineConfig, EpisodeUpdate, ExplanationDetail, ExplanationEntry, Outcome},
};

fn explained(steps: &[Step], session: &str) -> (Vec<Finding>, Vec<ExplanationEntry>) {
    let mut engine = engine(&ALL);
    engine.explain(session.into());
    let (mut findings, mut entries) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Event(event) => engine.observe(event, &mut findings),
            Step::Advance(secs) => engine.advance(time(*secs), &mut findings),
        }
        entries.append(&mut engine.take_explanation());
    }
    (findings, entries)
}

/// Writes an entry that belongs to a finding as [`finding_line`] writes the finding.
fn entry_line(entry: &ExplanationEntry) -> Option<String> {
    let ExplanationEntry { at, detector, agent, what, .. } = entry;
    let what = match what {
        ExplanationDetail::Reported {
            outcome: Outcome::Opened(it) | Outcome::Escalated(it),
            message,
            ..
        } => {
            format!("{it} {message}")
        }
        ExplanationDetail::Ended { was_open: true, message, .. } => format!("over {message}"),
        ExplanationDetail::Panicked => "panicked".to_owned(),
        _ => return None,
    };
    Some(format!("{at} {detector} {agent:?} {what}"))
}

fn finding_line(finding: &Finding) -> String {
    let Finding { at, detector, agent, severity, message, .. } = finding;
    // An explanation has the report of the detector, without the group of sessions.
    let message = message.split(" (team ").next().unwrap_or_default();
    let what = match finding.status {
        _ if &*finding.class == "error" => "panicked".to_owned(),
        Status::Open => format!("{severity} {message}"),
        Status::Resolved => format!("over {message}"),
    };
    format!("{at} {detector} {agent:?} {what}")
}

/// Returns the updates of open episodes, of an engine that explains a session or not.
fn updates(steps: &[Step], explained: Option<&str>) -> Vec<EpisodeUpdate> {
    let config = EngineConfig { follows_episodes: true, ..EngineConfig::default() };
    let detectors = ALL.into_iter().map(named);
    // Suppresses measures of the others.
    let inhibited =
        detectors.map(|it| NamedDetector { inhibited_by: vec!["Messages".into()], ..it });
    let mut engine = Engine::new(inhibited.collect(), config);
    if let Some(session) = explained {
        engine.explain(session.into());
    }
    let mut findings = Vec::new();
    for step in steps {
        match step {
            Step::Event(event) => engine.observe(event, &mut findings),
            Step::Advance(secs) => engine.advance(time(*secs), &mut findings),
        }
    }
    engine.take_updates()
}

proptest! {
    #[test]
    fn an_explanation_changes_no_update_of_an_episode(
        steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20]),
    ) {
        prop_assert_eq!(updates(&steps, Some("s1")), updates(&steps, None));
    }

    #[test]
    fn an_explanation_changes_no_finding_and_contains_all(
        steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20]),
    ) {
        let findings = super::run(&steps, &ALL);
        for session in ["s1", "s2", "s3"] {
            let (explained, entries) = explained(&steps, session);
            prop_assert_eq!(&explained, &findings);
            let of_session = findings.iter().filter(|it| it.session.as_str() == session);
            let mut messages: Vec<_> = entries.iter().filter_map(entry_line).collect();
            let mut found: Vec<_> = of_session.map(finding_line).collect();
            messages.sort();
            found.sort();
            prop_assert_eq!(messages, found);
        }
    }
}

fn outcomes(entries: &[ExplanationEntry]) -> Vec<(u64, Outcome)> {
    let outcome = |it: &ExplanationEntry| match it.what {
        ExplanationDetail::Reported { measure, ref outcome, .. } => {
            Some((measure, outcome.clone()))
        }
        _ => None,
    };
    entries.iter().filter_map(outcome).collect()
}

#[test]
fn contains_every_measure_with_its_outcome() {
    let mut engine = engine(&[Sort::Events]);
    engine.explain("s1".into());
    for secs in 0..13 {
        observe(&mut engine, secs, "s1", message());
        observe(&mut engine, secs, "s2", message());
    }
    let (low, medium, high) = (Severity::Low, Severity::Medium, Severity::High);
    assert_eq!(
        outcomes(&engine.take_explanation()),
        [
            (0, Outcome::Below),
            (1, Outcome::Below),
            (1, Outcome::Below),
            (2, Outcome::Opened(low)),
            (2, Outcome::Counted(low)),
            (3, Outcome::Counted(low)),
            (3, Outcome::Counted(low)),
            (4, Outcome::Escalated(medium)),
            (4, Outcome::Counted(medium)),
            (5, Outcome::Counted(medium)),
            (5, Outcome::Counted(medium)),
            (6, Outcome::Escalated(high)),
            (6, Outcome::Counted(high)),
        ]
    );
    assert_eq!(engine.take_explanation(), []);
}

#[test]
fn contains_requests_of_wake_ups() {
    let mut engine = engine(&[Sort::Silence]);
    engine.explain("s1".into());
    observe(&mut engine, 0, "s1", message());
    observe(&mut engine, 5, "s1", message());
    observe(&mut engine, 13, "s1", Event::new(time(0), "s1", prompt()).kind);
    let moved = |it: &ExplanationEntry| match it.what {
        ExplanationDetail::Rescheduled { from, to } => {
            Some((it.is_wakeup, [from, to].map(|it| it.map(jiff::Timestamp::as_second))))
        }
        _ => None,
    };
    let moved: Vec<_> = engine.take_explanation().iter().filter_map(moved).collect();
    assert_eq!(
        moved,
        [
            (false, [None, Some(7)]),
            (false, [Some(7), Some(12)]),
            (true, [None, Some(19)]),
            (false, [Some(19), Some(20)]),
        ]
    );
}

#[test]
fn contains_inhibited_measures() {
    let levels = vec![Level::new(1, Severity::Low), Level::new(4, Severity::High)];
    let more =
        NamedDetector { id: "more".into(), levels: LEVELS.to_vec(), ..named(Sort::Messages) };
    let less = NamedDetector {
        id: "less".into(),
        levels,
        inhibited_by: vec!["more".into()],
        ..named(Sort::Messages)
    };
    let mut engine = Engine::new(vec![more, less], EngineConfig::default());
    engine.explain("s1".into());
    for secs in 0..5 {
        observe(&mut engine, secs, "s1", message());
    }
    let entries: Vec<_> =
        engine.take_explanation().into_iter().filter(|it| &*it.detector == "less").collect();
    let (low, high) = (Severity::Low, Severity::High);
    let [more, less] = ["more".into(), "less".into()];
    let suppressed = |severity, by: &Arc<str>| Outcome::Inhibited { severity, by: by.clone() };
    // One message in two is about the same subject.
    assert_eq!(
        outcomes(&entries),
        [
            (1, Outcome::Opened(low)),
            (2, suppressed(low, &more)),
            (3, suppressed(low, &more)),
            (4, Outcome::Replaced { severity: high, detector: more.clone() }),
            (5, suppressed(high, &less)),
        ]
    );
}

/// Panics in its first report, which reaches no level.
#[derive(Clone, Debug)]
struct PanicsBelowLevel(u64);

impl Detector for PanicsBelowLevel {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        self.0 += 1;
        let n = self.0;
        cx.note(|| format!("event {n}"));
        cx.report(Fingerprint::NONE, n, || {
            if n < 2 {
                panic_quietly("below every level");
            }
            Report::new("severe")
        });
    }
}

#[test]
fn a_panic_of_a_report_below_every_level_does_not_turn_the_detector_off() {
    let detector =
        NamedDetector { detector: Box::new(PanicsBelowLevel(0)), ..named(Sort::Messages) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    engine.explain("s1".into());
    let findings: Vec<_> =
        (0..2).flat_map(|secs| observe(&mut engine, secs, "s1", message())).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let messages: Vec<_> = engine.take_explanation().into_iter().map(|it| it.what).collect();
    let reported = |measure, message: &str, outcome| {
        let (subject, message) = (Fingerprint::NONE, message.to_owned());
        let is_unmeasured = false;
        ExplanationDetail::Reported { subject, measure, is_unmeasured, message, outcome }
    };
    assert_eq!(
        messages,
        [
            ExplanationDetail::Comment("event 1".to_owned()),
            reported(1, "", Outcome::Below),
            ExplanationDetail::Comment("event 2".to_owned()),
            reported(2, "severe", Outcome::Opened(Severity::Low)),
        ]
    );
}
