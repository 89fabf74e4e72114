//! Bounds of sessions, agents, conditions and memory.

use super::*;
use crate::{engine::EngineTotals, facts::StateKind};

#[test]
fn an_inactive_session_is_dropped() {
    let mut engine = engine(&[Sort::Silence]);
    observe(&mut engine, 0, "s1", message());
    observe(&mut engine, 1, "s2", message());
    observe(&mut engine, 30, "s1", message());
    // However often its detectors wake.
    advance(&mut engine, EXPIRY);
    assert_eq!(engine.n_sessions(), 2);
    advance(&mut engine, EXPIRY + 1);
    assert_eq!(engine.n_sessions(), 1);
    advance(&mut engine, EXPIRY + 30);
    assert_eq!((engine.n_sessions(), engine.next_wakeup()), (0, None));
}

#[test]
fn a_session_that_comes_back_too_late_is_a_new_one() {
    let mut engine = engine(&[Sort::Messages]);
    (0..3).for_each(|secs| drop(observe(&mut engine, secs, "s", message())));
    let findings = observe(&mut engine, 2 + EXPIRY, "s", message());
    let end = |measure: u64| format!("{}s s Messages over {measure}", 2 + EXPIRY);
    assert_eq!(render(&findings), [end(2), end(3)]);
    assert!(findings.iter().all(|finding| !finding.withdrawn), "each process finds them");
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!((facts.started_at(), facts.totals.events), (time(2 + EXPIRY), 1));
}

#[test]
fn a_session_that_has_ended_may_expire_earlier() {
    let config = EngineConfig {
        session_expiry: SignedDuration::from_secs(EXPIRY),
        ended_session_expiry: Some(SignedDuration::from_secs(5)),
        ..EngineConfig::default()
    };
    let mut engine = engine_with(&[Sort::Messages], config);
    let end = || EventKind::SessionEnd { reason: None };
    for id in ["ended", "resumed", "open"] {
        observe(&mut engine, 0, id, message());
    }
    observe(&mut engine, 0, "ended", end());
    observe(&mut engine, 0, "resumed", end());
    observe(&mut engine, 1, "resumed", message());
    advance(&mut engine, 6);
    assert!(engine.session(&SessionId::from("ended")).is_none());
    assert_eq!(engine.n_sessions(), 2);
    advance(&mut engine, EXPIRY + 1);
    assert_eq!(engine.n_sessions(), 0);
}

#[test]
fn drops_inactive_sessions_above_the_limit() {
    let config = EngineConfig { max_sessions: 4, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Silence], config);
    let mut findings = Vec::new();
    for secs in 0..1000 {
        findings.extend(observe(&mut engine, secs, "busy", EventKind::TurnEnd));
        findings.extend(observe(&mut engine, secs, &format!("s{secs}"), message()));
        assert!(engine.n_sessions() <= 4);
        assert!(engine.sessions.n_timers() <= 4 && engine.sessions.n_turns() <= 4);
        assert!(engine.session(&SessionId::from("busy")).is_some());
    }
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages.len(), 10);
    assert_eq!(
        messages[..2],
        [
            "more than 4 sessions at once: 1 forgotten so far",
            "more than 4 sessions at once: 2 forgotten so far",
        ]
    );
    assert!(findings.iter().all(|it| &*it.class == "error"));
}

#[test]
fn watches_at_least_one_session() {
    let config = EngineConfig { max_sessions: 0, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Messages], config);
    assert!(observe(&mut engine, 0, "s", message()).is_empty());
    assert_eq!(render(&observe(&mut engine, 1, "s", message())), ["1s s Messages low 2"]);
    let findings = observe(&mut engine, 2, "t", message());
    assert_eq!(render(&findings[..1]), ["2s s Messages over 2"]);
    assert_eq!((findings.len(), findings[0].withdrawn, &*findings[1].class), (2, true, "error"));
    assert_eq!(engine.n_sessions(), 1);
}

