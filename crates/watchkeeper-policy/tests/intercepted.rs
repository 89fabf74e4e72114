//! Calls that Watchkeeper answered in place of the tool.

use std::{io, path::Path};

use proptest::prelude::*;
use watchkeeper_core::{
    Engine, Event, EventKind, Finding,
    author::Cause,
    embed::{EngineConfig, NamedDetector, Registry},
};
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_fan_out as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_no_progress as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_policy::Loader;
use watchkeeper_sinks as _;
use watchkeeper_testing::{Trace, events};

fn detectors() -> Vec<NamedDetector> {
    let registry = Registry::linked().expect("no two kinds have the same name");
    let read_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loaded = Loader::new(&registry, &read_file).load_builtin();
    loaded.policy.expect("the built-in policy is valid").detectors
}

fn findings<'a>(
    detectors: &[NamedDetector],
    events: impl IntoIterator<Item = &'a Event>,
) -> Vec<Finding> {
    let mut engine = Engine::new(detectors.to_vec(), EngineConfig::default());
    let mut findings = Vec::new();
    for event in events {
        engine.observe(event, &mut findings);
    }
    findings
}

/// Marks results of tools as intercepted, as `chosen` decides in turn.
fn intercept(events: &[Event], chosen: &[bool]) -> Vec<Event> {
    let mut chosen = chosen.iter().copied().cycle();
    let mut events = events.to_vec();
    for event in &mut events {
        if let EventKind::ToolResult(result) = &mut event.kind
            && result.cause.is_none()
            && chosen.next() == Some(true)
        {
            result.cause = Some(Cause::Intercepted);
        }
    }
    events
}

proptest! {
    #[test]
    fn an_intercepted_call_counts_like_a_call_with_its_result(
        events in events(),
        chosen in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let mut detectors = detectors();
        // A call that ran ends a series of denied calls, and an intercepted one does not.
        detectors.retain(|detector| &*detector.id != "denied_calls");
        let intercepted = intercept(&events, &chosen);
        prop_assert_eq!(findings(&detectors, &intercepted), findings(&detectors, &events));
    }

    #[test]
    fn intercepted_calls_are_no_denied_calls(
        events in events(),
        chosen in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let mut detectors = detectors();
        detectors.retain(|detector| &*detector.id == "denied_calls");
        let intercepted = intercept(&events, &chosen);
        let is_intercepted = |event: &&Event| {
            matches!(&event.kind, EventKind::ToolResult(result) if result.cause == Some(Cause::Intercepted))
        };
        let others = intercepted.iter().filter(|event| !is_intercepted(event));
        let summary = |findings: Vec<Finding>| -> Vec<_> {
            findings.into_iter().map(|it| (it.session, it.agent, it.status, it.count)).collect()
        };
        prop_assert_eq!(
            summary(findings(&detectors, &intercepted)),
            summary(findings(&detectors, others))
        );
    }
}

#[test]
fn a_finding_escalates_and_stays_open_while_the_agent_repeats_an_intercepted_call() {
    let trace = r#"
        0s    prompt fix the build
        1s    repeat 4 every 5s: call Bash {"command": "make"} ;; result fail no rule to make it
        30s   repeat 8 every 5s: call Bash {"command": "make"} ;; result intercepted fail no rule to make it
        2m    call Read {"path": "Makefile"} ;; result ok all: it
        3m    turn_end
    "#;
    let trace: Trace = trace.parse().expect("every line is an event");
    let found = findings(&detectors(), trace.events());
    let summary: Vec<_> =
        found.iter().map(|it| format!("{} {} {:?}", it.detector, it.severity, it.status)).collect();
    assert_eq!(
        summary,
        ["repeated_error low Open", "repeated_error medium Open", "repeated_error high Open",]
    );
}
