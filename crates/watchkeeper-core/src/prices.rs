use std::collections::BTreeMap;

use crate::{Price, Tokens, models};

/// Prices of models: those of a policy, and a built-in table of list prices.
///
/// Models are looked up by name, without a provider prefix, with and without a date at the end.
/// A model that is not listed has no price, even if a model with a similar name is listed.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    own: BTreeMap<String, Price>,
}

impl Prices {
    /// Creates a price list in which `own` prices take precedence over the built-in ones.
    pub fn with(own: BTreeMap<String, Price>) -> Self {
        Self { own }
    }

    /// Returns the price of a model, or `None` for an unknown model.
    pub fn get(&self, model: &str) -> Option<Price> {
        let own = |name| self.own.get(name).copied();
        models::names(model)
            .into_iter()
            .find_map(|name| own(name).or_else(|| models::listed(name).map(|model| model.price)))
    }

    /// Returns the cost of one request to a model in US dollars, or `None` for an unknown model.
    pub fn cost_usd(&self, model: &str, tokens: &Tokens) -> Option<f64> {
        self.get(model).map(|it| it.cost_usd(tokens))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Prices;
    use crate::{ModelCall, Price, Tokens};

    #[test]
    fn finds_prices_without_provider_and_date() {
        let prices = Prices::default();
        let input = |model| prices.get(model).map(|it| it.input);
        assert_eq!(input("claude-opus-4-5-20251101"), Some(5.0));
        assert_eq!(input("claude-opus-4-20250514"), Some(15.0));
        assert_eq!(input("anthropic/claude-sonnet-5"), Some(2.0));
        assert_eq!(input("gpt-5-2025-08-07"), Some(1.25));
        assert_eq!(input("gpt-5.3-codex"), Some(1.75));
        assert_eq!(input("gpt-5.3-codex-spark"), None);
        assert_eq!(input("gpt-50"), None);
        assert_eq!(input("20250514"), None);
        assert_eq!(input("fake-model"), None);
    }

    #[test]
    fn a_price_of_the_policy_takes_precedence() {
        let own = Price::new(1.0, 0.0);
        let prices = Prices::with(BTreeMap::from([("gpt-5".to_owned(), own)]));
        let tokens =
            Tokens { input: 50_000, cache_read: 50_000, cache_write: 50_000, ..Tokens::default() };
        let cost = |model| prices.cost_usd(model, &tokens).unwrap();
        assert!((cost("gpt-5.5") - 0.525).abs() < 1e-9);
        assert!((cost("gpt-5-2025-08-07") - 0.1175).abs() < 1e-9);
    }

    #[test]
    fn a_cache_write_for_an_hour_costs_more() {
        let tokens =
            |cache_write_1h| Tokens { cache_write: 100_000, cache_write_1h, ..Tokens::default() };
        let cost = |it| Prices::default().cost_usd("claude-sonnet-4-5", &tokens(it)).unwrap();
        assert!((cost(0) - 0.375).abs() < 1e-9);
        assert!((cost(40_000) - 0.465).abs() < 1e-9);
        // `cache_write_1h` is a part of `cache_write` and cannot exceed it.
        assert!((cost(900_000) - 0.6).abs() < 1e-9);
        // It costs twice the price of the input where the table has one price for both.
        let cost = Prices::default().cost_usd("gpt-5.5", &tokens(100_000)).unwrap();
        assert!((cost - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_long_prompt_changes_the_price_of_all_tokens_of_its_request() {
        let cost = |model: &str, input, cache_read, cache_write| {
            let tokens =
                Tokens { input, cache_read, cache_write, output: 10_000, ..Tokens::default() };
            Prices::default().cost_usd(model, &tokens).unwrap()
        };
        for (model, input, cache_read, cache_write, expected) in [
            // 0.3 + 0.03 + 0.15, and 0.6 + 0.06 + 0.0000075 + 0.225.
            ("claude-sonnet-4-5", 100_000, 100_000, 0, 0.48),
            ("claude-sonnet-4-5", 100_000, 100_000, 1, 0.885_007_5),
            // 1.36 + 0.3, and 2.72001 + 0.45.
            ("gpt-5.5", 272_000, 0, 0, 1.66),
            ("gpt-5.5", 272_001, 0, 0, 3.170_01),
            // The price of this model does not depend on the prompt.
            ("claude-sonnet-5", 900_000, 0, 0, 1.9),
        ] {
            let cost = cost(model, input, cache_read, cache_write);
            assert!((cost - expected).abs() < 1e-9, "{model} {input} {cost}");
        }
    }

    #[test]
    fn web_searches_and_the_fast_mode_cost_extra() {
        let price = Price::new(5.0, 25.0);
        let tokens = Tokens { input: 100_000, output: 20_000, ..Tokens::default() };
        let call = ModelCall { tokens, ..ModelCall::default() };
        for (web_searches, is_fast, expected) in
            [(0, false, 1.0), (30, false, 1.3), (0, true, 6.0), (1_000, true, 16.0)]
        {
            let call = ModelCall { web_searches, is_fast, ..call.clone() };
            assert!((price.cost_of_call(&call) - expected).abs() < 1e-9, "{call:?}");
        }
    }
}
