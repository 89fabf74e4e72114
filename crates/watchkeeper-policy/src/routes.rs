//! Reads `[[routes]]`.

use std::{collections::BTreeSet, mem};

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    Severity, Status,
    author::Period,
    embed::{Entry as _, GroupField, Grouping, Matcher, Route, SeverityMatch},
};

use crate::{
    builtin::builtin,
    diagnostic::{Diagnostic, Fix},
    globs::MONITOR,
    reader::{Reader, unknown_key},
    sinks::SinkName,
    tree::{Span, Table, Value},
};

/// The keys of a route.
pub(crate) const ROUTE_KEYS: &[&str] = &[
    "cooldown",
    "fallback",
    "for",
    "group_by",
    "group_wait",
    "match",
    "name",
    "send_resolved",
    "sinks",
];
/// The keys of `match`, in addition to `label:NAME`.
pub(crate) const MATCH_KEYS: &[&str] =
    &["agent", "class", "detector", "kind", "session", "severity", "source", "status", "tag"];

impl Reader<'_> {
    /// Reads the routes. A policy without `routes` sends every finding to every sink.
    pub(crate) fn routes(
        &mut self,
        section: Option<Value<'_>>,
        detector_ids: &BTreeSet<String>,
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
        for (route_idx, item) in items.into_iter().enumerate() {
            if self.is_full() {
                break;
            }
            let Some(table) = self.table(item) else { continue };
            routes.extend(self.route(route_idx + 1, table, detector_ids, sinks));
        }
        let fallbacks = routes.iter().filter(|(route, _)| route.is_fallback);
        let fallbacks: Vec<Span> = fallbacks.filter_map(|(_, span)| span.clone()).collect();
        let routes: Vec<Route> = routes.into_iter().map(|(route, _)| route).collect();
        if let Some(all) = routes.iter().find(|it| !it.is_fallback && it.matcher.is_empty()) {
            for span in fallbacks {
                let message = "this fallback never acts";
                let note = format!("route `{}` matches every finding", all.name);
                self.push(Diagnostic::warning(span, message).note(note));
            }
        }
        // An invalid route may have named any sink.
        let all_valid = routes.len() == n_routes;
        for sink in sinks.iter().filter(|it| it.is_on && all_valid) {
            // The user did not write the sinks of the built-in policy.
            let (file_idx, _) = self.files.locate(&sink.id.span());
            if self.files.get(file_idx).is_some_and(|file| builtin(&file.path).is_some()) {
                continue;
            }
            let id = sink.id.get_ref();
            if !routes.iter().any(|it| it.sinks.contains(id)) {
                let message = format!("no route uses sink `{id}`");
                self.push(Diagnostic::warning(sink.id.span(), message));
            }
        }
        routes
    }

    /// Reads a route, and the location of its `fallback`.
    fn route(
        &mut self,
        number: usize,
        table: Spanned<Table<'_>>,
        detector_ids: &BTreeSet<String>,
        sinks: &[SinkName],
    ) -> Option<(Route, Option<Span>)> {
        let whole = table.span();
        let mut keys = table.into_inner();
        let name = self.take(&mut keys, "name").unwrap_or_else(|| number.to_string());
        let cooldown = self.take(&mut keys, "cooldown");
        let group_wait = keys.get_key_value("group_wait").map(|(key, _)| key.span());
        let grouping = self.grouping(&mut keys);
        let open_for = keys.remove_entry("for");
        let send_resolved = keys.remove_entry("send_resolved");
        let matcher = keys.remove("match").and_then(|it| self.table(it));
        let matcher = matcher.map_or_else(Matcher::default, |it| self.matcher(it, detector_ids));
        if let (Some((key, _)), Some(_)) = (&send_resolved, matcher.status) {
            let message = "`send_resolved` cannot be used with `match.status`";
            let note = "without `status`, `send_resolved` adds a resolved finding for each one that was sent";
            self.push(Diagnostic::error(key.span(), message).note(note));
        }
        if let (Some((key, _)), Some(_)) = (&open_for, matcher.status) {
            let message = "`for` cannot be used with `match.status`";
            let note = "without `status`, `for` is the time for which a finding has to be open";
            self.push(Diagnostic::error(key.span(), message).note(note));
        }
        let open_for = open_for.and_then(|(_, it)| self.read(it));
        let send_resolved = send_resolved.and_then(|(_, it)| self.read(it)).unwrap_or(false);
        let fallback = keys.remove_entry("fallback");
        let fallback = fallback.map(|(key, it)| (key.span(), self.read(it).unwrap_or(false)));
        let targets = keys.remove("sinks");
        self.reject_keys(&keys, ROUTE_KEYS);
        let Some(targets) = targets else {
            let mut diagnostic = Diagnostic::error(whole, "`sinks` is missing");
            if !sinks.is_empty() {
                diagnostic = diagnostic.note(known_sinks(sinks));
            }
            self.push(diagnostic);
            return None;
        };
        let targets = self.targets(targets, sinks)?;
        if let Some(span) = group_wait.filter(|_| deliver_one_by_one(&targets, sinks)) {
            let message = "`group_wait` has no effect";
            let note = "each sink of the route receives findings one by one";
            self.push(Diagnostic::warning(span, message).note(note));
        }
        let mut route = Route::new(name, matcher, targets);
        route.cooldown = cooldown;
        route.open_for = open_for;
        route.grouping = grouping;
        route.send_resolved = send_resolved;
        route.is_fallback = fallback.as_ref().is_some_and(|(_, is_fallback)| *is_fallback);
        Some((route, fallback.map(|(span, _)| span)))
    }

    fn grouping(&mut self, keys: &mut Table<'_>) -> Option<Grouping> {
        let by = keys.remove_entry("group_by");
        let wait: Option<Period> = self.take(keys, "group_wait");
        let Some((key, fields)) = by else { return wait.map(Grouping::new) };
        if wait.is_none() {
            let message = "`group_by` needs `group_wait`";
            let note = "`group_wait = \"10s\"` is the time in which findings are collected";
            self.push(Diagnostic::error(key.span(), message).note(note));
        }
        let span = fields.span();
        let DeValue::Array(items) = fields.into_inner() else {
            let note = "write a list: `group_by = [\"detector\"]`";
            self.push(Diagnostic::error(span, "`group_by` is not a list").note(note));
            return None;
        };
        let mut by = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
            by.extend(self.group_field(item));
        }
        let mut grouping = Grouping::new(wait?);
        grouping.by = by;
        Some(grouping)
    }

    fn group_field(&mut self, value: Value<'_>) -> Option<GroupField> {
        let span = value.span();
        let name = self.read::<String>(value)?;
        match name.parse() {
            Ok(field) => {
                if let GroupField::Label(label) = &field {
                    self.labels.mention(label, span, false);
                }
                Some(field)
            }
            Err(err) => {
                let fix = Fix::string(&name, span.clone(), GroupField::NAMES);
                let message = format!("`{name}` is no field of findings");
                self.push(Diagnostic::error(span, message).note(err.to_string()).fix(fix));
                None
            }
        }
    }

    fn targets(&mut self, value: Value<'_>, sinks: &[SinkName]) -> Option<Vec<String>> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = "write a list: `sinks = [\"console\"]`";
            self.push(Diagnostic::error(span, "`sinks` is not a list").note(note));
            return None;
        };
        if items.is_empty() {
            self.push(Diagnostic::warning(span, "the route has no sinks"));
        }
        let mut ids = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
            let span = item.span();
            let Some(id) = self.read::<String>(item) else { continue };
            if !sinks.iter().any(|it| *it.id.get_ref() == id) {
                let message = format!("unknown sink `{id}`");
                let known = sinks.iter().map(|it| it.id.get_ref().as_str());
                let fix = Fix::string(&id, span.clone(), known);
                let mut diagnostic = Diagnostic::error(span, message).fix(fix);
                if !sinks.is_empty() {
                    diagnostic = diagnostic.note(known_sinks(sinks));
                }
                self.push(diagnostic);
            }
            ids.push(id);
        }
        Some(ids)
    }

    pub(crate) fn matcher(
        &mut self,
        table: Spanned<Table<'_>>,
        detector_ids: &BTreeSet<String>,
    ) -> Matcher {
        let mut matcher = Matcher::default();
        let mut severity_key = None;
        for (key, value) in table.into_inner() {
            let span = key.span();
            match key.get_ref().as_ref() {
                "severity" => {
                    matcher.severity = self.severity_match(value);
                    severity_key = Some(span);
                }
                "status" => matcher.status = self.status(value),
                "detector" => {
                    matcher.detector = self.known_globs(value, "detector", detector_ids);
                }
                "kind" => {
                    let mut kinds: BTreeSet<String> =
                        self.registry.detectors.iter().map(|it| it.kind().to_owned()).collect();
                    kinds.insert(MONITOR.to_owned());
                    matcher.kind = self.known_globs(value, "kind of detector", &kinds);
                }
                "class" => {
                    let mut classes: BTreeSet<String> =
                        self.registry.detectors.iter().map(|it| it.class.to_owned()).collect();
                    classes.insert("error".to_owned());
                    matcher.class = self.known_globs(value, "class", &classes);
                }
                "tag" => {
                    let tags = mem::take(&mut self.tags);
                    matcher.tag = self.known_globs(value, "tag of a detector", &tags);
                    self.tags = tags;
                }
                "session" => matcher.session = self.globs(value),
                "source" => matcher.source = self.globs(value),
                "agent" => matcher.agent = self.globs(value),
                name => match name.strip_prefix("label:").filter(|it| !it.is_empty()) {
                    Some(label) => {
                        self.labels.mention(label, span, false);
                        let globs = self.globs(value);
                        matcher.labels.insert(label.to_owned(), globs);
                    }
                    None => {
                        let note = "to match a label, write `\"label:NAME\" = \"value\"`";
                        self.push(unknown_key(name, span, MATCH_KEYS).note(note));
                    }
                },
            }
        }
        if let (Some(span), Some(Status::Resolved)) = (severity_key, matcher.status) {
            let message = "a resolved finding has no severity";
            let note = "to send the end of each finding, use `send_resolved = true` on a route for open findings";
            self.push(Diagnostic::error(span, message).note(note));
        }
        matcher
    }

    fn severity_match(&mut self, value: Value<'_>) -> Option<SeverityMatch> {
        let span = value.span();
        if value.get_ref().is_array() {
            let note = "write `severity = \">=medium\"` for a severity and all above, or one route for each";
            let message = "`severity` is a list, but must be a string";
            self.push(Diagnostic::error(span, message).note(note));
            return None;
        }
        let text = self.read::<String>(value)?;
        let severity = text.parse().ok();
        if severity.is_none() {
            let names = Severity::ALL.map(|it| format!(">={it}"));
            let only = Severity::ALL.map(Severity::name);
            // Other spellings of `>=medium`, such as "> medium" and "medium+".
            let mut words = text.split(|c: char| !c.is_alphabetic());
            let name = words.find(|word| !word.is_empty()).unwrap_or("");
            let fix = if name.len() == text.len() {
                Fix::string(&text, span.clone(), only)
            } else {
                Fix::string(&format!(">={name}"), span.clone(), names.iter().map(String::as_str))
            };
            let message = format!("unknown severity `{text}`");
            let note =
                "expected `low`, `medium` or `high`, or `>=medium` for a severity and all above";
            self.push(Diagnostic::error(span, message).note(note).fix(fix));
        }
        severity
    }

    fn status(&mut self, value: Value<'_>) -> Option<Status> {
        let span = value.span();
        let text = self.read::<String>(value)?;
        match text.as_str() {
            "open" => Some(Status::Open),
            "resolved" => Some(Status::Resolved),
            _ => {
                let message = format!("unknown status `{text}`");
                let fix = Fix::string(&text, span.clone(), ["open", "resolved"]);
                let note = "expected `open` or `resolved`";
                self.push(Diagnostic::error(span, message).note(note).fix(fix));
                None
            }
        }
    }
}

/// Returns whether a route has sinks, and each of them receives findings one by one.
fn deliver_one_by_one(targets: &[String], sinks: &[SinkName]) -> bool {
    let is_single = |target: &String| {
        sinks.iter().any(|sink| sink.id.get_ref() == target && sink.max_group == Some(1))
    };
    !targets.is_empty() && targets.iter().all(is_single)
}

fn known_sinks(sinks: &[SinkName]) -> String {
    let ids: Vec<String> = sinks.iter().map(|it| format!("`{}`", it.id.get_ref())).collect();
    format!("known sinks: {}", ids.join(", "))
}
