use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{AgentFacts, SessionFacts, StateKind, Usage, agent::MAX_PENDING, responses::Responses};
use crate::{
    Event, EventKind, Json, Labels, ModelCall, Prices, SessionStart, Tokens, ToolCall, ToolClass,
    ToolResult, WaitingFor, event::TurnEffect, interner::Interner,
};

fn time(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
}

/// Returns the facts of an agent after these events, one a second.
fn agent(kinds: impl IntoIterator<Item = EventKind>) -> AgentFacts {
    let mut facts = AgentFacts::default();
    for (at, kind) in (0..).map(time).zip(kinds) {
        facts.observe(&Event::new(at, "s", kind), at, &mut None);
    }
    facts
}

fn prompt(synthetic: bool) -> EventKind {
    EventKind::Prompt { text: "".into(), synthetic }
}

fn message() -> EventKind {
    EventKind::Message { text: "".into(), delta: false }
}

fn call(id: &str, tool: &str) -> EventKind {
    EventKind::ToolCall(ToolCall::new(id, tool, Json::default()))
}

fn result(id: &str) -> EventKind {
    EventKind::ToolResult(ToolResult::new(id, true, None))
}

fn error(retry: Option<u32>) -> EventKind {
    EventKind::Error { message: "".into(), retry }
}

fn tools(facts: &AgentFacts) -> Vec<&str> {
    facts.pending().iter().map(|it| &*it.tool).collect()
}

#[test]
fn a_turn_lasts_from_a_prompt_to_its_end() {
    assert_eq!(agent([message(), prompt(false), message()]).turn(), Some(time(1)));
    assert_eq!(agent([message(), prompt(true), message()]).turn(), Some(time(0)));
    assert_eq!(agent([EventKind::AgentStart { parent: None }, message()]).turn(), Some(time(0)));
    assert_eq!(agent([prompt(false), error(Some(1))]).turn(), Some(time(0)));
    for end in [
        EventKind::TurnEnd,
        EventKind::AgentEnd,
        EventKind::SessionEnd { reason: None },
        error(None),
    ] {
        let facts = agent([prompt(false), call("1", "Bash"), end.clone()]);
        assert_eq!((facts.turn(), tools(&facts)), (None, vec![]), "{end:?}");
        assert_eq!(agent([prompt(false), end, message()]).turn(), Some(time(2)));
    }
    let start = EventKind::SessionStart(SessionStart::default());
    assert_eq!(agent([start]).turn(), None);
}

#[test]
fn calls_are_pending_until_their_results() {
    let facts = agent([call("1", "Read"), call("2", "Bash"), call("3", "Grep"), result("2")]);
    assert_eq!(tools(&facts), ["Read", "Grep"]);
    assert_eq!(facts.pending()[1].at, time(2));
    assert_eq!(tools(&agent([call("1", "Read"), result("x")])), ["Read"]);

    let mut facts = agent([call("1", "Read"), call("2", "Bash")]);
    let mut finish = |id| {
        let mut call = None;
        facts.observe(&Event::new(time(9), "s", result(id)), time(9), &mut call);
        call.map(|it| (it.tool.to_string(), it.at, it.class))
    };
    assert_eq!(finish("1"), Some(("Read".to_owned(), time(0), ToolClass::Read)));
    assert_eq!(finish("1"), None);
    assert_eq!(finish("2"), Some(("Bash".to_owned(), time(1), ToolClass::Run)));
}

#[test]
fn a_late_result_begins_no_turn() {
    let handoff = || EventKind::Handoff { to: "billing".into() };
    let transfer = || call("1", "transfer_to_billing");
    for end in [handoff(), EventKind::TurnEnd] {
        let late = [prompt(false), transfer(), end, result("1")];
        assert_eq!(agent(late).turn(), None);
    }
    // A session may be followed from its middle.
    assert_eq!(agent([result("1")]).turn(), Some(time(0)));
    assert_eq!(agent([prompt(false), handoff(), transfer(), result("1")]).turn(), Some(time(2)));
}

#[test]
fn drops_the_oldest_pending_call_above_the_limit() {
    let ids = (0..100).map(|it| it.to_string());
    let facts = agent(ids.map(|it| call(&it, &it)));
    assert_eq!(facts.pending().len(), MAX_PENDING);
    assert_eq!(&*facts.pending()[0].tool, "36");
}