#[test]
fn dropped_sessions_leave_no_timers() {
    let mut engine = engine(&[Sort::Silence]);
    for secs in 0..2000 {
        let id = if secs % 2 == 0 { "again".to_owned() } else { format!("s{secs}") };
        observe(&mut engine, secs, &id, message());
        engine.forget(&SessionId::from(id.as_str()));
        observe(&mut engine, secs, "stays", message());
        advance(&mut engine, secs);
    }
    assert_eq!(engine.n_sessions(), 1);
    assert_eq!(engine.sessions.n_timers(), 1);
    assert!(engine.sessions.n_turns() <= 2 + 64, "{}", engine.sessions.n_turns());
}

#[test]
fn a_session_has_one_timer() {
    let mut engine = engine_with(&[Sort::Silence], EngineConfig::default());
    for turn in 0..1000 {
        observe(&mut engine, 20 * turn, "s", message());
        advance(&mut engine, 20 * turn + 15);
        observe(&mut engine, 20 * turn + 16, "s", EventKind::TurnEnd);
        advance(&mut engine, 20 * turn + 19);
    }
    assert_eq!(engine.sessions.n_timers(), 1);
}

#[test]
fn drops_inactive_agents_above_the_limit() {
    let mut engine = engine(&[Sort::Messages]);
    let say = |engine: &mut Engine, agent: usize| {
        let event = Event::new(time(0), "s", message()).in_agent(format!("a{agent}"));
        observe_event(engine, &event)
    };
    let mut evicted = Vec::new();
    for agent in 0..=MAX_AGENTS {
        say(&mut engine, 0);
        evicted = say(&mut engine, agent);
    }
    assert!(
        evicted.iter().any(|finding| finding.message.contains("sub-agents of one session")),
        "{evicted:?}"
    );
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!((facts.open_turns, facts.running_sub_agents), (256, 256));
    // The first has the latest event each time; the second was dropped.
    let is_own = |finding: &Finding| &*finding.kind != "watchkeeper";
    assert!(!say(&mut engine, 1).iter().any(is_own));
    assert!(say(&mut engine, MAX_AGENTS).iter().any(is_own));
}

#[test]
fn drops_agents_without_an_open_turn_first() {
    let mut engine = engine(&[]);
    let mut observe = |agent: usize, kind| {
        let event = Event::new(time(0), "s", kind).in_agent(format!("a{agent}"));
        observe_event(&mut engine, &event);
    };
    observe(0, message());
    for agent in 1..2 * MAX_AGENTS {
        observe(agent, message());
        observe(agent, EventKind::TurnEnd);
    }
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!((facts.open_turns, facts.running_sub_agents), (1, 1));
}

#[test]
fn drops_the_oldest_condition_above_the_limit() {
    #[derive(Clone, Debug)]
    struct Many(u64);
    impl Detector for Many {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            let report = || Report::new("again");
            match event.kind {
                EventKind::Prompt { .. } => cx.report(Fingerprint::from(0), 6, report),
                _ => cx.report(Fingerprint::from(self.0), 3, report),
            }
            self.0 += 1;
        }
    }
    let detector = NamedDetector { detector: Box::new(Many(0)), ..named(Sort::Messages) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    for secs in 0..MAX_EPISODES {
        let secs = i64::try_from(secs).expect("it is small");
        assert_eq!(observe(&mut engine, secs, "s", message()).len(), 1);
    }
    // The first is still known: it gets worse, and does not open again.
    assert_eq!(render(&observe(&mut engine, 40, "s", prompt())), ["40s s Messages high 6"]);
    assert!(observe(&mut engine, 41, "s", prompt()).is_empty());
    observe(&mut engine, 42, "s", message());
    let findings = observe(&mut engine, 43, "s", SESSION_END);
    let n_resolved = findings.iter().filter(|it| it.status == Status::Resolved).count();
    assert_eq!(n_resolved, MAX_EPISODES);
}

