//! Sessions that share a label.

use std::sync::Arc;

use super::*;
use crate::{Glob, Labels, session_filter::SessionMatcher};

#[test]
fn sessions_that_share_a_label_share_a_stream() {
    let mut engine = engine(&[Sort::Team]);
    let mut findings = Vec::new();
    findings.extend(observe(&mut engine, 0, "s1", start("red")));
    findings.extend(observe(&mut engine, 1, "s2", start("red")));
    findings.extend(observe(&mut engine, 2, "s3", start("blue")));
    findings.extend(observe(&mut engine, 3, "s4", message()));
    findings.extend(observe(&mut engine, 4, "s1", message()));
    findings.extend(observe(&mut engine, 5, "s2", message()));
    // The end of one session does not end the stream.
    findings.extend(observe(&mut engine, 6, "s2", SESSION_END));
    engine.forget(&SessionId::from("s2"));
    findings.extend(advance(&mut engine, 17));
    let all =
        ["5s s2 Team low 2", "13s s3 Team high 6", "17s s2 Team high 6", "17s s2 Team over 2"];
    assert_eq!(render(&findings), all);
    // Fingerprints and labels depend on the label, not on the session.
    assert_eq!(findings[0].fingerprint, findings[3].fingerprint);
    assert_eq!(findings[0].labels, findings[3].labels);
    assert_eq!(findings[3].labels["team"], "red");
}

#[test]
fn an_update_of_a_shared_episode_names_the_group() {
    let config = EngineConfig { follows_episodes: true, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Team], config);
    for secs in 0..8 {
        observe(&mut engine, secs, if secs % 2 == 0 { "s1" } else { "s2" }, start("red"));
    }
    let updates = engine.take_updates();
    let messages: Vec<_> = updates.iter().map(|it| it.message.as_str()).collect();
    assert!(!messages.is_empty());
    assert!(messages.iter().all(|it| it.ends_with("(team `red`)")), "{messages:?}");
}

#[test]
fn a_wake_up_of_a_label_is_about_the_session_with_the_latest_event() {
    let steps = |look: bool| {
        let event = |secs, id: &str, kind| Step::Event(Event::new(time(secs), id, kind));
        let look = look.then_some(Step::Advance(12));
        [event(0, "s1", start("red"))]
            .into_iter()
            .chain(look)
            .chain([event(20, "s2", start("red"))])
            .collect::<Vec<_>>()
    };
    let findings = run(&steps(false), &[Sort::Team]);
    assert_eq!(render(&findings), ["11s s1 Team high 6"]);
    assert_eq!(findings, run(&steps(true), &[Sort::Team]));
}

#[test]
fn a_session_without_the_label_is_not_monitored() {
    let mut engine = engine(&[Sort::Team]);
    for secs in 0..9 {
        assert_eq!(render(&observe(&mut engine, secs, "s", message())), [""; 0]);
    }
    let id = SessionId::from("s");
    assert_eq!(engine.labels[0].sessions.len(), 0);
    assert!(engine.watching(&id).is_empty());
    // From its label on, the session belongs to the group.
    observe(&mut engine, 10, "s", start("red"));
    observe(&mut engine, 11, "s", message());
    observe(&mut engine, 12, "s", message());
    let findings = observe(&mut engine, 13, "s", message());
    assert_eq!(render(&findings), ["13s s Team low 2"]);
    assert_eq!(engine.watching(&id).len(), 1);
}

#[test]
fn drops_inactive_label_values_above_the_limit() {
    let mut engine = engine_with(&[Sort::Team], EngineConfig::default());
    let n = i64::try_from(SessionsKind::MAX_GROUPS).expect("it is small") + 3;
    let mut findings = Vec::new();
    for secs in 0..n {
        findings.extend(observe(
            &mut engine,
            secs / 1000,
            &format!("s{secs}"),
            start(&format!("{secs}")),
        ));
    }
    assert_eq!(engine.labels[0].sessions.len(), SessionsKind::MAX_GROUPS);
    assert_eq!(engine.labels[0].sessions.n_timers(), SessionsKind::MAX_GROUPS);
    let has_value = |value: &str| engine.labels[0].sessions.get(&SessionId::from(value)).is_some();
    assert!(!has_value("0") && has_value("5"));
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    let rendered =
        |n: u8| format!("more than 4096 values of one label at once: {n} forgotten so far");
    assert_eq!(messages, [rendered(1), rendered(2)]);
    advance(&mut engine, 2 * 24 * 60 * 60);
    assert_eq!(engine.labels[0].sessions.len(), 0);
    assert_eq!(engine.next_wakeup(), None);
}

#[test]
fn a_panic_for_a_label_turns_the_detector_off_for_that_value() {
    let mut detector = named(Sort::Fragile);
    detector.per = Some(Per::Label("team".to_owned()));
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    observe(&mut engine, 0, "s1", start("red"));
    let findings = observe(&mut engine, 1, "s2", start("red"));
    assert_eq!(render(&findings), ["1s s2 Fragile low 2"]);
    let findings = observe(&mut engine, 2, "s1", COMPACTION);
    assert_eq!(
        findings[0].message,
        "detector `Fragile` panicked and is off for team `red`: `it broke`"
    );
    assert!(observe(&mut engine, 3, "s2", message()).is_empty());
    assert!(observe(&mut engine, 3, "s3", start("blue")).is_empty());
    assert_eq!(render(&observe(&mut engine, 4, "s3", message())), ["4s s3 Fragile low 2"]);
}

