//! A strict reader of the text format of Prometheus, for tests.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of each metric, by their labels.
pub(crate) type Metrics = BTreeMap<String, BTreeMap<Labels, f64>>;
pub(crate) type Labels = Vec<(String, String)>;

/// Reads a text in which each metric has its help, its type and its samples, in this order.
/// Panics if a metric, a label or a sample occurs twice, or is not well-formed.
pub(crate) fn read(text: &str) -> Metrics {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut metrics = Metrics::new();
    let mut lines = text.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("no help: {line:?}"));
        let (name, help) = help.split_once(' ').unwrap();
        assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line:?}");
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let (of, kind) = kind.unwrap_or_else(|| panic!("no type: {name}"));
        assert_eq!(of, name);
        // Promtool demands the suffix of counters, and refuses it elsewhere.
        assert_eq!(kind, if name.ends_with("_total") { "counter" } else { "gauge" }, "{name}");
        let mut samples = BTreeMap::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).unwrap_or_else(|| panic!("{name}: {line:?}"));
            let (labels, value) = read_labels(rest);
            let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("{line:?}"));
            let n: f64 = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
            assert!(kind == "gauge" || 0.0 <= n, "a counter is negative: {line:?}");
            assert!(samples.insert(labels, n).is_none(), "a sample is repeated: {line:?}");
        }
        assert!(metrics.insert(name.to_owned(), samples).is_none(), "{name} is repeated");
    }
    metrics
}

/// Returns the labels at the start of a text, and its rest.
fn read_labels(text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return (labels, text) };
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text:?}"));
        assert!(is_name(name) && !name.contains(':'), "{text:?}");
        let (value, after) = read_value(after);
        labels.push((name.to_owned(), value));
        if let Some(after) = after.strip_prefix('}') {
            let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), labels.len(), "a label is repeated: {text:?}");
            return (labels, after);
        }
        rest = after.strip_prefix(',').unwrap_or_else(|| panic!("{text:?}"));
    }
}

/// Returns the value of a label up to its quote, and the text after the quote.
fn read_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next() {
            Some('"') => return (value, characters.as_str()),
            Some('\\') => value.push(match characters.next() {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("an escape of {other:?}: {text:?}"),
            }),
            Some(other) => value.push(other),
            None => panic!("a value has no end: {text:?}"),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(is_part)
}
