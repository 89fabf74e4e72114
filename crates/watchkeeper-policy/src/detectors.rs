//! Reads `[detectors]`.

use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    Action, Fingerprint, Level, Severity, Unit,
    embed::{DetectorEntry, Entry as _, NamedDetector, Per, SessionFilter},
};

use crate::{
    diagnostic::{Diagnostic, Fix},
    exception_filter::{SpannedException, with_exceptions},
    limits::MAX_MEMORY_MIB,
    migrate,
    options::KindContext,
    reader::Reader,
    toml_text,
    tree::{Span, Table, Value},
};

/// The keys of every detector, in addition to those of its kind.
pub(crate) const DETECTOR_KEYS: &[&str] = &[
    "enabled",
    "exceptions",
    "inhibited_by",
    "kind",
    "levels",
    "per",
    "references",
    "runbook_url",
    "severity",
    "tags",
];
/// The keys of a level.
pub(crate) const LEVEL_KEYS: &[&str] = &["action", "at", "severity"];

impl Reader<'_> {
    /// Reads a detector and its exceptions. Returns `None` if the detector is
    /// disabled or invalid.
    pub(crate) fn detector(
        &mut self,
        id: &Spanned<String>,
        mut table: Spanned<Table<'_>>,
    ) -> Option<(NamedDetector, Vec<SpannedException>)> {
        if !self.may_read(id, table.get_ref()) {
            return None;
        }
        let keys = table.get_mut();
        let enabled = self.take(keys, "enabled").unwrap_or(true);
        let severity = keys.remove_entry("severity");
        let levels = keys.remove_entry("levels");
        if let (Some(_), Some((key, _))) = (&severity, &levels) {
            let message = "`levels` and `severity` cannot be used together";
            let note = "`severity` sets a single level, at the default measure of the kind";
            self.push(Diagnostic::error(key.span(), message).note(note));
        }
        let severity = severity.and_then(|(_, it)| self.read::<Severity>(it));
        let per = self.take_string(keys, "per");
        let per = per.and_then(|it| self.per(&it));
        let annotations = self.annotations(keys);
        let exceptions = keys.remove_entry("exceptions");
        let exceptions_text = exceptions.as_ref().map(|(_, it)| toml_text::value(it.get_ref()));
        let exceptions = exceptions.map(|(key, value)| (key.span(), self.exceptions(value)));
        let kind = match keys.remove("kind") {
            Some(value) => {
                let span = value.span();
                Some(Spanned::new(span, self.read::<String>(value)?))
            }
            None => None,
        };
        let has_type = keys.get_key_value("type").map(|(key, _)| key.span());
        let entry = self.detector_kind(id, kind, has_type)?;
        let levels = match (levels, severity) {
            (Some((_, value)), _) => self.levels(value, entry),
            (None, Some(severity)) => vec![Level::new(entry.limit, severity)],
            (None, None) => entry.levels.to_vec(),
        };
        let context = KindContext {
            kind: entry.kind(),
            schema: &|| entry.schema(&mut schemars::SchemaGenerator::default()),
            shared: DETECTOR_KEYS,
            unresolved: Vec::new(),
            secrets: Vec::new(),
        };
        let own_text = toml_text::table(table.get_ref());
        let detector = self.build(table, &context, |it| entry.build(it))?;
        if !self.effort.hold(detector.shared_memory()) {
            if self.effort.exceed() {
                self.push(too_much_memory(id));
            }
            return None;
        }
        let exceptions = match exceptions {
            Some((span, _)) if !detector.subscription().supports_exceptions => {
                let message = format!("detector `{}` does not support exceptions", id.get_ref());
                let note = "it does not check single calls; to change its options in some \
                            sessions, use `[[overrides]]`";
                self.push(Diagnostic::error(span, message).note(note));
                return None;
            }
            Some((_, exceptions)) => exceptions,
            None => Vec::new(),
        };
        let detector = NamedDetector {
            id: id.get_ref().as_str().into(),
            kind: entry.kind().into(),
            class: entry.class.into(),
            annotations: annotations.into(),
            levels,
            inhibited_by: Vec::new(),
            per,
            sessions: SessionFilter::default(),
            // Exceptions expire.
            options: Fingerprint::of(own_text)
                .and(Fingerprint::of(exceptions_text.unwrap_or_default()))
                .and(Fingerprint::from(exceptions.len() as u64)),
            detector: with_exceptions(detector, &exceptions),
        };
        enabled.then_some((detector, exceptions))
    }

    fn detector_kind(
        &mut self,
        id: &Spanned<String>,
        kind: Option<Spanned<String>>,
        has_type: Option<Span>,
    ) -> Option<&'static DetectorEntry> {
        let name = kind.as_ref().unwrap_or(id);
        let err = match self.registry.detectors.get(name.get_ref()) {
            Ok(entry) => return Some(entry),
            Err(err) => err,
        };
        if kind.is_some() {
            self.unknown_kind(err, name.span());
            return None;
        }
        let message = format!("detector `{}` has no `kind`", id.get_ref());
        let renamed = migrate::present_name(id.get_ref());
        let fix = match (has_type, renamed) {
            (Some(span), _) => Some(Fix::new("rename the key", span, "kind")),
            (None, Some(name)) => {
                let title = "this detector was renamed; `watchkeeper migrate` replaces all names";
                Some(Fix::new(title, id.span(), name))
            }
            (None, None) => Fix::key(id.get_ref(), id.span(), err.known.iter().copied()),
        };
        let diagnostic = Diagnostic::error(id.span(), message)
            .note("`kind` is optional only if the detector has the name of its kind")
            .note(format!("known kinds: {}", err.known.join(", ")))
            .fix(fix);
        self.push(diagnostic);
        None
    }

    fn per(&mut self, per: &Spanned<String>) -> Option<Per> {
        match per.get_ref().as_str() {
            "cwd" => return Some(Per::Cwd),
            "model" => return Some(Per::Model),
            other => {
                if let Some(label) = other.strip_prefix("label:").filter(|it| !it.is_empty()) {
                    self.labels.mention(label, per.span(), true);
                    return Some(Per::Label(label.to_owned()));
                }
            }
        }
        let message = format!("invalid `per`: `{}`", per.get_ref());
        let note = "with `per = \"label:team\"`, all sessions with the same `team` share one limit, \
                    with `per = \"cwd\"` or `per = \"model\"` those of one folder or model; \
                    without `per`, each agent or session has its own limit";
        let is_name = !per.get_ref().is_empty() && !per.get_ref().contains(':');
        let fix = is_name.then(|| {
            let label = toml_text::string(&format!("label:{}", per.get_ref()));
            Fix::new("if this is the name of a label", per.span(), label)
        });
        self.push(Diagnostic::error(per.span(), message).note(note).fix(fix));
        None
    }

    /// Reads levels, and sorts them by measure.
    fn levels(&mut self, value: Value<'_>, entry: &DetectorEntry) -> Vec<Level> {
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let note = format!("write `levels = {}`", levels_text(entry.levels, entry.unit));
            self.push(Diagnostic::error(span, "`levels` is not a list").note(note));
            return Vec::new();
        };
        if items.is_empty() {
            let message = "a detector without levels reports nothing";
            let note =
                "remove `levels` to use the defaults of the kind, or write `enabled = false`";
            self.push(Diagnostic::error(span, message).note(note));
        }
        let mut levels: Vec<Spanned<Level>> = Vec::new();
        for item in items {
            if self.is_full() {
                break;
            }
            levels.extend(self.level(item, entry));
        }
        levels.sort_by_key(|it| it.get_ref().at);
        for pair in levels.windows(2) {
            let (lower, higher) = (pair[0].get_ref(), pair[1].get_ref());
            if lower.at == higher.at {
                let redundant = if higher.severity < lower.severity { &pair[1] } else { &pair[0] };
                let (at, severity) = (at_text(lower.at, entry.unit), redundant.get_ref().severity);
                let other = lower.severity.max(higher.severity);
                let message = if severity == other {
                    format!("two levels at {at} have severity `{other}`")
                } else {
                    format!("this level has no effect: another level at {at} is `{other}`")
                };
                self.push(Diagnostic::warning(redundant.span(), message));
            } else if higher.severity < lower.severity {
                let message = format!(
                    "this level has no effect: a finding is already `{}` from {} on",
                    lower.severity,
                    at_text(lower.at, entry.unit)
                );
                self.push(Diagnostic::warning(pair[1].span(), message));
            } else if higher.severity == lower.severity
                && let Some(action) = higher.action.filter(|_| higher.action != lower.action)
            {
                let message = format!(
                    "action `{action}` has no effect: a finding is already `{}` from {} on",
                    lower.severity,
                    at_text(lower.at, entry.unit)
                );
                let note = "a finding is reported again only when its severity rises";
                self.push(Diagnostic::warning(pair[1].span(), message).note(note));
            }
        }
        levels.into_iter().map(Spanned::into_inner).collect()
    }

    fn level(&mut self, value: Value<'_>, entry: &DetectorEntry) -> Option<Spanned<Level>> {
        let example = format!("write `{}`", level_text(entry.levels.first(), entry.unit));
        let mut table = self.table_or_example(value, &example)?;
        let span = table.span();
        let keys = table.get_mut();
        let mut missing = None;
        let at = match keys.remove("at") {
            Some(value) => self.level_at(value, entry),
            None => {
                missing = Some("at");
                None
            }
        };
        let severity = match keys.remove("severity") {
            Some(value) => self.read::<Severity>(value),
            None => {
                missing = missing.or(Some("severity"));
                None
            }
        };
        let action = keys.remove("action").and_then(|value| {
            let span = value.span();
            let action = self.read::<Action>(value)?;
            if severity == Some(Severity::Low) && Action::Observe < action {
                let message = format!("a finding of severity `low` cannot have action `{action}`");
                let note = "a finding that only guesses never acts; set the action of a level \
                            with severity `medium` or `high`";
                self.push(Diagnostic::error(span, message).note(note));
            }
            Some(action)
        });
        self.reject_keys(keys, LEVEL_KEYS);
        if let Some(missing) = missing {
            let message = format!("`{missing}` is missing");
            self.push(Diagnostic::error(span.clone(), message).note(example));
        }
        Some(Spanned::new(span, Level { action, ..Level::new(at?, severity?) }))
    }

    /// Reads the measure of a level. A fix shows the spelling for the kind's unit.
    fn level_at(&mut self, value: Value<'_>, entry: &DetectorEntry) -> Option<u64> {
        let span = value.span();
        let value = value.into_inner();
        let text = match &value {
            DeValue::String(text) => text.trim().to_owned(),
            other => toml_text::value(other),
        };
        let digits = text.strip_suffix('%').map_or(text.as_str(), str::trim_end);
        let number = Some(digits)
            .filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|it| it.parse::<u64>().ok())
            .filter(|it| 0 < *it);
        let expected = number.map(|it| at_text(it, entry.unit));
        if expected.is_some() && expected.as_deref() == Some(toml_text::value(&value).as_str()) {
            return number;
        }
        let kind = entry.kind();
        let message = match entry.unit {
            Unit::Percent => format!("`at` of `{kind}` must be a percentage of the limit"),
            _ => format!("`at` of `{kind}` must be a whole number, 1 or more"),
        };
        let mut diagnostic = Diagnostic::error(span.clone(), message);
        diagnostic = match expected {
            Some(expected) => diagnostic.fix(Fix::new("use this form", span, expected)),
            None => {
                let example = entry.levels.first().map_or(1, |it| it.at);
                diagnostic.note(format!("write `at = {}`", at_text(example, entry.unit)))
            }
        };
        self.push(diagnostic);
        None
    }
}

/// Reports the detector with which the options of all detectors exceed the limit.
fn too_much_memory(id: &Spanned<String>) -> Diagnostic {
    let message = format!(
        "the compiled options of the detectors exceed {MAX_MEMORY_MIB} MiB with `{}`",
        id.get_ref()
    );
    let note = "regular expressions take up the most: 128 KiB each, and more if they have many \
                repetitions; use globs, or fewer regular expressions and repetitions";
    Diagnostic::error(id.span(), message).note(note)
}

/// Writes the measure of a level in the syntax of a policy.
fn at_text(at: u64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("\"{at}%\""),
        _ => at.to_string(),
    }
}

fn level_text(level: Option<&Level>, unit: Unit) -> String {
    let level = level.copied().unwrap_or(Level::new(1, Severity::Medium));
    format!("{{ at = {}, severity = \"{}\" }}", at_text(level.at, unit), level.severity)
}

/// Writes levels in the syntax of a policy.
pub(crate) fn levels_text(levels: &[Level], unit: Unit) -> String {
    let levels: Vec<String> = levels.iter().map(|it| level_text(Some(it), unit)).collect();
    format!("[{}]", levels.join(", "))
}
