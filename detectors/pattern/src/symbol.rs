//! Symbols: predicates over the fields of an event.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use watchkeeper_core::{
    Event, EventKind, ModelCall, ToolClass, ToolResult,
    author::{Call, Cause, WaitingFor},
};

use crate::{
    comparison::{Comparison, Operator, count, fits},
    event_name::{EventName, names},
    text::{OneOrMany, Text},
};

/// A predicate over events: all of its fields must match.
#[derive(Clone, Debug)]
pub struct Symbol {
    fields: Fields,
    /// The kinds of events that have all of the fields, as bits.
    events: u16,
}

/// The fields of a symbol in a policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Symbol")]
struct Fields {
    /// The event. Defaults to every event that has the other fields.
    event: Option<OneOrMany<EventName>>,
    /// The tool of a call, or of the call of a result.
    tool: Option<OneOrMany<Text>>,
    /// The class of the tool.
    class: Option<OneOrMany<ToolClass>>,
    /// The arguments of a call, or of the call of a result, by key. A value that
    /// is not a string is matched as JSON text.
    #[serde(default, deserialize_with = "arguments")]
    arguments: Option<Arguments>,
    /// The success of a tool call.
    ok: Option<bool>,
    /// The cause of a result that does not come from the tool.
    cause: Option<OneOrMany<Cause>>,
    /// The exit code of a command.
    exit_code: Option<Comparison>,
    /// The text of a prompt, message, thought or error; the output of a tool.
    text: Option<OneOrMany<Text>>,
    /// True if the harness generated the prompt.
    synthetic: Option<bool>,
    /// The model of a model call, or of the start of a session.
    model: Option<OneOrMany<Text>>,
    /// Input tokens that were neither read from a cache nor written to one.
    input_tokens: Option<Comparison>,
    /// Output tokens, including reasoning.
    output_tokens: Option<Comparison>,
    /// Input tokens that were read from a cache.
    cache_read_tokens: Option<Comparison>,
    /// Input tokens that were written to a cache.
    cache_write_tokens: Option<Comparison>,
    /// Output tokens for reasoning.
    reasoning_tokens: Option<Comparison>,
    /// The recorded cost of a model call, in US dollars.
    cost_usd: Option<Comparison>,
    /// The number of the failed attempt in an error.
    retry: Option<Comparison>,
    /// Tokens in the context before a compaction.
    before_tokens: Option<Comparison>,
    /// Tokens in the context after a compaction.
    after_tokens: Option<Comparison>,
    /// The agent that receives a handoff.
    to: Option<OneOrMany<Text>>,
    /// The reason of a wait, or of a wait that ended.
    r#for: Option<OneOrMany<WaitingFor>>,
}

/// The patterns for arguments, by key.
type Arguments = BTreeMap<String, OneOrMany<Text>>;

fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arguments>, D::Error> {
    return deserializer.deserialize_map(Visitor);

    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<Arguments>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"a table of patterns by argument, such as { command = "git push*" }"#)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Arguments::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
}

impl Symbol {
    /// Returns the kinds of events that may satisfy the symbol, as bits.
    pub(crate) fn events(&self) -> u16 {
        self.events
    }

    /// Returns true if only these kinds of events may satisfy the symbol.
    pub(crate) fn requires(&self, events: u16) -> bool {
        self.events & !events == 0
    }

    /// Returns the keys of the arguments that the symbol uses.
    pub(crate) fn argument_keys(&self) -> impl Iterator<Item = &str> {
        self.fields.arguments.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Returns an upper bound for the memory of the compiled regular expressions, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let Fields { tool, arguments, text, model, to, .. } = &self.fields;
        let fields = [tool, text, model, to].into_iter().flatten();
        let texts = fields.chain(arguments.iter().flat_map(BTreeMap::values));
        texts.flat_map(|texts| &texts.0).map(Text::memory).sum()
    }

    /// Returns true if the arguments of a call match.
    pub(crate) fn fits_arguments(&self, arguments: &BTreeMap<&str, Cow<'_, str>>) -> bool {
        let mut patterns = self.fields.arguments.iter().flatten();
        patterns.all(|(key, texts)| {
            arguments.get(key.as_str()).is_some_and(|value| texts.any(|text| text.matches(value)))
        })
    }

