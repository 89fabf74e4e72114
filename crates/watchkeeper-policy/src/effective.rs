mod changes;

use std::{collections::BTreeMap, fmt, iter, ops::Range};

use schemars::{Schema, SchemaGenerator};
use toml::de::DeValue;
use watchkeeper_core::{
    author::make_safe,
    embed::{Entry as _, Registry},
};

use crate::{
    detectors::levels_text,
    files::Files,
    heartbeat::{HEARTBEAT_SINK, INTERVAL},
    settings::MonitorOptions,
    sinks::QUEUE_CAPACITY,
    toml_text,
    tree::{Key, Table, Value},
};

/// The active policy, merged from all of its files. Its `Display` form is TOML
/// with a comment after each value that names the origin.
///
/// The text is a valid policy. It contains the names of secrets, not their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    blocks: Vec<Block>,
}

/// A header and the lines below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    /// Empty for the lines at the top.
    header: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Empty for the items and the end of a list.
    key: String,
    value: String,
    origin: String,
}

/// The origin of a value that no file sets.
const DEFAULT: &str = "default";
/// The maximum width of the column before the comments, in characters.
const MAX_INDENT: usize = 56;

impl Effective {
    pub(crate) fn new(policy: &Table<'_>, files: &Files, registry: &Registry) -> Self {
        let mut printer = Printer { files, blocks: Vec::new(), detector_schemas: BTreeMap::new() };
        printer.top(policy);
        printer.monitor(policy);
        for section in ["labels", "secrets"] {
            printer.section(section, table(policy, section));
        }
        for table in tables(policy, "labels") {
            printer.block("[[labels]]".to_owned(), table);
        }
        for (model, price) in entries(policy, "prices") {
            printer.block(format!("[prices.{}]", toml_text::key(model.get_ref())), price);
        }
        for (id, detector) in entries(policy, "detectors") {
            printer.detector(id, detector, registry);
        }
        for table in tables(policy, "overrides") {
            printer.block("[[overrides]]".to_owned(), table);
        }
        for (id, sink) in entries(policy, "sinks") {
            printer.sink(id, sink, registry);
        }
        printer.routes(policy);
        for silence in tables(policy, "silences") {
            printer.block("[[silences]]".to_owned(), silence);
        }
        if let Some(heartbeat) = table(policy, "heartbeat") {
            printer.heartbeat(heartbeat, registry);
        }
        Self { blocks: printer.blocks }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block_idx, Block { header, lines }) in self.blocks.iter().enumerate() {
            if 0 < block_idx {
                writeln!(f)?;
            }
            if !header.is_empty() {
                writeln!(f, "{header}")?;
            }
            let texts: Vec<String> = lines.iter().map(Line::text).collect();
            let widths = texts.iter().map(|it| it.chars().count());
            let width = widths.filter(|it| *it <= MAX_INDENT).max().unwrap_or(0);
            for (text, Line { origin, .. }) in iter::zip(texts, lines) {
                if origin.is_empty() {
                    writeln!(f, "{text}")?;
                } else {
                    writeln!(f, "{text:width$}  # {origin}")?;
                }
            }
        }
        Ok(())
    }
}

struct Printer<'a> {
    files: &'a Files,
    blocks: Vec<Block>,
    /// The schemas of the kinds of detectors so far.
    detector_schemas: BTreeMap<&'static str, Schema>,
}

