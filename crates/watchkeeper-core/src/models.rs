//! What is known of models: how much they can read, and what they cost.

use crate::Price;

/// How many tokens a model can read at once, if it is known.
///
/// A model is looked up as [`Prices`](crate::Prices) does. It may have been
/// asked for with a window that is larger than the usual one: whoever sees it
/// read more knows.
pub fn context_tokens(model: &str) -> Option<u64> {
    // So does Claude Code name a model that it asked to read a million.
    if model.ends_with("[1m]") {
        return Some(1_000_000);
    }
    names(model).into_iter().find_map(listed).map(|it| it.context_tokens)
}

/// How many tokens every model that is known can read at once.
pub const LEAST_CONTEXT_TOKENS: u64 = {
    let mut least = u64::MAX;
    let mut idx = 0;
    while idx < BUILT_IN.len() {
        if BUILT_IN[idx].1 < least {
            least = BUILT_IN[idx].1;
        }
        idx += 1;
    }
    least
};

/// What is known of a model.
pub(crate) struct Listed {
    pub(crate) context_tokens: u64,
    pub(crate) price: Price,
}

/// The names by which to look a model up: that without a provider before it,
/// and that without a date behind it as well.
pub(crate) fn names(model: &str) -> [&str; 2] {
    let model = model.rsplit_once('/').map_or(model, |(_, it)| it);
    let model = model.find(['@', '[', ':']).map_or(model, |at| &model[..at]);
    [model, without_date(model)]
}

/// What is known of the model of exactly this name.
pub(crate) fn listed(name: &str) -> Option<Listed> {
    let at = BUILT_IN.binary_search_by_key(&name, |(name, ..)| name).ok()?;
    let (_, context_tokens, price) = BUILT_IN[at];
    Some(Listed { context_tokens, price })
}

