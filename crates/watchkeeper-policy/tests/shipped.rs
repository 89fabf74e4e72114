//! The policies that come with the program work, and editors know it.

use std::{io, path::Path};

use schemars::Schema;
use serde_json::{Value, json};
use watchkeeper_core::Registry;
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::{BUILTIN, Loaded, Loader, Policy, render, schema, test_schema};
use watchkeeper_sinks as _;

const EXAMPLE: &str = include_str!("../../../policy.example.toml");

fn load(registry: &Registry, text: &str) -> Loaded {
    let read_file = |path: &Path| match path.to_str() {
        Some("policy.toml") => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let loader = Loader::new(registry, &read_file);
    loader.load(Path::new("policy.toml"))
}

#[track_caller]
fn sound(loaded: Loaded) -> Policy {
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded, false));
    loaded.policy.expect("a policy without mistakes")
}

fn registry() -> Registry {
    Registry::linked().expect("no two kinds share a name")
}

fn ids(policy: &Policy) -> String {
    let mut detectors: Vec<_> = policy.detectors.iter().map(|it| it.id.to_string()).collect();
    detectors.dedup();
    assert_eq!(detectors.len(), policy.n_detectors());
    let sinks = policy.sinks.iter().map(|it| it.id.clone());
    detectors.into_iter().chain(sinks).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_built_in_policy_is_sound() {
    let registry = registry();
    let read_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loader = Loader::new(&registry, &read_file);
    let policy = sound(loader.load_builtin());
    assert_eq!(
        ids(&policy),
        "call_loop failure_streak fast_spending full_context provider_retries repeated_call repeated_compaction repeated_error repeated_message repeated_result repeated_text silent_model slow_tool console"
    );
    assert_eq!(policy.routes.len(), 1);
}

#[test]
fn the_example_is_sound() {
    let policy = sound(load(&registry(), EXAMPLE));
    assert_eq!(
        ids(&policy),
        "call_loop failure_streak fast_spending full_context no_progress provider_retries repeated_call repeated_compaction repeated_error repeated_message repeated_result repeated_text session silent_model team_budget turn audit console night ops"
    );
    assert_eq!(policy.routes.len(), 3);
}

#[test]
fn the_policy_in_force_is_a_policy() {
    let registry = registry();
    for text in [EXAMPLE, BUILTIN] {
        let policy = sound(load(&registry, text));
        let again = sound(load(&registry, &policy.effective.to_string()));
        assert_eq!(ids(&policy), ids(&again));
        assert_eq!(policy.routes.len(), again.routes.len());
        for (a, b) in policy.detectors.iter().zip(&again.detectors) {
            assert_eq!((&a.levels, &a.per_label), (&b.levels, &b.per_label), "{}", a.id);
            assert_eq!(format!("{:?}", a.sessions), format!("{:?}", b.sessions), "{}", a.id);
            assert_eq!(format!("{:?}", a.detector), format!("{:?}", b.detector), "{}", a.id);
        }
    }
}

/// What an editor checks: a day is a text to it.
fn json_of(text: &str) -> Value {
    let mut res = toml::from_str(text).expect("the text is TOML");
    write_out_days(&mut res);
    res
}

fn write_out_days(value: &mut Value) {
    if let Some(day) = value.get("$__toml_private_datetime") {
        *value = day.clone();
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(write_out_days),
        Value::Array(items) => items.iter_mut().for_each(write_out_days),
        _ => {}
    }
}

fn mistakes(registry: &Registry, policy: &Value) -> Vec<String> {
    mistakes_by(&schema(registry), policy)
}

#[track_caller]
fn mistakes_by(schema: &Schema, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema.as_value()).expect("a schema");
    validator.iter_errors(value).map(|it| format!("{} {it}", it.instance_path())).collect()
}

