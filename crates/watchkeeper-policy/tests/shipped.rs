//! The built-in policy, the example policy and the JSON schemas agree.

use std::{io, path::Path};

use schemars::Schema;
use serde_json::{Value, json};
use watchkeeper_core::embed::Registry;
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_fan_out as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_no_progress as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::{BUILTINS, Loaded, Loader, Policy, render, schema, test_schema};
use watchkeeper_sinks as _;

const EXAMPLE: &str = include_str!("../../../policy.example.toml");

fn load(registry: &Registry, text: &str) -> Loaded {
    let read_file = |path: &Path| match path.to_str() {
        Some("policy.toml") => Ok(text.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    Loader::new(registry, &read_file).load(Path::new("policy.toml"))
}

#[track_caller]
fn valid(loaded: Loaded) -> Policy {
    assert!(loaded.diagnostics.is_empty(), "{}", render(&loaded, false));
    let policy = loaded.policy.expect("a policy without errors");
    assert_eq!(policy.undelivered, None);
    policy
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
fn built_in_policy_is_valid() {
    let registry = registry();
    let read_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loader = Loader::new(&registry, &read_file);
    let policy = valid(loader.load_builtin());
    assert_eq!(
        ids(&policy),
        "call_loop costly_polls denied_calls failed_turns failure_streak fast_spending full_context handoffs_without_progress many_sub_agents nested_sub_agents no_progress parallel_sub_agents provider_retries repeated_call repeated_compaction repeated_error repeated_message repeated_prompt repeated_result repeated_text silent_delegation silent_model slow_tool unfinished_sub_agents console"
    );
    assert_eq!(policy.routes.len(), 1);
}

#[test]
fn safe_session_policy_is_valid() {
    let registry = registry();
    let read_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loader = Loader::new(&registry, &read_file);
    let policy = valid(loader.load(Path::new("builtin:safe-session")));
    assert_eq!(
        ids(&policy),
        "escalation_spiral excessive_reasoning infinite_tool_cycle infinite_tool_loop session_timeout tool_timeout turn_timeout console"
    );
    assert_eq!(policy.routes.len(), 1);
}

#[test]
fn example_policy_is_valid() {
    let policy = valid(load(&registry(), EXAMPLE));
    assert_eq!(
        ids(&policy),
        "call_loop costly_polls denied_calls failed_turns failure_streak fast_spending full_context handoffs_without_progress many_sub_agents nested_sub_agents no_progress parallel_sub_agents provider_retries repeated_call repeated_compaction repeated_error repeated_message repeated_prompt repeated_result repeated_text session silent_delegation silent_model steps_without_change team_budget turn unfinished_sub_agents audit console night ops"
    );
    assert_eq!(policy.routes.len(), 3);
}

#[test]
fn effective_policy_is_valid() {
    let registry = registry();
    for text in BUILTINS.iter().map(|(_, text)| *text).chain([EXAMPLE]) {
        let policy = valid(load(&registry, text));
        let again = valid(load(&registry, &policy.effective.to_string()));
        assert_eq!(ids(&policy), ids(&again));
        assert_eq!(policy.routes.len(), again.routes.len());
        for (a, b) in policy.detectors.iter().zip(&again.detectors) {
            assert_eq!((&a.levels, &a.per), (&b.levels, &b.per), "{}", a.id);
            assert_eq!(format!("{:?}", a.sessions), format!("{:?}", b.sessions), "{}", a.id);
            assert_eq!(format!("{:?}", a.detector), format!("{:?}", b.detector), "{}", a.id);
        }
    }
}

#[test]
fn the_console_of_the_built_in_policy_needs_no_route() {
    let text = "version = 1\nextends = ['builtin:default']\n[sinks.audit]\nkind = 'file'\npath = 'a'\n[[routes]]\nsinks = ['audit']\n";
    assert!(ids(&valid(load(&registry(), text))).ends_with(" audit console"));
}

#[test]
fn windows_and_time_zones_are_suggested() {
    let rendered = |window: &str, zone: &str| {
        let text = format!(
            "version = 1\n[detectors.budget]\nkind = 'token-burn'\nmax_tokens = 5\nwindow = '{window}'\ntime_zone = '{zone}'\n"
        );
        let rendered = render(&load(&registry(), &text), false);
        assert!(rendered.lines().all(|line| line.len() < 160), "{rendered}");
        rendered
    };
    for (zone, suggested) in [("Europe/Berln", "Europe/Berlin"), ("africa/lago", "Africa/Lagos")] {
        let rendered = rendered("day", zone);
        assert!(rendered.contains(&format!("+ time_zone = \"{suggested}\"")), "{rendered}");
    }
    for (window, suggested) in [("dayly", "day"), ("weekly", "week"), ("Month", "month")] {
        let rendered = rendered(window, "UTC");
        assert!(rendered.contains(&format!("+ window = \"{suggested}\"")), "{rendered}");
    }
    assert!(rendered("24 houurs", "UTC").contains("expected a length of time"));
}

/// Converts TOML to JSON as an editor does, with dates as strings.
fn to_json(text: &str) -> Value {
    let mut value = toml::from_str(text).expect("the text is TOML");
    replace_dates_by_strings(&mut value);
    value
}

fn replace_dates_by_strings(value: &mut Value) {
    if let Some(day) = value.get("$__toml_private_datetime") {
        *value = day.clone();
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(replace_dates_by_strings),
        Value::Array(items) => items.iter_mut().for_each(replace_dates_by_strings),
        _ => {}
    }
}

fn policy_errors(registry: &Registry, policy: &Value) -> Vec<String> {
    schema_errors(&schema(registry), policy)
}

#[track_caller]
fn schema_errors(schema: &Schema, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema.as_value()).expect("a schema");
    validator.iter_errors(value).map(|it| format!("{} {it}", it.instance_path())).collect()
}

#[test]
fn schema_accepts_shipped_policies() {
    let registry = registry();
    for text in BUILTINS.iter().map(|(_, text)| *text).chain([EXAMPLE]) {
        assert_eq!(policy_errors(&registry, &to_json(text)), Vec::<String>::new());
        let effective = valid(load(&registry, text)).effective.to_string();
        assert_eq!(policy_errors(&registry, &to_json(&effective)), Vec::<String>::new());
    }
}

#[test]
fn schema_rejects_a_misspelled_key_anywhere() {
    let registry = registry();
    let policy = to_json(EXAMPLE);
    let mut n_objects = 0;
    for pointer in objects(&policy, String::new()) {
        // The keys of these objects are names.
        let sections = ["/labels", "/prices", "/secrets", "/detectors", "/sinks"];
        let names = ["/overrides/0/detectors", "/detectors/repeated_call/exceptions/1/arguments"];
        if sections.iter().chain(&names).any(|it| *it == pointer) {
            continue;
        }
        let mut wrong = policy.clone();
        wrong.pointer_mut(&pointer).expect("it is there")["misspelled"] = json!(true);
        assert_ne!(policy_errors(&registry, &wrong), Vec::<String>::new(), "at `{pointer}`");
        n_objects += 1;
    }
    assert!(30 < n_objects, "{n_objects}");
}

/// Returns the JSON pointers of all objects in a value.
fn objects(value: &Value, at: String) -> Vec<String> {
    let mut pointers = Vec::new();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                pointers.extend(objects(value, format!("{at}/{key}")));
            }
            pointers.push(at);
        }
        Value::Array(items) => {
            for (item_idx, item) in items.iter().enumerate() {
                pointers.extend(objects(item, format!("{at}/{item_idx}")));
            }
        }
        _ => {}
    }
    pointers
}

