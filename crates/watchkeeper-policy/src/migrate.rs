//! Renames keys that earlier versions named differently.

use std::{collections::BTreeSet, ops::Range};

use toml_parser::{
    Source,
    parser::{EventKind, parse_document},
};

use crate::{
    files::LineStarts,
    toml_text,
    tree::{self, Table},
};

/// The detectors of the built-in policy that were renamed, with their new names.
const DETECTORS: &[(&str, &str)] = &[
    ("chant", "repeated_text"),
    ("compacting", "repeated_compaction"),
    ("failing", "failure_streak"),
    ("loop", "call_loop"),
    ("monologue", "repeated_message"),
    ("no_headway", "repeated_result"),
    ("provider", "provider_retries"),
    ("same_error", "repeated_error"),
    ("silent", "silent_model"),
    ("spending", "fast_spending"),
    ("stuck", "repeated_call"),
];
/// The values of options that were renamed: the option, the value, and the new value.
const VALUES: &[(&str, &str, &str)] = &[("of", "chant", "span")];
/// The keys whose values are names of detectors: of sections, and of tables in sections.
const REFERENCES: &[&[&str]] = &[
    &["detectors", "*", "inhibited_by"],
    &["routes", "match", "detector"],
    &["tests", "expect", "detector"],
];
/// The tables whose keys are names of detectors.
const TABLES: &[&[&str]] = &[&["detectors"], &["overrides", "detectors"]];

/// A policy or a test file with the present names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The text. Comments and formatting are those of the original.
    pub text: String,
    /// The replaced names, in the order of the text.
    pub renamed: Vec<Renamed>,
    /// The former names that were kept, because the file contains the new name, too.
    pub conflicts: BTreeSet<String>,
}

/// A name that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renamed {
    /// The line, counted from 1.
    pub line: usize,
    /// The former name.
    pub from: String,
    /// The present name.
    pub to: String,
}

/// Returns the present name of a detector that was renamed.
pub(crate) fn present_name(detector: &str) -> Option<&'static str> {
    DETECTORS.iter().find(|(from, _)| *from == detector).map(|(_, to)| *to)
}

/// Replaces the names of earlier versions in a policy or a test file. Returns `None` if the text
/// is not valid TOML.
///
/// A detector that the file itself defines, with a `kind`, keeps its name.
pub fn migrate(text: &str) -> Option<Migration> {
    let table = tree::parse_valid(text, 0)?;
    let mut walk = Walk::new(text, &table);
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut on_event = |event: toml_parser::parser::Event| {
        walk.event(event.kind(), event.span().start()..event.span().end());
    };
    parse_document(&tokens, &mut on_event, &mut ());
    let Walk { edits, conflicts, .. } = walk;
    let lines = LineStarts::new(text);
    let (mut migrated, mut renamed, mut end) = (String::new(), Vec::new(), 0);
    for Edit { span, from, to, replacement } in edits {
        migrated.push_str(&text[end..span.start]);
        migrated.push_str(&replacement);
        end = span.end;
        renamed.push(Renamed { line: lines.line(span.start), from, to: to.to_owned() });
    }
    migrated.push_str(&text[end..]);
    Some(Migration { text: migrated, renamed, conflicts })
}

/// A name to replace.
struct Edit {
    span: Range<usize>,
    from: String,
    to: &'static str,
    replacement: String,
}

/// A container of values.
enum Container {
    Array,
    /// An inline table, with its path.
    Table(Vec<String>),
}

/// The state of a walk over the tokens of a file.
struct Walk<'a> {
    text: &'a str,
    /// Detectors of this file with a `kind`.
    own: BTreeSet<String>,
    /// Detectors of this file.
    defined: BTreeSet<String>,
    /// The path of the latest header.
    header: Vec<String>,
    /// The path of the current key.
    path: Vec<String>,
    containers: Vec<Container>,
    edits: Vec<Edit>,
    conflicts: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, table: &Table<'_>) -> Self {
        let detectors = table.get("detectors").and_then(|it| it.get_ref().as_table());
        let detectors = || detectors.into_iter().flatten();
        let has_kind = |value: &tree::Value<'_>| {
            value.get_ref().as_table().is_some_and(|it| it.contains_key("kind"))
        };
        let own = detectors().filter(|(_, value)| has_kind(value));
        Self {
            text,
            own: own.map(|(id, _)| id.get_ref().to_string()).collect(),
            defined: detectors().map(|(id, _)| id.get_ref().to_string()).collect(),
            header: Vec::new(),
            path: Vec::new(),
            containers: Vec::new(),
            edits: Vec::new(),
            conflicts: BTreeSet::new(),
        }
    }

    fn event(&mut self, kind: EventKind, span: Range<usize>) {
        match kind {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => self.path.clear(),
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.header.clone_from(&self.path);
            }
            EventKind::SimpleKey => {
                let name = unquoted(&self.text[span.clone()]).to_owned();
                if is_one_of(&self.path, TABLES) {
                    let replacement = toml_text::key;
                    self.rename_detector(&name, span, replacement);
                }
                self.path.push(name);
            }
            EventKind::Scalar => self.scalar(span),
            EventKind::ArrayOpen => self.containers.push(Container::Array),
            EventKind::InlineTableOpen => {
                self.containers.push(Container::Table(self.path.clone()));
            }
            EventKind::ArrayClose | EventKind::InlineTableClose => {
                if let Some(Container::Table(path)) = self.containers.pop() {
                    self.path = path;
                }
            }
            EventKind::ValueSep => {
                if let Some(Container::Table(path)) = self.containers.last() {
                    self.path.clone_from(path);
                }
            }
            EventKind::Newline if self.containers.is_empty() => {
                self.path.clone_from(&self.header);
            }
            _ => {}
        }
    }

    fn scalar(&mut self, span: Range<usize>) {
        let source = &self.text[span.clone()];
        let value = unquoted(source);
        if value.len() == source.len() {
            return;
        }
        let value = value.to_owned();
        if is_one_of(&self.path, REFERENCES) {
            self.rename_detector(&value, span, toml_text::string);
            return;
        }
        let option = self.path.last().map(String::as_str);
        let renamed = VALUES.iter().find(|(key, from, _)| option == Some(key) && *from == value);
        if let [section, ..] = &self.path[..]
            && ["detectors", "overrides"].contains(&section.as_str())
            && let Some((_, _, to)) = renamed
        {
            self.edits.push(Edit { span, from: value, to, replacement: toml_text::string(to) });
        }
    }

    fn rename_detector(&mut self, name: &str, span: Range<usize>, write: fn(&str) -> String) {
        let Some(to) = present_name(name).filter(|_| !self.own.contains(name)) else { return };
        if self.defined.contains(name) && self.defined.contains(to) {
            self.conflicts.insert(name.to_owned());
            return;
        }
        self.edits.push(Edit { span, from: name.to_owned(), to, replacement: write(to) });
    }
}

