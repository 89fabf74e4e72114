use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use watchkeeper_core::{
    Action, Severity, Unit,
    author::{Annotations, Link, Period, Secret, Tag},
    embed::{Durability, Entry, GroupField, Price, Registry},
};

use crate::{heartbeat::HEARTBEAT_SINK, settings::Mode};

const DETECTORS: &str = "#/$defs/detectors";
const EXCEPTIONS: &str = "#/$defs/exceptions";

/// Returns the JSON schema of policies, for editors. The schema contains the
/// options of every kind in `registry` and rejects unknown keys.
///
/// Options are not required, because an extended policy may set them. The
/// [`Loader`] reports missing options.
///
/// [`Loader`]: crate::Loader
pub fn schema(registry: &Registry) -> Schema {
    let mut generator = SchemaGenerator::default();
    let mut defs = Map::new();
    let detectors: Vec<(&str, String)> = registry
        .detectors
        .iter()
        .map(|entry| {
            let shared = detector_keys(entry.unit, &mut generator);
            let own = entry.schema(&mut generator);
            define(entry, "detector", own, shared, &mut defs)
        })
        .collect();
    let sinks: Vec<(&str, String)> = registry
        .sinks
        .iter()
        .map(|entry| {
            let mut own = entry.schema(&mut generator);
            each_property(&mut own, allow_secret);
            define(entry, "sink", own, sink_keys(), &mut defs)
        })
        .collect();
    let heartbeat = heartbeat(registry, &mut generator);
    let period = generator.subschema_for::<Period>();
    let price = generator.subschema_for::<Price>();
    let text = json!({ "type": "string" });
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchkeeper policy",
        "type": "object",
        "properties": {
            "version": { "const": 1, "description": "The version of the format." },
            "required_version": {
                "description": "The versions of Watchkeeper that may use the policy.",
                "type": "string",
                "examples": [">=0.2", ">=0.2, <0.5"],
            },
            "lists": {
                "description": "Lists of strings, by name. In an array, `\"@name\"` stands for the elements of the list.",
                "type": "object",
                "additionalProperties": { "type": "array", "items": text },
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
            },
            "extends": {
                "description": "The policies to build on: `builtin:default`, `builtin:safe-session`, or paths relative to this file. \
                                Later ones take precedence over earlier ones.",
                "type": "array",
                "items": text,
            },
            "monitor": monitor(&mut generator),
            "labels": labels(),
            "prices": {
                "description": "Prices of models, by name. They take precedence over the built-in prices.",
                "type": "object",
                "additionalProperties": price,
            },
            "secrets": {
                "description": "Locations of secrets, by the name that sinks use.",
                "type": "object",
                "additionalProperties": secret_place(),
            },
            "detectors": { "$ref": DETECTORS },
            "overrides": editable(json!({
                "description": "Different options for the sessions that match. If several overrides match, later ones take precedence.",
                "type": "array",
                "items": one_override(),
            })),
            "sinks": entries("The sinks, by name.", &sinks),
            "routes": editable(json!({
                "description": "Routes from findings to sinks. A finding goes through every route that matches.",
                "type": "array",
                "items": route(&period.into()),
            })),
            "silences": editable(json!({
                "description": "Findings that are sent to no sink until a time, and then if they are still open. The ends of findings that were sent before are sent.",
                "type": "array",
                "items": silence(),
            })),
            "heartbeat": heartbeat,
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

/// Returns the schema of `[monitor]`.
fn monitor(generator: &mut SchemaGenerator) -> Value {
    let period = generator.subschema_for::<Period>();
    let durability = generator.subschema_for::<Durability>();
    let mode = generator.subschema_for::<Mode>();
    let secret = generator.subschema_for::<Secret>();
    json!({
        "description": "Options of the monitor.",
        "type": "object",
        "properties": {
            "check_interval": with_description(&period, "Maximum delay of time-based findings, such as timeouts."),
            "shutdown_timeout": with_description(&period, "Time for sinks to deliver the remaining findings when the monitor stops."),
            "session_expiry": with_description(&period, "Time without events after which the state of a session is dropped."),
            "max_sessions": count("Maximum number of concurrent sessions."),
            "processes": {
                "description": "Whether `watch` uses the processes of agents and the state files beside their sessions. Defaults to true.",
                "type": "boolean",
            },
            "mode": with_description(&mode, "Whether hooks carry out the actions of levels. Defaults to `observe`."),
            "dry_run": {
                "description": "Whether hooks record the actions of the mode `enforce` without carrying them out. Defaults to false.",
                "type": "boolean",
            },
            "durable": with_description(&durability, "Events that the findings of `watch` survive on their way to a sink. Defaults to `process`."),
            "state_dir": {
                "description": "Folder in which `watch` stores the findings that sinks have accepted and those that wait. \
                                Defaults to `watchkeeper` in the user's folder for state.",
                "type": "string",
            },
            "ui_token": with_description(&secret, "Token of the page of `watch --ui`. Needed at an address that other machines can reach."),
        },
        "additionalProperties": false,
    })
}

/// Returns the schema of `[heartbeat]`: the options of a webhook, and the interval.
fn heartbeat(registry: &Registry, generator: &mut SchemaGenerator) -> Value {
    let Ok(entry) = registry.sinks.get(HEARTBEAT_SINK) else { return false.into() };
    let mut schema = entry.schema(generator);
    each_property(&mut schema, allow_secret);
    let every = with_description(
        &generator.subschema_for::<Period>(),
        "Interval between two requests. Defaults to `1m`.",
    );
    let object = schema.ensure_object();
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    properties["enabled"] = enabled();
    properties["every"] = every;
    object.remove("required");
    object.insert("additionalProperties".to_owned(), false.into());
    let description =
        "Requests by which another service notices that the monitor does not work any longer.";
    object.insert("description".to_owned(), description.into());
    schema.into()
}

/// Defines the schema of a kind, and returns the name of the kind and a reference
/// to the definition.
fn define<'k, E: Entry>(
    entry: &'k E,
    sort: &str,
    mut schema: Schema,
    shared: Vec<(&'static str, Value)>,
    defs: &mut Map<String, Value>,
) -> (&'k str, String) {
    each_property(&mut schema, editable);
    // The schema of the options rejects keys that it does not list, so the shared
    // keys must be part of it.
    let object = schema.ensure_object();
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    for (key, value) in shared {
        properties[key] = value;
    }
    properties["kind"] = json!({ "const": entry.kind() });
    // An extended policy may set the required options.
    object.remove("required");
    object.entry("additionalProperties").or_insert(false.into());
    object.insert("title".to_owned(), entry.kind().into());
    object.insert("description".to_owned(), entry.summary().into());
    let name = format!("{sort}-{}", entry.kind());
    let reference = format!("#/$defs/{name}");
    defs.insert(name, schema.into());
    (entry.kind(), reference)
}

/// Returns the schema of a section with entries of several kinds. If an entry has
/// no `kind`, its name or an extended policy determines it.
fn entries(description: &str, kinds: &[(&str, String)]) -> Value {
    let by_kind =
        |(_, reference): &(&str, String)| json!({ "$ref": reference, "required": ["kind"] });
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
    let named = kinds
        .iter()
        .map(|(kind, reference)| ((*kind).to_owned(), entry(json!({ "$ref": reference }))));
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
        Unit::Percent => {
            json!({ "type": "string", "pattern": "^[1-9][0-9]*%$", "examples": ["75%"] })
        }
        _ => json!({ "type": "integer", "minimum": 1 }),
    };
    let action = with_description(
        &generator.subschema_for::<Action>(),
        "Suggested reaction to findings of this severity: of `medium` or above, unless it is `observe`. It applies where the program that runs the agent allows it.",
    );
    let levels = editable(json!({
        "description": "Severities of findings, each from a minimum measure.",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": { "action": action, "at": at, "severity": severity },
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
                "description": "Detectors that report the same problem more specifically. Together they report one finding of an agent or session at a time.",
                "type": "array",
                "items": { "type": "string" },
            })),
        ),
        ("levels", levels),
        (
            "per",
            json!({
                "description": "Fact that groups sessions: a label, the working folder or the model. Sessions with the same value share one limit.",
                "type": "string",
                "pattern": "^(label:.+|cwd|model)$",
                "examples": ["label:team", "cwd", "model"],
            }),
        ),
        (
            "references",
            short_list(
                "Pages with background, such as the report of an incident. Findings carry them.",
                &generator.subschema_for::<Link>().into(),
                Annotations::MAX_REFERENCES,
            ),
        ),
        (
            "runbook_url",
            with_description(
                &generator.subschema_for::<Link>(),
                "Page that describes what to do about a finding. Findings carry it.",
            ),
        ),
        ("severity", severity),
        (
            "tags",
            short_list(
                "Words by which routes select findings, such as `owner:payments`. Findings carry them.",
                &generator.subschema_for::<Tag>().into(),
                Annotations::MAX_TAGS,
            ),
        ),
    ]
}