#[test]
fn parallel_calls_leave_no_capacity() {
    let calls = (0..20).map(|it| call(&it.to_string(), "Read"));
    let results = (0..20).map(|it| result(&it.to_string()));
    assert_eq!(agent(calls.chain(results)).pending_capacity(), 0);
    let one_by_one = (0..20).flat_map(|_| [call("1", "Read"), result("1")]);
    assert_eq!(agent(one_by_one).pending_capacity(), 0);
    let pending = (0..20).flat_map(|_| [call("1", "Read"), result("1")]).chain([call("1", "Read")]);
    assert_eq!(agent(pending).pending_capacity(), 1);
}

#[test]
fn waits_for_a_person_until_the_next_activity() {
    let waiting = EventKind::Waiting(WaitingFor::Permission);
    let facts = agent([prompt(false), waiting.clone()]);
    assert_eq!(facts.waiting(), Some((time(1), WaitingFor::Permission)));
    assert!(facts.waits_for_person() && facts.turn().is_some());
    for next in [
        EventKind::Resumed(WaitingFor::Permission),
        prompt(false),
        message(),
        result("1"),
        EventKind::TurnEnd,
    ] {
        let facts = agent([prompt(false), waiting.clone(), next.clone()]);
        assert!(!facts.waits_for_person(), "{next:?}");
    }
    let ask = [call("1", "AskUserQuestion"), call("2", "Read")];
    assert!(agent(ask.clone()).waits_for_person());
    assert!(!agent(ask.into_iter().chain([result("1")])).waits_for_person());
}

#[test]
fn a_call_is_resumed_from_the_latest_end_of_a_wait() {
    let waiting = || EventKind::Waiting(WaitingFor::Permission);
    let resumed = || EventKind::Resumed(WaitingFor::Permission);
    let (run, ask) = (|| call("1", "Bash"), || call("2", "AskUserQuestion"));
    for (kinds, resumed_at) in [
        (vec![run()], None),
        (vec![run(), waiting()], None),
        (vec![run(), waiting(), resumed()], Some(time(2))),
        (vec![run(), resumed()], Some(time(1))),
        (vec![run(), waiting(), call("3", "Read")], Some(time(2))),
        (vec![run(), ask(), result("2")], Some(time(2))),
        (vec![run(), waiting(), resumed(), waiting()], None),
        (vec![run(), waiting(), resumed(), waiting(), message()], Some(time(4))),
        (vec![run(), waiting(), ask(), result("2")], Some(time(3))),
        (vec![run(), waiting(), result("1")], None),
        (vec![run(), waiting(), resumed(), result("1")], None),
        (vec![run(), waiting(), resumed(), EventKind::TurnEnd], None),
        (vec![waiting(), resumed()], None),
    ] {
        assert_eq!(agent(kinds.clone()).resumed_at(), resumed_at, "{kinds:?}");
    }
}

/// Returns the facts of a session after these events of its main agent, one a second.
fn session(kinds: impl IntoIterator<Item = EventKind>) -> SessionFacts {
    let mut facts = SessionFacts::new("s".into(), time(0), Labels::default());
    for (at, kind) in (0..).map(time).zip(kinds) {
        facts.observe(&Event::new(at, "s", kind), at, &mut Interner::default());
    }
    facts
}

#[test]
fn a_session_keeps_its_first_folder() {
    let start = |cwd: &str, team: &str| {
        EventKind::SessionStart(SessionStart {
            cwd: Some(cwd.into()),
            model: Some("first".into()),
            labels: vec![("team".into(), team.into())],
            ..SessionStart::default()
        })
    };
    let model = |name: &str| {
        EventKind::ModelCall(ModelCall { model: Some(name.into()), ..ModelCall::default() })
    };
    let facts = session([start("/a/", "red"), model("second"), start("/b", "blue")]);
    assert_eq!(facts.cwd.as_deref(), Some("/a"));
    assert_eq!(facts.model.as_deref(), Some("second"));
    assert_eq!(facts.labels["team"], "blue");
    assert_eq!((facts.started_at(), facts.last_event_at()), (time(0), time(2)));
    assert_eq!(session([start("/", "red")]).cwd.as_deref(), Some("/"));
    // The start of a sub-agent does not change the session.
    let mut facts = session([]);
    let event = Event::new(time(1), "s", start("/c", "green")).in_agent("a");
    facts.observe(&event, time(1), &mut Interner::default());
    assert_eq!((facts.cwd, facts.labels.len()), (None, 0));
}

