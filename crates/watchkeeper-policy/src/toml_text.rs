//! Writes TOML values on one line, with characters escaped that are unsafe for a
//! terminal.

use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};
use watchkeeper_core::author::is_unsafe;

/// Returns the text of a TOML key, with quotes if necessary.
pub fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { string(name) }
}

/// Returns the text of a TOML string, in one line and safe for a terminal.
pub fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if is_unsafe(c) => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes a value, with inline tables.
pub(crate) fn value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => string(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|it| self::value(it.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => self::table(table),
    }
}

/// Writes an inline table.
pub(crate) fn table(table: &DeTable<'_>) -> String {
    if table.is_empty() {
        return "{}".to_owned();
    }
    let entries = table
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name.get_ref()), self::value(value.get_ref())));
    let entries: Vec<String> = entries.collect();
    format!("{{ {} }}", entries.join(", "))
}

/// Writes a JSON value as TOML. Returns `None` for null, which TOML lacks.
pub(crate) fn json(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(json).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => {
            // Keys with a null value are left out.
            let entries = object
                .iter()
                .filter_map(|(name, value)| Some(format!("{} = {}", key(name), json(value)?)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    })
}
