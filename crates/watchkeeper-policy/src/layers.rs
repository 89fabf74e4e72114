//! Merges a policy with the files that it extends.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeArray, DeValue},
};
use watchkeeper_core::author::grouped;

use crate::{
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    extends::{Layer, Reading, find_layers, not_a_list},
    files::Files,
    limits::{MAX_MERGED_VALUES, MAX_VALUES},
    required_version, toml_text,
    tree::{self, Table, Value},
};

/// The only version of the format.
const VERSION: &str = "1";

/// The files of a policy, each after the files that it extends.
pub(crate) struct Layers {
    layers: Vec<Layer>,
}

impl Layers {
    /// Reads the file at `path` and every file that it extends, directly or indirectly.
    pub(crate) fn find(
        reading: Reading<'_>,
        path: &Path,
        files: &mut Files,
        diagnostics: &mut DiagnosticList,
    ) -> Self {
        Self { layers: find_layers(reading, path, files, diagnostics) }
    }

    /// Returns the number of files.
    pub(crate) fn len(&self) -> usize {
        self.layers.len()
    }

    /// Merges the files: tables are merged, other values are replaced, and `add`
    /// and `remove` edit arrays. Returns `None` if a file is not valid TOML.
    pub(crate) fn merge<'f>(
        &self,
        files: &'f Files,
        diagnostics: &mut DiagnosticList,
    ) -> Option<Table<'f>> {
        let mut merged: Vec<Table<'f>> = Vec::new();
        let (mut is_toml, mut n_values, mut n_merged) = (true, 0, 0);
        for layer in &self.layers {
            let (text, start) = files.text(layer.file_idx)?;
            n_values += layer.scan.n_values;
            if MAX_VALUES < n_values {
                let max = grouped(MAX_VALUES as u64);
                let message = format!("the policy has more than {max} keys and values");
                let note = "shorten the longest lists; the files that it extends count, too";
                diagnostics.push(Diagnostic::error(start..start, message).note(note));
                return None;
            }
            let own = tree::parse_scanned(text, start, layer.scan, diagnostics);
            let mut own = own.unwrap_or_else(|| {
                is_toml = false;
                Table::new()
            });
            // Keys of a later version would have errors that only distract.
            if !required_version::is_met(&own, diagnostics) {
                return None;
            }
            own.remove("required_version");
            if is_toml {
                check_version(&own, "the policy", start, diagnostics);
            }
            // In a header, which the search for extended files does not read.
            let start_end = start + layer.scan.start_len;
            if let Some((key, _)) =
                own.remove_entry("extends").filter(|(key, _)| start_end <= key.span().start)
            {
                diagnostics.push(not_a_list(key.span()));
            }
            let mut table = Table::new();
            for base_idx in &layer.bases {
                let base = merged.get(*base_idx)?;
                n_merged += tree::n_values(base);
                if MAX_MERGED_VALUES < n_merged {
                    let max = grouped(MAX_MERGED_VALUES as u64);
                    let message =
                        format!("the extended files have more than {max} keys and values");
                    let note = "a file counts each time that another one extends it; extend a \
                                large file once";
                    diagnostics.push(Diagnostic::error(start..start, message).note(note));
                    return None;
                }
                table = merge(table, base.clone(), &[], diagnostics);
            }
            merged.push(merge(table, own, &[], diagnostics));
        }
        // Further errors would only be consequences of the syntax errors.
        let table = merged.pop().filter(|_| is_toml)?;
        Some(reject_edits(table, diagnostics))
    }
}

/// Checks the `version` of a file. `what` names the file in the error.
pub(crate) fn check_version(
    table: &Table<'_>,
    what: &str,
    start: usize,
    diagnostics: &mut DiagnosticList,
) {
    let Some(value) = table.get("version") else {
        let message = format!("{what} has no `version`");
        let fix = Fix::new("add the version of the format", start..start, "version = 1\n");
        diagnostics.push(Diagnostic::error(start..start, message).fix(fix));
        return;
    };
    let is_known = value.get_ref().as_integer().is_some_and(|it| it.to_string() == VERSION);
    if !is_known {
        let message = format!("unsupported version {}", toml_text::value(value.get_ref()));
        let note = format!("this program supports version {VERSION}");
        let is_string = value.get_ref().as_str().is_some_and(|it| it.trim() == VERSION);
        let fix = is_string.then(|| Fix::new("remove the quotes", value.span(), VERSION));
        diagnostics.push(Diagnostic::error(value.span(), message).note(note).fix(fix));
    }
}