#[test]
fn the_schema_takes_what_the_loader_takes() {
    let registry = registry();
    for text in [BUILTIN, EXAMPLE] {
        assert_eq!(mistakes(&registry, &json_of(text)), Vec::<String>::new());
        let effective = sound(load(&registry, text)).effective.to_string();
        assert_eq!(mistakes(&registry, &json_of(&effective)), Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_a_misspelled_key_anywhere() {
    let registry = registry();
    let policy = json_of(EXAMPLE);
    let mut n_objects = 0;
    for pointer in objects(&policy, String::new()) {
        // In these, keys are names.
        let sections = ["/labels", "/prices", "/secrets", "/detectors", "/sinks"];
        let names = ["/overrides/0/detectors", "/detectors/repeated_call/exceptions/1/arguments"];
        if sections.iter().chain(&names).any(|it| *it == pointer) {
            continue;
        }
        let mut wrong = policy.clone();
        wrong.pointer_mut(&pointer).expect("it is there")["misspelled"] = json!(true);
        assert_ne!(mistakes(&registry, &wrong), Vec::<String>::new(), "at `{pointer}`");
        n_objects += 1;
    }
    assert!(30 < n_objects, "{n_objects}");
}

/// Where the objects in a value are.
fn objects(value: &Value, at: String) -> Vec<String> {
    let mut res = Vec::new();
    match value {
        Value::Object(object) => {
            for (key, it) in object {
                res.extend(objects(it, format!("{at}/{key}")));
            }
            res.push(at);
        }
        Value::Array(items) => {
            for (n, it) in items.iter().enumerate() {
                res.extend(objects(it, format!("{at}/{n}")));
            }
        }
        _ => {}
    }
    res
}

#[test]
fn the_schema_refuses_what_does_not_fit_the_kind() {
    let registry = registry();
    for (detector, is_right) in [
        (json!({ "kind": "timeout", "of": "turn", "max": "5m" }), true),
        (json!({ "kind": "timeout", "of": "turn", "max": 5 }), false),
        (json!({ "kind": "timeout", "of": "turns", "max": "5m" }), false),
        (json!({ "kind": "timeout", "max_tokens": 5 }), false),
        (json!({ "kind": "timeuot" }), false),
        (json!({ "max": "5m" }), true),
        (json!({ "kind": "timeout", "levels": [{ "at": 75, "severity": "low" }] }), false),
        (
            json!({ "kind": "timeout", "levels": { "add": [{ "at": "75%", "severity": "low" }] } }),
            true,
        ),
        (json!({ "kind": "runaway-loop", "levels": [{ "at": 75, "severity": "low" }] }), true),
        (json!({ "kind": "runaway-loop", "levels": [{ "at": "75%", "severity": "low" }] }), false),
    ] {
        let policy = json!({ "version": 1, "detectors": { "it": detector } });
        assert_eq!(mistakes(&registry, &policy).is_empty(), is_right, "{policy}");
    }
    // By its name this is a timeout.
    let policy = json!({ "version": 1, "detectors": { "timeout": { "max_tokens": 5 } } });
    assert_ne!(mistakes(&registry, &policy), Vec::<String>::new());
}

/// A test of everything.
const TEST: &str = r#"
version = 1
policy = "builtin:default"

[[tests]]
name = "a round of everything"
start = { cwd = "/work", labels = { team = "payments" } }
advance = "1h 30m"
expect = [{ detector = "repeated_call", status = "resolved", at = "0s", message = "*" }]
expect_no_others = false
expect_sinks = ["console"]

[tests.generate]
repeat = 2
every = "10s"
events = [
    { prompt = "go" },
    { tool = "Bash", arguments = { command = "make" }, result = "{n}", ok = false, exit_code = 2, takes = "1s" },
    { agent = "a1", message = "well" },
    { model_call = { model = "m", input_tokens = 1, output_tokens = 2, cache_read_tokens = 3, cache_write_tokens = 4, cost_usd = 0.5 } },
]
"#;

/// What the loader says of tests.
fn loads(text: &str) -> bool {
    let registry = registry();
    let read_file = |_: &Path| Ok(text.to_owned());
    let loader = Loader::new(&registry, &read_file);
    loader.load_tests(Path::new("it.test.toml"), None).tests.is_some()
}

#[test]
fn the_schema_of_tests_takes_what_the_loader_takes() {
    let registry = registry();
    let tests = include_str!("../../../policy.example.test.toml");
    for text in [TEST, tests] {
        assert_eq!(mistakes_by(&test_schema(&registry), &json_of(text)), Vec::<String>::new());
    }
    assert!(loads(TEST));
}

#[test]
fn the_schema_of_tests_refuses_what_the_loader_refuses() {
    let schema = test_schema(&registry());
    let known = json_of(TEST);
    for pointer in objects(&known, String::new()) {
        // In these, keys are names.
        if pointer.ends_with("/arguments") || pointer.ends_with("/labels") {
            continue;
        }
        let mut wrong = known.clone();
        wrong.pointer_mut(&pointer).expect("it is there")["misspelled"] = json!(true);
        assert_ne!(mistakes_by(&schema, &wrong), Vec::<String>::new(), "at `{pointer}`");
    }
    for (right, wrong) in [
        ("version = 1", ""),
        ("version = 1", "version = 2"),
        ("name = \"a round of everything\"", ""),
        ("\nadvance", "\ntrace = '0s prompt'\nadvance"),
        ("\"1h 30m\"", "5400"),
        ("status = \"resolved\"", "status = \"resolved\", severity = \"low\""),
        ("detector = \"repeated_call\", ", ""),
        ("[\"console\"]", "\"console\""),
        ("expect = ", "# "),
        ("repeat = 2", "repeat = 0"),
        ("every = \"10s\"", ""),
        ("prompt = \"go\"", "prompt = \"go\", message = \"no\""),
        ("prompt = \"go\"", "prompt = \"go\", ok = true"),
        ("prompt = \"go\"", "agent = \"a1\""),
        ("exit_code = 2", "exit_code = \"2\""),
    ] {
        assert_ne!(right, wrong);
        let text = TEST.replacen(right, wrong, 1);
        assert_ne!(text, TEST, "{right}");
        assert_ne!(mistakes_by(&schema, &json_of(&text)), Vec::<String>::new(), "{wrong}");
        assert!(!loads(&text), "{wrong}");
    }
}
