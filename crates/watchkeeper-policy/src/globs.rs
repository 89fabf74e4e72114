use std::collections::BTreeSet;

use toml::{Spanned, de::DeValue};
use watchkeeper_core::author::Glob;

use crate::{
    diagnostic::{Diagnostic, Fix},
    reader::Reader,
    tree::Value,
};

/// The kind of the monitor's own findings, and the prefix of their detectors' names.
pub(crate) const MONITOR: &str = "watchkeeper";

impl Reader<'_> {
    /// Reads a pattern or a list of patterns.
    pub(crate) fn globs(&mut self, value: Value<'_>) -> Vec<Glob> {
        self.spanned_globs(value).into_iter().map(Spanned::into_inner).collect()
    }

    /// Reads a pattern or a list of patterns for folders, in which `~` is the home folder.
    pub(crate) fn folder_globs(&mut self, value: Value<'_>) -> Vec<Glob> {
        let mut globs = Vec::new();
        for glob in self.spanned_globs(value) {
            let expanded = self.expand_home(glob.get_ref().to_string(), &glob.span());
            globs.extend(expanded.map(Glob::new));
        }
        globs
    }

    /// Reads a pattern or a list of patterns, and warns of each pattern that
    /// matches none of the `known` names. `what` names them in the warning.
    pub(crate) fn known_globs(
        &mut self,
        value: Value<'_>,
        what: &str,
        known: &BTreeSet<String>,
    ) -> Vec<Glob> {
        let globs = self.spanned_globs(value);
        for spanned in &globs {
            let glob = spanned.get_ref();
            if glob.as_str().starts_with(MONITOR) || known.contains(glob.as_str()) {
                continue;
            }
            let names = known.iter().map(String::as_str);
            if self.diagnostics.is_full_of_warnings() || !self.may_compare(1, names) {
                break;
            }
            if known.iter().any(|it| glob.matches(it)) {
                continue;
            }
            let message = format!("no {what} matches `{glob}`");
            let fix = Fix::string(glob.as_str(), spanned.span(), known.iter().map(String::as_str));
            self.push(Diagnostic::warning(spanned.span(), message).fix(fix));
        }
        globs.into_iter().map(Spanned::into_inner).collect()
    }

    /// Reads a pattern or a list of patterns, each with its span.
    pub(crate) fn spanned_globs(&mut self, value: Value<'_>) -> Vec<Spanned<Glob>> {
        let span = value.span();
        let items = match value.into_inner() {
            DeValue::Array(items) if items.is_empty() => {
                self.push(Diagnostic::error(span, "an empty list matches nothing"));
                return Vec::new();
            }
            DeValue::Array(items) => items.into_iter().collect(),
            value => vec![Spanned::new(span, value)],
        };
        let mut globs = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
            let span = item.span();
            if let Some(text) = self.read::<String>(item) {
                globs.push(Spanned::new(span, Glob::new(text)));
            }
        }
        globs
    }
}
