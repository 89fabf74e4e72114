use std::{collections::BTreeSet, ffi::OsString, fmt, io, path::Path};

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de};
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};
use watchkeeper_core::{
    author::{Period, grouped},
    embed::Registry,
};

use crate::{
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    effort::Effort,
    files::Files,
    known_labels::KnownLabels,
    limits::MAX_EFFORT,
    toml_text,
    tree::{Span, Table, Value},
};

/// The sections of a policy, in the order in which they are printed.
pub(crate) const SECTIONS: &[&str] = &[
    "version",
    "required_version",
    "extends",
    "lists",
    "monitor",
    "labels",
    "prices",
    "secrets",
    "detectors",
    "overrides",
    "sinks",
    "routes",
    "silences",
    "heartbeat",
];

/// Returns the value of an environment variable, or `None` if it is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads the sections of a policy and collects diagnostics.
pub(crate) struct Reader<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// `None` to leave secrets without a value.
    pub(crate) environment: Option<Variables<'a>>,
    /// The current date, in UTC; `None` to keep expired exceptions.
    pub(crate) today: Option<Date>,
    /// The home folder of the user; `None` if it is unknown.
    pub(crate) home: Option<&'a Path>,
    pub(crate) files: &'a Files,
    pub(crate) diagnostics: &'a mut DiagnosticList,
    pub(crate) labels: KnownLabels,
    /// The tags of the detectors so far.
    pub(crate) tags: BTreeSet<String>,
    /// The bytes of names that may still be compared; see [`may_compare`](Self::may_compare).
    pub(crate) n_compared: usize,
    pub(crate) effort: Effort,
}

