//! The message of a finding: text, with fields of the match in braces.

use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{
    SignedDuration, ToolClass,
    author::{Elapsed, SessionFacts, make_safe},
    quote,
};

use crate::nearest::nearest;

/// The longest text that a policy may give, in bytes.
const MAX_LEN: usize = 500;
/// The longest rendered message, in bytes.
const MAX_RENDERED: usize = 1900;

/// The message of a finding, as the policy sets it.
#[derive(Clone, Debug)]
pub struct Message {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field(Field),
}

/// A field of the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Count,
    Took,
    By,
    First(EventField),
    Last(EventField),
    Cwd,
    Model,
    Session,
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventField {
    Event,
    Tool,
    Class,
}

const FIELDS: &[(&str, Field)] = &[
    ("count", Field::Count),
    ("took", Field::Took),
    ("by", Field::By),
    ("event", Field::Last(EventField::Event)),
    ("tool", Field::Last(EventField::Tool)),
    ("class", Field::Last(EventField::Class)),
    ("first.event", Field::First(EventField::Event)),
    ("first.tool", Field::First(EventField::Tool)),
    ("first.class", Field::First(EventField::Class)),
    ("last.event", Field::Last(EventField::Event)),
    ("last.tool", Field::Last(EventField::Tool)),
    ("last.class", Field::Last(EventField::Class)),
    ("session.cwd", Field::Cwd),
    ("session.id", Field::Session),
    ("session.model", Field::Model),
    ("session.source", Field::Source),
];

/// The first or the last event of a match.
#[derive(Clone, Debug)]
pub(crate) struct MatchEvent {
    pub(crate) event: &'static str,
    pub(crate) tool: Option<Arc<str>>,
    pub(crate) class: Option<ToolClass>,
}

/// The latest match of a finding.
pub(crate) struct Match<'a> {
    /// The number of matches of the finding.
    pub(crate) count: u64,
    pub(crate) took: SignedDuration,
    /// The value of `by`, quoted.
    pub(crate) by: Option<&'a str>,
    pub(crate) first: &'a MatchEvent,
    pub(crate) last: &'a MatchEvent,
}

impl Message {
    /// Returns true if the message contains `{by}`.
    pub(crate) fn contains_by(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(Field::By)))
    }

    /// Renders the message for the latest match.
    pub(crate) fn render(&self, latest: &Match<'_>, session: &SessionFacts) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => field.write(&mut text, latest, session),
            }
        }
        if MAX_RENDERED < text.len() {
            let end = (0..=MAX_RENDERED).rfind(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or_default());
            text.push('…');
        }
        text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the message is empty; remove it to use the default message".to_owned());
        }
        if MAX_LEN < text.len() {
            return Err(format!(
                "the message has {} bytes, the maximum is {MAX_LEN}; shorten it",
                text.len()
            ));
        }
        if make_safe(text) != text {
            return Err(
                "the message contains control characters; use one line of plain text".to_owned()
            );
        }
        if text.ends_with('.') {
            return Err("the message ends with a full stop; remove it".to_owned());
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let field = if brace == "{" { after.split_once('}') } else { None };
            let Some((name, after)) = field else {
                return Err(format!(
                    "unmatched `{brace}`; write `{brace}{brace}` for a literal `{brace}`"
                ));
            };
            let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) else {
                return Err(unknown_field(name));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(*field));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }
}

fn unknown_field(name: &str) -> String {
    let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("a match has no field `{name}`; did you mean `{near}`?"),
        None => format!("a match has no field `{name}`; use one of `{}`", names.join("`, `")),
    }
}

impl Field {
    fn write(self, text: &mut String, latest: &Match<'_>, session: &SessionFacts) {
        const UNKNOWN: &str = "unknown";
        let quoted = |value: Option<&str>| value.map_or(UNKNOWN.to_owned(), quote);
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Count => write!(text, "{}", latest.count),
            Self::Took => write!(text, "{}", Elapsed(latest.took)),
            Self::By => write!(text, "{}", latest.by.unwrap_or(UNKNOWN)),
            Self::First(field) => write!(text, "{}", latest.first.field(field)),
            Self::Last(field) => write!(text, "{}", latest.last.field(field)),
            Self::Cwd => write!(text, "{}", quoted(session.cwd.as_deref())),
            Self::Model => write!(text, "{}", quoted(session.model.as_deref())),
            Self::Session => write!(text, "{}", quote(session.id.as_str())),
            Self::Source => write!(text, "{}", session.source.unwrap_or(UNKNOWN)),
        };
    }
}

impl MatchEvent {
    fn field(&self, field: EventField) -> Cow<'static, str> {
        match field {
            EventField::Event => self.event.into(),
            EventField::Tool => {
                self.tool.as_deref().map_or("unknown".into(), |tool| quote(tool).into())
            }
            EventField::Class => self.class.map_or("unknown", ToolClass::name).into(),
        }
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Message;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a message such as "{tool} failed {count} times""#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Message, E> {
                Message::parse(text).map_err(E::custom)
            }
        }
    }
}

impl JsonSchema for Message {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Text, with fields of the match in braces.",
            "minLength": 1,
            "maxLength": MAX_LEN,
            "examples": ["{tool} failed {count} times in {took}"],
        })
    }
}
