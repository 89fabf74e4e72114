use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A number of bytes as a policy writes it: `"64MiB"`, `"1GB"`, `"500 kB"`.
///
/// Never zero, so nobody has to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// The units there are, those first that [`fmt::Display`] tries first.
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
    /// Makes a size; zero becomes one.
    pub const fn new(n_bytes: u64) -> Self {
        Self(if n_bytes == 0 { 1 } else { n_bytes })
    }

    /// The number of bytes, greater than zero.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &(unit, n_bytes) in UNITS {
            if self.0.is_multiple_of(n_bytes) {
                return write!(f, "{}{unit}", self.0 / n_bytes);
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a size such as "64MiB", "1GB" or "500kB""#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                let unknown = || E::invalid_value(de::Unexpected::Str(text), &self);
                let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(unknown)?;
                let (number, unit) = text.split_at(digits);
                let number: u64 = number.parse().map_err(|_| unknown())?;
                let unit = unit.trim_start();
                let (_, n_bytes) = UNITS.iter().find(|it| it.0 == unit).ok_or_else(unknown)?;
                match number.checked_mul(*n_bytes) {
                    Some(0) => Err(E::custom("must be more than nothing")),
                    Some(it) => Ok(ByteSize(it)),
                    None => Err(unknown()),
                }
            }
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number of bytes, more than zero.",
            "examples": ["64MiB", "1GB", "500kB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde::Deserialize;
    use toml::de::ValueDeserializer;

    use super::ByteSize;

    fn read(text: &str) -> Result<ByteSize, String> {
        let value = ValueDeserializer::parse(text).expect("the test writes TOML");
        ByteSize::deserialize(value).map_err(|err| err.message().to_owned())
    }

    #[test]
    fn units_are_decimal_or_binary() {
        for (text, n_bytes) in
            [("'1B'", 1), ("'500 kB'", 500_000), ("'64MiB'", 64 << 20), ("'2GB'", 2_000_000_000)]
        {
            assert_eq!(read(text).map(ByteSize::get), Ok(n_bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        assert_snapshot!(read("64").unwrap_err(), @r#"invalid type: integer `64`, expected a size such as "64MiB", "1GB" or "500kB""#);
        assert_snapshot!(read("'64'").unwrap_err(), @r#"invalid value: string "64", expected a size such as "64MiB", "1GB" or "500kB""#);
        assert_snapshot!(read("'0MB'").unwrap_err(), @"must be more than nothing");
        for text in ["'MiB'", "'-1B'", "'1.5GB'", "'1Mb'", "'99999999TiB'"] {
            assert!(read(text).unwrap_err().starts_with("invalid value"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_size_reads_as_it_prints(n_bytes in 1_u64..) {
            let size = ByteSize::new(n_bytes);
            prop_assert_eq!(read(&format!("'{size}'")), Ok(size));
        }
    }
}
