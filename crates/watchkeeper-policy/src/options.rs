//! What detectors and sinks have in common: a kind, and its own options.

use schemars::Schema;
use serde_json::Value as Json;
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{Options, OptionsError, UnknownKind};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::Reader,
    tree::{self, Span, Table},
};

/// How many mistakes of one table are told in one run.
const MAX_MISTAKES: usize = 16;

/// What is known of the options of a kind, besides how to read them.
pub(crate) struct About<'s> {
    pub(crate) kind: &'s str,
    pub(crate) schema: Schema,
    /// The keys that are read before the kind sees its own.
    pub(crate) shared: &'static [&'static str],
    /// Values that nobody can judge: secrets that were not read.
    pub(crate) unread: Vec<Span>,
    /// Texts that must not be quoted.
    pub(crate) secrets: Vec<String>,
}

impl Reader<'_> {
    /// Builds what a table says. Every option that is wrong is pointed at:
    /// each is taken out of its table in its turn, and the rest is tried again.
    pub(crate) fn build<'f, T>(
        &mut self,
        mut table: Spanned<Table<'f>>,
        about: &About<'_>,
        build: impl Fn(Options<'f>) -> Result<T, OptionsError>,
    ) -> Option<T> {
        let mut removed = Vec::new();
        for _ in 0..MAX_MISTAKES {
            let OptionsError { message, span } = match build(Options::new(table.clone())) {
                Ok(it) => return removed.is_empty().then_some(it),
                Err(err) => err,
            };
            if message.starts_with("missing field ") && span == table.span() {
                self.missing(&table, about, &message, &removed);
                return None;
            }
            // An option that does not go with one that was removed may be right.
            if message.starts_with("invalid value for `") && !removed.is_empty() {
                return None;
            }
            let has = |(key, value): &(&tree::Key<'_>, &tree::Value<'_>)| {
                key.span() == span || tree::contains(value, span.start)
            };
            let culprit = table.get_ref().iter().find(has);
            let is_unread = culprit.is_some_and(|(_, value)| {
                about.unread.iter().any(|it| tree::contains(value, it.start))
            });
            let culprit = culprit.map(|(key, _)| key.get_ref().to_string());
            // In a table of tables, such as symbols, more than one may be wrong.
            let inner = culprit.as_deref().and_then(|it| table.get_ref().get(it));
            let inner = inner.and_then(|it| it.get_ref().as_table());
            let entry = inner.and_then(|it| it.iter().find(has));
            let entry = entry.map(|(key, _)| key.get_ref().to_string());
            // What a table lacks, of which something was taken out, may be that.
            let is_trimmed =
                entry.is_none() && culprit.as_ref().is_some_and(|it| removed.contains(it));
            if !is_unread && !is_trimmed {
                let is_own =
                    culprit.is_none() || table.get_ref().iter().any(|(key, _)| key.span() == span);
                let shared = if is_own { about.shared } else { &[] };
                let message = redacted(&message, &about.secrets);
                let diagnostic = self.option_error(span, &message, shared);
                self.push(diagnostic.note(about.note()));
            }
            let culprit = culprit?;
            let keys = table.get_mut();
            match (keys.get_mut(culprit.as_str()).map(Spanned::get_mut), entry) {
                (Some(DeValue::Table(inner)), Some(entry)) => {
                    inner.remove(entry.as_str());
                }
                _ => {
                    keys.remove(culprit.as_str());
                }
            }
            removed.push(culprit);
        }
        None
    }

    /// Points at the table for each option that it lacks.
    fn missing(
        &mut self,
        table: &Spanned<Table<'_>>,
        about: &About<'_>,
        message: &str,
        removed: &[String],
    ) {
        let required = about.schema.get("required").and_then(Json::as_array);
        let required = required.into_iter().flatten().filter_map(Json::as_str);
        let mut missing: Vec<&str> =
            required.filter(|it| !table.get_ref().contains_key(*it)).collect();
        if missing.is_empty() {
            missing.extend(message.split('`').nth(1));
        }
        for it in missing.into_iter().filter(|it| !removed.iter().any(|key| key == it)) {
            let message = format!("`{it}` is missing");
            self.push(Diagnostic::error(table.span(), message).note(about.note()));
        }
    }

    /// Says that a kind is not compiled in.
    pub(crate) fn unknown_kind(&mut self, err: UnknownKind, span: Span) {
        let message = err.to_string();
        let UnknownKind { sort, kind, known, .. } = err;
        let fix = Fix::string(&kind, span.clone(), known.iter().copied());
        let diagnostic = Diagnostic::error(span, message)
            .note(format!("compiled in: {}", known.join(", ")))
            .note(format!(
                "a {sort} of your own must be named by the program's main.rs: \
                 `use acme_{sort} as _;`"
            ))
            .fix(fix);
        self.push(diagnostic);
    }
}

impl About<'_> {
    fn note(&self) -> String {
        format!("see `watchkeeper explain {}` for its options", self.kind)
    }
}

/// A message without what must not be quoted.
fn redacted(message: &str, secrets: &[String]) -> String {
    let mut res = message.to_owned();
    for secret in secrets.iter().filter(|it| !it.is_empty()) {
        res = res.replace(secret, "[secret]");
        res = res.replace(&secret.escape_debug().to_string(), "[secret]");
    }
    res
}
