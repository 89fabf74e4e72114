//! Random events.

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*, sample::select};
use watchkeeper_core::{
    AgentId, Event, EventKind, Json, ModelCall, SessionId, ToolCall, ToolResult,
    author::{Cause, SessionStart, Tokens, WaitingFor},
};

use crate::{hostile, trace::SESSION};

/// Generates the events of a few sessions and agents.
///
/// Tools, arguments and results repeat often. Some events are in an order that no
/// agent writes, some texts are hostile, and some clocks run backwards.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    Vocabulary::default().events()
}

/// The words and traces that generated events are built from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vocabulary {
    /// Names of tools.
    pub(crate) tools: Vec<String>,
    /// Arguments of calls: JSON, or plain text.
    pub(crate) arguments: Vec<String>,
    /// Texts of messages, prompts and results, and names of models.
    pub(crate) texts: Vec<String>,
    /// Sequences of events to repeat, disturb and mix with other events.
    pub(crate) traces: Vec<Vec<Event>>,
}

/// One event of a piece, with overrides of the sequence's defaults.
#[derive(Clone, Debug)]
struct Step {
    kind: EventKind,
    gap_in_millis: Option<i64>,
    stream: Option<(SessionId, Option<AgentId>)>,
}

impl From<EventKind> for Step {
    fn from(kind: EventKind) -> Self {
        Self { kind, gap_in_millis: None, stream: None }
    }
}

const AGENTS: &[Option<&str>] = &[None, None, None, Some("a1"), Some("a2")];
const TOOLS: &[&str] =
    &["Bash", "Read", "Edit", "BashOutput", "Task", "AskUserQuestion", "x\u{1b}[2J\n`y"];