impl Reader<'_> {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Returns whether there are too many errors to continue reading.
    pub(crate) fn is_full(&self) -> bool {
        self.diagnostics.is_full()
    }

    /// Returns whether patterns may be compared with names, for a warning. A comparison takes
    /// time in proportion to the length of the name.
    pub(crate) fn may_compare<'n>(
        &mut self,
        n_patterns: usize,
        names: impl IntoIterator<Item = &'n str>,
    ) -> bool {
        /// The effort for each name, in bytes.
        const EACH: usize = 16;
        let len = names.into_iter().map(|name| EACH + name.len()).sum::<usize>();
        let remaining = self.n_compared.checked_sub(n_patterns.saturating_mul(len));
        self.n_compared = remaining.unwrap_or(0);
        remaining.is_some()
    }

    /// Returns whether a detector or a sink may be read, and reports an error with its name if it
    /// is the first one that may not.
    pub(crate) fn may_read(&mut self, name: &Spanned<String>, table: &Table<'_>) -> bool {
        let may_read = self.effort.spend(table);
        if !may_read && self.effort.exceed() {
            let max = grouped(MAX_EFFORT as u64);
            let message = format!(
                "with `{}`, the detectors and sinks have more than {max} keys and values",
                name.get_ref()
            );
            let note = "each combination of the overrides of a detector counts; a regular \
                        expression counts as 10 values, and a template as 1,000";
            self.push(Diagnostic::error(name.span(), message).note(note));
        }
        may_read
    }

    /// Reads a value as a `T`.
    pub(crate) fn read<T: for<'de> Deserialize<'de>>(&mut self, value: Value<'_>) -> Option<T> {
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(value),
            Err(err) => {
                let span = err.span().unwrap_or(span);
                let diagnostic = self.option_error(span, err.message(), &[]);
                self.push(diagnostic);
                None
            }
        }
    }

    /// Removes a key from a table and reads its value as a `T`.
    pub(crate) fn take<T: for<'de> Deserialize<'de>>(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
    ) -> Option<T> {
        table.remove(key).and_then(|it| self.read(it))
    }

    /// Removes a key from a table and reads its value as a string.
    pub(crate) fn take_string(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
    ) -> Option<Spanned<String>> {
        let value = table.remove(key)?;
        let span = value.span();
        self.read(value).map(|text| Spanned::new(span, text))
    }

    /// Reads a value as a table.
    pub(crate) fn table<'f>(&mut self, value: Value<'f>) -> Option<Spanned<Table<'f>>> {
        self.table_or_example(value, "")
    }

    /// Reads a value as a table. For another value, the error shows `example`,
    /// unless it is empty.
    pub(crate) fn table_or_example<'f>(
        &mut self,
        value: Value<'f>,
        example: &str,
    ) -> Option<Spanned<Table<'f>>> {
        let span = value.span();
        let found = match value.into_inner() {
            DeValue::Table(table) => return Some(Spanned::new(span, table)),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::String(_) => "a string".to_owned(),
            number @ (DeValue::Integer(_) | DeValue::Float(_)) => {
                format!("the number `{}`", toml_text::value(&number))
            }
            other => toml_text::value(&other),
        };
        let mut diagnostic =
            Diagnostic::error(span.clone(), format!("expected a table, found {found}"));
        let header =
            self.files.source(&span).strip_prefix("[[").and_then(|it| it.strip_suffix("]]"));
        if let Some(name) = header {
            let fix = Fix::new("use single brackets", span, format!("[{name}]"));
            diagnostic = diagnostic.fix(fix);
        } else if !example.is_empty() {
            diagnostic = diagnostic.note(example);
        }
        self.push(diagnostic);
        None
    }

    /// Reads a section that is a table of tables, such as `[detectors]`.
    pub(crate) fn entries<'f>(
        &mut self,
        section: Option<Value<'f>>,
    ) -> Vec<(Spanned<String>, Spanned<Table<'f>>)> {
        let Some(section) = section.and_then(|it| self.table(it)) else { return Vec::new() };
        let mut entries = Vec::new();
        for (key, value) in section.into_inner() {
            if self.is_full() {
                break;
            }
            if let Some(table) = self.table(value) {
                let id = Spanned::new(key.span(), key.into_inner().into_owned());
                entries.push((id, table));
            }
        }
        entries
    }

    /// Turns an error message of serde into a diagnostic. `shared` contains
    /// valid keys that the message does not list.
    pub(crate) fn option_error(&self, span: Span, message: &str, shared: &[&str]) -> Diagnostic {
        if let Some(rest) = message.strip_prefix("invalid ") {
            let rest = rest.strip_prefix("type: ").or(rest.strip_prefix("value: "));
            if let Some((found, expected)) = rest.and_then(|it| it.rsplit_once(", expected ")) {
                return self.mismatch(span, found, expected);
            }
        }
        if message == "wanted string or table" {
            return Diagnostic::error(span, "expected a string");
        }
        let parts: Vec<&str> = message.split('`').collect();
        let [problem, name, rest @ ..] = &parts[..] else {
            return Diagnostic::error(span, message);
        };
        // Every other part is between backticks.
        let expected: Vec<&str> = rest.iter().skip(1).step_by(2).copied().collect();
        match *problem {
            "unknown field " => {
                let known: Vec<&str> = expected.iter().chain(shared).copied().collect();
                unknown_key(name, span, &known)
            }
            "unknown variant " => {
                let fix = Fix::string(name, span.clone(), expected.iter().copied());
                Diagnostic::error(span, format!("unknown value `{name}`"))
                    .note(expected_one_of(&expected))
                    .fix(fix)
            }
            "missing field " => Diagnostic::error(span, format!("`{name}` is missing")),
            _ => Diagnostic::error(span, message),
        }
    }

    /// Reports a value of the wrong type, with a fix where the intended value is
    /// clear.
    fn mismatch(&self, span: Span, found: &str, expected: &str) -> Diagnostic {
        let expected = match expected {
            "a boolean" => "`true` or `false`",
            "a sequence" => "a list",
            "a map" => "a table",
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
            "i8" | "i16" | "i32" | "i64" => "a whole number",
            "f32" | "f64" => "a number",
            other => other,
        };
        let found = match found {
            "sequence" => "a list".to_owned(),
            "map" => "a table".to_owned(),
            other => match other.split_once(' ') {
                Some(("string", text)) => format!("the string {text}"),
                Some(("integer", number)) => {
                    format!("the number {}", number.trim_end_matches(" as i128"))
                }
                Some(("floating", number)) => {
                    format!("the number {}", number.replace("point ", ""))
                }
                Some(("boolean", value)) => value.to_owned(),
                _ => other.to_owned(),
            },
        };
        let source = self.files.source(&span);
        let bare = source.trim_matches(['"', '\'']);
        let is_string = bare.len() != source.len();
        let is_number = bare.parse::<f64>().is_ok();
        let fix = match expected {
            "a list" if is_string => Some(("write a list", format!("[{source}]"))),
            "`true` or `false`" if is_string && matches!(bare, "true" | "false") => {
                Some(("remove the quotes", bare.to_owned()))
            }
            "a string" if !is_string && (is_number || matches!(bare, "true" | "false")) => {
                Some(("add quotes", toml_text::string(bare)))
            }
            // The description of a `Period`.
            other if other.starts_with("a length of time") || other.starts_with("a duration") => {
                let seconds = bare.replace('_', "").parse().ok().filter(|it| 0 < *it);
                seconds.map(|it| {
                    let period = Period::from_secs(it).to_string();
                    ("if the number is in seconds", toml_text::string(&period))
                })
            }
            other if is_string && is_number && other.contains("number") => {
                Some(("remove the quotes", bare.to_owned()))
            }
            _ => None,
        };
        let fix = fix.map(|(title, replacement)| Fix::new(title, span.clone(), replacement));
        Diagnostic::error(span, format!("expected {expected}, found {found}")).fix(fix)
    }

    /// Reports unknown sections. For a detector or a sink outside of its section,
    /// suggests the right section.
    pub(crate) fn reject_sections(&mut self, policy: &Table<'_>) {
        for (key, value) in policy {
            if self.is_full() {
                break;
            }
            let mut diagnostic = unknown_key(key.get_ref(), key.span(), SECTIONS);
            let kind = value.get_ref().as_table().and_then(|it| it.get("kind"));
            let kind = kind.and_then(|it| it.get_ref().as_str()).unwrap_or(key.get_ref());
            let section = if self.registry.detectors.get(kind).is_ok() {
                Some("detectors")
            } else {
                self.registry.sinks.get(kind).is_ok().then_some("sinks")
            };
            if let Some(section) = section.filter(|_| value.get_ref().is_table()) {
                let name = format!("{section}.{}", toml_text::key(key.get_ref()));
                let title = format!("move it to `[{section}]`");
                diagnostic = diagnostic.fix(Fix::new(title, key.span(), name));
            }
            self.push(diagnostic);
        }
    }

    /// Reports every key that is left in a table as unknown.
    pub(crate) fn reject_keys(&mut self, table: &Table<'_>, known: &[&str]) {
        for (key, _) in table {
            if self.is_full() {
                break;
            }
            self.push(unknown_key(key.get_ref(), key.span(), known));
        }
    }
}

/// Reports an unknown key.
pub(crate) fn unknown_key(key: &str, span: Span, known: &[&str]) -> Diagnostic {
    let fix = Fix::key(key, span.clone(), known.iter().copied());
    Diagnostic::error(span, format!("unknown key `{key}`")).note(expected_one_of(known)).fix(fix)
}

fn expected_one_of(names: &[&str]) -> String {
    /// More names would hide the error.
    const MAX_LISTED: usize = 60;
    if MAX_LISTED < names.len() {
        return format!("expected one of {} names, such as `{}`", names.len(), names[0]);
    }
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    match &quoted[..] {
        [] => "no keys are allowed here".to_owned(),
        [one] => format!("expected {one}"),
        _ => format!("expected one of {}", quoted.join(", ")),
    }
}

/// A positive integer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_u32(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, 1 or more")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                let count = u32::try_from(number).ok().filter(|it| 0 < *it);
                count
                    .map(Count)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
        }
    }
}
