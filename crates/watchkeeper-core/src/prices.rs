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
/// date behind it. A name that is not listed has no price: that of a model with
/// a similar name would be a guess.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

/// List prices without discounts, by model: those of Claude, GPT and Gemini in
/// `model_prices_and_context_window_backup.json` of `LiteLLM` 1.109.1 (November
/// 2026). Writes to a cache are those that last five minutes; where it has no
/// price for a cache, that of the input stands. Models of Claude that it no
/// longer lists have the prices of its Bedrock entries.
const BUILT_IN: &[(&str, Price)] = &[
    ("claude-3-5-haiku", Price::new(0.8, 4.0, 0.08, 1.0)),
    ("claude-3-5-sonnet", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-7-sonnet", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-opus", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-fable-5", Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-fable-5-1", Price::new(10.0, 50.0, 0.25, 12.5)),
    ("claude-haiku-4-5", Price::new(1.0, 5.0, 0.1, 1.25)),
    ("claude-haiku-5-5", Price::new(0.1, 0.5, 0.01, 0.125)),
    ("claude-mythos-5", Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-mythos-5-1", Price::new(10.0, 50.0, 0.25, 12.5)),
    ("claude-mythos-preview", Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-opus-4", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-1", Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-5", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-6", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-7", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-8", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-5", Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-5-5", Price::new(4.0, 20.0, 0.2, 5.0)),
    ("claude-sonnet-4", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-4-5", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-4-6", Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-5", Price::new(2.0, 10.0, 0.2, 2.5)),
    ("claude-sonnet-5-5", Price::new(2.0, 10.0, 0.1, 2.5)),
    ("gemini-2.5-flash", Price::new(0.3, 2.5, 0.03, 0.3)),
    ("gemini-2.5-flash-lite", Price::new(0.1, 0.4, 0.01, 0.1)),
    ("gemini-2.5-pro", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gemini-3-flash-preview", Price::new(0.5, 3.0, 0.05, 0.5)),
    ("gemini-3.1-flash-lite", Price::new(0.25, 1.5, 0.025, 0.25)),
    ("gemini-3.1-flash-lite-preview", Price::new(0.25, 1.5, 0.025, 0.25)),
    ("gemini-3.1-pro-preview", Price::new(2.0, 12.0, 0.2, 2.0)),
    ("gemini-3.5-flash", Price::new(1.5, 9.0, 0.15, 1.5)),
    ("gemini-3.5-flash-lite", Price::new(0.3, 2.5, 0.03, 0.3)),
    ("gemini-3.6-flash", Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gemini-3.7-flash", Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gemini-3.8-flash", Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gpt-4.1", Price::new(2.0, 8.0, 0.5, 2.0)),
    ("gpt-4.1-mini", Price::new(0.4, 1.6, 0.1, 0.4)),
    ("gpt-4.1-nano", Price::new(0.1, 0.4, 0.025, 0.1)),
    ("gpt-4o", Price::new(2.5, 10.0, 1.25, 2.5)),
    ("gpt-4o-mini", Price::new(0.15, 0.6, 0.075, 0.15)),
    ("gpt-5", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5-codex", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5-mini", Price::new(0.25, 2.0, 0.025, 0.25)),
    ("gpt-5-nano", Price::new(0.05, 0.4, 0.005, 0.05)),
    ("gpt-5-pro", Price::new(15.0, 120.0, 15.0, 15.0)),
    ("gpt-5.1", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex-max", Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex-mini", Price::new(0.25, 2.0, 0.025, 0.25)),
    ("gpt-5.2", Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.2-codex", Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.2-pro", Price::new(21.0, 168.0, 21.0, 21.0)),
    ("gpt-5.3-codex", Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.4", Price::new(2.5, 15.0, 0.25, 2.5)),
    ("gpt-5.4-mini", Price::new(0.75, 4.5, 0.075, 0.75)),
    ("gpt-5.4-nano", Price::new(0.2, 1.25, 0.02, 0.2)),
    ("gpt-5.4-pro", Price::new(30.0, 180.0, 30.0, 30.0)),
    ("gpt-5.5", Price::new(5.0, 30.0, 0.5, 5.0)),
    ("gpt-5.5-pro", Price::new(30.0, 180.0, 30.0, 30.0)),
    ("gpt-5.6", Price::new(4.0, 20.0, 0.4, 5.0)),
    ("gpt-5.6-luna", Price::new(0.2, 1.2, 0.02, 0.25)),
    ("gpt-5.6-sol", Price::new(4.0, 20.0, 0.4, 5.0)),
    ("gpt-5.6-terra", Price::new(2.0, 12.0, 0.2, 2.5)),
    ("o1", Price::new(15.0, 60.0, 7.5, 15.0)),
    ("o1-pro", Price::new(150.0, 600.0, 150.0, 150.0)),
    ("o3", Price::new(2.0, 8.0, 0.5, 2.0)),
    ("o3-mini", Price::new(1.1, 4.4, 0.55, 1.1)),
    ("o3-pro", Price::new(20.0, 80.0, 20.0, 20.0)),
    ("o4-mini", Price::new(1.1, 4.4, 0.275, 1.1)),
];

impl Prices {
    /// The built-in prices, with these before them.
    pub fn with(own: BTreeMap<String, Price>) -> Self {
        Self { own }
    }

    /// The price of a model, if it is known.
    pub fn get(&self, model: &str) -> Option<Price> {
        let model = model.rsplit_once('/').map_or(model, |(_, it)| it);
        let model = model.find(['@', '[', ':']).map_or(model, |at| &model[..at]);
        self.get_exact(model).or_else(|| self.get_exact(without_date(model)))
    }

    fn get_exact(&self, model: &str) -> Option<Price> {
        let built_in = || BUILT_IN.binary_search_by_key(&model, |(name, _)| name);
        self.own.get(model).copied().or_else(|| built_in().ok().map(|at| BUILT_IN[at].1))
    }

    /// What a model call costs, if the price is known.
    pub fn cost_usd(&self, model: &str, tokens: &Tokens) -> Option<f64> {
        self.get(model).map(|it| it.cost_usd(tokens))
    }
}

/// A name without `-20250514`, `-2025-05-14` or `-latest` at its end.
fn without_date(model: &str) -> &str {
    let model = model.strip_suffix("-latest").unwrap_or(model);
    let name = model.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let date = &model[name.len()..];
    // A date has eight digits; what is before them belongs to the name.
    let n_digits = date.bytes().filter(u8::is_ascii_digit).count();
    let Some(mut n_extra) = n_digits.checked_sub(8) else { return model };
    let mut end = name.len();
    for c in date.bytes() {
        if n_extra == 0 {
            break;
        }
        n_extra -= usize::from(c.is_ascii_digit());
        end += 1;
    }
    &model[..end]
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
    fn the_table_is_sorted() {
        assert!(super::BUILT_IN.is_sorted_by_key(|(name, _)| name));
    }
}
