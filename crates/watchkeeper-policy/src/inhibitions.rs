//! `inhibited_by` of `[detectors.ID]`.

use std::{collections::BTreeMap, sync::Arc};

use toml::{Spanned, de::DeValue};
use watchkeeper_core::NamedDetector;

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::Reader,
    tree::{Table, Value},
};

/// For each detector those that inhibit it, by name.
#[derive(Debug, Default)]
pub(crate) struct Inhibitions(BTreeMap<String, Vec<Spanned<String>>>);

impl Reader<'_> {
    /// Takes what inhibits them out of the tables of the detectors.
    pub(crate) fn inhibitions(
        &mut self,
        entries: &mut [(Spanned<String>, Spanned<Table<'_>>)],
        detector_ids: &[String],
    ) -> Inhibitions {
        let mut res = Inhibitions::default();
        for (id, table) in entries {
            let Some((key, value)) = table.get_mut().remove_entry("inhibited_by") else { continue };
            if table.get_ref().contains_key("per") {
                let message = "a detector with `per` cannot be inhibited";
                let note = "its sessions share one stream, and each may have other findings; \
                            write `inhibited_by = []` beside `per`";
                self.push(Diagnostic::error(key.span(), message).note(note));
                continue;
            }
            let inhibitors = self.inhibitors(value, detector_ids);
            res.0.insert(id.get_ref().clone(), inhibitors);
        }
        for (id, inhibitors) in &res.0 {
            for it in inhibitors.iter().filter(|it| res.reaches(it.get_ref(), id)) {
                let message = if it.get_ref() == id {
                    format!("`{id}` cannot inhibit itself")
                } else {
                    format!("`{id}` and `{}` inhibit each other", it.get_ref())
                };
                let note = "name the one that says more about the same trouble";
                self.push(Diagnostic::error(it.span(), message).note(note));
            }
        }
        res
    }

    fn inhibitors(&mut self, value: Value<'_>, detector_ids: &[String]) -> Vec<Spanned<String>> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "write a list: `inhibited_by = [\"repeated_call\"]`";
            self.push(Diagnostic::error(span, "`inhibited_by` is not a list").note(note));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in items {
            let span = it.span();
            let Some(id) = self.read::<String>(it) else { continue };
            if detector_ids.contains(&id) {
                res.push(Spanned::new(span, id));
                continue;
            }
            let message = format!("there is no detector `{id}`");
            let fix = Fix::string(&id, span.clone(), detector_ids.iter().map(String::as_str));
            self.push(Diagnostic::error(span, message).fix(fix));
        }
        res
    }

    /// Tells the detectors what inhibits them.
    pub(crate) fn inhibit(&mut self, detectors: &mut [NamedDetector], inhibitions: &Inhibitions) {
        let scopes: BTreeMap<Arc<str>, _> =
            detectors.iter().map(|it| (it.id.clone(), it.detector.subscription().scope)).collect();
        for it in detectors {
            let Some(inhibitors) = inhibitions.0.get(&*it.id) else { continue };
            it.inhibited_by = inhibitors.iter().map(|it| it.get_ref().as_str().into()).collect();
            for inhibitor in inhibitors {
                // One that is off has no scope, and inhibits nothing.
                let scope = scopes.get(inhibitor.get_ref().as_str());
                if scope.is_some_and(|scope| *scope != it.detector.subscription().scope) {
                    let message = format!("`{}` never inhibits `{}`", inhibitor.get_ref(), it.id);
                    let note = "one of them sees whole sessions and the other single agents";
                    let diagnostic = Diagnostic::warning(inhibitor.span(), message).note(note);
                    // An override makes one more detector of the same name.
                    if !self.diagnostics.contains(&diagnostic) {
                        self.push(diagnostic);
                    }
                }
            }
        }
    }
}

impl Inhibitions {
    /// Whether `from` is inhibited by `to`, directly or through others; everyone
    /// reaches itself.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = vec![from];
        let mut next = 0;
        while let Some(id) = seen.get(next) {
            if *id == to {
                return true;
            }
            next += 1;
            let inhibitors = self.0.get(*id).into_iter().flatten();
            for it in inhibitors.map(|it| it.get_ref().as_str()) {
                if !seen.contains(&it) {
                    seen.push(it);
                }
            }
        }
        false
    }
}
