//! Reads `[[detectors.ID.exceptions]]`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use toml::{Spanned, de::DeValue, value::Datetime};
use watchkeeper_core::author::Glob;

use crate::{
    diagnostic::{Diagnostic, Fix},
    exception_filter::{Exception, SpannedException},
    limits::MAX_EXCEPTIONS,
    reader::Reader,
    toml_text,
    tree::{Table, Value},
};

/// The keys of an exception.
pub(crate) const EXCEPTION_KEYS: &[&str] = &["arguments", "expires", "reason", "tool"];
const EXAMPLE: &str = "write `tool = \"gdb*\"` and `reason = \"stepping repeats by design\"`";
pub(crate) const REASON_NOTE: &str = "explain the reason to the next reader of this policy";
/// Characters with a meaning in other pattern languages, but in no tool's name.
const PATTERN_CHARS: &[char] = &['?', '[', ']', '{', '}', '^', '$', '+', '\\'];

impl Reader<'_> {
    /// Reads exceptions, and leaves out expired ones.
    pub(crate) fn exceptions(&mut self, value: Value<'_>) -> Vec<SpannedException> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "each exception begins with `[[detectors.ID.exceptions]]`";
            self.push(Diagnostic::error(span, "`exceptions` is not a list").note(note));
            return Vec::new();
        };
        if MAX_EXCEPTIONS < items.len() {
            let message = format!("a detector has at most {MAX_EXCEPTIONS} exceptions");
            let note = "combine them: `tool` and `arguments` accept lists and patterns";
            self.push(Diagnostic::error(span, message).note(note));
            return Vec::new();
        }
        let mut exceptions = Vec::new();
        for item in items {
            let Some(table) = self.table_or_example(item, EXAMPLE) else { continue };
            exceptions.extend(self.exception(table));
        }
        exceptions
    }

    fn exception(&mut self, table: Spanned<Table<'_>>) -> Option<SpannedException> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for key in ["tool", "reason"].into_iter().filter(|it| !keys.contains_key(*it)) {
            let message = format!("`{key}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let tool = keys.remove("tool").map(|it| self.tools(it));
        let reason = self.reason(&mut keys);
        let mut arguments = BTreeMap::new();
        if let Some(table) = keys.remove("arguments").and_then(|it| self.table(it)) {
            for (key, value) in table.into_inner() {
                arguments.insert(key.into_inner().into_owned(), self.globs(value));
            }
        }
        let expires = keys.remove("expires");
        let expires = expires.map(|it| (it.span(), self.date(it)));
        self.reject_keys(&keys, EXCEPTION_KEYS);
        if let (Some((span, Some(date))), Some(today)) = (expires, self.today)
            && date <= today
        {
            let message = format!("this exception expired on {date}");
            let mut diagnostic = Diagnostic::warning(span, message)
                .note("remove it, or set a later date if its reason still holds");
            if let Some(reason) = reason {
                diagnostic = diagnostic.note(format!("its reason was: {reason}"));
            }
            self.push(diagnostic);
            return None;
        }
        let exception = Exception { tool: tool?, arguments, reason };
        Some(SpannedException { span: whole, exception })
    }

    /// Reads the names of tools, and warns of impossible names.
    fn tools(&mut self, value: Value<'_>) -> Vec<Glob> {
        let globs = self.spanned_globs(value);
        for glob in &globs {
            let (text, span) = (glob.get_ref().as_str(), glob.span());
            let note = match text.split_once('(') {
                Some((tool, inner)) => {
                    let inner = inner.strip_suffix(')').unwrap_or(inner);
                    format!(
                        "match the tool and its arguments separately, as in `tool = {}` and \
                         `arguments = {{ command = {} }}`",
                        toml_text::string(tool),
                        toml_text::string(inner)
                    )
                }
                None if text.contains('|') => {
                    let parts: Vec<String> = text.split('|').map(toml_text::string).collect();
                    format!("write a list: `tool = [{}]`", parts.join(", "))
                }
                None if text.contains(".*") || text.contains(PATTERN_CHARS) => {
                    "only `*` is special: it matches any text".to_owned()
                }
                None if text.trim() != text || text.is_empty() => {
                    "write the full name as it appears in sessions".to_owned()
                }
                None => continue,
            };
            let message = format!("no tool can have the name `{text}`");
            self.push(Diagnostic::warning(span, message).note(note));
        }
        globs.into_iter().map(Spanned::into_inner).collect()
    }

    /// Takes the `reason` out of a table; it must not be empty.
    pub(crate) fn reason(&mut self, keys: &mut Table<'_>) -> Option<String> {
        let reason = self.take_string(keys, "reason")?;
        if reason.get_ref().trim().is_empty() {
            let diagnostic = Diagnostic::error(reason.span(), "`reason` is empty");
            self.push(diagnostic.note(REASON_NOTE));
            return None;
        }
        Some(reason.into_inner())
    }

    fn date(&mut self, value: Value<'_>) -> Option<Date> {
        let span = value.span();
        let (date, suggestion) = match value.into_inner() {
            DeValue::Datetime(Datetime { date: Some(date), time: None, .. }) => {
                (civil_date(date), None)
            }
            DeValue::Datetime(Datetime { date: Some(date), .. }) => (None, civil_date(date)),
            DeValue::String(text) => (None, text.trim().parse().ok()),
            _ => (None, None),
        };
        if date.is_none() {
            let diagnostic = Diagnostic::error(span.clone(), "`expires` is not a date");
            self.push(match suggestion {
                Some(date) => diagnostic.fix(Fix::new("write a date", span, date.to_string())),
                None => diagnostic.note("write `expires = 2027-03-31`, without quotes"),
            });
        }
        date
    }
}

fn civil_date(date: toml::value::Date) -> Option<Date> {
    let toml::value::Date { year, month, day } = date;
    let year = i16::try_from(year).ok()?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}
