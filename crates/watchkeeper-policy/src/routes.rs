//! `[[routes]]`.

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{Entry as _, Glob, Matcher, Route, Severity, SeverityMatch, Status};

use crate::{
    Diagnostic,
    diagnostic::Fix,
    reader::{Reader, unknown_key},
    sinks::SinkName,
    tree::{Table, Value},
};

/// The keys of a route.
pub(crate) const ROUTE_KEYS: &[&str] = &["cooldown", "match", "name", "send_resolved", "sinks"];
/// The keys of its `match`, beside `label:NAME`.
pub(crate) const MATCH_KEYS: &[&str] =
    &["agent", "class", "detector", "kind", "session", "severity", "source", "status"];
/// What begins the names of the monitor's own detectors, and is their kind.
pub(crate) const MONITOR: &str = "watchkeeper";

impl Reader<'_> {
    /// Reads the routes; without any, everything goes to every sink.
    pub(crate) fn routes(
        &mut self,
        section: Option<Value<'_>>,
        detector_ids: &[String],
        sinks: &[SinkName],
    ) -> Vec<Route> {
        let Some(section) = section else {
            let ids: Vec<String> = sinks.iter().map(|it| it.id.get_ref().clone()).collect();
            return vec![Route::to_all(&ids)];
        };
        let span = section.span();
        let DeValue::Array(items) = section.into_inner() else {
            let note = "each route begins with `[[routes]]`";
            self.push(Diagnostic::error(span, "`routes` is not a list").note(note));
            return Vec::new();
        };
        let (mut routes, n_routes) = (Vec::new(), items.iter().count());
        for (n, it) in items.into_iter().enumerate() {
            let Some(table) = self.table(it) else { continue };
            routes.extend(self.route(n + 1, table, detector_ids, sinks));
        }
        // One that is wrong may have been for any of them.
        let is_whole = routes.len() == n_routes;
        for sink in sinks.iter().filter(|it| it.is_on && is_whole) {
            let id = sink.id.get_ref();
            if !routes.iter().any(|it| it.sinks.contains(id)) {
                let message = format!("no route reaches sink `{id}`");
                self.push(Diagnostic::warning(sink.id.span(), message));
            }
        }
        routes
    }

    fn route(
        &mut self,
        number: usize,
        table: Spanned<Table<'_>>,
        detector_ids: &[String],
        sinks: &[SinkName],
    ) -> Option<Route> {
        let whole = table.span();
        let mut keys = table.into_inner();
        let name = self.take(&mut keys, "name").unwrap_or_else(|| number.to_string());
        let cooldown = self.take(&mut keys, "cooldown");
        let send_resolved = keys.remove_entry("send_resolved");
        let matcher = keys.remove("match").and_then(|it| self.table(it));
        let matcher = matcher.map_or_else(Matcher::default, |it| self.matcher(it, detector_ids));
        if let (Some((key, _)), Some(_)) = (&send_resolved, matcher.status) {
            let message = "`send_resolved` says nothing beside a `status`";
            let note = "without a `status` it adds the end of what the route sent";
            self.push(Diagnostic::error(key.span(), message).note(note));
        }
        let send_resolved = send_resolved.and_then(|(_, it)| self.read(it)).unwrap_or(false);
        let targets = keys.remove("sinks");
        self.refuse_rest(&keys, ROUTE_KEYS);
        let Some(targets) = targets else {
            let mut diagnostic =
                Diagnostic::error(whole, "`sinks` is missing: the route leads nowhere");
            if !sinks.is_empty() {
                diagnostic = diagnostic.note(there_are(sinks));
            }
            self.push(diagnostic);
            return None;
        };
        let sinks = self.targets(targets, sinks)?;
        Some(Route { name, matcher, sinks, cooldown, send_resolved })
    }

    fn targets(&mut self, value: Value<'_>, sinks: &[SinkName]) -> Option<Vec<String>> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "write a list: `sinks = [\"console\"]`";
            self.push(Diagnostic::error(span, "`sinks` is not a list").note(note));
            return None;
        };
        if items.is_empty() {
            self.push(Diagnostic::warning(span, "the route leads nowhere"));
        }
        let mut res = Vec::new();
        for it in items {
            let span = it.span();
            let Some(id) = self.read::<String>(it) else { continue };
            if !sinks.iter().any(|it| *it.id.get_ref() == id) {
                let message = format!("there is no sink `{id}`");
                let ids = sinks.iter().map(|it| it.id.get_ref().as_str());
                let fix = Fix::string(&id, span.clone(), ids);
                let mut diagnostic = Diagnostic::warning(span, message).fix(fix);
                if !sinks.is_empty() {
                    diagnostic = diagnostic.note(there_are(sinks));
                }
                self.push(diagnostic);
            }
            res.push(id);
        }
        Some(res)
    }

    fn matcher(&mut self, table: Spanned<Table<'_>>, detector_ids: &[String]) -> Matcher {
        let mut res = Matcher::default();
        let mut severity_key = None;
        for (key, value) in table.into_inner() {
            let span = key.span();
            match key.get_ref().as_ref() {
                "severity" => {
                    res.severity = self.severity_match(value);
                    severity_key = Some(span);
                }
                "status" => res.status = self.status(value),
                "detector" => {
                    res.detector = self.globs(value, "detector", detector_ids);
                }
                "kind" => {
                    let mut kinds: Vec<String> =
                        self.registry.detectors.iter().map(|it| it.kind().to_owned()).collect();
                    kinds.push(MONITOR.to_owned());
                    res.kind = self.globs(value, "kind of detector", &kinds);
                }
                "class" => {
                    let mut classes: Vec<String> =
                        self.registry.detectors.iter().map(|it| it.class.to_owned()).collect();
                    classes.push("error".to_owned());
                    res.class = self.globs(value, "class", &classes);
                }
                "session" => res.session = self.any_globs(value),
                "source" => res.source = self.any_globs(value),
                "agent" => res.agent = self.any_globs(value),
                name => match name.strip_prefix("label:").filter(|it| !it.is_empty()) {
                    Some(label) => {
                        let globs = self.any_globs(value);
                        res.labels.insert(label.to_owned(), globs);
                    }
                    None => {
                        let note = "a label is matched by `\"label:NAME\" = \"value\"`";
                        self.push(unknown_key(name, span, MATCH_KEYS).note(note));
                    }
                },
            }
        }
        if let (Some(span), Some(Status::Resolved)) = (severity_key, res.status) {
            let message = "what is resolved has no severity";
            let note = "`send_resolved = true` on a route for open findings adds the end of each";
            self.push(Diagnostic::error(span, message).note(note));
        }
        res
    }

    fn severity_match(&mut self, value: Value<'_>) -> Option<SeverityMatch> {
        let span = value.span();
        if value.get_ref().is_array() {
            let note = "write `severity = \">=medium\"` for one and all above, or a route for each";
            let message = "`severity` is one text, and no list";
            self.push(Diagnostic::error(span, message).note(note));
            return None;
        }
        let text = self.read::<String>(value)?;
        let named = |name: &str| Severity::ALL.into_iter().find(|it| it.name() == name);
        let res = match text.strip_prefix(">=") {
            Some(name) => named(name).map(SeverityMatch::AtLeast),
            None => named(&text).map(SeverityMatch::Only),
        };
        if res.is_none() {
            let names = Severity::ALL.map(|it| format!(">={it}"));
            let only = Severity::ALL.map(Severity::name);
            let name = text.trim_start_matches(['>', '=', '<', ' ']);
            let fix = if name.len() == text.len() {
                Fix::string(&text, span.clone(), only)
            } else {
                Fix::string(&format!(">={name}"), span.clone(), names.iter().map(String::as_str))
            };
            let message = format!("there is no severity `{text}`");
            let note = "there are `low`, `medium` and `high`, and `>=medium` for one and all above";
            self.push(Diagnostic::error(span, message).note(note).fix(fix));
        }
        res
    }

    fn status(&mut self, value: Value<'_>) -> Option<Status> {
        let span = value.span();
        let text = self.read::<String>(value)?;
        match text.as_str() {
            "open" => Some(Status::Open),
            "resolved" => Some(Status::Resolved),
            _ => {
                let message = format!("there is no status `{text}`");
                let fix = Fix::string(&text, span.clone(), ["open", "resolved"]);
                let note = "a finding is `open` or `resolved`";
                self.push(Diagnostic::error(span, message).note(note).fix(fix));
                None
            }
        }
    }

    pub(crate) fn any_globs(&mut self, value: Value<'_>) -> Vec<Glob> {
        self.spanned_globs(value).into_iter().map(Spanned::into_inner).collect()
    }

    /// Reads patterns, and points at those that none of the `known` match.
    pub(crate) fn globs(&mut self, value: Value<'_>, what: &str, known: &[String]) -> Vec<Glob> {
        let globs = self.spanned_globs(value);
        for it in &globs {
            let glob = it.get_ref();
            if glob.as_str().starts_with(MONITOR) || known.iter().any(|it| glob.matches(it)) {
                continue;
            }
            let message = format!("no {what} is called `{glob}`");
            let fix = Fix::string(glob.as_str(), it.span(), known.iter().map(String::as_str));
            self.push(Diagnostic::warning(it.span(), message).fix(fix));
        }
        globs.into_iter().map(Spanned::into_inner).collect()
    }

    /// Reads a pattern, or a list of them.
    pub(crate) fn spanned_globs(&mut self, value: Value<'_>) -> Vec<Spanned<Glob>> {
        let span = value.span();
        let items = match value.into_inner() {
            DeValue::Array(items) if items.is_empty() => {
                let message = "nothing is in an empty list, so nothing matches";
                self.push(Diagnostic::error(span, message));
                return Vec::new();
            }
            DeValue::Array(items) => items.into_iter().collect(),
            it => vec![Spanned::new(span, it)],
        };
        let mut res = Vec::new();
        for it in items {
            let span = it.span();
            if let Some(text) = self.read::<String>(it) {
                res.push(Spanned::new(span, Glob::new(text)));
            }
        }
        res
    }
}

fn there_are(sinks: &[SinkName]) -> String {
    let ids: Vec<String> = sinks.iter().map(|it| format!("`{}`", it.id.get_ref())).collect();
    match &ids[..] {
        [one] => format!("there is {one}"),
        _ => format!("there are {}", ids.join(", ")),
    }
}
