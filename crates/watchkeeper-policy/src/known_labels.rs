use std::collections::BTreeSet;

use crate::{
    diagnostic::{Diagnostic, Fix, SIMILAR, closest},
    limits::MAX_REPORTED,
    toml_text,
    tree::Span,
};

/// The labels that a policy sets, and the uses of labels in it.
#[derive(Debug, Default)]
pub(crate) struct KnownLabels {
    set: BTreeSet<String>,
    used: Vec<UsedLabel>,
}

/// A use of a label, such as `per = "label:team"`.
#[derive(Debug)]
struct UsedLabel {
    label: String,
    span: Span,
    /// Whether the detector does not monitor sessions without the label.
    is_required: bool,
}

impl KnownLabels {
    /// Records that the policy sets a label.
    pub(crate) fn add(&mut self, label: String) {
        self.set.insert(label);
    }

    /// Records the use of a label. The span contains `label:NAME` in quotes.
    pub(crate) fn mention(&mut self, label: &str, span: Span, is_required: bool) {
        self.used.push(UsedLabel { label: label.to_owned(), span, is_required });
    }

    /// Returns warnings about labels that are probably misspelt. A session can have labels
    /// that the policy does not set, so a condition on such a label is accepted unless a
    /// similar one is set.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        let Self { set, used } = self;
        let unknown = used.iter().filter(|used| !set.contains(&used.label)).take(MAX_REPORTED);
        unknown.filter_map(|UsedLabel { label, span, is_required }| {
            let similar = closest(label, set.iter().map(String::as_str));
            if !is_required && similar.is_none() {
                return None;
            }
            let fix = similar.map(|similar| {
                let text = toml_text::string(&format!("label:{similar}"));
                Fix::new(SIMILAR, span.clone(), text)
            });
            let message = format!("the policy sets no label `{label}`");
            let warning = Diagnostic::warning(span.clone(), message).fix(fix);
            Some(if *is_required {
                warning.note(
                    "this detector does not monitor sessions without the label; set it in \
                     `[[labels]]`, or in the sessions themselves",
                )
            } else {
                warning
            })
        })
    }
}