/// By model, how many tokens it can read and its list price without discounts:
/// those of Claude, GPT and Gemini in
/// `model_prices_and_context_window_backup.json` of `LiteLLM` 1.109.1 (November
/// 2026). Writes to a cache are those that last five minutes; where it has no
/// price for a cache, that of the input stands. Models of Claude that it no
/// longer lists have what its Bedrock entries say.
const BUILT_IN: &[(&str, u64, Price)] = &[
    ("claude-3-5-haiku", 200_000, Price::new(0.8, 4.0, 0.08, 1.0)),
    ("claude-3-5-sonnet", 200_000, Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-7-sonnet", 200_000, Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-3-opus", 200_000, Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-fable-5", 1_000_000, Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-fable-5-1", 1_000_000, Price::new(10.0, 50.0, 0.25, 12.5)),
    ("claude-haiku-4-5", 200_000, Price::new(1.0, 5.0, 0.1, 1.25)),
    ("claude-haiku-5-5", 1_000_000, Price::new(0.1, 0.5, 0.01, 0.125)),
    ("claude-mythos-5", 1_000_000, Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-mythos-5-1", 1_000_000, Price::new(10.0, 50.0, 0.25, 12.5)),
    ("claude-mythos-preview", 1_000_000, Price::new(10.0, 50.0, 1.0, 12.5)),
    ("claude-opus-4", 200_000, Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-1", 200_000, Price::new(15.0, 75.0, 1.5, 18.75)),
    ("claude-opus-4-5", 200_000, Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-6", 1_000_000, Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-7", 1_000_000, Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-4-8", 1_000_000, Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-5", 1_000_000, Price::new(5.0, 25.0, 0.5, 6.25)),
    ("claude-opus-5-5", 1_000_000, Price::new(4.0, 20.0, 0.2, 5.0)),
    ("claude-sonnet-4", 200_000, Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-4-5", 200_000, Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-4-6", 1_000_000, Price::new(3.0, 15.0, 0.3, 3.75)),
    ("claude-sonnet-5", 1_000_000, Price::new(2.0, 10.0, 0.2, 2.5)),
    ("claude-sonnet-5-5", 1_000_000, Price::new(2.0, 10.0, 0.1, 2.5)),
    ("gemini-2.5-flash", 1_048_576, Price::new(0.3, 2.5, 0.03, 0.3)),
    ("gemini-2.5-flash-lite", 1_048_576, Price::new(0.1, 0.4, 0.01, 0.1)),
    ("gemini-2.5-pro", 1_048_576, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gemini-3-flash-preview", 1_048_576, Price::new(0.5, 3.0, 0.05, 0.5)),
    ("gemini-3.1-flash-lite", 1_048_576, Price::new(0.25, 1.5, 0.025, 0.25)),
    ("gemini-3.1-flash-lite-preview", 1_048_576, Price::new(0.25, 1.5, 0.025, 0.25)),
    ("gemini-3.1-pro-preview", 1_048_576, Price::new(2.0, 12.0, 0.2, 2.0)),
    ("gemini-3.5-flash", 1_048_576, Price::new(1.5, 9.0, 0.15, 1.5)),
    ("gemini-3.5-flash-lite", 1_048_576, Price::new(0.3, 2.5, 0.03, 0.3)),
    ("gemini-3.6-flash", 1_048_576, Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gemini-3.7-flash", 1_048_576, Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gemini-3.8-flash", 1_048_576, Price::new(0.75, 3.75, 0.075, 0.75)),
    ("gpt-4.1", 1_047_576, Price::new(2.0, 8.0, 0.5, 2.0)),
    ("gpt-4.1-mini", 1_047_576, Price::new(0.4, 1.6, 0.1, 0.4)),
    ("gpt-4.1-nano", 1_047_576, Price::new(0.1, 0.4, 0.025, 0.1)),
    ("gpt-4o", 128_000, Price::new(2.5, 10.0, 1.25, 2.5)),
    ("gpt-4o-mini", 128_000, Price::new(0.15, 0.6, 0.075, 0.15)),
    ("gpt-5", 272_000, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5-codex", 272_000, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5-mini", 272_000, Price::new(0.25, 2.0, 0.025, 0.25)),
    ("gpt-5-nano", 272_000, Price::new(0.05, 0.4, 0.005, 0.05)),
    ("gpt-5-pro", 400_000, Price::new(15.0, 120.0, 15.0, 15.0)),
    ("gpt-5.1", 272_000, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex", 400_000, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex-max", 400_000, Price::new(1.25, 10.0, 0.125, 1.25)),
    ("gpt-5.1-codex-mini", 400_000, Price::new(0.25, 2.0, 0.025, 0.25)),
    ("gpt-5.2", 272_000, Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.2-codex", 272_000, Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.2-pro", 272_000, Price::new(21.0, 168.0, 21.0, 21.0)),
    ("gpt-5.3-codex", 272_000, Price::new(1.75, 14.0, 0.175, 1.75)),
    ("gpt-5.4", 1_050_000, Price::new(2.5, 15.0, 0.25, 2.5)),
    ("gpt-5.4-mini", 272_000, Price::new(0.75, 4.5, 0.075, 0.75)),
    ("gpt-5.4-nano", 272_000, Price::new(0.2, 1.25, 0.02, 0.2)),
    ("gpt-5.4-pro", 1_050_000, Price::new(30.0, 180.0, 30.0, 30.0)),
    ("gpt-5.5", 1_050_000, Price::new(5.0, 30.0, 0.5, 5.0)),
    ("gpt-5.5-pro", 1_050_000, Price::new(30.0, 180.0, 30.0, 30.0)),
    ("gpt-5.6", 922_000, Price::new(4.0, 20.0, 0.4, 5.0)),
    ("gpt-5.6-luna", 922_000, Price::new(0.2, 1.2, 0.02, 0.25)),
    ("gpt-5.6-sol", 922_000, Price::new(4.0, 20.0, 0.4, 5.0)),
    ("gpt-5.6-terra", 922_000, Price::new(2.0, 12.0, 0.2, 2.5)),
    ("o1", 200_000, Price::new(15.0, 60.0, 7.5, 15.0)),
    ("o1-pro", 200_000, Price::new(150.0, 600.0, 150.0, 150.0)),
    ("o3", 200_000, Price::new(2.0, 8.0, 0.5, 2.0)),
    ("o3-mini", 200_000, Price::new(1.1, 4.4, 0.55, 1.1)),
    ("o3-pro", 200_000, Price::new(20.0, 80.0, 20.0, 20.0)),
    ("o4-mini", 200_000, Price::new(1.1, 4.4, 0.275, 1.1)),
];

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
    use super::context_tokens;

    #[test]
    fn windows_are_found_as_prices_are() {
        assert_eq!(context_tokens("claude-opus-4-5-20251101"), Some(200_000));
        assert_eq!(context_tokens("claude-opus-4-5-20251101[1m]"), Some(1_000_000));
        assert_eq!(context_tokens("anthropic/claude-opus-5"), Some(1_000_000));
        assert_eq!(context_tokens("gpt-5.3-codex"), Some(272_000));
        assert_eq!(context_tokens("fake-model"), None);
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(super::BUILT_IN.is_sorted_by_key(|(name, ..)| name));
    }
}
