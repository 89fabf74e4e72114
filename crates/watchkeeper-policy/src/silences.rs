//! Reads `[[silences]]`.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use toml::{Spanned, de::DeValue};
use watchkeeper_core::embed::{Silence, Silences};

use crate::{
    diagnostic::Diagnostic,
    reader::Reader,
    tree::{Table, Value},
};

/// The keys of a silence.
pub(crate) const SILENCE_KEYS: &[&str] = &["author", "match", "reason", "until"];
const EXAMPLE: &str = "write `match = { detector = \"call_loop\" }`, `until = 2027-03-31T18:00:00Z`, \
                       `author = \"ada\"` and `reason = \"known, see #12\"`";

impl Reader<'_> {
    /// Reads the silences, and leaves out those that have ended.
    pub(crate) fn silences(
        &mut self,
        section: Option<Value<'_>>,
        detector_ids: &BTreeSet<String>,
    ) -> Silences {
        let Some(section) = section else { return Silences::default() };
        let span = section.span();
        let DeValue::Array(items) = section.into_inner() else {
            let note = "each silence begins with `[[silences]]`";
            self.push(Diagnostic::error(span, "`silences` is not a list").note(note));
            return Silences::default();
        };
        let mut silences = Vec::new();
        for (silence_idx, item) in items.into_iter().enumerate() {
            if self.is_full() {
                break;
            }
            let Some(table) = self.table_or_example(item, EXAMPLE) else { continue };
            silences.extend(self.silence(silence_idx + 1, table, detector_ids));
        }
        Silences::new(silences)
    }

    fn silence(
        &mut self,
        number: usize,
        table: Spanned<Table<'_>>,
        detector_ids: &BTreeSet<String>,
    ) -> Option<Silence> {
        let whole = table.span();
        let mut keys = table.into_inner();
        for key in SILENCE_KEYS.iter().filter(|key| !keys.contains_key(**key)) {
            let message = format!("`{key}` is missing");
            self.push(Diagnostic::error(whole.clone(), message).note(EXAMPLE));
        }
        let matcher = keys.remove("match").and_then(|it| self.table(it)).and_then(|table| {
            if table.get_ref().is_empty() {
                let message = "a silence without conditions would hide every finding";
                self.push(Diagnostic::error(table.span(), message).note(EXAMPLE));
                return None;
            }
            if let Some((key, _)) = table.get_ref().get_key_value("status") {
                let message = "a silence hides findings that open; their ends follow them";
                let note = "remove `status`";
                self.push(Diagnostic::error(key.span(), message).note(note));
                return None;
            }
            Some(self.matcher(table, detector_ids))
        });
        let until = keys.remove("until").map(|value| (value.span(), self.time(value)));
        let author = self.take_text(&mut keys, "author");
        let reason = self.reason(&mut keys);
        self.reject_keys(&keys, SILENCE_KEYS);
        let (span, until) = until?;
        let (until, today) = (until?, self.today.and_then(midnight));
        if today.is_some_and(|today| until <= today) {
            let mut diagnostic =
                Diagnostic::warning(span, format!("this silence ended at {until}"))
                    .note("remove it, or set a later time if its reason still holds");
            if let Some(reason) = reason {
                diagnostic = diagnostic.note(format!("its reason was: {reason}"));
            }
            self.push(diagnostic);
            return None;
        }
        Some(Silence::new(number.to_string(), matcher?, until, author?, reason?))
    }

    /// Reads a time with an offset, or the end of a date in UTC.
    fn time(&mut self, value: Value<'_>) -> Option<Timestamp> {
        let span = value.span();
        let time = match value.into_inner() {
            DeValue::Datetime(time) => parse_time(&time.to_string()),
            DeValue::String(text) => parse_time(text.trim()),
            _ => None,
        };
        if time.is_none() {
            let note =
                "write `until = 2027-03-31T18:00:00Z`, with an offset such as `Z`, or a date";
            self.push(Diagnostic::error(span, "`until` is not a time").note(note));
        }
        time
    }

    /// Removes a key and reads its value as a text that is not empty.
    fn take_text(&mut self, table: &mut Table<'_>, key: &str) -> Option<String> {
        let text = self.take_string(table, key)?;
        if text.get_ref().trim().is_empty() {
            self.push(Diagnostic::error(text.span(), format!("`{key}` is empty")).note(EXAMPLE));
            return None;
        }
        Some(text.into_inner())
    }
}

fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| midnight(text.parse::<Date>().ok()?.tomorrow().ok()?))
}

fn midnight(date: Date) -> Option<Timestamp> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}