#[test]
fn results_are_counted() {
    let failed = EventKind::ToolResult(ToolResult::new("2", false, None));
    let totals = session([call("1", "Read"), call("2", "Read"), result("1"), failed]).totals;
    let counts = (totals.events, totals.tool_calls, totals.tool_results, totals.failed_results);
    assert_eq!(counts, (4, 2, 2, 1));
}

#[test]
fn counts_stay_at_their_maximum() {
    let mut facts = session([]);
    facts.totals.events = u32::MAX;
    facts.totals.tool_calls = u32::MAX;
    facts.observe(&Event::new(time(1), "s", call("1", "Read")), time(1), &mut Interner::default());
    assert_eq!((facts.totals.events, facts.totals.tool_calls), (u32::MAX, u32::MAX));
}

fn tokens(input: u64, output: u64) -> Tokens {
    Tokens { input, output, ..Tokens::default() }
}

fn model_call(id: Option<&str>, model: Option<&str>, tokens: Tokens) -> ModelCall {
    let (id, model) = (id.map(Into::into), model.map(Into::into));
    ModelCall { id, model, tokens, ..ModelCall::default() }
}

/// Returns the facts of a session after these calls, and the usage of each.
fn charge(calls: &[ModelCall]) -> (SessionFacts, Vec<Usage>) {
    let (mut facts, mut responses) = (session([]), Responses::default());
    let prices = Prices::default();
    let usage = calls
        .iter()
        .map(|it| facts.totals.charge(it, &mut responses, |it| prices.get(it)))
        .collect();
    (facts, usage)
}

#[test]
fn a_repeated_response_counts_once() {
    let opus = Some("claude-opus-5");
    let (facts, usage) = charge(&[
        model_call(Some("a"), opus, tokens(1000, 1)),
        model_call(Some("a"), opus, tokens(1000, 1)),
        model_call(Some("b"), opus, tokens(2000, 5)),
        model_call(Some("a"), opus, tokens(1000, 400)),
        model_call(None, opus, tokens(10, 1)),
        model_call(None, opus, tokens(10, 1)),
    ]);
    let totals = facts.totals;
    assert_eq!((totals.model_calls, totals.tokens), (4, tokens(3020, 407)));
    let cost = (3020.0 * 5.0 + 407.0 * 25.0) / 1e6;
    assert!((totals.cost_usd - cost).abs() < 1e-12, "{}", totals.cost_usd);
    let added: Vec<_> = usage.iter().map(|it| (it.tokens.total(), it.replaces)).collect();
    let all = [(1001, false), (0, true), (2005, false), (399, true), (11, false), (11, false)];
    assert_eq!(added, all);
}

#[test]
fn figures_of_a_response_never_shrink() {
    let (facts, usage) = charge(&[
        model_call(Some("a"), Some("gpt-5"), tokens(100, 50)),
        model_call(Some("a"), None, tokens(0, 60)),
        model_call(Some("a"), Some("gpt-5"), tokens(100, 60)),
    ]);
    assert_eq!((facts.totals.tokens, facts.totals.model_calls), (tokens(100, 60), 1));
    assert_eq!(facts.totals.unpriced_calls, 0);
    assert_eq!(usage[2].tokens.total(), 0);
    let cost = (100.0 * 1.25 + 60.0 * 10.0) / 1e6;
    assert!((facts.totals.cost_usd - cost).abs() < 1e-12, "{}", facts.totals.cost_usd);
}

#[test]
fn a_call_is_unpriced_until_its_price_is_known() {
    let unpriced = |calls: &[ModelCall]| charge(calls).0.totals.unpriced_calls;
    let unknown = model_call(Some("a"), Some("fake"), tokens(1, 1));
    let known = model_call(Some("a"), Some("gpt-5"), tokens(1, 1));
    assert_eq!(unpriced(std::slice::from_ref(&unknown)), 1);
    assert_eq!(unpriced(&[unknown.clone(), unknown.clone()]), 1);
    assert_eq!(unpriced(&[unknown.clone(), known.clone()]), 0);
    assert_eq!(unpriced(&[known.clone(), unknown.clone()]), 0);
    let nameless = model_call(None, None, tokens(1, 1));
    assert_eq!(unpriced(&[nameless.clone(), nameless.clone(), known]), 2);
    let stated = |cost| ModelCall { cost_usd: Some(cost), ..nameless.clone() };
    let (facts, usage) = charge(&[
        stated(0.5),
        stated(f64::NAN),
        stated(f64::INFINITY),
        stated(1e308),
        stated(-1.0),
    ]);
    assert_eq!((usage[0].cost_usd, facts.totals.cost_usd), (Some(0.5), 0.5));
    assert_eq!(facts.totals.unpriced_calls, 4);
}

