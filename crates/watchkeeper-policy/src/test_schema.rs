use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use watchkeeper_core::{Entry, Period, Registry, Severity};

use crate::{rounds::MAX_ROUNDS, schema::with_description};

/// Describes the file of a policy's tests for editors, with every kind of source
/// that is linked into this program.
///
/// It refuses every key that nobody knows. Which detectors and sinks there are the
/// policy knows, and the [`Loader`](crate::Loader) with it.
pub fn test_schema(registry: &Registry) -> Schema {
    let mut generator = SchemaGenerator::default();
    let period = generator.subschema_for::<Period>();
    let severity = generator.subschema_for::<Severity>();
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tests of a watchkeeper policy",
        "type": "object",
        "properties": {
            "version": { "const": 1, "description": "The version of the format." },
            "policy": text("The policy that is tested: a file beside this one, or `builtin:default`."),
            "tests": {
                "description": "The tests, each of one session.",
                "type": "array",
                "items": test(registry, &period, &severity),
            },
        },
        "required": ["version", "tests"],
        "additionalProperties": false,
    });
    schema.insert("$defs".to_owned(), generator.take_definitions(true).into());
    schema
}

fn test(registry: &Registry, period: &Schema, severity: &Schema) -> Value {
    let sources: Vec<&str> = registry.sources.iter().map(Entry::kind).collect();
    let mut source = text("The kind of source it comes from.");
    if !sources.is_empty() {
        source["enum"] = json!(sources);
    }
    let start = object(
        "What is known of the session when it begins.",
        json!({
            "source": source,
            "cwd": text("The folder it works in."),
            "labels": {
                "description": "Labels of its own.",
                "type": "object",
                "additionalProperties": { "type": "string" },
            },
        }),
        &[],
    );
    let offset = json!({
        "description": "How long after the start of the session.",
        "type": "string",
        "examples": ["0s", "25s", "1h 30m"],
    });
    let mut expected = object(
        "A finding that is due.",
        json!({
            "detector": text("The name of the detector in the policy."),
            "severity": with_description(severity, "How severe it is; nothing that is resolved has one."),
            "status": {
                "description": "Whether it opens or ends.",
                "enum": ["open", "resolved"],
                "default": "open",
            },
            "count": {
                "description": "How often the condition has come true.",
                "type": "integer",
                "minimum": 0,
            },
            "at": offset,
            "message": text("What it says; `*` stands for any text."),
        }),
        &["detector"],
    );
    expected["not"] = json!({
        "properties": { "status": { "const": "resolved" } },
        "required": ["severity", "status"],
    });
    let mut res = object(
        "A session, and what the policy should find in it.",
        json!({
            "name": text("What people call it."),
            "start": start,
            "events": text("A recorded session of any agent, in a file beside this one."),
            "trace": text("What happens, an event on each line."),
            "generate": generate(period),
            "advance": with_description(period, "How much time passes after the last event."),
            "expect": {
                "description": "The findings that are due, in order.",
                "type": "array",
                "items": expected,
            },
            "expect_no_others": {
                "description": "Whether they are all that may be open.",
                "type": "boolean",
                "default": true,
            },
            "expect_sinks": {
                "description": "The sinks that are told anything, in any order, and no others.",
                "type": "array",
                "items": { "type": "string" },
            },
        }),
        &["name"],
    );
    res["oneOf"] = one_of(&["events", "trace", "generate"]);
    res["anyOf"] = one_of(&["expect", "expect_sinks"]);
    res["dependentRequired"] = json!({ "expect_no_others": ["expect"] });
    res
}

fn generate(period: &Schema) -> Value {
    let count =
        |description: &str| json!({ "description": description, "type": "integer", "minimum": 0 });
    let model_call = object(
        "An answer of the model, and what it used.",
        json!({
            "model": text("The model."),
            "input_tokens": count("What was read anew."),
            "output_tokens": count("What was written."),
            "cache_read_tokens": count("What was read from a cache."),
            "cache_write_tokens": count("What was written to a cache."),
            "cost_usd": { "description": "What it cost, in US dollars.", "type": "number" },
        }),
        &[],
    );
    let mut event = object(
        "An event; in all texts, `{n}` is the number of the round.",
        json!({
            "agent": text("The sub-agent whose event it is."),
            "tool": text("A call of this tool."),
            "arguments": { "description": "Its arguments." },
            "result": text("What it answers."),
            "ok": {
                "description": "Whether it goes well.",
                "type": "boolean",
                "default": true,
            },
            "exit_code": { "description": "What it exits with.", "type": "integer" },
            "takes": with_description(period, "How long it takes to answer."),
            "prompt": text("A prompt of a person."),
            "message": text("A message of the agent."),
            "model_call": model_call,
        }),
        &[],
    );
    event["oneOf"] = one_of(&["tool", "prompt", "message", "model_call"]);
    let of_calls = ["arguments", "result", "ok", "exit_code", "takes"];
    let needs_tool = of_calls.map(|it| (it.to_owned(), json!(["tool"])));
    event["dependentRequired"] = Value::Object(needs_tool.into_iter().collect());
    object(
        "The same events, round after round.",
        json!({
            "repeat": {
                "description": "How many rounds there are.",
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_ROUNDS,
            },
            "every": with_description(period, "How often a round begins."),
            "events": { "description": "The events of a round.", "type": "array", "items": event },
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

/// What demands one of these keys: beside `oneOf`, exactly one.
fn one_of(keys: &[&str]) -> Value {
    keys.iter().map(|it| json!({ "required": [it] })).collect()
}
