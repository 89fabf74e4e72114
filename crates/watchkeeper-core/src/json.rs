mod check;
mod lenient;
mod members;
mod unescape;

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::{RawValue, to_raw_value};

pub use self::unescape::unescaped;
pub(crate) use self::{
    lenient::to_value,
    members::{decode, members},
};

/// A JSON value, stored as its original text.
///
/// Most tool arguments are only hashed and compared, so they are validated once and parsed into
/// a value only on demand. Two values are equal if their texts are equal.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// Validates and wraps a JSON text. Escapes control characters in its strings, which some
    /// agents write without an escape.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let strict = |text: &str| serde_json::from_str::<Box<RawValue>>(text).map(Self::from);
        strict(text).or_else(|err| {
            lenient::escape_controls(text).and_then(|text| strict(&text).ok()).ok_or(err)
        })
    }

    /// Wraps `text` if it is valid JSON; otherwise converts it to a JSON string. For agents
    /// whose tools accept both.
    pub fn parse_or_text(text: &str) -> Self {
        if check::value_len(text) == Some(text.len()) {
            return Self(text.into());
        }
        // The text may have white space around the value.
        Self::parse(text).unwrap_or_else(|_| Self::text(text))
    }

    /// Creates a JSON string with the contents `text`.
    pub fn text(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the value. Half of a surrogate pair becomes a replacement character. A value that is
    /// nested in more than 127 others, and a number beyond the range of `f64`, become `null`.
    pub fn to_value(&self) -> serde_json::Value {
        to_value(&self.0)
    }
}

impl Default for Json {
    fn default() -> Self {
        Self("null".into())
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw.into())
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(raw.get().into())
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_string())
            .or_else(|_| to_raw_value(&self.0))
            .map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Json {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).map_err(de::Error::custom)
    }
}
