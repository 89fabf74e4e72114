//! What a symbol stands for: predicates over the fields of an event.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use regex::bytes::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer as _, value::MapAccessDeserializer},
};
use watchkeeper_core::{
    Call, Cause, Event, EventKind, Glob, ModelCall, ToolClass, ToolResult, WaitingFor,
};

/// The longest regular expression, in bytes.
const MAX_REGEX_LEN: usize = 1024;
/// What a regular expression may take once it is compiled, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 18;
/// How deep a regular expression may nest.
const MAX_REGEX_DEPTH: u32 = 64;

/// The events that satisfy a symbol: those of which all of this holds.
#[derive(Clone, Debug)]
pub struct Symbol {
    fields: Fields,
    /// The kinds of events that have all of the fields, as bits.
    events: u16,
}

/// What a policy says of a symbol.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Symbol")]
struct Fields {
    /// The event; without it, every event that has the fields below.
    event: Option<OneOrMany<EventName>>,
    /// The tool of a call, or of the call that a result answers.
    tool: Option<OneOrMany<Text>>,
    /// What the tool does to the world.
    class: Option<OneOrMany<ToolClass>>,
    /// The arguments of a call, or of the call that a result answers, by key.
    /// What is no text is matched as its JSON is written.
    #[serde(default, deserialize_with = "arguments")]
    arguments: Option<Arguments>,
    /// Whether the tool did what it was asked.
    ok: Option<bool>,
    /// Why a result is not the tool's own answer.
    cause: Option<OneOrMany<Cause>>,
    /// The exit code of a command.
    exit_code: Option<Comparison>,
    /// The text of a prompt, message, thought or error; the output of a tool.
    text: Option<OneOrMany<Text>>,
    /// Whether the harness made the prompt, and not a person.
    synthetic: Option<bool>,
    /// The model of an answer, or that a session begins with.
    model: Option<OneOrMany<Text>>,
    /// What a model read, and not from a cache.
    input_tokens: Option<Comparison>,
    /// What a model wrote.
    output_tokens: Option<Comparison>,
    /// What a model read from a cache.
    cache_read_tokens: Option<Comparison>,
    /// What a model read, and wrote to a cache.
    cache_write_tokens: Option<Comparison>,
    /// What of its output was reasoning.
    reasoning_tokens: Option<Comparison>,
    /// What an answer cost, where its source says so.
    cost_usd: Option<Comparison>,
    /// Which attempt an error was.
    retry: Option<Comparison>,
    /// What was in the context before it was compacted.
    before_tokens: Option<Comparison>,
    /// What was in the context after it was compacted.
    after_tokens: Option<Comparison>,
    /// Whom work was handed to.
    to: Option<OneOrMany<Text>>,
    /// What an agent waits for, or no longer waits for.
    r#for: Option<OneOrMany<WaitingFor>>,
}

/// The arguments of a call that matter, by key.
type Arguments = BTreeMap<String, OneOrMany<Text>>;

fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arguments>, D::Error> {
    return deserializer.deserialize_map(Visitor);

    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<Arguments>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(r#"texts by the keys of arguments, such as { command = "git push*" }"#)
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Arguments::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
}

impl Symbol {
    /// The kinds of events that may satisfy it, as bits.
    pub(crate) fn events(&self) -> u16 {
        self.events
    }

    /// The keys of arguments that it looks at.
    pub(crate) fn argument_keys(&self) -> impl Iterator<Item = &str> {
        self.fields.arguments.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// Whether the arguments of a call are those it asks for.
    pub(crate) fn fits_arguments(&self, arguments: &BTreeMap<&str, Cow<'_, str>>) -> bool {
        let asked = self.fields.arguments.iter().flatten();
        asked.into_iter().all(|(key, texts)| {
            arguments.get(key.as_str()).is_some_and(|it| texts.any(|text| text.matches(it)))
        })
    }

    /// Whether an event satisfies it, but for the arguments of its call.
    pub(crate) fn is_satisfied(&self, event: &Event, call: Option<&Call>) -> bool {
        let Some(name) = EventName::of(&event.kind) else { return false };
        if self.events & name.bit() == 0 {
            return false;
        }
        let it = &self.fields;
        let text = |asked: &Option<OneOrMany<Text>>, text: Option<&str>| {
            asked.as_ref().is_none_or(|it| text.is_some_and(|text| it.any(|it| it.matches(text))))
        };
        match &event.kind {
            EventKind::SessionStart(start) => text(&it.model, start.model.as_deref()),
            EventKind::Prompt { text: said, synthetic } => {
                it.synthetic.is_none_or(|it| it == *synthetic) && text(&it.text, Some(said))
            }
            EventKind::Message { text: said, .. } | EventKind::Thinking { text: said } => {
                text(&it.text, Some(said))
            }
            EventKind::ModelCall(call) => {
                text(&it.model, call.model.as_deref()) && it.fits_usage(call)
            }
            EventKind::ToolCall(call) => {
                text(&it.tool, Some(&call.tool)) && it.fits_class(Some(call.class))
            }
            EventKind::ToolResult(result) => {
                it.fits_result(result)
                    && text(&it.tool, call.map(|it| &*it.tool))
                    && it.fits_class(call.map(|it| it.class))
                    && text(&it.text, result.output.as_deref())
            }
            EventKind::Waiting(what) | EventKind::Resumed(what) => {
                it.r#for.as_ref().is_none_or(|it| it.any(|it| it == what))
            }
            EventKind::Error { message, retry } => {
                fits(it.retry, retry.map(f64::from)) && text(&it.text, Some(message))
            }
            EventKind::Compaction { before_tokens, after_tokens } => {
                fits(it.before_tokens, before_tokens.map(count))
                    && fits(it.after_tokens, after_tokens.map(count))
            }
            EventKind::Handoff { to } => text(&it.to, Some(to)),
            _ => true,
        }
    }
}

impl Fields {
    fn fits_class(&self, class: Option<ToolClass>) -> bool {
        self.class.as_ref().is_none_or(|it| class.is_some_and(|class| it.any(|it| *it == class)))
    }

    fn fits_result(&self, result: &ToolResult) -> bool {
        let cause = self.cause.as_ref();
        self.ok.is_none_or(|it| it == result.ok)
            && cause.is_none_or(|it| result.cause.is_some_and(|cause| it.any(|it| *it == cause)))
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

    /// The counts that it compares, each with its name.
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

    /// The fields that are given, each with the events that have it.
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
        all.into_iter().filter(|it| it.1).map(|(name, _, events)| (name, events)).collect()
    }
}

impl TryFrom<Fields> for Symbol {
    type Error = String;

    /// Refuses what no event can satisfy.
    fn try_from(fields: Fields) -> Result<Self, String> {
        let given = fields.given();
        let mut events = match &fields.event {
            Some(names) => names.0.iter().fold(0, |bits, it| bits | it.bit()),
            None if given.is_empty() => {
                return Err("this symbol would be every event; name at least an `event`".to_owned());
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
                let other = given.iter().find(|it| it.1 & having == 0).map_or("event", |it| it.0);
                return Err(format!(
                    "no event satisfies this: none has both `{other}` and `{field}`"
                ));
            }
            events = kept;
        }
        if fields.arguments.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err("`arguments` names no key; name one, or leave it out".to_owned());
        }
        if fields.ok == Some(true) && fields.cause.is_some() {
            return Err("no event satisfies this: a result that is ok has no `cause`".to_owned());
        }
        for (name, comparison) in fields.counts() {
            if let Some(it) = comparison.filter(|it| !it.holds_for_a_count()) {
                return Err(format!("no event satisfies this: `{name}` is never {it}"));
            }
        }
        if let Some(it) = fields.cost_usd.filter(|it| !it.holds_from_0()) {
            return Err(format!("no event satisfies this: `cost_usd` is never {it}"));
        }
        if let Some(it) = fields.exit_code.filter(|it| it.operator == Operator::Equal)
            && !it.is_whole()
        {
            return Err(format!("no event satisfies this: `exit_code` is never {it}"));
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

/// What a policy calls an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventName {
    SessionStart,
    Prompt,
    Message,
    Thinking,
    ModelCall,
    ToolCall,
    ToolResult,
    Waiting,
    Resumed,
    TurnEnd,
    Error,
    Compaction,
    Handoff,
    AgentStart,
    AgentEnd,
    SessionEnd,
}

impl EventName {
    pub(crate) const ALL: [(&'static str, Self); 16] = [
        ("session_start", Self::SessionStart),
        ("prompt", Self::Prompt),
        ("message", Self::Message),
        ("thinking", Self::Thinking),
        ("model_call", Self::ModelCall),
        ("tool_call", Self::ToolCall),
        ("tool_result", Self::ToolResult),
        ("waiting", Self::Waiting),
        ("resumed", Self::Resumed),
        ("turn_end", Self::TurnEnd),
        ("error", Self::Error),
        ("compaction", Self::Compaction),
        ("handoff", Self::Handoff),
        ("agent_start", Self::AgentStart),
        ("agent_end", Self::AgentEnd),
        ("session_end", Self::SessionEnd),
    ];

    /// The name of an event; `None` for one that has come since.
    pub(crate) fn of(kind: &EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::SessionStart(_) => Self::SessionStart,
            EventKind::Prompt { .. } => Self::Prompt,
            EventKind::Message { .. } => Self::Message,
            EventKind::Thinking { .. } => Self::Thinking,
            EventKind::ModelCall(_) => Self::ModelCall,
            EventKind::ToolCall(_) => Self::ToolCall,
            EventKind::ToolResult(_) => Self::ToolResult,
            EventKind::Waiting(_) => Self::Waiting,
            EventKind::Resumed(_) => Self::Resumed,
            EventKind::TurnEnd => Self::TurnEnd,
            EventKind::Error { .. } => Self::Error,
            EventKind::Compaction { .. } => Self::Compaction,
            EventKind::Handoff { .. } => Self::Handoff,
            EventKind::AgentStart => Self::AgentStart,
            EventKind::AgentEnd => Self::AgentEnd,
            EventKind::SessionEnd { .. } => Self::SessionEnd,
            _ => return None,
        })
    }

    pub(crate) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

fn names(events: u16) -> String {
    let names = EventName::ALL.iter().filter(|it| events & it.1.bit() != 0).map(|it| it.0);
    names.collect::<Vec<_>>().join(", ")
}

/// A pattern for text.
#[derive(Clone, Debug)]
enum Text {
    /// For the whole of it.
    Glob(Glob),
    /// For any part of it.
    Regex(Regex),
}

impl Text {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(it) => it.matches(text),
            Self::Regex(it) => it.is_match(text.as_bytes()),
        }
    }

    fn regex(text: &str) -> Result<Self, String> {
        if MAX_REGEX_LEN < text.len() {
            return Err(format!(
                "the regular expression has {} bytes, and {MAX_REGEX_LEN} are the most; make two \
                 of it, or use a glob",
                text.len()
            ));
        }
        // Agents write what is searched: bytes are faster, and need no tables.
        let built = RegexBuilder::new(text)
            .unicode(false)
            .nest_limit(MAX_REGEX_DEPTH)
            .size_limit(MAX_REGEX_SIZE)
            .dfa_size_limit(MAX_REGEX_SIZE)
            .build();
        built.map(Self::Regex).map_err(|err| match err {
            regex::Error::CompiledTooBig(_) => format!(
                "the regular expression takes more than {} KiB; repeat less in it",
                MAX_REGEX_SIZE / 1024
            ),
            err => {
                let said = err.to_string();
                let said = said.lines().last().unwrap_or_default();
                let said = said.trim_start_matches("error: ");
                format!("`{text}` is no regular expression: {said}; mend it, or write a glob")
            }
        })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_any(Visitor);

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            regex: String,
        }

        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a glob such as "git push*", or { regex = "…" }"#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::Glob(Glob::new(text)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Text::regex(&table.regex).map_err(de::Error::custom)
            }
        }
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A glob for the whole of a text, or a regular expression for any part of it.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "regex": { "type": "string", "maxLength": MAX_REGEX_LEN } },
                    "required": ["regex"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// One of something, or a list of which any will do.
#[derive(Clone, Debug)]
struct OneOrMany<T>(Vec<T>);

impl<T> OneOrMany<T> {
    fn any(&self, is: impl Fn(&T) -> bool) -> bool {
        self.0.iter().any(is)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_any(Visitor(PhantomData));

        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of which any will do")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(text.into_deserializer()).map(|it| OneOrMany(vec![it]))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|it| OneOrMany(vec![it]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<OneOrMany<T>, A::Error> {
                let mut res = Vec::new();
                while let Some(it) = seq.next_element()? {
                    res.push(it);
                }
                if res.is_empty() {
                    let message =
                        "an empty list is satisfied by nothing; name something, or leave it out";
                    return Err(de::Error::custom(message));
                }
                Ok(OneOrMany(res))
            }
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// What a number is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Comparison {
    operator: Operator,
    number: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Operator {
    /// As they are written; of two of which one begins like the other, the
    /// longer first.
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::More),
    ];
}

