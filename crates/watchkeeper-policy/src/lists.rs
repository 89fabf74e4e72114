//! Reads `[lists]`, and inserts the lists where arrays name them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use toml::{
    Spanned,
    de::{DeArray, DeValue},
};
use watchkeeper_core::author::grouped;

use crate::{
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    files::Files,
    limits::MAX_VALUES,
    tree::{Span, Table, Value},
};

/// The lists of a policy, by name.
struct Lists<'f> {
    by_name: BTreeMap<String, Vec<Value<'f>>>,
    /// A reference to each list, for suggestions.
    references: Vec<String>,
    used: BTreeSet<String>,
    /// The number of elements that may still be inserted.
    n_remaining: usize,
}

/// Removes `[lists]` from a policy, and replaces each `"@name"` in an array by the elements of
/// the list; `"@@name"` is the text `@name`. Returns `false` and reports an error if the policy
/// becomes too large.
pub(crate) fn expand(
    policy: &mut Table<'_>,
    files: &Files,
    diagnostics: &mut DiagnosticList,
) -> bool {
    let section = policy.remove("lists");
    let section_span = section.as_ref().map_or(0..0, Spanned::span);
    let (by_name, spans) = read(section, diagnostics);
    let references = by_name.keys().map(|it| format!("@{it}")).collect();
    let mut lists = Lists { by_name, references, used: BTreeSet::new(), n_remaining: MAX_VALUES };
    for (_, value) in policy.iter_mut() {
        if !lists.expand(value, diagnostics) {
            if !diagnostics.is_full() {
                let max = grouped(MAX_VALUES as u64);
                let message = format!("the lists of the policy insert more than {max} values");
                diagnostics
                    .push(Diagnostic::error(section_span, message).note("shorten the lists"));
            }
            return false;
        }
    }
    for (name, span) in spans {
        // A policy that many others extend may have lists for them.
        let is_own = files.locate(&span).0 == 0;
        if is_own && !lists.used.contains(&name) {
            let message = format!("list `{name}` is not used");
            let note = format!("write `\"@{name}\"` in an array to use it");
            diagnostics.push(Diagnostic::warning(span, message).note(note));
        }
    }
    true
}

/// The elements of each list, and the location of its name.
type ReadLists<'f> = (BTreeMap<String, Vec<Value<'f>>>, Vec<(String, Span)>);

fn read<'f>(section: Option<Value<'f>>, diagnostics: &mut DiagnosticList) -> ReadLists<'f> {
    const EXAMPLE: &str = "write a list of strings: `deploy_tools = [\"helm\", \"kubectl\"]`";
    let (mut by_name, mut spans) = (BTreeMap::new(), Vec::new());
    let Some(section) = section else { return (by_name, spans) };
    let span = section.span();
    let DeValue::Table(table) = section.into_inner() else {
        let message = "`lists` is not a table";
        diagnostics.push(Diagnostic::error(span, message).note(EXAMPLE));
        return (by_name, spans);
    };
    for (key, value) in table {
        let name = key.get_ref().to_string();
        if !is_name(&name) {
            let message = format!("`{name}` is not a name of a list");
            let note = "a name has letters, digits, `_` and `-`";
            diagnostics.push(Diagnostic::error(key.span(), message).note(note));
            continue;
        }
        spans.push((name.clone(), key.span()));
        let elements = by_name.entry(name.clone()).or_insert_with(Vec::new);
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let message = format!("list `{name}` is not a list of strings");
            diagnostics.push(Diagnostic::error(span, message).note(EXAMPLE));
            continue;
        };
        for mut item in items {
            let span = item.span();
            match item.get_mut() {
                DeValue::String(text) if reference(text).is_some() => {
                    let message = "a list cannot contain another list";
                    let note = "where the lists are needed, write both names";
                    diagnostics.push(Diagnostic::error(span, message).note(note));
                }
                DeValue::String(text) => {
                    unescape(text);
                    elements.push(item);
                }
                _ => {
                    let message = "an element of a list is not a string";
                    diagnostics.push(Diagnostic::error(span, message).note(EXAMPLE));
                }
            }
        }
    }
    (by_name, spans)
}

impl<'f> Lists<'f> {
    /// Expands the arrays of a value. Returns `false` if there are too many elements or errors.
    fn expand(&mut self, value: &mut Value<'f>, diagnostics: &mut DiagnosticList) -> bool {
        match value.get_mut() {
            DeValue::Table(table) => {
                table.iter_mut().all(|(_, value)| self.expand(value, diagnostics))
            }
            DeValue::Array(items) => {
                let elements = mem::replace(items, DeArray::new());
                for element in elements {
                    match self.elements(element, diagnostics) {
                        Some(elements) => elements.into_iter().for_each(|it| items.push(it)),
                        None => return false,
                    }
                }
                items.iter_mut().all(|item| self.expand(item, diagnostics))
            }
            _ => true,
        }
    }

    /// Returns the elements of the list that an element names, or else the element. Returns
    /// `None` if there are too many elements or errors.
    fn elements(
        &mut self,
        mut element: Value<'f>,
        diagnostics: &mut DiagnosticList,
    ) -> Option<Vec<Value<'f>>> {
        let span = element.span();
        let DeValue::String(text) = element.get_mut() else { return Some(vec![element]) };
        let Some(name) = reference(text) else {
            unescape(text);
            return Some(vec![element]);
        };
        let Some(elements) = self.by_name.get(name) else {
            let message = format!("unknown list `{name}`");
            let known = self.references.iter().map(String::as_str);
            let note = format!("lists are in `[lists]`; for this text itself, write `@{text}`");
            let fix = Fix::string(text, span.clone(), known);
            diagnostics.push(Diagnostic::error(span, message).note(note).fix(fix));
            return (!diagnostics.is_full()).then(Vec::new);
        };
        self.used.insert(name.to_owned());
        self.n_remaining = self.n_remaining.checked_sub(elements.len())?;
        Some(elements.clone())
    }
}

/// Returns the name in a reference such as `@deploy_tools`.
fn reference(text: &str) -> Option<&str> {
    text.strip_prefix('@').filter(|name| is_name(name))
}

fn is_name(text: &str) -> bool {
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    !text.is_empty() && text.chars().all(is_name_char)
}

/// Removes the first `@` of `@@name`.
fn unescape(text: &mut Cow<'_, str>) {
    if text.strip_prefix('@').and_then(reference).is_some() {
        text.to_mut().remove(0);
    }
}