impl Printer<'_> {
    fn top(&mut self, policy: &Table<'_>) {
        let mut lines = Vec::new();
        if let Some((key, value)) = policy.get_key_value("version") {
            self.lines("", key, value, &mut lines);
        }
        self.blocks.push(Block { header: String::new(), lines });
    }

    fn monitor(&mut self, policy: &Table<'_>) {
        let mut lines = Vec::new();
        let given = table(policy, "monitor");
        for (key, value) in given.into_iter().flatten() {
            self.lines("", key, value, &mut lines);
        }
        let MonitorOptions {
            check_interval,
            shutdown_timeout,
            session_expiry,
            max_sessions,
            processes,
            durable,
            mode,
            dry_run,
            state_dir: _,
            ui_token: _,
        } = MonitorOptions::default();
        let defaults = [
            ("check_interval", toml_text::string(&check_interval.to_string())),
            ("dry_run", dry_run.to_string()),
            ("durable", toml_text::string(durable.name())),
            ("max_sessions", max_sessions.to_string()),
            ("mode", toml_text::string(mode.name())),
            ("processes", processes.to_string()),
            ("session_expiry", toml_text::string(&session_expiry.to_string())),
            ("shutdown_timeout", toml_text::string(&shutdown_timeout.to_string())),
        ];
        for (key, text) in defaults {
            if given.is_none_or(|it| !it.contains_key(key)) {
                lines.push(Line::new(key, text, DEFAULT));
            }
        }
        self.blocks.push(Block { header: "[monitor]".to_owned(), lines });
    }

    fn section(&mut self, name: &str, section: Option<&Table<'_>>) {
        if let Some(section) = section.filter(|it| !it.is_empty()) {
            let inline = |(key, value): (&Key<'_>, &Value<'_>)| {
                let text = toml_text::value(value.get_ref());
                Line::new(&toml_text::key(key.get_ref()), text, self.origin(&key.span()))
            };
            let lines = section.iter().map(inline).collect();
            self.blocks.push(Block { header: format!("[{name}]"), lines });
        }
    }

    fn block(&mut self, header: String, table: &Table<'_>) {
        let lines = self.table_lines(table);
        self.blocks.push(Block { header, lines });
    }

    fn table_lines(&self, table: &Table<'_>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (key, value) in table {
            self.lines("", key, value, &mut lines);
        }
        lines
    }

    fn detector(&mut self, id: &Key<'_>, table: &Table<'_>, registry: &Registry) {
        let mut own = table.clone();
        if tables(table, "exceptions").next().is_some() {
            own.remove("exceptions");
        }
        let mut lines = self.table_lines(&own);
        let entry = registry.detectors.get(kind(id, table)).ok();
        if !table.contains_key("kind") {
            lines.insert(
                0,
                Line::new("kind", toml_text::string(id.get_ref()), "the name of the detector"),
            );
        }
        if let Some(entry) = entry {
            let origin = format!("default of {}", entry.kind());
            if !table.contains_key("levels") && !table.contains_key("severity") {
                lines.push(Line::new("levels", levels_text(entry.levels, entry.unit), &*origin));
            }
            let schema = self.detector_schemas.entry(entry.kind());
            let schema = schema.or_insert_with(|| entry.schema(&mut SchemaGenerator::default()));
            lines.extend(default_lines(schema, table, &origin));
        }
        let name = format!("detectors.{}", toml_text::key(id.get_ref()));
        self.blocks.push(Block { header: format!("[{name}]"), lines });
        for exception in tables(table, "exceptions") {
            self.block(format!("[[{name}.exceptions]]"), exception);
        }
    }

    fn sink(&mut self, id: &Key<'_>, table: &Table<'_>, registry: &Registry) {
        let mut lines = self.table_lines(table);
        if !table.contains_key("kind") {
            lines.insert(
                0,
                Line::new("kind", toml_text::string(id.get_ref()), "the name of the sink"),
            );
        }
        if !table.contains_key("queue_capacity") {
            lines.push(Line::new("queue_capacity", QUEUE_CAPACITY.to_string(), DEFAULT));
        }
        if let Ok(entry) = registry.sinks.get(kind(id, table)) {
            let origin = format!("default of {}", entry.kind());
            let schema = entry.schema(&mut SchemaGenerator::default());
            lines.extend(default_lines(&schema, table, &origin));
        }
        let header = format!("[sinks.{}]", toml_text::key(id.get_ref()));
        self.blocks.push(Block { header, lines });
    }

    fn heartbeat(&mut self, table: &Table<'_>, registry: &Registry) {
        let mut lines = self.table_lines(table);
        if !table.contains_key("every") {
            lines.push(Line::new("every", toml_text::string(&INTERVAL.to_string()), DEFAULT));
        }
        if let Ok(entry) = registry.sinks.get(HEARTBEAT_SINK) {
            let origin = format!("default of {}", entry.kind());
            let schema = entry.schema(&mut SchemaGenerator::default());
            lines.extend(default_lines(&schema, table, &origin));
        }
        self.blocks.push(Block { header: "[heartbeat]".to_owned(), lines });
    }

    fn routes(&mut self, policy: &Table<'_>) {
        let header = || "[[routes]]".to_owned();
        if policy.contains_key("routes") {
            for route in tables(policy, "routes") {
                self.block(header(), route);
            }
            return;
        }
        let ids: Vec<String> =
            entries(policy, "sinks").map(|(id, _)| toml_text::string(id.get_ref())).collect();
        if !ids.is_empty() {
            let origin = "default: every finding goes to every sink";
            let line = Line::new("sinks", format!("[{}]", ids.join(", ")), origin);
            self.blocks.push(Block { header: header(), lines: vec![line] });
        }
    }

    /// Writes a value: a table with one line per key, and an array whose items come
    /// from several places with one line per item.
    fn lines(&self, prefix: &str, key: &Key<'_>, value: &Value<'_>, lines: &mut Vec<Line>) {
        let name = format!("{prefix}{}", toml_text::key(key.get_ref()));
        match value.get_ref() {
            DeValue::Table(table) if !table.is_empty() => {
                for (key, value) in table {
                    self.lines(&format!("{name}."), key, value, lines);
                }
            }
            DeValue::Array(items)
                if items.iter().any(|it| !contains(&value.span(), &it.span())) =>
            {
                lines.push(Line::new(&name, "[".to_owned(), ""));
                for item in items {
                    let text = format!("    {},", toml_text::value(item.get_ref()));
                    lines.push(Line::new("", text, self.origin(&item.span())));
                }
                lines.push(Line::new("", "]".to_owned(), ""));
            }
            value => {
                let text = toml_text::value(value);
                lines.push(Line::new(&name, text, self.origin(&key.span())));
            }
        }
    }

    fn origin(&self, span: &Range<usize>) -> String {
        make_safe(&self.files.origin(span))
    }
}

