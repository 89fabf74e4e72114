//! Checks of the manual and the options of a kind.
//!
//! * The manual starts with a title, which is the name of the kind, and a sentence.
//!   The sentence of a detector starts with "Finds".
//! * It has the sections of its kind, such as [`DETECTOR_SECTIONS`].
//! * It mentions every option, as `` `option` ``.
//! * It has an example in TOML, and the options of the examples are accepted.
//! * The JSON schema of the options refuses unknown keys: the structs derive
//!   `JsonSchema` with `#[serde(deny_unknown_fields)]`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use toml::Table;
use watchkeeper_core::{
    DetectorKind,
    author::Options,
    embed::{DetectorEntry, Entry, SinkEntry},
};

/// The sections of a detector's manual.
pub const DETECTOR_SECTIONS: &[&str] =
    &["What it does", "Why it matters", "Example", "Options", "Levels", "Limits"];

/// The sections of a sink's manual.
pub const SINK_SECTIONS: &[&str] = &["What it does", "Example", "Limits"];

/// The keys that every detector has in a policy, beside its own options.
const DETECTOR_KEYS: &[&str] =
    &["enabled", "exceptions", "inhibited_by", "kind", "levels", "per", "severity"];

/// The keys that every sink has in a policy, beside its own options.
const SINK_KEYS: &[&str] = &["kind"];

/// Checks the manual and the options of a kind of detector.
///
/// # Panics
///
/// If there is a problem. The message lists all problems.
#[track_caller]
pub fn check<D: DetectorKind>() {
    let entry = DetectorEntry::of::<D>("");
    assert_none(D::KIND, &detector_problems(&entry));
}

/// Returns the problems of the manual and the options of a kind of detector.
pub fn detector_problems(entry: &DetectorEntry) -> Vec<String> {
    let schema = entry.schema(&mut SchemaGenerator::default());
    let build = |text: &str| {
        let built = Options::parse(text).and_then(|options| entry.build(options));
        built.map(drop).map_err(|err| err.to_string())
    };
    let manual = Manual { kind: entry.kind(), docs: entry.docs() };
    let mut problems = manual.problems(DETECTOR_SECTIONS);
    if !entry.summary().starts_with("Finds ") {
        let summary = entry.summary();
        problems.push(format!("the first sentence does not start with \"Finds\": {summary:?}"));
    }
    problems.extend(manual.option_problems(&schema));
    problems.extend(manual.example_problems("detectors", DETECTOR_KEYS, build));
    problems
}

/// Returns the problems of the manual and the options of a kind of sink.
pub fn sink_problems(entry: &SinkEntry) -> Vec<String> {
    let schema = entry.schema(&mut SchemaGenerator::default());
    let build = |text: &str| {
        let built = Options::parse(text).and_then(|options| entry.build(options));
        built.map(drop).map_err(|err| err.to_string())
    };
    let manual = Manual { kind: entry.kind(), docs: entry.docs() };
    let mut problems = manual.problems(SINK_SECTIONS);
    problems.extend(manual.option_problems(&schema));
    problems.extend(manual.example_problems("sinks", SINK_KEYS, build));
    problems
}

#[track_caller]
fn assert_none(kind: &str, problems: &[String]) {
    let list = problems.join("\n* ");
    assert!(problems.is_empty(), "the manual or the options of `{kind}` have problems:\n* {list}");
}

/// Returns the JSON schema problems of options: objects that accept unknown keys.
pub fn schema_problems<T: JsonSchema>() -> Vec<String> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    open_objects(schema.as_value())
}

/// The manual of one kind.
#[derive(Clone, Copy)]
struct Manual<'a> {
    kind: &'a str,
    docs: &'a str,
}

