//! The events that session handles record.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use serde_json::json;

use super::LONG;
use crate::{
    Cause, Context, Delivery, Detector, Engine, Event, EventKind, Json, Level, Monitor, Severity,
    WaitingFor,
    embed::{EngineConfig, NamedDetector, Running},
};

/// Copies every event into a list.
#[derive(Clone, Debug, Default)]
struct Copier(Arc<Mutex<Vec<Event>>>);

impl Detector for Copier {
    fn observe(&mut self, event: &Event, _: &mut Context<'_>) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// Returns the events that `record` makes.
fn events(record: impl FnOnce(&Running)) -> Vec<Event> {
    let copier = Copier::default();
    let detector = NamedDetector {
        id: "copier".into(),
        kind: "copier".into(),
        class: "test".into(),
        annotations: Arc::default(),
        levels: vec![Level::new(1, Severity::Low)],
        inhibited_by: Vec::new(),
        per: None,
        sessions: crate::SessionFilter::default(),
        options: crate::Fingerprint::NONE,
        detector: Box::new(copier.clone()),
    };
    let engine = Engine::new(vec![detector], EngineConfig::default());
    let delivery = Delivery::to_callback(|_| {});
    let running = Monitor::new(engine, delivery, super::config()).start().unwrap();
    record(&running);
    let stopped = running.stop();
    assert_eq!(stopped.dropped, 0);
    copier.0.lock().unwrap().clone()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.name()).collect()
}

#[test]
fn each_method_records_its_event() {
    let events = events(|running| {
        let session = running.session_builder("s").cwd("/srv").label("team", "payments").start();
        session.prompt("p");
        session.synthetic_prompt("p");
        session.thinking("t");
        session.message_delta("m");
        session.message("m");
        let _ = session.model_call().record();
        session.tool_call("Read", ()).succeed("");
        session.waiting(WaitingFor::Person);
        session.resumed(WaitingFor::Person);
        session.retried_error("overloaded", 1);
        session.error("overloaded");
        session.compaction(9, None);
        session.handoff("other");
        session.agent("helper").end();
        session.turn_end();
        session.end();
    });
    assert_eq!(
        names(&events),
        [
            "session_start",
            "prompt",
            "prompt",
            "thinking",
            "message",
            "message",
            "model_call",
            "tool_call",
            "tool_result",
            "waiting",
            "resumed",
            "error",
            "error",
            "compaction",
            "handoff",
            "agent_start",
            "agent_end",
            "turn_end",
            "session_end",
        ]
    );
    let EventKind::SessionStart(start) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!((start.cwd.as_deref(), start.labels.len()), (Some("/srv"), 1));
    let agents: Vec<_> = events.iter().filter_map(|event| event.agent.clone()).collect();
    assert_eq!(agents, ["helper".into(), "helper".into()]);
}

#[test]
fn a_result_has_the_id_of_its_call() {
    let events = events(|running| {
        let session = running.session("s");
        let first = session.tool_call("Read", json!({ "path": "a" }));
        let second = session.tool_call("Bash", Json::parse_or_text(r#"{"command": "make"}"#));
        second.exit(2, "no rule");
        first.succeed("text");
    });
    let mut calls = Vec::new();
    let mut results = Vec::new();
    for event in events {
        match event.kind {
            EventKind::ToolCall(call) => calls.push(call),
            EventKind::ToolResult(result) => results.push(result),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(calls[0].arguments.as_str(), r#"{"path":"a"}"#);
    assert_eq!(calls[1].arguments.as_str(), r#"{"command": "make"}"#);
    assert_eq!([&results[1].id, &results[0].id], [&calls[0].id, &calls[1].id]);
    assert_ne!(calls[0].id, calls[1].id);
    assert_eq!((results[0].ok, results[0].exit_code), (false, Some(2)));
    assert_eq!((results[1].ok, results[1].output.as_deref()), (true, Some("text")));
}

#[test]
fn dropping_an_unfinished_call_interrupts_it() {
    let events = events(|running| {
        let session = running.session("s");
        drop(session.tool_call("Read", ()));
        session.tool_call("Read", ()).cancel(Cause::Declined);
        let id = session.tool_call("Read", ()).detach();
        assert!(id.starts_with("call-"));
    });
    let causes: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolResult(result) => {
                assert!(!result.failed());
                Some(result.cause)
            }
            _ => None,
        })
        .collect();
    assert_eq!(causes, [Some(Cause::Interrupted), Some(Cause::Declined)]);
}

#[test]
fn the_calls_of_one_response_share_its_id() {
    let events = events(|running| {
        let session = running.session("s");
        let response = session.model_call().id("msg_1").input_tokens(7).cost_usd(0.5).record();
        response.tool_call("Read", json!(["a"])).succeed("");
        response.tool_call("Read", json!(["b"])).succeed("");
        let other = session.model_call().record();
        assert_ne!(response.id(), other.id());
    });
    let EventKind::ModelCall(call) = &events[0].kind else { panic!("{events:?}") };
    assert_eq!((call.tokens.input, call.cost_usd), (7, Some(0.5)));
    for event in &events {
        if let EventKind::ToolCall(call) = &event.kind {
            assert_eq!(call.response.as_deref(), Some("msg_1"));
        }
    }
}

#[test]
fn arguments_that_are_not_json_differ_from_call_to_call() {
    use std::collections::BTreeMap;
    let events = events(|running| {
        let session = running.session("s");
        let arguments = BTreeMap::from([((1, 2), 3)]);
        session.tool_call("Read", &arguments).succeed("");
        session.tool_call("Read", &arguments).succeed("");
    });
    let arguments: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolCall(call) => Some(call.arguments.as_str()),
            _ => None,
        })
        .collect();
    assert_ne!(arguments[0], arguments[1]);
    assert!(arguments[0].contains("are not JSON: key must be a string"), "{arguments:?}");
}

#[test]
fn deferred_events_keep_their_order_and_time() {
    let at = "2025-06-01T12:00:00Z".parse().unwrap();
    let events = events(|running| {
        let agent = running.session("s").started_agent("helper");
        agent.prompt("p");
        agent.record_deferred_at(at, || EventKind::TurnEnd);
        agent.end();
    });
    assert_eq!(names(&events), ["prompt", "turn_end", "agent_end"]);
    assert_eq!(events[1].at, at);
    assert!(events.iter().all(|event| event.agent == Some("helper".into())));
}

#[test]
fn an_event_whose_making_panics_is_dropped_and_counted() {
    let engine = Engine::new(Vec::new(), EngineConfig::default());
    let delivery = Delivery::to_callback(|_| {});
    let running = Monitor::new(engine, delivery, super::config()).start().unwrap();
    let session = running.session("s");
    session.record_deferred(|| std::panic::resume_unwind(Box::new("cannot make")));
    session.turn_end();
    let stopped = running.stop();
    assert_eq!((stopped.recorded, stopped.handled, stopped.dropped), (2, 1, 1));
}

#[test]
fn the_immediate_callback_gets_findings_before_a_blocked_sink_delivers_them() {
    let (release, released) = mpsc::channel::<()>();
    let delivery = Delivery::to_callback(move |_| {
        // Returns when the sender is dropped.
        let _ = released.recv();
    });
    let (sender, findings) = mpsc::channel();
    let monitor = Monitor::new(super::engine(), delivery, super::config());
    let running = monitor
        .with_immediate_callback(move |finding| drop(sender.send(finding.message.clone())))
        .start()
        .unwrap();
    running.session("s").turn_end();
    assert!(running.wait_handled(LONG));
    assert!(running.has_handled_all());
    assert_eq!(findings.try_iter().count(), 1);
    drop(release);
    assert_eq!(running.stop().lost, 0);
}

#[test]
fn an_immediate_callback_that_panics_is_not_called_again() {
    let delivery = Delivery::to_callback(|_| {});
    let n_calls = Arc::new(AtomicU64::new(0));
    let counter = n_calls.clone();
    let monitor = Monitor::new(super::engine(), delivery, super::config());
    let running = monitor
        .with_immediate_callback(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("panicked"));
        })
        .start()
        .unwrap();
    let session = running.session("s");
    session.turn_end();
    session.turn_end();
    let stopped = running.stop();
    assert_eq!((stopped.handled, stopped.delivered), (2, 2));
    assert_eq!(n_calls.load(Ordering::Relaxed), 1);
}
