use std::fmt;

use serde::{Deserialize, Deserializer, de};
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};
use watchkeeper_core::Registry;

use crate::{
    Diagnostic, Exemptions, Loader,
    diagnostic::Fix,
    files::Files,
    tree::{Span, Table, Value},
};

/// The sections of a policy, in the order in which they are printed.
pub(crate) const SECTIONS: &[&str] = &[
    "version",
    "extends",
    "monitor",
    "labels",
    "prices",
    "secrets",
    "detectors",
    "overrides",
    "sinks",
    "routes",
];

/// Reads the sections of a policy, and notes whatever is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) loader: &'a Loader<'a>,
    pub(crate) registry: &'a Registry,
    pub(crate) files: &'a Files,
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
    /// The exceptions and overrides that were read.
    pub(crate) exemptions: Exemptions,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        loader: &'a Loader<'a>,
        files: &'a Files,
        diagnostics: &'a mut Vec<Diagnostic>,
    ) -> Self {
        let exemptions = Exemptions::default();
        Self { loader, registry: loader.registry, files, diagnostics, exemptions }
    }
}

impl Reader<'_> {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reads a value as a `T`.
    pub(crate) fn read<T: for<'de> Deserialize<'de>>(&mut self, value: Value<'_>) -> Option<T> {
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(it) => Some(it),
            Err(err) => {
                let span = err.span().unwrap_or(span);
                self.push(option_error(span, err.message(), &[]));
                None
            }
        }
    }

    /// Takes one key out of a table and reads it as a `T`.
    pub(crate) fn take<T: for<'de> Deserialize<'de>>(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
    ) -> Option<T> {
        table.remove(key).and_then(|it| self.read(it))
    }

    /// Takes one key out of a table and reads it as a string.
    pub(crate) fn take_string(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
    ) -> Option<Spanned<String>> {
        let value = table.remove(key)?;
        let span = value.span();
        self.read(value).map(|it| Spanned::new(span, it))
    }

    /// Reads a value as a table.
    pub(crate) fn table<'f>(&mut self, value: Value<'f>) -> Option<Spanned<Table<'f>>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(it) => Some(Spanned::new(span, it)),
            other => {
                let message = format!("expected a table, found {}", other.type_str());
                self.push(Diagnostic::error(span, message));
                None
            }
        }
    }

    /// Reads a section that is a table of tables.
    pub(crate) fn entries<'f>(
        &mut self,
        section: Option<Value<'f>>,
    ) -> Vec<(Spanned<String>, Spanned<Table<'f>>)> {
        let Some(section) = section.and_then(|it| self.table(it)) else { return Vec::new() };
        let mut res = Vec::new();
        for (key, value) in section.into_inner() {
            if let Some(table) = self.table(value) {
                let id = Spanned::new(key.span(), key.into_inner().into_owned());
                res.push((id, table));
            }
        }
        res
    }

    /// Points at the keys that are left in a table, which nobody knows.
    pub(crate) fn refuse_rest(&mut self, table: &Table<'_>, known: &[&str]) {
        for (key, _) in table {
            self.push(unknown_key(key.get_ref(), key.span(), known));
        }
    }
}

/// Says that nobody knows a key.
pub(crate) fn unknown_key(key: &str, span: Span, known: &[&str]) -> Diagnostic {
    let fix = Fix::key(key, span.clone(), known.iter().copied());
    let known: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
    Diagnostic::error(span, format!("unknown key `{key}`"))
        .note(format!("known here: {}", known.join(", ")))
        .fix(fix)
}

/// Says what serde found wrong, in our words where it has words of its own.
/// `shared` are keys that are known beside those it names.
pub(crate) fn option_error(span: Span, message: &str, shared: &[&str]) -> Diagnostic {
    let parts: Vec<&str> = message.split('`').collect();
    let [said, name, rest @ ..] = &parts[..] else { return Diagnostic::error(span, message) };
    // Every other part was between backticks.
    let expected = || rest.iter().skip(1).step_by(2).copied();
    match *said {
        "unknown field " => {
            let known: Vec<&str> = expected().chain(shared.iter().copied()).collect();
            unknown_key(name, span, &known)
        }
        "unknown variant " => {
            let fix = Fix::string(name, span.clone(), expected());
            Diagnostic::error(span, message).fix(fix)
        }
        "missing field " => Diagnostic::error(span, format!("`{name}` is missing")),
        _ => Diagnostic::error(span, message),
    }
}

/// A whole number that is not zero.
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

            fn visit_i64<E: de::Error>(self, it: i64) -> Result<Count, E> {
                let count = u32::try_from(it).ok().filter(|it| 0 < *it);
                count.map(Count).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(it), &self))
            }
        }
    }
}