const ARGUMENTS: &[&str] = &[r#"{"command":"ls"}"#, r#"{"command":"make"}"#, "[1,2]", "null"];
const TEXTS: &[&str] = &[
    "ok",
    "line 12: no such file",
    "line 7: no such file",
    "3 tests failed",
    "",
    "export TOKEN=abcdef",
    "\u{1b}]0;title\u{7}\r\n\u{202e}`",
];
const MODELS: &[&str] = &["claude-opus-4-5", "no-such-model"];
const IDS: &[&str] = &["c1", "c2", "c3", "c4"];
const GAPS_IN_MILLIS: &[i64] =
    &[0, 1, 250, 1_000, 1_000, 5_000, 5_000, 30_000, 61_000, 300_000, 1_000_000, 7_200_000];
/// Delays of an event's time behind the clock of its sequence.
const LAGS_IN_MILLIS: &[i64] = &[0, 0, 0, 0, 0, 0, 0, 1_500, 90_000, 10_000_000];
/// The number of events after which a repeated trace is cut off.
const MAX_TRACE_EVENTS: usize = 120;

impl Vocabulary {
    /// Generates the events of a few sessions.
    pub(crate) fn events(&self) -> impl Strategy<Value = Vec<Event>> + use<> {
        let stream = (select(&[SESSION, SESSION, SESSION, "s2"]), select(AGENTS));
        let piece = (stream, self.piece(), select(GAPS_IN_MILLIS), select(LAGS_IN_MILLIS));
        let noise = option::weighted(0.3, any::<u64>());
        (vec(piece, 0..24), noise).prop_map(|(pieces, noise)| {
            let mut noise = noise.map(hostile::Noise::new);
            let mut clock = 0_i64;
            let mut events = Vec::new();
            for ((session, agent), steps, gap, lag) in pieces {
                for step in steps {
                    clock += step.gap_in_millis.unwrap_or(gap);
                    let at = SignedDuration::from_millis((clock - lag).max(0));
                    let (session, agent) =
                        step.stream.unwrap_or_else(|| (session.into(), agent.map(AgentId::from)));
                    let mut event = Event::new(Timestamp::UNIX_EPOCH + at, session, step.kind);
                    event.agent = agent;
                    if let Some(noise) = &mut noise {
                        hostile::disturb(&mut event, noise);
                    }
                    events.push(event);
                }
            }
            events
        })
    }

    /// Generates a few events that belong together.
    fn piece(&self) -> BoxedStrategy<Vec<Step>> {
        let steps = |kinds: Vec<EventKind>| kinds.into_iter().map(Step::from).collect::<Vec<_>>();
        let generated = prop_oneof![
            3 => self.kind().prop_map(|kind| vec![kind]),
            2 => self.calls(),
            1 => (self.calls(), 2_usize..12)
                .prop_map(|(calls, n)| std::iter::repeat_n(calls, n).flatten().collect()),
        ]
        .prop_map(steps);
        if self.traces.is_empty() {
            return generated.boxed();
        }
        let n_rounds = prop_oneof![6 => 1_usize..3, 2 => 3_usize..8, 1 => 20_usize..30];
        let noise = option::weighted(0.2, any::<u64>());
        let repeated = (select(self.traces.clone()), n_rounds, noise, any::<bool>(), any::<bool>())
            .prop_map(|(trace, n_rounds, noise, keeps_gaps, keeps_stream)| {
                repeat(&trace, n_rounds, noise, keeps_gaps, keeps_stream)
            });
        prop_oneof![3 => generated, 1 => repeated].boxed()
    }

    /// Generates a few calls, each with its result.
    fn calls(&self) -> impl Strategy<Value = Vec<EventKind>> + use<> {
        let response = option::of(select(&["r1", "r2"]));
        let exchange = (
            select(IDS),
            self.tool(),
            self.arguments(),
            response,
            option::weighted(0.9, self.text()),
        );
        vec(exchange, 1..4).prop_map(|exchanges| {
            let mut kinds = Vec::new();
            for (id, tool, arguments, response, output) in exchanges {
                kinds.push(call(id, &tool, &arguments, response));
                kinds.push(EventKind::ToolResult(ToolResult::new(
                    id,
                    true,
                    output.map(Into::into),
                )));
            }
            kinds
        })
    }

    fn kind(&self) -> impl Strategy<Value = EventKind> + use<> {
        let waiting_for = || select(&[WaitingFor::Permission, WaitingFor::Person]);
        let text = || self.text();
        prop_oneof![
            4 => (text(), any::<bool>())
                .prop_map(|(text, synthetic)| EventKind::Prompt { text: text.into(), synthetic }),
            2 => (text(), any::<bool>())
                .prop_map(|(text, delta)| EventKind::Message { text: text.into(), delta }),
            1 => text().prop_map(|text| EventKind::Thinking { text: text.into() }),
            4 => self.model_call().prop_map(EventKind::ModelCall),
            4 => (select(IDS), self.tool(), self.arguments(), option::of(select(&["r1", "r2"])))
                .prop_map(|(id, tool, arguments, response)| call(id, &tool, &arguments, response)),
            4 => self.tool_result().prop_map(EventKind::ToolResult),
            1 => waiting_for().prop_map(EventKind::Waiting),
            1 => waiting_for().prop_map(EventKind::Resumed),
            2 => Just(EventKind::TurnEnd),
            1 => (text(), option::of(0..4_u32))
                .prop_map(|(text, retry)| EventKind::Error { message: text.into(), retry }),
            1 => (option::of(any::<u64>()), option::of(any::<u64>())).prop_map(
                |(before_tokens, after_tokens)| {
                    EventKind::Compaction { before_tokens, after_tokens }
                }
            ),
            1 => text().prop_map(|to| EventKind::Handoff { to: to.into() }),
            1 => option::of(text()).prop_map(|parent| EventKind::AgentStart {
                parent: parent.map(Into::into),
            }),
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

    fn model_call(&self) -> impl Strategy<Value = ModelCall> + use<> {
        let count = || prop_oneof![4 => 0..100_000_u64, 1 => any::<u64>()];
        let model = option::of(prop_oneof![
            3 => select(MODELS).prop_map(ToOwned::to_owned),
            1 => self.text(),
        ]);
        let tokens = (count(), count(), count(), count());
        let cost = option::weighted(0.2, 0.0..50.0_f64);
        let context = option::weighted(0.2, count());
        (option::of(select(IDS)), model, tokens, cost, context).prop_map(
            |(id, model, (input, cache_read, cache_write, output), cost_usd, context_tokens)| {
                ModelCall {
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
                    context_tokens,
                    ..ModelCall::default()
                }
            },
        )
    }

    fn tool_result(&self) -> impl Strategy<Value = ToolResult> + use<> {
        let cause = option::weighted(
            0.3,
            select(&[
                Cause::Declined,
                Cause::Blocked,
                Cause::Sibling,
                Cause::Interrupted,
                Cause::Timeout,
                Cause::Intercepted,
            ]),
        );
        let output = option::weighted(0.9, self.text());
        (select(IDS), any::<bool>(), cause, option::weighted(0.2, any::<i32>()), output).prop_map(
            |(id, ok, cause, exit_code, output)| {
                let mut result = ToolResult::new(id, ok, output.map(Into::into));
                result.cause = cause.filter(|cause| !ok || *cause == Cause::Intercepted);
                result.exit_code = exit_code;
                result
            },
        )
    }

    fn tool(&self) -> BoxedStrategy<String> {
        prefer(&self.tools, select(TOOLS).prop_map(ToOwned::to_owned))
    }

    fn arguments(&self) -> BoxedStrategy<String> {
        let text = self.text().prop_map(|text| serde_json::Value::from(text).to_string());
        let odd = (0..hostile::ODD_ARGUMENTS.len())
            .prop_map(|idx| hostile::ODD_ARGUMENTS[idx]().to_string());
        let usual = select(ARGUMENTS).prop_map(ToOwned::to_owned);
        prefer(&self.arguments, prop_oneof![8 => usual, 2 => text, 1 => odd])
    }

    fn text(&self) -> BoxedStrategy<String> {
        let usual = prop_oneof![
            6 => select(TEXTS).prop_map(ToOwned::to_owned),
            1 => any::<String>(),
            1 => (any::<char>(), 0..6_000_usize).prop_map(|(c, n)| c.to_string().repeat(n)),
        ];
        prefer(&self.texts, usual)
    }
}

/// Prefers the words of the author to the common words of all detectors.
fn prefer(
    words: &[String],
    usual: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<String> {
    if words.is_empty() {
        return usual.boxed();
    }
    prop_oneof![select(words.to_vec()), usual].boxed()
}

fn call(id: &str, tool: &str, arguments: &str, response: Option<&str>) -> EventKind {
    let mut call = ToolCall::new(id, tool, Json::parse_or_text(arguments));
    call.response = response.map(Into::into);
    EventKind::ToolCall(call)
}

/// Repeats a trace, with hostile text in some places if there is `noise`.
fn repeat(
    trace: &[Event],
    n_rounds: usize,
    noise: Option<u64>,
    keeps_gaps: bool,
    keeps_stream: bool,
) -> Vec<Step> {
    let mut noise = noise.map(hostile::Noise::new);
    let mut steps = Vec::new();
    for round in 0..n_rounds {
        let mut last_at = trace.first().map(|event| event.at);
        for event in trace {
            let mut event = event.clone();
            if 0 < round {
                hostile::renumber(&mut event, round);
            }
            if let Some(noise) = &mut noise {
                hostile::disturb(&mut event, noise);
            }
            let gap = last_at.replace(event.at).map(|last| event.at.duration_since(last));
            let gap = gap.and_then(|gap| i64::try_from(gap.as_millis()).ok());
            steps.push(Step {
                gap_in_millis: gap.map(|gap| gap.max(0)).filter(|_| keeps_gaps),
                stream: keeps_stream.then_some((event.session, event.agent)),
                kind: event.kind,
            });
        }
        if MAX_TRACE_EVENTS < steps.len() {
            break;
        }
    }
    steps.truncate(MAX_TRACE_EVENTS.max(trace.len()));
    steps
}
