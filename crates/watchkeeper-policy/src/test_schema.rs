use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use watchkeeper_core::{
    Action, Severity,
    author::Period,
    embed::{Entry, Registry},
};

use crate::{generated_events::MAX_REPEAT, schema::with_description};

/// Returns the JSON schema of test files, for editors. The schema contains every
/// kind of source in `registry` and rejects unknown keys.
///
/// The names of detectors and sinks depend on the policy; the
/// [`Loader`](crate::Loader) checks them.
pub fn test_schema(registry: &Registry) -> Schema {
    let mut generator = SchemaGenerator::default();
    let period = generator.subschema_for::<Period>();
    let severity = generator.subschema_for::<Severity>();
    let action = generator.subschema_for::<Action>();
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tests of a watchkeeper policy",
        "type": "object",
        "properties": {
            "version": { "const": 1, "description": "The version of the format." },
            "policy": text("Policy to test: a path relative to this file, or `builtin:default`."),
            "tests": {
                "description": "Tests, each with one session.",
                "type": "array",
                "items": test(registry, &period, &severity, &action),
            },
        },
        "required": ["version", "tests"],
        "additionalProperties": false,
    });
    schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
    schema
}

fn test(registry: &Registry, period: &Schema, severity: &Schema, action: &Schema) -> Value {
    let sources: Vec<&str> = registry.sources.iter().map(Entry::kind).collect();
    let mut source = text("Kind of source.");
    if !sources.is_empty() {
        source["enum"] = json!(sources);
    }
    let start = object(
        "Facts that are known when the session starts.",
        json!({
            "source": source,
            "cwd": text("Working directory."),
            "labels": {
                "description": "Labels of the session.",
                "type": "object",
                "additionalProperties": { "type": "string" },
            },
        }),
        &[],
    );
    let offset = json!({
        "description": "Time since the start of the session.",
        "type": "string",
        "examples": ["0s", "25s", "1h 30m"],
    });
    let mut expected = object(
        "Expected finding. Keys that are left out match anything.",
        json!({
            "detector": text("Name of the detector in the policy."),
            "severity": with_description(severity, "Severity of an open finding; a resolved finding has none."),
            "action": with_description(action, "Action that the policy suggests for an open finding; a resolved finding has none."),
            "status": {
                "description": "`open` for a new or escalated finding, `resolved` for its end.",
                "enum": ["open", "resolved"],
                "default": "open",
            },
            "count": {
                "description": "Number of times that the condition was true.",
                "type": "integer",
                "minimum": 0,
            },
            "at": offset,
            "message": text("Pattern for the message. `*` matches any text."),
        }),
        &["detector"],
    );
    expected["not"] = json!({
        "properties": { "status": { "const": "resolved" } },
        "required": ["status"],
        "anyOf": one_of(&["severity", "action"]),
    });
    let mut test = object(
        "A session, and the findings and notifications that the policy should cause.",
        json!({
            "name": text("Name of the test."),
            "start": start,
            "events": text("Path of a recorded session of any agent, relative to this file."),
            "trace": text("Trace with one event per line."),
            "generate": generate(period),
            "advance": with_description(period, "Time that passes after the last event."),
            "expect": {
                "description": "Expected findings, in order.",
                "type": "array",
                "items": expected,
            },
            "expect_no_others": {
                "description": "`true` makes the test fail if the policy reports further open findings.",
                "type": "boolean",
                "default": true,
            },
            "expect_sinks": {
                "description": "All sinks that receive a finding, in any order.",
                "type": "array",
                "items": { "type": "string" },
            },
        }),
        &["name"],
    );
    test["oneOf"] = one_of(&["events", "trace", "generate"]);
    test["anyOf"] = one_of(&["expect", "expect_sinks"]);
    test["dependentRequired"] = json!({ "expect_no_others": ["expect"] });
    test
}

fn generate(period: &Schema) -> Value {
    let count =
        |description: &str| json!({ "description": description, "type": "integer", "minimum": 0 });
    let model_call = object(
        "Response of the model.",
        json!({
            "model": text("Name of the model."),
            "input_tokens": count("Input tokens, without cached tokens."),
            "output_tokens": count("Output tokens, including reasoning."),
            "cache_read_tokens": count("Tokens read from a cache."),
            "cache_write_tokens": count("Tokens written to a cache."),
            "cost_usd": { "description": "Cost in US dollars.", "type": "number" },
        }),
        &[],
    );
    let mut event = object(
        "An event. In all texts, `{n}` is replaced by the number of the repetition, from 1.",
        json!({
            "agent": text("Name of the sub-agent of the event."),
            "tool": text("Name of the tool to call."),
            "arguments": { "description": "Arguments of the call." },
            "result": text("Output of the tool."),
            "ok": {
                "description": "`false` if the call fails.",
                "type": "boolean",
                "default": true,
            },
            "exit_code": { "description": "Exit code of the command.", "type": "integer" },
            "takes": with_description(period, "Time from the call to its result."),
            "prompt": text("Text of a prompt."),
            "message": text("Text of a message of the agent."),
            "model_call": model_call,
        }),
        &[],
    );
    event["oneOf"] = one_of(&["tool", "prompt", "message", "model_call"]);
    let of_calls = ["arguments", "result", "ok", "exit_code", "takes"];
    let needs_tool = of_calls.map(|it| (it.to_owned(), json!(["tool"])));
    event["dependentRequired"] = Value::Object(needs_tool.into_iter().collect());
    object(
        "A list of events to repeat.",
        json!({
            "repeat": {
                "description": "Number of repetitions.",
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_REPEAT,
            },
            "every": with_description(period, "Time from the start of one repetition to the start of the next."),
            "events": { "description": "Events of one repetition.", "type": "array", "items": event },
        }),
        &["repeat", "every", "events"],
    )
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": "string" })
}

fn object(description: &str, properties: Value, required: &[&str]) -> Value {
    json!({
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Returns a list of schemas, each of which requires one of the keys.
fn one_of(keys: &[&str]) -> Value {
    keys.iter().map(|it| json!({ "required": [it] })).collect()
}
