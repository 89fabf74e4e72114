//! The option `by`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::event_name::EventName;

/// A field by whose values events are matched separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The tool of a call and of its result.
    Tool,
    /// The class of that tool.
    Class,
    /// The model of a model call.
    Model,
    /// An argument of a call and of its result, by key.
    Argument(String),
}

impl By {
    pub(crate) fn argument(&self) -> Option<&str> {
        if let Self::Argument(key) = self { Some(key) } else { None }
    }

    /// Returns the kinds of events that have the field, as bits.
    pub(crate) fn events(&self) -> u16 {
        match self {
            Self::Tool | Self::Class | Self::Argument(_) => {
                EventName::ToolCall.bit() | EventName::ToolResult.bit()
            }
            Self::Model => EventName::ModelCall.bit(),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool => f.write_str("tool"),
            Self::Class => f.write_str("class"),
            Self::Model => f.write_str("model"),
            Self::Argument(key) => write!(f, "arguments.{key}"),
        }
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = By;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    r#""tool", "class", "model" or an argument such as "arguments.file_path""#,
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<By, E> {
                match (text, text.strip_prefix("arguments.")) {
                    ("tool", _) => Ok(By::Tool),
                    ("class", _) => Ok(By::Class),
                    ("model", _) => Ok(By::Model),
                    (_, Some(key)) if !key.is_empty() => Ok(By::Argument(key.to_owned())),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
    }
}

impl JsonSchema for By {
    fn schema_name() -> Cow<'static, str> {
        "By".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A field by whose values events are matched separately.",
            "anyOf": [
                { "enum": ["tool", "class", "model"] },
                { "pattern": r"^arguments\..+" },
            ],
        })
    }
}
