//! Parsed TOML whose spans point into all files of a policy.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{Diagnostic, diagnostic::Fix, toml_text};

pub(crate) type Span = Range<usize>;
pub(crate) type Key<'f> = Spanned<Cow<'f, str>>;
pub(crate) type Value<'f> = Spanned<DeValue<'f>>;
pub(crate) type Table<'f> = DeTable<'f>;

/// How deep tables and arrays may lie in each other.
const MAX_DEPTH: usize = 32;

/// Parses the text of a file that begins at `start`. What is wrong with it goes
/// to `diagnostics`; then there is no table.
pub(crate) fn parse<'f>(
    text: &'f str,
    start: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Table<'f>> {
    let n_before = diagnostics.len();
    let (document, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|it| it.span().map_or(0, |it| it.start));
    let mut last_line = None;
    for err in errors {
        let span = err.span().unwrap_or(0..0);
        // Of several mistakes in one line the first makes the others.
        let line = text.as_bytes()[..span.start.min(text.len())].split(|it| *it == b'\n').count();
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let written = text.get(span.clone()).unwrap_or("");
        diagnostics.push(syntax_error(shift(&span, start), written, err.message()));
    }
    let table = shift_table(document.into_inner(), start, 0, diagnostics);
    (diagnostics.len() == n_before).then_some(table)
}

/// Says what is wrong with a text that is no TOML, and what to do where that is
/// plain.
fn syntax_error(span: Span, written: &str, message: &str) -> Diagnostic {
    if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean")
    {
        if written.is_empty() {
            return Diagnostic::error(span, "the value is missing");
        }
        let (title, replacement) = match written {
            "yes" | "on" | "True" | "TRUE" => ("write it so", "true".to_owned()),
            "no" | "off" | "False" | "FALSE" => ("write it so", "false".to_owned()),
            _ => ("put it in quotation marks", toml_text::string(written)),
        };
        let fix = Fix::new(title, span.clone(), replacement);
        return Diagnostic::error(span, "a text stands in quotation marks").fix(fix);
    }
    if message == "duplicate key" {
        let message = format!("`{}` is there twice", written.trim_matches(['"', '\'']));
        let note = "put all that is said of it in one place";
        return Diagnostic::error(span, message).note(note);
    }
    let diagnostic = Diagnostic::error(span, message);
    match message.starts_with("invalid unquoted key") {
        true if written.starts_with(':') => diagnostic.note("write `key = value`, with a `=`"),
        true => diagnostic.note("a key with other characters stands in quotation marks"),
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
    diagnostics: &mut Vec<Diagnostic>,
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
    diagnostics: &mut Vec<Diagnostic>,
) -> Value<'f> {
    let span = shift(&value.span(), start);
    let value = match value.into_inner() {
        it @ (DeValue::Table(_) | DeValue::Array(_)) if depth == MAX_DEPTH => {
            dismantle(it);
            diagnostics.push(Diagnostic::error(span.clone(), "nested too deep"));
            DeValue::Boolean(false)
        }
        DeValue::Table(it) => DeValue::Table(shift_table(it, start, depth, diagnostics)),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|it| shift_value(it, start, depth + 1, diagnostics));
            DeValue::Array(items.collect())
        }
        it => it,
    };
    Spanned::new(span, value)
}

/// Drops a value without recursion: it may be deeper than the stack.
fn dismantle(value: DeValue<'_>) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            DeValue::Table(it) => rest.extend(it.into_iter().map(|(_, it)| it.into_inner())),
            DeValue::Array(it) => rest.extend(it.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

/// Whether two values say the same.
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

/// Whether two tables say the same.
pub(crate) fn is_same_table(a: &Table<'_>, b: &Table<'_>) -> bool {
    let has = |(key, it): (&Key<'_>, &Value<'_>)| {
        b.get(key.get_ref().as_ref()).is_some_and(|b| is_same(it.get_ref(), b.get_ref()))
    };
    a.len() == b.len() && a.iter().all(has)
}

/// Whether the byte at `at` is in the value, wherever its parts stand.
pub(crate) fn contains(value: &Value<'_>, at: usize) -> bool {
    value.span().contains(&at)
        || match value.get_ref() {
            DeValue::Table(it) => {
                it.iter().any(|(key, it)| key.span().contains(&at) || contains(it, at))
            }
            DeValue::Array(items) => items.iter().any(|it| contains(it, at)),
            _ => false,
        }
}
