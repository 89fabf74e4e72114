//! Comparisons of numbers.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) operator: Operator,
    number: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Operator {
    /// All operators with their signs, longer signs before their prefixes.
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::More),
    ];
}

/// Converts a count for a comparison. Counts beyond 2^53 lose precision.
#[expect(clippy::cast_precision_loss, reason = "no comparison is that exact")]
pub(crate) fn count(n: u64) -> f64 {
    n as f64
}

/// Returns true if a number fits a comparison, or if there is none. An unknown
/// number fits no comparison.
pub(crate) fn fits(comparison: Option<Comparison>, number: Option<f64>) -> bool {
    comparison.is_none_or(|comparison| number.is_some_and(|number| comparison.holds(number)))
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "the policy requests an exact comparison")]
    fn holds(self, number: f64) -> bool {
        let Self { operator, number: other } = self;
        number.is_finite()
            && match operator {
                Operator::Equal => number == other,
                Operator::NotEqual => number != other,
                Operator::Less => number < other,
                Operator::AtMost => number <= other,
                Operator::More => other < number,
                Operator::AtLeast => other <= number,
            }
    }

    /// Returns true if the comparison holds for any number of at least 0.
    pub(crate) fn holds_from_0(self) -> bool {
        self.holds(0.0) || self.holds(self.number.max(0.0)) || self.holds(f64::MAX)
    }

    /// Returns true if the comparison holds for any integer of at least 0.
    pub(crate) fn holds_for_a_count(self) -> bool {
        self.holds_from_0() && (self.operator != Operator::Equal || self.is_whole())
    }

    pub(crate) fn is_whole(self) -> bool {
        self.number.fract() == 0.0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, number } = self;
        let known = Operator::ALL.iter().find(|(_, known)| known == operator);
        write!(f, "`{} {number}`", known.map_or("", |(sign, _)| sign))
    }
}

impl<'de> Deserialize<'de> for Comparison {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_any(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Comparison;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a number, or a comparison such as ">= 100" or "!= 0""#)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Comparison, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Comparison, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Comparison, E> {
                let trimmed = text.trim();
                let found = Operator::ALL.iter().find_map(|(sign, operator)| {
                    trimmed.strip_prefix(sign).map(|rest| (*operator, rest))
                });
                let (operator, number) = found.unwrap_or((Operator::Equal, trimmed));
                let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.');
                let number = Some(number.trim()).filter(|text| text.chars().all(is_plain));
                match number.and_then(|text| text.parse().ok()) {
                    Some(number) => Ok(Comparison { operator, number }),
                    None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
    }
}

impl JsonSchema for Comparison {
    fn schema_name() -> Cow<'static, str> {
        "Comparison".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or a comparison with one.",
            "oneOf": [
                { "type": "number" },
                { "type": "string", "pattern": r"^\s*(==|!=|<=|>=|<|>)?\s*-?[0-9.]+\s*$" },
            ],
            "examples": [0, "!= 0", ">= 100000"],
        })
    }
}