    /// Returns true if all fields except the arguments match.
    pub(crate) fn is_satisfied(&self, event: &Event, call: Option<&Call>) -> bool {
        let Some(name) = EventName::of(&event.kind) else { return false };
        if self.events & name.bit() == 0 {
            return false;
        }
        let fields = &self.fields;
        match &event.kind {
            EventKind::SessionStart(start) => {
                matches(fields.model.as_ref(), start.model.as_deref())
            }
            EventKind::Prompt { text, synthetic } => {
                fields.synthetic.is_none_or(|expected| expected == *synthetic)
                    && matches(fields.text.as_ref(), Some(text))
            }
            EventKind::Message { text, .. } | EventKind::Thinking { text } => {
                matches(fields.text.as_ref(), Some(text))
            }
            EventKind::ModelCall(call) => {
                matches(fields.model.as_ref(), call.model.as_deref()) && fields.fits_usage(call)
            }
            EventKind::ToolCall(call) => {
                matches(fields.tool.as_ref(), Some(&call.tool))
                    && fields.fits_class(Some(call.class))
            }
            EventKind::ToolResult(result) => {
                fields.fits_result(result)
                    && matches(fields.tool.as_ref(), call.map(|call| &*call.tool))
                    && fields.fits_class(call.map(|call| call.class))
                    && matches(fields.text.as_ref(), result.output.as_deref())
            }
            EventKind::Waiting(reason) | EventKind::Resumed(reason) => {
                fields.r#for.as_ref().is_none_or(|reasons| reasons.any(|it| it == reason))
            }
            EventKind::Error { message, retry } => {
                fits(fields.retry, retry.map(f64::from))
                    && matches(fields.text.as_ref(), Some(message))
            }
            EventKind::Compaction { before_tokens, after_tokens } => {
                fits(fields.before_tokens, before_tokens.map(count))
                    && fits(fields.after_tokens, after_tokens.map(count))
            }
            EventKind::Handoff { to } => matches(fields.to.as_ref(), Some(to)),
            _ => true,
        }
    }
}

/// Returns true if a text matches one of the patterns, or if there are none. An
/// unknown text matches no pattern.
fn matches(patterns: Option<&OneOrMany<Text>>, text: Option<&str>) -> bool {
    patterns.is_none_or(|patterns| {
        text.is_some_and(|text| patterns.any(|pattern| pattern.matches(text)))
    })
}

impl Fields {
    fn fits_class(&self, class: Option<ToolClass>) -> bool {
        self.class.as_ref().is_none_or(|classes| {
            class.is_some_and(|class| classes.any(|expected| *expected == class))
        })
    }

    fn fits_result(&self, result: &ToolResult) -> bool {
        let fits_cause = self.cause.as_ref().is_none_or(|causes| {
            result.cause.is_some_and(|cause| causes.any(|expected| *expected == cause))
        });
        self.ok.is_none_or(|expected| expected == result.ok)
            && fits_cause
            && fits(self.exit_code, result.exit_code.map(f64::from))
    }

    fn fits_usage(&self, call: &ModelCall) -> bool {
        let tokens = &call.tokens;
        fits(self.input_tokens, Some(count(tokens.input)))
            && fits(self.output_tokens, Some(count(tokens.output)))
            && fits(self.cache_read_tokens, Some(count(tokens.cache_read)))
            && fits(self.cache_write_tokens, Some(count(tokens.cache_write)))
            && fits(self.reasoning_tokens, Some(count(tokens.reasoning)))
            && fits(self.cost_usd, call.cost_usd)
    }