/// Returns whether a path is one of these; `*` stands for any key.
fn is_one_of(path: &[String], paths: &[&[&str]]) -> bool {
    paths.iter().any(|known| {
        known.len() == path.len()
            && known.iter().zip(path).all(|(known, key)| *known == "*" || known == key)
    })
}

/// Removes the quotes of a key or a string. Names that were used contain no escapes.
fn unquoted(source: &str) -> &str {
    source.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::migrate;

    #[test]
    fn names_are_replaced_wherever_they_are_used() {
        let text = r#"# a policy
version = 1
detectors.stuck.severity = "low"  # dotted

[detectors."loop"]
inhibited_by = ["stuck",  # first
    'failing', "other"]
levels = [{ at = 3, severity = "high" }]

[[detectors.monologue.exceptions]]
tool = "stuck"

[detectors.chant]
of = 'chant'

[[overrides]]
match = { cwd = "stuck" }
reason = "stuck"
detectors = { silent = { enabled = false }, chant.of = "chant" }

[[routes]]
name = "stuck"
match = { detector = ["stuck", "x*"], kind = "loop" }
sinks = ["stuck"]
"#;
        let migration = migrate(text).expect("the text is TOML");
        assert_snapshot!(migration.text, @r#"
        # a policy
        version = 1
        detectors.repeated_call.severity = "low"  # dotted

        [detectors.call_loop]
        inhibited_by = ["repeated_call",  # first
            "failure_streak", "other"]
        levels = [{ at = 3, severity = "high" }]

        [[detectors.repeated_message.exceptions]]
        tool = "stuck"

        [detectors.repeated_text]
        of = "span"

        [[overrides]]
        match = { cwd = "stuck" }
        reason = "stuck"
        detectors = { silent_model = { enabled = false }, repeated_text.of = "span" }

        [[routes]]
        name = "stuck"
        match = { detector = ["repeated_call", "x*"], kind = "loop" }
        sinks = ["stuck"]
        "#);
        let lines =
            migration.renamed.iter().map(|it| format!("{}: {} > {}", it.line, it.from, it.to));
        assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @"
        3: stuck > repeated_call
        5: loop > call_loop
        6: stuck > repeated_call
        7: failing > failure_streak
        10: monologue > repeated_message
        13: chant > repeated_text
        14: chant > span
        19: silent > silent_model
        19: chant > repeated_text
        19: chant > span
        23: stuck > repeated_call
        ");
        assert!(migration.conflicts.is_empty());
        let again = migrate(&migration.text).expect("the text is TOML");
        assert_eq!((again.text, again.renamed), (migration.text, Vec::new()));
    }

    #[test]
    fn names_of_own_detectors_stay() {
        let text = "[detectors.loop]\nkind = 'timeout'\n[detectors.a]\ninhibited_by = ['loop']\n";
        let migration = migrate(text).expect("the text is TOML");
        assert_eq!((migration.text.as_str(), migration.renamed), (text, Vec::new()));
    }

    #[test]
    fn a_detector_with_both_names_is_a_conflict() {
        let text = "[detectors.stuck]\nseverity = 'low'\n[detectors.repeated_call]\n";
        let migration = migrate(text).expect("the text is TOML");
        assert_eq!(migration.text, text);
        assert_eq!(migration.conflicts.into_iter().collect::<Vec<_>>(), ["stuck"]);
    }

    #[test]
    fn a_text_that_is_not_toml_stays() {
        assert_eq!(migrate("[detectors.stuck\n"), None);
    }
}