impl Line {
    fn new(key: &str, value: String, origin: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value, origin: origin.into() }
    }

    fn text(&self) -> String {
        let Self { key, value, .. } = self;
        if key.is_empty() { value.clone() } else { format!("{key} = {value}") }
    }
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Returns a line for each option that has a default and that the table does not
/// set.
fn default_lines(schema: &Schema, table: &Table<'_>, origin: &str) -> Vec<Line> {
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let defaults = properties.into_iter().flatten().filter_map(|(key, option)| {
        let text = toml_text::json(option.get("default")?)?;
        (!table.contains_key(key.as_str())).then(|| Line::new(&toml_text::key(key), text, origin))
    });
    defaults.collect()
}

/// Returns the kind of a detector or a sink.
fn kind<'t>(id: &'t Key<'_>, table: &'t Table<'_>) -> &'t str {
    table.get("kind").and_then(|it| it.get_ref().as_str()).unwrap_or(id.get_ref())
}

/// Returns the tables of a list, such as `routes`.
fn tables<'t, 'f>(policy: &'t Table<'f>, name: &str) -> impl Iterator<Item = &'t Table<'f>> {
    let items = policy.get(name).and_then(|it| it.get_ref().as_array());
    items.into_iter().flatten().filter_map(|it| it.get_ref().as_table())
}

fn table<'t, 'f>(policy: &'t Table<'f>, section: &str) -> Option<&'t Table<'f>> {
    policy.get(section).and_then(|it| it.get_ref().as_table())
}

fn entries<'t, 'f>(
    policy: &'t Table<'f>,
    section: &str,
) -> impl Iterator<Item = (&'t Key<'f>, &'t Table<'f>)> {
    let section = table(policy, section).into_iter().flatten();
    section.filter_map(|(id, value)| Some((id, value.get_ref().as_table()?)))
}
