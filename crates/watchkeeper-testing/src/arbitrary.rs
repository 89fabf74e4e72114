use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};
use watchkeeper_core::{
    AgentId, Cause, Event, EventKind, Json, ModelCall, SessionStart, Tokens, ToolCall, ToolResult,
    WaitingFor,
};

use crate::SESSION;

/// Whatever agents might do: a few sessions and agents with few distinct
/// tools, arguments and answers, so that much repeats; rounds of calls and
/// answers, and events that no agent would write in that order; text that
/// means harm; clocks that run back.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let who = (select(&[SESSION, SESSION, SESSION, "s2"]), select(AGENTS));
    let piece = (who, piece(), select(GAPS_IN_MILLIS), select(LAGS_IN_MILLIS));
    vec(piece, 0..40).prop_map(|pieces| {
        let mut clock = 0_i64;
        let mut res = Vec::new();
        for ((session, agent), kinds, gap, lag) in pieces {
            for kind in kinds {
                clock += gap;
                let at = SignedDuration::from_millis((clock - lag).max(0));
                let mut event = Event::new(Timestamp::UNIX_EPOCH + at, session, kind);
                event.agent = agent.map(AgentId::from);
                res.push(event);
            }
        }
        res
    })
}

const AGENTS: &[Option<&str>] = &[None, None, None, Some("a1"), Some("a2")];
const TOOLS: &[&str] =
    &["Bash", "Read", "Edit", "BashOutput", "Task", "AskUserQuestion", "x\u{1b}[2J\n`y"];
const IDS: &[&str] = &["c1", "c2", "c3", "c4"];
const GAPS_IN_MILLIS: &[i64] =
    &[0, 1, 250, 1_000, 1_000, 5_000, 5_000, 30_000, 61_000, 300_000, 1_000_000, 7_200_000];
/// How far behind an event's own clock is.
const LAGS_IN_MILLIS: &[i64] = &[0, 0, 0, 0, 0, 0, 0, 1_500, 90_000, 10_000_000];

/// A few events that belong together.
fn piece() -> impl Strategy<Value = Vec<EventKind>> {
    prop_oneof![
        3 => kind().prop_map(|it| vec![it]),
        2 => round(),
        1 => (round(), 2_usize..12)
            .prop_map(|(round, n)| std::iter::repeat_n(round, n).flatten().collect()),
    ]
}

/// Calls, each with its answer.
fn round() -> impl Strategy<Value = Vec<EventKind>> {
    let response = option::of(select(&["r1", "r2"]));
    let exchange = (select(IDS), select(TOOLS), arguments(), response, output());
    vec(exchange, 1..4).prop_map(|exchanges| {
        let mut res = Vec::new();
        for (id, tool, arguments, response, output) in exchanges {
            res.push(call(id, tool, &arguments, response));
            res.push(EventKind::ToolResult(ToolResult::new(id, true, output.map(Into::into))));
        }
        res
    })
}

fn call(id: &str, tool: &str, arguments: &str, response: Option<&str>) -> EventKind {
    let mut res = ToolCall::new(id, tool, Json::parse_or_text(arguments));
    res.response = response.map(Into::into);
    EventKind::ToolCall(res)
}

fn kind() -> impl Strategy<Value = EventKind> {
    let waiting_for = || select(&[WaitingFor::Permission, WaitingFor::Person]);
    prop_oneof![
        4 => (text(), any::<bool>())
            .prop_map(|(text, synthetic)| EventKind::Prompt { text: text.into(), synthetic }),
        2 => (text(), any::<bool>())
            .prop_map(|(text, delta)| EventKind::Message { text: text.into(), delta }),
        1 => text().prop_map(|text| EventKind::Thinking { text: text.into() }),
        4 => model_call().prop_map(EventKind::ModelCall),
        4 => (select(IDS), select(TOOLS), arguments(), option::of(select(&["r1", "r2"])))
            .prop_map(|(id, tool, arguments, response)| call(id, tool, &arguments, response)),
        4 => tool_result().prop_map(EventKind::ToolResult),
        1 => waiting_for().prop_map(EventKind::Waiting),
        1 => waiting_for().prop_map(EventKind::Resumed),
        2 => Just(EventKind::TurnEnd),
        1 => (text(), option::of(0..4_u32))
            .prop_map(|(text, retry)| EventKind::Error { message: text.into(), retry }),
        1 => (option::of(any::<u64>()), option::of(any::<u64>())).prop_map(
            |(before_tokens, after_tokens)| EventKind::Compaction { before_tokens, after_tokens }
        ),
        1 => text().prop_map(|to| EventKind::Handoff { to: to.into() }),
        1 => Just(EventKind::AgentStart),
        1 => Just(EventKind::AgentEnd),
        1 => option::of(text())
            .prop_map(|reason| EventKind::SessionEnd { reason: reason.map(Into::into) }),
        1 => (option::of(text()), option::of(text())).prop_map(|(cwd, model)| {
            EventKind::SessionStart(SessionStart {
                cwd: cwd.map(Into::into),
                model: model.map(Into::into),
                ..SessionStart::default()
            })
        }),
    ]
}

fn model_call() -> impl Strategy<Value = ModelCall> {
    let count = || prop_oneof![4 => 0..100_000_u64, 1 => any::<u64>()];
    let model = option::of(prop_oneof![
        2 => Just("claude-opus-4-5".to_owned()),
        1 => Just("no-such-model".to_owned()),
        1 => text(),
    ]);
    let cost = option::weighted(0.2, 0.0..50.0_f64);
    (option::of(select(IDS)), model, count(), count(), count(), count(), cost).prop_map(
        |(id, model, input, cache_read, cache_write, output, cost_usd)| ModelCall {
            id: id.map(Into::into),
            model: model.map(Into::into),
            tokens: Tokens {
                input,
                cache_read,
                cache_write,
                output,
                reasoning: output / 2,
                cache_write_1h: cache_write / 2,
            },
            cost_usd,
            context_tokens: None,
        },
    )
}

fn tool_result() -> impl Strategy<Value = ToolResult> {
    let cause = option::weighted(
        0.3,
        select(&[Cause::Declined, Cause::Sibling, Cause::Interrupted, Cause::Timeout]),
    );
    (select(IDS), any::<bool>(), cause, option::weighted(0.2, any::<i32>()), output()).prop_map(
        |(id, ok, cause, exit_code, output)| {
            let mut res = ToolResult::new(id, ok, output.map(Into::into));
            res.cause = cause.filter(|_| !ok);
            res.exit_code = exit_code;
            res
        },
    )
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&[r#"{"command":"ls"}"#, r#"{"command":"make"}"#, "[1,2]", "null"])
            .prop_map(ToOwned::to_owned),
        1 => text().prop_map(|it| serde_json::Value::from(it).to_string()),
    ]
}

fn output() -> impl Strategy<Value = Option<String>> {
    option::weighted(0.9, text())
}

fn text() -> impl Strategy<Value = String> {
    let known = select(&[
        "ok",
        "line 12: no such file",
        "line 7: no such file",
        "3 tests failed",
        "",
        "export TOKEN=abcdef",
        "\u{1b}]0;title\u{7}\r\n\u{202e}`",
    ]);
    prop_oneof![
        6 => known.prop_map(ToOwned::to_owned),
        1 => any::<String>(),
        1 => (any::<char>(), 0..6_000_usize).prop_map(|(c, n)| c.to_string().repeat(n)),
    ]
}