/// Counts beyond 2^53 are compared to within one in 2^53.
#[expect(clippy::cast_precision_loss, reason = "no comparison is that close")]
fn count(it: u64) -> f64 {
    it as f64
}

/// Whether a number is as asked. One that is not known is not.
fn fits(asked: Option<Comparison>, number: Option<f64>) -> bool {
    asked.is_none_or(|it| number.is_some_and(|number| it.holds(number)))
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "whoever asks for an equal number means it")]
    fn holds(self, number: f64) -> bool {
        let Self { operator, number: than } = self;
        number.is_finite()
            && match operator {
                Operator::Equal => number == than,
                Operator::NotEqual => number != than,
                Operator::Less => number < than,
                Operator::AtMost => number <= than,
                Operator::More => than < number,
                Operator::AtLeast => than <= number,
            }
    }

    /// Whether it holds for any number from 0 on.
    fn holds_from_0(self) -> bool {
        self.holds(0.0) || self.holds(self.number.max(0.0)) || self.holds(f64::MAX)
    }

    /// Whether it holds for any whole number from 0 on.
    fn holds_for_a_count(self) -> bool {
        self.holds_from_0() && (self.operator != Operator::Equal || self.is_whole())
    }

    fn is_whole(self) -> bool {
        self.number.fract() == 0.0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, number } = self;
        let operator = Operator::ALL.iter().find(|it| it.1 == *operator).map_or("", |it| it.0);
        write!(f, "`{operator} {number}`")
    }
}

impl<'de> Deserialize<'de> for Comparison {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_any(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Comparison;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a number, or a comparison with one such as ">= 100" or "!= 0""#)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Comparison, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Comparison, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Comparison, E> {
                let trimmed = text.trim();
                let found = Operator::ALL.iter().find_map(|(sign, operator)| {
                    trimmed.strip_prefix(sign).map(|rest| (*operator, rest))
                });
                let (operator, number) = found.unwrap_or((Operator::Equal, trimmed));
                let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
                let number = Some(number.trim()).filter(|it| it.chars().all(is_plain));
                match number.and_then(|it| it.parse().ok()) {
                    Some(number) => Ok(Comparison { operator, number }),
                    None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
    }
}

impl JsonSchema for Comparison {
    fn schema_name() -> Cow<'static, str> {
        "Comparison".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or a comparison with one.",
            "oneOf": [
                { "type": "number" },
                { "type": "string", "pattern": r"^\s*(==|!=|<=|>=|<|>)?\s*-?[0-9.]+\s*$" },
            ],
            "examples": [0, "!= 0", ">= 100000"],
        })
    }
}