impl Manual<'_> {
    fn problems(self, sections: &[&str]) -> Vec<String> {
        let Self { kind, docs } = self;
        let mut problems = Vec::new();
        if !docs.starts_with(&format!("# {kind}\n")) {
            problems.push(format!("the manual does not start with the line `# {kind}`"));
        }
        for section in sections {
            if !docs.contains(&format!("\n## {section}\n")) {
                problems.push(format!("the manual has no section `## {section}`"));
            }
        }
        problems
    }

    fn option_problems(self, schema: &Schema) -> Vec<String> {
        let mut problems = open_objects(schema.as_value());
        for option in properties(schema) {
            if !self.docs.contains(&format!("`{option}`")) {
                problems.push(format!("the manual does not mention the option `{option}`"));
            }
        }
        problems
    }

    /// Builds each table of the examples that is of this kind.
    fn example_problems(
        self,
        group: &str,
        common: &[&str],
        build: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let mut n_tables = 0;
        for example in examples(self.docs) {
            let policy = match example.parse::<Table>() {
                Ok(policy) => policy,
                Err(err) => {
                    problems.push(format!("an example is not TOML: {}\n{example}", err.message()));
                    continue;
                }
            };
            let tables = policy.get(group).and_then(toml::Value::as_table).into_iter().flatten();
            for (name, table) in tables {
                let Some(mut table) = table.as_table().cloned() else { continue };
                let kind = table.get("kind").and_then(toml::Value::as_str).unwrap_or(name);
                if kind != self.kind {
                    continue;
                }
                n_tables += 1;
                table.retain(|key, _| !common.contains(&key));
                let options = table.iter();
                let options =
                    options.map(|(key, value)| format!("{} = {}", quoted(key), inline(value)));
                let options: Vec<String> = options.collect();
                if let Err(err) = build(&options.join("\n")) {
                    problems.push(format!("the example `[{group}.{name}]` is refused: {err}"));
                }
            }
        }
        if n_tables == 0 {
            let kind = self.kind;
            problems.push(format!(
                "the manual has no example: a block of `toml` with a table `[{group}.{kind}]`"
            ));
        }
        problems
    }
}

/// Returns the blocks of TOML in a manual.
pub fn examples(docs: &str) -> impl Iterator<Item = &str> {
    let blocks = docs.split("```toml\n").skip(1);
    blocks.filter_map(|block| block.split_once("```")).map(|(example, _)| example)
}

fn properties(schema: &Schema) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(|it| it.keys()).map(String::as_str).collect()
}

/// Returns a problem for each object with properties that accepts other keys.
fn open_objects(schema: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    match schema {
        Value::Object(object) => {
            if let Some(properties) = object.get("properties").and_then(Value::as_object)
                && object.get("additionalProperties") != Some(&Value::Bool(false))
                && object.get("unevaluatedProperties") != Some(&Value::Bool(false))
            {
                let keys: Vec<_> = properties.keys().map(|key| format!("`{key}`")).collect();
                problems.push(format!(
                    "the schema of the options accepts unknown keys beside {}; add \
                     `#[serde(deny_unknown_fields)]`",
                    keys.join(", ")
                ));
            }
            problems.extend(object.values().flat_map(open_objects));
        }
        Value::Array(items) => problems.extend(items.iter().flat_map(open_objects)),
        _ => {}
    }
    problems
}

/// Writes a TOML value on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => quoted(text),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => format!("{number:?}"),
        toml::Value::Boolean(is_set) => is_set.to_string(),
        toml::Value::Datetime(at) => at.to_string(),
        toml::Value::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(table) => {
            let entries: Vec<_> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key), inline(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// Writes a basic string of TOML. Its escapes are the same as in JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use schemars::JsonSchema;
    use serde::Deserialize;
    use watchkeeper_core::{
        Context, Detector, DetectorKind, Event, InvalidOption, embed::DetectorEntry,
    };

    use super::detector_problems;

    #[derive(Clone, Debug)]
    struct Sloppy;

    #[derive(Deserialize, JsonSchema)]
    struct SloppyOptions {
        #[expect(dead_code, reason = "only the schema is read")]
        limit: u32,
    }

    impl Detector for Sloppy {
        fn observe(&mut self, _: &Event, _: &mut Context<'_>) {}
    }

    impl DetectorKind for Sloppy {
        const KIND: &'static str = "acme-sloppy";
        const DOCS: &'static str = "# Sloppy\n\nDetects things.\n\n## Example\n\n```toml\n\
            [detectors.acme-sloppy]\nlimit = -1\nseverity = 'high'\n```\n";
        const CLASS: &'static str = "test";
        type Options = SloppyOptions;

        fn new(_: SloppyOptions) -> Result<Self, InvalidOption> {
            Ok(Self)
        }
    }

    #[test]
    fn lists_every_problem_of_a_manual() {
        let problems = detector_problems(&DetectorEntry::of::<Sloppy>("")).join("\n");
        assert_snapshot!(problems, @r#"
        the manual does not start with the line `# acme-sloppy`
        the manual has no section `## What it does`
        the manual has no section `## Why it matters`
        the manual has no section `## Options`
        the manual has no section `## Levels`
        the manual has no section `## Limits`
        the first sentence does not start with "Finds": "Detects things."
        the schema of the options accepts unknown keys beside `limit`; add `#[serde(deny_unknown_fields)]`
        the manual does not mention the option `limit`
        the example `[detectors.acme-sloppy]` is refused: invalid value: integer `-1`, expected u32
        "#);
    }
}
