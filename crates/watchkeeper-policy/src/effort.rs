//! The limits of the detectors and sinks that a policy builds.

use toml::de::DeValue;

use crate::{
    limits::{MAX_EFFORT, MAX_MEMORY_MIB},
    tree::{Table, Value},
};

/// Keys whose values take longer to read than others: the number of other values for which
/// each of them counts.
const WEIGHTS: [(&str, usize); 2] = [("regex", 10), ("template", 1000)];

/// What the detectors and sinks of a policy have left of its limits.
///
/// One table can be read many times: for each combination of overrides, and again after each
/// mistake.
#[derive(Debug)]
pub(crate) struct Effort {
    /// In keys and values.
    n_remaining: usize,
    /// In bytes.
    memory: usize,
    is_exceeded: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self { n_remaining: MAX_EFFORT, memory: MAX_MEMORY_MIB << 20, is_exceeded: false }
    }
}

impl Effort {
    /// Returns whether a table may be read.
    pub(crate) fn spend(&mut self, table: &Table<'_>) -> bool {
        let remaining = self.n_remaining.checked_sub(in_table(table));
        self.n_remaining = remaining.unwrap_or(0);
        remaining.is_some()
    }

    /// Returns whether a detector of this size may be kept, in bytes.
    pub(crate) fn hold(&mut self, memory: usize) -> bool {
        let remaining = self.memory.checked_sub(memory);
        self.memory = remaining.unwrap_or(0);
        remaining.is_some()
    }

    /// Marks a limit as exceeded. Returns `true` the first time.
    pub(crate) fn exceed(&mut self) -> bool {
        !std::mem::replace(&mut self.is_exceeded, true)
    }

    /// Returns whether a limit is exceeded, so that reading further detectors is useless.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }
}

/// Returns the effort to read a table, in keys and values.
fn in_table(table: &Table<'_>) -> usize {
    let entries = table.iter().map(|(key, value)| {
        let weight = WEIGHTS.iter().find(|(name, _)| key.get_ref() == name);
        1 + weight.map_or(0, |(_, weight)| *weight) + in_value(value)
    });
    entries.sum()
}

fn in_value(value: &Value<'_>) -> usize {
    1 + match value.get_ref() {
        DeValue::Table(table) => in_table(table),
        DeValue::Array(items) => items.iter().map(in_value).sum(),
        _ => 0,
    }
}
