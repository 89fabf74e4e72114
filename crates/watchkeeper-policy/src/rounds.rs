use std::ops::Range;

use serde::Deserialize;
use serde_json::Value as Json;
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    AgentId, Event, EventKind, ModelCall, Period, SessionId, Timestamp, Tokens, ToolCall,
    ToolResult,
};

use crate::{Diagnostic, reader::Reader, tree::Value};

/// The most rounds that a test may ask for.
pub(crate) const MAX_ROUNDS: u32 = 100_000;
/// What stands for the number of the round, in any text.
const ROUND: &str = "{n}";

/// The same events, round after round.
#[derive(Clone, Debug)]
pub struct Rounds {
    repeat: u32,
    every: Period,
    events: Vec<Template>,
}

/// An event of every round.
#[derive(Clone, Debug)]
struct Template {
    agent: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Call { tool: String, arguments: Json, answer: Option<Answer>, takes: Option<Period> },
    Prompt(String),
    Message(String),
    ModelCall(ModelCallKeys),
}

#[derive(Clone, Debug)]
struct Answer {
    ok: bool,
    output: Option<String>,
    exit_code: Option<i32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelCallKeys {
    model: Option<String>,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cache_read_tokens: u64,
    #[serde(default)]
    cache_write_tokens: u64,
    cost_usd: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventKeys {
    agent: Option<String>,
    tool: Option<String>,
    arguments: Option<Spanned<Json>>,
    result: Option<Spanned<String>>,
    ok: Option<Spanned<bool>>,
    exit_code: Option<Spanned<i32>>,
    takes: Option<Spanned<Period>>,
    prompt: Option<String>,
    message: Option<String>,
    model_call: Option<ModelCallKeys>,
}

impl Rounds {
    /// The events, in order; the first happens at `start`.
    pub fn events(&self, session: &SessionId, start: Timestamp) -> Vec<Event> {
        let mut res = Vec::new();
        let (mut round_at, mut now) = (start, start);
        for n in 1..=self.repeat {
            // A round that takes longer than it should delays the next.
            now = now.max(round_at);
            for (event_idx, template) in self.events.iter().enumerate() {
                let id = format!("c{n}-{event_idx}");
                template.tell(n, &id, session, &mut now, &mut res);
            }
            round_at = later(round_at, self.every);
        }
        res
    }
}

/// At the end of all time there is no later.
fn later(at: Timestamp, by: Period) -> Timestamp {
    at.checked_add(by.get()).unwrap_or(Timestamp::MAX)
}

impl Template {
    fn tell(
        &self,
        n: u32,
        id: &str,
        session: &SessionId,
        now: &mut Timestamp,
        events: &mut Vec<Event>,
    ) {
        let filled = |text: &str| text.replace(ROUND, &n.to_string());
        let mut tell = |at: Timestamp, kind| {
            let mut event = Event::new(at, session.clone(), kind);
            event.agent = self.agent.as_deref().map(AgentId::from);
            events.push(event);
        };
        match &self.kind {
            Kind::Call { tool, arguments, answer, takes } => {
                let arguments = (&filled_json(arguments, n)).into();
                let call = ToolCall::new(id, filled(tool).as_str(), arguments);
                tell(*now, EventKind::ToolCall(call));
                *now = takes.map_or(*now, |it| later(*now, it));
                if let Some(Answer { ok, output, exit_code }) = answer {
                    let output = output.as_deref().map(|it| filled(it).into());
                    let mut result = ToolResult::new(id, *ok, output);
                    result.exit_code = *exit_code;
                    tell(*now, EventKind::ToolResult(result));
                }
            }
            Kind::Prompt(text) => {
                tell(*now, EventKind::Prompt { text: filled(text).into(), synthetic: false });
            }
            Kind::Message(text) => {
                tell(*now, EventKind::Message { text: filled(text).into(), delta: false });
            }
            Kind::ModelCall(keys) => tell(*now, EventKind::ModelCall(keys.model_call())),
        }
    }
}

impl ModelCallKeys {
    fn model_call(&self) -> ModelCall {
        ModelCall {
            id: None,
            model: self.model.as_deref().map(Into::into),
            tokens: Tokens {
                input: self.input_tokens,
                cache_read: self.cache_read_tokens,
                cache_write: self.cache_write_tokens,
                output: self.output_tokens,
                reasoning: 0,
                cache_write_1h: 0,
            },
            cost_usd: self.cost_usd,
        }
    }
}

/// Puts the number of the round into every text of a value. Parsed TOML is no
/// deeper than recursion may go.
fn filled_json(value: &Json, n: u32) -> Json {
    match value {
        Json::String(it) => it.replace(ROUND, &n.to_string()).into(),
        Json::Array(items) => items.iter().map(|it| filled_json(it, n)).collect(),
        Json::Object(object) => {
            Json::Object(object.iter().map(|(key, it)| (key.clone(), filled_json(it, n))).collect())
        }
        it => it.clone(),
    }
}

impl Reader<'_> {
    /// Reads what a test calls `generate`.
    pub(crate) fn rounds(&mut self, value: Value<'_>) -> Option<Rounds> {
        const KEYS: &[&str] = &["events", "every", "repeat"];
        const EXAMPLE: &str =
            "write `{ repeat = 4, every = \"10s\", events = [{ tool = \"Bash\" }] }`";
        let table = self.table_like(value, EXAMPLE)?;
        let whole = table.span();
        let mut keys = table.into_inner();
        let missing: Vec<&str> =
            KEYS.iter().copied().filter(|it| !keys.contains_key(*it)).collect();
        for it in missing {
            let message = format!("`{it}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let repeat = keys.remove("repeat").and_then(|it| {
            let span = it.span();
            let n = self.read::<u32>(it)?;
            if (1..=MAX_ROUNDS).contains(&n) {
                return Some(n);
            }
            let message = format!("`repeat` is 1 or more, and not more than {MAX_ROUNDS}");
            self.push(Diagnostic::error(span, message));
            None
        });
        let every = self.take(&mut keys, "every");
        let mut events = Vec::new();
        if let Some(value) = keys.remove("events") {
            let span = value.span();
            if let DeValue::Array(items) = value.into_inner() {
                for it in items {
                    let span = it.span();
                    let Some(keys) = self.read::<EventKeys>(it) else { continue };
                    events.extend(self.template(keys, span));
                }
            } else {
                let note = "write `events = [{ tool = \"Bash\" }]`";
                self.push(Diagnostic::error(span, "`events` is not a list").note(note));
            }
        }
        self.refuse_rest(&keys, KEYS);
        Some(Rounds { repeat: repeat?, every: every?, events })
    }

    fn template(&mut self, keys: EventKeys, span: Range<usize>) -> Option<Template> {
        let EventKeys { agent, tool, prompt, message, model_call, .. } = &keys;
        let given = [tool.is_some(), prompt.is_some(), message.is_some(), model_call.is_some()];
        if given.iter().filter(|it| **it).count() != 1 {
            let message =
                "an event has exactly one of `tool`, `prompt`, `message` and `model_call`";
            self.push(Diagnostic::error(span, message));
            return None;
        }
        let agent = agent.clone();
        if let Some(tool) = keys.tool {
            let answer = (keys.result.is_some() || keys.ok.is_some() || keys.exit_code.is_some())
                .then(|| Answer {
                    ok: keys.ok.as_ref().is_none_or(|it| *it.get_ref()),
                    output: keys.result.map(Spanned::into_inner),
                    exit_code: keys.exit_code.map(Spanned::into_inner),
                });
            let arguments = keys.arguments.map_or(Json::Null, Spanned::into_inner);
            let takes = keys.takes.map(Spanned::into_inner);
            return Some(Template { agent, kind: Kind::Call { tool, arguments, answer, takes } });
        }
        let of_calls = [
            ("arguments", keys.arguments.map(|it| it.span())),
            ("result", keys.result.map(|it| it.span())),
            ("ok", keys.ok.map(|it| it.span())),
            ("exit_code", keys.exit_code.map(|it| it.span())),
            ("takes", keys.takes.map(|it| it.span())),
        ];
        for (key, span) in of_calls.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            self.push(Diagnostic::error(span, format!("`{key}` goes with `tool` alone")));
        }
        let kind = match (keys.prompt, keys.message, keys.model_call) {
            (Some(it), _, _) => Kind::Prompt(it),
            (_, Some(it), _) => Kind::Message(it),
            (_, _, it) => Kind::ModelCall(it?),
        };
        Some(Template { agent, kind })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watchkeeper_core::{AgentId, EventKind, Period, Timestamp};

    use super::{Answer, Kind, Rounds, Template};

    fn call(takes: Option<u32>, is_answered: bool) -> Template {
        let answer =
            Answer { ok: false, output: Some("{n} of {n}".to_owned()), exit_code: Some(2) };
        let kind = Kind::Call {
            tool: "Read".to_owned(),
            arguments: json!({ "path": ["{n}.rs", 1] }),
            answer: is_answered.then_some(answer),
            takes: takes.map(Period::from_secs),
        };
        Template { agent: Some("a1".to_owned()), kind }
    }

    /// When each event happens, in seconds, and what it is.
    fn told(events: Vec<Template>) -> Vec<(i64, String)> {
        let rounds = Rounds { repeat: 2, every: Period::from_secs(10), events };
        let events = rounds.events(&"s1".into(), Timestamp::UNIX_EPOCH);
        let shown = events.into_iter().map(|it| {
            assert_eq!(it.agent.as_ref().map(AgentId::as_str), Some("a1"));
            let what = match it.kind {
                EventKind::ToolCall(it) => {
                    format!("{} {} {}", it.id, it.tool, it.arguments.as_str())
                }
                EventKind::ToolResult(it) => {
                    format!("{} {} {:?} {:?}", it.id, it.ok, it.output, it.exit_code)
                }
                it => it.name().to_owned(),
            };
            (it.at.as_second(), what)
        });
        shown.collect()
    }

    #[test]
    fn each_round_has_its_number_and_its_time() {
        let expected = [
            (0, r#"c1-0 Read {"path":["1.rs",1]}"#),
            (3, r#"c1-0 false Some("1 of 1") Some(2)"#),
            (3, r#"c1-1 Read {"path":["1.rs",1]}"#),
            (10, r#"c2-0 Read {"path":["2.rs",1]}"#),
            (13, r#"c2-0 false Some("2 of 2") Some(2)"#),
            (13, r#"c2-1 Read {"path":["2.rs",1]}"#),
        ];
        let expected = expected.map(|(at, what)| (at, what.to_owned()));
        assert_eq!(told(vec![call(Some(3), true), call(None, false)]), expected);
    }

    #[test]
    fn a_long_round_delays_the_next() {
        let times: Vec<i64> = told(vec![call(Some(15), true)]).iter().map(|it| it.0).collect();
        assert_eq!(times, [0, 15, 15, 30]);
    }
}