fn short_list(description: &str, items: &Value, max: usize) -> Value {
    editable(json!({
        "description": description,
        "type": "array",
        "maxItems": max,
        "items": items,
    }))
}

fn exceptions() -> Value {
    editable(json!({
        "description": "Calls to ignore, together with their results.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "arguments": {
                    "description": "Patterns for arguments, by key. `*` matches any text.",
                    "type": "object",
                    "additionalProperties": patterns("Value of the argument."),
                },
                "expires": {
                    "description": "First day, in UTC, on which the exception no longer applies.",
                    "type": "string",
                    "format": "date",
                    "examples": ["2027-03-31"],
                },
                "reason": reason(),
                "tool": patterns("Name of the tool. `*` matches any text."),
            },
            "required": ["reason", "tool"],
            "additionalProperties": false,
        },
    }))
}

fn labels() -> Value {
    let values = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let matcher = json!({
        "description": "Sessions to label. All keys must match. `*` matches any text. Without `match`, all sessions.",
        "type": "object",
        "properties": {
            "cwd": patterns("Working folder."),
            "model": patterns("First model."),
            "source": patterns("Kind of source."),
        },
        "patternProperties": { "^label:.": patterns("The value of a label.") },
        "minProperties": 1,
        "additionalProperties": false,
    });
    let rules = json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": { "labels": values, "match": matcher },
            "required": ["labels"],
            "additionalProperties": false,
        },
    });
    let mut schema = json!({ "anyOf": [values, editable(rules)] });
    schema["description"] = "Labels of findings: `[labels]` for all sessions, `[[labels]]` for the sessions that match. Later entries take precedence, and labels of a session over both.".into();
    schema
}

