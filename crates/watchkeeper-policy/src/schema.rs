use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use watchkeeper_core::{Entry, Period, Price, Registry, Severity, Unit};

const DETECTORS: &str = "#/$defs/detectors";
const EXCEPTIONS: &str = "#/$defs/exceptions";

/// Describes a policy for editors, with the options of every kind that is
/// linked into this program.
///
/// It refuses every key that nobody knows. Since a policy may extend others,
/// it does not ask for options that must be somewhere: the [`Loader`] does.
///
/// [`Loader`]: crate::Loader
pub fn schema(registry: &Registry) -> Schema {
    let mut generator = SchemaGenerator::default();
    let mut defs = Map::new();
    let detectors: Vec<(&str, String)> = registry
        .detectors
        .iter()
        .map(|it| {
            let shared = detector_keys(it.unit, &mut generator);
            let own = it.schema(&mut generator);
            define(it, "detector", own, shared, &mut defs)
        })
        .collect();
    let sinks: Vec<(&str, String)> = registry
        .sinks
        .iter()
        .map(|it| {
            let mut own = it.schema(&mut generator);
            each_property(&mut own, allow_secret);
            define(it, "sink", own, sink_keys(), &mut defs)
        })
        .collect();
    let period = generator.subschema_for::<Period>();
    let price = generator.subschema_for::<Price>();
    let text = json!({ "type": "string" });
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchkeeper policy",
        "type": "object",
        "properties": {
            "version": { "const": 1, "description": "The version of the format." },
            "extends": {
                "description": "The policies that this one is laid over, the first at the bottom: \
                                `builtin:default`, or files beside this one.",
                "type": "array",
                "items": text,
            },
            "monitor": {
                "description": "How the monitor as a whole runs.",
                "type": "object",
                "properties": {
                    "check_interval": with_description(&period, "How late a finding may be that no event brings about."),
                    "shutdown_timeout": with_description(&period, "How long stopping may take."),
                    "session_expiry": with_description(&period, "How long a session may be quiet before it is forgotten."),
                    "max_sessions": count("How many sessions are watched at once."),
                },
                "additionalProperties": false,
            },
            "labels": {
                "description": "Labels of every finding.",
                "type": "object",
                "additionalProperties": text,
            },
            "prices": {
                "description": "What models cost, by name, before the built-in list.",
                "type": "object",
                "additionalProperties": price,
            },
            "secrets": {
                "description": "Where secrets are, by the name that sinks use for them.",
                "type": "object",
                "additionalProperties": secret_place(),
            },
            "detectors": { "$ref": DETECTORS },
            "overrides": editable(json!({
                "description": "What is different in some sessions. Every override that matches holds, a later one over an earlier.",
                "type": "array",
                "items": one_override(),
            })),
            "sinks": entries("The sinks, by name.", &sinks),
            "routes": editable(json!({
                "description": "Which findings go to which sinks. Every route that matches acts.",
                "type": "array",
                "items": route(&period.into()),
            })),
        },
        "required": ["version"],
        "additionalProperties": false,
    });
    defs.insert("detectors".to_owned(), entries("The detectors, by name.", &detectors));
    defs.insert("exceptions".to_owned(), exceptions());
    defs.extend(generator.take_definitions(true));
    schema.insert("$defs".to_owned(), defs.into());
    schema
}

/// Describes the entry of a kind. Gives back its name and a reference to it.
fn define<'k, E: Entry>(
    entry: &'k E,
    sort: &str,
    mut schema: Schema,
    shared: Vec<(&'static str, Value)>,
    defs: &mut Map<String, Value>,
) -> (&'k str, String) {
    each_property(&mut schema, editable);
    // Shared keys go into the options' own schema and not beside it: that one
    // refuses every key that it doesn't list.
    let object = schema.ensure_object();
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    for (key, value) in shared {
        properties[key] = value;
    }
    properties["kind"] = json!({ "const": entry.kind() });
    // What is required may stand in a policy that is extended.
    object.remove("required");
    object.entry("additionalProperties").or_insert(false.into());
    object.insert("title".to_owned(), entry.kind().into());
    object.insert("description".to_owned(), entry.summary().into());
    let name = format!("{sort}-{}", entry.kind());
    let reference = format!("#/$defs/{name}");
    defs.insert(name, schema.into());
    (entry.kind(), reference)
}

