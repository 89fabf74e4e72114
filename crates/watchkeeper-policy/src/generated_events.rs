use std::ops::Range;

use serde::Deserialize;
use serde_json::Value as Json;
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    AgentId, Event, EventKind, ModelCall, SessionId, Timestamp, ToolCall, ToolResult,
    author::{Period, Tokens},
};

use crate::{diagnostic::Diagnostic, reader::Reader, tree::Value};

/// The maximum of `repeat`.
pub(crate) const MAX_REPEAT: u32 = 100_000;
/// The placeholder for the number of the repetition, in any text.
const NUMBER: &str = "{n}";

/// A list of events that a test repeats at a regular interval.
#[derive(Clone, Debug)]
pub struct GeneratedEvents {
    repeat: u32,
    every: Period,
    events: Vec<Template>,
}

/// An event of each repetition.
#[derive(Clone, Debug)]
struct Template {
    agent: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Call { tool: String, arguments: Json, result: Option<CallResult>, takes: Option<Period> },
    Prompt(String),
    Message(String),
    ModelCall(ModelCallKeys),
}

#[derive(Clone, Debug)]
struct CallResult {
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

impl GeneratedEvents {
    /// Returns the events in order of time. The first event is at `start`.
    pub fn events(&self, session: &SessionId, start: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let (mut due, mut now) = (start, start);
        for number in 1..=self.repeat {
            // A repetition that takes longer than `every` delays the next one.
            now = now.max(due);
            for (event_idx, template) in self.events.iter().enumerate() {
                let id = format!("c{number}-{event_idx}");
                template.emit(number, &id, session, &mut now, &mut events);
            }
            due = later(due, self.every);
        }
        events
    }
}

/// Adds a period to a time, up to the latest time that can be represented.
fn later(at: Timestamp, by: Period) -> Timestamp {
    at.checked_add(by.get()).unwrap_or(Timestamp::MAX)
}

impl Template {
    /// Appends the events of one repetition and moves `now` forward.
    fn emit(
        &self,
        number: u32,
        id: &str,
        session: &SessionId,
        now: &mut Timestamp,
        events: &mut Vec<Event>,
    ) {
        let filled = |text: &str| text.replace(NUMBER, &number.to_string());
        let mut push = |at: Timestamp, kind| {
            let mut event = Event::new(at, session.clone(), kind);
            event.agent = self.agent.as_deref().map(AgentId::from);
            events.push(event);
        };
        match &self.kind {
            Kind::Call { tool, arguments, result, takes } => {
                let arguments = (&filled_json(arguments, number)).into();
                let call = ToolCall::new(id, filled(tool).as_str(), arguments);
                push(*now, EventKind::ToolCall(call));
                *now = takes.map_or(*now, |it| later(*now, it));
                if let Some(CallResult { ok, output, exit_code }) = result {
                    let output = output.as_deref().map(|it| filled(it).into());
                    let mut result = ToolResult::new(id, *ok, output);
                    result.exit_code = *exit_code;
                    push(*now, EventKind::ToolResult(result));
                }
            }
            Kind::Prompt(text) => {
                push(*now, EventKind::Prompt { text: filled(text).into(), synthetic: false });
            }
            Kind::Message(text) => {
                push(*now, EventKind::Message { text: filled(text).into(), delta: false });
            }
            Kind::ModelCall(keys) => push(*now, EventKind::ModelCall(keys.model_call())),
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
            ..ModelCall::default()
        }
    }
}

/// Replaces the placeholder in every text of a value. The recursion is bounded,
/// because parsed TOML has a maximum depth.
fn filled_json(value: &Json, number: u32) -> Json {
    match value {
        Json::String(text) => text.replace(NUMBER, &number.to_string()).into(),
        Json::Array(items) => items.iter().map(|it| filled_json(it, number)).collect(),
        Json::Object(object) => {
            let fill = |(key, value): (&String, &Json)| (key.clone(), filled_json(value, number));
            Json::Object(object.iter().map(fill).collect())
        }
        other => other.clone(),
    }
}

impl Reader<'_> {
    /// Reads the value of `generate`.
    pub(crate) fn generated_events(&mut self, value: Value<'_>) -> Option<GeneratedEvents> {
        const KEYS: &[&str] = &["events", "every", "repeat"];
        const EXAMPLE: &str =
            "write `{ repeat = 4, every = \"10s\", events = [{ tool = \"Bash\" }] }`";
        let table = self.table_or_example(value, EXAMPLE)?;
        let whole = table.span();
        let mut keys = table.into_inner();
        let missing: Vec<&str> =
            KEYS.iter().copied().filter(|it| !keys.contains_key(*it)).collect();
        for key in missing {
            let message = format!("`{key}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let repeat = keys.remove("repeat").and_then(|value| {
            let span = value.span();
            let repeat = self.read::<u32>(value)?;
            if (1..=MAX_REPEAT).contains(&repeat) {
                return Some(repeat);
            }
            let message = format!("`repeat` must be between 1 and {MAX_REPEAT}");
            self.push(Diagnostic::error(span, message));
            None
        });
        let every = self.take(&mut keys, "every");
        let mut events = Vec::new();
        if let Some(value) = keys.remove("events") {
            let span = value.span();
            if let DeValue::Array(items) = value.into_inner() {
                for item in items {
                    let span = item.span();
                    let Some(keys) = self.read::<EventKeys>(item) else { continue };
                    events.extend(self.template(keys, span));
                }
            } else {
                let note = "write `events = [{ tool = \"Bash\" }]`";
                self.push(Diagnostic::error(span, "`events` is not a list").note(note));
            }
        }
        self.reject_keys(&keys, KEYS);
        Some(GeneratedEvents { repeat: repeat?, every: every?, events })
    }