/// Returns the start of a session in a folder.
fn start_in(cwd: &str) -> EventKind {
    EventKind::SessionStart(SessionStart { cwd: Some(cwd.into()), ..SessionStart::default() })
}

/// Returns a model call.
fn call_of(model: &str) -> EventKind {
    EventKind::ModelCall(ModelCall { model: Some(model.into()), ..ModelCall::default() })
}

/// Returns a rule that sets the label `team`.
fn rule(matcher: SessionMatcher, team: &str) -> LabelRule {
    LabelRule::new(matcher, [("team".to_owned(), team.to_owned())].into())
}

fn in_folder(pattern: &str) -> SessionMatcher {
    SessionMatcher { cwd: vec![Glob::new(pattern)], ..SessionMatcher::default() }
}

fn of_model(pattern: &str) -> SessionMatcher {
    SessionMatcher { model: vec![Glob::new(pattern)], ..SessionMatcher::default() }
}

#[test]
fn rules_label_the_sessions_that_match() {
    let label_rules = vec![
        rule(in_folder("*/pay*"), "payments"),
        rule(in_folder("*/payroll"), "payroll"),
        rule(of_model("opus*"), "research"),
    ];
    let labels: Labels = Arc::new([("team".to_owned(), "other".to_owned())].into());
    let config = || EngineConfig {
        labels: labels.clone(),
        label_rules: label_rules.clone(),
        ..EngineConfig::default()
    };
    let own = |team: &str| {
        EventKind::SessionStart(SessionStart {
            cwd: Some("/srv/payroll".into()),
            labels: vec![("team".into(), team.into())],
            ..SessionStart::default()
        })
    };
    for (events, expected) in [
        (vec![start_in("/srv/search")], "other"),
        (vec![start_in("/srv/pay")], "payments"),
        (vec![start_in("/srv/payroll")], "payroll"),
        // The folder and the model are known later.
        (vec![message(), start_in("/srv/pay")], "payments"),
        (vec![start_in("/srv/pay"), call_of("opus-4")], "research"),
        (vec![start_in("/srv/pay"), call_of("haiku"), call_of("opus-4")], "payments"),
        (vec![own("own")], "own"),
        (vec![own("own"), call_of("opus-4")], "own"),
        // The value of the session is also the value of a rule.
        (vec![own("payroll"), call_of("opus-4")], "payroll"),
    ] {
        let mut engine = Engine::new(Vec::new(), config());
        for kind in events.clone() {
            observe(&mut engine, 0, "s", kind);
        }
        let facts = engine.session(&SessionId::from("s")).expect("the session is watched");
        assert_eq!(facts.labels["team"], expected, "{events:?}");
    }
}

#[test]
fn a_label_of_a_rule_adds_a_session_to_the_group() {
    let label_rules = vec![rule(of_model("opus*"), "research")];
    let config = EngineConfig { label_rules, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Team], config);
    observe(&mut engine, 0, "s1", message());
    observe(&mut engine, 1, "s1", call_of("opus-4"));
    observe(&mut engine, 2, "s2", call_of("opus-4"));
    observe(&mut engine, 3, "s1", message());
    let findings = observe(&mut engine, 4, "s2", message());
    assert_eq!(render(&findings), ["4s s2 Team low 2"]);
    assert_eq!(findings[0].labels["team"], "research");
}

#[test]
fn sessions_of_a_folder_or_a_model_share_a_stream() {
    for (per, group) in [(Per::Cwd, "folder `/srv/pay`"), (Per::Model, "model `opus-4`")] {
        let detector = NamedDetector { per: Some(per), ..named(Sort::Team) };
        let mut engine = Engine::new(vec![detector], EngineConfig::default());
        for (session, cwd, model) in [("s1", "/srv/pay", "opus-4"), ("s3", "/srv/search", "haiku")]
        {
            observe(&mut engine, 0, session, start_in(cwd));
            observe(&mut engine, 0, session, call_of(model));
            let findings = observe(&mut engine, 0, session, call_of(model));
            assert!(findings.is_empty(), "{findings:?}");
        }
        let mut findings = observe(&mut engine, 1, "s2", start_in("/srv/pay"));
        findings.extend(observe(&mut engine, 1, "s2", call_of("opus-4")));
        findings.extend(observe(&mut engine, 1, "s2", call_of("opus-4")));
        assert_eq!(render(&findings), ["1s s2 Team low 2"], "{group}");
        assert!(findings[0].message.ends_with(&format!(" ({group})")), "{findings:?}");
    }
}

#[test]
fn a_group_of_a_budget_is_kept_until_its_detector_is_idle() {
    const DAY: i64 = 24 * 60 * 60;
    for (class, is_kept) in [("budget", true), ("runaway", false)] {
        for looks in [false, true] {
            let per = Some(Per::Label("team".to_owned()));
            let detector = NamedDetector { per, class: class.into(), ..named(Sort::Fragile) };
            let mut engine = Engine::new(vec![detector], EngineConfig::default());
            observe(&mut engine, 0, "s1", start("red"));
            if looks {
                advance(&mut engine, 9 * DAY);
            }
            let findings = observe(&mut engine, 10 * DAY, "s2", start("red"));
            assert_eq!(!findings.is_empty(), is_kept, "{class} {looks} {findings:?}");
        }
    }
}
