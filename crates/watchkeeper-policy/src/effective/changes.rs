//! The differences between two policies in words.

use std::iter;

use watchkeeper_core::{
    author::{make_safe, redact},
    quote,
};

use super::{Block, Effective, Line};

/// The largest number of keys of a section that are named.
const MAX_KEYS: usize = 4;
/// The longest part of a value that is shown, in characters.
const MAX_VALUE: usize = 60;
/// The part of equal text that is shown before the first difference, in characters.
const CONTEXT: usize = 15;
/// The beginnings of sections whose values are not shown: an address may be a secret.
const HIDDEN: [&str; 3] = ["sinks.", "secrets", "heartbeat"];

impl Effective {
    /// Returns the differences from an earlier policy in words, one for each section, in the
    /// order of the text: ``changed `detectors.loops` (`max` from `"5m"` to `"8m"`)``.
    ///
    /// Origins are not compared. Each text names a few keys, with the differing parts of their
    /// values, except the values of sinks. Secrets in values are redacted.
    pub fn changes_from(&self, earlier: &Self) -> Vec<String> {
        let (new, old) = (self.sections(), earlier.sections());
        let of_new = new.iter().filter_map(|section| {
            match old.iter().find(|other| other.is_same(section)) {
                None => Some(format!("added `{}`", section.name)),
                Some(old) => section.changes_from(old),
            }
        });
        let is_gone = |section: &&Section<'_>| !new.iter().any(|other| other.is_same(section));
        let gone = old.iter().filter(is_gone).map(|section| format!("removed `{}`", section.name));
        of_new.chain(gone).collect()
    }

    /// Returns the sections. Those of lists, such as `[[routes]]`, are one.
    fn sections(&self) -> Vec<Section<'_>> {
        let mut sections: Vec<Section<'_>> = Vec::new();
        for Block { header, lines } in &self.blocks {
            let name = if header.is_empty() { "version" } else { header.trim_matches(['[', ']']) };
            // `[labels]` and `[[labels]]` have the same name.
            let is_list = header.starts_with("[[");
            let known = sections.iter_mut();
            match known.into_iter().find(|it| it.name == name && it.is_list == is_list) {
                Some(section) => section.tables.push(values(lines)),
                None => sections.push(Section { name, is_list, tables: vec![values(lines)] }),
            }
        }
        sections
    }
}

/// The tables below one header.
#[derive(Debug)]
struct Section<'a> {
    name: &'a str,
    is_list: bool,
    tables: Vec<Vec<(&'a str, String)>>,
}

/// Returns the keys with the texts of their values.
fn values(lines: &[Line]) -> Vec<(&str, String)> {
    let mut values: Vec<(&str, String)> = Vec::new();
    for Line { key, value, .. } in lines {
        match values.last_mut() {
            // An item of a list, or its end.
            Some((_, list)) if key.is_empty() => list.push_str(value.trim_start()),
            _ => values.push((key, value.clone())),
        }
    }
    values
}

impl Section<'_> {
    fn is_same(&self, other: &Section<'_>) -> bool {
        (self.name, self.is_list) == (other.name, other.is_list)
    }

    fn changes_from(&self, old: &Self) -> Option<String> {
        let name = self.name;
        if self.tables == old.tables {
            return None;
        }
        let (n, n_old) = (self.tables.len(), old.tables.len());
        if n != n_old {
            return Some(format!("changed `{name}` (entries from {n_old} to {n})"));
        }
        let tables = iter::zip(&self.tables, &old.tables).enumerate();
        let changes = tables.flat_map(|(table_idx, (new, old))| {
            let entry =
                if self.is_list { format!("entry {}: ", table_idx + 1) } else { String::new() };
            let changes = self.changes_of_keys(new, old).into_iter();
            changes.map(move |change| format!("{entry}{change}"))
        });
        let mut changes: Vec<String> = changes.collect();
        if MAX_KEYS < changes.len() {
            let n_more = changes.len() - MAX_KEYS;
            changes.truncate(MAX_KEYS);
            changes.push(format!("and {n_more} more"));
        }
        Some(format!("changed `{name}` ({})", changes.join(", ")))
    }

    fn changes_of_keys(&self, new: &[(&str, String)], old: &[(&str, String)]) -> Vec<String> {
        let value_of = |table: &[(&str, String)], key: &str| {
            table
                .iter()
                .find(|(other, _)| *other == key)
                .map(|(_, value)| redact(value).into_owned())
        };
        let is_hidden = HIDDEN.iter().any(|section| self.name.starts_with(section));
        let of_new = new.iter().filter(|entry| !old.contains(entry)).map(|(key, value)| {
            let key_text = quote(key);
            match value_of(old, key) {
                _ if is_hidden => key_text,
                None => format!("{key_text} is `{}`", part(&redact(value), 0)),
                // Different secrets.
                Some(old) if old == redact(value) => key_text,
                Some(old) => {
                    let (old, new) = differing_parts(&old, &redact(value));
                    format!("{key_text} from `{old}` to `{new}`")
                }
            }
        });
        let gone = old.iter().filter(|(key, _)| new.iter().all(|(other, _)| other != key));
        of_new.chain(gone.map(|(key, _)| format!("without {}", quote(key)))).collect()
    }
}

/// Returns the parts of two texts from shortly before their first difference.
fn differing_parts(old: &str, new: &str) -> (String, String) {
    let n_equal = iter::zip(old.chars(), new.chars()).take_while(|(old, new)| old == new).count();
    let longest = old.chars().count().max(new.chars().count());
    let start = if longest <= MAX_VALUE { 0 } else { n_equal.saturating_sub(CONTEXT) };
    (part(old, start), part(new, start))
}

/// Returns a part of a text from a character on, safe for a terminal and for backticks.
fn part(text: &str, start: usize) -> String {
    let mut chars = text.chars().skip(start);
    let shown: String = chars.by_ref().take(MAX_VALUE).collect();
    let before = if start == 0 { "" } else { "…" };
    let after = if chars.next().is_none() { "" } else { "…" };
    make_safe(&format!("{before}{}{after}", shown.replace('`', "'")))
}
