use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess},
};

/// A text that nobody but its user may see: the key of a webhook, or its URL.
///
/// A policy writes it as `{ secret = "name" }`, and whoever reads the policy
/// puts the text of that name in its place. Neither [`Debug`] nor [`fmt::Display`]
/// shows it, and it can't be serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Option<Box<str>>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Some(text.into()))
    }

    /// The text, for its user alone; `None` if the policy was read without its
    /// secrets, so that nobody can tell whether the text is right.
    pub fn expose(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_any(Visitor);

        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a secret such as { secret = "name" }, or a string"#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                Reference::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Secret(None))
            }
        }

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Reference {
            #[expect(dead_code, reason = "what it names is looked up before this is read")]
            secret: String,
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of an entry of `[secrets]`, or the text itself.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "secret": { "type": "string", "description": "The name in `[secrets]`." },
                    },
                    "required": ["secret"],
                    "additionalProperties": false,
                },
            ],
            "examples": [{ "secret": "ops_key" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde::Deserialize;
    use toml::de::ValueDeserializer;

    use super::Secret;

    fn read(text: &str) -> Result<Secret, String> {
        let value = ValueDeserializer::parse(text).expect("the test writes TOML");
        Secret::deserialize(value).map_err(|err| err.message().to_owned())
    }

    #[test]
    fn only_its_user_sees_it() {
        let secret = read("'hunter2'").unwrap();
        assert_eq!(secret.expose(), Some("hunter2"));
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn a_name_alone_exposes_nothing() {
        assert_eq!(read("{ secret = 'ops_key' }").unwrap().expose(), None);
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_snapshot!(read("7").unwrap_err(), @r#"invalid type: integer `7`, expected a secret such as { secret = "name" }, or a string"#);
        assert_snapshot!(read("{ env = 'KEY' }").unwrap_err(), @"unknown field `env`, expected `secret`");
    }
}
