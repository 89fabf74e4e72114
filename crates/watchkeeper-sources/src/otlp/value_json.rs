//! Lists and maps in attributes, written as JSON.

use std::{borrow::Cow, fmt::Write as _};

use watchkeeper_core::Json;

use crate::json::Malformed;

/// The depth from which values become `null`.
pub(super) const MAX_DEPTH: usize = 16;

/// Writes a list, whose elements `write` writes.
pub(super) fn write_list<T>(
    elements: impl Iterator<Item = Result<T, Malformed>>,
    json: &mut String,
    mut write: impl FnMut(T, &mut String) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    json.push('[');
    for (idx, element) in elements.enumerate() {
        if 0 < idx {
            json.push(',');
        }
        write(element?, json)?;
    }
    json.push(']');
    Ok(())
}

/// Writes a map, whose values `write` writes.
pub(super) fn write_map<'a, T>(
    entries: impl Iterator<Item = Result<(Cow<'a, str>, T), Malformed>>,
    json: &mut String,
    mut write: impl FnMut(T, &mut String) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    json.push('{');
    for (idx, entry) in entries.enumerate() {
        let (key, value) = entry?;
        if 0 < idx {
            json.push(',');
        }
        write_text(&key, json);
        json.push(':');
        write(value, json)?;
    }
    json.push('}');
    Ok(())
}

pub(super) fn write_text(text: &str, json: &mut String) {
    json.push_str(Json::text(text).as_str());
}

/// Writes a number. JSON has no infinity.
pub(super) fn write_float(number: f64, json: &mut String) {
    match serde_json::Number::from_f64(number) {
        Some(number) => {
            // Writing to a string does not fail.
            _ = write!(json, "{number}");
        }
        None => json.push_str("null"),
    }
}

/// Writes the number of bytes in place of the bytes, which no client sends.
pub(super) fn write_bytes(len: usize, json: &mut String) {
    write_text(&format!("{len} bytes"), json);
}
