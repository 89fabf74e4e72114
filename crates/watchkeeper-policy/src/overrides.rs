//! `[[overrides]]`.

use std::{mem, sync::Arc};

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{Entry as _, NamedDetector, SessionFilter, SessionMatcher};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    exceptions::WHY,
    layers,
    reader::{Reader, unknown_key},
    tree::{self, Span, Table, Value},
};

/// The keys of an override.
pub(crate) const OVERRIDE_KEYS: &[&str] = &["detectors", "match", "reason"];
/// The keys of its `match`, beside `label:NAME`.
pub(crate) const SESSION_KEYS: &[&str] = &["cwd", "model", "source", "version"];
/// How many overrides may touch one detector: it is built once for each way in
/// which they can come together.
const MAX_OVERRIDES: usize = 4;
const EXAMPLE: &str = "write `detectors.ID.KEY = value`";

/// What is different in some sessions.
pub(crate) struct Override<'f> {
    /// Where it stands.
    span: Span,
    matcher: Arc<SessionMatcher>,
    /// What is laid over detectors, by name.
    detectors: Vec<(Spanned<String>, Table<'f>)>,
}

impl Reader<'_> {
    /// Reads the overrides, but for what they say of detectors.
    pub(crate) fn overrides<'f>(
        &mut self,
        section: Option<Value<'f>>,
        detector_ids: &[String],
    ) -> Vec<Override<'f>> {
        let Some(section) = section else { return Vec::new() };
        let span = section.span();
        let DeValue::Array(items) = section.into_inner() else {
            let note = "each override begins with `[[overrides]]`";
            self.push(Diagnostic::error(span, "`overrides` is not a list").note(note));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in items {
            let Some(table) = self.table(it) else { continue };
            let it = self.one_override(table, detector_ids);
            let filter =
                SessionFilter { all_of: vec![Arc::clone(&it.matcher)], ..SessionFilter::default() };
            self.match_tracker.add_override(it.span.clone(), it.matcher.reason.as_deref(), filter);
            res.push(it);
        }
        res
    }

    fn one_override<'f>(
        &mut self,
        table: Spanned<Table<'f>>,
        detector_ids: &[String],
    ) -> Override<'f> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for (key, note) in [
            ("match", "write `match = { cwd = \"*/nightly/*\" }`"),
            ("reason", WHY),
            ("detectors", EXAMPLE),
        ] {
            if !keys.contains_key(key) {
                let message = format!("`{key}` is missing");
                self.push(Diagnostic::error(whole.clone(), message).note(note));
            }
        }
        let matcher = keys.remove("match").and_then(|it| self.table(it));
        let matcher = matcher.map_or_else(SessionMatcher::default, |it| self.session_matcher(it));
        let matcher = SessionMatcher { reason: self.reason(&mut keys), ..matcher };
        let section = keys.remove("detectors");
        if let Some(section) = &section
            && section.get_ref().as_table().is_some_and(Table::is_empty)
        {
            let message = "this override changes nothing";
            self.push(Diagnostic::warning(section.span(), message).note(EXAMPLE));
        }
        self.refuse_rest(&keys, OVERRIDE_KEYS);
        let mut detectors = Vec::new();
        for (id, table) in self.entries(section) {
            if detector_ids.contains(id.get_ref()) {
                detectors.push((id, table.into_inner()));
                continue;
            }
            let message = format!("there is no detector `{}` to override", id.get_ref());
            let ids = detector_ids.iter().map(String::as_str);
            let fix = Fix::key(id.get_ref(), id.span(), ids);
            self.push(Diagnostic::error(id.span(), message).fix(fix));
        }
        Override { span: whole, matcher: Arc::new(matcher), detectors }
    }

    fn session_matcher(&mut self, table: Spanned<Table<'_>>) -> SessionMatcher {
        let mut res = SessionMatcher::default();
        if table.get_ref().is_empty() {
            let message = "this matches every session";
            let note = "what holds for all of them stands with the detector itself";
            self.push(Diagnostic::error(table.span(), message).note(note));
        }
        for (key, value) in table.into_inner() {
            let span = key.span();
            match key.get_ref().as_ref() {
                "source" => {
                    let sources: Vec<String> =
                        self.registry.sources.iter().map(|it| it.kind().to_owned()).collect();
                    // Without any, as in a program that reads no files, there
                    // is nothing to go by.
                    res.source = if sources.is_empty() {
                        self.any_globs(value)
                    } else {
                        self.globs(value, "kind of source", &sources)
                    };
                }
                "cwd" => res.cwd = self.any_globs(value),
                "model" => res.model = self.any_globs(value),
                "version" => res.version = self.any_globs(value),
                name => match name.strip_prefix("label:").filter(|it| !it.is_empty()) {
                    Some(label) => {
                        let globs = self.any_globs(value);
                        res.labels.insert(label.to_owned(), globs);
                    }
                    None => {
                        let note = "an override goes by what is known as a session begins; a \
                                    label is matched by `\"label:NAME\" = \"value\"`";
                        self.push(unknown_key(name, span, SESSION_KEYS).note(note));
                    }
                },
            }
        }
        res
    }

    /// Reads a detector: once as it stands, and once for each way in which the
    /// overrides that touch it can come together.
    pub(crate) fn detector_and_overridden<'f>(
        &mut self,
        id: &Spanned<String>,
        table: Spanned<Table<'f>>,
        overrides: &[Override<'f>],
    ) -> Vec<NamedDetector> {
        let touching = self.touching(id, table.get_ref(), overrides);
        let whole = table.span();
        // By which of the overrides match, as bits.
        let mut tables = vec![table.into_inner()];
        let mut found = Vec::new();
        for (_, _, over) in &touching {
            for below in 0..tables.len() {
                let below = tables[below].clone();
                tables.push(layers::overridden(below, (*over).clone(), &mut found));
            }
        }
        for (override_idx, (key, _, over)) in touching.iter().enumerate() {
            let bit = 1 << override_idx;
            let is_off = |it: &Table<'_>| {
                it.get("enabled").and_then(|it| it.get_ref().as_bool()) == Some(false)
            };
            let changes_nothing = |matching: usize| {
                let (with, without) = (&tables[matching], &tables[matching & !bit]);
                tree::is_same_table(with, without) || is_off(with) && is_off(without)
            };
            let mut matching = (0..tables.len()).filter(|it| it & bit != 0);
            if matching.all(changes_nothing) && !over.is_empty() {
                let message = format!("this override changes nothing of `{}`", id.get_ref());
                let note = "what it says holds anyway, or the detector is off";
                found.push(Diagnostic::warning(key.span(), message).note(note));
            }
        }
        let mut detectors = Vec::new();
        for (matching, table) in tables.into_iter().enumerate() {
            // What is wrong with the detector itself is wrong each time.
            let earlier = mem::take(self.diagnostics);
            let detector = self.detector(id, Spanned::new(whole.clone(), table));
            found.extend(mem::replace(self.diagnostics, earlier));
            detectors.extend(detector.map(|(it, exceptions)| {
                let mut sessions = SessionFilter::default();
                for (override_idx, (_, matcher, _)) in touching.iter().enumerate() {
                    let is_matching = matching & (1 << override_idx) != 0;
                    let matchers =
                        if is_matching { &mut sessions.all_of } else { &mut sessions.none_of };
                    matchers.push(Arc::clone(matcher));
                }
                self.match_tracker.add_exceptions(&exceptions, &sessions);
                NamedDetector { sessions, ..it }
            }));
        }
        for it in found {
            if !self.diagnostics.contains(&it) {
                self.push(it);
            }
        }
        detectors
    }

    /// The overrides that touch a detector, and what they lay over it.
    fn touching<'o, 'f>(
        &mut self,
        id: &Spanned<String>,
        table: &Table<'f>,
        overrides: &'o [Override<'f>],
    ) -> Vec<(&'o Spanned<String>, &'o Arc<SessionMatcher>, Table<'f>)> {
        let mut res = Vec::new();
        for it in overrides {
            let ours = it.detectors.iter().find(|(it, _)| it.get_ref() == id.get_ref());
            let Some((key, over)) = ours else { continue };
            if table.contains_key("per") {
                let message = "a detector with `per` cannot be overridden";
                let note = "its sessions share one stream, and so all that is said of it";
                self.push(Diagnostic::error(key.span(), message).note(note));
                continue;
            }
            if res.len() == MAX_OVERRIDES {
                let message =
                    format!("more than {MAX_OVERRIDES} overrides change `{}`", id.get_ref());
                let note = "make one of those that say the same, with lists to match, or give \
                            some sessions a detector of their own";
                self.push(Diagnostic::error(key.span(), message).note(note));
                break;
            }
            let mut over = over.clone();
            for fixed in ["inhibited_by", "kind", "per"] {
                if let Some((key, _)) = over.remove_entry(fixed) {
                    let message = format!("`{fixed}` cannot be overridden");
                    let note = "an override changes what a detector is told, not what it is";
                    self.push(Diagnostic::error(key.span(), message).note(note));
                }
            }
            res.push((key, &it.matcher, over));
        }
        res
    }
}