proptest! {
    #[test]
    fn totals_are_the_highest_figures_of_each_response(
        calls in vec((0..4_usize, 0_u64..100, 0_u64..100), 0..40),
    ) {
        let ids = [Some("a"), Some("b"), None, None];
        // Events of two responses may alternate.
        let list: Vec<_> = calls
            .iter()
            .map(|&(id, input, output)| model_call(ids[id], Some("gpt-5"), tokens(input, output)))
            .collect();
        let (facts, usage) = charge(&list);
        let most = |id: usize| {
            let same = || calls.iter().filter(|it| it.0 == id);
            let input = same().map(|it| it.1).max().unwrap_or(0);
            tokens(input, same().map(|it| it.2).max().unwrap_or(0))
        };
        let nameless = calls.iter().filter(|it| 2 <= it.0).map(|it| tokens(it.1, it.2));
        let expected = nameless.fold(most(0).plus(most(1)), Tokens::plus);
        prop_assert_eq!(facts.totals.tokens, expected);
        let added = usage.iter().map(|it| it.tokens).fold(Tokens::default(), Tokens::plus);
        prop_assert_eq!(added, expected);
        prop_assert_eq!(facts.totals.unpriced_calls, 0);
    }
}

#[test]
fn the_state_is_proven_by_an_event() {
    let ask = || call("1", "AskUserQuestion");
    let run = || call("1", "Bash");
    let resumed = || EventKind::Resumed(WaitingFor::Permission);
    let end = |reason: Option<&str>| EventKind::SessionEnd { reason: reason.map(Into::into) };
    for (events, kind, event) in [
        (vec![prompt(false)], StateKind::WaitingForModel, "prompt"),
        (vec![prompt(false), message()], StateKind::Working, "message"),
        (vec![prompt(false), run()], StateKind::CallPending, "tool_call"),
        (vec![prompt(false), run(), resumed()], StateKind::RunningTool, "tool_call"),
        (vec![prompt(false), run(), result("1")], StateKind::WaitingForModel, "tool_result"),
        (vec![prompt(false), ask()], StateKind::WaitingForPerson, "tool_call"),
        (
            vec![prompt(false), run(), EventKind::Waiting(WaitingFor::Permission)],
            StateKind::WaitingForPermission,
            "waiting",
        ),
        (vec![prompt(false), error(Some(1))], StateKind::Retrying, "prompt"),
        (vec![prompt(false), EventKind::TurnEnd], StateKind::Idle, "turn_end"),
        (vec![prompt(false), end(None)], StateKind::Ended, "session_end"),
        (vec![prompt(false), end(Some(EventKind::PROCESS_GONE))], StateKind::Gone, "session_end"),
    ] {
        let state = agent(events).state();
        let proof = state.proof.map(|proof| proof.event);
        assert_eq!((state.kind, proof), (kind, Some(event)));
    }
    assert_eq!(AgentFacts::default().state().proof, None);
}

#[test]
fn the_effect_of_an_event_on_the_turn_is_that_of_the_facts() {
    let kinds = [
        EventKind::SessionStart(SessionStart::default()),
        prompt(false),
        prompt(true),
        message(),
        EventKind::Thinking { text: "".into() },
        EventKind::ModelCall(ModelCall::default()),
        call("1", "Bash"),
        result("1"),
        EventKind::Waiting(WaitingFor::Person),
        EventKind::Resumed(WaitingFor::Person),
        EventKind::TurnEnd,
        error(None),
        error(Some(1)),
        EventKind::Compaction { before_tokens: None, after_tokens: None },
        EventKind::Handoff { to: "".into() },
        EventKind::AgentStart { parent: None },
        EventKind::AgentEnd,
        EventKind::SessionEnd { reason: None },
    ];
    for kind in kinds {
        let is_open = |before: &[EventKind]| {
            let kinds = before.iter().chain([&kind]).cloned();
            agent(kinds).turn().is_some()
        };
        let expected = match (is_open(&[]), is_open(&[prompt(false)])) {
            (true, true) => TurnEffect::Continues,
            (false, true) => TurnEffect::None,
            (_, false) => TurnEffect::Ends,
        };
        assert_eq!(kind.turn_effect(), expected, "{kind:?}");
    }
}
