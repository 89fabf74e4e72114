//! Reads `[[overrides]]`.

use std::{collections::BTreeSet, mem, sync::Arc};

use toml::{Spanned, de::DeValue};
use watchkeeper_core::embed::{Entry as _, NamedDetector, SessionFilter, SessionMatcher};

use crate::{
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    exceptions::REASON_NOTE,
    layers,
    match_tracker::MatchTracker,
    reader::{Reader, unknown_key},
    tree::{self, Span, Table, Value},
};

/// The keys of an override.
pub(crate) const OVERRIDE_KEYS: &[&str] = &["detectors", "match", "reason"];
/// The keys of `match`, in addition to `label:NAME`.
pub(crate) const SESSION_KEYS: &[&str] = &["cwd", "model", "source", "version"];
/// The maximum number of overrides of one detector, which is built once for each
/// combination of them.
const MAX_OVERRIDES: usize = 4;
const EXAMPLE: &str = "write `detectors.ID.KEY = value`";

/// Changes of detectors for the sessions that match.
pub(crate) struct Override<'f> {
    /// The location in the policy.
    span: Span,
    matcher: Arc<SessionMatcher>,
    /// The keys to merge into detectors, by the name of the detector.
    detectors: Vec<(Spanned<String>, Table<'f>)>,
}

