use std::fmt;

use serde::{Deserialize, Deserializer, de};
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};
use watchkeeper_core::{Period, Registry};

use crate::{
    Diagnostic, Loader, MatchTracker,
    diagnostic::Fix,
    files::Files,
    toml_text,
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
    pub(crate) match_tracker: MatchTracker,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        loader: &'a Loader<'a>,
        files: &'a Files,
        diagnostics: &'a mut Vec<Diagnostic>,
    ) -> Self {
        let match_tracker = MatchTracker::default();
        Self { loader, registry: loader.registry, files, diagnostics, match_tracker }
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
                let diagnostic = self.option_error(span, err.message(), &[]);
                self.push(diagnostic);
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
        self.table_like(value, "")
    }

    /// Reads a value as a table; `example` says how to write one.
    pub(crate) fn table_like<'f>(
        &mut self,
        value: Value<'f>,
        example: &str,
    ) -> Option<Spanned<Table<'f>>> {
        let span = value.span();
        let found = match value.into_inner() {
            DeValue::Table(it) => return Some(Spanned::new(span, it)),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::String(_) => "a text".to_owned(),
            it @ (DeValue::Integer(_) | DeValue::Float(_)) => {
                format!("the number `{}`", toml_text::value(&it))
            }
            other => toml_text::value(&other),
        };
        let mut diagnostic =
            Diagnostic::error(span.clone(), format!("expected a table, found {found}"));
        let header =
            self.files.written(&span).strip_prefix("[[").and_then(|it| it.strip_suffix("]]"));
        if let Some(name) = header {
            let fix = Fix::new("write its name in one pair of brackets", span, format!("[{name}]"));
            diagnostic = diagnostic.fix(fix);
        } else if !example.is_empty() {
            diagnostic = diagnostic.note(example);
        }
        self.push(diagnostic);
        None
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

    /// Says what serde found wrong, in our words where it has words of its own.
    /// `shared` are keys that are known beside those it names.
    pub(crate) fn option_error(&self, span: Span, message: &str, shared: &[&str]) -> Diagnostic {
        if let Some(said) = message.strip_prefix("invalid ") {
            let said = said.strip_prefix("type: ").or(said.strip_prefix("value: "));
            if let Some((found, expected)) = said.and_then(|it| it.rsplit_once(", expected ")) {
                return self.mismatch(span, found, expected);
            }
        }
        if message == "wanted string or table" {
            return Diagnostic::error(span, "expected a text");
        }
        let parts: Vec<&str> = message.split('`').collect();
        let [said, name, rest @ ..] = &parts[..] else { return Diagnostic::error(span, message) };
        // Every other part was between backticks.
        let expected: Vec<&str> = rest.iter().skip(1).step_by(2).copied().collect();
        match *said {
            "unknown field " => {
                let known: Vec<&str> = expected.iter().chain(shared).copied().collect();
                unknown_key(name, span, &known)
            }
            "unknown variant " => {
                let fix = Fix::string(name, span.clone(), expected.iter().copied());
                Diagnostic::error(span, format!("unknown value `{name}`"))
                    .note(known_here(&expected))
                    .fix(fix)
            }
            "missing field " => Diagnostic::error(span, format!("`{name}` is missing")),
            _ => Diagnostic::error(span, message),
        }
    }

    /// Says that something else is due where a value stands, and how to write it
    /// if that is plain.
    fn mismatch(&self, span: Span, found: &str, expected: &str) -> Diagnostic {
        let expected = match expected {
            "a boolean" => "`true` or `false`",
            "a sequence" => "a list",
            "a map" => "a table",
            "a string" => "a text",
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
            "i8" | "i16" | "i32" | "i64" => "a whole number",
            "f32" | "f64" => "a number",
            it => it,
        };
        let found = match found {
            "sequence" => "a list".to_owned(),
            "map" => "a table".to_owned(),
            it => match it.split_once(' ') {
                Some(("string", text)) => format!("the text {text}"),
                Some(("integer", number)) => {
                    format!("the number {}", number.trim_end_matches(" as i128"))
                }
                Some(("floating", number)) => {
                    format!("the number {}", number.replace("point ", ""))
                }
                Some(("boolean", value)) => value.to_owned(),
                _ => it.to_owned(),
            },
        };
        let written = self.files.written(&span);
        let bare = written.trim_matches(['"', '\'']);
        let is_text = bare.len() != written.len();
        let is_number = bare.parse::<f64>().is_ok();
        let fix = match expected {
            "a list" if is_text => Some(("write a list", format!("[{written}]"))),
            "`true` or `false`" if is_text && matches!(bare, "true" | "false") => {
                Some(("leave the quotation marks out", bare.to_owned()))
            }
            "a text" if !is_text && (is_number || matches!(bare, "true" | "false")) => {
                Some(("put it in quotation marks", toml_text::string(bare)))
            }
            it if it.starts_with("a length of time") => bare
                .replace('_', "")
                .parse()
                .ok()
                .filter(|it| 0 < *it)
                .map(|it| ("if these are seconds", Period::from_secs(it)))
                .map(|(title, it)| (title, toml_text::string(&it.to_string()))),
            it if is_text && is_number && it.contains("number") => {
                Some(("leave the quotation marks out", bare.to_owned()))
            }
            _ => None,
        };
        let fix = fix.map(|(title, replacement)| Fix::new(title, span.clone(), replacement));
        Diagnostic::error(span, format!("expected {expected}, found {found}")).fix(fix)
    }

    /// Points at the sections that nobody knows: of entries that stand outside of
    /// theirs, it says where they go.
    pub(crate) fn refuse_sections(&mut self, policy: &Table<'_>) {
        for (key, value) in policy {
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
                diagnostic = diagnostic.fix(Fix::new("it belongs here", key.span(), name));
            }
            self.push(diagnostic);
        }
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
    Diagnostic::error(span, format!("unknown key `{key}`")).note(known_here(known)).fix(fix)
}

fn known_here(known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|it| format!("`{it}`")).collect();
    format!("known here: {}", known.join(", "))
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