/// Merges `over` into `base`; values of `over` take precedence. `path` is the
/// location of both tables in the policy.
fn merge<'f>(
    mut base: Table<'f>,
    over: Table<'f>,
    path: &[&str],
    diagnostics: &mut DiagnosticList,
) -> Table<'f> {
    for (key, value) in over {
        let Some((_, below)) = base.remove_entry(key.get_ref().as_ref()) else {
            base.insert(key, value);
            continue;
        };
        let span = value.span();
        let value = match (below.into_inner(), value.into_inner()) {
            (DeValue::Table(below), DeValue::Table(value)) => {
                let name = key.get_ref().clone();
                let path: Vec<&str> = path.iter().copied().chain([name.as_ref()]).collect();
                let below = if matches!(path[..], ["detectors" | "sinks", _]) {
                    without_replaced(below, &value)
                } else {
                    below
                };
                DeValue::Table(merge(below, value, &path, diagnostics))
            }
            // `[labels]` counts as an entry of `[[labels]]` for all sessions.
            (DeValue::Array(below), DeValue::Table(labels))
                if is_labels(path, &key) && !is_edit(&labels) =>
            {
                let entry = labels_entry(&key, Spanned::new(span.clone(), DeValue::Table(labels)));
                DeValue::Array(below.into_iter().chain([entry]).collect())
            }
            (below @ DeValue::Table(_), DeValue::Array(rules)) if is_labels(path, &key) => {
                let entry = labels_entry(&key, Spanned::new(span.clone(), below));
                DeValue::Array([entry].into_iter().chain(rules).collect())
            }
            (DeValue::Array(below), DeValue::Table(edit)) => {
                let items = below.into_iter().collect();
                DeValue::Array(
                    edited(items, edit, key.get_ref(), diagnostics).into_iter().collect(),
                )
            }
            (_, value) => value,
        };
        base.insert(key, Spanned::new(span, value));
    }
    base
}

/// Returns whether a key is the section `labels`.
fn is_labels(path: &[&str], key: &tree::Key<'_>) -> bool {
    path.is_empty() && key.get_ref() == "labels"
}

/// Turns `[labels]` into an entry of `[[labels]]`.
fn labels_entry<'f>(key: &tree::Key<'f>, labels: Value<'f>) -> Value<'f> {
    let span = labels.span();
    let mut entry = Table::new();
    entry.insert(key.clone(), labels);
    Spanned::new(span, DeValue::Table(entry))
}

/// Merges the keys of an override into a detector.
pub(crate) fn merge_override<'f>(
    below: Table<'f>,
    mut over: Table<'f>,
    diagnostics: &mut DiagnosticList,
) -> Table<'f> {
    let mut below = without_replaced(below, &over);
    // `exceptions.add` also works for a detector without exceptions.
    if let Some((key, value)) = over.remove_entry("exceptions") {
        if !below.contains_key("exceptions") && value.get_ref().is_table() {
            let none = Spanned::new(value.span(), DeValue::Array(DeArray::new()));
            below.insert(key.clone(), none);
        }
        over.insert(key, value);
    }
    reject_edits(merge(below, over, &[], diagnostics), diagnostics)
}

/// Removes the keys of a detector or a sink that `over` makes obsolete: all keys
/// if the kind differs, and `levels` or `severity` if `over` has the other one.
fn without_replaced<'f>(mut below: Table<'f>, over: &Table<'f>) -> Table<'f> {
    if let (Some(new), Some(old)) = (over.get("kind"), below.get("kind"))
        && !tree::is_same(new.get_ref(), old.get_ref())
    {
        return Table::new();
    }
    for (one, other) in [("severity", "levels"), ("levels", "severity")] {
        if over.contains_key(one) {
            below.remove(other);
        }
    }
    below
}

/// Applies `add` and `remove` to an array.
fn edited<'f>(
    mut items: Vec<Value<'f>>,
    edit: Table<'f>,
    name: &str,
    diagnostics: &mut DiagnosticList,
) -> Vec<Value<'f>> {
    let mut added = Vec::new();
    for (key, value) in edit {
        let verb = key.get_ref().as_ref();
        if !matches!(verb, "add" | "remove") {
            let message = format!("unknown list operation `{verb}`");
            let fix = Fix::key(verb, key.span(), ["add", "remove"]);
            let note = format!("write `{name} = […]`, `{name}.add = […]` or `{name}.remove = […]`");
            diagnostics.push(Diagnostic::error(key.span(), message).note(note).fix(fix));
            continue;
        }
        let span = value.span();
        let DeValue::Array(operands) = value.into_inner() else {
            let message = format!("`{name}.{verb}` is not a list");
            diagnostics.push(Diagnostic::error(span, message));
            continue;
        };
        if verb == "add" {
            added.extend(operands);
            continue;
        }
        for operand in operands {
            let n_before = items.len();
            items.retain(|item| !tree::is_same(item.get_ref(), operand.get_ref()));
            if items.len() == n_before {
                let message = format!("`{name}` does not contain this value");
                diagnostics.push(Diagnostic::warning(operand.span(), message));
            }
        }
    }
    items.extend(added);
    items
}

/// Returns whether a table consists of edits of an array.
fn is_edit(table: &Table<'_>) -> bool {
    let is_verb = |(key, value): (&tree::Key<'_>, &Value<'_>)| {
        matches!(key.get_ref().as_ref(), "add" | "remove") && value.get_ref().is_array()
    };
    !table.is_empty() && table.iter().all(is_verb)
}

/// Removes edits without an array to edit, and reports them.
fn reject_edits<'f>(table: Table<'f>, diagnostics: &mut DiagnosticList) -> Table<'f> {
    let mut remaining = Table::new();
    for (key, value) in table {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::Table(edit) if is_edit(&edit) => {
                for (key, _) in &edit {
                    let message = match key.get_ref().as_ref() {
                        "add" => "no list to add to",
                        _ => "no list to remove from",
                    };
                    let note = "`add` and `remove` edit a list of an extended policy";
                    diagnostics.push(Diagnostic::error(key.span(), message).note(note));
                }
                continue;
            }
            DeValue::Table(table) => DeValue::Table(reject_edits(table, diagnostics)),
            other => other,
        };
        remaining.insert(key, Spanned::new(span, value));
    }
    remaining
}
