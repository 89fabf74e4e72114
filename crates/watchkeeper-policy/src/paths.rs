//! Paths in a policy.

use std::path::PathBuf;

use schemars::Schema;
use serde_json::Value as Json;
use toml::de::DeValue;

use crate::{
    diagnostic::Diagnostic,
    reader::Reader,
    tree::{Span, Table},
};

impl Reader<'_> {
    /// Replaces `~` at the start of a path or of a pattern for paths by the home folder.
    pub(crate) fn expand_home(&mut self, text: String, span: &Span) -> Option<String> {
        let Some(rest) = text.strip_prefix('~').filter(|it| it.is_empty() || it.starts_with('/'))
        else {
            return Some(text);
        };
        let home = self.home.and_then(|home| home.to_str());
        let Some(home) = home.map(|home| home.trim_end_matches('/')) else {
            let message = "the home folder is unknown";
            let note = "set the environment variable `HOME`, or write the whole path";
            self.push(Diagnostic::error(span.clone(), message).note(note));
            return None;
        };
        Some(format!("{home}{rest}"))
    }

    /// Returns the path of a file: relative paths start at the folder of the file of the
    /// policy that contains them.
    pub(crate) fn path(&mut self, text: String, span: &Span) -> Option<PathBuf> {
        let text = self.expand_home(text, span)?;
        Some(self.files.folder(span).join(text))
    }

    /// Replaces the options of a sink that are paths, which the schema of its kind gives the
    /// format `path` or, for a file that the sink only reads, `input-path`. Returns the paths
    /// of the former.
    pub(crate) fn resolve_paths(&mut self, table: &mut Table<'_>, schema: &Schema) -> Vec<PathBuf> {
        let properties = schema.get("properties").and_then(Json::as_object);
        let mut paths = Vec::new();
        for (name, option) in properties.into_iter().flatten() {
            let is_output = match option.get("format").and_then(Json::as_str) {
                Some("path") => true,
                Some("input-path") => false,
                _ => continue,
            };
            let Some(value) = table.get_mut(name.as_str()) else { continue };
            let span = value.span();
            let DeValue::String(text) = value.get_mut() else { continue };
            // The kind refuses an empty path.
            if text.is_empty() {
                continue;
            }
            let Some(path) = self.path(text.to_string(), &span) else { continue };
            if let Some(resolved) = path.to_str() {
                *text = resolved.to_owned().into();
                paths.extend(is_output.then_some(path));
            } else {
                let message = "the folder of the policy is not UTF-8";
                let note = "write an absolute path";
                self.push(Diagnostic::error(span, message).note(note));
            }
        }
        paths
    }
}