fn one_override() -> Value {
    let matcher = json!({
        "description": "Sessions to change. All keys must match when a session starts. `*` matches any text.",
        "type": "object",
        "properties": {
            "cwd": patterns("Working directory."),
            "model": patterns("First model."),
            "source": patterns("Kind of source."),
            "version": patterns("Version of the agent."),
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
    json!({ "description": "Reason, for other readers of the policy.", "type": "string", "pattern": "\\S" })
}

/// Returns the schema of a pattern or a list of patterns.
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
        ("queue_capacity", count("Maximum number of findings in the queue of the sink.")),
    ]
}

fn enabled() -> Value {
    json!({ "description": "`false` disables the entry.", "type": "boolean", "default": true })
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
        "description": "`true` allows the secret to be missing; the sinks that use it are then disabled.",
        "type": "boolean",
        "default": false,
    });
    json!({
        "type": "object",
        "properties": {
            "env": { "description": "Name of an environment variable.", "type": "string" },
            "file": { "description": "Path of a file, relative to this file.", "type": "string" },
            "optional": optional,
        },
        "oneOf": [{ "required": ["env"] }, { "required": ["file"] }],
        "additionalProperties": false,
    })
}

fn silence() -> Value {
    let mut matcher =
        finding_matcher("Findings to hide. All keys must match. `*` matches any text.");
    if let Some(properties) = matcher["properties"].as_object_mut() {
        properties.remove("status");
    }
    matcher["minProperties"] = 1.into();
    let until = json!({
        "description": "End: a time with an offset, or a date, which is included; in UTC.",
        "type": "string",
        "examples": ["2027-03-31T18:00:00Z", "2027-03-31"],
    });
    json!({
        "type": "object",
        "properties": {
            "author": { "description": "Person who is responsible.", "type": "string", "pattern": "\\S" },
            "match": matcher,
            "reason": reason(),
            "until": until,
        },
        "required": ["author", "match", "reason", "until"],
        "additionalProperties": false,
    })
}

