//! Writes TOML: one line, and safe for a terminal.

use std::fmt::Write as _;

use toml::de::DeValue;
use watchkeeper_core::is_unsafe;

/// Writes a key, in quotes if it needs them.
pub(crate) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { string(name) }
}

/// Writes a string.
pub(crate) fn string(text: &str) -> String {
    let mut res = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => res.extend(['\\', c]),
            '\n' => res.push_str("\\n"),
            '\t' => res.push_str("\\t"),
            _ if is_unsafe(c) => {
                // Writing to a string cannot fail.
                let _ = write!(res, "\\U{:08X}", u32::from(c));
            }
            _ => res.push(c),
        }
    }
    res.push('"');
    res
}

/// Writes a value, tables inline.
pub(crate) fn value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(it) => string(it),
        DeValue::Integer(it) => it.to_string(),
        DeValue::Float(it) => it.to_string(),
        DeValue::Boolean(it) => it.to_string(),
        DeValue::Datetime(it) => it.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|it| self::value(it.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) if table.is_empty() => "{}".to_owned(),
        DeValue::Table(table) => {
            let entry = |(name, it): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                format!("{} = {}", key(name), self::value(it.get_ref()))
            };
            let entries: Vec<String> = table.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// Writes a value that is not in any file; `None` if TOML has none like it.
pub(crate) fn json(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    Some(match value {
        Value::Null => return None,
        Value::Bool(it) => it.to_string(),
        Value::Number(it) => it.to_string(),
        Value::String(it) => string(it),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(json).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => {
            // What is null is left out, as it would be in a file.
            let entries = object
                .iter()
                .filter_map(|(name, it)| Some(format!("{} = {}", key(name), json(it)?)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    })
}
