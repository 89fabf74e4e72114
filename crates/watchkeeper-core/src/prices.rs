use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Tokens, models};

/// What a model costs, in US dollars for a million tokens of each class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read, and not from a cache.
    pub input: f64,
    /// Written, reasoning included.
    pub output: f64,
    /// Read from a cache; a tenth of `input` where it is left out.
    pub cache_read: Option<f64>,
    /// Read, and written to a cache for five minutes; five quarters of `input`
    /// where it is left out. What is kept for an hour costs eight fifths of it.
    pub cache_write: Option<f64>,
}

/// How much more a write to a cache costs that is kept for an hour: twice the
/// price of the input, in place of five quarters.
const LONGER: f64 = 1.6;

impl Price {
    pub(crate) const fn new(input: f64, output: f64, cache_read: f64, cache_write: f64) -> Self {
        Self { input, output, cache_read: Some(cache_read), cache_write: Some(cache_write) }
    }

    #[expect(clippy::cast_precision_loss, reason = "dollars are shown to the cent")]
    pub(crate) fn cost_usd(&self, tokens: &Tokens) -> f64 {
        let cache_read = self.cache_read.unwrap_or(self.input * 0.1);
        let cache_write = self.cache_write.unwrap_or(self.input * 1.25);
        let longer = tokens.cache_write_1h.min(tokens.cache_write) as f64;
        let cost = tokens.input as f64 * self.input
            + tokens.output as f64 * self.output
            + tokens.cache_read as f64 * cache_read
            + tokens.cache_write as f64 * cache_write
            + longer * cache_write * (LONGER - 1.0);
        cost / 1e6
    }
}

/// What models cost: a built-in table of list prices, and a policy's own.
///
/// A model is looked up by its name without a provider before it, with or
/// without a date behind it. A name that is not listed has no price: that of a
/// model with a similar name would be a guess.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

impl Prices {
    /// The built-in prices, with these before them.
    pub fn with(own: BTreeMap<String, Price>) -> Self {
        Self { own }
    }

    /// The price of a model, if it is known.
    pub fn get(&self, model: &str) -> Option<Price> {
        let own = |name| self.own.get(name).copied();
        models::names(model)
            .into_iter()
            .find_map(|name| own(name).or_else(|| models::listed(name).map(|it| it.price)))
    }

    /// What a model call costs, if the price is known.
    pub fn cost_usd(&self, model: &str, tokens: &Tokens) -> Option<f64> {
        self.get(model).map(|it| it.cost_usd(tokens))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Price, Prices};
    use crate::Tokens;

    #[test]
    fn names_are_found_without_provider_and_date() {
        let prices = Prices::default();
        let input = |model| prices.get(model).map(|it| it.input);
        assert_eq!(input("claude-opus-4-5-20251101"), Some(5.0));
        assert_eq!(input("claude-opus-4-20250514"), Some(15.0));
        assert_eq!(input("anthropic/claude-sonnet-5"), Some(2.0));
        assert_eq!(input("claude-opus-5[1m]"), Some(5.0));
        assert_eq!(input("gpt-5-2025-08-07"), Some(1.25));
        assert_eq!(input("gpt-5.3-codex"), Some(1.75));
        assert_eq!(input("gpt-5.3-codex-spark"), None);
        assert_eq!(input("gpt-50"), None);
        assert_eq!(input("20250514"), None);
        assert_eq!(input("fake-model"), None);
    }

    #[test]
    fn a_policys_own_price_goes_first() {
        let own = Price { input: 1.0, output: 0.0, cache_read: None, cache_write: None };
        let prices = Prices::with(BTreeMap::from([("gpt-5".to_owned(), own)]));
        let tokens = Tokens {
            input: 1_000_000,
            cache_read: 1_000_000,
            cache_write: 1_000_000,
            ..Tokens::default()
        };
        let cost = |model| prices.cost_usd(model, &tokens).unwrap();
        assert!((cost("gpt-5.5") - 10.5).abs() < 1e-9);
        assert!((cost("gpt-5-2025-08-07") - 2.35).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_for_longer_costs_more() {
        let tokens =
            |cache_write_1h| Tokens { cache_write: 1_000_000, cache_write_1h, ..Tokens::default() };
        let cost = |it| Prices::default().cost_usd("claude-sonnet-4-5", &tokens(it)).unwrap();
        assert!((cost(0) - 3.75).abs() < 1e-9);
        assert!((cost(400_000) - 4.65).abs() < 1e-9);
        // It is a part of all that is written.
        assert!((cost(9_000_000) - 6.0).abs() < 1e-9);
    }
}
