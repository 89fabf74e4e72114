//! Context windows and list prices of known models.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, OnceLock},
};

use serde::Deserialize;

use crate::{Price, price::LongPromptPrice};

/// Returns the context window of a model in tokens, or `None` for an unknown model.
///
/// Looks the model up in the same way as [`Prices`](crate::Prices). An agent may have requested
/// a larger window than the standard one; then its model calls read more than this number.
pub fn context_tokens(model: &str) -> Option<u64> {
    names(model).into_iter().find_map(listed).map(|model| model.context_tokens)
}

/// Returns the smallest context window of all known models, in tokens.
pub fn least_context_tokens() -> u64 {
    *LEAST_CONTEXT_TOKENS
}

/// A model of the built-in table.
pub(crate) struct Model {
    context_tokens: u64,
    pub(crate) price: Price,
}

/// Returns the names under which to look a model up: without a provider, and also without a
/// date.
pub(crate) fn names(model: &str) -> [&str; 2] {
    let model = model.rsplit_once('/').map_or(model, |(_, name)| name);
    let model = model.find(['@', ':']).map_or(model, |at| &model[..at]);
    [model, without_date(model)]
}

/// Returns the model with exactly this name.
pub(crate) fn listed(name: &str) -> Option<&'static Model> {
    TABLE.get(name).map(|row| row.model.get_or_init(|| parse(row.line)))
}

const DATA: &str = include_str!("models.toml");

/// The rows by the names of the models.
static TABLE: LazyLock<BTreeMap<&str, TableRow>> = LazyLock::new(|| {
    rows().map(|(name, line)| (name, TableRow { line, model: OnceLock::new() })).collect()
});

static LEAST_CONTEXT_TOKENS: LazyLock<u64> = LazyLock::new(|| {
    let windows = rows().filter_map(|(_, line)| {
        let (_, rest) = line.split_once("context_tokens = ")?;
        rest.split_once(',')?.0.replace('_', "").parse().ok()
    });
    windows.min().unwrap_or(u64::MAX)
});

/// A line of the table, which is parsed when its model is needed: to parse all of them takes
/// longer than the rest of a short process, such as a hook.
struct TableRow {
    line: &'static str,
    model: OnceLock<Model>,
}

/// Returns the lines of the table that describe a model, with its name.
fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    DATA.lines().filter_map(|line| Some((line.strip_prefix('"')?.split_once('"')?.0, line)))
}

fn parse(line: &str) -> Model {
    let row: BTreeMap<String, Row> =
        toml::from_str(line).expect("the built-in table of models should parse");
    let row = row.into_values().next().expect("a row should have a name");
    let price = Price::new(row.input, row.output).with_cache(row.cache_read, row.cache_write);
    let price = Price { long_prompt: row.long_prompt, ..price };
    Model { context_tokens: row.context_tokens, price }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    context_tokens: u64,
    input: f64,
    output: f64,
    cache_read: f64,
    cache_write: f64,
    long_prompt: Option<LongPromptPrice>,
}

/// Removes a date at the end of a name (`-20250514`, `-2025-05-14`), or `-latest`.
fn without_date(model: &str) -> &str {
    let model = model.strip_suffix("-latest").unwrap_or(model);
    let name = model.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    let date = &model[name.len()..];
    // A date has eight digits. The digits before them belong to the name.
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
    use jiff::civil::Date;

    use serde::Deserialize;

    use super::{
        BTreeMap, DATA, Row, context_tokens, least_context_tokens, listed, rows, without_date,
    };

    /// The contents of `models.toml`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct DataFile {
        date: String,
        source: String,
        models: BTreeMap<String, Row>,
    }

    #[test]
    fn finds_windows_without_provider_and_date() {
        assert_eq!(context_tokens("claude-opus-4-5-20251101"), Some(200_000));
        assert_eq!(context_tokens("anthropic/claude-opus-5"), Some(1_000_000));
        assert_eq!(context_tokens("gpt-5.3-codex"), Some(272_000));
        assert_eq!(context_tokens("fake-model"), None);
        assert_eq!(least_context_tokens(), 128_000);
    }

    #[test]
    fn long_prompts_are_not_cheaper() {
        for (name, _) in rows() {
            let price = listed(name).unwrap().price;
            let Some(long) = price.long_prompt else { continue };
            assert!(long.above_tokens < 1_000_000, "{name}");
            for (long, usual) in [
                (Some(long.input), Some(price.input)),
                (Some(long.output), Some(price.output)),
                (long.cache_read, price.cache_read),
                (long.cache_write, price.cache_write),
            ] {
                assert!(usual <= long, "{name}: {long:?} is less than {usual:?}");
            }
        }
    }

    #[test]
    fn the_data_file_is_well_formed() {
        let file: DataFile = toml::from_str(DATA).unwrap();
        assert!(file.date.parse::<Date>().is_ok_and(|it| it.to_string() == file.date));
        assert!(!file.source.is_empty());
        for (name, row) in &file.models {
            assert!(0 < row.context_tokens, "{name}");
            for price in [row.input, row.output, row.cache_read, row.cache_write] {
                assert!(price.is_finite() && 0.0 < price, "{name}");
            }
            assert!(row.cache_read <= row.input && row.input <= row.output, "{name}");
            assert_eq!(without_date(name), name);
            assert!(!name.contains(['/', '@', '[', ':']), "{name}");
        }
        // TOML refuses a name that occurs twice.
        let names: Vec<&str> = rows().map(|(name, _)| name).collect();
        assert_eq!(names.len(), file.models.len());
        assert!(names.is_sorted(), "the names should be sorted");
        for (name, row) in &file.models {
            assert_eq!(context_tokens(name), Some(row.context_tokens));
        }
        let least = file.models.values().map(|row| row.context_tokens).min();
        assert_eq!(Some(least_context_tokens()), least);
    }
}
