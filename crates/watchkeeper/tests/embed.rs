//! The monitor as an embedder uses it.

use std::{
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use watchkeeper::{
    Finding, Monitor, MonitorBuilder, PolicyError, Sink, SinkError, StartError, Status, Timestamp,
    clock::ManualClock,
    core::{Context, Detector, DetectorKind, Event, Fingerprint, InvalidOption, Report, SinkKind},
};

/// Longer than any test takes, however slow the machine.
const LONG: Duration = Duration::from_secs(60);

/// Reports every event. Registered by the tests alone, without a macro.
#[derive(Clone, Debug)]
struct Everything {
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EverythingOptions {
    /// The message of every finding.
    text: String,
}

impl DetectorKind for Everything {
    const KIND: &'static str = "everything";
    const DOCS: &'static str = "# everything\n\nReports every event.\n";
    const CLASS: &'static str = "test";
    type Options = EverythingOptions;

    fn new(EverythingOptions { text }: EverythingOptions) -> Result<Self, InvalidOption> {
        Ok(Self { text })
    }
}

impl Detector for Everything {
    fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
        cx.report(Fingerprint::NONE, 1, || Report::new(self.text.clone()));
    }
}

/// Refuses every finding.
#[derive(Debug)]
struct Closed;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClosedOptions {}

impl SinkKind for Closed {
    const KIND: &'static str = "closed";
    const DOCS: &'static str = "# closed\n\nRefuses every finding.\n";
    type Options = ClosedOptions;

    fn new(ClosedOptions {}: ClosedOptions) -> Result<Self, InvalidOption> {
        Ok(Self)
    }
}

impl Sink for Closed {
    fn deliver(&mut self, _: &Finding) -> Result<(), SinkError> {
        Err(SinkError::refused("closed"))
    }
}

/// Adds a callback, and returns the findings that it receives.
fn collect(builder: MonitorBuilder) -> (MonitorBuilder, Receiver<Finding>) {
    let (sender, findings) = mpsc::channel();
    let builder = builder.on_finding(move |finding| {
        let _ = sender.send(finding.clone());
    });
    (builder, findings)
}

#[test]
fn the_builtin_policy_applies_without_a_policy() {
    let (builder, findings) = collect(Monitor::builder());
    let running = builder.start().unwrap();
    let session = running.session("s");
    session.prompt("Build the project.");
    for _ in 0..6 {
        session.tool_call("Bash", json!({ "command": "make" })).fail("no rule to make `all`");
    }
    let stopped = running.stop();
    assert_eq!((stopped.recorded, stopped.handled), (13, 13));
    assert_eq!((stopped.sent, stopped.lost), (stopped.delivered, 0));
    // The sink of the built-in policy is not used.
    assert_eq!(stopped.sinks.len(), 1);
    drop(running);
    assert!(findings.iter().any(|finding| finding.message.contains("`Bash`")));
}

#[test]
fn findings_resolve_and_time_is_virtual() {
    let clock = ManualClock::new("2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap());
    let policy = r#"
        version = 1

        [detectors.slow_tool]
        kind = "timeout"
        of = "tool"
        max = "5m"
        severity = "medium"
    "#;
    let (builder, findings) = collect(Monitor::builder().policy_text(policy));
    let running = builder.clock(clock.clone()).start().unwrap();
    let session = running.session("s");
    session.prompt("Build the project.");
    let call = session.tool_call("Bash", json!({ "command": "make" }));
    assert!(running.flush(LONG));
    assert_eq!(findings.try_iter().count(), 0);
    clock.advance(Duration::from_secs(10 * 60));
    assert!(running.flush(LONG));
    let opened: Vec<Finding> = findings.try_iter().collect();
    assert_eq!(opened.iter().map(|it| it.status).collect::<Vec<_>>(), [Status::Open]);
    assert_eq!(opened[0].at.to_string(), "2026-11-22T10:05:00Z");
    call.succeed("done");
    assert!(running.flush(LONG));
    let resolved: Vec<Finding> = findings.try_iter().collect();
    assert_eq!(resolved.iter().map(|it| it.status).collect::<Vec<_>>(), [Status::Resolved]);
}

#[test]
fn a_program_registers_kinds_of_its_own() {
    let policy = r#"
        version = 1

        [detectors.everything]
        text = "an event"

        [sinks.closed]
    "#;
    // The policy comes first: the order of calls does not matter.
    let builder = Monitor::builder().policy_text(policy).detector::<Everything>();
    let (builder, findings) = collect(builder.sink_kind::<Closed>());
    let running = builder.start().unwrap();
    running.session("s").turn_end();
    assert_eq!(findings.recv_timeout(LONG).unwrap().message, "an event");
    // A lost finding is reported to the other sinks at once.
    let lost = findings.recv_timeout(LONG).unwrap();
    assert_eq!(lost.message, "sink `closed` lost 1 finding: `refused: closed`");
    let stopped = running.stop();
    assert_eq!((stopped.sent, stopped.delivered, stopped.lost), (3, 2, 1));
}

#[test]
fn a_kind_that_is_registered_twice_is_refused() {
    let err = Monitor::builder().detector::<Everything>().detector::<Everything>().start();
    let message = err.expect_err("`everything` is registered twice").to_string();
    assert!(message.starts_with("two detectors are called `everything`: "), "{message}");
}

#[test]
fn an_invalid_policy_is_an_error_with_locations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, "version = 1\n[detectors.timeouts]\nkind = \"timeuot\"\n").unwrap();
    let builder = Monitor::builder().policy_file(&path).unwrap();
    let err = builder.start().expect_err("the kind is misspelled");
    let message = err.to_string();
    assert!(
        message.contains("policy.toml:3:8") && message.contains("kind = \"timeout\""),
        "{message}"
    );
    let StartError::Policy(PolicyError::Invalid(invalid)) = err else { panic!("{err:?}") };
    assert_eq!(invalid.diagnostics[0].span, 40..49);
}

#[test]
fn a_policy_is_loaded_by_the_name_of_a_built_in_one() {
    let builder = Monitor::builder().policy_file("builtin:default").unwrap();
    let (policy, registry) = builder.load_policy().unwrap();
    assert!(0 < policy.n_detectors());
    assert!(registry.sinks.get("stderr").is_ok());
}

#[test]
fn a_missing_policy_file_is_an_error_at_once() {
    let err = Monitor::builder().policy_file("/nonexistent/policy.toml");
    let err = err.expect_err("there is no such file");
    assert_eq!(err.to_string(), "cannot read the policy `/nonexistent/policy.toml`");
    assert!(
        matches!(err, PolicyError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}
