//! Limits in tokens or dollars, and the text of amounts.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use watchkeeper_core::{
    Fingerprint,
    author::{TokenLimit, grouped},
};

/// The resolution of a window, in parts of the limit.
const N_UNITS: u64 = 1 << 22;
const NANOS_PER_DOLLAR: f64 = 1e9;
const NANOS_PER_CENT: u64 = 10_000_000;

/// An amount of US dollars greater than zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostLimit(f64);

/// A limit in tokens, or in billionths of a US dollar.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) subject: Fingerprint,
    pub(crate) max: u64,
    /// The unit in which the pieces of a window are counted, so that each piece
    /// fits into 32 bits.
    pub(crate) unit: u64,
    is_money: bool,
}

impl Limit {
    pub(crate) fn of_tokens(max: TokenLimit) -> Self {
        Self::new(Fingerprint::NONE, max.get(), false)
    }

    pub(crate) fn of_cost(CostLimit(max): CostLimit) -> Self {
        Self::new(Fingerprint::of("cost"), nano_dollars(max).max(1), true)
    }

    fn new(subject: Fingerprint, max: u64, is_money: bool) -> Self {
        Self { subject, max, unit: (max / N_UNITS).max(1), is_money }
    }

    /// Returns a text such as "9" or "$9.00". Amounts under a cent have four
    /// digits.
    pub(crate) fn amount(&self, n: u64) -> String {
        if !self.is_money {
            return grouped(n);
        }
        let digits = if (1..NANOS_PER_CENT).contains(&n) { 4 } else { 2 };
        format!("${:.digits$}", dollars(n))
    }

    /// Returns a text such as "9 tokens".
    pub(crate) fn amount_text(&self, n: u64) -> String {
        let noun = if self.is_money { "" } else { " tokens" };
        format!("{}{noun}", self.amount(n))
    }

    /// Returns a text such as "9 of 10 tokens".
    pub(crate) fn share(&self, n: u64, allowed: u64) -> String {
        let noun = if self.is_money { "" } else { " tokens" };
        format!("{} of {}{noun}", self.amount(n), self.amount(allowed))
    }
}

/// Converts to billionths of a dollar: integers, so that subtracting an amount
/// that was added is exact.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative amounts and NaN become zero, large amounts saturate"
)]
pub(crate) fn nano_dollars(dollars: f64) -> u64 {
    (dollars * NANOS_PER_DOLLAR + 0.5) as u64
}

#[expect(clippy::cast_precision_loss, reason = "dollars are shown to the cent")]
fn dollars(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_DOLLAR
}

impl<'de> Deserialize<'de> for CostLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_f64(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CostLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of US dollars greater than zero, such as 5 or 2.50")
            }

            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<CostLimit, E> {
                if dollars.is_finite() && 0.0 < dollars {
                    Ok(CostLimit(dollars))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(dollars), &self))
                }
            }

            fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<CostLimit, E> {
                match i32::try_from(dollars) {
                    Ok(dollars @ 1..) => Ok(CostLimit(dollars.into())),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(dollars), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<CostLimit, E> {
                self.visit_i64(i64::try_from(dollars).unwrap_or(i64::MAX))
            }
        }
    }
}

impl JsonSchema for CostLimit {
    fn schema_name() -> Cow<'static, str> {
        "CostLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0 })
    }
}