    fn template(&mut self, keys: EventKeys, span: Range<usize>) -> Option<Template> {
        let EventKeys { agent, tool, prompt, message, model_call, .. } = &keys;
        let given = [tool.is_some(), prompt.is_some(), message.is_some(), model_call.is_some()];
        if given.iter().filter(|it| **it).count() != 1 {
            let message =
                "an event must have exactly one of `tool`, `prompt`, `message` and `model_call`";
            self.push(Diagnostic::error(span, message));
            return None;
        }
        let agent = agent.clone();
        if let Some(tool) = keys.tool {
            let result = (keys.result.is_some() || keys.ok.is_some() || keys.exit_code.is_some())
                .then(|| CallResult {
                    ok: keys.ok.as_ref().is_none_or(|it| *it.get_ref()),
                    output: keys.result.map(Spanned::into_inner),
                    exit_code: keys.exit_code.map(Spanned::into_inner),
                });
            let arguments = keys.arguments.map_or(Json::Null, Spanned::into_inner);
            let takes = keys.takes.map(Spanned::into_inner);
            return Some(Template { agent, kind: Kind::Call { tool, arguments, result, takes } });
        }
        let call_keys = [
            ("arguments", keys.arguments.map(|it| it.span())),
            ("result", keys.result.map(|it| it.span())),
            ("ok", keys.ok.map(|it| it.span())),
            ("exit_code", keys.exit_code.map(|it| it.span())),
            ("takes", keys.takes.map(|it| it.span())),
        ];
        for (key, span) in call_keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            self.push(Diagnostic::error(span, format!("`{key}` requires `tool`")));
        }
        let kind = match (keys.prompt, keys.message, keys.model_call) {
            (Some(text), _, _) => Kind::Prompt(text),
            (_, Some(text), _) => Kind::Message(text),
            (_, _, model_call) => Kind::ModelCall(model_call?),
        };
        Some(Template { agent, kind })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watchkeeper_core::{AgentId, EventKind, Timestamp, author::Period};

    use super::{CallResult, GeneratedEvents, Kind, Template};

    fn call(takes: Option<u32>, has_result: bool) -> Template {
        let result =
            CallResult { ok: false, output: Some("{n} of {n}".to_owned()), exit_code: Some(2) };
        let kind = Kind::Call {
            tool: "Read".to_owned(),
            arguments: json!({ "path": ["{n}.rs", 1] }),
            result: has_result.then_some(result),
            takes: takes.map(Period::from_secs),
        };
        Template { agent: Some("a1".to_owned()), kind }
    }

    /// Repeats events twice. Returns the time of each event, in seconds, and its content.
    fn repeated(events: Vec<Template>) -> Vec<(i64, String)> {
        let generated = GeneratedEvents { repeat: 2, every: Period::from_secs(10), events };
        let events = generated.events(&"s1".into(), Timestamp::UNIX_EPOCH);
        let described = events.into_iter().map(|event| {
            assert_eq!(event.agent.as_ref().map(AgentId::as_str), Some("a1"));
            let content = match event.kind {
                EventKind::ToolCall(call) => {
                    format!("{} {} {}", call.id, call.tool, call.arguments.as_str())
                }
                EventKind::ToolResult(result) => {
                    let output = result.output;
                    format!("{} {} {output:?} {:?}", result.id, result.ok, result.exit_code)
                }
                other => other.name().to_owned(),
            };
            (event.at.as_second(), content)
        });
        described.collect()
    }

    #[test]
    fn repetitions_are_numbered_and_evenly_spaced() {
        let expected = [
            (0, r#"c1-0 Read {"path":["1.rs",1]}"#),
            (3, r#"c1-0 false Some("1 of 1") Some(2)"#),
            (3, r#"c1-1 Read {"path":["1.rs",1]}"#),
            (10, r#"c2-0 Read {"path":["2.rs",1]}"#),
            (13, r#"c2-0 false Some("2 of 2") Some(2)"#),
            (13, r#"c2-1 Read {"path":["2.rs",1]}"#),
        ];
        let expected = expected.map(|(at, content)| (at, content.to_owned()));
        assert_eq!(repeated(vec![call(Some(3), true), call(None, false)]), expected);
    }

    #[test]
    fn a_long_repetition_delays_the_next() {
        let events = repeated(vec![call(Some(15), true)]);
        let times: Vec<i64> = events.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 15, 15, 30]);
    }
}