/// Describes a section of entries of several kinds. An entry that names no
/// kind has that of its own name, or that of a policy that is extended.
fn entries(description: &str, kinds: &[(&str, String)]) -> Value {
    let by_kind = |(_, it): &(&str, String)| json!({ "$ref": it, "required": ["kind"] });
    let by_kind: Vec<Value> = kinds.iter().map(by_kind).collect();
    let any: Vec<Value> = kinds.iter().map(|(_, it)| json!({ "$ref": it })).collect();
    let entry = |otherwise: Value| {
        json!({
            "type": "object",
            "if": { "required": ["kind"] },
            "then": { "oneOf": by_kind },
            "else": otherwise,
        })
    };
    let named = kinds.iter().map(|(kind, it)| ((*kind).to_owned(), entry(json!({ "$ref": it }))));
    json!({
        "description": description,
        "type": "object",
        "properties": named.collect::<Map<_, _>>(),
        "additionalProperties": entry(json!({ "anyOf": any })),
    })
}

fn detector_keys(unit: Unit, generator: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    let severity: Value = generator.subschema_for::<Severity>().into();
    let at = match unit {
        Unit::Count => json!({ "type": "integer", "minimum": 1 }),
        Unit::Percent => {
            json!({ "type": "string", "pattern": "^[1-9][0-9]*%$", "examples": ["75%"] })
        }
    };
    let levels = editable(json!({
        "description": "From what measure on a finding has which severity.",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": { "at": at, "severity": severity },
            "required": ["at", "severity"],
            "additionalProperties": false,
        },
    }));
    vec![
        ("enabled", enabled()),
        ("exceptions", json!({ "$ref": EXCEPTIONS })),
        (
            "inhibited_by",
            editable(json!({
                "description": "The detectors that say more about the same trouble: while one of them has a finding open, this one finds nothing that is no more severe.",
                "type": "array",
                "items": { "type": "string" },
            })),
        ),
        ("levels", levels),
        (
            "per",
            json!({
                "description": "Whose sessions share one limit: those with the same value of a label.",
                "type": "string",
                "pattern": "^label:.",
                "examples": ["label:team"],
            }),
        ),
        ("severity", severity),
    ]
}

fn exceptions() -> Value {
    editable(json!({
        "description": "Calls that it does not see, nor their results.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "arguments": {
                    "description": "What the arguments must be, by key; `*` stands for any text.",
                    "type": "object",
                    "additionalProperties": patterns("The value of an argument."),
                },
                "expires": {
                    "description": "The day, in UTC, from which on it no longer applies.",
                    "type": "string",
                    "format": "date",
                    "examples": ["2027-03-31"],
                },
                "reason": reason(),
                "tool": patterns("The tool; `*` stands for any text."),
            },
            "required": ["reason", "tool"],
            "additionalProperties": false,
        },
    }))
}

fn one_override() -> Value {
    let matcher = json!({
        "description": "The sessions it is for: those that all of its keys match as they begin. `*` stands for any text.",
        "type": "object",
        "properties": {
            "cwd": patterns("The folder it works in."),
            "model": patterns("The model it begins with."),
            "source": patterns("The kind of source it comes from."),
            "version": patterns("The version of the agent."),
        },
        "patternProperties": { "^label:.": patterns("The value of a label.") },
        "minProperties": 1,
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "detectors": { "$ref": DETECTORS },
            "match": matcher,
            "reason": reason(),
        },
        "required": ["detectors", "match", "reason"],
        "additionalProperties": false,
    })
}

fn reason() -> Value {
    json!({ "description": "Why, for whoever reads it next.", "type": "string", "pattern": "\\S" })
}

