//! Reads `[labels]` and `[[labels]]`.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    author::Labels,
    embed::{LabelRule, SessionMatcher},
};

use crate::{
    diagnostic::Diagnostic,
    reader::Reader,
    tree::{Key, Table, Value},
};

/// The keys of an entry of `[[labels]]`.
pub(crate) const LABEL_KEYS: &[&str] = &["labels", "match"];
const EXAMPLE: &str =
    "write `match = { cwd = \"*/payments/*\" }` and `labels = { team = \"payments\" }`";

impl Reader<'_> {
    /// Reads the labels of all sessions, and those of the sessions that match.
    pub(crate) fn labels(&mut self, section: Option<Value<'_>>) -> (Labels, Vec<LabelRule>) {
        let Some(section) = section else { return Default::default() };
        if !section.get_ref().is_array() {
            let Some(table) = self.table(section) else { return Default::default() };
            let table = table.into_inner();
            let is_rule = |(key, value): &(&Key<'_>, &Value<'_>)| {
                LABEL_KEYS.contains(&&**key.get_ref()) && value.get_ref().is_table()
            };
            if let Some((key, _)) = table.iter().find(is_rule) {
                let message = format!("`{}` is a key of `[[labels]]`", key.get_ref());
                let note = "write `[[labels]]`: `[labels]` sets labels of all sessions";
                self.push(Diagnostic::error(key.span(), message).note(note));
                return Default::default();
            }
            return (Labels::new(self.label_values(table)), Vec::new());
        }
        let (mut labels, mut rules) = (BTreeMap::new(), Vec::new());
        let DeValue::Array(items) = section.into_inner() else { return Default::default() };
        for item in items {
            let Some(table) = self.table(item) else { continue };
            let Some((matcher, values)) = self.label_rule(table) else { continue };
            match matcher {
                // A rule after it may set the same label.
                None if rules.is_empty() => labels.extend(values),
                None => rules.push(LabelRule::new(SessionMatcher::default(), values)),
                Some(matcher) => rules.push(LabelRule::new(matcher, values)),
            }
        }
        (Labels::new(labels), rules)
    }

    /// Reads an entry of `[[labels]]`: its matcher, if it has one, and its labels.
    fn label_rule(
        &mut self,
        table: Spanned<Table<'_>>,
    ) -> Option<(Option<SessionMatcher>, BTreeMap<String, String>)> {
        let whole = table.span();
        let mut keys = table.into_inner();
        let matcher = match keys.remove("match") {
            None => None,
            Some(value) => {
                let mut table = self.table_or_example(value, EXAMPLE)?;
                if let Some((key, _)) = table.get_mut().remove_entry("version") {
                    let message = "labels cannot depend on the version of the agent";
                    let note = "expected one of `cwd`, `model`, `source`, `label:NAME`";
                    self.push(Diagnostic::error(key.span(), message).note(note));
                    return None;
                }
                let if_all = "for all sessions, leave out `match`";
                Some(self.session_matcher(table, if_all))
            }
        };
        let labels = keys.remove("labels");
        self.reject_keys(&keys, LABEL_KEYS);
        let Some(labels) = labels else {
            self.push(Diagnostic::error(whole, "`labels` is missing").note(EXAMPLE));
            return None;
        };
        let labels = self.table_or_example(labels, EXAMPLE)?;
        if labels.get_ref().is_empty() {
            self.push(Diagnostic::warning(labels.span(), "this entry sets no label").note(EXAMPLE));
        }
        Some((matcher, self.label_values(labels.into_inner())))
    }

    /// Reads names and values of labels.
    fn label_values(&mut self, table: Table<'_>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (key, value) in table {
            if let Some(value) = self.read(value) {
                let label = key.into_inner().into_owned();
                self.labels.add(label.clone());
                labels.insert(label, value);
            }
        }
        labels
    }
}
