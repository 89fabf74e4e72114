//! Parsed TOML with spans into all files of a policy.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    files::LineStarts,
    scan::Scan,
    toml_text,
};

pub(crate) type Span = Range<usize>;
pub(crate) type Key<'f> = Spanned<Cow<'f, str>>;
pub(crate) type Value<'f> = Spanned<DeValue<'f>>;
pub(crate) type Table<'f> = DeTable<'f>;

/// The maximum nesting depth of tables and arrays.
const MAX_DEPTH: usize = 32;

/// Parses the text of the file that begins at `start`. Returns `None` and adds
/// to `diagnostics` if the text is not valid TOML.
pub(crate) fn parse<'f>(
    text: &'f str,
    start: usize,
    diagnostics: &mut DiagnosticList,
) -> Option<Table<'f>> {
    parse_scanned(text, start, Scan::new(text), diagnostics)
}

/// Parses a text as [`parse`] does, with the result of an earlier scan.
pub(crate) fn parse_scanned<'f>(
    text: &'f str,
    start: usize,
    scan: Scan,
    diagnostics: &mut DiagnosticList,
) -> Option<Table<'f>> {
    let (document, mut errors) = DeTable::parse_recoverable(&text[..scan.end]);
    errors.sort_by_key(|it| it.span().map_or(0, |it| it.start));
    let lines = LineStarts::new(text);
    let mut last_line = None;
    let mut found = DiagnosticList::default();
    for err in errors {
        if found.is_full() {
            break;
        }
        let span = err.span().unwrap_or(0..0);
        // The first error of a line usually causes the others.
        let line = lines.line(span.start);
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let source = text.get(span.clone()).unwrap_or("");
        found.push(syntax_error(shift(&span, start), source, err.message()));
    }
    let table = shift_table(document.into_inner(), start, 0, &mut found);
    let is_valid = !found.has_errors();
    diagnostics.append(found);
    is_valid.then_some(table)
}

/// Parses the text of the file that begins at `start`, if it is valid.
pub(crate) fn parse_valid(text: &str, start: usize) -> Option<Table<'_>> {
    let table = DeTable::parse(text).ok()?.into_inner();
    let mut found = DiagnosticList::default();
    let table = shift_table(table, start, 0, &mut found);
    (!found.has_errors()).then_some(table)
}

/// Turns an error message of the TOML parser into a diagnostic.
fn syntax_error(span: Span, source: &str, message: &str) -> Diagnostic {
    if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean")
    {
        if source.is_empty() {
            return Diagnostic::error(span, "the value is missing");
        }
        let (title, replacement) = match source {
            "yes" | "on" | "True" | "TRUE" => ("write `true`", "true".to_owned()),
            "no" | "off" | "False" | "FALSE" => ("write `false`", "false".to_owned()),
            _ => ("add quotes", toml_text::string(source)),
        };
        let fix = Fix::new(title, span.clone(), replacement);
        return Diagnostic::error(span, "a string must be quoted").fix(fix);
    }
    if message == "duplicate key" {
        let message = format!("duplicate key `{}`", source.trim_matches(['"', '\'']));
        let note = "combine the two definitions";
        return Diagnostic::error(span, message).note(note);
    }
    let diagnostic = Diagnostic::error(span, message);
    match message.starts_with("invalid unquoted key") {
        true if source.starts_with(':') => diagnostic.note("write `key = value`, with a `=`"),
        true => {
            diagnostic.note("quote keys with characters other than letters, digits, `_` and `-`")
        }
        false => diagnostic,
    }
}

fn shift(span: &Span, start: usize) -> Span {
    span.start + start..span.end + start
}

fn shift_table<'f>(
    table: Table<'f>,
    start: usize,
    depth: usize,
    diagnostics: &mut DiagnosticList,
) -> Table<'f> {
    let entries = table.into_iter().map(|(key, value)| {
        let key = Spanned::new(shift(&key.span(), start), key.into_inner());
        (key, shift_value(value, start, depth + 1, diagnostics))
    });
    entries.collect()
}

fn shift_value<'f>(
    value: Value<'f>,
    start: usize,
    depth: usize,
    diagnostics: &mut DiagnosticList,
) -> Value<'f> {
    let span = shift(&value.span(), start);
    let value = match value.into_inner() {
        value @ (DeValue::Table(_) | DeValue::Array(_)) if depth == MAX_DEPTH => {
            drop_iteratively(value);
            diagnostics.push(Diagnostic::error(span.clone(), "nested too deeply"));
            DeValue::Boolean(false)
        }
        DeValue::Table(table) => DeValue::Table(shift_table(table, start, depth, diagnostics)),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|it| shift_value(it, start, depth + 1, diagnostics));
            DeValue::Array(items.collect())
        }
        scalar => scalar,
    };
    Spanned::new(span, value)
}

/// Returns the number of keys and values of a table, at all depths.
pub(crate) fn n_values(table: &Table<'_>) -> usize {
    fn in_value(value: &Value<'_>) -> usize {
        1 + match value.get_ref() {
            DeValue::Table(table) => n_values(table),
            DeValue::Array(items) => items.iter().map(in_value).sum(),
            _ => 0,
        }
    }
    table.len() + table.values().map(in_value).sum::<usize>()
}

/// Drops a value without recursion, which could overflow the stack.
fn drop_iteratively(value: DeValue<'_>) {
    let mut values = vec![value];
    while let Some(value) = values.pop() {
        match value {
            DeValue::Table(table) => {
                values.extend(table.into_iter().map(|(_, it)| it.into_inner()));
            }
            DeValue::Array(items) => values.extend(items.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

/// Returns whether two values are equal, apart from their spans.
pub(crate) fn is_same(a: &DeValue<'_>, b: &DeValue<'_>) -> bool {
    match (a, b) {
        (DeValue::Table(a), DeValue::Table(b)) => is_same_table(a, b),
        (DeValue::Array(a), DeValue::Array(b)) => {
            let pairs = || a.iter().zip(b.iter());
            a.len() == b.len() && pairs().all(|(a, b)| is_same(a.get_ref(), b.get_ref()))
        }
        (DeValue::Integer(a), DeValue::Integer(b)) => {
            a.as_str() == b.as_str() && a.radix() == b.radix()
        }
        (DeValue::Float(a), DeValue::Float(b)) => a.as_str() == b.as_str(),
        (DeValue::String(a), DeValue::String(b)) => a == b,
        (DeValue::Boolean(a), DeValue::Boolean(b)) => a == b,
        (DeValue::Datetime(a), DeValue::Datetime(b)) => a == b,
        _ => false,
    }
}

/// Returns whether two tables are equal, apart from their spans.
pub(crate) fn is_same_table(a: &Table<'_>, b: &Table<'_>) -> bool {
    let is_in_b = |(key, value): (&Key<'_>, &Value<'_>)| {
        b.get(key.get_ref().as_ref()).is_some_and(|b| is_same(value.get_ref(), b.get_ref()))
    };
    a.len() == b.len() && a.iter().all(is_in_b)
}

/// Returns whether the byte at `at` is in the value. The parts of a merged value
/// can be in several files.
pub(crate) fn contains(value: &Value<'_>, at: usize) -> bool {
    value.span().contains(&at)
        || match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().any(|(key, value)| key.span().contains(&at) || contains(value, at))
            }
            DeValue::Array(items) => items.iter().any(|it| contains(it, at)),
            _ => false,
        }
}