/// The memory of the engine for one session of one agent with six active detectors
/// and two wake-ups, in bytes. Ids, open conditions, pending calls and the states of
/// detectors come in addition.
const MAX_SESSION_BYTES: usize = 840;

#[test]
fn a_session_is_small() {
    // A table is half empty at worst, and a node of a tree as well.
    let index = 2 * (size_of::<(SessionId, Box<Session>)>() + 1)
        + 2 * size_of::<(crate::compact::PackedTimestamp, SessionId)>()
        + size_of::<SessionId>();
    let state = size_of::<Session>() + 6 * size_of::<ActiveDetector>() + 2 * size_of::<Wakeup>();
    println!(
        "session {} (agent {}, streams {}), state {state}, index {index}",
        size_of::<Session>(),
        size_of::<Agent>(),
        size_of::<Streams>(),
    );
    assert!(state <= MAX_SESSION_BYTES, "{state}");
    assert!(index <= 150, "{index}");
}

/// Returns the states of the sessions, each with its number.
fn states(engine: &Engine) -> Vec<(&'static str, u64)> {
    let states = engine.totals().sessions;
    let states = StateKind::ALL.into_iter().map(|state| (state.name(), states.of(state)));
    states.filter(|(_, n)| 0 < *n).collect()
}

#[test]
fn sessions_are_counted_by_state_until_they_are_dropped() {
    let config = EngineConfig { max_sessions: 3, ..EngineConfig::default() };
    let mut engine = Engine::new(Vec::new(), config);
    let mut at = Timestamp::UNIX_EPOCH;
    let mut observe = |engine: &mut Engine, session: &str, agent: Option<&str>, kind| {
        at = at.saturating_add(SignedDuration::from_secs(1)).unwrap();
        let agent = agent.map(AgentId::from);
        engine.observe(
            &Event { at, session: session.into(), agent, origin: None, kind },
            &mut Vec::new(),
        );
    };
    let prompt = || EventKind::Prompt { text: "fix it".into(), synthetic: false };
    let usage = |id: &str, output| {
        let tokens = Tokens { output, ..Tokens::default() };
        let call =
            ModelCall { id: Some(id.into()), tokens, cost_usd: Some(0.5), ..ModelCall::default() };
        EventKind::ModelCall(call)
    };
    observe(&mut engine, "a", None, prompt());
    observe(&mut engine, "b", None, prompt());
    observe(&mut engine, "b", None, usage("r1", 10));
    let message = EventKind::Message { text: "I build it".into(), delta: true };
    observe(&mut engine, "a", None, message);
    assert_eq!(states(&engine), [("working", 1), ("waiting_for_model", 1)]);
    // The same response again.
    observe(&mut engine, "b", None, usage("r1", 30));
    observe(&mut engine, "a", Some("helper"), EventKind::Waiting(WaitingFor::Permission));
    observe(&mut engine, "b", None, EventKind::TurnEnd);
    assert_eq!(states(&engine), [("waiting_for_permission", 1), ("idle", 1)]);
    observe(&mut engine, "b", Some("helper"), prompt());
    assert_eq!(states(&engine), [("waiting_for_model", 1), ("waiting_for_permission", 1)]);
    observe(&mut engine, "b", None, EventKind::SessionEnd { reason: None });
    assert_eq!(states(&engine), [("waiting_for_permission", 1), ("ended", 1)]);
    for session in ["c", "d", "e"] {
        observe(&mut engine, session, None, usage("r1", 100));
        observe(&mut engine, session, None, EventKind::TurnEnd);
    }
    assert_eq!(states(&engine).iter().map(|(_, n)| n).sum::<u64>(), 3);
    engine.forget(&"e".into());
    assert_eq!(engine.n_sessions(), 2);
    assert_eq!(states(&engine).iter().map(|(_, n)| n).sum::<u64>(), 2);
    let EngineTotals { events, tokens, cost_usd, .. } = engine.totals();
    assert_eq!((events, tokens.output, cost_usd), (15, 330, 2.0));
}
