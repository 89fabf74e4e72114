//! The order and the life of findings.

use super::*;

#[test]
fn a_wake_up_comes_before_an_event_of_its_time() {
    let mut engine = engine(&[Sort::Silence]);
    for secs in [0, 6] {
        assert!(observe(&mut engine, secs, "s", message()).is_empty());
    }
    // The second of two wake-ups reaches the lowest level.
    let findings = observe(&mut engine, 20, "s", message());
    assert_eq!(render(&findings), ["20s s Silence low 2", "20s s Silence over 2"]);
}

#[test]
fn late_events_do_not_move_time_back() {
    let mut engine = engine(&[Sort::Messages]);
    let times = [10, 3, 4, 11];
    let findings: Vec<_> =
        times.into_iter().flat_map(|secs| observe(&mut engine, secs, "s", message())).collect();
    let all = ["10s s Messages low 2", "10s s Messages low 3", "11s s Messages medium 4"];
    assert_eq!(render(&findings), all);
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!(facts.last_event_at(), time(11));
    assert_eq!(facts.started_at(), time(10));
}

#[test]
fn a_finding_opens_once_and_escalates_once_per_severity() {
    let mut engine = engine(&[Sort::Events]);
    let findings: Vec<_> =
        (0..30).flat_map(|secs| observe(&mut engine, secs, "s", message())).collect();
    let all = ["3s s Events low 2", "7s s Events medium 4", "11s s Events high 6"];
    assert_eq!(render(&findings), all);
    assert!(findings.iter().all(|it| it.fingerprint == findings[0].fingerprint));
    assert!(findings.iter().skip(1).all(|it| it.id != findings[0].id));
    // The resolved finding has the last count.
    let findings = observe(&mut engine, 30, "s", SESSION_END);
    assert_eq!(render(&findings), ["30s s Events over 15"]);
    assert_eq!(findings[0].message, "over, as the session ended");
}

#[test]
fn a_resolved_condition_opens_again() {
    let mut engine = engine(&[Sort::Silence]);
    observe(&mut engine, 0, "s", message());
    let mut findings = advance(&mut engine, 15);
    findings.extend(observe(&mut engine, 16, "s", message()));
    findings.extend(advance(&mut engine, 33));
    let all = ["14s s Silence low 2", "16s s Silence over 2", "30s s Silence low 2"];
    assert_eq!(render(&findings), all);
}

#[test]
fn the_end_of_an_agent_resolves_what_is_open_in_it() {
    let mut engine = engine(&[Sort::Messages, Sort::Events]);
    let mut findings = Vec::new();
    let in_agent = |secs, kind| Event::new(time(secs), "s", kind).in_agent("a");
    for secs in 0..3 {
        findings.extend(observe_event(&mut engine, &in_agent(secs, message())));
    }
    findings.extend(observe_event(&mut engine, &in_agent(3, EventKind::AgentEnd)));
    // The agent starts again.
    findings.extend(observe_event(&mut engine, &in_agent(4, message())));
    let all = [
        "1s s/a Messages low 2",
        "2s s/a Messages low 3",
        "3s s Events low 2",
        "3s s/a Messages over 2",
        "3s s/a Messages over 3",
    ];
    let mut rendered = render(&findings);
    rendered.sort();
    assert_eq!(rendered, all);
    let findings = observe_event(&mut engine, &in_agent(5, SESSION_END));
    assert!(findings.is_empty(), "a session_end of an agent ends only the agent");
    assert_eq!(render(&observe(&mut engine, 6, "s", SESSION_END)), ["6s s Events over 3"]);
}

#[test]
fn a_less_specific_detector_replaces_a_finding_of_a_lower_severity() {
    let more = NamedDetector {
        id: "more".into(),
        levels: vec![Level::new(4, Severity::Medium)],
        ..named(Sort::Messages)
    };
    let less = NamedDetector {
        id: "less".into(),
        inhibited_by: vec!["more".into()],
        ..named(Sort::Messages)
    };
    let mut engine = Engine::new(vec![less, more], EngineConfig::default());
    let mut findings = Vec::new();
    for secs in 1..=6 {
        findings.extend(observe(&mut engine, secs, "s", message()));
    }
    // Another agent is another matter.
    for secs in 7..=8 {
        let mut event = Event::new(time(secs), "s", message());
        event.agent = Some(AgentId::from("a"));
        findings.extend(observe_event(&mut engine, &event));
    }
    findings.extend(observe(&mut engine, 9, "s", prompt()));
    let rendered = render(&findings);
    assert_eq!(
        rendered,
        [
            "2s s less low 2",
            "4s s more medium 4",
            "6s s less high 6",
            "8s s/a less low 2",
            "9s s less over 6",
        ]
    );
}

