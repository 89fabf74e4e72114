//! Reads the annotations of `[detectors.ID]`.

use serde::Deserialize;
use toml::de::DeValue;
use watchkeeper_core::author::Annotations;

use crate::{diagnostic::Diagnostic, reader::Reader, tree::Table};

impl Reader<'_> {
    /// Removes the annotations from the table of a detector, and reads them.
    pub(crate) fn annotations(&mut self, keys: &mut Table<'_>) -> Annotations {
        let mut annotations = Annotations::default();
        annotations.runbook_url = self.take(keys, "runbook_url");
        annotations.tags = self.short_list(keys, "tags", Annotations::MAX_TAGS);
        annotations.references = self.short_list(keys, "references", Annotations::MAX_REFERENCES);
        self.tags.extend(annotations.tags.iter().map(ToString::to_string));
        annotations
    }

    /// Removes a key, and reads its value as a list of at most `max` elements.
    fn short_list<T: for<'de> Deserialize<'de>>(
        &mut self,
        keys: &mut Table<'_>,
        key: &str,
        max: usize,
    ) -> Vec<T> {
        let Some(value) = keys.remove(key) else { return Vec::new() };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let message = format!("`{key}` is not a list");
            let note = format!("write a list: `{key} = [\"…\"]`");
            self.push(Diagnostic::error(span, message).note(note));
            return Vec::new();
        };
        if max < items.len() {
            let message = format!("`{key}` has {} elements, and may have {max}", items.len());
            self.push(Diagnostic::error(span, message));
            return Vec::new();
        }
        items.into_iter().filter_map(|item| self.read(item)).collect()
    }
}