#[test]
fn schema_checks_options_by_kind() {
    let registry = registry();
    for (detector, is_valid) in [
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
        (
            json!({ "kind": "runaway-loop", "levels": [{ "at": 75, "severity": "low", "action": "stop" }] }),
            true,
        ),
        (
            json!({ "kind": "runaway-loop", "levels": [{ "at": 75, "severity": "low", "action": "halt" }] }),
            false,
        ),
        (json!({ "kind": "runaway-loop", "levels": [{ "at": "75%", "severity": "low" }] }), false),
    ] {
        let policy = json!({ "version": 1, "detectors": { "it": detector } });
        assert_eq!(policy_errors(&registry, &policy).is_empty(), is_valid, "{policy}");
    }
    // The name determines the kind.
    let policy = json!({ "version": 1, "detectors": { "timeout": { "max_tokens": 5 } } });
    assert_ne!(policy_errors(&registry, &policy), Vec::<String>::new());
}

/// A test file with every key.
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

/// Returns whether the loader accepts a test file.
fn loads(text: &str) -> bool {
    let registry = registry();
    let read_file = |_: &Path| Ok(text.to_owned());
    let loader = Loader::new(&registry, &read_file);
    loader.load_tests(Path::new("it.test.toml"), None).tests.is_some()
}

#[test]
fn test_schema_accepts_valid_tests() {
    let registry = registry();
    let tests = include_str!("../../../policy.example.test.toml");
    for text in [TEST, tests] {
        assert_eq!(schema_errors(&test_schema(&registry), &to_json(text)), Vec::<String>::new());
    }
    assert!(loads(TEST));
}

#[test]
fn test_schema_rejects_what_the_loader_rejects() {
    let schema = test_schema(&registry());
    let known = to_json(TEST);
    for pointer in objects(&known, String::new()) {
        // The keys of these objects are names.
        if pointer.ends_with("/arguments") || pointer.ends_with("/labels") {
            continue;
        }
        let mut wrong = known.clone();
        wrong.pointer_mut(&pointer).expect("it is there")["misspelled"] = json!(true);
        assert_ne!(schema_errors(&schema, &wrong), Vec::<String>::new(), "at `{pointer}`");
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
        assert_ne!(schema_errors(&schema, &to_json(&text)), Vec::<String>::new(), "{wrong}");
        assert!(!loads(&text), "{wrong}");
    }
}