#[test]
fn an_open_finding_has_the_action_of_the_lowest_level_of_its_severity() {
    let levels = [
        Level::new(2, Severity::Low).with_action(Action::Observe),
        Level::new(3, Severity::Medium),
        Level::new(4, Severity::Medium).with_action(Action::Nudge),
        Level::new(5, Severity::High).with_action(Action::Stop),
    ];
    // In any order in the policy.
    let levels = levels.into_iter().rev().collect();
    let detector = NamedDetector { levels, ..named(Sort::Messages) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    let mut findings = Vec::new();
    for secs in 1..=6 {
        findings.extend(observe(&mut engine, secs, "s", message()));
    }
    findings.extend(observe(&mut engine, 7, "s", prompt()));
    // Another subject has findings of its own.
    let subject = findings[0].fingerprint;
    findings.retain(|finding| finding.fingerprint == subject);
    let actions: Vec<_> = findings.iter().map(|it| (it.severity, it.status, it.action)).collect();
    assert_eq!(
        actions,
        [
            (Severity::Low, Status::Open, Some(Action::Observe)),
            (Severity::Medium, Status::Open, None),
            (Severity::High, Status::Open, Some(Action::Stop)),
            (Severity::Low, Status::Resolved, None),
        ]
    );
}

#[test]
fn the_detector_that_replaces_a_finding_sets_the_action() {
    let level = |at, action| vec![Level::new(at, Severity::Medium).with_action(action)];
    let more = NamedDetector {
        id: "more".into(),
        levels: level(4, Action::Nudge),
        ..named(Sort::Messages)
    };
    let less = NamedDetector {
        id: "less".into(),
        levels: level(2, Action::Stop),
        inhibited_by: vec!["more".into()],
        ..named(Sort::Messages)
    };
    let mut engine = Engine::new(vec![less, more], EngineConfig::default());
    let findings = (1..=5).flat_map(|secs| observe(&mut engine, secs, "s", message()));
    let actions: Vec<_> = findings.map(|it| (it.detector.to_string(), it.action)).collect();
    let expected =
        [("less".to_owned(), Some(Action::Stop)), ("more".to_owned(), Some(Action::Nudge))];
    assert_eq!(actions, expected);
}

#[test]
fn findings_contain_the_usage_since_they_were_opened() {
    let usage = |tokens| {
        EventKind::ModelCall(ModelCall {
            id: None,
            model: None,
            tokens: Tokens { output: tokens, ..Tokens::default() },
            cost_usd: Some(0.25),
            ..ModelCall::default()
        })
    };
    let rendered = |class: &str| {
        let detector = NamedDetector { class: class.into(), ..named(Sort::Messages) };
        let mut engine = Engine::new(vec![detector], EngineConfig::default());
        let mut findings = Vec::new();
        for secs in 0..4 {
            findings.extend(observe(&mut engine, secs, "s", usage(1_000)));
            findings.extend(observe(&mut engine, secs, "s", message()));
        }
        findings.extend(observe(&mut engine, 4, "s", prompt()));
        findings.into_iter().map(|it| it.message).collect::<Vec<_>>()
    };
    assert_eq!(
        rendered("runaway"),
        [
            "2 of 0",
            "3 of 1",
            "4 of 0; since it was found: 2,000 tokens, $0.50",
            "over; since it was found: 2,000 tokens, $0.50",
            "over; since it was found: 1,000 tokens, $0.25",
        ]
    );
    // Findings about usage contain it anyway.
    assert_eq!(rendered("budget"), ["2 of 0", "3 of 1", "4 of 0", "over", "over"]);
}

#[test]
fn postponed_wake_ups_come_later() {
    let mut engine = engine(&[Sort::Silence, Sort::Team]);
    observe(&mut engine, 0, "old", message());
    observe(&mut engine, 100, "s", start("red"));
    // Due at 7 and 11, at 107 and at 111.
    engine.postpone(time(102), SignedDuration::from_secs(1000));
    let findings = advance(&mut engine, 1106);
    let expected = ["14s old Silence low 2", "28s old Silence medium 4", "40s old Silence over 5"];
    assert_eq!(render(&findings), expected);
    // An event of the time after the jump finds nothing due.
    assert!(observe(&mut engine, 1106, "s", EventKind::TurnEnd).is_empty());
    assert_eq!(engine.n_sessions(), 1);
    assert_eq!(render(&advance(&mut engine, 1130)), ["1117s s Team high 6"]);
}

#[test]
fn findings_of_one_time_are_in_order_of_detectors() {
    let mut engine = engine(&ALL);
    observe(&mut engine, 0, "s", start("red"));
    observe(&mut engine, 1, "s", message());
    observe(&mut engine, 1, "s", message());
    let findings = observe(&mut engine, 1, "s", message());
    let all =
        ["1s s Events low 2", "1s s Fragile medium 4", "1s s Messages low 3", "1s s Team low 2"];
    assert_eq!(render(&findings), all);
}