/// A pattern, or a list of them.
fn patterns(description: &str) -> Value {
    let text = json!({ "type": "string" });
    json!({
        "description": description,
        "anyOf": [text, { "type": "array", "items": text, "minItems": 1 }],
    })
}

fn sink_keys() -> Vec<(&'static str, Value)> {
    vec![
        ("enabled", enabled()),
        ("queue_capacity", count("How many findings may wait for the sink.")),
    ]
}

fn enabled() -> Value {
    json!({ "description": "Whether it is on.", "type": "boolean", "default": true })
}

fn count(description: &str) -> Value {
    json!({
        "description": description,
        "type": "integer",
        "minimum": 1,
        "maximum": u32::MAX,
    })
}

fn secret_place() -> Value {
    let optional = json!({
        "description": "Whether it may be missing: the sinks that use it are then off.",
        "type": "boolean",
        "default": false,
    });
    json!({
        "type": "object",
        "properties": {
            "env": { "description": "The variable of the environment.", "type": "string" },
            "file": { "description": "The file, beside this one.", "type": "string" },
            "optional": optional,
        },
        "oneOf": [{ "required": ["env"] }, { "required": ["file"] }],
        "additionalProperties": false,
    })
}

fn route(period: &Value) -> Value {
    let text = json!({ "type": "string" });
    let severities = ["low", "medium", "high", ">=low", ">=medium", ">=high"];
    let matcher = json!({
        "description": "The findings it takes: those that all of its keys match. `*` stands for any text.",
        "type": "object",
        "properties": {
            "agent": patterns("The name of a sub-agent."),
            "class": patterns("The class: `timeout`, `runaway`, `budget`, `error`, or your own."),
            "detector": patterns("The name of the detector."),
            "kind": patterns("The kind of the detector."),
            "session": patterns("The session."),
            "severity": { "description": "The severity, or with `>=` all from it on.", "enum": severities },
            "source": patterns("The kind of source the session came from."),
            "status": { "description": "Whether the condition lasts.", "enum": ["open", "resolved"] },
        },
        "patternProperties": { "^label:.": patterns("The value of a label.") },
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "cooldown": with_description(period, "How long it is silent about what it has told, unless that gets worse."),
            "match": matcher,
            "name": { "description": "What people call it.", "type": "string" },
            "send_resolved": {
                "description": "Whether it also tells the end of what it told the beginning of.",
                "type": "boolean",
                "default": false,
            },
            "sinks": { "description": "The names of sinks.", "type": "array", "items": text },
        },
        "required": ["sinks"],
        "additionalProperties": false,
    })
}

pub(crate) fn with_description(schema: &(impl Clone + Into<Value>), description: &str) -> Value {
    let mut schema: Value = schema.clone().into();
    schema["description"] = description.into();
    schema
}

fn each_property(schema: &mut Schema, change: fn(Value) -> Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, it) in properties.into_iter().flatten() {
        *it = change(it.take());
    }
}

/// Lets an array be edited, too.
fn editable(schema: Value) -> Value {
    if !is_type(&schema, "array") {
        return schema;
    }
    let edit = json!({
        "type": "object",
        "properties": { "add": schema, "remove": schema },
        "minProperties": 1,
        "additionalProperties": false,
    });
    either(schema, edit)
}

/// Lets a string be a secret, too.
fn allow_secret(schema: Value) -> Value {
    if !is_type(&schema, "string") {
        return schema;
    }
    let secret = json!({
        "type": "object",
        "properties": { "secret": { "type": "string" } },
        "required": ["secret"],
        "additionalProperties": false,
    });
    either(schema, secret)
}

fn either(one: Value, other: Value) -> Value {
    let mut res = json!({ "anyOf": [one, other] });
    if let Some(description) = one.get("description") {
        res["description"] = description.clone();
    }
    res
}

fn is_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(it)) => it == name,
        Some(Value::Array(them)) => them.iter().any(|it| it == name),
        _ => false,
    }
}
