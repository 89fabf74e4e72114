//! The option type for the length of a cycle.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::cycle::MAX_PERIOD;

/// A number of calls in a cycle, from 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CycleLength(usize);

impl CycleLength {
    pub(crate) const TWO: Self = Self(2);
    pub(crate) const LONGEST: Self = Self(MAX_PERIOD);

    pub(crate) fn get(self) -> usize {
        self.0
    }
}

impl<'de> Deserialize<'de> for CycleLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CycleLength;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of calls from 1 to {MAX_PERIOD}")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<CycleLength, E> {
                let length = usize::try_from(n).ok();
                length
                    .filter(|length| (1..=MAX_PERIOD).contains(length))
                    .map(CycleLength)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<CycleLength, E> {
                self.visit_i64(i64::try_from(n).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for CycleLength {
    fn schema_name() -> Cow<'static, str> {
        "CycleLength".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_PERIOD })
    }
}
