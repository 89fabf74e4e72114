use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A number of tokens, more than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimit(u64);

impl TokenLimit {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for TokenLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = TokenLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens greater than zero, such as 500_000")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<TokenLimit, E> {
                match u64::try_from(n) {
                    Ok(1..) => Ok(TokenLimit(n.unsigned_abs())),
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
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use serde::{
        Deserialize,
        de::{IntoDeserializer, value::Error},
    };

    use super::TokenLimit;

    #[test]
    fn more_than_none() {
        let read = |n: i64| {
            let n: Result<TokenLimit, Error> = TokenLimit::deserialize(n.into_deserializer());
            n.map(TokenLimit::get).map_err(|err| err.to_string())
        };
        assert_eq!(read(1), Ok(1));
        assert_eq!(read(i64::MAX), Ok(i64::MAX.unsigned_abs()));
        for none in [0, -1, i64::MIN] {
            let err = read(none).expect_err("that is no limit");
            assert!(
                err.ends_with("a number of tokens greater than zero, such as 500_000"),
                "{err}"
            );
        }
    }
}