    /// Returns the comparisons of integers, each with its name.
    fn counts(&self) -> [(&'static str, Option<Comparison>); 8] {
        [
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
            ("cache_read_tokens", self.cache_read_tokens),
            ("cache_write_tokens", self.cache_write_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
            ("retry", self.retry),
            ("before_tokens", self.before_tokens),
            ("after_tokens", self.after_tokens),
        ]
    }

    /// Returns the fields that are set, each with the events that have it.
    fn given(&self) -> Vec<(&'static str, u16)> {
        use EventName as E;
        let tool = E::ToolCall.bit() | E::ToolResult.bit();
        let result = E::ToolResult.bit();
        let model_call = E::ModelCall.bit();
        let text = E::Prompt.bit()
            | E::Message.bit()
            | E::Thinking.bit()
            | E::Error.bit()
            | E::ToolResult.bit();
        let all = [
            ("tool", self.tool.is_some(), tool),
            ("class", self.class.is_some(), tool),
            ("arguments", self.arguments.is_some(), tool),
            ("ok", self.ok.is_some(), result),
            ("cause", self.cause.is_some(), result),
            ("exit_code", self.exit_code.is_some(), result),
            ("text", self.text.is_some(), text),
            ("synthetic", self.synthetic.is_some(), E::Prompt.bit()),
            ("model", self.model.is_some(), model_call | E::SessionStart.bit()),
            ("input_tokens", self.input_tokens.is_some(), model_call),
            ("output_tokens", self.output_tokens.is_some(), model_call),
            ("cache_read_tokens", self.cache_read_tokens.is_some(), model_call),
            ("cache_write_tokens", self.cache_write_tokens.is_some(), model_call),
            ("reasoning_tokens", self.reasoning_tokens.is_some(), model_call),
            ("cost_usd", self.cost_usd.is_some(), model_call),
            ("retry", self.retry.is_some(), E::Error.bit()),
            ("before_tokens", self.before_tokens.is_some(), E::Compaction.bit()),
            ("after_tokens", self.after_tokens.is_some(), E::Compaction.bit()),
            ("to", self.to.is_some(), E::Handoff.bit()),
            ("for", self.r#for.is_some(), E::Waiting.bit() | E::Resumed.bit()),
        ];
        all.into_iter()
            .filter(|(_, is_set, _)| *is_set)
            .map(|(name, _, events)| (name, events))
            .collect()
    }
}

impl TryFrom<Fields> for Symbol {
    type Error = String;

    /// Returns an error if no event can satisfy the symbol.
    fn try_from(fields: Fields) -> Result<Self, String> {
        let given = fields.given();
        let mut events = match &fields.event {
            Some(names) => names.0.iter().fold(0, |bits, name| bits | name.bit()),
            None if given.is_empty() => {
                return Err("the symbol matches every event; set at least `event`".to_owned());
            }
            None => u16::MAX,
        };
        for (field, having) in &given {
            let kept = events & having;
            if fields.event.is_some() && kept != events {
                return Err(format!(
                    "no event satisfies this: `{}` has no `{field}`, which is a field of {}",
                    names(events & !having),
                    names(*having).replace(", ", " and "),
                ));
            }
            if kept == 0 {
                let other = given
                    .iter()
                    .find(|(_, events)| events & having == 0)
                    .map_or("event", |(name, _)| name);
                return Err(format!(
                    "no event satisfies this: no event has both `{other}` and `{field}`"
                ));
            }
            events = kept;
        }
        if fields.arguments.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err("`arguments` is empty; name an argument, or remove the field".to_owned());
        }
        let is_of_success = |causes: &OneOrMany<Cause>| causes.any(|it| *it == Cause::Intercepted);
        if fields.ok == Some(true) && fields.cause.as_ref().is_some_and(|it| !is_of_success(it)) {
            let message = "no event satisfies this: the only `cause` of a successful result is \
                           `intercepted`";
            return Err(message.to_owned());
        }
        let never = |name, comparison| {
            Err(format!("no event satisfies this: `{name}` is never {comparison}"))
        };
        for (name, comparison) in fields.counts() {
            if let Some(comparison) = comparison.filter(|it| !it.holds_for_a_count()) {
                return never(name, comparison);
            }
        }
        if let Some(comparison) = fields.cost_usd.filter(|it| !it.holds_from_0()) {
            return never("cost_usd", comparison);
        }
        if let Some(comparison) = fields.exit_code
            && comparison.operator == Operator::Equal
            && !comparison.is_whole()
        {
            return never("exit_code", comparison);
        }
        Ok(Self { fields, events })
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

impl JsonSchema for Symbol {
    fn schema_name() -> Cow<'static, str> {
        Fields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Fields::json_schema(generator)
    }
}
