//! Reads `inhibited_by` of `[detectors.ID]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
        detector_ids: &BTreeSet<String>,
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
        let cycles = Cycles::of(&inhibitions);
        for (id, inhibitors) in &inhibitions.0 {
            for inhibitor in inhibitors.iter().filter(|it| cycles.contain(id, it.get_ref())) {
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

    fn inhibitors(
        &mut self,
        value: Value<'_>,
        detector_ids: &BTreeSet<String>,
    ) -> Vec<Spanned<String>> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "write a list: `inhibited_by = [\"repeated_call\"]`";
            self.push(Diagnostic::error(span, "`inhibited_by` is not a list").note(note));
            return Vec::new();
        };
        let mut inhibitors = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
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
                    self.diagnostics.push_new(diagnostic);
                }
            }
        }
    }
}

/// The groups of detectors that inhibit each other, directly or through others, by the
/// algorithm of Tarjan.
struct Cycles<'a> {
    inhibitions: &'a Inhibitions,
    /// The order of each visited detector; `usize::MAX` once its group is known.
    order: BTreeMap<&'a str, usize>,
    /// The visited detectors whose group is unknown.
    open: Vec<&'a str>,
    /// The group of each detector.
    groups: BTreeMap<&'a str, usize>,
}

impl<'a> Cycles<'a> {
    fn of(inhibitions: &'a Inhibitions) -> Self {
        let mut cycles =
            Self { inhibitions, order: BTreeMap::new(), open: Vec::new(), groups: BTreeMap::new() };
        for id in inhibitions.0.keys() {
            cycles.visit(id);
        }
        cycles
    }

    /// Returns whether an inhibitor of a detector is inhibited by it.
    fn contain(&self, id: &str, inhibitor: &str) -> bool {
        self.groups.get(id) == self.groups.get(inhibitor)
    }

    /// Returns the smallest order of the open detectors that inhibit this one. The recursion is
    /// as deep as the chain of detectors, whose number is limited.
    fn visit(&mut self, id: &'a str) -> usize {
        if let Some(order) = self.order.get(id) {
            return *order;
        }
        let order = self.order.len();
        self.order.insert(id, order);
        let n_open = self.open.len();
        self.open.push(id);
        let inhibitors = self.inhibitions.0.get(id).into_iter().flatten();
        let smallest = inhibitors.map(|it| self.visit(it.get_ref())).fold(order, usize::min);
        if smallest == order {
            for member in self.open.drain(n_open..) {
                self.order.insert(member, usize::MAX);
                self.groups.insert(member, order);
            }
        }
        smallest
    }
}