impl Reader<'_> {
    /// Reads the overrides. The options of their detectors are read later, by
    /// [`detector_and_overridden`](Self::detector_and_overridden).
    pub(crate) fn overrides<'f>(
        &mut self,
        section: Option<Value<'f>>,
        detector_ids: &BTreeSet<String>,
        match_tracker: &mut MatchTracker,
    ) -> Vec<Override<'f>> {
        let Some(section) = section else { return Vec::new() };
        let span = section.span();
        let DeValue::Array(items) = section.into_inner() else {
            let note = "each override begins with `[[overrides]]`";
            self.push(Diagnostic::error(span, "`overrides` is not a list").note(note));
            return Vec::new();
        };
        let mut overrides = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
            let Some(table) = self.table(item) else { continue };
            let parsed = self.one_override(table, detector_ids);
            let filter = SessionFilter::matching(vec![Arc::clone(&parsed.matcher)]);
            let reason = parsed.matcher.reason.as_deref();
            match_tracker.add_override(parsed.span.clone(), reason, filter);
            overrides.push(parsed);
        }
        overrides
    }

    fn one_override<'f>(
        &mut self,
        table: Spanned<Table<'f>>,
        detector_ids: &BTreeSet<String>,
    ) -> Override<'f> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for (key, note) in [
            ("match", "write `match = { cwd = \"*/nightly/*\" }`"),
            ("reason", REASON_NOTE),
            ("detectors", EXAMPLE),
        ] {
            if !keys.contains_key(key) {
                let message = format!("`{key}` is missing");
                self.push(Diagnostic::error(whole.clone(), message).note(note));
            }
        }
        let matcher = keys.remove("match").and_then(|it| self.table(it));
        let mut matcher = matcher.map_or_else(SessionMatcher::default, |table| {
            let if_all = "set the options for all sessions in `[detectors]`";
            self.session_matcher(table, if_all)
        });
        matcher.reason = self.reason(&mut keys);
        let section = keys.remove("detectors");
        if let Some(section) = &section
            && section.get_ref().as_table().is_some_and(Table::is_empty)
        {
            let message = "this override changes nothing";
            self.push(Diagnostic::warning(section.span(), message).note(EXAMPLE));
        }
        self.reject_keys(&keys, OVERRIDE_KEYS);
        let mut detectors = Vec::new();
        for (id, table) in self.entries(section) {
            if self.is_full() {
                break;
            }
            if detector_ids.contains(id.get_ref()) {
                detectors.push((id, table.into_inner()));
                continue;
            }
            let message = format!("unknown detector `{}`", id.get_ref());
            let ids = detector_ids.iter().map(String::as_str);
            let fix = Fix::key(id.get_ref(), id.span(), ids);
            self.push(Diagnostic::error(id.span(), message).fix(fix));
        }
        Override { span: whole, matcher: Arc::new(matcher), detectors }
    }

    pub(crate) fn session_matcher(
        &mut self,
        table: Spanned<Table<'_>>,
        if_all: &str,
    ) -> SessionMatcher {
        let mut matcher = SessionMatcher::default();
        if table.get_ref().is_empty() {
            let message = "this matches every session";
            self.push(Diagnostic::error(table.span(), message).note(if_all));
        }
        for (key, value) in table.into_inner() {
            let span = key.span();
            match key.get_ref().as_ref() {
                "source" => {
                    let sources: BTreeSet<String> =
                        self.registry.sources.iter().map(|it| it.kind().to_owned()).collect();
                    // A program that reads no files has no sources to compare with.
                    matcher.source = if sources.is_empty() {
                        self.globs(value)
                    } else {
                        self.known_globs(value, "kind of source", &sources)
                    };
                }
                "cwd" => matcher.cwd = self.folder_globs(value),
                "model" => matcher.model = self.globs(value),
                "version" => matcher.version = self.globs(value),
                name => match name.strip_prefix("label:").filter(|it| !it.is_empty()) {
                    Some(label) => {
                        self.labels.mention(label, span, false);
                        let globs = self.globs(value);
                        matcher.labels.insert(label.to_owned(), globs);
                    }
                    None => {
                        let note = "`match` uses facts that are known when a session starts; \
                                    to match a label, write `\"label:NAME\" = \"value\"`";
                        self.push(unknown_key(name, span, SESSION_KEYS).note(note));
                    }
                },
            }
        }
        matcher
    }

    /// Reads a detector: once without overrides, and once for each combination of
    /// the overrides that change it. Returns the enabled ones.
    pub(crate) fn detector_and_overridden<'f>(
        &mut self,
        id: &Spanned<String>,
        table: Spanned<Table<'f>>,
        overrides: &[Override<'f>],
        match_tracker: &mut MatchTracker,
    ) -> Vec<NamedDetector> {
        let changes = self.changes(id, table.get_ref(), overrides);
        let whole = table.span();
        // The index of a table is a bit set of the overrides that match.
        let mut tables = vec![table.into_inner()];
        let mut found = DiagnosticList::default();
        for (_, _, over) in &changes {
            for below in 0..tables.len() {
                let below = tables[below].clone();
                tables.push(layers::merge_override(below, (*over).clone(), &mut found));
            }
        }
        for (override_idx, (key, _, over)) in changes.iter().enumerate() {
            let bit = 1 << override_idx;
            let is_off = |table: &Table<'_>| {
                table.get("enabled").and_then(|it| it.get_ref().as_bool()) == Some(false)
            };
            let changes_nothing = |matching: usize| {
                let (with, without) = (&tables[matching], &tables[matching & !bit]);
                tree::is_same_table(with, without) || is_off(with) && is_off(without)
            };
            let mut matching = (0..tables.len()).filter(|it| it & bit != 0);
            if matching.all(changes_nothing) && !over.is_empty() {
                let message = format!("this override does not change `{}`", id.get_ref());
                let note = "the detector has these values already, or it is disabled";
                found.push(Diagnostic::warning(key.span(), message).note(note));
            }
        }
        let mut detectors = Vec::new();
        for (matching, table) in tables.into_iter().enumerate() {
            // Mistakes of the detector itself recur in each combination.
            let earlier = mem::take(self.diagnostics);
            let detector = self.detector(id, Spanned::new(whole.clone(), table));
            found.append(mem::replace(self.diagnostics, earlier));
            detectors.extend(detector.map(|(detector, exceptions)| {
                let patterns = || exceptions.iter().flat_map(|it| it.exception.patterns());
                let may_compare = self.may_compare(patterns().count(), patterns());
                let mut sessions = SessionFilter::default();
                for (override_idx, (_, matcher, _)) in changes.iter().enumerate() {
                    let is_matching = matching & (1 << override_idx) != 0;
                    let matchers =
                        if is_matching { &mut sessions.all_of } else { &mut sessions.none_of };
                    matchers.push(Arc::clone(matcher));
                }
                match_tracker.add_exceptions(&exceptions, &sessions, may_compare);
                NamedDetector { sessions, ..detector }
            }));
        }
        self.diagnostics.append(found);
        detectors
    }

    /// Returns the overrides that change a detector: the key, the matcher, and the
    /// table to merge.
    fn changes<'o, 'f>(
        &mut self,
        id: &Spanned<String>,
        table: &Table<'f>,
        overrides: &'o [Override<'f>],
    ) -> Vec<(&'o Spanned<String>, &'o Arc<SessionMatcher>, Table<'f>)> {
        let mut changes = Vec::new();
        for Override { matcher, detectors, .. } in overrides {
            let change = detectors.iter().find(|(key, _)| key.get_ref() == id.get_ref());
            let Some((key, over)) = change else { continue };
            if table.contains_key("per") {
                let message = "a detector with `per` cannot be overridden";
                let note = "with `per`, many sessions share one stream and its options";
                self.push(Diagnostic::error(key.span(), message).note(note));
                continue;
            }
            if changes.len() == MAX_OVERRIDES {
                let message =
                    format!("more than {MAX_OVERRIDES} overrides change `{}`", id.get_ref());
                let note = "combine overrides with equal options: `match` accepts lists";
                self.push(Diagnostic::error(key.span(), message).note(note));
                break;
            }
            let mut over = over.clone();
            for fixed in ["inhibited_by", "kind", "per"] {
                if let Some((key, _)) = over.remove_entry(fixed) {
                    let message = format!("`{fixed}` cannot be overridden");
                    let note =
                        "an override changes only the options, levels and exceptions of a detector";
                    self.push(Diagnostic::error(key.span(), message).note(note));
                }
            }
            changes.push((key, matcher, over));
        }
        changes
    }
}
