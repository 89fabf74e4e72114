//! Sessions that share a label.

use super::*;

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
    let all = [
        "5s s2 Team low 2",
        "13s s3 Team high 6",
        "14s s4 Team high 6",
        "17s s2 Team high 6",
        "17s s2 Team over 2",
    ];
    assert_eq!(render(&findings), all);
    // Fingerprints and labels depend on the label, not on the session.
    assert_eq!(findings[0].fingerprint, findings[4].fingerprint);
    assert_eq!(findings[0].labels, findings[4].labels);
    assert_eq!(findings[4].labels["team"], "red");
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
fn a_label_after_the_first_event_makes_no_second_stream() {
    let mut engine = engine(&[Sort::Team]);
    observe(&mut engine, 0, "s", message());
    observe(&mut engine, 1, "s", start("red"));
    observe(&mut engine, 2, "s", message());
    let findings = observe(&mut engine, 3, "s", message());
    assert_eq!(render(&findings), ["3s s Team low 2"]);
    assert_eq!(engine.labels[0].sessions.len(), 0);
}

#[test]
fn drops_inactive_label_values_above_the_limit() {
    let mut engine = engine_with(&[Sort::Team], EngineConfig::default());
    let n = i64::try_from(SessionsKind::MAX_LABEL_VALUES).expect("it is small") + 3;
    let mut findings = Vec::new();
    for secs in 0..n {
        findings.extend(observe(
            &mut engine,
            secs / 1000,
            &format!("s{secs}"),
            start(&format!("{secs}")),
        ));
    }
    assert_eq!(engine.labels[0].sessions.len(), SessionsKind::MAX_LABEL_VALUES);
    assert_eq!(engine.labels[0].sessions.n_timers(), SessionsKind::MAX_LABEL_VALUES);
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
    detector.per_label = Some("team".to_owned());
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    observe(&mut engine, 0, "s1", start("red"));
    let findings = observe(&mut engine, 1, "s2", start("red"));
    assert_eq!(render(&findings), ["1s s2 Fragile low 2"]);
    let findings = observe(&mut engine, 2, "s1", COMPACTION);
    assert_eq!(
        findings[0].message,
        "detector `Fragile` panicked and is off where the label `team` is `red`: `it broke`"
    );
    assert!(observe(&mut engine, 3, "s2", message()).is_empty());
    assert!(observe(&mut engine, 3, "s3", start("blue")).is_empty());
    assert_eq!(render(&observe(&mut engine, 4, "s3", message())), ["4s s3 Fragile low 2"]);
}
