use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Tokens;

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
    /// Read, and written to a cache; five quarters of `input` where it is left
    /// out.
    pub cache_write: Option<f64>,
}

impl Price {
    const fn new(input: f64, output: f64, cache_read: f64, cache_write: f64) -> Self {
        Self { input, output, cache_read: Some(cache_read), cache_write: Some(cache_write) }
    }

    #[expect(clippy::cast_precision_loss, reason = "dollars are shown to the cent")]
    fn cost_usd(&self, tokens: &Tokens) -> f64 {
        let cache_read = self.cache_read.unwrap_or(self.input * 0.1);
        let cache_write = self.cache_write.unwrap_or(self.input * 1.25);
        let cost = tokens.input as f64 * self.input
            + tokens.output as f64 * self.output
            + tokens.cache_read as f64 * cache_read
            + tokens.cache_write as f64 * cache_write;
        cost / 1e6
    }
}

/// What models cost: a built-in table of list prices, and a policy's own.
///
/// A model is looked up by its name without a provider before it and without a
/// date behind it; the longest entry that it begins with, up to a `-` or its
/// end, decides.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

/// List prices without discounts, by model. Read from `LiteLLM` 1.109.1's
/// `model_prices_and_context_window.json`, November 2026, and rounded to its
/// own digits. Writes to a cache are those that last five minutes.
const BUILT_IN: &[(&str, Price)] = &[
    ("claude-3-5-haiku", Price::new(0.8, 4.0, 0.08, 1.0)),
    ("claude-3-5-sonnet", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-7-sonnet", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-haiku", Price::new(0.25, 1.25, 0.03, 0.3)),
    ("claude-3-opus", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-fable-5", Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-haiku-4-5", Price::new(1.0, 5.0, 0.1, 1.25)),
    ("claude-opus-4", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-1", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-5", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-6", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-7", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-8", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-5", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-sonnet-4", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-5", Price::new(2.0, 10.0, 0.2, 2.5)),
    ("gemini-2.5-flash", Price::new(0.3, 2.5, 0.03, 0.3)),
    ("gemini-2.5-pro", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-4o", Price::new(2.5, 10.0, 1.25, 2.5)),
    ("gpt-4o-mini", Price::new(0.15, 0.6, 0.075, 0.15)),
    ("gpt-5", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5-mini", Price::new(0.25, 2.0, 0.025, 0.25)),
    ("gpt-5.1", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.2", Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.3", Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.4", Price::new(2.5, 15.0, 0.25, 2.5)),
    ("gpt-5.5", Price::new(5.0, 30.0, 0.5, 5.0)),
];

impl Prices {
    /// The built-in prices, with these before them.
    pub fn with(own: BTreeMap<String, Price>) -> Self {
        Self { own }
    }

    /// The price of a model, if it is known.
    pub fn get(&self, model: &str) -> Option<Price> {
        let model = model.rsplit_once('/').map_or(model, |(_, it)| it);
        let matches = |name: &str| {
            model
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '@', '[', ':']))
        };
        let longest = |best: Option<(usize, Price)>, (name, price): (&str, Price)| match best {
            Some((len, _)) if name.len() <= len => best,
            _ if matches(name) => Some((name.len(), price)),
            _ => best,
        };
        let own = self.own.iter().map(|(name, it)| (name.as_str(), *it)).fold(None, longest);
        let built_in = || BUILT_IN.iter().copied().fold(None, longest);
        own.or_else(built_in).map(|(_, price)| price)
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
        assert_eq!(input("gpt-5.3-codex"), Some(1.75));
        assert_eq!(input("gpt-50"), None);
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
        let cost = prices.cost_usd("gpt-5.5", &tokens).unwrap();
        assert!((cost - 10.5).abs() < 1e-9, "{cost}");
        let cost = prices.cost_usd("gpt-5-mini", &tokens).unwrap();
        assert!((cost - 2.35).abs() < 1e-9, "{cost}");
    }
}
