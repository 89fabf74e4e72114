use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A number of bytes, greater than zero, with a unit: `"64MiB"`, `"1GB"`, `"500 kB"`.
///
/// The prefixes `k`, `M`, `G` and `T` are decimal; `Ki`, `Mi`, `Gi` and `Ti` are binary. The
/// text form is parsed by [`FromStr`], by `serde`, and in policies. [`Display`](fmt::Display)
/// writes the largest unit that needs no fraction, and its output parses to the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// The error of parsing a [`ByteSize`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseByteSizeError {
    /// The text is not a whole number followed by a unit.
    #[error("expected {EXPECTED}")]
    Syntax,
    /// The size exceeds `u64::MAX` bytes.
    #[error("the size is too large; the maximum is 16777215TiB")]
    TooLarge,
    /// The size is zero.
    #[error("a size must be greater than zero")]
    Zero,
}

const EXPECTED: &str = r#"a size such as "64MiB", "1GB" or "500kB""#;

/// All units, in the order in which [`fmt::Display`] tries them.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Creates a size from a number of bytes. Zero becomes one.
    pub const fn new(n_bytes: u64) -> Self {
        Self(if n_bytes == 0 { 1 } else { n_bytes })
    }

    /// Returns the number of bytes, greater than zero.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(ParseByteSizeError::Syntax)?;
        let (digits, unit) = text.split_at(unit_at);
        let unit = unit.trim_start();
        let (_, n_bytes) =
            UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseByteSizeError::Syntax)?;
        if digits.is_empty() {
            return Err(ParseByteSizeError::Syntax);
        }
        let size = digits.parse().ok().and_then(|number: u64| number.checked_mul(*n_bytes));
        match size {
            Some(0) => Err(ParseByteSizeError::Zero),
            Some(size) => Ok(Self(size)),
            None => Err(ParseByteSizeError::TooLarge),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, n_bytes): &&(&str, u64)| self.0.is_multiple_of(*n_bytes);
        let (unit, n_bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / n_bytes)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(|err| match err {
                    ParseByteSizeError::Syntax => {
                        E::invalid_value(de::Unexpected::Str(text), &self)
                    }
                    _ => E::custom(err),
                })
            }
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number of bytes, greater than zero.",
            "pattern": r"^0*[1-9][0-9]*\s*([kKMGT]?B|[KMGT]iB)$",
            "examples": ["64MiB", "1GB", "500kB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;
    use toml::de::ValueDeserializer;

    use super::{ByteSize, ParseByteSizeError};

    fn read(toml: &str) -> Result<ByteSize, String> {
        let value = ValueDeserializer::parse(toml).expect("the text should be a TOML value");
        ByteSize::deserialize(value).map_err(|err| err.message().to_owned())
    }

    #[test]
    fn parses_decimal_and_binary_units() {
        for (text, n_bytes) in
            [("1B", 1), ("500 kB", 500_000), ("64MiB", 64 << 20), ("2GB", 2_000_000_000)]
        {
            assert_eq!(text.parse().map(ByteSize::get), Ok(n_bytes), "{text}");
            assert_eq!(read(&format!("'{text}'")).map(ByteSize::get), Ok(n_bytes), "{text}");
        }
    }

    #[test]
    fn refuses_other_text() {
        assert_snapshot!(read("64").unwrap_err(), @r#"invalid type: integer `64`, expected a size such as "64MiB", "1GB" or "500kB""#);
        assert_snapshot!(read("'64'").unwrap_err(), @r#"invalid value: string "64", expected a size such as "64MiB", "1GB" or "500kB""#);
        assert_snapshot!(read("'0MB'").unwrap_err(), @"a size must be greater than zero");
        assert_snapshot!(read("'99999999TiB'").unwrap_err(), @"the size is too large; the maximum is 16777215TiB");
        for text in ["", "64", "MiB", "-1B", "1.5GB", "1Mb", "1 "] {
            assert_eq!(text.parse::<ByteSize>(), Err(ParseByteSizeError::Syntax), "{text}");
        }
        assert_eq!("16777215TiB".parse().map(ByteSize::get), Ok(16_777_215 << 40));
    }

    #[test]
    fn serializes_as_text() {
        assert_eq!(json!(ByteSize::new(64 << 20)), json!("64MiB"));
    }

    proptest! {
        #[test]
        fn parses_what_it_displays(n_bytes in 1_u64..) {
            let size = ByteSize::new(n_bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn schema_accepts_the_texts_that_parse(text in "[0-9]{0,3} ?[kKMG]?i?[bB]?") {
            let schema = jsonschema::validator_for(schemars::schema_for!(ByteSize).as_value());
            prop_assert_eq!(schema.unwrap().is_valid(&json!(text)), text.parse::<ByteSize>().is_ok());
        }
    }
}
