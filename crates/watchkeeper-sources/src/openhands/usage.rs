//! The usage of model responses.

use watchkeeper_core::author::Tokens;

use crate::json::{Text, object};

object! {
    /// The usage of one response or of several, in the format of the provider or of OpenHands.
    pub(super) struct Usage<'a> {
        b"response_id" => response: Text<'a>,
        b"model" => model: Text<'a>,
        b"prompt_tokens" => prompt: u64,
        b"completion_tokens" => completion: u64,
        b"cache_read_tokens" | b"cache_read_input_tokens" => cache_read: u64,
        b"cache_write_tokens" | b"cache_creation_input_tokens" => cache_write: u64,
        b"reasoning_tokens" => reasoning: u64,
        b"prompt_tokens_details" => prompt_details: UsageDetails,
        b"completion_tokens_details" => completion_details: UsageDetails,
    }
}

object! {
    pub(super) struct UsageDetails {
        b"cached_tokens" => cached: u64,
        b"reasoning_tokens" => reasoning: u64,
    }
}

object! {
    /// The total usage so far.
    pub(super) struct Totals<'a> {
        b"accumulated_cost" => cost_usd: f64,
        b"accumulated_token_usage" => usage: Usage<'a>,
    }
}

/// The usage of model responses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Input tokens, with or without a cache.
    prompt: u64,
    cache_read: u64,
    cache_write: u64,
    completion: u64,
    reasoning: u64,
    cost_usd: f64,
}

impl Usage<'_> {
    pub(super) fn used(&self) -> Used {
        let details = || [&self.prompt_details, &self.completion_details].into_iter().flatten();
        let cached = details().filter_map(|details| details.cached).max();
        let reasoning = details().filter_map(|details| details.reasoning).max();
        Used {
            prompt: self.prompt.unwrap_or(0),
            // Some providers write the same count twice.
            cache_read: self.cache_read.max(cached).unwrap_or(0),
            cache_write: self.cache_write.unwrap_or(0),
            completion: self.completion.unwrap_or(0),
            reasoning: self.reasoning.or(reasoning).unwrap_or(0),
            cost_usd: 0.0,
        }
    }
}

impl Totals<'_> {
    pub(super) fn used(&self) -> Used {
        total(self.usage.as_ref(), self.cost_usd)
    }
}

/// Returns the usage of responses with a cost in US dollars.
pub(super) fn total(usage: Option<&Usage<'_>>, cost_usd: Option<f64>) -> Used {
    usage.map(Usage::used).unwrap_or_default().at_cost(cost_usd.unwrap_or(0.0))
}

impl Used {
    pub(super) fn tokens(self) -> Tokens {
        let cached = self.cache_read.saturating_add(self.cache_write);
        // Some providers include cached tokens in the input, and some do not.
        let input = self.prompt.checked_sub(cached).unwrap_or(self.prompt);
        Tokens {
            input,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            output: self.completion,
            reasoning: self.reasoning.min(self.completion),
            cache_write_1h: 0,
        }
    }

    /// Returns the difference to the earlier totals, or all if the totals were reset.
    pub(super) fn since(self, earlier: Self) -> Self {
        if self.prompt < earlier.prompt || self.completion < earlier.completion {
            return self;
        }
        Self {
            prompt: self.prompt - earlier.prompt,
            cache_read: self.cache_read.saturating_sub(earlier.cache_read),
            cache_write: self.cache_write.saturating_sub(earlier.cache_write),
            completion: self.completion - earlier.completion,
            reasoning: self.reasoning.saturating_sub(earlier.reasoning),
            cost_usd: (self.cost_usd - earlier.cost_usd).max(0.0),
        }
    }

    /// Returns the cost in US dollars, if it is known.
    pub(super) fn cost_usd(self) -> Option<f64> {
        Some(self.cost_usd).filter(|cost_usd| 0.0 < *cost_usd)
    }

    /// Sets the cost in US dollars. Ignores a cost that is negative or infinite.
    pub(super) fn at_cost(self, cost_usd: f64) -> Self {
        let is_valid = cost_usd.is_finite() && 0.0 <= cost_usd;
        Self { cost_usd: if is_valid { cost_usd } else { 0.0 }, ..self }
    }

    /// Returns whether tokens were counted. Early versions do not count them.
    pub(super) fn has_tokens(self) -> bool {
        0 < self.prompt || 0 < self.completion
    }
}

#[cfg(test)]
mod tests {
    use super::{Totals, Usage};
    use crate::json::parse;

    #[test]
    fn reads_cached_tokens_in_the_formats_of_providers() {
        for (usage, input, cache_read, cache_write) in [
            // The input includes cached tokens.
            (r#"{"prompt_tokens":9,"cache_read_tokens":5,"cache_write_tokens":1}"#, 3, 5, 1),
            (r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5}}"#, 4, 5, 0),
            (
                r#"{"prompt_tokens":9,"cache_read_input_tokens":5,"cache_creation_input_tokens":2,
                    "prompt_tokens_details":{"cached_tokens":5}}"#,
                2,
                5,
                2,
            ),
            // The input does not include cached tokens.
            (r#"{"prompt_tokens":3,"cache_read_input_tokens":5}"#, 3, 5, 0),
        ] {
            let read: Usage<'_> = parse(usage.as_bytes()).expect("the text is JSON");
            let tokens = read.used().tokens();
            let counts = (tokens.input, tokens.cache_read, tokens.cache_write);
            assert_eq!(counts, (input, cache_read, cache_write), "{usage}");
        }
    }

    #[test]
    fn ignores_an_invalid_cost() {
        for (cost, expected) in [("0.5", Some(0.5)), ("-1", None), ("1e999", None), ("[]", None)] {
            let text = format!(r#"{{"accumulated_cost":{cost}}}"#);
            let totals: Totals<'_> = parse(text.as_bytes()).expect("the text is JSON");
            assert_eq!(totals.used().cost_usd(), expected, "{cost}");
        }
    }
}