/// Returns the schema of the conditions of a route or a silence.
fn finding_matcher(description: &str) -> Value {
    let severities = ["low", "medium", "high", ">=low", ">=medium", ">=high"];
    json!({
        "description": description,
        "type": "object",
        "properties": {
            "agent": patterns("Name of a sub-agent."),
            "class": patterns("Class: `timeout`, `runaway`, `budget`, `error`, or one of your own."),
            "detector": patterns("Name of the detector."),
            "kind": patterns("Kind of the detector."),
            "session": patterns("Id of the session."),
            "severity": { "description": "Severity; with `>=`, this severity and above.", "enum": severities },
            "source": patterns("Kind of source of the session."),
            "status": { "description": "State of the finding.", "enum": ["open", "resolved"] },
            "tag": patterns("Tag of the detector. One of its tags must match."),
        },
        "patternProperties": { "^label:.": patterns("The value of a label.") },
        "additionalProperties": false,
    })
}

fn route(period: &Value) -> Value {
    let text = json!({ "type": "string" });
    let matcher = finding_matcher("Findings to send. All keys must match. `*` matches any text.");
    json!({
        "type": "object",
        "properties": {
            "fallback": {
                "description": "`true` sends only findings that match no route without `fallback`.",
                "type": "boolean",
                "default": false,
            },
            "cooldown": with_description(period, "Time during which the route does not send a finding again, unless its severity rises."),
            "for": with_description(period, "Time for which a finding has to be open before the route sends it. The route sends nothing of an episode that ends earlier."),
            "group_by": {
                "description": "Fields in which the findings of one notification agree. Without them, all findings of the route are one group.",
                "type": "array",
                "items": { "anyOf": [{ "enum": GroupField::NAMES }, { "type": "string", "pattern": "^label:." }] },
            },
            "group_wait": with_description(period, "Time for which the first finding of a notification waits for others."),
            "match": matcher,
            "name": { "description": "Name of the route, for messages.", "type": "string" },
            "send_resolved": {
                "description": "`true` also sends the resolved finding for each open finding that the route sent.",
                "type": "boolean",
                "default": false,
            },
            "sinks": { "description": "Names of sinks.", "type": "array", "items": text },
        },
        "required": ["sinks"],
        "dependentRequired": { "group_by": ["group_wait"] },
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
    for (_, property) in properties.into_iter().flatten() {
        *property = change(property.take());
    }
}

/// Also allows `add` and `remove` for an array.
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

/// Also allows a reference to a secret for a string.
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
    let mut schema = json!({ "anyOf": [one, other] });
    if let Some(description) = one.get("description") {
        schema["description"] = description.clone();
    }
    schema
}

fn is_type(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(names)) => names.iter().any(|it| it == name),
        _ => false,
    }
}
