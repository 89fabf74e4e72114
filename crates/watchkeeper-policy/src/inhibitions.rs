//! Reads `inhibited_by` of `[detectors.ID]`.

use std::{collections::BTreeMap, sync::Arc};

use toml::{Spanned, de::DeValue};
use watchkeeper_core::embed::NamedDetector;

use crate::{
    diagnostic::{Diagnostic, Fix},
    reader::Reader,
    tree::{Table, Value},
};

/// The names of the detectors that inhibit each detector.
#[derive(Debug, Default)]
pub(crate) struct Inhibitions(BTreeMap<String, Vec<Spanned<String>>>);

impl Reader<'_> {
    /// Removes `inhibited_by` from the tables of the detectors, and reads the values.
    pub(crate) fn inhibitions(
        &mut self,
        entries: &mut [(Spanned<String>, Spanned<Table<'_>>)],
        detector_ids: &[String],
    ) -> Inhibitions {
        let mut inhibitions = Inhibitions::default();
        for (id, table) in entries {
            let Some((key, value)) = table.get_mut().remove_entry("inhibited_by") else { continue };
            let is_empty = value.get_ref().as_array().is_some_and(|it| it.is_empty());
            if table.get_ref().contains_key("per") && !is_empty {
                let message = "a detector with `per` cannot be inhibited";
                let note = "with `per`, many sessions share one stream; write `inhibited_by = []`";
                self.push(Diagnostic::error(key.span(), message).note(note));
                continue;
            }
            let inhibitors = self.inhibitors(value, detector_ids);
            inhibitions.0.insert(id.get_ref().clone(), inhibitors);
        }
        for (id, inhibitors) in &inhibitions.0 {
            let in_cycle = |it: &&Spanned<String>| inhibitions.reaches(it.get_ref(), id);
            for inhibitor in inhibitors.iter().filter(in_cycle) {
                let message = if inhibitor.get_ref() == id {
                    format!("`{id}` cannot inhibit itself")
                } else {
                    format!("`{id}` and `{}` inhibit each other", inhibitor.get_ref())
                };
                let note = "only the more specific detector should inhibit the other one";
                self.push(Diagnostic::error(inhibitor.span(), message).note(note));
            }
        }
        inhibitions
    }

    fn inhibitors(&mut self, value: Value<'_>, detector_ids: &[String]) -> Vec<Spanned<String>> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "write a list: `inhibited_by = [\"repeated_call\"]`";
            self.push(Diagnostic::error(span, "`inhibited_by` is not a list").note(note));
            return Vec::new();
        };
        let mut inhibitors = Vec::new();
        for item in items {
            let span = item.span();
            let Some(id) = self.read::<String>(item) else { continue };
            if detector_ids.contains(&id) {
                inhibitors.push(Spanned::new(span, id));
                continue;
            }
            let message = format!("unknown detector `{id}`");
            let fix = Fix::string(&id, span.clone(), detector_ids.iter().map(String::as_str));
            self.push(Diagnostic::error(span, message).fix(fix));
        }
        inhibitors
    }

    /// Sets `inhibited_by` of the detectors.
    pub(crate) fn inhibit(&mut self, detectors: &mut [NamedDetector], inhibitions: &Inhibitions) {
        let scopes: BTreeMap<Arc<str>, _> =
            detectors.iter().map(|it| (it.id.clone(), it.detector.subscription().scope)).collect();
        for detector in detectors {
            let Some(inhibitors) = inhibitions.0.get(&*detector.id) else { continue };
            let own_scope = detector.detector.subscription().scope;
            detector.inhibited_by =
                inhibitors.iter().map(|it| it.get_ref().as_str().into()).collect();
            for inhibitor in inhibitors {
                // A disabled detector has no scope here, and inhibits nothing.
                let scope = scopes.get(inhibitor.get_ref().as_str());
                if scope.is_some_and(|scope| *scope != own_scope) {
                    let message =
                        format!("`{}` never inhibits `{}`", inhibitor.get_ref(), detector.id);
                    let note = "one detector checks whole sessions, the other one single agents";
                    let diagnostic = Diagnostic::warning(inhibitor.span(), message).note(note);
                    // Overrides create several detectors of the same name.
                    if !self.diagnostics.contains(&diagnostic) {
                        self.push(diagnostic);
                    }
                }
            }
        }
    }
}

impl Inhibitions {
    /// Returns whether `to` inhibits `from`, directly or through other detectors,
    /// or is the same detector.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = vec![from];
        let mut next = 0;
        while let Some(id) = seen.get(next) {
            if *id == to {
                return true;
            }
            next += 1;
            let inhibitors = self.0.get(*id).into_iter().flatten();
            for inhibitor in inhibitors.map(|it| it.get_ref().as_str()) {
                if !seen.contains(&inhibitor) {
                    seen.push(inhibitor);
                }
            }
        }
        false
    }
}
