use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ModelCall, Tokens};

/// The price of a model, in US dollars per million tokens of each class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Price {
    /// Input that was not read from a cache.
    pub input: f64,
    /// Output, including reasoning.
    pub output: f64,
    /// Input that was read from a cache. Default: 0.1 times `input`.
    pub cache_read: Option<f64>,
    /// Input that was written to a cache for five minutes. Default: 1.25 times `input`. Input
    /// that was written to a cache for an hour costs twice `input`.
    pub cache_write: Option<f64>,
    /// The prices of requests with a long prompt. Default: none.
    pub long_prompt: Option<LongPromptPrice>,
}

/// The prices of requests whose prompt is longer than a limit. They apply to all tokens of such
/// a request, by the price lists of the providers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LongPromptPrice {
    /// The limit in tokens: of input, of input that was read from a cache and of input that was
    /// written to one.
    pub above_tokens: u64,
    /// Input that was not read from a cache.
    pub input: f64,
    /// Output, including reasoning.
    pub output: f64,
    /// Input that was read from a cache. Default: 0.1 times `input`.
    pub cache_read: Option<f64>,
    /// Input that was written to a cache for five minutes. Default: 1.25 times `input`. Input
    /// that was written to a cache for an hour costs twice `input`.
    pub cache_write: Option<f64>,
}

/// The price of a cache write for an hour, relative to the price of the input.
const HOUR_FACTOR: f64 = 2.0;
/// The price of the fast mode, relative to the standard one, by the price list of Anthropic.
const FAST_FACTOR: f64 = 6.0;
/// The price of a web search of the provider in US dollars: 10 for 1,000.
const WEB_SEARCH_USD: f64 = 0.01;

impl Price {
    /// Creates a price with the default prices of cached input.
    pub const fn new(input: f64, output: f64) -> Self {
        Self { input, output, cache_read: None, cache_write: None, long_prompt: None }
    }

    /// Sets the prices of cached input.
    #[must_use]
    pub const fn with_cache(self, read: f64, write: f64) -> Self {
        Self { cache_read: Some(read), cache_write: Some(write), ..self }
    }

    /// Sets the prices of requests with a long prompt.
    #[must_use]
    pub const fn with_long_prompt(self, price: LongPromptPrice) -> Self {
        Self { long_prompt: Some(price), ..self }
    }

    /// Returns the price of a request.
    fn of_request(self, tokens: &Tokens) -> Self {
        let prompt =
            tokens.input.saturating_add(tokens.cache_read).saturating_add(tokens.cache_write);
        let long = self.long_prompt.filter(|long| long.above_tokens < prompt);
        long.map_or(self, |long| Self {
            input: long.input,
            output: long.output,
            cache_read: long.cache_read,
            cache_write: long.cache_write,
            long_prompt: None,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "dollars are shown to the cent")]
    pub(crate) fn cost_usd(&self, tokens: &Tokens) -> f64 {
        let price = self.of_request(tokens);
        let cache_read = price.cache_read.unwrap_or(price.input * 0.1);
        let cache_write = price.cache_write.unwrap_or(price.input * 1.25);
        let for_an_hour = tokens.cache_write_1h.min(tokens.cache_write) as f64;
        let cost = tokens.input as f64 * price.input
            + tokens.output as f64 * price.output
            + tokens.cache_read as f64 * cache_read
            + tokens.cache_write as f64 * cache_write
            + for_an_hour * (price.input * HOUR_FACTOR - cache_write).max(0.0);
        cost / 1e6
    }

    /// Returns the cost of a model call, including its web searches.
    pub(crate) fn cost_of_call(&self, call: &ModelCall) -> f64 {
        let factor = if call.is_fast { FAST_FACTOR } else { 1.0 };
        self.cost_usd(&call.tokens) * factor + f64::from(call.web_searches) * WEB_SEARCH_USD
    }
}
