use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess},
};

/// A secret text, such as the key or the URL of a webhook.
///
/// A policy contains `{ secret = "name" }`; the loader of the policy replaces
/// the name with the text. [`Debug`] and [`fmt::Display`] show `[secret]`, and a
/// secret cannot be serialized.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Option<Box<str>>);

impl Secret {
    /// Makes a secret from its text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Some(text.into()))
    }

    /// Returns the text, or `None` if the policy was loaded without its secrets.
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
            #[expect(dead_code, reason = "the loader has replaced the names of known secrets")]
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
            "description": "The name of an entry in `[secrets]`, or the text itself.",
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
        let value = ValueDeserializer::parse(text).expect("the text is TOML");
        Secret::deserialize(value).map_err(|err| err.message().to_owned())
    }

    #[test]
    fn only_expose_returns_the_text() {
        let secret = read("'hunter2'").unwrap();
        assert_eq!(secret.expose(), Some("hunter2"));
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn a_name_without_a_text_exposes_nothing() {
        assert_eq!(read("{ secret = 'ops_key' }").unwrap().expose(), None);
    }

    #[test]
    fn other_values_are_refused() {
        assert_snapshot!(read("7").unwrap_err(), @r#"invalid type: integer `7`, expected a secret such as { secret = "name" }, or a string"#);
        assert_snapshot!(read("{ env = 'KEY' }").unwrap_err(), @"unknown field `env`, expected `secret`");
    }
}
