//! Detectors that are replaced while sessions run.

use std::sync::Arc;

use super::*;

/// Never reports, and comes before the detectors of other tests.
fn silent(id: &str) -> NamedDetector {
    NamedDetector { id: id.into(), levels: Vec::new(), ..named(Sort::Messages) }
}

fn replace(engine: &mut Engine, secs: i64, detectors: Vec<NamedDetector>) -> Vec<Finding> {
    let mut findings = Vec::new();
    engine.replace(detectors, engine.shared.config.clone(), time(secs), &mut findings);
    findings
}

/// Some of the detectors inhibit others.
fn connected() -> Vec<NamedDetector> {
    let mut detectors: Vec<_> = ALL.into_iter().map(named).collect();
    for detector in &mut detectors {
        if matches!(&*detector.id, "Rearm" | "Silence") {
            detector.inhibited_by = vec!["Messages".into()];
        }
    }
    detectors
}

proptest! {
    #[test]
    fn detectors_that_stay_find_the_same(
        steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20]),
        changes in vec((0..60_usize, 0..40_usize), 1..4),
    ) {
        let new_engine = || {
            let session_expiry = SignedDuration::from_secs(EXPIRY);
            Engine::new(connected(), EngineConfig { session_expiry, ..EngineConfig::default() })
        };
        let expected = run_in(new_engine(), &steps);
        let mut engine = new_engine();
        let mut findings = Vec::new();
        for (step_idx, step) in steps.iter().enumerate() {
            for (_, n_silent) in changes.iter().filter(|(at, _)| *at == step_idx) {
                // The others move to other indexes, and to other blocks.
                let silent = (0..*n_silent).map(|n| silent(&format!("A{n:02}")));
                let detectors = silent.chain(connected()).collect();
                prop_assert_eq!(replace(&mut engine, 0, detectors), []);
            }
            match step {
                Step::Event(event) => engine.observe(event, &mut findings),
                Step::Advance(secs) => engine.advance(time(*secs), &mut findings),
            }
            assert!(engine.sessions.n_timers() <= engine.n_sessions(), "an alarm is left over");
        }
        prop_assert_eq!(findings, expected);
    }
}

/// Observes one event in each of some seconds.
fn observe_events(engine: &mut Engine, secs: std::ops::Range<i64>) -> Vec<String> {
    let findings = secs.flat_map(|secs| observe(engine, secs, "s", message()));
    render(&findings.collect::<Vec<_>>())
}

#[test]
fn findings_of_a_detector_that_is_gone_are_resolved() {
    let mut engine = engine(&[Sort::Events]);
    assert_eq!(observe_events(&mut engine, 0..4), ["3s s Events low 2"]);
    let findings = replace(&mut engine, 5, Vec::new());
    assert_eq!(render(&findings), ["5s s Events over 2"]);
    assert_eq!(findings[0].message, "over, as the policy has changed");
    // When the detector returns, it counts from zero.
    assert_eq!(replace(&mut engine, 6, vec![named(Sort::Events)]), []);
    assert_eq!(observe_events(&mut engine, 7..11), ["10s s Events low 2"]);
}

#[test]
fn other_options_begin_anew_and_other_levels_do_not() {
    let with_levels =
        |levels: &[Level]| vec![NamedDetector { levels: levels.to_vec(), ..named(Sort::Events) }];
    let mut engine = engine(&[Sort::Events]);
    assert_eq!(observe_events(&mut engine, 0..4), ["3s s Events low 2"]);
    let lower = with_levels(&[Level::new(2, Severity::Low), Level::new(3, Severity::High)]);
    assert_eq!(replace(&mut engine, 4, lower), []);
    assert_eq!(observe_events(&mut engine, 4..6), ["5s s Events high 3"]);
    // The measure of the open finding reaches no level.
    let higher = with_levels(&[Level::new(6, Severity::High)]);
    assert_eq!(render(&replace(&mut engine, 6, higher)), ["6s s Events over 3"]);
    assert_eq!(observe_events(&mut engine, 6..12), ["11s s Events high 6"]);
    let options = Fingerprint::of("other");
    let other = NamedDetector { options, ..named(Sort::Events) };
    assert_eq!(render(&replace(&mut engine, 12, vec![other])), ["12s s Events over 6"]);
    assert_eq!(observe_events(&mut engine, 12..15), [""; 0]);
}

#[test]
fn a_new_detector_watches_the_sessions_that_match() {
    let mut engine = engine(&[]);
    observe(&mut engine, 0, "red", start("red"));
    observe(&mut engine, 0, "blue", start("blue"));
    let globs = vec![crate::Glob::new("red")];
    let labels = [("team".to_owned(), globs)].into();
    let matcher = crate::session_filter::SessionMatcher { labels, ..Default::default() };
    let sessions = crate::SessionFilter::matching(vec![matcher.into()]);
    replace(&mut engine, 1, vec![NamedDetector { sessions, ..named(Sort::Events) }]);
    let watched = |id: &str| engine.watching(&id.into()).len();
    assert_eq!((watched("red"), watched("blue")), (1, 0));
}

