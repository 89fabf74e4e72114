use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A number of tokens, greater than zero.
///
/// In policies a whole number: `500_000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenLimit(u64);

/// The error of parsing a [`TokenLimit`]: the text is not a whole number between 1 and
/// `i64::MAX`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected {EXPECTED}")]
pub struct ParseTokenLimitError(());

const EXPECTED: &str = "a number of tokens greater than zero, such as 500_000";

impl TokenLimit {
    /// Creates a limit. Zero becomes one.
    pub const fn new(n_tokens: u64) -> Self {
        Self(if n_tokens == 0 { 1 } else { n_tokens })
    }

    /// Returns the number of tokens, greater than zero.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for TokenLimit {
    type Err = ParseTokenLimitError;

    /// Parses a decimal number. Underscores may separate its digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_and_ends_with_digits = text.starts_with(|c: char| c.is_ascii_digit())
            && text.ends_with(|c: char| c.is_ascii_digit());
        match text.replace('_', "").parse::<i64>() {
            Ok(n @ 1..) if starts_and_ends_with_digits => Ok(Self(n.unsigned_abs())),
            _ => Err(ParseTokenLimitError(())),
        }
    }
}

impl fmt::Display for TokenLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for TokenLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for TokenLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = TokenLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<TokenLimit, E> {
                match n {
                    1.. => Ok(TokenLimit(n.unsigned_abs())),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(n), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<TokenLimit, E> {
                self.visit_i64(i64::try_from(n).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for TokenLimit {
    fn schema_name() -> Cow<'static, str> {
        "TokenLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "description": "A number of tokens, greater than zero.",
            "minimum": 1,
            "examples": [500_000],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json};

    use super::TokenLimit;

    #[test]
    fn is_greater_than_zero() {
        let read = |n: i64| from_value(json!(n)).map(TokenLimit::get).map_err(|it| it.to_string());
        assert_eq!(read(1), Ok(1));
        assert_eq!(read(i64::MAX), Ok(i64::MAX.unsigned_abs()));
        for n in [0, -1, i64::MIN] {
            let err = read(n).expect_err("the number is not positive");
            assert!(
                err.ends_with("a number of tokens greater than zero, such as 500_000"),
                "{err}"
            );
            assert!(n.to_string().parse::<TokenLimit>().is_err());
        }
        assert_eq!(TokenLimit::new(0).get(), 1);
    }

    #[test]
    fn parses_digits_with_separators() {
        assert_eq!("500_000".parse(), Ok(TokenLimit::new(500_000)));
        for text in ["", "_1", "1_", "+1", "1k", "99999999999999999999"] {
            assert!(text.parse::<TokenLimit>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parses_what_it_displays(n in 1..i64::MAX.unsigned_abs()) {
            let limit = TokenLimit::new(n);
            prop_assert_eq!(limit.to_string().parse(), Ok(limit));
            prop_assert_eq!(from_value::<TokenLimit>(json!(limit)).unwrap(), limit);
        }
    }
}
