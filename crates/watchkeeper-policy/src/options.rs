//! Builds detectors and sinks from the options of their kind.

use schemars::Schema;
use serde_json::Value as Json;
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    author::{Options, OptionsError},
    embed::UnknownKind,
};

use crate::{
    diagnostic::{Diagnostic, Fix},
    reader::Reader,
    tree::{self, Span, Table},
};

/// The maximum number of mistakes to report for one table.
const MAX_MISTAKES: usize = 16;

/// Facts about the options of a kind, for diagnostics.
pub(crate) struct KindContext<'s> {
    pub(crate) kind: &'s str,
    pub(crate) schema: &'s dyn Fn() -> Schema,
    /// The keys that are not options of the kind, such as `enabled`.
    pub(crate) shared: &'static [&'static str],
    /// The spans of secrets without a value. Errors about them are not reported.
    pub(crate) unresolved: Vec<Span>,
    /// The texts of secrets, which must not occur in a diagnostic.
    pub(crate) secrets: Vec<String>,
}

impl Reader<'_> {
    /// Builds a detector or a sink from a table that [`may_read`](Self::may_read). To report every invalid option,
    /// removes each one from the table and tries again.
    pub(crate) fn build<'f, T>(
        &mut self,
        mut table: Spanned<Table<'f>>,
        context: &KindContext<'_>,
        build: impl Fn(Options<'f>) -> Result<T, OptionsError>,
    ) -> Option<T> {
        let mut removed = Vec::new();
        for _ in 0..MAX_MISTAKES {
            // The caller has counted the first time.
            if !removed.is_empty() && !self.effort.spend(table.get_ref()) {
                return None;
            }
            let OptionsError { message, span, .. } = match build(Options::from_toml(table.clone()))
            {
                Ok(built) => return removed.is_empty().then_some(built),
                Err(err) => err,
            };
            if message.starts_with("missing field ") && span == table.span() {
                self.missing(&table, context, &message, &removed);
                return None;
            }
            // An option may be invalid only because another one was removed.
            if message.starts_with("invalid value for `") && !removed.is_empty() {
                return None;
            }
            let has = |(key, value): &(&tree::Key<'_>, &tree::Value<'_>)| {
                key.span() == span || tree::contains(value, span.start)
            };
            let culprit = table.get_ref().iter().find(has);
            let is_unresolved = culprit.is_some_and(|(_, value)| {
                context.unresolved.iter().any(|it| tree::contains(value, it.start))
            });
            let culprit = culprit.map(|(key, _)| key.get_ref().to_string());
            // A table of tables can contain several invalid entries.
            let inner = culprit.as_deref().and_then(|it| table.get_ref().get(it));
            let inner = inner.and_then(|it| it.get_ref().as_table());
            let entry = inner.and_then(|it| it.iter().find(has));
            let entry = entry.map(|(key, _)| key.get_ref().to_string());
            // The missing key may be one that was removed before.
            let is_trimmed =
                entry.is_none() && culprit.as_ref().is_some_and(|it| removed.contains(it));
            if !is_unresolved && !is_trimmed {
                let is_own =
                    culprit.is_none() || table.get_ref().iter().any(|(key, _)| key.span() == span);
                let shared = if is_own { context.shared } else { &[] };
                let message = redacted(&message, &context.secrets);
                let diagnostic = self.option_error(span, &message, shared);
                self.push(diagnostic.note(context.note()));
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

    /// Reports each required option that a table lacks.
    fn missing(
        &mut self,
        table: &Spanned<Table<'_>>,
        context: &KindContext<'_>,
        message: &str,
        removed: &[String],
    ) {
        let schema = (context.schema)();
        let required = schema.get("required").and_then(Json::as_array);
        let required = required.into_iter().flatten().filter_map(Json::as_str);
        let mut missing: Vec<&str> =
            required.filter(|it| !table.get_ref().contains_key(*it)).collect();
        if missing.is_empty() {
            missing.extend(message.split('`').nth(1));
        }
        for option in missing.into_iter().filter(|it| !removed.iter().any(|key| key == it)) {
            let message = format!("`{option}` is missing");
            self.push(Diagnostic::error(table.span(), message).note(context.note()));
        }
    }

    /// Reports a kind that is not linked into the program.
    pub(crate) fn unknown_kind(&mut self, err: UnknownKind, span: Span) {
        let message = err.to_string();
        let UnknownKind { sort, kind, known, .. } = err;
        let fix = Fix::string(&kind, span.clone(), known.iter().copied());
        let diagnostic = Diagnostic::error(span, message)
            .note(format!("known kinds: {}", known.join(", ")))
            .note(format!(
                "to link an in-house {sort}, add a line such as `use acme_{sort} as _;` to the \
                 program's main.rs"
            ))
            .fix(fix);
        self.push(diagnostic);
    }
}

impl KindContext<'_> {
    fn note(&self) -> String {
        format!("run `watchkeeper explain {}` to see the options", self.kind)
    }
}

/// Replaces the texts of secrets in a message.
fn redacted(message: &str, secrets: &[String]) -> String {
    let mut redacted = message.to_owned();
    for secret in secrets.iter().filter(|it| !it.is_empty()) {
        redacted = redacted.replace(secret, "[secret]");
        redacted = redacted.replace(&secret.escape_debug().to_string(), "[secret]");
    }
    redacted
}
