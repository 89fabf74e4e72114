//! What a finding says: text, and fields of the match in braces.

use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{Elapsed, SessionFacts, SignedDuration, ToolClass, make_safe, quote};

use crate::nearest;

/// The longest text that a policy may give, in bytes.
const MAX_LEN: usize = 500;
/// The longest message that is made of it, in bytes.
const MAX_MADE: usize = 1900;

/// What a finding says, as the policy has it.
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
    First(EndField),
    Last(EndField),
    Cwd,
    Model,
    Session,
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndField {
    Event,
    Tool,
    Class,
}

const FIELDS: &[(&str, Field)] = &[
    ("count", Field::Count),
    ("took", Field::Took),
    ("by", Field::By),
    ("event", Field::Last(EndField::Event)),
    ("tool", Field::Last(EndField::Tool)),
    ("class", Field::Last(EndField::Class)),
    ("first.event", Field::First(EndField::Event)),
    ("first.tool", Field::First(EndField::Tool)),
    ("first.class", Field::First(EndField::Class)),
    ("last.event", Field::Last(EndField::Event)),
    ("last.tool", Field::Last(EndField::Tool)),
    ("last.class", Field::Last(EndField::Class)),
    ("session.cwd", Field::Cwd),
    ("session.id", Field::Session),
    ("session.model", Field::Model),
    ("session.source", Field::Source),
];

/// The first or the last event of a match.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) event: &'static str,
    pub(crate) tool: Option<Arc<str>>,
    pub(crate) class: Option<ToolClass>,
}

/// A match, for a message to tell of.
pub(crate) struct Told<'a> {
    pub(crate) count: u64,
    pub(crate) took: SignedDuration,
    /// Quoted.
    pub(crate) by: Option<&'a str>,
    pub(crate) first: &'a End,
    pub(crate) last: &'a End,
}

impl Message {
    /// Whether it tells of the value that `by` parts the events by.
    pub(crate) fn tells_by(&self) -> bool {
        self.parts.iter().any(|it| matches!(it, Part::Field(Field::By)))
    }

    /// Writes it for one match.
    pub(crate) fn render(&self, told: &Told<'_>, session: &SessionFacts) -> String {
        let mut res = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => res.push_str(text),
                Part::Field(field) => field.write(&mut res, told, session),
            }
        }
        if MAX_MADE < res.len() {
            let end = (0..=MAX_MADE).rfind(|it| res.is_char_boundary(*it));
            res.truncate(end.unwrap_or_default());
            res.push('…');
        }
        res
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it says nothing; leave it out for the usual message".to_owned());
        }
        if MAX_LEN < text.len() {
            return Err(format!("it has {} bytes, and {MAX_LEN} are the most", text.len()));
        }
        if make_safe(text) != text {
            return Err("it has control characters; a message is one line of plain text".to_owned());
        }
        if text.ends_with('.') {
            return Err("a message ends without a full stop; take it out".to_owned());
        }
        let mut parts = Vec::new();
        let mut said = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            said.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                said.push_str(brace);
                rest = after;
                continue;
            }
            let field = if brace == "{" { after.split_once('}') } else { None };
            let Some((name, after)) = field else {
                return Err(format!(
                    "`{brace}` stands alone; write `{brace}{brace}` to say `{brace}`"
                ));
            };
            let Some((_, field)) = FIELDS.iter().find(|it| it.0 == name) else {
                return Err(unknown_field(name));
            };
            if !said.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut said)));
            }
            parts.push(Part::Field(*field));
            rest = after;
        }
        said.push_str(rest);
        if !said.is_empty() {
            parts.push(Part::Text(said));
        }
        Ok(Self { parts })
    }
}

fn unknown_field(name: &str) -> String {
    let names: Vec<&str> = FIELDS.iter().map(|it| it.0).collect();
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("a match has no field `{name}`; did you mean `{near}`?"),
        None => format!("a match has no field `{name}`; it has `{}`", names.join("`, `")),
    }
}

impl Field {
    fn write(self, res: &mut String, told: &Told<'_>, session: &SessionFacts) {
        const UNKNOWN: &str = "unknown";
        let quoted = |it: Option<&str>| it.map_or(UNKNOWN.to_owned(), quote);
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Count => write!(res, "{}", told.count),
            Self::Took => write!(res, "{}", Elapsed(told.took)),
            Self::By => write!(res, "{}", told.by.unwrap_or(UNKNOWN)),
            Self::First(it) => write!(res, "{}", told.first.shown(it)),
            Self::Last(it) => write!(res, "{}", told.last.shown(it)),
            Self::Cwd => write!(res, "{}", quoted(session.cwd.as_deref())),
            Self::Model => write!(res, "{}", quoted(session.model.as_deref())),
            Self::Session => write!(res, "{}", quote(session.id.as_str())),
            Self::Source => write!(res, "{}", session.source.unwrap_or(UNKNOWN)),
        };
    }
}

impl End {
    fn shown(&self, field: EndField) -> Cow<'static, str> {
        match field {
            EndField::Event => self.event.into(),
            EndField::Tool => self.tool.as_deref().map_or("unknown".into(), |it| quote(it).into()),
            EndField::Class => self.class.map_or("unknown", ToolClass::name).into(),
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
            "description": "Text, and fields of the match in braces.",
            "minLength": 1,
            "maxLength": MAX_LEN,
            "examples": ["{tool} failed {count} times in {took}"],
        })
    }
}