/// Returns a detector for sessions of a team, and one of the same name for all others.
fn overridden(team: &str, reason: &str, version: &str) -> [NamedDetector; 2] {
    let globs = |pattern: &str| vec![crate::Glob::new(pattern)];
    let matcher = Arc::new(crate::session_filter::SessionMatcher {
        labels: [("team".to_owned(), globs(team))].into(),
        version: if version.is_empty() { Vec::new() } else { globs(version) },
        reason: Some(reason.to_owned()),
        ..Default::default()
    });
    let matching = crate::SessionFilter::matching(vec![matcher.clone()]);
    let others = crate::SessionFilter { none_of: vec![matcher], ..Default::default() };
    let options = Fingerprint::of("override");
    let base = NamedDetector { sessions: others, ..named(Sort::Events) };
    [base, NamedDetector { sessions: matching, options, ..named(Sort::Events) }]
}

#[test]
fn an_override_for_other_sessions_resets_no_state() {
    let mut engine = engine(&[Sort::Events]);
    observe(&mut engine, 0, "red", start("red"));
    observe(&mut engine, 0, "blue", start("blue"));
    let observe_both = |engine: &mut Engine, secs: i64| {
        let findings = ["blue", "red"].map(|id| observe(engine, secs, id, message()));
        render(&findings.concat())
    };
    assert_eq!(observe_both(&mut engine, 1), [""; 0]);
    assert_eq!(observe_both(&mut engine, 2), [""; 0]);
    assert_eq!(observe_both(&mut engine, 3), ["3s blue Events low 2", "3s red Events low 2"]);
    let findings = replace(&mut engine, 4, overridden("red", "a", "").into());
    assert_eq!(render(&findings), ["4s red Events over 2"]);
    // With another reason, and among others.
    let reworded = overridden("red", "b", "");
    assert_eq!(replace(&mut engine, 5, reworded.into()), []);
    let [base, red] = overridden("red", "c", "");
    assert_eq!(replace(&mut engine, 6, vec![red, base, silent("A")]), []);
    // The sessions of the override get the detector of the others again.
    assert_eq!(replace(&mut engine, 7, overridden("green", "d", "").into()), []);
    assert_eq!(engine.open_findings(&"blue".into()).len(), 1);
    assert_eq!(engine.open_findings(&"red".into()).len(), 0);
}

#[test]
fn an_override_for_a_version_stays_with_its_sessions() {
    let detectors = |reason: &str, levels: &[Level]| {
        let [base, red] = overridden("red", reason, "2.*");
        vec![base, NamedDetector { levels: levels.to_vec(), ..red }]
    };
    let mut engine = engine(&[]);
    replace(&mut engine, 0, detectors("a", &named(Sort::Events).levels));
    let EventKind::SessionStart(mut session) = start("red") else { panic!("a start") };
    session.version = Some("2.1".into());
    observe(&mut engine, 0, "s", EventKind::SessionStart(session));
    assert_eq!(observe_events(&mut engine, 1..4).len(), 1);
    let options = |engine: &Engine| engine.watching(&"s".into())[0].options;
    let expected = Fingerprint::of("override");
    assert_eq!(options(&engine), expected);
    // The version is no fact, but the earlier detector had the same condition.
    let [_, other] = overridden("blue", "b", "");
    let mut changed = detectors("b", &[Level::new(1, Severity::High)]);
    changed[0].sessions.none_of.extend(other.sessions.all_of.clone());
    changed[1].sessions.none_of.extend(other.sessions.all_of.clone());
    assert_eq!(replace(&mut engine, 5, changed), []);
    assert_eq!(options(&engine), expected);
    assert_eq!(engine.open_findings(&"s".into()).len(), 1);
}

#[test]
fn labels_of_the_policy_are_replaced_and_those_of_the_session_stay() {
    let labels = |team: &str| EngineConfig {
        labels: Arc::new([("team".to_owned(), team.to_owned())].into()),
        ..EngineConfig::default()
    };
    let mut engine = engine_with(&[], labels("a"));
    observe(&mut engine, 0, "own", start("red"));
    observe(&mut engine, 0, "other", message());
    engine.replace(Vec::new(), labels("b"), time(1), &mut Vec::new());
    let team = |id: &str| engine.session(&id.into()).expect("a session").labels["team"].clone();
    assert_eq!((team("own"), team("other")), ("red".to_owned(), "b".to_owned()));
}

#[test]
fn a_lower_limit_of_sessions_drops_those_above() {
    let mut engine = engine(&[]);
    for id in (0..9).map(|n| format!("s{n}")) {
        observe(&mut engine, 0, &id, message());
    }
    let config = EngineConfig { max_sessions: 3, ..EngineConfig::default() };
    engine.replace(Vec::new(), config, time(1), &mut Vec::new());
    let counts: Vec<u64> =
        observe(&mut engine, 2, "new", message()).iter().map(|it| it.count).collect();
    assert_eq!(counts, [1, 2, 4]);
    assert_eq!(engine.n_sessions(), 3);
}
